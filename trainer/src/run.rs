//! A run: a folder that holds everything about one training, and the loop that fills it.
//!
//! ```text
//! RUN/run.json           settings and the cohort's fingerprint; a second start with others is refused
//! RUN/metrics.jsonl      one line every few steps
//! RUN/checkpoints/       the last two, each complete
//! RUN/ddpm.safetensors   (or classifier.safetensors) the result, by the reference's names, when all steps are done
//! RUN/stats.json         how it was trained, for anomalens-export bundle
//! ```

mod folder;
mod metrics;
mod settings;
mod stats;

pub use settings::{Settings, Start};

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anomalens_cohort::Cohort;
use anomalens_models::weights::Weights;
use tch::Device;

use crate::adam::{average, clip_gradients};
use crate::batches::{self, Batches};
use crate::checkpoint::{State, last_name};
use crate::error::TrainError;
use crate::interpret::InterpretError;
use crate::task::{Figure, Loss, Task};
use folder::Folder;
use metrics::Metrics;

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

/// Begins or goes on with a run in `folder`. `on_step` is called before the first and after every step;
/// [`ControlFlow::Break`] writes a checkpoint and stops.
///
/// Errors: [`TrainError`].
pub fn train(
    settings: &Settings,
    cohort: &Cohort,
    folder: &Path,
    device: Device,
    on_step: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Ended, TrainError> {
    settings.check(cohort)?;
    let task = Task::new(settings.network, &settings.preset, device)?;
    let folder = Folder::open(folder, settings, cohort)?;
    let checkpoints = folder.checkpoints();
    let mut state = match State::latest(&checkpoints, task.graph(), settings.recipe.ema.is_some(), device)? {
        Some(state) => state,
        None => {
            let start = settings.start_from.as_ref().map(|start| Weights::open(&start.file)).transpose()?;
            State::initial(
                task.graph(),
                settings.seed,
                start.as_ref(),
                settings.recipe.ema.is_some(),
                device,
            )?
        }
    };
    if let Some(file) = folder.result(settings).filter(|_| state.step == settings.recipe.iterations) {
        return Ok(Ended::Complete(file));
    }
    let mut metrics = Metrics::resume(&folder, state.step)?;
    let mut batches = Batches::new(cohort, settings.recipe.batch, settings.recipe.flip, settings.seed);
    let (begun, first) = (Instant::now(), state.step);
    let progress = |step: usize, loss: f64| Progress {
        step,
        total: settings.recipe.iterations,
        loss,
        images_per_second: ((step - first) * settings.recipe.batch) as f64
            / begun.elapsed().as_secs_f64().max(1e-9),
    };
    let mut flow = on_step(progress(state.step, f64::NAN));
    while state.step < settings.recipe.iterations {
        if flow.is_break() {
            let checkpoint = state.save(&checkpoints, settings.keep)?;
            return Ok(Ended::Stopped { step: state.step, checkpoint });
        }
        let loss = step(&task, settings, &mut state, &mut batches, device)
            .map_err(|e| e.at(state.step + 1, last_name(&checkpoints)))?;
        metrics.add(&loss);
        let now = progress(state.step, metrics.loss());
        if state.step.is_multiple_of(settings.log_every) || state.step == settings.recipe.iterations {
            metrics.write(state.step, settings.rate(state.step - 1), now.images_per_second)?;
        }
        if state.step.is_multiple_of(settings.checkpoint_every) || state.step == settings.recipe.iterations {
            state.save(&checkpoints, settings.keep)?;
        }
        flow = on_step(now);
    }
    let statistics = stats::training(settings, cohort, metrics.curve(CURVE))?;
    folder.finish(settings, state.ema.as_ref().unwrap_or(&state.model), &statistics).map(Ended::Complete)
}

/// One step: loss, gradients, Adam, average. On an exploded loss the state is left as it was.
fn step(
    task: &Task,
    settings: &Settings,
    state: &mut State,
    batches: &mut Batches<'_>,
    device: Device,
) -> Result<Loss, TrainError> {
    let batch = batches.at(state.step, device)?;
    let timesteps = settings.recipe.max_level.unwrap_or(task.timesteps());
    let (t, noise) = batches::noise(&batch.images, timesteps, settings.seed, state.step);
    let mut loss = task.loss(&state.model, &batch, &t, timesteps, &noise, settings.precision())?;
    let exploded = |what, found: f64| TrainError::Exploded {
        step: state.step + 1,
        what,
        found,
        most: EXPLODED,
        kept: String::new(),
    };
    if loss.guard.is_nan() || loss.guard >= EXPLODED {
        return Err(exploded("the loss", loss.guard));
    }
    state.model.zero_grad();
    loss.total.f_backward().map_err(|source| {
        let graph = task.graph().name().to_owned();
        InterpretError::Torch { graph, scope: "loss".into(), op: "backward", source: source.into() }
    })?;
    let norm = clip_gradients(&mut state.model, settings.recipe.clip_gradient);
    if !norm.is_finite() {
        return Err(exploded("the gradient's norm", norm));
    }
    loss.figures.push(Figure { name: "gradient_norm", value: norm, images: settings.recipe.batch });
    let rate = settings.rate(state.step);
    state.step += 1;
    state.adam.step(&mut state.model, state.step, rate);
    if let (Some(ema), Some(rate)) = (&mut state.ema, settings.recipe.ema) {
        average(ema, &state.model, rate);
    }
    Ok(loss)
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
