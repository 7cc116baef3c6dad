//! Gradients of convolutions as convolutions.
//!
//! The input gradient of a convolution that moves by single steps is a convolution with the kernel turned by 180° and its
//! channels exchanged. Engines are far better at it than at ConvTranspose, for which they write out every product before
//! they add: ONNX Runtime's processor kernels take twice to three times as long.
//!
//! The kernel is turned by operators on the stored weights, which every engine computes once, when it loads the graph: so each
//! weight is still stored once. Turning `[I, O, k · l]` is a product with the matrix that has ones from corner to corner: exact,
//! and of operators that import knows.

use std::collections::HashMap;

use anomalens_models::graph::{
    Builder, Graph, GraphError, Node, NodeId, Op, ParamSpec, Primitive, Shape, Window,
};

use super::rewrite::rewritten;

/// The same graph with convolutions in place of ConvTranspose, where that is possible.
pub(super) fn as_convolutions(graph: &Graph) -> Graph {
    let mut shared = Shared::default();
    rewritten(graph, |b, node, at| {
        let Some((spec, window)) = turnable(graph, node) else { return Ok(None) };
        let inputs: Vec<NodeId> = node.inputs.iter().map(|id| at(*id)).collect();
        turned(b, &mut shared, &inputs, spec, window).map(Some)
    })
}

/// Constants that are alike for many convolutions.
#[derive(Default)]
struct Shared {
    /// By its side: the matrix that turns a row round.
    turns: HashMap<usize, NodeId>,
    /// By its length: no bias.
    zeros: HashMap<usize, NodeId>,
}

/// The weights of a ConvTranspose that is a convolution of stored weights, and how that convolution moves.
fn turnable<'a>(graph: &'a Graph, node: &Node) -> Option<(&'a ParamSpec, Window)> {
    let Op::Primitive(Primitive::ConvTranspose { window, groups: 1, .. }) = &node.op else { return None };
    let Op::Primitive(Primitive::Param(spec)) = &graph.node(node.inputs[1]).op else { return None };
    if window.strides != [1; 2] {
        return None;
    }
    let mut pads = [0; 4];
    for (side, pad) in pads.iter_mut().enumerate() {
        let direction = side % 2;
        *pad = window.reach(direction, spec.shape[2 + direction])?.checked_sub(1 + window.pads[side])?;
    }
    Some((spec, Window { pads, ..*window }))
}

/// The convolution of an image with turned weights.
fn turned(
    b: &mut Builder,
    shared: &mut Shared,
    inputs: &[NodeId],
    spec: &ParamSpec,
    window: Window,
) -> Result<NodeId, GraphError> {
    let [out, within, rows, columns] = spec.shape[..] else {
        unreachable!("checked when built: [O, I, k, l]")
    };
    let mut weight = b.primitive(Primitive::Transpose { perm: vec![1, 0, 2, 3] }, &inputs[1..])?;
    let places = rows * columns;
    if places > 1 {
        let turn = match shared.turns.get(&places) {
            Some(turn) => *turn,
            None => {
                let corner_to_corner = |i| if i / places + i % places == places - 1 { 1.0 } else { 0.0 };
                let values = (0..places * places).map(corner_to_corner).collect();
                *shared.turns.entry(places).or_insert(b.constant(&[places, places], values)?)
            }
        };
        weight = b.reshape(weight, Shape::fixed(&[within, out, places]))?;
        weight = b.matmul(weight, turn)?;
        weight = b.reshape(weight, Shape::fixed(&[within, out, rows, columns]))?;
    }
    let bias = *shared.zeros.entry(within).or_insert_with(|| b.vector(vec![0.0; within]));
    b.primitive(Primitive::Conv { window, groups: 1 }, &[inputs[0], weight, bias])
}

#[cfg(test)]
mod tests {
    use anomalens_models::graph::reference::{self, Value};
    use anomalens_models::graph::{DType, Init, Tensor};
    use anomalens_models::weights::RandomWeights;
    use ndarray::{ArrayD, IxDyn};

