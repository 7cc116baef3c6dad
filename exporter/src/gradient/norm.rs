//! Instance norms, opened: taken apart so that they and their gradient pass over the image as seldom as possible.
//!
//! ```text
//! InstanceNormalization -> Reshape -> · gamma -> + beta -> · (1 + scale) -> + shift
//! c = x − mean -> Reshape -> · (gamma (1 + scale) / deviation) -> + (beta (1 + scale) + shift)
//! ```
//!
//! What is one value a channel is combined beforehand, without the image. The gradient needs the centred image c and the deviation,
//! both of which the operator InstanceNormalization keeps to itself.

use std::collections::HashMap;

use anomalens_models::graph::{Builder, Dim, Graph, GraphError, Node, NodeId, Op, Primitive, Shape};

/// The graph of primitives without instance norms: the steps of each stand in its place, joined with the products and sums behind it
/// that are one value a channel.
///
/// Errors: [`GraphError`], which a graph that was built is not expected to meet.
pub(super) fn opened(graph: &Graph) -> Result<Graph, GraphError> {
    let mut copy = Copy { graph, b: Builder::new(graph.name()), new: HashMap::new(), late: HashMap::new() };
    for (id, node) in graph.iter() {
        if let Some(late) = copy.put_off(node)? {
            copy.late.insert(id, late);
        } else {
            let inputs: Vec<NodeId> = node.inputs.iter().map(|i| copy.value(*i)).collect::<Result<_, _>>()?;
            let new = copy.b.at(&node.scope, |b| b.push(node.op.clone(), &inputs))?;
            copy.new.insert(id, new);
        }
    }
    for (name, id) in graph.outputs() {
        let new = copy.value(*id)?;
        copy.b.output(name, new);
    }
    Ok(copy.b.finish())
}

/// image · factor + shift, put off until it is needed whole: `[N, C, …]`, and factor and shift of one value a channel.
#[derive(Clone, Copy)]
struct Late {
    image: NodeId,
    factor: NodeId,
    shift: Option<NodeId>,
}

/// A graph that is copied, by the nodes of the original.
struct Copy<'a> {
    graph: &'a Graph,
    b: Builder,
    /// What has been computed.
    new: HashMap<NodeId, NodeId>,
    /// What has been put off.
    late: HashMap<NodeId, Late>,
}

impl Copy<'_> {
    /// A value, whole.
    fn value(&mut self, id: NodeId) -> Result<NodeId, GraphError> {
        if let Some(new) = self.new.get(&id) {
            return Ok(*new);
        }
        let Late { image, factor, shift } = self.late[&id];
        let new = self.b.at(&self.graph.node(id).scope, |b| {
            let scaled = b.mul(image, factor)?;
            shift.map_or(Ok(scaled), |shift| b.add(scaled, shift))
        })?;
        self.new.insert(id, new);
        Ok(new)
    }

    /// What a node makes, if that can be put off.
    fn put_off(&mut self, node: &Node) -> Result<Option<Late>, GraphError> {
        let Op::Primitive(op) = &node.op else { return Ok(None) };
        if let Primitive::InstanceNormalization { epsilon } = op {
            let x = self.value(node.inputs[0])?;
            return self.b.at(&node.scope, |b| norm(b, x, *epsilon)).map(Some);
        }
        let Some(place) = node.inputs.iter().position(|input| self.late.contains_key(input)) else {
            return Ok(None);
        };
        let late = self.late[&node.inputs[place]];
        match op {
            Primitive::Reshape { shape } => self.b.at(&node.scope, |b| reshaped(b, late, shape)),
            Primitive::Mul | Primitive::Add => {
                let by = node.inputs[1 - place];
                let (by_shape, shape) = (&self.graph.node(by).ty.shape, &node.ty.shape);
                if self.b.shape(late.image) != shape || !is_per_channel(by_shape, shape) {
                    return Ok(None);
                }
                let by = self.value(by)?;
                let joined = self.b.at(&node.scope, |b| -> Result<Late, GraphError> {
                    Ok(match (op, late.shift) {
                        (Primitive::Add, None) => Late { shift: Some(by), ..late },
                        (Primitive::Add, Some(shift)) => Late { shift: Some(b.add(shift, by)?), ..late },
                        (_, shift) => Late {
                            factor: b.mul(late.factor, by)?,
                            shift: shift.map(|shift| b.mul(shift, by)).transpose()?,
                            ..late
                        },
                    })
                })?;
                Ok(Some(joined))
            }
            _ => Ok(None),
        }
    }
}

