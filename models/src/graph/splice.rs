//! A network within another: because a network is a value, a larger one is made of it by putting it in.

use super::{Builder, Graph, GraphError, NodeId, Op, ParamSpec, Primitive};

impl Builder {
    /// Takes in a whole graph, below the scope `name`: its parameters are called `name.…`, and in the place of its inputs
    /// stand the values that `inputs` gives for their names. Returns the values of its outputs, in their order.
    ///
    /// Errors: [`GraphError::Unbound`] for an input without a value, [`GraphError::Bound`] for a value of another type than the
    /// input.
    pub fn splice(
        &mut self,
        name: &str,
        graph: &Graph,
        inputs: &[(&str, NodeId)],
    ) -> Result<Vec<NodeId>, GraphError> {
        let mut new: Vec<NodeId> = Vec::with_capacity(graph.nodes().len());
        for node in graph.nodes() {
            let scope = match node.scope.as_str() {
                "" => name.to_owned(),
                scope => format!("{name}.{scope}"),
            };
            let id = match &node.op {
                Op::Primitive(Primitive::Input { name: input, ty }) => {
                    let (graph, input) = (graph.name().to_owned(), input.clone());
                    match inputs.iter().find(|(n, _)| *n == input) {
                        None => return Err(GraphError::Unbound { graph, input }),
                        Some((_, id)) if self.ty(*id) != ty => {
                            let (found, expected) = (self.ty(*id).to_string(), ty.to_string());
                            return Err(GraphError::Bound { graph, input, found, expected });
                        }
                        Some((_, id)) => *id,
                    }
                }
                Op::Primitive(Primitive::Param(spec)) => {
                    let spec = ParamSpec { name: format!("{name}.{}", spec.name), ..spec.clone() };
                    self.at(&scope, |b| b.primitive(Primitive::Param(spec), &[]))?
                }
                op => {
                    let operands: Vec<NodeId> = node.inputs.iter().map(|i| new[i.index()]).collect();
                    self.at(&scope, |b| b.push(op.clone(), &operands))?
                }
            };
            new.push(id);
        }
        Ok(graph.outputs().iter().map(|(_, id)| new[id.index()]).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::graph::reference::{self, Value};
    use crate::graph::{DType, Init, ParamSource, Shape, Tensor};
    use ndarray::{ArrayD, IxDyn, arr1};

    /// y = w x.
    fn scaled() -> Graph {
        let mut b = Builder::new("scaled");
        let x = b.input("x", DType::F32, Shape::batch(&[2]));
        let w = b.param("w", &[2], Init::Zeros);
        let y = b.at("inner", |b| b.mul(x, w)).unwrap();
        b.output("y", y);
        b.finish()
    }

    #[test]
    fn two_networks_become_one() {
        let mut b = Builder::new("both");
        let x = b.input("x", DType::F32, Shape::batch(&[2]));
        let first = b.splice("first", &scaled(), &[("x", x)]).unwrap()[0];
        let second = b.splice("second", &scaled(), &[("x", first)]).unwrap()[0];
        b.output("y", second);
        let graph = b.finish();
        let names: Vec<_> = graph.params().iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["first.w", "second.w"]);
        assert_eq!(graph.node(second).scope, "second.inner");
        assert_eq!(graph.inputs().count(), 1);

        let params: HashMap<String, ArrayD<f32>> = [("first.w", [2.0, 3.0]), ("second.w", [5.0, 7.0])]
            .map(|(name, w)| (name.to_owned(), arr1(&w).into_dyn()))
            .into();
        let x = ArrayD::from_shape_vec(IxDyn(&[1, 2]), vec![1.0f32, -1.0]).unwrap();
        let inputs = [("x", Value::from(Tensor::F32(x)))];
        let found = reference::run(&graph, &params as &dyn ParamSource, &inputs).unwrap();
        assert_eq!(found[0].1.as_slice().unwrap(), [10.0, -21.0]);
    }

    #[test]
    fn an_input_wants_a_value_of_its_type() {
        let mut b = Builder::new("both");
        let x = b.input("z", DType::F32, Shape::batch(&[3]));
        let text = |inputs: &[(&str, NodeId)], b: &mut Builder| {
            b.splice("a", &scaled(), inputs).unwrap_err().to_string()
        };
        let unbound = text(&[("y", x)], &mut b);
        assert!(unbound.contains("'scaled'") && unbound.contains("input 'x'"), "{unbound}");
        let bound = text(&[("x", x)], &mut b);
        assert!(bound.contains("[N, 3]") && bound.contains("[N, 2]"), "{bound}");
    }
}
