//! Builds a graph node by node, checking every shape as it goes.

use super::{
    Composite, Constant, DType, Graph, GraphError, Init, Node, NodeId, Op, ParamSpec, Primitive, Shape,
    TensorType,
};
use super::{composite, rules};

/// Builds a [`Graph`]. Every method that adds a node checks its shape rule and fails with
/// [`GraphError::Shape`], which names the place in the network.
#[derive(Debug)]
pub struct Builder {
    graph: Graph,
    scope: String,
}

impl Builder {
    /// An empty graph.
    pub fn new(name: &str) -> Self {
        let graph =
            Graph { name: name.to_owned(), nodes: Vec::new(), params: Vec::new(), outputs: Vec::new() };
        Self { graph, scope: String::new() }
    }

    /// Goes on building where `graph` ends: its nodes keep their ids, its outputs are dropped.
    pub fn extend(mut graph: Graph, name: &str) -> Self {
        graph.outputs.clear();
        graph.name = name.to_owned();
        Self { graph, scope: String::new() }
    }

    /// The graph built so far.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Runs `f` in a scope below the present one: `out` within `input_blocks.1` is `input_blocks.1.out`.
    pub fn within<T>(&mut self, name: &str, f: impl FnOnce(&mut Self) -> T) -> T {
        let inner = if self.scope.is_empty() { name.to_owned() } else { format!("{}.{name}", self.scope) };
        self.at(&inner, f)
    }

    /// Runs `f` in a scope given whole.
    pub fn at<T>(&mut self, scope: &str, f: impl FnOnce(&mut Self) -> T) -> T {
        let outer = std::mem::replace(&mut self.scope, scope.to_owned());
        let result = f(self);
        self.scope = outer;
        result
    }

    /// Adds a node.
    ///
    /// Errors: [`GraphError::Shape`].
    pub fn push(&mut self, op: Op, inputs: &[NodeId]) -> Result<NodeId, GraphError> {
        let types: Vec<TensorType> = inputs.iter().map(|&i| self.graph.node(i).ty.clone()).collect();
        let inferred = match &op {
            Op::Primitive(p) => rules::infer(p, &types),
            Op::Composite(c) => composite::infer(c, &types),
        };
        let ty = inferred.map_err(|expected| GraphError::Shape {
            graph: self.graph.name.clone(),
            scope: self.scope.clone(),
            op: op.name().to_owned(),
            found: types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
            expected,
        })?;
        if let Op::Primitive(Primitive::Param(spec)) = &op {
            self.graph.params.push(spec.clone());
        }
        let id = NodeId(self.graph.nodes.len());
        self.graph.nodes.push(Node { op, inputs: inputs.to_vec(), ty, scope: self.scope.clone() });
        Ok(id)
    }

    /// Type of a value.
    pub fn ty(&self, id: NodeId) -> &TensorType {
        &self.graph.node(id).ty
    }

    /// Shape of a value.
    pub fn shape(&self, id: NodeId) -> &Shape {
        &self.ty(id).shape
    }

    /// Declares an input.
    pub fn input(&mut self, name: &str, dtype: DType, shape: Shape) -> NodeId {
        let ty = TensorType { dtype, shape };
        self.leaf(Primitive::Input { name: name.to_owned(), ty })
    }

    /// Declares a parameter and what training starts it from; its name is the scope's, then `name`.
    pub fn param(&mut self, name: &str, shape: &[usize], init: Init) -> NodeId {
        let name = if self.scope.is_empty() { name.to_owned() } else { format!("{}.{name}", self.scope) };
        self.leaf(Primitive::Param(ParamSpec { name, shape: shape.to_vec(), init }))
    }

    /// A constant of one value, of rank 1.
    pub fn scalar(&mut self, value: f64) -> NodeId {
        self.leaf(Primitive::Constant(Constant { shape: vec![1], values: vec![value as f32] }))
    }

    /// A constant vector.
    pub fn vector(&mut self, values: Vec<f32>) -> NodeId {
        self.leaf(Primitive::Constant(Constant { shape: vec![values.len()], values }))
    }

    /// A constant, row by row.
    ///
    /// Errors: [`GraphError::Shape`] for another number of values than the shape says.
    pub fn constant(&mut self, shape: &[usize], values: Vec<f32>) -> Result<NodeId, GraphError> {
        self.primitive(Primitive::Constant(Constant { shape: shape.to_vec(), values }), &[])
    }