/// (x − mean) · √L / √(Σ (x − mean)² + L eps), over the L values of each channel.
fn norm(b: &mut Builder, x: NodeId, epsilon: f32) -> Result<Late, GraphError> {
    let axes: Vec<usize> = (2..b.shape(x).rank()).collect();
    let length = axes.iter().filter_map(|&axis| b.shape(x).len(axis)).product::<usize>() as f64;
    let mean = b.mean(x, &axes)?;
    let image = b.sub(x, mean)?;
    let squares = b.mul(image, image)?;
    let total = b.sum(squares, &axes)?;
    let epsilon = b.scalar(length * f64::from(epsilon));
    let total = b.add(total, epsilon)?;
    let deviation = b.primitive(Primitive::Sqrt, &[total])?;
    let root = b.scalar(length.sqrt());
    Ok(Late { image, factor: b.div(root, deviation)?, shift: None })
}

/// In a shape that divides each channel into several, or leaves it as one.
fn reshaped(b: &mut Builder, late: Late, shape: &Shape) -> Result<Option<Late>, GraphError> {
    let from = b.shape(late.image).clone();
    let (Some(groups), Some(channels)) = (from.len(1), shape.len(1)) else { return Ok(None) };
    let fits = late.shift.is_none()
        && shape.rank() >= 3
        && from.dims()[0] == shape.dims()[0]
        && groups > 0
        && channels.is_multiple_of(groups);
    if !fits {
        return Ok(None);
    }
    let mut factor = late.factor;
    if channels > groups {
        let first = |each| Shape::fixed(&[0, groups, each]).with(0, from.dims()[0]);
        factor = b.reshape(factor, first(1))?;
        factor = b.primitive(Primitive::Expand { shape: first(channels / groups) }, &[factor])?;
    }
    let mut one_each = vec![Dim::Len(1); shape.rank()];
    one_each[..2].copy_from_slice(&shape.dims()[..2]);
    let one_each = Shape::from_dims(one_each).expect("no more is open than in the shape");
    if *b.shape(factor) != one_each {
        factor = b.reshape(factor, one_each)?;
    }
    Ok(Some(Late { image: b.reshape(late.image, shape.clone())?, factor, shift: None }))
}

/// Whether a value that is joined with an image `[N, C, …]` is the same for all pixels of a channel.
fn is_per_channel(by: &Shape, image: &Shape) -> bool {
    let lacks = image.rank().checked_sub(by.rank());
    lacks.is_some_and(|lacks| {
        by.dims().iter().enumerate().all(|(axis, &dim)| axis + lacks < 2 || dim == Dim::Len(1))
    })
}

#[cfg(test)]
mod tests {
    use anomalens_models::graph::{DType, Init};
    use ndarray::ArrayD;

    use super::super::tests::cases::{Case, rows, unary};
    use super::super::tests::{FINITE_DIFFERENCE, error, forward};
    use super::super::{GradientError, Step, rules};
    use super::*;

    const NORM: Primitive = Primitive::InstanceNormalization { epsilon: 1e-5 };
    /// Of the largest value: the root of a row's length is a constant in f32, off by 3e-8 at most, and cases multiply four of them.
    const CONSTANTS: f64 = 2e-7;

