//! One step from an ᾱ to another: its numbers, and the update that they make.

use anomalens_models::schedule::{NoiseLevel, Timestep};
use ndarray::Array4;

use super::DdimError;

/// One step from an ᾱ to another; upwards and downwards are the same formula.
///
/// With `y = x / sqrt(ᾱ)` and `σ = sqrt((1 - ᾱ) / ᾱ)` the way of an image is the ODE `dy/dσ = e`, whose slope is
/// `e = ε - s sqrt(1 - ᾱ) ∇ log p` (Song et al. 2021, Eq. 14). DDIM is Euler's method on it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// ᾱ of the image that goes in, (0, 1].
    pub from_alpha_bar: f64,
    /// ᾱ of the image that comes out, [0, 1].
    pub to_alpha_bar: f64,
    /// ᾱ that the step before this one came from, where its slope is used again; none: a step of Euler's method.
    pub previous_alpha_bar: Option<f64>,
    /// The level of the image that comes out.
    pub to: NoiseLevel,
    /// What the noise predictor is given.
    pub unet: Timestep,
    /// What the guide is given.
    pub classifier: Timestep,
    /// Whether the guide pulls, if there is one.
    pub guided: bool,
    /// Whether the x₀ that ε implies is clamped to [−1, 1]; the x₀ after guidance never is.
    pub clip: bool,
}

/// What a step multiplies: `x' = x + (x · cx + e · ce + e_previous · cp)`. Small steps have small ones, so that they may be
/// rounded to f32.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Coefficients {
    /// cx, of the image that goes in.
    pub x: f64,
    /// ce, of the slope there.
    pub slope: f64,
    /// cp, of the slope that the step before had; 0 in a step of Euler's method.
    pub previous: f64,
}

impl Coefficients {
    /// x' from x and both slopes.
    pub fn apply(&self, x: f64, slope: f64, previous: f64) -> f64 {
        x + (self.x * x + self.slope * slope + self.previous * previous)
    }
}

fn sigma(alpha_bar: f64) -> f64 {
    ((1.0 - alpha_bar) / alpha_bar).sqrt()
}

impl Step {
    /// Euler's method, or the second-order method of Adams and Bashforth for steps of different lengths h in σ: there the slope is
    /// `e + h / (2 h_previous) (e - e_previous)`.
    pub fn coefficients(&self) -> Coefficients {
        let (a, b) = (self.from_alpha_bar, self.to_alpha_bar);
        let shrink = (b / a).sqrt();
        // sqrt(b) (σ_b - σ_a), which is finite at b = 0, too.
        let length = (1.0 - b).sqrt() - shrink * (1.0 - a).sqrt();
        let again = self.previous_alpha_bar.map_or(0.0, |previous| {
            let (before, from, to) = (sigma(previous), sigma(a), sigma(b));
            (to - from) / (2.0 * (from - before))
        });
        Coefficients { x: shrink - 1.0, slope: length * (1.0 + again), previous: -length * again }
    }

    /// `x0 = (x - sqrt(1 - a) e) / sqrt(a)`, with a the ᾱ of x.
    fn clean(&self, x: f64, slope: f64) -> f64 {
        (x - (1.0 - self.from_alpha_bar).sqrt() * slope) / self.from_alpha_bar.sqrt()
    }

    /// e of a pixel, from ε and `pull` = s ∇ log p (Algorithm 1).
    pub(super) fn slope(&self, x: f64, eps: f64, pull: f64) -> f64 {
        let a = self.from_alpha_bar;
        let sqrt_1a = (1.0 - a).sqrt();
        // What the clamp changes in x0 is handed on to eps, so that x stays on the line between the two. Where a = 1
        // the image is clean and eps is free.
        let eps = if self.clip && a < 1.0 {
            (x - a.sqrt() * self.clean(x, eps).clamp(-1.0, 1.0)) / sqrt_1a
        } else {
            eps
        };
        eps - pull * sqrt_1a
    }

    /// Euler's step as Algorithm 1 prints it, `sqrt(b) x0 + sqrt(1 - b) e`: what [`Coefficients`] give but for the last bits of f64.
    pub(super) fn as_printed(&self, x: f64, slope: f64) -> f64 {
        let b = self.to_alpha_bar;
        b.sqrt() * self.clean(x, slope) + (1.0 - b).sqrt() * slope
    }
}

/// A network's output, or noise, has the shape of the images.
///
/// Errors: [`DdimError::Shape`].
pub(crate) fn check_shape(what: &'static str, found: &Array4<f32>, x: &Array4<f32>) -> Result<(), DdimError> {
    if found.dim() == x.dim() {
        return Ok(());
    }
    Err(DdimError::Shape { what, found: found.shape().to_vec(), expected: x.shape().to_vec() })
}