    fn leaf(&mut self, op: Primitive) -> NodeId {
        self.push(Op::Primitive(op), &[]).expect("a leaf has no inputs that could be of a wrong shape")
    }

    /// Names a value as an output.
    pub fn output(&mut self, name: &str, id: NodeId) {
        self.graph.outputs.push((name.to_owned(), id));
    }

    /// The finished graph.
    pub fn finish(self) -> Graph {
        self.graph
    }

    /// Adds a primitive.
    pub fn primitive(&mut self, op: Primitive, inputs: &[NodeId]) -> Result<NodeId, GraphError> {
        self.push(Op::Primitive(op), inputs)
    }

    /// Adds a composite.
    pub fn composite(&mut self, op: Composite, inputs: &[NodeId]) -> Result<NodeId, GraphError> {
        self.push(Op::Composite(op), inputs)
    }

    /// a + b.
    pub fn add(&mut self, a: NodeId, b: NodeId) -> Result<NodeId, GraphError> {
        self.primitive(Primitive::Add, &[a, b])
    }

    /// a − b.
    pub fn sub(&mut self, a: NodeId, b: NodeId) -> Result<NodeId, GraphError> {
        self.primitive(Primitive::Sub, &[a, b])
    }

    /// a · b.
    pub fn mul(&mut self, a: NodeId, b: NodeId) -> Result<NodeId, GraphError> {
        self.primitive(Primitive::Mul, &[a, b])
    }

    /// a / b.
    pub fn div(&mut self, a: NodeId, b: NodeId) -> Result<NodeId, GraphError> {
        self.primitive(Primitive::Div, &[a, b])
    }

    /// x · value.
    pub fn scale(&mut self, x: NodeId, value: f64) -> Result<NodeId, GraphError> {
        let value = self.scalar(value);
        self.mul(x, value)
    }

    /// Matrix product over the last two axes.
    pub fn matmul(&mut self, a: NodeId, b: NodeId) -> Result<NodeId, GraphError> {
        self.primitive(Primitive::MatMul, &[a, b])
    }

    /// The same elements in another shape.
    pub fn reshape(&mut self, x: NodeId, shape: Shape) -> Result<NodeId, GraphError> {
        self.primitive(Primitive::Reshape { shape }, &[x])
    }

    /// The last two axes exchanged.
    pub fn transpose_last(&mut self, x: NodeId) -> Result<NodeId, GraphError> {
        let perm = last_exchanged(self.shape(x).rank());
        self.primitive(Primitive::Transpose { perm }, &[x])
    }

    /// Elements `start..end` of an axis.
    pub fn slice(&mut self, x: NodeId, axis: usize, start: usize, end: usize) -> Result<NodeId, GraphError> {
        self.primitive(Primitive::Slice { axis, start, end, step: 1 }, &[x])
    }

    /// Zeros before and after an axis.
    pub fn pad(&mut self, x: NodeId, axis: usize, before: usize, after: usize) -> Result<NodeId, GraphError> {
        self.primitive(Primitive::Pad { axis, before, after, value: 0.0 }, &[x])
    }

    /// Values one behind the other along an axis.
    pub fn concat(&mut self, parts: &[NodeId], axis: usize) -> Result<NodeId, GraphError> {
        self.primitive(Primitive::Concat { axis }, parts)
    }

    /// Mean over axes, which stay with length 1.
    pub fn mean(&mut self, x: NodeId, axes: &[usize]) -> Result<NodeId, GraphError> {
        self.primitive(Primitive::ReduceMean { axes: axes.to_vec() }, &[x])
    }

    /// Sum over axes, which stay with length 1.
    pub fn sum(&mut self, x: NodeId, axes: &[usize]) -> Result<NodeId, GraphError> {
        self.primitive(Primitive::ReduceSum { axes: axes.to_vec() }, &[x])
    }
}

/// The permutation that exchanges the last two of so many axes; of fewer than two axes, that which leaves them.
pub fn last_exchanged(rank: usize) -> Vec<usize> {
    let mut perm: Vec<usize> = (0..rank).collect();
    if rank >= 2 {
        perm.swap(rank - 2, rank - 1);
    }
    perm
}