    fn cases() -> Vec<Case> {
        vec![
            Case { name: "alone", x: &[3, 5, 7], z: &[1, 1, 1], build: |b, x, z| unary(b, NORM, x, z) },
            Case {
                name: "of groups, with scales and shifts of two sorts",
                x: &[4, 3, 5],
                z: &[4, 1, 1],
                build: |b, x, z| {
                    let grouped = b.reshape(x, Shape::batch(&[2, 30]))?;
                    let y = b.primitive(NORM, &[grouped])?;
                    let y = b.reshape(y, Shape::batch(&[4, 3, 5]))?;
                    let [gamma, beta] = ["gamma", "beta"].map(|name| b.param(name, &[4, 1, 1], Init::Zeros));
                    let y = b.mul(gamma, y)?;
                    let y = b.add(y, beta)?;
                    let y = b.mul(y, z)?;
                    let y = b.add(z, y)?;
                    b.mul(y, y)
                },
            },
            Case {
                name: "used at several stages",
                x: &[3, 5],
                z: &[3, 1],
                build: |b, x, z| {
                    let y = b.primitive(NORM, &[x])?;
                    let scaled = b.mul(y, z)?;
                    let shifted = b.add(scaled, z)?;
                    let product = b.mul(y, scaled)?;
                    b.mul(product, shifted)
                },
            },
            Case {
                name: "before values of each pixel",
                x: &[3, 5],
                z: &[1, 5],
                build: |b, x, z| {
                    let y = b.primitive(NORM, &[x])?;
                    let y = b.add(y, z)?;
                    b.mul(y, z)
                },
            },
            Case {
                name: "of the batch and an axis as one",
                x: &[3, 5],
                z: &[3, 5],
                build: |b, x, z| {
                    let x = b.reshape(x, rows(3, &[1, 5]))?;
                    let y = b.primitive(NORM, &[x])?;
                    let y = b.reshape(y, Shape::batch(&[3, 5]))?;
                    b.mul(y, z)
                },
            },
        ]
    }

    #[test]
    fn an_opened_norm_and_its_gradient_are_right() {
        for case in cases() {
            let [closed, open] = forward(&case);
            let largest = |values: &ArrayD<f64>| values.iter().fold(0.0f64, |most, v| most.max(v.abs()));
            let apart = largest(&(&closed - &open)) / largest(&closed);
            assert!(apart < CONSTANTS, "{}: {apart:.1e}", case.name);
            for wrt in 0..2 {
                let error = error(&case, wrt, &rules::rule).unwrap();
                assert!(
                    error < FINITE_DIFFERENCE,
                    "{} with respect to operand {wrt}: {error:.1e}",
                    case.name
                );
            }
        }
    }

    #[test]
    fn a_gradient_that_forgets_the_mean_or_the_deviation_is_noticed() {
        for part in ["ReduceMean", "Sqrt"] {
            let wrong = move |b: &mut Builder, step: &Step<'_>, i: usize| -> Result<NodeId, GradientError> {
                let right = rules::rule(b, step, i)?;
                if step.op.name() == part { Ok(b.scale(right, 0.0)?) } else { Ok(right) }
            };
            let error = error(&cases()[0], 0, &wrong).unwrap();
            assert!(error > 100.0 * FINITE_DIFFERENCE, "{part}: {error:.1e}");
        }
    }

    #[test]
    fn what_is_one_value_a_channel_is_joined_without_the_image() {
        let mut b = Builder::new("joined");
        let [x, z] = [("x", [4, 3, 5]), ("z", [4, 1, 1])]
            .map(|(name, shape)| b.input(name, DType::F32, Shape::batch(&shape)));
        let y = (cases()[1].build)(&mut b, x, z).unwrap();
        b.output("y", y);
        let graph = opened(&b.finish()).unwrap();
        let whole = |name: &str| {
            let is = |node: &&Node| node.op.name() == name && node.ty.shape.sample_elements() == 60;
            graph.nodes().iter().filter(is).count()
        };
        // The squares of the centred image, the product of factor and image, and the case's own last product.
        assert_eq!(["Sub", "Mul", "Add", "Div", "InstanceNormalization"].map(whole), [1, 3, 1, 0, 0]);
    }
}
