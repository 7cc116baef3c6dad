//! What the images of a cohort look like to a bundle, measured and put into it as `fitness.json`.
//!
//! The cohort is the one that the networks were trained on: a folder that `anomalens-cohort` has written. The pixels of up to as
//! many images as are asked for, evenly spread, are looked at; of some of them the U-Net's noise prediction is measured, too.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anomalens_method::fitness::{self, Sketch, TooFew};
use anomalens_models::fitness::{FITNESS, Fitness};
use anomalens_models::held_out::{HeldOutError, Pictures};
use anomalens_models::image::UnitImage;
use anomalens_models::manifest::{BundleError, FileEntry, Manifest};
use anomalens_models::output::{self, OutputError};
use anomalens_runtime::bundle::{Bundle, OpenError};
use anomalens_runtime::engine::Engine;
use anomalens_runtime::fitness::{noise_errors, noising};
use anomalens_runtime::translate::TranslateError;

use crate::gate;

mod subjects;

pub use subjects::SubjectsError;

/// The program that measures, with its version.
const TOOL: &str = concat!("anomalens-export ", env!("CARGO_PKG_VERSION"));

/// Images whose pixels are looked at, where no other number is asked for.
pub const IMAGES: usize = 2000;
/// Images that the U-Net is asked about: three calls each.
const BY_NETWORK: usize = 256;
/// Images that it is given at once.
const BATCH: usize = 4;

/// What is measured.
pub struct Request<'a> {
    /// The bundle, which is changed.
    pub bundle: &'a Path,
    /// The cohort's folder.
    pub cohort: &'a Path,
    /// A part of it that its `splits.json` names; all of it if absent.
    pub split: Option<&'a str>,
    /// Images, at most.
    pub images: usize,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FitnessError {
    /// The bundle is damaged.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The bundle cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The images cannot be used.
    #[error(transparent)]
    Images(#[from] HeldOutError),
    /// The part of the cohort cannot be found.
    #[error(transparent)]
    Subjects(#[from] SubjectsError),
    /// The cohort is too small.
    #[error("cohort '{}': {source}", cohort.display())]
    TooFew {
        /// Its folder.
        cohort: PathBuf,
        /// The cause.
        source: TooFew,
    },
    /// The U-Net failed.
    #[error(transparent)]
    Network(#[from] TranslateError),
    /// The bundle cannot be written to.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// A person stopped it.
    #[error("stopped; the bundle is as it was")]
    Stopped,
}

/// Measures, and writes `fitness.json` and the manifest, whose hash is another one then. The bundle is whole at any time. `say` hears
/// what is done next, and may stop it.
///
/// Errors: [`FitnessError`]; then the bundle is as it was, or lacks a `fitness.json` that it had.
pub fn measure(
    request: &Request<'_>,
    engine: &dyn Engine,
    say: &mut dyn FnMut(&str) -> ControlFlow<()>,
) -> Result<Fitness, FitnessError> {
    let &Request { bundle: folder, cohort, split, images } = request;
    let mut next = |what: &str| gate::next(say, what).map_err(|_| FitnessError::Stopped);
    next("open the bundle")?;
    // Also one that no gate has passed: nothing is translated, and what passes the gate later is the same.
    let mut bundle = Bundle::open(folder, engine, true)?;
    let preset = bundle.manifest.preset.clone();
    let pictures = Pictures::open(cohort, &preset)?;
    let all = match split {
        Some(split) => subjects::of_split(cohort, split, pictures.count())?,
        None => (0..pictures.count()).collect(),
    };
    let taken = spread(&all, images);
    let mut sketches = Vec::with_capacity(taken.len());
    for (i, &position) in taken.iter().enumerate() {
        if i % 50 == 0 {
            next(&format!("image {i} of {}", taken.len()))?;
        }
        sketches.push(Sketch::of(&pictures.image(position)?));
    }
    let too_few = |source| FitnessError::TooFew { cohort: cohort.to_owned(), source };
    let channels: Vec<_> = preset.image.channels.iter().map(|channel| channel.name.as_str()).collect();
    next("discriminants")?;
    let look = fitness::look(&sketches, &channels).map_err(too_few)?;

    let mut noise = None;
    if let Some(noising) = noising(&preset) {
        let taken = spread(&taken, BY_NETWORK);
        let asked = taken.iter().map(|&position| pictures.image(position));
        let asked: Vec<UnitImage> = asked.collect::<Result<_, _>>()?;
        let errors = noise_errors(&mut bundle, &asked, &noising, BATCH, &mut |done, total| {
            say(&format!("noise prediction: {done} of {total} images"))
        });
        let errors = errors.map_err(|error| match error.cancelled() {
            true => FitnessError::Stopped,
            false => error.into(),
        })?;
        noise = errors.map(|errors| fitness::noise(noising, &errors)).transpose().map_err(too_few)?;
    }
    let about = format!("{} of {} images, evenly spread; {}", taken.len(), all.len(), about(cohort));
    let fitness = Fitness::new(TOOL, about, look, noise);
    put(folder, bundle.manifest, &fitness)?;
    Ok(fitness)
}

/// Puts the file into the bundle. What the manifest lists is what is there, at any time.
fn put(folder: &Path, mut manifest: Manifest, fitness: &Fitness) -> Result<(), FitnessError> {
    if manifest.files.remove(FITNESS).is_some() {
        manifest.replace(folder)?;
    }
    let path = folder.join(FITNESS);
    output::replace(&path, fitness.to_json().as_bytes())?;
    let entry = FileEntry::of(&path).map_err(|error| OutputError::new(&path, error))?;
    manifest.files.insert(FITNESS.to_owned(), entry);
    Ok(manifest.replace(folder)?)
}

/// So many of them, at most, evenly spread.
fn spread(all: &[usize], most: usize) -> Vec<usize> {
    let taken = most.min(all.len());
    (0..taken).map(|k| all[k * all.len() / taken]).collect()
}

/// What a cohort says of itself, without its place: the file is part of a bundle, which goes elsewhere.
fn about(cohort: &Path) -> String {
    let text = fs::read_to_string(cohort.join("cohort.json")).unwrap_or_default();
    let info: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    match info.get("note").and_then(|note| note.as_str()) {
        Some(note) => note.to_owned(),
        None => "a cohort that says nothing of itself".to_owned(),
    }
}
