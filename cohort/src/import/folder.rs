//! Images in two folders, `healthy/` and `diseased/`: PNG, JPEG, TIFF, NPY, NIfTI (one slice) or DICOM, one channel.
//!
//! The reference's arrays of CheXpert are such folders too, of `.npy` [256, 256, 1] of 8 bits. The reference stretches each
//! of them from its minimum to its maximum; here as everywhere it is min(x, q) / q, which is what
//! `anomalens translate` will do to a new image. The reference numbers the classes by the sorted names of the folders,
//! so that its class 0 is *diseased*; here class 0 is healthy.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use ndarray::{Array2, Axis};
use serde_json::{Map, json};

use super::chexpert::normalised;
use super::{Imported, Settings, Sink, entries, name, read, refuse};
use crate::{CohortError, Item};

/// The folders of class 0 and class 1.
const CLASSES: [&str; 2] = ["healthy", "diseased"];
/// The folder of masks, beside them.
const MASKS: &str = "masks";

/// What the folders are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Images of one's own.
    Any,
    /// The reference's arrays of CheXpert: `.npy` alone, no masks.
    ChexpertArrays,
}

/// Imports `path/healthy` and `path/diseased` into the new cohort `out`, whose one channel is called `channel`. q is
/// measured on each image by itself. With `path/masks`, every diseased image needs `masks/STEM.png` or `.npy` of its own
/// size; healthy ones need none. A subject is a file's stem up to its first `_`. `progress` is told how many of how many
/// images are done.
///
/// Errors: [`CohortError::Import`] for a folder, file or mask that is missing, unreadable or of another size;
/// [`CohortError::Normalise`]; [`CohortError::Interrupted`]; those of the writer.
pub fn write(
    path: &Path,
    out: &Path,
    settings: Settings,
    layout: Layout,
    channel: &str,
    mut progress: impl FnMut(usize, usize) -> bool,
) -> Result<Imported, CohortError> {
    let kind = match layout {
        Layout::Any => "folder",
        Layout::ChexpertArrays => "chexpert-arrays",
    };
    let mut files = Vec::new();
    for (class, folder) in CLASSES.into_iter().enumerate() {
        let folder = path.join(folder);
        if !folder.is_dir() {
            return Err(refuse(
                &folder,
                "found no such folder",
                "healthy/ and diseased/ with images; check the path",
            ));
        }
        let found = entries(&folder)?;
        if let Some(odd) = found
            .iter()
            .find(|file| file.is_dir() || layout == Layout::ChexpertArrays && read::stem(file).1 != ".npy")
        {
            let expected = if layout == Layout::Any { "image files alone" } else { ".npy files alone" };
            return Err(refuse(odd, "found something else", format!("{expected}; move it away")));
        }
        files.extend(found.into_iter().map(|file| (class == 1, file)));
    }
    let masks = (layout == Layout::Any && path.join(MASKS).is_dir())
        .then(|| Masks::find(path, &files))
        .transpose()?;
    let mut sink = Sink::create(out, settings, kind, &[channel], json!({}))?;
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let total = files.len();
    for (done, (diseased, file)) in files.into_iter().enumerate() {
        if !progress(done, total) {
            return Err(CohortError::Interrupted);
        }
        let read::Plane { pixels, floor } = read::image(&file)?;
        let image = normalised(&file, pixels, floor, settings.percentile)?;
        let mask = masks.as_ref().map(|masks| masks.read(&file, image.dim())).transpose()?;
        let stem = read::stem(&file).0;
        let subject = stem.split('_').next().unwrap_or(&stem).to_owned();
        let count = counts.entry(subject.clone()).or_default();
        let extra = Map::from_iter([(
            "file".into(),
            json!(format!("{}/{}", CLASSES[usize::from(diseased)], name(&file))),
        )]);
        let item = Item { subject, slice: *count, diseased, extra };
        *count += 1;
        sink.push(item, &image.insert_axis(Axis(0)), mask.as_ref())?;
    }
    if !progress(total, total) {
        return Err(CohortError::Interrupted);
    }
    sink.finish()
}

/// The masks, by the stems of their images.
struct Masks(BTreeMap<String, PathBuf>);

impl Masks {
    /// Looks whether every diseased image has one, and every one an image.
    fn find(path: &Path, files: &[(bool, PathBuf)]) -> Result<Self, CohortError> {
        let folder = path.join(MASKS);
        let mut masks = BTreeMap::new();
        let stems: BTreeSet<String> = files.iter().map(|(_, file)| read::stem(file).0).collect();
        for file in entries(&folder)? {
            let (stem, end) = read::stem(&file);
            if ![".png", ".npy"].contains(&end.as_str()) || !stems.contains(&stem) {
                let expected = "a .png or .npy with the stem of an image in healthy/ or diseased/; rename it or move it away";
                return Err(refuse(&file, "found a mask of no image", expected));
            }
            masks.insert(stem, file);
        }
        let bare =
            files.iter().find(|(diseased, file)| *diseased && !masks.contains_key(&read::stem(file).0));
        if let Some((_, file)) = bare {
            let expected = "one for every diseased image, or no folder masks/ at all";
            return Err(refuse(file, "found no mask of this stem in masks/", expected));
        }
        Ok(Self(masks))
    }

    fn read(&self, file: &Path, dim: (usize, usize)) -> Result<Array2<bool>, CohortError> {
        let Some(mask) = self.0.get(&read::stem(file).0) else { return Ok(Array2::from_elem(dim, false)) };
        let found = read::mask(mask)?;
        if found.dim() != dim {
            let (h, w) = found.dim();
            return Err(refuse(
                mask,
                format!("found {h} x {w} pixels"),
                format!("{} x {}, as the image", dim.0, dim.1),
            ));
        }
        Ok(found)
    }
}
