//! From images to their healthy version and the anomaly map.

use std::ops::{ControlFlow, Range};
use std::time::{Duration, Instant};

use anomalens_models::image::{AnomalyMap, ImageError, UnitImage};
use anomalens_models::preset::Preset;
use anomalens_models::schedule::{NoiseLevel, Schedule};
use ndarray::{Array4, Array5, ArrayView4, Axis, concatenate, s, stack};

use crate::ddim::{self, ClassLabel, DdimError, Images, Leg, NoisyImage, Plan, StepDone, Stepper};
use crate::ddpm;

mod noise;
mod options;

pub use options::{Calls, FirstNoise, Options, Procedure, Steps};

/// How far a translation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Which way the step went.
    pub leg: Leg,
    /// The level that it reached.
    pub level: NoiseLevel,
    /// Steps done over both legs and all batches.
    pub done: usize,
    /// Steps to do.
    pub total: usize,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Translation {
    /// The healthy version, [N, C, H, W]; not clipped.
    pub healthy: Array4<f32>,
    /// One anomaly map an image.
    pub maps: Vec<AnomalyMap>,
    /// Every x_t, if it was to be kept.
    pub trajectory: Option<States>,
    /// What it took.
    pub timings: Timings,
}

/// Every x_t of a translation.
#[derive(Debug, Clone, PartialEq)]
pub struct States {
    /// The levels of `encode`.
    pub encode_levels: Vec<NoiseLevel>,
    /// The way up, [steps + 1, N, C, H, W]: first the images as they began.
    pub encode: Array5<f32>,
    /// The levels of `decode`.
    pub decode_levels: Vec<NoiseLevel>,
    /// The way down, [steps, N, C, H, W]: last the healthy version.
    pub decode: Array5<f32>,
}

/// What a translation took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timings {
    /// The way up.
    pub encode: Duration,
    /// The way down.
    pub decode: Duration,
    /// Evaluations of the U-Net, each of one batch.
    pub unet_calls: usize,
    /// Evaluations of the classifier's gradient, each of one batch.
    pub gradient_calls: usize,
}

/// Why images could not be translated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TranslateError {
    /// The sampler failed, or its options cannot be.
    #[error(transparent)]
    Ddim(#[from] DdimError),
    /// A number of steps and the published script.
    #[error(
        "--schedule reference with a number of steps: the published script knows none; expected every step or --respacing ddimN, or choose --schedule paper"
    )]
    ReferenceSteps,
    /// No images.
    #[error("0 images, expected at least 1; check the input")]
    NoImages,
    /// No images at once.
    #[error("batch 0, expected at least 1; correct --batch")]
    NoBatch,
    /// An image of another shape than the network's input.
    #[error(
        "image {index}: found {found:?}, expected [channels, height, width] = {expected:?} by the bundle's preset; choose a bundle for these images"
    )]
    ImageShape {
        /// Which image, from 0.
        index: usize,
        /// Its shape.
        found: Vec<usize>,
        /// The network's.
        expected: Vec<usize>,
    },
    /// A class that the networks do not have.
    #[error("healthy class {found}, expected 0..={}; correct --healthy-class", classes.saturating_sub(1))]
    HealthyClass {
        /// The class.
        found: usize,
        /// How many there are.
        classes: usize,
    },
    /// The results do not fit the images.
    #[error(transparent)]
    Image(#[from] ImageError),
}

impl TranslateError {
    /// Whether the callback said stop.
    pub fn cancelled(&self) -> bool {
        matches!(self, Self::Ddim(DdimError::Cancelled { .. }))
    }
}

/// Checks that a preset's networks take these images.
///
/// Errors: [`TranslateError::ImageShape`].
pub fn check_images(preset: &Preset, images: &[UnitImage]) -> Result<(), TranslateError> {
    let expected = [preset.channels(), preset.image.size, preset.image.size];
    match images.iter().enumerate().find(|(_, i)| i.pixels().shape() != expected) {
        Some((index, image)) => {
            let (found, expected) = (image.pixels().shape().to_vec(), expected.to_vec());
            Err(TranslateError::ImageShape { index, found, expected })
        }
        None => Ok(()),
    }
}

