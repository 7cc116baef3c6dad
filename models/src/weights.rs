//! Parameters of a network, as safetensors: read through a memory map, written tensor by tensor, checked against
//! the parameters that a graph wants, or drawn at random.
//!
//! ```text
//! checkpoint ── shapes ──> check_keys(graph.params()) ──> WeightsWriter ──> weights.safetensors
//!                                                                              │
//!                       Weights::open ── param(name): the reference interpreter┤
//!                                     └─ location(name): ONNX external data ───┘
//! ```
//!
//! A bundle keeps its networks in one file, under the prefixes [`UNET_PREFIX`] and [`CLASSIFIER_PREFIX`], or [`NETWORK_PREFIX`].

mod element;
mod file;
mod header;
mod initial;
mod keys;
mod mapped;
mod precision;
mod random;
mod writer;

pub use element::Element;
pub use file::{Location, Part, Weights, WeightsError};
pub use initial::initial;
pub use keys::{KeyMismatch, check_keys};
pub use mapped::MappedFile;
pub use precision::Precision;
pub use random::RandomWeights;
pub use writer::{TensorSpec, TensorWriter, WeightsWriter};

use std::collections::BTreeMap;

/// What stands before the name of a U-Net parameter in a bundle's weights.
pub const UNET_PREFIX: &str = "unet.";
/// What stands before the name of a classifier parameter in a bundle's weights.
pub const CLASSIFIER_PREFIX: &str = "classifier.";
/// What stands before the name of a parameter in a bundle's weights, where one network makes images healthy in one pass.
pub const NETWORK_PREFIX: &str = "network.";

/// Names and shapes of the tensors of a checkpoint.
pub type Shapes = BTreeMap<String, Vec<usize>>;
