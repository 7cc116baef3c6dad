//! Writing: results to derived DICOM objects, one file a kind of object.
//!
//! Every function takes source slices and results on their grid, and returns one complete object; nothing touches
//! the disk before [`Written::save`]. An object of the source's modality holds one slice; segmentations and parametric
//! maps hold the whole stack, a frame a slice.

mod copy;
mod derived;
mod describe;
mod element;
mod frames;
mod map;
mod mask;
mod modality;
mod objects;
mod parametric;
mod picture;
mod reconstruction;
mod scale;
mod segmentation;
mod uid;

use std::path::{Path, PathBuf};

use ndarray::ArrayView2;

use crate::error::WriteError;
use crate::read::SourceSlice;

pub use element::safe as file_word;
pub use map::{MapOf, map};
pub use mask::mask;
pub use objects::{Object, Objects, UnknownObject, anomaly_map};
pub use parametric::{MapNumbers, parametric_map};
pub use picture::{picture, pictures};
pub use reconstruction::reconstruction;
pub use scale::MapScale;
pub use segmentation::{fractional_map, segmentation};

/// One frame of a multi-frame object: a slice of the source and a result on its grid, [H, W].
pub type Frame<'a, T> = (&'a SourceSlice, ArrayView2<'a, T>);

/// What made a result; recorded in it, and part of its UIDs: the same run gives the same UIDs, any change new ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provenance {
    /// Program and version, e.g. `anomalens 0.1.0`.
    pub tool: String,
    /// Name of the bundle's preset, e.g. `brats256`.
    pub bundle: String,
    /// SHA-256 of the bundle's manifest.
    pub bundle_hash: String,
    /// Everything that changes the result, as a person reads it, always in the same order:
    /// `noise level 500, scale 100, healthy class 0, engine ort`.
    pub parameters: String,
    /// What a reader must know, e.g. `untrained weights`; may be empty.
    pub note: String,
    /// When, local time: `YYYYMMDD`, `HHMMSS` ([`Provenance::now`] gives it). Not part of the UIDs.
    pub created: [String; 2],
}

impl Provenance {
    /// The local date and time, as [`Provenance::created`] wants them.
    pub fn now() -> [String; 2] {
        let now = dicom_core::chrono::Local::now();
        [now.format("%Y%m%d").to_string(), now.format("%H%M%S").to_string()]
    }
}

/// One derived object, complete, as the bytes of a DICOM Part 10 file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// SOP Instance UID.
    pub sop_instance_uid: String,
    /// Series Instance UID.
    pub series_instance_uid: String,
    /// A file name, unique within the results of one stack: `0007-map.dcm`, `0007-reconstruction-flair.dcm`.
    pub file_name: String,
    /// The file.
    pub bytes: Vec<u8>,
}

impl Written {
    /// Writes the file into `folder` and returns its path. The caller owns the folder (temporary, then renamed).
    ///
    /// Errors: [`WriteError::Io`].
    pub fn save(&self, folder: &Path) -> Result<PathBuf, WriteError> {
        let path = folder.join(&self.file_name);
        std::fs::write(&path, &self.bytes).map_err(|source| WriteError::Io { path: path.clone(), source })?;
        Ok(path)
    }
}
