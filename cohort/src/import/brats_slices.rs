//! BRATS slice by slice, as the reference of the paper lays it out: a folder a slice with files such as
//! `brats_train_001_flair_080_w.nii.gz`.
//!
//! These files are scaled already, by a number that they do not tell: values are in [0, 1], 1 where the scale was
//! exceeded. q is measured anew, over all slices of a subject that are there: at the default percentile it comes
//! to 1 or little less, so the images stay what they were, and the cohort's percentile is true. Unlike those of volumes,
//! rows run along the files' first axis.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ndarray::{Array2, Axis};
use serde_json::json;

use super::slab::{CHANNELS, SEGMENTATION, Slab};
use super::{Imported, Settings, Sink, name, read, refuse, walk};
use crate::CohortError;
use read::Rows;

/// The files of one slice: its channels, and its segmentation or label.
type Files = [PathBuf; CHANNELS.len() + 1];
/// Each subject's slices, by number.
type Subjects = BTreeMap<String, BTreeMap<usize, Files>>;

/// Imports every slice at or below `path` into the new cohort `out`. A slice's label is its own `seg` file or, if it
/// has none, `NNNNNN-label.nii.gz` in the folder `labels`, NNNNNN being the slice's folder. `progress` as in
/// [`super::brats::write`], in subjects.
///
/// A subject is what stands before the contrast in the files' names, e.g. `brats_train_001`; a slice's number is what
/// follows it.
///
/// Errors: as [`super::brats::write`].
pub fn write(
    path: &Path,
    labels: Option<&Path>,
    out: &Path,
    settings: Settings,
    mut progress: impl FnMut(usize, usize) -> bool,
) -> Result<Imported, CohortError> {
    let subjects = subjects(path, labels)?;
    let mut sink = Sink::create(out, settings, "brats-slices", &CHANNELS, json!({}))?;
    let mut size: Option<(usize, usize)> = None;
    let total = subjects.len();
    for (done, (subject, slices)) in subjects.into_iter().enumerate() {
        let mut slab: Option<Slab> = None;
        for c in 0..=CHANNELS.len() {
            if !progress(done, total) {
                return Err(CohortError::Interrupted);
            }
            let mut planes = Vec::new();
            for files in slices.values() {
                let plane = plane(&files[c])?;
                let expected = *size.get_or_insert(plane.dim());
                if plane.dim() != expected {
                    let found = format!("found {} x {} pixels", plane.nrows(), plane.ncols());
                    let expected = format!("{} x {}, as the slices before", expected.0, expected.1);
                    return Err(refuse(&files[c], found, expected));
                }
                planes.push(plane);
            }
            let dim = planes.first().map_or((0, 0), Array2::dim);
            let slab =
                slab.get_or_insert_with(|| Slab::new(&subject, slices.keys().copied().collect(), dim.into()));
            let views = || planes.iter().map(|plane| plane.view());
            if c == CHANNELS.len() {
                slices.values().zip(views()).try_for_each(|(files, plane)| slab.segment(&files[c], plane))?;
            } else if let Some(files) = slices.values().next() {
                slab.fill(c, &files[c], views(), views(), settings.percentile)?;
            }
        }
        if let Some(slab) = slab {
            slab.push(&mut sink)?;
        }
    }
    if !progress(total, total) {
        return Err(CohortError::Interrupted);
    }
    sink.finish()
}

/// One slice [H, W].
fn plane(file: &Path) -> Result<Array2<f32>, CohortError> {
    let volume = read::volume(file, Rows::FirstAxis)?;
    match volume.len_of(Axis(0)) {
        1 => Ok(volume.index_axis_move(Axis(0), 0)),
        n => Err(refuse(file, format!("found {n} slices"), "one; import whole volumes by `import brats`")),
    }
}

fn subjects(path: &Path, labels: Option<&Path>) -> Result<Subjects, CohortError> {
    let mut subjects = Subjects::new();
    walk(path, &mut |folder, files| {
        let parsed: Vec<_> =
            files.iter().filter_map(|file| parse(&name(file)).map(|parts| (parts, file))).collect();
        let Some((Name { subject, slice, .. }, _)) = parsed.first() else { return Ok(()) };
        let (subject, slice) = (subject.clone(), *slice);
        let mut whole = Files::default();
        for (place, what) in whole.iter_mut().zip(CHANNELS.iter().chain([&SEGMENTATION])) {
            let of_this = |n: &Name| n.subject == subject && n.slice == slice && n.what == *what;
            let found = parsed.iter().find(|(n, _)| of_this(n)).map(|(_, file)| (*file).clone());
            *place = match found {
                Some(file) => file,
                None if *what == SEGMENTATION => label(folder, labels)?,
                None => {
                    let found = format!("slice {slice} of {subject} has no file '{what}'");
                    let expected = format!("one named *_{what}_*.nii.gz; add it, or move this slice away");
                    return Err(refuse(folder, found, expected));
                }
            };
        }
        if subjects.entry(subject.clone()).or_default().insert(slice, whole).is_some() {
            let found = format!("slice {slice} of {subject}, which another folder holds too");
            return Err(refuse(folder, found, "each slice once; move one of the two away"));
        }
        Ok(())
    })?;
    if subjects.is_empty() {
        let expected = "folders with files such as brats_train_001_flair_080_w.nii.gz; check the path";
        return Err(refuse(path, "found no slice", expected));
    }
    Ok(subjects)
}

/// The label of a slice without a segmentation of its own.
fn label(folder: &Path, labels: Option<&Path>) -> Result<PathBuf, CohortError> {
    let Some(labels) = labels else {
        let expected =
            "one, since labels follow from it; for a test set name the folder of its labels by --labels";
        return Err(refuse(folder, "found no segmentation", expected));
    };
    let stem = format!("{}-label.nii", name(folder));
    let found =
        [".gz", ""].map(|end| labels.join(format!("{stem}{end}"))).into_iter().find(|file| file.is_file());
    found.ok_or_else(|| {
        refuse(
            labels,
            format!("found no {stem}.gz"),
            format!("the label of the slice in '{}'", folder.display()),
        )
    })
}

/// What a file's name says.
#[derive(Debug, PartialEq, Eq)]
struct Name {
    subject: String,
    what: String,
    slice: usize,
}

/// Reads e.g. `brats_train_001_flair_080_w.nii.gz`.
fn parse(file: &str) -> Option<Name> {
    let stem = file.strip_suffix(".gz").unwrap_or(file).strip_suffix(".nii")?;
    let parts: Vec<&str> = stem.split('_').collect();
    let place = parts.iter().position(|part| CHANNELS.contains(part) || *part == SEGMENTATION)?;
    let slice = parts.get(place + 1)?.parse().ok()?;
    (place > 0).then(|| Name { subject: parts[..place].join("_"), what: parts[place].to_owned(), slice })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        for (file, expected) in [
            ("brats_train_001_flair_080_w.nii.gz", Some(("brats_train_001", "flair", 80))),
            ("b_2_seg_7.nii", Some(("b_2", "seg", 7))),
            ("flair_080_w.nii.gz", None),
            ("brats_train_001_flair_w.nii.gz", None),
            ("brats_train_001_flair_080_w.png", None),
        ] {
            let found = parse(file);
            let found = found.as_ref().map(|n| (n.subject.as_str(), n.what.as_str(), n.slice));
            assert_eq!(found, expected, "{file}");
        }
    }
}
