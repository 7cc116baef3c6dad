//! The two legs of a translation.

use std::ops::ControlFlow;

use super::{ClassLabel, DdimError, Guidance, NoisePredictor, NoisyImage, Plan, Step};

/// Which way a step goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leg {
    /// Towards noise.
    Encode,
    /// Back, guided.
    Decode,
}

/// A step that has just been made.
#[derive(Debug)]
pub struct StepDone<'a> {
    /// Which way.
    pub leg: Leg,
    /// Steps done in this leg, 1..=total.
    pub done: usize,
    /// Steps of this leg.
    pub total: usize,
    /// The images as they are now.
    pub image: &'a NoisyImage,
}

/// What is called after each step; [`ControlFlow::Break`] cancels.
pub type OnStep<'a> = dyn FnMut(&StepDone<'_>) -> ControlFlow<()> + 'a;

/// The way up (Algorithm 1, first loop). `images` come from [`Plan::start`]; the noise predictor is given `healthy`.
///
/// Errors: [`DdimError::Level`], [`DdimError::Network`], [`DdimError::Shape`], [`DdimError::Cancelled`].
pub fn encode(
    plan: &Plan,
    net: &mut dyn NoisePredictor,
    healthy: ClassLabel,
    images: NoisyImage,
    on_step: &mut OnStep<'_>,
) -> Result<NoisyImage, DdimError> {
    check_level(&images, plan.first_level())?;
    walk(Leg::Encode, plan.encode(), images, on_step, |step, x| step.make(net, None, healthy, x.pixels()))
}

/// The way down, pulled towards `healthy` (Algorithm 1, second loop); without guidance nothing pulls.
///
/// Errors: as [`encode`].
pub fn decode_guided(
    plan: &Plan,
    net: &mut dyn NoisePredictor,
    mut guidance: Option<Guidance<'_>>,
    healthy: ClassLabel,
    encoded: NoisyImage,
    on_step: &mut OnStep<'_>,
) -> Result<NoisyImage, DdimError> {
    check_level(&encoded, plan.top_level())?;
    walk(Leg::Decode, plan.decode(), encoded, on_step, |step, x| {
        step.make(net, guidance.as_mut(), healthy, x.pixels())
    })
}

/// Makes the steps of a leg in turn.
///
/// Errors: [`DdimError::Cancelled`], and those of `make`.
pub(crate) fn walk(
    leg: Leg,
    steps: &[Step],
    mut image: NoisyImage,
    on_step: &mut OnStep<'_>,
    mut make: impl FnMut(&Step, &NoisyImage) -> Result<ndarray::Array4<f32>, DdimError>,
) -> Result<NoisyImage, DdimError> {
    let total = steps.len();
    for (i, step) in steps.iter().enumerate() {
        image = NoisyImage::new(step.to, make(step, &image)?);
        let done = i + 1;
        if on_step(&StepDone { leg, done, total, image: &image }).is_break() {
            return Err(DdimError::Cancelled { done, total });
        }
    }
    Ok(image)
}

/// Images stand where a leg begins.
///
/// Errors: [`DdimError::Level`].
pub(crate) fn check_level(
    image: &NoisyImage,
    expected: anomalens_models::schedule::NoiseLevel,
) -> Result<(), DdimError> {
    if image.level() == expected {
        return Ok(());
    }
    Err(DdimError::Level { found: image.level(), expected })
}
