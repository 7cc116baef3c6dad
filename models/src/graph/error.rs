//! Why a graph could not be built.

use crate::preset::MethodError;

/// Why a graph could not be built.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// An operation does not fit its inputs.
    #[error("graph '{graph}', at '{scope}': {op} of {found}: expected {expected}")]
    Shape {
        /// The graph.
        graph: String,
        /// Place in the network.
        scope: String,
        /// The operation.
        op: String,
        /// Types of the inputs.
        found: String,
        /// The shape rule that was broken.
        expected: String,
    },
    /// A network's definition contradicts itself.
    #[error("graph '{graph}': {what}: found {found}, expected {expected}")]
    Config {
        /// The graph.
        graph: String,
        /// The preset's key.
        what: &'static str,
        /// The value.
        found: String,
        /// What would be right.
        expected: String,
    },
    /// The preset holds the networks of another method.
    #[error(transparent)]
    Method(#[from] MethodError),
    /// A graph was put into another without a value for an input.
    #[error("graph '{graph}', put into another: input '{input}' has no value; give it one")]
    Unbound {
        /// The graph.
        graph: String,
        /// The input.
        input: String,
    },
    /// … with a value of another type.
    #[error("graph '{graph}', put into another: input '{input}': found {found}, expected {expected}")]
    Bound {
        /// The graph.
        graph: String,
        /// The input.
        input: String,
        /// Type of the value.
        found: String,
        /// Type of the input.
        expected: String,
    },
    /// A graph was asked for an output that it does not have.
    #[error("graph '{graph}' has no output '{found}'; it has {expected}")]
    NoSuchOutput {
        /// The graph.
        graph: String,
        /// Name asked for.
        found: String,
        /// Names there are.
        expected: String,
    },
}
