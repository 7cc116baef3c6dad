//! A network as a value: a typed, append-only list of nodes with named parameters and one open dimension.
//!
//! ```text
//! %0 = Input "x"                                [N, 4, 32, 32]
//! %1 = Param "input_blocks.0.0.weight"          [32, 4, 3, 3]
//! %2 = Param "input_blocks.0.0.bias"            [32]
//! %3 = Conv(%0, %1, %2)                         [N, 32, 32, 32]
//! ```
//!
//! Nodes are of two sorts. A [`Primitive`] has an ONNX name, a shape rule, a reference loop
//! ([`mod@reference`]), a lowering and a gradient rule (both in the exporter). A [`Composite`] (group norm, SiLU,
//! attention, …) carries its own body in primitives ([`composite`]): a reader that knows a better kernel may take
//! it whole, every other reader asks for [`Graph::expanded`] and sees primitives alone.
//!
//! Every reader is one exhaustive `match` over the primitives without a wildcard, so that adding a primitive does
//! not compile until each of them handles it.

mod builder;
pub mod composite;
pub mod describe;
mod error;
mod init;
mod op;
pub mod reference;
mod rules;
mod shape;
mod splice;
mod tensor;
mod window;

pub use builder::{Builder, last_exchanged};
pub use composite::Composite;
pub use error::GraphError;
pub use init::Init;
pub use op::{Constant, Op, Primitive};
pub use shape::{DType, Dim, Shape, TensorType};
pub use tensor::{ParamSource, Tensor};
pub use window::Window;

/// The place of a node in its graph; also the name of the one value that the node makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(usize);

impl NodeId {
    /// The node's position in [`Graph::nodes`].
    pub fn index(self) -> usize {
        self.0
    }
}

/// One operation and the one value that it makes.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// What is done.
    pub op: Op,
    /// To what; always nodes that stand before this one.
    pub inputs: Vec<NodeId>,
    /// Type of the value.
    pub ty: TensorType,
    /// Place in the network, e.g. `input_blocks.1.0.in_layers.2`: the reference's module path.
    pub scope: String,
}

/// A named parameter: the name is the reference's state-dict key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParamSpec {
    /// E.g. `input_blocks.0.0.weight`.
    pub name: String,
    /// E.g. `[32, 4, 3, 3]`.
    pub shape: Vec<usize>,
    /// What training starts from.
    pub init: Init,
}

/// A network: see the module's documentation. Made by a [`Builder`], never changed afterwards.
#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    name: String,
    nodes: Vec<Node>,
    params: Vec<ParamSpec>,
    outputs: Vec<(String, NodeId)>,
}

impl Graph {
    /// The network's name, e.g. `unet`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All nodes, each after those that it uses.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Every node with its place.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (NodeId, &Node)> {
        self.nodes.iter().enumerate().map(|(i, node)| (NodeId(i), node))
    }

    /// One node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// The parameters, in the order of the reference's `state_dict`.
    pub fn params(&self) -> &[ParamSpec] {
        &self.params
    }

    /// The inputs: name and node, in the order they were declared.
    pub fn inputs(&self) -> impl Iterator<Item = (&str, NodeId)> {
        self.iter().filter_map(|(id, node)| match &node.op {
            Op::Primitive(Primitive::Input { name, .. }) => Some((name.as_str(), id)),
            _ => None,
        })
    }

    /// The outputs: name and node.
    pub fn outputs(&self) -> &[(String, NodeId)] {
        &self.outputs
    }

    /// The node of a named output.
    ///
    /// Errors: [`GraphError::NoSuchOutput`].
    pub fn output(&self, name: &str) -> Result<NodeId, GraphError> {
        self.outputs.iter().find(|(n, _)| n == name).map(|(_, id)| *id).ok_or_else(|| {
            GraphError::NoSuchOutput {
                graph: self.name.clone(),
                found: name.to_owned(),
                expected: self.outputs.iter().map(|(n, _)| n.clone()).collect::<Vec<_>>().join(", "),
            }
        })
    }

    /// The number of scalar parameters.
    pub fn param_count(&self) -> usize {
        self.params.iter().map(|p| p.shape.iter().product::<usize>()).sum()
    }

    /// The same network in primitives alone: every composite replaced by its body.
    pub fn expanded(&self) -> Graph {
        self.expanded_but(|_| false)
    }

    /// The same network with every composite replaced by its body, except those nodes that are kept `whole`.
    pub fn expanded_but(&self, whole: impl Fn(&Node) -> bool) -> Graph {
        let mut builder = Builder::new(&self.name);
        let mut new = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let inputs: Vec<NodeId> = node.inputs.iter().map(|i| new[i.0]).collect();
            let id = builder.at(&node.scope, |b| match &node.op {
                Op::Composite(composite) if !whole(node) => composite.body(b, &inputs),
                Op::Composite(_) | Op::Primitive(_) => b.push(node.op.clone(), &inputs),
            });
            new.push(id.expect("a composite's type was inferred from its body when it was built"));
        }
        for (name, id) in &self.outputs {
            builder.output(name, new[id.0]);
        }
        builder.finish()
    }

    /// The same graph without the nodes that no output needs; inputs and parameters stay, since they are the
    /// network's interface.
    pub fn pruned(&self) -> Graph {
        let mut used = vec![false; self.nodes.len()];
        for (_, id) in &self.outputs {
            used[id.0] = true;
        }
        for (id, node) in self.iter().rev() {
            let interface = matches!(node.op, Op::Primitive(Primitive::Input { .. } | Primitive::Param(_)));
            used[id.0] |= interface;
            if used[id.0] {
                node.inputs.iter().for_each(|i| used[i.0] = true);
            }
        }
        let mut new = vec![NodeId(0); self.nodes.len()];
        let mut nodes = Vec::new();
        for (id, node) in self.iter().filter(|(id, _)| used[id.0]) {
            new[id.0] = NodeId(nodes.len());
            let inputs = node.inputs.iter().map(|i| new[i.0]).collect();
            nodes.push(Node { inputs, ..node.clone() });
        }
        let outputs = self.outputs.iter().map(|(name, id)| (name.clone(), new[id.0])).collect();
        Graph { name: self.name.clone(), nodes, params: self.params.clone(), outputs }
    }

    /// For each node, the last node that uses it (itself if none does; the end of the list for outputs), so that
    /// an interpreter can free values early.
    pub fn last_uses(&self) -> Vec<usize> {
        let mut last: Vec<usize> = (0..self.nodes.len()).collect();
        for (id, node) in self.iter() {
            for input in &node.inputs {
                last[input.0] = id.0;
            }
        }
        for (_, id) in &self.outputs {
            last[id.0] = self.nodes.len();
        }
        last
    }
}
