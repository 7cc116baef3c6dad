//! The lowering table: one arm a primitive.

use anomalens_models::graph::{Node, NodeId, Primitive};

use super::Lowered;
use super::form::{Form, element_type};
use super::proto::{expand_target, float, int, ints, reshape_target, string, value_info};
use crate::onnx::AttributeProto;

/// Writes one node that is not a parameter, with the channels first.
pub(super) fn lower(out: &mut Lowered<'_>, id: NodeId, node: &Node, op: &Primitive) {
    use Primitive as P;
    match op {
        P::Input { ty, .. } => {
            let name = out.make(id, Form::PLAIN);
            out.inputs.push(value_info(&name, element_type(ty.dtype, Form::PLAIN.precision), &ty.shape));
        }
        P::Param(_) => unreachable!("written by the caller, who knows where the weights are"),
        P::Constant(c) => {
            let name = out.make(id, Form::PLAIN);
            out.floats(name, &c.shape, &c.values);
        }
        P::Add
        | P::Sub
        | P::Mul
        | P::Div
        | P::Sqrt
        | P::Sigmoid
        | P::Relu
        | P::Exp
        | P::Tanh
        | P::Sign
        | P::Cos
        | P::Sin
        | P::MatMul => emit(out, id, node, vec![], vec![]),
        P::LeakyRelu { slope } => emit(out, id, node, vec![], vec![float("alpha", *slope)]),
        P::Cast => {
            let to = element_type(node.ty.dtype, out.computes_in(node));
            emit(out, id, node, vec![], vec![int("to", i64::from(to))]);
        }
        P::Softmax { axis } | P::LogSoftmax { axis } => {
            emit(out, id, node, vec![], vec![int("axis", *axis as i64)]);
        }
        P::InstanceNormalization { epsilon } => {
            let channels = node.ty.shape.len(1).expect("[N, C, …]");
            let one = out.floats(format!("const/ones[{channels}]"), &[channels], &vec![1.0; channels]);
            let zero = out.floats(format!("const/zeros[{channels}]"), &[channels], &vec![0.0; channels]);
            emit(out, id, node, vec![one, zero], vec![float("epsilon", *epsilon)]);
        }
        P::Gemm => emit(out, id, node, vec![], vec![int("transB", 1)]),
        P::Conv { stride, pad } => {
            let attributes = convolution(out, node, *stride, *pad);
            emit(out, id, node, vec![], attributes);
        }
        P::ConvTranspose { stride, pad, output_padding } => {
            let mut attributes = convolution(out, node, *stride, *pad);
            attributes.push(ints("output_padding", *output_padding));
            emit(out, id, node, vec![], attributes);
        }
        P::AveragePool { size } => {
            emit(out, id, node, vec![], vec![ints("kernel_shape", [*size; 2]), ints("strides", [*size; 2])]);
        }
        P::Resize { factor } => {
            let f = *factor as f32;
            let scales = out.floats(format!("const/scales[{factor}]"), &[4], &[1.0, 1.0, f, f]);
            // The second input, a region of interest, is left out.
            emit(out, id, node, vec![String::new(), scales], nearest());
        }
        P::Reshape { shape } => {
            let target = out.integers(&reshape_target(shape));
            emit(out, id, node, vec![target], vec![]);
        }
        P::Transpose { perm } => emit(out, id, node, vec![], vec![ints("perm", perm.iter().copied())]),
        P::Concat { axis } => emit(out, id, node, vec![], vec![int("axis", *axis as i64)]),
        P::Slice { axis, start, end } => {
            let more = [*start, *end, *axis].map(|v| out.integers(&[v as i64])).to_vec();
            emit(out, id, node, more, vec![]);
        }
        P::Pad { axis, before, after } => {
            let rank = node.ty.shape.rank();
            let mut pads = vec![0; 2 * rank];
            pads[*axis] = *before as i64;
            pads[rank + axis] = *after as i64;
            let pads = out.integers(&pads);
            emit(out, id, node, vec![pads], vec![string("mode", "constant")]);
        }
        P::Expand { shape } => {
            let target = out.integers(&expand_target(shape));
            emit(out, id, node, vec![target], vec![]);
        }
        P::ReduceSum { axes } | P::ReduceMean { axes } => {
            let axes: Vec<i64> = axes.iter().map(|&a| a as i64).collect();
            let axes = out.integers(&axes);
            emit(out, id, node, vec![axes], vec![int("keepdims", 1)]);
        }
        P::Gather => emit(out, id, node, vec![], vec![int("axis", 0)]),
        P::OneHot { depth } => {
            let depth = out.integers(&[*depth as i64]);
            let values = out.floats("const/off_on".to_owned(), &[2], &[0.0, 1.0]);
            emit(out, id, node, vec![depth, values], vec![int("axis", -1)]);
        }
    }
}

/// One ONNX node of the primitive's own name: the graph's operands, then `more`.
fn emit(out: &mut Lowered<'_>, id: NodeId, node: &Node, more: Vec<String>, attribute: Vec<AttributeProto>) {
    let form = Form::first(out.computes_in(node));
    let mut input: Vec<String> = node.inputs.iter().map(|&i| out.operand(i, form)).collect();
    input.extend(more);
    let output = vec![out.make(id, form)];
    out.node("", node.op.name(), input, output, attribute);
}

/// The attributes of a convolution.
pub(super) fn convolution(out: &Lowered<'_>, node: &Node, stride: usize, pad: usize) -> Vec<AttributeProto> {
    let kernel = out.graph.node(node.inputs[1]).ty.shape.len(2).expect("[O, I, k, k]");
    vec![ints("kernel_shape", [kernel; 2]), ints("strides", [stride; 2]), ints("pads", [pad; 4])]
}

/// The attributes of a nearest-neighbour enlargement that repeats each pixel.
pub(super) fn nearest() -> Vec<AttributeProto> {
    vec![
        string("mode", "nearest"),
        string("coordinate_transformation_mode", "asymmetric"),
        string("nearest_mode", "floor"),
    ]
}
