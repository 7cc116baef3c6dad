//! A run: a folder that holds everything about one training, and the loop that fills it.
//!
//! ```text
//! RUN/run.json           settings and the cohort's fingerprint; a second start with others is refused
//! RUN/config.toml        the same for a person, with versions and machine
//! RUN/metrics.jsonl      one line every few steps; events.out.tfevents.*: the same for TensorBoard
//! RUN/progress.png       its curves
//! RUN/checkpoints/       the last few, each complete; latest: the name of the last
//! RUN/samples/           what the network makes of held-out images
//! RUN/best.safetensors   the weights that did best on them; best.json: how well
//! RUN/ddpm.safetensors   (or that of another network) the result, by the reference's names, when all steps are done
//! RUN/stats.json         how it was trained, for anomalens-export bundle
//! ```

mod config;
mod events;
mod folder;
mod metrics;
mod plot;
mod settings;
mod stats;
mod step;
mod watch;

pub use folder::redraw;
pub(crate) use settings::check_fit;
pub use settings::{Settings, Start};
pub use watch::Watch;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use anomalens_cohort::Cohort;
use anomalens_models::weights::Weights;
use tch::Device;

use crate::batches::Batches;
use crate::checkpoint::{State, last_name, prune};
use crate::error::TrainError;
use crate::task::Diet;
use folder::Folder;
use metrics::Metrics;
use step::step;

/// A loss beyond this is no training any more: an untrained noise predictor has an error of 1, an untrained classifier
/// a cross-entropy of ln 2.
const EXPLODED: f64 = 100.0;

/// Lines of metrics that go into `stats.json`.
const CURVE: usize = 12;

/// How far a run is.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Steps done.
    pub step: usize,
    /// Steps to do.
    pub total: usize,
    /// The loss, averaged over the last few steps.
    pub loss: f64,
    /// Images a second since this start.
    pub images_per_second: f64,
}

/// How a run ended.
#[derive(Debug)]
pub enum Ended {
    /// All steps are done; the result lies there.
    Complete(PathBuf),
    /// Told to stop; the state after this step lies there.
    Stopped {
        /// Steps done.
        step: usize,
        /// The checkpoint.
        checkpoint: PathBuf,
    },
}

/// Begins or goes on with a run in `folder`. With `watch`, the averaged weights are tried on held-out images now and
/// then. `on_step` is called before the first and after every step; [`ControlFlow::Break`] writes a checkpoint and stops.
///
/// Errors: [`TrainError`].
pub fn train(
    settings: &Settings,
    cohort: &Cohort,
    folder: &Path,
    device: Device,
    watch: Option<&Watch>,
    on_step: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Ended, TrainError> {
    settings.check(cohort)?;
    let recipe = &settings.recipe;
    let task = settings.network.task(&settings.preset, recipe, device)?;
    let task = task.as_ref();
    let folder = Folder::open(folder, settings, cohort)?;
    let checkpoints = folder.checkpoints();
    let mut state = match State::latest(&checkpoints, task, recipe.ema.is_some(), device)? {
        Some(state) => state,
        None => {
            let start = settings.start_from.as_ref().map(|start| Weights::open(&start.file)).transpose()?;
            State::initial(task, settings.seed, start.as_ref(), recipe.ema.is_some(), device)?
        }
    };
    if let Some(file) = folder.result(settings).filter(|_| state.step == recipe.iterations) {
        return Ok(Ended::Complete(file));
    }
    // A program that was killed may have left one more.
    prune(&checkpoints, settings.keep);
    folder.write("config.toml", config::text(settings).as_bytes())?;
    let mut metrics = Metrics::resume(&folder, state.step)?;
    let batches = match settings.network.diet(&settings.preset)? {
        Diet::Any | Diet::Both => Batches::new,
        Diet::Healthy => Batches::of_healthy,
    };
    let batches = batches(cohort, recipe.batch, recipe.flip, settings.seed);
    let (begun, first) = (Instant::now(), state.step);
    let progress = |step: usize, loss: f64| Progress {
        step,
        total: recipe.iterations,
        loss,
        images_per_second: ((step - first) * recipe.batch) as f64 / begun.elapsed().as_secs_f64().max(1e-9),
    };
    let due = |step: usize, every: usize| step.is_multiple_of(every) || step == recipe.iterations;
    let stopped = thread::scope(|scope| {
        let ahead = batches.ahead(first..recipe.iterations, scope);
        let mut flow = on_step(progress(state.step, f64::NAN));
        while state.step < recipe.iterations {
            if flow.is_break() {
                let checkpoint = state.save(&checkpoints, settings.keep)?;
                folder.draw(settings, metrics.lines())?;
                return Ok(Some(Ended::Stopped { step: state.step, checkpoint }));
            }
            let loss = (ahead.next(device).map_err(TrainError::from))
                .and_then(|batch| step(task, settings, &mut state, &batch))
                .map_err(|e| e.at(state.step + 1, last_name(&checkpoints)))?;
            metrics.add(&loss);
            let now = progress(state.step, metrics.loss());
            let look = watch.filter(|watch| due(state.step, watch.every));
            if let Some(watch) = look {
                metrics.add_figures(&watch.look(&folder, state.step, &state.result(task))?);
            }
            if look.is_some() || due(state.step, settings.log_every) {
                metrics.write(state.step, settings.rate(state.step - 1), now.images_per_second)?;
            }
            if due(state.step, settings.checkpoint_every) {
                state.save(&checkpoints, settings.keep)?;
                folder.draw(settings, metrics.lines())?;
            }
            flow = on_step(now);
        }
        Ok::<_, TrainError>(None)
    })?;
    if let Some(stopped) = stopped {
        return Ok(stopped);
    }
    let statistics = stats::training(settings, cohort, &folder.fingerprint, metrics.curve(CURVE))?;
    folder.finish(settings, &state.result(task), &statistics).map(Ended::Complete)
}

impl TrainError {
    /// The error of a step with what a reader wants to know of the run's folder.
    fn at(self, step: usize, kept: String) -> Self {
        match self {
            Self::Exploded { step, what, found, most, .. } => {
                Self::Exploded { step, what, found, most, kept }
            }
            other => Self::Step { step, source: Box::new(other), kept },
        }
    }
}