/// Checks that each network that is told a class knows it; `classes`: how many each has.
///
/// Errors: [`TranslateError::HealthyClass`].
pub fn check_class(
    healthy: ClassLabel,
    classes: impl IntoIterator<Item = usize>,
) -> Result<(), TranslateError> {
    let found = healthy.get();
    match classes.into_iter().min().filter(|&classes| found >= classes) {
        Some(classes) => Err(TranslateError::HealthyClass { found, classes }),
        None => Ok(()),
    }
}

/// Translates images to the healthy class, `options.batch` at a time; without a guide nothing pulls, whatever the
/// scale. `on_step` is called after every step of every batch; [`ControlFlow::Break`] cancels.
///
/// Errors: [`TranslateError`].
pub fn translate(
    stepper: &mut dyn Stepper,
    schedule: &Schedule,
    images: &[UnitImage],
    options: &Options,
    on_step: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
) -> Result<Translation, TranslateError> {
    let plan = options.plan(schedule)?;
    let batches = batches(images.len(), options.batch)?;
    let all = stacked(images)?;
    options.check_noise(all.shape())?;
    let first_noise = match &options.procedure {
        Procedure::Paper | Procedure::Ddpm { .. } => None,
        Procedure::Reference { first_noise: FirstNoise::Seed { seed, first }, .. } => {
            Some(noise::standard_normal(*seed, *first, all.dim()))
        }
        Procedure::Reference { first_noise: FirstNoise::Array(array), .. } => Some(array.clone()),
    };
    let calls = options.calls_of(&plan);
    let mut counter = Counter { done: 0, total: batches.len() * (calls.encode + calls.decode), on_step };
    let mut parts = Vec::with_capacity(batches.len());
    for range in batches {
        let pixels = all.slice(s![range.clone(), .., .., ..]).to_owned();
        let noise = first_noise.as_ref().map(|array| array.slice(s![range, .., .., ..]));
        let start = plan.start(pixels, noise)?;
        parts.push(translate_batch((schedule, &plan), stepper, options, start, &mut counter)?);
    }
    assemble(&all, parts)
}

/// Counts the steps of all batches.
struct Counter<'a> {
    done: usize,
    total: usize,
    on_step: &'a mut dyn FnMut(&Progress) -> ControlFlow<()>,
}

impl Counter<'_> {
    fn step(&mut self, step: &StepDone) -> ControlFlow<()> {
        self.done += 1;
        let (done, total) = (self.done, self.total);
        (self.on_step)(&Progress { leg: step.leg, level: step.level, done, total })
    }
}

/// One batch, translated.
struct Part {
    healthy: Array4<f32>,
    encode: Vec<NoisyImage>,
    decode: Vec<NoisyImage>,
    timings: Timings,
}

fn translate_batch(
    (schedule, plan): (&Schedule, &Plan),
    stepper: &mut dyn Stepper,
    options: &Options,
    start: NoisyImage,
    counter: &mut Counter<'_>,
) -> Result<Part, TranslateError> {
    let (mut encode, mut decode) = (Vec::new(), Vec::new());
    if options.keep_trajectory {
        encode.push(start.clone());
    }
    let calls = options.calls_of(plan);
    let gradient_calls = if stepper.guided() { calls.gradient } else { 0 };
    let began = Instant::now();
    let mut noise = match options.procedure {
        Procedure::Ddpm { seed } => Some(ddpm::Noise::new(seed, start.pixels())),
        Procedure::Paper | Procedure::Reference { .. } => None,
    };
    let encoded = match &mut noise {
        None => ddim::encode(plan, stepper, options.healthy_class, start, &mut |step, images| {
            if options.keep_trajectory {
                encode.push(images()?);
            }
            Ok(counter.step(step))
        })?,
        Some(noise) => {
            let drawn = noise.draw(start.pixels().dim());
            let noised = ddpm::noised(schedule, plan.top_level(), start.pixels(), &drawn)?;
            if options.keep_trajectory {
                encode.push(noised.clone());
            }
            noised
        }
    };
    let encode_time = began.elapsed();
    let began = Instant::now();
    let mut on_step = |step: &StepDone, images: &mut Images<'_>| {
        if options.keep_trajectory {
            decode.push(images()?);
        }
        Ok(counter.step(step))
    };
    let (scale, class) = (options.scale, options.healthy_class);
    let healthy = match &mut noise {
        None => ddim::decode_guided(plan, stepper, scale, class, encoded, &mut on_step)?,
        Some(noise) => {
            let networks = stepper.networks()?;
            ddpm::decode(plan, networks, scale, class, encoded, &mut |dim| noise.draw(dim), &mut on_step)?
        }
    };
    let timings = Timings {
        encode: encode_time,
        decode: began.elapsed(),
        unet_calls: calls.encode + calls.decode,
        gradient_calls,
    };
    Ok(Part { healthy: healthy.into_pixels(), encode, decode, timings })
}

