//! Why training could not begin or go on.

use std::io;
use std::path::PathBuf;

use anomalens_cohort::CohortError;
use anomalens_method::ddim::DdimError;
use anomalens_method::metrics::MetricError;
use anomalens_method::otsu::OtsuError;
use anomalens_method::translate::TranslateError;
use anomalens_models::graph::GraphError;
use anomalens_models::preset::MethodError;
use anomalens_models::schedule::ScheduleError;
use anomalens_models::weights::{KeyMismatch, WeightsError};

use crate::interpret::InterpretError;

/// Why training could not begin or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The preset contradicts itself.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The preset holds the networks of another method.
    #[error(transparent)]
    Method(#[from] MethodError),
    /// The preset's schedule cannot be.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// The cohort, or one of its images.
    #[error(transparent)]
    Cohort(#[from] CohortError),
    /// The network could not be run.
    #[error(transparent)]
    Interpret(#[from] InterpretError),
    /// Weights that could not be read.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// Weights to start from of which none belongs to the network.
    #[error(
        "--start-from '{}': found {found} tensors, expected some of the names and shapes of network '{graph}'; give the weights of a network of the same widths",
        path.display()
    )]
    Start {
        /// The file.
        path: PathBuf,
        /// Tensors in it.
        found: usize,
        /// The network.
        graph: String,
    },
    /// The other network's weights are not those of the preset's network.
    #[error("--partner: {source}")]
    Partner {
        /// The cause.
        source: Box<KeyMismatch>,
    },
    /// Held-out images could not be translated.
    #[error("validation: {0}")]
    Translate(#[from] TranslateError),
    /// A map of a held-out image has no threshold.
    #[error("validation: {0}")]
    Otsu(#[from] OtsuError),
    /// A held-out image has no score.
    #[error("validation: {0}")]
    Metric(#[from] MetricError),
    /// The preset's gradient scale cannot be.
    #[error("validation: {0}")]
    Ddim(#[from] DdimError),
    /// No GPU, or no library for it.
    #[error("--device cuda: found {found}, expected {expected}")]
    Cuda {
        /// What there is.
        found: String,
        /// What should be, and the way out.
        expected: String,
    },
    /// The images are not what the preset's network takes.
    #[error(
        "cohort '{}': {what}: found {found}, expected {expected} by preset '{preset}'; choose another preset, or write the cohort for it",
        cohort.display()
    )]
    Unfit {
        /// The cohort's folder.
        cohort: PathBuf,
        /// The preset.
        preset: String,
        /// What was compared.
        what: &'static str,
        /// The cohort's.
        found: String,
        /// The preset's.
        expected: String,
    },
    /// A class without images.
    #[error(
        "cohort '{}': no {class} images among {found}, expected both classes, which the network learns the difference of, or healthy ones for a vae: add images of that class",
        cohort.display()
    )]
    EmptyClass {
        /// The cohort's folder.
        cohort: PathBuf,
        /// `healthy` or `diseased`.
        class: &'static str,
        /// How many images there are.
        found: usize,
    },
    /// A number that no training can have.
    #[error("{what}: found {found}, expected {expected}")]
    Option {
        /// The option.
        what: String,
        /// The value.
        found: String,
        /// What would be right.
        expected: String,
    },
    /// The run folder holds a run of other settings.
    #[error(
        "run '{}': {what}: found {found} in run.json, expected {expected} as asked for; go on with the run's own settings, or choose another folder with --output",
        run.display()
    )]
    OtherRun {
        /// The run's folder.
        run: PathBuf,
        /// Which setting.
        what: String,
        /// The run's.
        found: String,
        /// The one asked for.
        expected: String,
    },
    /// The images are not those that the run began with.
    #[error(
        "run '{}': the cohort '{}' has changed since the last checkpoint (fingerprint {found}, expected {expected}); bring the images back as they were, or begin another run with --output",
        run.display(), cohort.display()
    )]
    CohortChanged {
        /// The run's folder.
        run: PathBuf,
        /// The cohort's folder.
        cohort: PathBuf,
        /// Its fingerprint now.
        found: String,
        /// Its fingerprint then.
        expected: String,
    },
    /// A checkpoint that is damaged or belongs to another network.
    #[error(
        "checkpoint '{}': {what}: found {found}, expected {expected}; remove the file to go on from {before}, or begin another run with --output",
        path.display()
    )]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What was looked at.
        what: String,
        /// What was found.
        found: String,
        /// What it should be.
        expected: String,
        /// Where the run goes on without it.
        before: String,
    },
    /// Another program is at work on the run.
    #[error(
        "run '{}': found another anomalens-train at work on it, expected none; wait for it to end, or choose another folder with --output",
        run.display()
    )]
    Busy {
        /// The run's folder.
        run: PathBuf,
    },
    /// A file of the run could not be read or written.
    #[error("{}: {source}; {kept}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
        /// What is safe, and how to go on.
        kept: String,
    },
    /// The loss is not a number, or far beyond what an untrained network has.
    #[error(
        "step {step}: {what} is {found}, expected a finite loss below {most}: training has come apart; the last good checkpoint is {kept}. Begin anew with a lower --learning-rate, or --clip-gradient 1, and another --output"
    )]
    Exploded {
        /// The step, from 1.
        step: usize,
        /// Loss or gradient.
        what: &'static str,
        /// The value.
        found: f64,
        /// The bound.
        most: f64,
        /// The last good checkpoint.
        kept: String,
    },
    /// Numbers that are no longer numbers, found before they were written.
    #[error(
        "step {step}: {name} holds infinity or NaN, expected finite numbers: training has come apart, and this state was not written; the last good checkpoint is {kept}. Begin anew with a lower --learning-rate, or --clip-gradient 1, and another --output"
    )]
    NotFinite {
        /// Steps done.
        step: usize,
        /// The parameter, average or moment.
        name: String,
        /// The last good checkpoint.
        kept: String,
    },
    /// The memory does not hold what a step needs.
    #[error("out of memory with {images} images at a time, {}", room(fits))]
    Memory {
        /// Images that were computed at once.
        images: usize,
        /// Parts of the batch that were tried and fit, and the images of one; none where not even one image fits.
        fits: Option<(usize, usize)>,
        /// What libtorch said.
        source: Box<TrainError>,
    },
    /// A step could not be made, for a reason that is no fault of the numbers.
    #[error("step {step}: {source}; nothing was lost, the last good checkpoint is {kept}")]
    Step {
        /// The step, from 1.
        step: usize,
        /// The cause.
        source: Box<TrainError>,
        /// The last good checkpoint.
        kept: String,
    },
}

fn room(fits: &Option<(usize, usize)>) -> String {
    match fits {
        Some((parts, images)) => format!(
            "expected room for them; {images} at a time fit, as was tried: go on with --accumulate {parts}, which gives the same, or take --batch {images}"
        ),
        None => "expected room for one, and one alone does not fit either: take a smaller preset, or a machine with more memory".into(),
    }
}
