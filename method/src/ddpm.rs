//! DDPM sampling under guidance, the paper's ablation: random noise up to level L, then stochastic steps down.
//!
//! ```text
//! x ──> noised: level L at once ──> decode: levels L -> 0, each step drawn from N(μ + s Σ ∇ log p, Σ)
//! ```
//!
//! Dhariwal and Nichol 2021, Algorithm 1, with the variance that the network has learned (Nichol and Dhariwal 2021, Eq. 15), along
//! the levels of a DDIM plan. Nothing is clipped, as in Algorithm 1 of the paper.

use anomalens_models::schedule::{NoiseLevel, Schedule};
use ndarray::{Array4, ArrayView3, Axis, Zip};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use sha2::{Digest, Sha256};

use crate::ddim::{
    ClassLabel, DdimError, GradientScale, Leg, Networks, NoisyImage, OnStep, Plan, Step, Stepper,
    check_level, check_shape, walk,
};

/// A stream of standard normal noise for each image of a batch.
#[derive(Debug, Clone)]
pub struct Noise {
    streams: Vec<ChaCha20Rng>,
}

impl Noise {
    /// An image's noise is a function of the seed and of its pixels: it does not depend on the batch that it is in, nor on its
    /// place there. `images`: [N, C, H, W].
    pub fn new(seed: u64, images: &Array4<f32>) -> Self {
        let stream = |image: ArrayView3<'_, f32>| {
            let mut hash = Sha256::new().chain_update(seed.to_le_bytes());
            image.iter().for_each(|pixel| hash.update(pixel.to_le_bytes()));
            ChaCha20Rng::from_seed(hash.finalize().into())
        };
        Self { streams: images.outer_iter().map(stream).collect() }
    }

    /// The next noise [N, C, H, W], for images of that shape.
    pub fn draw(&mut self, dim: (usize, usize, usize, usize)) -> Array4<f32> {
        let mut noise = Array4::zeros(dim);
        for (mut image, stream) in noise.axis_iter_mut(Axis(0)).zip(&mut self.streams) {
            image.iter_mut().for_each(|n| *n = StandardNormal.sample(stream));
        }
        noise
    }
}

/// `x_L = sqrt(ᾱ_L) x + sqrt(1 - ᾱ_L) noise`; both [N, C, H, W].
///
/// Errors: [`DdimError::Schedule`] for a level that the schedule does not have, [`DdimError::Shape`].
pub fn noised(
    schedule: &Schedule,
    level: NoiseLevel,
    images: &Array4<f32>,
    noise: &Array4<f32>,
) -> Result<NoisyImage, DdimError> {
    check_shape("noise", noise, images)?;
    let alpha_bar = schedule.alpha_bar(level)?;
    let (signal, spread) = (alpha_bar.sqrt(), (1.0 - alpha_bar).sqrt());
    let mix = |&x: &f32, &n: &f32| (signal * f64::from(x) + spread * f64::from(n)) as f32;
    Ok(NoisyImage::new(level, Zip::from(images).and(noise).map_collect(mix)))
}

/// The way down by the plan's steps, pulled towards `healthy`. `noise` is asked for standard normal values of a shape, once a step
/// but for the last.
///
/// Errors: as those of [`crate::ddim::decode_guided`].
pub fn decode(
    plan: &Plan,
    mut networks: Networks<'_>,
    scale: GradientScale,
    healthy: ClassLabel,
    noised: NoisyImage,
    noise: &mut Draw<'_>,
    on_step: &mut OnStep<'_>,
) -> Result<NoisyImage, DdimError> {
    check_level(&noised, plan.top_level())?;
    let steps = plan.decode();
    // The last step's posterior variance is 0 and has no logarithm: as in the reference, it takes that of the step before it.
    let smallest =
        steps.iter().rev().map(|step| Posterior::of(step).variance).find(|variance| *variance > 0.0);
    let mut sampler =
        Sampler { networks: networks.reborrow(), noise, smallest, x: Array4::zeros((0, 0, 0, 0)) };
    walk(Leg::Decode, steps, &mut sampler, (scale, healthy), noised, on_step)
}

