//! The two legs of a translation.

use std::ops::ControlFlow;

use anomalens_models::schedule::NoiseLevel;

use super::{ClassLabel, DdimError, GradientScale, NoisyImage, Plan, Step, Stepper};

/// Which way a step goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leg {
    /// Towards noise.
    Encode,
    /// Back, guided.
    Decode,
}

/// A step that has just been made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepDone {
    /// Which way.
    pub leg: Leg,
    /// Steps done in this leg, 1..=total.
    pub done: usize,
    /// Steps of this leg.
    pub total: usize,
    /// The level that the images have reached.
    pub level: NoiseLevel,
}

/// Hands out the images as they are now; they may have to be fetched from a device.
pub type Images<'a> = dyn FnMut() -> Result<NoisyImage, DdimError> + 'a;

/// What is called after each step; [`ControlFlow::Break`] cancels. What it fails with, the leg fails with.
pub type OnStep<'a> = dyn FnMut(&StepDone, &mut Images<'_>) -> Result<ControlFlow<()>, DdimError> + 'a;

/// The way up (Algorithm 1, first loop). `images` come from [`Plan::start`]; the noise predictor is given `healthy`.
///
/// Errors: [`DdimError::Level`], [`DdimError::Network`], [`DdimError::Shape`], [`DdimError::Cancelled`].
pub fn encode(
    plan: &Plan,
    stepper: &mut dyn Stepper,
    healthy: ClassLabel,
    images: NoisyImage,
    on_step: &mut OnStep<'_>,
) -> Result<NoisyImage, DdimError> {
    check_level(&images, plan.first_level())?;
    walk(Leg::Encode, plan.encode(), stepper, (GradientScale::NONE, healthy), images, on_step)
}

/// The way down, pulled towards `healthy` (Algorithm 1, second loop); at scale 0, or without a guide, nothing pulls.
///
/// Errors: as [`encode`].
pub fn decode_guided(
    plan: &Plan,
    stepper: &mut dyn Stepper,
    scale: GradientScale,
    healthy: ClassLabel,
    encoded: NoisyImage,
    on_step: &mut OnStep<'_>,
) -> Result<NoisyImage, DdimError> {
    check_level(&encoded, plan.top_level())?;
    walk(Leg::Decode, plan.decode(), stepper, (scale, healthy), encoded, on_step)
}

/// Makes the steps of a leg in turn.
///
/// Errors: [`DdimError::Cancelled`], and those of the stepper and of `on_step`.
pub(crate) fn walk(
    leg: Leg,
    steps: &[Step],
    stepper: &mut dyn Stepper,
    (scale, y): (GradientScale, ClassLabel),
    images: NoisyImage,
    on_step: &mut OnStep<'_>,
) -> Result<NoisyImage, DdimError> {
    let (total, mut level) = (steps.len(), images.level());
    stepper.begin(images.into_pixels())?;
    for (i, step) in steps.iter().enumerate() {
        stepper.step(step, if step.guided { scale } else { GradientScale::NONE }, y)?;
        level = step.to;
        let done = i + 1;
        let mut images = || Ok(NoisyImage::new(level, stepper.images()?));
        if on_step(&StepDone { leg, done, total, level }, &mut images)?.is_break() {
            return Err(DdimError::Cancelled { done, total });
        }
    }
    Ok(NoisyImage::new(level, stepper.images()?))
}

/// Images stand where a leg begins.
///
/// Errors: [`DdimError::Level`].
pub(crate) fn check_level(image: &NoisyImage, expected: NoiseLevel) -> Result<(), DdimError> {
    if image.level() == expected {
        return Ok(());
    }
    Err(DdimError::Level { found: image.level(), expected })
}
