//! What a training will hold and take: estimates, for a plan.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anomalens_models::graph::describe;
use anomalens_models::preset::{Guided, Method, Preset, Recipe};
use serde_json::Value;
use tch::{Device, Kind, Tensor};

use crate::batches::Batch;
use crate::error::TrainError;
use crate::interpret::{InterpretError, Precision};
use crate::task::{Network, Part, Phase, Task};
use crate::weights::Named;

/// Bytes that a step holds for each image, over the bytes of all values of the graph in f32. Measured as growth of the
/// peak from 1 to 16 or 32 images, on the CPU: 0.68 for both networks of the demo in f32, 0.36 and 0.44 in bf16.
const KEPT_F32: f64 = 0.7;
const KEPT_BF16: f64 = 0.45;
/// Bytes of the program without a network, on the CPU, measured.
const PROGRAM: u64 = 160 << 20;
/// Bytes of a parameter.
const F32: u64 = 4;
/// Time that measuring one network may take, roughly.
const MEASURE: Duration = Duration::from_secs(5);
/// Smallest side of the images that speed is measured on, pixels; smaller ones say little about the network's speed.
const LEAST_SIDE: usize = 16;

/// What a training will hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    /// Scalar parameters.
    pub params: u64,
    /// Bytes of the program, parameters, gradients, both moments, and their average if the run keeps one.
    pub state: u64,
    /// Bytes of the images that are computed at once.
    pub activations: u64,
    /// How many these are.
    pub at_once: usize,
}

/// Counts by the graph.
///
/// Errors: [`TrainError::Graph`].
pub(super) fn size(
    network: Network,
    preset: &Preset,
    recipe: &Recipe,
    precision: Precision,
) -> Result<Size, TrainError> {
    let task = network.task(preset, recipe, Device::Cpu)?;
    let counted = describe::describe(task.graph());
    let params: usize = task.params().iter().map(|spec| spec.shape.iter().product::<usize>()).sum();
    let params = params as u64;
    let copies = if recipe.ema.is_some() { 5 } else { 4 };
    let kept = if precision == Precision::Bf16 { KEPT_BF16 } else { KEPT_F32 };
    let at_once = recipe.batch.div_ceil(recipe.accumulate);
    Ok(Size {
        params,
        state: PROGRAM + params * copies * F32,
        activations: (counted.activation_bytes as f64 * at_once as f64 * kept) as u64,
        at_once,
    })
}

/// The step and the speed, in images a second, of the last line of a run's metrics.
pub(super) fn logged(run: &Path) -> Option<(usize, f64)> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).ok()?;
    let line: Value = serde_json::from_str(text.lines().last()?).ok()?;
    Some((line.get("step")?.as_u64()? as usize, line.get("images_per_second")?.as_f64()?))
}

/// Seconds that computing a step's `at_once` images takes, by steps on noise: of small images first, then of larger
/// ones and more, until they are the recipe's or the time is spent; from there on along the line through the last two.
/// What an optimiser takes is left out.
///
/// Errors: [`TrainError`].
pub(super) fn measure(
    network: Network,
    preset: &Preset,
    recipe: &Recipe,
    at_once: usize,
    device: Device,
    precision: Precision,
) -> Result<f64, TrainError> {
    let begun = Instant::now();
    let mut points: Vec<(f64, f64)> = Vec::new();
    for (side, images) in workloads(preset, at_once) {
        let small = scaled(preset, side);
        let task = network.task(&small, recipe, device)?;
        let task = task.as_ref();
        let macs = (describe::describe(task.graph()).macs * images as u64) as f64;
        let left = MEASURE.saturating_sub(begun.elapsed()).as_secs_f64();
        if !points.is_empty() && 2.0 * extrapolated(&points, macs) > left {
            break;
        }
        let batch = noise_images(&small, images, device);
        let model = random(task, device);
        // The first makes what later ones find ready.
        step(task, &model, &batch, precision)?;
        let seconds = step(task, &model, &batch, precision)?;
        points.push((macs, seconds.max(1e-9)));
    }
    let whole = describe::describe(network.task(preset, recipe, device)?.graph()).macs * at_once as u64;
    Ok(extrapolated(&points, whole as f64))
}

