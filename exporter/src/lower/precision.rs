//! Where an f16 graph computes in f16: one rule a primitive.
//!
//! As the reference does it (guided-diffusion's `use_fp16`): convolutions and attention's products, which are nearly all of
//! the work, in f16; norms, softmax and what computes on the embedding in f32, where sums of squares overflow f16 or
//! angles up to T need more than 11 bits.

use std::collections::HashMap;

use anomalens_models::graph::{Graph, Op, Primitive};
use anomalens_models::weights::Precision;

use super::is_within;

/// What a primitive computes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// f16.
    Half,
    /// f32.
    Full,
    /// What its operands are in; f16 if these differ.
    Follows,
}

pub(super) fn rule(op: &Primitive) -> Rule {
    use Primitive as P;
    match op {
        P::Conv { .. } | P::ConvTranspose { .. } | P::MatMul => Rule::Half,
        P::Input { .. }
        | P::Param(_)
        | P::Constant(_)
        | P::Cast
        | P::Div
        | P::Sqrt
        | P::Exp
        | P::Log
        | P::Erf
        | P::Pow { .. }
        | P::Tanh
        | P::Cos
        | P::Sin
        | P::Softmax { .. }
        | P::LogSoftmax { .. }
        | P::InstanceNormalization { .. }
        | P::Gemm
        | P::ReduceSum { .. }
        | P::ReduceMean { .. }
        | P::ReduceMax { .. }
        | P::Gather
        | P::OneHot { .. } => Rule::Full,
        P::Add
        | P::Sub
        | P::Mul
        | P::Sigmoid
        | P::Relu
        | P::LeakyRelu { .. }
        | P::Sign
        | P::Abs
        | P::Clip { .. }
        | P::MaxPool { .. }
        | P::AveragePool { .. }
        | P::Resize { .. }
        | P::Reshape { .. }
        | P::Transpose { .. }
        | P::Concat { .. }
        | P::Slice { .. }
        | P::Pad { .. }
        | P::Expand { .. } => Rule::Follows,
    }
}

/// What each parameter of a graph is stored in: f16 if it is the weight or bias of something that computes in f16,
/// perhaps in another shape. Below the scopes `plain` everything computes in f32.
pub fn of_params(graph: &Graph, precision: Precision, plain: &[&str]) -> HashMap<String, Precision> {
    let graph = graph.expanded();
    let mut wanted: Vec<Option<Precision>> = vec![None; graph.nodes().len()];
    for (id, node) in graph.iter().rev() {
        let Op::Primitive(op) = &node.op else { unreachable!("the graph was expanded") };
        let want = match (precision, rule(op)) {
            _ if is_within(&node.scope, plain) => Precision::F32,
            (Precision::F16, Rule::Half) => Precision::F16,
            (Precision::F16, Rule::Follows) if node.ty.shape.open().is_none() => {
                wanted[id.index()].unwrap_or_default()
            }
            _ => Precision::F32,
        };
        for input in &node.inputs {
            let wanted = &mut wanted[input.index()];
            // Whoever needs more bits gets them.
            *wanted = Some(match *wanted {
                Some(Precision::F32) => Precision::F32,
                Some(Precision::F16) | None => want,
            });
        }
    }
    let param = |(id, node): (anomalens_models::graph::NodeId, &anomalens_models::graph::Node)| match &node.op
    {
        Op::Primitive(Primitive::Param(spec)) => {
            Some((spec.name.clone(), wanted[id.index()].unwrap_or_default()))
        }
        _ => None,
    };
    graph.iter().filter_map(param).collect()
}
