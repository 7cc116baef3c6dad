//! Held-out images, which no training has seen: what networks that round more than portable f32 must translate as that does.
//!
//! ```text
//! DIR/images.npy   f32 [N, C, H, W] in [0, 1]
//!     masks.npy    u8  [N, H, W], not 0 where the anomaly is; may be absent
//! ```
//!
//! That is how `anomalens-cohort` writes a cohort. Arrays may be larger than memory: they are mapped, and a few images are
//! taken, evenly spread over those that are marked somewhere, or over all of them where no mask is.

use std::io;
use std::path::{Path, PathBuf};

use ndarray::{ArrayView3, ArrayView4, Axis};
use ndarray_npy::{ViewNpyError, ViewNpyExt};
use sha2::{Digest, Sha256};

use crate::image::{ImageError, UnitImage};
use crate::preset::Preset;
use crate::weights::MappedFile;

const IMAGES: &str = "images.npy";
const MASKS: &str = "masks.npy";

/// Images that are taken: each is translated twice in a hundred steps.
const MOST: usize = 8;

/// Why held-out images cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HeldOutError {
    /// An array could not be read.
    #[error("held-out images '{}': {source}; expected a folder that anomalens-cohort has written, or one with images.npy in it", path.display())]
    Io {
        /// The array.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Not an array of the type that is wanted.
    #[error("held-out images '{}': {source}; expected an .npy array of {expected}", path.display())]
    Array {
        /// The array.
        path: PathBuf,
        /// What it should be.
        expected: &'static str,
        /// The cause.
        source: ViewNpyError,
    },
    /// An array of another shape.
    #[error("held-out images '{}': shape {found:?}, expected {expected}; give images that are as the preset's networks take them", path.display())]
    Shape {
        /// The array.
        path: PathBuf,
        /// Its shape.
        found: Vec<usize>,
        /// What it should be.
        expected: String,
    },
    /// A picture that is none.
    #[error("held-out images: {0}")]
    Image(#[from] ImageError),
}

/// The images that were taken.
#[derive(Debug)]
pub struct HeldOut {
    images: Vec<UnitImage>,
    truths: Option<Vec<Vec<bool>>>,
    positions: Vec<usize>,
    sha256: String,
}

/// The images of a folder, mapped; one at a time is read.
pub struct Pictures {
    path: PathBuf,
    file: MappedFile,
    count: usize,
}

impl Pictures {
    /// Opens `images.npy` of a folder, which must hold at least one image that a preset's networks take.
    ///
    /// Errors: [`HeldOutError`].
    pub fn open(folder: &Path, preset: &Preset) -> Result<Self, HeldOutError> {
        let path = folder.join(IMAGES);
        let mut pictures = Self { file: open(&path)?, path, count: 0 };
        let images = pictures.view()?;
        let (c, s) = (preset.channels(), preset.image.size);
        let fits = |found: &[usize]| found[0] > 0 && found[1..] == [c, s, s];
        if !fits(images.shape()) {
            let (path, found) = (pictures.path.clone(), images.shape().to_vec());
            let expected = format!("[N, {c}, {s}, {s}], N at least 1");
            return Err(HeldOutError::Shape { path, found, expected });
        }
        pictures.count = images.len_of(Axis(0));
        Ok(pictures)
    }

    fn view(&self) -> Result<ArrayView4<'_, f32>, HeldOutError> {
        view(&self.path, &self.file, "f32 [N, C, H, W], little-endian")
    }

    /// How many there are, at least 1.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The image at position `i`, below [`Pictures::count`].
    ///
    /// Errors: [`HeldOutError::Image`].
    pub fn image(&self, i: usize) -> Result<UnitImage, HeldOutError> {
        let what = format!("{}, image {i}", self.path.display());
        Ok(UnitImage::new(&what, self.view()?.index_axis(Axis(0), i).to_owned())?)
    }
}

impl HeldOut {
    /// Takes up to 8 images of a folder.
    ///
    /// Errors: [`HeldOutError`].
    pub fn read(folder: &Path, preset: &Preset) -> Result<Self, HeldOutError> {
        let pictures = Pictures::open(folder, preset)?;
        let (n, s) = (pictures.count(), preset.image.size);
        let masks_path = folder.join(MASKS);
        let masks_file = masks_path.exists().then(|| open(&masks_path)).transpose()?;
        let masks: Option<ArrayView3<'_, u8>> =
            masks_file.as_ref().map(|file| view(&masks_path, file, "u8 [N, H, W]")).transpose()?;
        if let Some(found) = masks.as_ref().map(|masks| masks.shape()).filter(|found| **found != [n, s, s]) {
            let (found, expected) = (found.to_vec(), format!("{:?}", [n, s, s]));
            return Err(HeldOutError::Shape { path: masks_path, found, expected });
        }
        let is_marked =
            |i: &usize| masks.as_ref().is_some_and(|m| m.index_axis(Axis(0), *i).iter().any(|&v| v != 0));
        let marked: Vec<usize> = (0..n).filter(is_marked).collect();
        // Where nothing is marked, no mask says how well it is found.
        let masks = masks.filter(|_| !marked.is_empty());
        let from = if marked.is_empty() { (0..n).collect() } else { marked };
        let most = MOST.min(from.len());
        let positions: Vec<usize> = (0..most).map(|k| from[k * from.len() / most]).collect();

        let images = positions.iter().map(|&i| pictures.image(i)).collect::<Result<Vec<_>, _>>()?;
        let truth = |masks: &ArrayView3<'_, u8>, i: usize| {
            masks.index_axis(Axis(0), i).iter().map(|&v| v != 0).collect()
        };
        let truths = masks.map(|masks| positions.iter().map(|&i| truth(&masks, i)).collect());
        let mut hash = Sha256::new();
        images.iter().flat_map(|image| image.pixels()).for_each(|v| hash.update(v.to_le_bytes()));
        let sha256 = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { images, truths, positions, sha256 })
    }

    /// The images.
    pub fn images(&self) -> &[UnitImage] {
        &self.images
    }

    /// Where each lies in the array, from 0.
    pub fn positions(&self) -> &[usize] {
        &self.positions
    }

    /// SHA-256 of the pixels that were taken, lower-case hexadecimal.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// What is marked in each, row by row; `None` where nothing is.
    pub fn truths(&self) -> Option<&[Vec<bool>]> {
        self.truths.as_deref()
    }
}

fn open(path: &Path) -> Result<MappedFile, HeldOutError> {
    MappedFile::open(path).map_err(|source| HeldOutError::Io { path: path.to_owned(), source })
}

/// An array in a mapped file.
fn view<'a, V: ViewNpyExt<'a>>(
    path: &Path,
    file: &'a MappedFile,
    expected: &'static str,
) -> Result<V, HeldOutError> {
    V::view_npy(file).map_err(|source| HeldOutError::Array { path: path.to_owned(), expected, source })
}

#[cfg(test)]
mod tests;