/// Seconds of `macs` multiply-adds, given (multiply-adds, seconds) of smaller work, at least one.
fn extrapolated(points: &[(f64, f64)], macs: f64) -> f64 {
    match points {
        [.., (x0, y0), (x1, y1)] if x1 > x0 && y1 > y0 => y1 + (macs - x1) * (y1 - y0) / (x1 - x0),
        [.., (x, y)] => y * macs / x,
        [] => f64::NAN,
    }
}

/// Sides and numbers of images to try, ascending in work.
fn workloads(preset: &Preset, at_once: usize) -> Vec<(usize, usize)> {
    let full = preset.image.size;
    let (halvings, attended) = match &preset.method {
        Method::Guided(Guided { unet, classifier, .. }) => {
            let levels = unet.channel_mult.len().max(classifier.channel_mult.len());
            let attended = unet.attention_resolutions.iter().chain(&classifier.attention_resolutions);
            (levels - 1, attended.copied().collect())
        }
        Method::Vae(vae) => (vae.widths.len() - 1, Vec::new()),
        Method::FixedPointGan(gan) => (gan.critic_levels.max(2), Vec::new()),
    };
    let fits = |side: &usize| {
        let whole = |resolution: &usize| (resolution * side).is_multiple_of(full);
        side.is_multiple_of(1 << halvings) && attended.iter().all(whole)
    };
    let halves = std::iter::successors(Some(full), |side| side.is_multiple_of(2).then_some(side / 2));
    let mut sides: Vec<usize> =
        halves.take_while(|&side| side == full || side >= LEAST_SIDE).filter(fits).collect();
    sides.reverse();
    let counts =
        std::iter::successors(Some(2), |&count| Some(2 * count)).take_while(|&count| count < at_once);
    let more = counts.chain((at_once > 1).then_some(at_once)).map(|count| (full, count));
    sides.iter().map(|&side| (side, 1)).chain(more).collect()
}

/// The same networks for smaller images: attention stays in the same blocks.
fn scaled(preset: &Preset, side: usize) -> Preset {
    let mut small = preset.clone();
    small.image.size = side;
    if let Ok(Guided { unet, classifier, .. }) = small.guided_mut() {
        for resolutions in [&mut unet.attention_resolutions, &mut classifier.attention_resolutions] {
            resolutions
                .iter_mut()
                .for_each(|resolution| *resolution = *resolution * side / preset.image.size);
        }
    }
    small
}

fn noise_images(preset: &Preset, images: usize, device: Device) -> Batch {
    let side = preset.image.size as i64;
    let shape = [images as i64, preset.channels() as i64, side, side];
    Batch {
        images: Tensor::rand(shape, (Kind::Float, device)),
        labels: Tensor::zeros([images as i64], (Kind::Int64, device)),
    }
}

fn random(task: &dyn Task, device: Device) -> Named {
    let tensors = task.params().into_iter().map(|spec| {
        let shape: Vec<i64> = spec.shape.iter().map(|&length| length as i64).collect();
        let values = Tensor::randn(shape, (Kind::Float, device)) * 0.02;
        (spec.name, values.set_requires_grad(true))
    });
    Named::new(tensors.collect())
}

/// Steps that a cycle of phases is counted over: enough for every kind of step.
const CYCLE: usize = 10;

/// Forwards and backwards of each phase; the seconds of a step, phases that not every step has counted by their share.
fn step(task: &dyn Task, model: &Named, batch: &Batch, precision: Precision) -> Result<f64, TrainError> {
    let phases: Vec<Phase> = (1..=CYCLE).flat_map(|step| task.phases(step)).collect();
    let mut parts: Vec<Part> = phases.iter().map(|phase| phase.part).collect();
    parts.sort_unstable();
    parts.dedup();
    let drawn = task.draw(batch, 0, 0);
    let mut seconds = 0.0;
    for part in parts {
        let begun = Instant::now();
        let loss = task.loss(part, model, batch, &drawn, precision)?;
        loss.total.f_backward().map_err(|source| {
            let graph = task.graph().name().to_owned();
            InterpretError::Torch { graph, scope: "loss".into(), op: "backward", source: source.into() }
        })?;
        if let Device::Cuda(index) = loss.total.device() {
            tch::Cuda::synchronize(index as i64);
        }
        let times = phases.iter().filter(|phase| phase.part == part).count();
        seconds += begun.elapsed().as_secs_f64() * times as f64 / CYCLE as f64;
    }
    Ok(seconds)
}
