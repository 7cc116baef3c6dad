//! The lowering table: one arm a primitive.

use anomalens_models::graph::{Node, NodeId, Primitive, Window};

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
        | P::Abs
        | P::Log
        | P::Erf
        | P::Cos
        | P::Sin
        | P::MatMul => emit(out, id, node, vec![], vec![]),
        P::LeakyRelu { slope } => emit(out, id, node, vec![], vec![float("alpha", *slope)]),
        P::Pow { exponent } => {
            let exponent = scalar(out, *exponent);
            emit(out, id, node, vec![exponent], vec![]);
        }
        P::Clip { min, max } => {
            // A bound that does not bind is left out.
            let bounds = [*min, *max].map(|v| if v.is_finite() { scalar(out, v) } else { String::new() });
            emit(out, id, node, bounds.to_vec(), vec![]);
        }
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
        P::Conv { window, groups } => {
            let attributes = convolution(out, node, window, *groups);
            emit(out, id, node, vec![], attributes);
        }
        P::ConvTranspose { window, groups, output_padding } => {
            let mut attributes = convolution(out, node, window, *groups);
            attributes.push(ints("output_padding", *output_padding));
            emit(out, id, node, vec![], attributes);
        }
        P::MaxPool { kernel, window } => emit(out, id, node, vec![], moves(*kernel, window)),
        P::AveragePool { kernel, window } if window.pads == [0; 4] => {
            let mut attributes = vec![ints("kernel_shape", *kernel), ints("strides", window.strides)];
            attributes.extend(dilations(window));
            emit(out, id, node, vec![], attributes);
        }
        P::AveragePool { kernel, window } => {
            let mut attributes = moves(*kernel, window);
            attributes.push(int("count_include_pad", 1));
            emit(out, id, node, vec![], attributes);
        }
        P::Resize { factor } => {
            let f = *factor as f32;
            let scales = out.floats(format!("const/scales[{factor}]"), &[4], &[1.0, 1.0, f, f]);
            // The second input, a region of interest, is left out.
            emit(out, id, node, vec![String::new(), scales], nearest());
        }
        P::Reshape { shape } => {
            let from = &out.graph.node(node.inputs[0]).ty.shape;
            let target = out.integers(&reshape_target(from, shape));
            emit(out, id, node, vec![target], vec![]);
        }
        P::Transpose { perm } => emit(out, id, node, vec![], vec![ints("perm", perm.iter().copied())]),
        P::Concat { axis } => emit(out, id, node, vec![], vec![int("axis", *axis as i64)]),
        P::Slice { axis, start, end, step } => {
            let mut more = [*start, *end, *axis].map(|v| out.integers(&[v as i64])).to_vec();
            if *step > 1 {
                more.push(out.integers(&[*step as i64]));
            }
            emit(out, id, node, more, vec![]);
        }
        P::Pad { axis, before, after, value } => {
            let rank = node.ty.shape.rank();
            let mut pads = vec![0; 2 * rank];
            pads[*axis] = *before as i64;
            pads[rank + axis] = *after as i64;
            let mut more = vec![out.integers(&pads)];
            if *value != 0.0 {
                more.push(scalar(out, *value));
            }
            emit(out, id, node, more, vec![string("mode", "constant")]);
        }
        P::Expand { shape } => {
            let target = out.integers(&expand_target(shape));
            emit(out, id, node, vec![target], vec![]);
        }
        P::ReduceSum { axes } | P::ReduceMean { axes } | P::ReduceMax { axes } => {
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

/// The name of a single value.
fn scalar(out: &mut Lowered<'_>, value: f32) -> String {
    out.floats(format!("const/f32[{value:e}]"), &[], &[value])
}

/// The attributes of a convolution.
pub(super) fn convolution(
    out: &Lowered<'_>,
    node: &Node,
    window: &Window,
    groups: usize,
) -> Vec<AttributeProto> {
    let weight = &out.graph.node(node.inputs[1]).ty.shape;
    let mut attributes = moves([2, 3].map(|axis| weight.len(axis).expect("[O, I, k, l]")), window);
    if groups != 1 {
        attributes.push(int("group", groups as i64));
    }
    attributes
}

/// The attributes of a kernel that moves over an image.
fn moves(kernel: [usize; 2], window: &Window) -> Vec<AttributeProto> {
    let mut attributes =
        vec![ints("kernel_shape", kernel), ints("strides", window.strides), ints("pads", window.pads)];
    attributes.extend(dilations(window));
    attributes
}

/// Gaps in the kernel, where there are some.
fn dilations(window: &Window) -> Option<AttributeProto> {
    (window.dilations != [1; 2]).then(|| ints("dilations", window.dilations))
}

/// The attributes of a nearest-neighbour enlargement that repeats each pixel.
pub(super) fn nearest() -> Vec<AttributeProto> {
    vec![
        string("mode", "nearest"),
        string("coordinate_transformation_mode", "asymmetric"),
        string("nearest_mode", "floor"),
    ]
}
