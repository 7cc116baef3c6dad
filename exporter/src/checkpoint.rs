//! A checkpoint that a person brings: a guided-diffusion `.pt` or a `.safetensors`, told apart by their content.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anomalens_models::graph::{ParamSource, ParamSpec};
use anomalens_models::weights::{KeyMismatch, Shapes, Weights, WeightsError, check_keys};
use ndarray::ArrayD;

use crate::pt::PtFile;

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
    /// Begins as a `.pt` does, but cannot be read.
    #[error("checkpoint '{}': {what}: {cause}, expected a whole file written by torch.save; copy or save it again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The part of it.
        what: String,
        /// The cause.
        cause: String,
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
    /// An element type other than f32.
    #[error("checkpoint '{}': tensor '{name}' is {found}, expected f32; convert it with tensor.float() and save again", path.display())]
    DType {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The type found.
        found: String,
    },
    /// The keys are not those of the network.
    #[error(transparent)]
    Keys(#[from] Box<KeyMismatch>),
    /// A safetensors file that could not be read.
    #[error(transparent)]
    Weights(#[from] WeightsError),
}

/// Named f32 tensors, read one at a time.
pub struct Checkpoint {
    path: PathBuf,
    /// What stands before each name: empty, or the key and a dot.
    prefix: String,
    format: Format,
}

enum Format {
    Pt(PtFile),
    Safetensors(Weights),
}

impl Checkpoint {
    /// Opens a checkpoint and reads its table of contents. `key` names the entry that holds the network, where
    /// the file holds more: `{"model": {…}}`, or names that begin with `model.`.
    ///
    /// Errors: [`CheckpointError`].
    pub fn open(path: &Path, key: Option<&str>) -> Result<Self, CheckpointError> {
        let io = |source| CheckpointError::Io { path: path.to_owned(), source };
        let mut head = Vec::new();
        File::open(path).map_err(io)?.take(9).read_to_end(&mut head).map_err(io)?;
        let format = match head.as_slice() {
            [b'P', b'K', 3, 4, ..] => Format::Pt(PtFile::open(path)?),
            // Eight bytes of header length, then the header's JSON.
            [_, _, _, _, _, _, _, _, b'{'] => Format::Safetensors(Weights::open(path)?),
            // A pickle of protocol 2 or later.
            [0x80, 2..=5, ..] => return Err(CheckpointError::Legacy { path: path.to_owned() }),
            [] => {
                return Err(CheckpointError::Unknown {
                    path: path.to_owned(),
                    found: "an empty file".into(),
                });
            }
            other => {
                let found = format!("a file that begins with {other:02x?}");
                return Err(CheckpointError::Unknown { path: path.to_owned(), found });
            }
        };
        let prefix = key.map(|key| format!("{key}.")).unwrap_or_default();
        let checkpoint = Self { path: path.to_owned(), prefix, format };
        match key {
            Some(key) if checkpoint.shapes().is_empty() => Err(CheckpointError::Key {
                path: path.to_owned(),
                key: key.to_owned(),
                found: checkpoint.top_level_keys(),
            }),
            _ => Ok(checkpoint),
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names (below the key) and shapes.
    pub fn shapes(&self) -> Shapes {
        let below =
            |(name, shape): (String, Vec<usize>)| Some((name.strip_prefix(&self.prefix)?.into(), shape));
        self.all_shapes().into_iter().filter_map(below).collect()
    }

    /// Checks that the checkpoint holds every parameter of a network, as f32 and in the right shape, and nothing
    /// else. `network` names it in the error.
    ///
    /// Errors: [`CheckpointError::Keys`], [`CheckpointError::DType`].
    pub fn check(&self, network: &str, params: &[ParamSpec]) -> Result<(), CheckpointError> {
        check_keys(&self.path.display().to_string(), network, &self.shapes(), params)?;
        params.iter().try_for_each(|param| {
            let found = match &self.format {
                Format::Pt(file) => file.dtype(&self.full(&param.name)),
                Format::Safetensors(weights) => weights.dtype(&self.full(&param.name))?,
            };
            if found == "f32" {
                return Ok(());
            }
            Err(CheckpointError::DType { path: self.path.clone(), name: self.full(&param.name), found })
        })
    }

    /// A copy of one tensor.
    ///
    /// Errors: [`CheckpointError::Damaged`], [`CheckpointError::DType`], [`CheckpointError::Weights`].
    pub fn read(&self, name: &str) -> Result<ArrayD<f32>, CheckpointError> {
        match &self.format {
            Format::Pt(file) => file.read(&self.full(name)),
            Format::Safetensors(weights) => Ok(weights.read(&self.full(name))?),
        }
    }

    fn full(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn all_shapes(&self) -> Shapes {
        match &self.format {
            Format::Pt(file) => file.shapes(),
            Format::Safetensors(weights) => weights.shapes(),
        }
    }

    fn top_level_keys(&self) -> String {
        let shapes = self.all_shapes();
        let mut keys: Vec<&str> = shapes.keys().filter_map(|name| name.split('.').next()).collect();
        keys.dedup();
        if keys.is_empty() { "no tensors at all".into() } else { keys.join(", ") }
    }
}

impl ParamSource for Checkpoint {
    fn param(&self, name: &str) -> Option<ArrayD<f32>> {
        self.read(name).ok()
    }
}
