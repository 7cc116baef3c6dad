//! CheXpert: `train.csv` with fourteen findings a picture, each 1.0 (there), 0.0 (not there), -1.0 (uncertain) or blank.
//!
//! As the paper takes it: frontal views; Pleural Effusion is diseased, No Finding is healthy, all else is left out.

mod table;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anomalens_models::image::normalise::Normaliser;
use ndarray::{Array2, Axis};
use serde_json::{Map, json};

use super::{Imported, Settings, Sink, read, refuse};
use crate::{CohortError, Item};
use table::Table;

/// What an uncertain effusion (-1.0) counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uncertain {
    /// Left out.
    Ignore,
    /// Class 0.
    Healthy,
    /// Class 1.
    Diseased,
}

impl Uncertain {
    fn name(self) -> &'static str {
        match self {
            Self::Ignore => "ignore",
            Self::Healthy => "healthy",
            Self::Diseased => "diseased",
        }
    }
}

/// What is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Of uncertain effusions.
    pub uncertain: Uncertain,
    /// Leave out pictures whose file is not there.
    pub skip_missing: bool,
    /// The channel's name, as the preset has it.
    pub channel: String,
}

/// A picture that is taken.
struct Picture {
    subject: String,
    /// As the table has it.
    path: String,
    file: PathBuf,
    diseased: bool,
}

/// Imports the pictures that `path` (a table, or the folder of `train.csv`) lists into the new cohort `out`; files
/// are looked for beside the table, where the paths in it begin at its folder or above it. q is measured on each
/// picture by itself. A subject is the folder `patientNNNNN`. `progress` is told how many of how many pictures are
/// done.
///
/// Errors: [`CohortError::Import`] for a table that is none, a row that cannot be understood, a missing or unreadable
/// file; [`CohortError::Normalise`]; [`CohortError::Interrupted`]; those of the writer.
pub fn write(
    path: &Path,
    out: &Path,
    settings: Settings,
    choice: &Choice,
    mut progress: impl FnMut(usize, usize) -> bool,
) -> Result<Imported, CohortError> {
    let file = if path.is_dir() { path.join("train.csv") } else { path.to_owned() };
    let options = json!({"uncertain": choice.uncertain.name(), "skip_missing": choice.skip_missing});
    let mut sink = Sink::create(out, settings, "chexpert", &[&choice.channel], options)?;
    let pictures = pictures(&file, choice, &mut sink)?;
    let total = pictures.len();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for (done, picture) in pictures.into_iter().enumerate() {
        if !progress(done, total) {
            return Err(CohortError::Interrupted);
        }
        let image = normalised(&picture.file, read::picture(&picture.file)?, 0.0, settings.percentile)?;
        let count = counts.entry(picture.subject.clone()).or_default();
        let extra = Map::from_iter([("file".into(), json!(picture.path))]);
        let item = Item { subject: picture.subject, slice: *count, diseased: picture.diseased, extra };
        *count += 1;
        sink.push(item, &image.insert_axis(Axis(0)), None)?;
    }
    if !progress(total, total) {
        return Err(CohortError::Interrupted);
    }
    sink.finish()
}

/// An image by itself to [0, 1].
pub(super) fn normalised(
    file: &Path,
    pixels: Array2<f32>,
    floor: f32,
    percentile: f64,
) -> Result<Array2<f32>, CohortError> {
    let normaliser = Normaliser::fit(&file.display().to_string(), [pixels.view()], percentile, floor)?;
    Ok(normaliser.apply(pixels.view()))
}

/// The rows that are taken; each file is there.
fn pictures(file: &Path, choice: &Choice, sink: &mut Sink) -> Result<Vec<Picture>, CohortError> {
    let mut table = Table::open(file, ["Path", "Frontal/Lateral", "No Finding", "Pleural Effusion"])?;
    let mut pictures = Vec::new();
    while let Some((row, [path, view, healthy, effusion])) = table.next()? {
        let diseased = match (view.as_str(), flag(file, row, &healthy)?, flag(file, row, &effusion)?) {
            ("Lateral", ..) => {
                sink.leave_out("lateral views", 1);
                continue;
            }
            ("Frontal", Some(1), Some(1)) => {
                sink.leave_out("rows with both an effusion and no finding", 1);
                continue;
            }
            ("Frontal", _, Some(1)) => true,
            ("Frontal", Some(1), _) => false,
            ("Frontal", _, Some(-1)) => match choice.uncertain {
                Uncertain::Healthy => false,
                Uncertain::Diseased => true,
                Uncertain::Ignore => {
                    sink.leave_out("uncertain effusions", 1);
                    continue;
                }
            },
            ("Frontal", ..) => {
                sink.leave_out("other findings", 1);
                continue;
            }
            (other, ..) => {
                return Err(refuse(
                    file,
                    format!("row {row}: found the view '{other}'"),
                    "Frontal or Lateral",
                ));
            }
        };
        let subject = path.split('/').find(|part| part.starts_with("patient")).map(str::to_owned);
        let subject = subject.ok_or_else(|| {
            refuse(file, format!("row {row}: found the path '{path}'"), "a folder patientNNNNN in it")
        })?;
        match places(file, &path).into_iter().find(|place| place.is_file()) {
            Some(file) => pictures.push(Picture { subject, path, file, diseased }),
            None if choice.skip_missing => sink.leave_out("missing files", 1),
            None => {
                let expected = "that file beside the table or above it; fetch it, or leave such rows out by --skip-missing";
                return Err(refuse(file, format!("row {row}: there is no file '{path}'"), expected));
            }
        }
    }
    Ok(pictures)
}

/// Where the file of a row may be: the paths of the published table begin with the name of its own folder.
fn places(table: &Path, path: &str) -> Vec<PathBuf> {
    let folder = table.parent().unwrap_or(Path::new(""));
    let mut places = vec![folder.join("..").join(path), folder.join(path)];
    places.extend(path.split_once('/').map(|(_, rest)| folder.join(rest)));
    places
}

/// A finding: 1, 0, -1 or blank.
fn flag(file: &Path, row: u64, text: &str) -> Result<Option<i8>, CohortError> {
    match text.trim() {
        "" => Ok(None),
        "1.0" | "1" => Ok(Some(1)),
        "0.0" | "0" => Ok(Some(0)),
        "-1.0" | "-1" => Ok(Some(-1)),
        other => {
            Err(refuse(file, format!("row {row}: found the finding '{other}'"), "1.0, 0.0, -1.0 or blank"))
        }
    }
}