    use super::*;

    /// Sums of at most 60 products of values near 1, in f64.
    const F64: f64 = 1e-12;

    /// A ConvTranspose of an image of 6 x 7 pixels with weights `[3 groups, 4, sides]`.
    fn graph(window: Window, groups: usize, sides: [usize; 2]) -> Graph {
        let mut b = Builder::new("adjoint");
        let channels = 3 * groups;
        let x = b.input("x", DType::F32, Shape::batch(&[channels, 6, 7]));
        let weight = b.param("weight", &[channels, 4, sides[0], sides[1]], Init::Zeros);
        let op = Primitive::ConvTranspose { window, groups, output_padding: [0; 2] };
        let y = b.primitive(op, &[x, weight]).unwrap();
        b.output("y", y);
        b.finish()
    }

    fn run(graph: &Graph) -> ArrayD<f64> {
        let values = |i: IxDyn| (i[0] * 37 + i[1] * 11 + i[2] * 5 + i[3] * 3) as f32 % 7.0 - 3.0;
        let (_, id) = graph.inputs().next().unwrap();
        let shape = IxDyn(&graph.node(id).ty.shape.concrete(2));
        let x = Value::from(Tensor::F32(ArrayD::from_shape_fn(shape, values)));
        let weights = RandomWeights::new(1, graph.params());
        let outputs = reference::run(graph, &weights, &[("x", x)]).unwrap();
        outputs.into_iter().next().unwrap().1
    }

    fn apart(a: &ArrayD<f64>, b: &ArrayD<f64>) -> f64 {
        assert_eq!(a.shape(), b.shape());
        a.iter().zip(b).fold(0.0, |most, (a, b)| most.max((a - b).abs()))
    }

    #[test]
    fn a_turned_kernel_gives_the_same_gradient() {
        let oblong = |strides, pads, dilations| Window { strides, pads, dilations };
        let cases = [
            ("3 x 3", Window::square(1, 1), 1, [3, 3], true),
            ("1 x 1", Window::square(1, 0), 1, [1, 1], true),
            ("oblong, dilated", oblong([1, 1], [1, 0, 2, 3], [1, 2]), 1, [3, 4], true),
            ("two steps", Window::square(2, 1), 1, [3, 3], false),
            ("groups", Window::square(1, 1), 2, [3, 3], false),
            ("a border wider than the kernel", Window::square(1, 3), 1, [3, 3], false),
        ];
        for (name, window, groups, sides, turns) in cases {
            let before = graph(window, groups, sides);
            let after = as_convolutions(&before);
            let kept = after.nodes().iter().any(|node| node.op.name() == "ConvTranspose");
            assert_eq!(kept, !turns, "{name}");
            let (expected, found) = (run(&before), run(&after));
            assert!(apart(&found, &expected) < F64, "{name}: {:.1e}", apart(&found, &expected));
        }
    }

    #[test]
    fn a_kernel_that_is_not_turned_shows() {
        let before = graph(Window::square(1, 1), 1, [3, 3]);
        let Op::Primitive(Primitive::Param(spec)) = &before.node(before.iter().nth(1).unwrap().0).op else {
            panic!("{before:?}")
        };
        let mut b = Builder::new("wrong");
        let x = b.input("x", DType::F32, Shape::batch(&[3, 6, 7]));
        let weight = b.push(Op::Primitive(Primitive::Param(spec.clone())), &[]).unwrap();
        let weight = b.primitive(Primitive::Transpose { perm: vec![1, 0, 2, 3] }, &[weight]).unwrap();
        let bias = b.vector(vec![0.0; 4]);
        let op = Primitive::Conv { window: Window::square(1, 1), groups: 1 };
        let y = b.primitive(op, &[x, weight, bias]).unwrap();
        b.output("y", y);
        assert!(apart(&run(&b.finish()), &run(&before)) > 1e-3);
    }
}
