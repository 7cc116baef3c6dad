//! Why a checkpoint could not be used.

use std::io;
use std::path::PathBuf;

use anomalens_models::weights::{Element, KeyMismatch, WeightsError};

use super::family::Family;

/// Why a checkpoint could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The file could not be opened.
    #[error("checkpoint '{}': {source}; expected a readable .pt or .safetensors file", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Neither of the two formats.
    #[error("checkpoint '{}': found {found}, expected a .pt (zip) or .safetensors file", path.display())]
    Unknown {
        /// The file.
        path: PathBuf,
        /// What its first bytes look like.
        found: String,
    },
    /// A bare pickle, as torch.save wrote before PyTorch 1.6.
    #[error(
        "checkpoint '{0}': found the old format of torch.save, expected a zip; save it again: \
         python -c \"import torch; torch.save(torch.load('{0}', map_location='cpu', weights_only=True), 'new.pt')\"",
        path.display()
    )]
    Legacy {
        /// The file.
        path: PathBuf,
    },
    /// A tar archive, as torch.save wrote before PyTorch 0.1.10.
    #[error(
        "checkpoint '{0}': found a tar archive, expected a zip; if it is one of the first format of torch.save and you \
         trust it (loading it can run code), save it again: \
         python -c \"import torch; torch.save(torch.load('{0}', map_location='cpu', weights_only=False), 'new.pt')\"",
        path.display()
    )]
    Tar {
        /// The file.
        path: PathBuf,
    },
    /// A program with its weights, as torch.jit.save writes it.
    #[error(
        "checkpoint '{0}': found a TorchScript archive, expected a state_dict(); save that: \
         python -c \"import torch; torch.save(torch.jit.load('{0}', map_location='cpu').state_dict(), 'new.pt')\"",
        path.display()
    )]
    TorchScript {
        /// The file.
        path: PathBuf,
    },
    /// Begins as a `.pt` does, but cannot be read.
    #[error(
        "checkpoint '{}': {what}: {cause}; expected a whole state_dict() written by torch.save: copy or save it again",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The part of it.
        what: String,
        /// The cause.
        cause: String,
    },
    /// A tensor that only PyTorch can read.
    #[error(
        "checkpoint '{}': tensor '{name}' is {why}, expected a dense tensor of numbers; save it again from \
         {{name: t.detach().cpu().contiguous().clone() for name, t in state_dict.items()}}",
        path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// What it is.
        why: String,
    },
    /// Nothing stands under the key that was given.
    #[error("checkpoint '{}': no tensors under the key '{key}'; found {found}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// The key given.
        key: String,
        /// The keys that are there.
        found: String,
    },
    /// The network stands at more than one place.
    #[error("checkpoint '{}': found {network} under the keys {keys}, expected one; choose by {option}", path.display())]
    Ambiguous {
        /// The file.
        path: PathBuf,
        /// The network.
        network: String,
        /// Where it stands, e.g. `'ema', 'model'`.
        keys: String,
        /// The option that takes the key.
        option: String,
    },
    /// A network of another package that computes what no preset can say.
    #[error(
        "checkpoint '{}': {place} of {family}: found {found}, expected {expected}; this network is none of those that a \
         preset describes",
        path.display()
    )]
    Unmappable {
        /// The file.
        path: PathBuf,
        /// Whose network it is.
        family: Family,
        /// A tensor or a layer.
        place: String,
        /// What was found.
        found: String,
        /// What could be mapped.
        expected: String,
    },
    /// What must be known of a network and stands in no tensor.
    #[error(
        "checkpoint '{}': found no config.json beside it, expected the one that save_pretrained or save_config writes: what \
         no tensor of {family} shows stands there",
        path.display()
    )]
    NoConfig {
        /// The file.
        path: PathBuf,
        /// Whose network it is.
        family: Family,
    },
    /// What a package says of its network cannot be read, or is no network that a preset describes.
    #[error("'{}': {key}: found {found}, expected {expected}", path.display())]
    Config {
        /// The file, config.json.
        path: PathBuf,
        /// The key.
        key: String,
        /// What stands there.
        found: String,
        /// What could be read, or mapped.
        expected: String,
    },
    /// Tensors that become one, of different types.
    #[error(
        "checkpoint '{}': tensor '{name}' is {found}, expected {expected} as '{other}' is; convert one of them and save again",
        path.display()
    )]
    Mixed {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its type.
        found: Element,
        /// The tensor before it.
        other: String,
        /// The type of that.
        expected: Element,
    },
    /// An element type that weights do not have.
    #[error(
        "checkpoint '{}': tensor '{name}' is {found}, expected f32, f16, bf16 or f64; convert it with tensor.float() and save again",
        path.display()
    )]
    DType {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The type found.
        found: String,
    },
    /// A weight that is no number.
    #[error(
        "checkpoint '{}': tensor '{name}' holds {value} at {index:?}, expected finite numbers; training has diverged: \
         take an earlier checkpoint",
        path.display()
    )]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// What was found: NaN, an infinity, or a number that f32 cannot hold.
        value: String,
        /// Where.
        index: Vec<usize>,
    },
    /// The keys are not those of the network.
    #[error(transparent)]
    Keys(#[from] Box<KeyMismatch>),
    /// A safetensors file that could not be read.
    #[error(transparent)]
    Weights(#[from] WeightsError),
}
