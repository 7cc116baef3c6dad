//! Reading: from a file or a folder to a stack of images.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anomalens_models::image::normalise::{NormaliseError, Normaliser};
use anomalens_models::preset::ImageSpec;
use dicom_object::InMemDicomObject;
use ndarray::Array3;

use crate::error::ReadError;
use crate::geometry::Geometry;

/// What is in a file or folder: the series that could be translated, and what was left out and why.
#[derive(Debug, Clone)]
pub struct Inventory {
    /// Where it was looked.
    pub path: PathBuf,
    /// Series in order of their first file.
    pub series: Vec<Series>,
    /// Files left out, with the reason, e.g. `DICOMDIR`.
    pub skipped: Vec<(PathBuf, String)>,
}

/// One series of an inventory; slices not yet sorted.
#[derive(Debug, Clone)]
pub struct Series {
    /// Series Instance UID (0020,000E).
    pub uid: String,
    /// Modality (0008,0060).
    pub modality: String,
    /// Series Description (0008,103E) and Protocol Name (0018,1030), as far as they are there.
    pub description: String,
    /// One a file.
    pub images: Vec<Arc<Source>>,
}

/// A source object: everything but its pixels.
#[derive(Debug, Clone)]
pub struct Source {
    /// The file.
    pub path: PathBuf,
    /// The data set up to the pixel data.
    pub object: InMemDicomObject,
    /// Transfer syntax UID.
    pub transfer_syntax: String,
    /// Where it lies.
    pub geometry: Geometry,
}

/// One slice of the stack, with all its channels.
#[derive(Debug, Clone)]
pub struct SourceSlice {
    /// Place in the stack, from 0.
    pub index: usize,
    /// [C, H, W] in the source's rescaled units (e.g. HU), MONOCHROME1 inverted so that more is brighter.
    pub pixels: Array3<f32>,
    /// The source object of each channel, in network order.
    pub sources: Vec<Arc<Source>>,
}

/// A stack of slices on one grid, ready to be normalised.
#[derive(Debug, Clone)]
pub struct Study {
    /// Channel names in network order.
    pub channels: Vec<String>,
    /// The intensity of each channel that becomes 0, in the source's units: what [`Normaliser::fit`] wants.
    pub floors: Vec<f32>,
    /// Slices sorted along the normal.
    pub slices: Vec<SourceSlice>,
    /// Every decision taken while reading, one sentence each, for `inspect` and the report.
    pub decisions: Vec<String>,
    /// What a person should look at.
    pub warnings: Vec<String>,
}

/// Lists the series in a file or (recursively) in a folder. A file that cannot be used is an error where it is
/// named itself, and left out with a reason where it lies in a folder; a damaged one is always an error.
///
/// Errors: [`ReadError`].
pub fn scan(path: &Path) -> Result<Inventory, ReadError> {
    todo!("{path:?}")
}

/// Reads the stack that a bundle wants: `image` says which channels, `overrides` names a file or folder for
/// some of them. Where every channel is named, `input` is not looked at.
///
/// Errors: [`ReadError`].
pub fn read(input: &Path, image: &ImageSpec, overrides: &[(String, PathBuf)]) -> Result<Study, ReadError> {
    todo!("{input:?} {image:?} {overrides:?}")
}

impl Study {
    /// Measures the normalisation of each channel over the whole stack; `percentile` in (0, 100].
    ///
    /// Errors: [`NormaliseError`], naming channel and series.
    pub fn normalisers(&self, percentile: f64) -> Result<Vec<Normaliser>, NormaliseError> {
        todo!("{percentile}")
    }
}

impl SourceSlice {
    /// Height and width.
    pub fn size(&self) -> [usize; 2] {
        [self.pixels.dim().1, self.pixels.dim().2]
    }

    /// The slice [C, H, W] in [0, 1].
    pub fn normalised(&self, normalisers: &[Normaliser]) -> Array3<f32> {
        todo!("{normalisers:?}")
    }
}
