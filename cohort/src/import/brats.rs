//! BRATS volumes: a folder a subject with `*_t1.nii.gz`, `*_t1ce.nii.gz`, `*_t2.nii.gz`, `*_flair.nii.gz` and
//! `*_seg.nii.gz` (or `.nii`), 240 x 240 x 155 voxels.
//!
//! The paper takes axial slices only and drops the lowest 80 and the uppermost 26: slices 80 to 128 remain.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ndarray::Axis;
use serde_json::json;

use super::slab::{CHANNELS, SEGMENTATION, Slab};
use super::{Imported, Settings, Sink, name, read, refuse, walk};
use crate::CohortError;
use read::Rows;

/// The first slice that the paper keeps.
pub const FIRST_SLICE: usize = 80;
/// The last slice that the paper keeps.
pub const LAST_SLICE: usize = 128;

/// Which slices are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slices {
    /// The lowest, from 0.
    pub first: usize,
    /// The uppermost.
    pub last: usize,
}

/// The five files of a subject: the channels, then the segmentation.
type Files = [PathBuf; CHANNELS.len() + 1];

/// Imports every subject at or below `path` into the new cohort `out`. `progress` is told how many of how many
/// subjects are done; where it says false, the work stops and nothing is left.
///
/// q is measured on the non-zero voxels of the whole volume, a volume and channel. A slice is diseased if its
/// segmentation has any pixel above 0. A subject is called by its folder. Rows run along the files' second axis, so that
/// BRATS' brains stand as in DICOM, the forehead above.
///
/// Errors: [`CohortError::Import`] for a missing or unreadable file, another shape, or too few slices;
/// [`CohortError::Normalise`] for values that are not finite; [`CohortError::Interrupted`]; those of the writer.
pub fn write(
    path: &Path,
    out: &Path,
    settings: Settings,
    slices: Slices,
    mut progress: impl FnMut(usize, usize) -> bool,
) -> Result<Imported, CohortError> {
    let Slices { first, last } = slices;
    if first > last {
        let expected = format!("at most {last}, the last slice");
        return Err(CohortError::Setting { what: "the first slice", found: first.to_string(), expected });
    }
    let subjects = subjects(path)?;
    let options = json!({"first_slice": first, "last_slice": last});
    let mut sink = Sink::create(out, settings, "brats", &CHANNELS, options)?;
    let mut shape: Option<[usize; 3]> = None;
    let total = subjects.len();
    for (done, (subject, files)) in subjects.into_iter().enumerate() {
        if !progress(done, total) {
            return Err(CohortError::Interrupted);
        }
        let mut slab = None;
        for (c, file) in files.iter().enumerate() {
            let volume = read::volume(file, Rows::SecondAxis)?;
            let (n, h, w) = volume.dim();
            let [_, eh, ew] = *shape.get_or_insert([n, h, w]);
            if shape != Some([n, h, w]) {
                let [slices, _, _] = shape.unwrap_or_default();
                let found = format!("found {h} x {w} voxels in {n} slices");
                let expected = format!(
                    "{eh} x {ew} in {slices}, as the volumes before; import other sizes by themselves"
                );
                return Err(refuse(file, found, expected));
            }
            if last >= n {
                let expected =
                    format!("more than {last}, the last to take; choose --first-slice and --last-slice");
                return Err(refuse(file, format!("found {n} slices"), expected));
            }
            let slab = slab.get_or_insert_with(|| Slab::new(&subject, (first..=last).collect(), [h, w]));
            let chosen = || (first..=last).map(|i| volume.index_axis(Axis(0), i));
            match c < CHANNELS.len() {
                true => slab.fill(c, file, volume.outer_iter(), chosen(), settings.percentile)?,
                false => chosen().try_for_each(|plane| slab.segment(file, plane))?,
            }
        }
        if let Some(slab) = slab {
            slab.push(&mut sink)?;
        }
    }
    // Once more, so that an interrupt during the last subject counts.
    if !progress(total, total) {
        return Err(CohortError::Interrupted);
    }
    sink.finish()
}

/// Every subject at or below a folder, with its files.
fn subjects(path: &Path) -> Result<BTreeMap<String, Files>, CohortError> {
    let mut subjects = BTreeMap::new();
    walk(path, &mut |folder, files| {
        let find = |what: &str| {
            let ends = [format!("_{what}.nii.gz"), format!("_{what}.nii")];
            files.iter().find(|file| ends.iter().any(|end| name(file).ends_with(end.as_str()))).cloned()
        };
        let found: Vec<_> = CHANNELS.iter().chain([&SEGMENTATION]).map(|what| (*what, find(what))).collect();
        if found.iter().all(|(_, file)| file.is_none()) {
            return Ok(());
        }
        let subject = name(&std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned()));
        let mut whole = Files::default();
        for (place, (what, file)) in whole.iter_mut().zip(found) {
            *place = file.ok_or_else(|| {
                let why =
                    if what == SEGMENTATION { "labels follow from it" } else { "every contrast is needed" };
                let expected = format!(
                    "*_{what}.nii.gz or *_{what}.nii: {why}; add the file, or move this subject away"
                );
                refuse(folder, format!("subject {subject} has no volume '{what}'"), expected)
            })?;
        }
        if let Some(before) = subjects.insert(subject.clone(), whole) {
            let other = before[0].parent().unwrap_or(Path::new("")).display().to_string();
            let expected = "another name for each subject; rename one folder";
            return Err(refuse(folder, format!("subject {subject} is in '{other}' too"), expected));
        }
        Ok(())
    })?;
    if subjects.is_empty() {
        let expected = "folders with *_t1.nii.gz, *_t1ce.nii.gz, *_t2.nii.gz, *_flair.nii.gz, *_seg.nii.gz; check the path";
        return Err(refuse(path, "found no subject", expected));
    }
    Ok(subjects)
}
