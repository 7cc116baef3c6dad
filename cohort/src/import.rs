//! Images of other layouts as a cohort: BRATS, CheXpert, folders of one's own.
//!
//! Every importer works alike: it looks through the whole source first, so that what is missing is known before
//! anything is computed; then it reads subject by subject, normalises as `anomalens translate` does (min(x, q) / q, q
//! a percentile of the non-zero values of a series), puts each image into the network's square as `translate` does
//! ([`Frame`]), and appends it to a [`CohortWriter`]. Memory holds one volume and the chosen slices of one subject.

pub mod brats;
pub mod brats_slices;
pub mod chexpert;
pub mod folder;
mod read;
mod slab;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anomalens_models::image::frame::Frame;
use ndarray::{Array2, Array3};
use serde_json::Value;

use crate::{CohortError, CohortInfo, CohortWriter, Item, Sample};

/// The note of every imported cohort.
const NOTE: &str = "imported images; not for diagnostic use";
/// The channel of radiographs, as the preset `chexpert256` calls it.
pub const RADIOGRAPH: &str = "radiograph";

/// What every import wants to know.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Height and width of the cohort's images, pixels, 8 to 1024: the preset's.
    pub size: usize,
    /// q of the normalisation, percent (0, 100]: the preset's.
    pub percentile: f64,
}

/// What came of an import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// Images of class 0.
    pub healthy: usize,
    /// Images of class 1.
    pub diseased: usize,
    /// Why images were left out, and how many for each reason.
    pub left_out: BTreeMap<&'static str, usize>,
}

/// A cohort that images flow into.
struct Sink {
    writer: CohortWriter,
    size: usize,
    imported: Imported,
}

impl Sink {
    /// Errors: [`CohortError::Setting`], [`CohortError::Output`].
    fn create(
        out: &Path,
        settings: Settings,
        kind: &str,
        channels: &[&str],
        options: Value,
    ) -> Result<Self, CohortError> {
        let Settings { size, percentile } = settings;
        let wrong = |what, found: String, expected: &str| {
            Err(CohortError::Setting { what, found, expected: expected.to_owned() })
        };
        if !(8..=1024).contains(&size) {
            return wrong("the size", size.to_string(), "8 to 1024 pixels");
        }
        if !(percentile > 0.0 && percentile <= 100.0) {
            return wrong("the percentile", percentile.to_string(), "above 0, at most 100");
        }
        let info = CohortInfo {
            kind: kind.to_owned(),
            note: NOTE.to_owned(),
            channels: channels.iter().map(|&c| c.to_owned()).collect(),
            size,
            percentile,
            generator: serde_json::json!({
                "program": concat!("anomalens-cohort ", env!("CARGO_PKG_VERSION")),
                "import": kind,
                "options": options,
            }),
        };
        let imported = Imported { healthy: 0, diseased: 0, left_out: BTreeMap::new() };
        Ok(Self { writer: CohortWriter::create(out, info)?, size, imported })
    }

    /// Counts images that do not become items.
    fn leave_out(&mut self, why: &'static str, images: usize) {
        if images > 0 {
            *self.imported.left_out.entry(why).or_default() += images;
        }
    }

    /// Appends an image [C, h, w] in [0, 1] and its mask [h, w], of any height and width, put into the square.
    ///
    /// Errors: [`CohortError::Frame`] and those of [`CohortWriter::push`].
    fn push(
        &mut self,
        item: Item,
        image: &Array3<f32>,
        mask: Option<&Array2<bool>>,
    ) -> Result<(), CohortError> {
        let (_, h, w) = image.dim();
        let frame = Frame::fit([h, w], self.size)?;
        let framed = frame.apply(image)?;
        if framed.iter().all(|&v| v == 0.0) {
            self.leave_out("empty images", 1);
            return Ok(());
        }
        let mask = mask.map(|mask| frame.apply_mask(mask)).transpose()?;
        if item.diseased && mask.as_ref().is_some_and(|m| !m.iter().any(|&v| v)) {
            self.leave_out("images whose lesion is smaller than a pixel of this size", 1);
            return Ok(());
        }
        let count = if item.diseased { &mut self.imported.diseased } else { &mut self.imported.healthy };
        *count += 1;
        self.writer.push(Sample { item, image: framed, mask, brain: None })
    }

    /// Gives the cohort its name.
    ///
    /// Errors: those of [`CohortWriter::finish`].
    fn finish(self) -> Result<Imported, CohortError> {
        self.writer.finish()?;
        Ok(self.imported)
    }
}

/// The error of a file or folder that cannot be imported; `expected` names the way out too.
pub(crate) fn refuse(path: &Path, found: impl Into<String>, expected: impl Into<String>) -> CohortError {
    CohortError::Import { path: path.to_owned(), found: found.into(), expected: expected.into() }
}

/// What a folder holds, sorted by name, hidden things left out.
///
/// Errors: [`CohortError::Source`].
fn entries(folder: &Path) -> Result<Vec<PathBuf>, CohortError> {
    let fail = |source| CohortError::Source { path: folder.to_owned(), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        if !entry.file_name().to_string_lossy().starts_with('.') {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// Calls `take` with every folder at or below `folder` and with the files in it, both sorted by name.
///
/// Errors: [`CohortError::Source`] and those of `take`.
fn walk(
    folder: &Path,
    take: &mut impl FnMut(&Path, Vec<PathBuf>) -> Result<(), CohortError>,
) -> Result<(), CohortError> {
    let (folders, files): (Vec<_>, Vec<_>) = entries(folder)?.into_iter().partition(|path| path.is_dir());
    take(folder, files)?;
    folders.iter().try_for_each(|folder| walk(folder, take))
}

/// The last part of a path.
fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
