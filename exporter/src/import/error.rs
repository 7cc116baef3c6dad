//! Why an ONNX model did not become a graph.

use std::fmt;
use std::io;
use std::path::PathBuf;

use anomalens_models::graph::GraphError;

/// A node of the model, as messages name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The model's graph.
    pub graph: String,
    /// The node's name; where it has none, that of its first output.
    pub node: String,
    /// Its operator, with the domain where that is not ONNX's own.
    pub op: String,
    /// Its number among the nodes, from 1, and how many there are.
    pub position: [usize; 2],
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [number, of] = self.position;
        write!(f, "graph '{}', node '{}' ({number} of {of}): {}", self.graph, self.node, self.op)
    }
}

/// Why an ONNX model did not become a graph.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// A file could not be read.
    #[error("'{}': {source}; expected a readable file beside the model", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Not an ONNX model.
    #[error("'{}': {source}; expected an ONNX model", path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: prost::DecodeError,
    },
    /// The model as a whole is not of a kind that is read.
    #[error("graph '{graph}': {what}: found {found}, expected {expected}")]
    Model {
        /// The model's graph.
        graph: String,
        /// E.g. `opset`.
        what: String,
        /// What was found.
        found: String,
        /// What would do.
        expected: String,
    },
    /// An operator that is not read.
    #[error(
        "{place}: this operator is not supported; {}supported are {supported}",
        near.map_or(String::new(), |near| format!("nearest is {near}; "))
    )]
    Op {
        /// The node.
        place: Box<Place>,
        /// What would do in its place.
        near: Option<&'static str>,
        /// All that are.
        supported: String,
    },
    /// An attribute that is not read, or not with this value.
    #[error("{place}: attribute {attribute}: found {found}, supported: {supported}")]
    Attribute {
        /// The node.
        place: Box<Place>,
        /// The attribute.
        attribute: String,
        /// Its value.
        found: String,
        /// Values that are read.
        supported: String,
    },
    /// An operand that is missing, or not of a kind that is read.
    #[error("{place}: operand {operand}: found {found}, supported: {supported}")]
    Operand {
        /// The node.
        place: Box<Place>,
        /// Its position among the node's inputs.
        operand: usize,
        /// What was found.
        found: String,
        /// What is read.
        supported: String,
    },
    /// A node that does not fit its operands.
    #[error("{place}: {source}")]
    Graph {
        /// The node.
        place: Box<Place>,
        /// The shape rule.
        source: Box<GraphError>,
    },
    /// A stored tensor that cannot be read.
    #[error("tensor '{tensor}': found {found}, expected {expected}")]
    Tensor {
        /// The tensor.
        tensor: String,
        /// What was found.
        found: String,
        /// What would do.
        expected: String,
    },
}