/// Gives standard normal values of a shape.
pub type Draw<'a> = dyn FnMut((usize, usize, usize, usize)) -> Array4<f32> + 'a;

/// Draws each step from the posterior.
struct Sampler<'a, 'n> {
    networks: Networks<'a>,
    noise: &'a mut Draw<'n>,
    /// The smallest posterior variance of the steps that is not 0.
    smallest: Option<f64>,
    x: Array4<f32>,
}

impl Stepper for Sampler<'_, '_> {
    fn begin(&mut self, x: Array4<f32>) -> Result<(), DdimError> {
        self.x = x;
        Ok(())
    }

    fn step(&mut self, step: &Step, scale: GradientScale, y: ClassLabel) -> Result<(), DdimError> {
        let x = &self.x;
        let (eps, learned) = self.networks.net.eps_and_variance(x, step.unet, y)?;
        check_shape("noise prediction", &eps, x)?;
        let posterior = Posterior::of(step);
        let least = if posterior.variance > 0.0 {
            posterior.variance
        } else {
            self.smallest.unwrap_or(posterior.beta)
        };
        let variance = posterior.variances(x, learned, least)?;
        let mut mean = Zip::from(x).and(&eps).map_collect(|&x, &eps| posterior.mean(x.into(), eps.into()));
        if let Some(guide) = self.networks.guide.as_mut().filter(|_| scale > GradientScale::NONE) {
            let gradient = guide.gradient(x, step.classifier, y)?;
            check_shape("gradient", &gradient, x)?;
            Zip::from(&mut mean)
                .and(&variance)
                .and(&gradient)
                .for_each(|mean, &variance, &gradient| *mean += scale.get() * variance * f64::from(gradient));
        }
        if step.to > NoiseLevel::CLEAN {
            let drawn = (self.noise)(x.dim());
            check_shape("noise", &drawn, x)?;
            Zip::from(&mut mean)
                .and(&variance)
                .and(&drawn)
                .for_each(|x, &v, &n| *x += v.sqrt() * f64::from(n));
        }
        self.x = mean.mapv(|x| x as f32);
        Ok(())
    }

    fn images(&mut self) -> Result<Array4<f32>, DdimError> {
        Ok(self.x.clone())
    }

    fn guided(&self) -> bool {
        self.networks.guide.is_some()
    }

    fn networks(&mut self) -> Result<Networks<'_>, DdimError> {
        Ok(self.networks.reborrow())
    }
}

/// q(x_b | x_a, x_0), from the level with ᾱ = a to the one with ᾱ = b (Ho et al. 2020, Eq. 6 and 7).
struct Posterior {
    a: f64,
    b: f64,
    /// β of the one step that leads from b to a.
    beta: f64,
    /// β̃, 0 where b is the clean image's.
    variance: f64,
}

impl Posterior {
    fn of(step: &Step) -> Self {
        let (a, b) = (step.from_alpha_bar, step.to_alpha_bar);
        let beta = 1.0 - a / b;
        Self { a, b, beta, variance: (1.0 - b) / (1.0 - a) * beta }
    }

    /// μ, with the x₀ that ε implies.
    fn mean(&self, x: f64, eps: f64) -> f64 {
        let Self { a, b, beta, .. } = *self;
        let clean = (x - (1.0 - a).sqrt() * eps) / a.sqrt();
        (b.sqrt() * beta * clean + (a / b).sqrt() * (1.0 - b) * x) / (1.0 - a)
    }

    /// Σ of each pixel of `x`: between the logarithms of `least` and β as v of −1 to 1 says. Where none is learned, β, but `least` in
    /// the last step.
    fn variances(
        &self,
        x: &Array4<f32>,
        learned: Option<Array4<f32>>,
        least: f64,
    ) -> Result<Array4<f64>, DdimError> {
        let Some(v) = learned else {
            return Ok(Array4::from_elem(x.dim(), if self.variance > 0.0 { self.beta } else { least }));
        };
        check_shape("learned variance", &v, x)?;
        let (low, high) = (least.ln(), self.beta.ln());
        Ok(v.mapv(|v| {
            let share = (f64::from(v) + 1.0) / 2.0;
            (share * high + (1.0 - share) * low).exp()
        }))
    }
}

#[cfg(test)]
mod tests;