/// The images as one array [N, C, H, W].
///
/// Errors: [`TranslateError::NoImages`], [`TranslateError::ImageShape`].
pub(crate) fn stacked(images: &[UnitImage]) -> Result<Array4<f32>, TranslateError> {
    let first = images.first().ok_or(TranslateError::NoImages)?;
    for (index, image) in images.iter().enumerate() {
        if image.pixels().dim() != first.pixels().dim() {
            let (found, expected) = (image.pixels().shape().to_vec(), first.pixels().shape().to_vec());
            return Err(TranslateError::ImageShape { index, found, expected });
        }
    }
    let views: Vec<_> = images.iter().map(|image| image.pixels().view()).collect();
    Ok(stack(Axis(0), &views).expect("the shapes were compared above"))
}

/// The images, `batch` at a time.
///
/// Errors: [`TranslateError::NoBatch`].
pub(crate) fn batches(images: usize, batch: usize) -> Result<Vec<Range<usize>>, TranslateError> {
    if batch == 0 {
        return Err(TranslateError::NoBatch);
    }
    Ok((0..images).step_by(batch).map(|first| first..images.min(first + batch)).collect())
}

/// What the batches gave, one behind the other.
pub(crate) fn joined(parts: &[ArrayView4<'_, f32>]) -> Array4<f32> {
    concatenate(Axis(0), parts).expect("one shape an image")
}

/// The anomaly map of each image.
///
/// Errors: [`ImageError::Shape`].
pub(crate) fn maps(images: &Array4<f32>, healthy: &Array4<f32>) -> Result<Vec<AnomalyMap>, ImageError> {
    let pairs = images.outer_iter().zip(healthy.outer_iter());
    pairs.map(|(image, healthy)| AnomalyMap::between(&image.to_owned(), &healthy.to_owned())).collect()
}

fn assemble(images: &Array4<f32>, parts: Vec<Part>) -> Result<Translation, TranslateError> {
    let healthy = joined(&parts.iter().map(|part| part.healthy.view()).collect::<Vec<_>>());
    let maps = maps(images, &healthy)?;
    let mut timings = Timings::default();
    for part in &parts {
        timings.encode += part.timings.encode;
        timings.decode += part.timings.decode;
        timings.unet_calls += part.timings.unet_calls;
        timings.gradient_calls += part.timings.gradient_calls;
    }
    let leg = |states: fn(&Part) -> &[NoisyImage]| -> (Vec<NoiseLevel>, Array5<f32>) {
        let levels = states(&parts[0]).iter().map(NoisyImage::level).collect();
        let state =
            |i: usize| joined(&parts.iter().map(|part| states(part)[i].pixels().view()).collect::<Vec<_>>());
        let all: Vec<_> = (0..states(&parts[0]).len()).map(state).collect();
        let views: Vec<_> = all.iter().map(|state| state.view()).collect();
        (levels, stack(Axis(0), &views).expect("one shape a state"))
    };
    let kept = parts.first().is_some_and(|part| !part.encode.is_empty());
    let trajectory = kept.then(|| {
        let (encode_levels, encode) = leg(|part| &part.encode);
        let (decode_levels, decode) = leg(|part| &part.decode);
        States { encode_levels, encode, decode_levels, decode }
    });
    Ok(Translation { healthy, maps, trajectory, timings })
}

#[cfg(test)]
mod tests;
