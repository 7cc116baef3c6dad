//! Sums of products as products of matrices.
//!
//! Σ a · b over an image would write all the products before it adds them up. A row by a column is the same sum in one pass, in
//! half the time by ONNX Runtime's processor kernels; for short rows the calls of the product take longer than they save.

use std::collections::HashSet;

use anomalens_models::graph::{Builder, Dim, Graph, GraphError, Node, NodeId, Op, Primitive, Shape};

use super::rewrite::rewritten;

/// Rows of fewer values stay as they are.
const LONG: usize = 1024;

/// The same graph with a product of matrices in place of each long sum of products.
pub(super) fn as_matrix_products(graph: &Graph) -> Graph {
    let shared = used_twice(graph);
    let whole = rewritten(graph, |b, node, at| match factors(graph, &shared, node) {
        Some(factors) => product(b, factors.map(at), node).map(Some),
        None => Ok(None),
    });
    whole.pruned()
}

/// The nodes that more than one node or an output needs.
fn used_twice(graph: &Graph) -> HashSet<NodeId> {
    let mut seen: HashSet<NodeId> = graph.outputs().iter().map(|(_, id)| *id).collect();
    let operands = graph.nodes().iter().flat_map(|node| node.inputs.iter().copied());
    operands.filter(|id| !seen.insert(*id)).collect()
}

/// What is multiplied, if a node is a long sum of products over the last axes, and nothing else needs the products.
fn factors(graph: &Graph, shared: &HashSet<NodeId>, node: &Node) -> Option<[NodeId; 2]> {
    let Op::Primitive(Primitive::ReduceSum { axes }) = &node.op else { return None };
    let products = graph.node(node.inputs[0]);
    let &[first, second] = &products.inputs[..] else { return None };
    let shape = &products.ty.shape;
    let of_last = axes.iter().copied().eq(shape.rank() - axes.len()..shape.rank());
    let whole = [first, second].iter().all(|&id| graph.node(id).ty.shape == *shape);
    let long = axes.iter().filter_map(|&axis| shape.len(axis)).product::<usize>() >= LONG;
    let alone = !shared.contains(&node.inputs[0]);
    (products.op == Op::Primitive(Primitive::Mul) && of_last && whole && long && alone)
        .then_some([first, second])
}

/// Rows times columns, `[…, 1, L]` by `[…, L, 1]`, in the shape of the sum.
fn product(b: &mut Builder, factors: [NodeId; 2], sum: &Node) -> Result<NodeId, GraphError> {
    let Op::Primitive(Primitive::ReduceSum { axes }) = &sum.op else { unreachable!("a sum has factors") };
    let shape = b.shape(factors[0]).clone();
    let length = axes.iter().filter_map(|&axis| shape.len(axis)).product();
    let mut dims = shape.dims()[..axes[0]].to_vec();
    dims.extend([Dim::Len(1), Dim::Len(length)]);
    let rows = Shape::from_dims(dims).expect("no more is open than in the factor");
    let [row, column] = [b.reshape(factors[0], rows.clone())?, b.reshape(factors[1], rows)?];
    let column = b.transpose_last(column)?;
    let product = b.matmul(row, column)?;
    if *b.shape(product) == sum.ty.shape { Ok(product) } else { b.reshape(product, sum.ty.shape.clone()) }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use anomalens_models::graph::DType;
    use anomalens_models::graph::reference::{self, Value};
    use ndarray::{ArrayD, IxDyn};

    use super::*;

    /// Sums of 2048 products of values of 3 at most, in f64.
    const F64: f64 = 1e-10;

    /// Σ a · b over `axes` of `[N, 2, rows, 32]`; `tapped`, with the products as a second output.
    fn graph(rows: usize, axes: &[usize], tapped: bool) -> Graph {
        let mut b = Builder::new("dots");
        let [x, z] = ["x", "z"].map(|name| b.input(name, DType::F32, Shape::batch(&[2, rows, 32])));
        let products = b.mul(x, z).unwrap();
        let sum = b.sum(products, axes).unwrap();
        b.output("sum", sum);
        if tapped {
            b.output("products", products);
        }
        b.finish()
    }

    fn sums(graph: &Graph) -> ArrayD<f64> {
        let inputs: Vec<_> = graph
            .inputs()
            .map(|(name, id)| {
                let by = name.len() + usize::from(name.as_bytes()[0]);
                let value = |i: IxDyn| ((i[0] * 37 + i[1] * 11 + i[2] * 5 + i[3] * by) % 7) as f64 - 3.0;
                let shape = graph.node(id).ty.shape.concrete(2);
                (name, Value::Float(ArrayD::from_shape_fn(shape, value)))
            })
            .collect();
        reference::run(graph, &HashMap::<String, ArrayD<f32>>::new(), &inputs).unwrap().remove(0).1
    }

    #[test]
    fn a_long_sum_of_products_is_a_product_of_matrices() {
        let cases: [(&str, usize, &[usize], bool, bool); 6] = [
            ("of the pixels", 64, &[2, 3], false, true),
            ("of channels too", 64, &[1, 2, 3], false, true),
            ("short", 16, &[2, 3], false, false),
            ("rows alone, which are short", 64, &[3], false, false),
            ("not of the last axis", 64, &[1, 2], false, false),
            ("the products are wanted", 64, &[2, 3], true, false),
        ];
        for (name, rows, axes, tapped, joined) in cases {
            let before = graph(rows, axes, tapped);
            let after = as_matrix_products(&before);
            let count = |op: &str| after.nodes().iter().filter(|node| node.op.name() == op).count();
            let expected = if joined { [1, 0, 0] } else { [0, 1, 1] };
            assert_eq!(["MatMul", "Mul", "ReduceSum"].map(count), expected, "{name}");
            let (expected, found) = (sums(&before), sums(&after));
            assert_eq!(found.shape(), expected.shape(), "{name}");
            let apart = (&found - &expected).iter().fold(0.0f64, |most, d| most.max(d.abs()));
            assert!(apart < F64, "{name}: {apart:.1e}");
        }
    }

    #[test]
    fn sums_of_other_products_show() {
        let (right, other) = (sums(&graph(64, &[2, 3], false)), sums(&graph(65, &[2, 3], false)));
        assert!((&right - &other).iter().any(|d| d.abs() > 1e3 * F64));
    }
}
