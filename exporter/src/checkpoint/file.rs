//! A file of named tensors, in either format.

use std::borrow::Cow;
use std::fs;
use std::io::Read;
use std::path::Path;

use anomalens_models::weights::{Element, Shapes, Weights};

use super::CheckpointError;
use crate::pt::PtFile;

/// Named tensors as the file names them.
pub enum File {
    Pt(PtFile),
    Safetensors(Weights),
}

impl File {
    /// Opens a file of either format, told by its first bytes.
    ///
    /// Errors: [`CheckpointError`].
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let io = |source| CheckpointError::Io { path: path.to_owned(), source };
        // The first block of a tar archive.
        let mut head = Vec::new();
        fs::File::open(path).map_err(io)?.take(512).read_to_end(&mut head).map_err(io)?;
        let found = match head.as_slice() {
            [b'P', b'K', 3, 4, ..] => return PtFile::open(path).map(Self::Pt),
            // Eight bytes of header length, then the header's JSON.
            [_, _, _, _, _, _, _, _, b'{', ..] => return Ok(Self::Safetensors(Weights::open(path)?)),
            // A pickle of protocol 2 or later.
            [0x80, 2..=5, ..] => return Err(CheckpointError::Legacy { path: path.to_owned() }),
            block if block.get(257..262) == Some(b"ustar") => {
                return Err(CheckpointError::Tar { path: path.to_owned() });
            }
            [] => "an empty file".into(),
            [0x1f, 0x8b, ..] => "a file packed by gzip".into(),
            other => format!("a file that begins with {:02x?}", &other[..other.len().min(9)]),
        };
        Err(CheckpointError::Unknown { path: path.to_owned(), found })
    }

    /// The names of all tensors.
    pub fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        match self {
            Self::Pt(file) => Box::new(file.names()),
            Self::Safetensors(weights) => Box::new(weights.names()),
        }
    }

    /// Whether there is such a tensor, be it one that cannot be read.
    pub fn has(&self, name: &str) -> bool {
        match self {
            Self::Pt(file) => file.has(name),
            Self::Safetensors(weights) => weights.shape(name).is_some(),
        }
    }

    /// Names and shapes of the tensors that can be read.
    pub fn shapes(&self) -> Shapes {
        match self {
            Self::Pt(file) => file.shapes(),
            Self::Safetensors(weights) => weights.shapes(),
        }
    }

    /// The shape of a tensor that can be read.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        match self {
            Self::Pt(file) => file.shape(name),
            Self::Safetensors(weights) => weights.shape(name),
        }
    }

    /// Element type of a tensor.
    ///
    /// Errors: [`CheckpointError::Unreadable`], [`CheckpointError::Weights`].
    pub fn element(&self, name: &str) -> Result<Element, CheckpointError> {
        match self {
            Self::Pt(file) => file.element(name),
            Self::Safetensors(weights) => Ok(weights.element(name)?),
        }
    }

    /// A tensor's data, row-major, little-endian.
    ///
    /// Errors: [`CheckpointError::Damaged`], [`CheckpointError::Unreadable`], [`CheckpointError::Weights`].
    pub fn bytes(&self, name: &str) -> Result<Cow<'_, [u8]>, CheckpointError> {
        match self {
            Self::Pt(file) => file.bytes(name),
            Self::Safetensors(weights) => Ok(Cow::Borrowed(weights.bytes(name)?)),
        }
    }
}
