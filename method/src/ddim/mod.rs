//! Guided DDIM: Algorithm 1 of the paper, and the published script's way, over any two networks.
//!
//! ```text
//! x ──> Plan::start ──> encode: levels 0 -> L, no guidance ──> decode_guided: levels L -> 0, guided ──> x_0
//! ```
//!
//! A [`Plan`] is the list of [`Step`]s of both legs; a step is one evaluation of the noise predictor, on the way down
//! also one of the guide, and one update. What makes them is a [`Stepper`]. The networks are the traits [`NoisePredictor`]
//! and [`Guide`], so that the sampler can be tested on functions whose solution is known. Every image of a batch is treated
//! alone: nothing here depends on which images share a batch.

mod plan;
mod step;
mod stepper;
mod walk;

pub use plan::Plan;
pub use step::{Coefficients, Step};
pub use stepper::{Networks, OnHost, Stepper};
pub use walk::{Images, Leg, OnStep, StepDone, decode_guided, encode};

pub(crate) use step::check_shape;
pub(crate) use walk::{check_level, walk};

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use anomalens_models::preset::MethodError;
use anomalens_models::schedule::{NoiseLevel, ScheduleError, Timestep};
use ndarray::Array4;

/// A class of the classifier and of the U-Net's label embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClassLabel(usize);

impl ClassLabel {
    /// A class; whether a network has it, its preset says.
    pub const fn new(class: usize) -> Self {
        Self(class)
    }

    /// The class as a number.
    pub const fn get(self) -> usize {
        self.0
    }
}

/// s, the weight of the classifier's gradient; finite, at least 0. Without effect at 0.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct GradientScale(f64);

impl GradientScale {
    /// No guidance.
    pub const NONE: Self = Self(0.0);

    /// Checks and takes s.
    ///
    /// Errors: [`DdimError::Scale`].
    pub fn new(scale: f64) -> Result<Self, DdimError> {
        if scale.is_finite() && scale >= 0.0 {
            Ok(Self(scale))
        } else {
            Err(DdimError::Scale { found: scale })
        }
    }

    /// s as a number.
    pub const fn get(self) -> f64 {
        self.0
    }
}

/// Why a network could not be computed: the error of the engine, or of libtorch.
#[derive(Debug, Clone)]
pub struct NetworkError(Arc<dyn Error + Send + Sync>);

impl NetworkError {
    /// Takes what went wrong.
    pub fn new(cause: impl Error + Send + Sync + 'static) -> Self {
        Self(Arc::new(cause))
    }

    /// What went wrong, for who knows its type.
    pub fn cause(&self) -> &(dyn Error + 'static) {
        &*self.0
    }
}

impl fmt::Display for NetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for NetworkError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

/// Predicts the noise in an image: the U-Net, or a function in a test.
pub trait NoisePredictor {
    /// ε for a batch of noisy images `x` [N, C, H, W] at network index `t`; same shape.
    ///
    /// Errors: those of whoever computes it.
    fn eps(&mut self, x: &Array4<f32>, t: Timestep, y: ClassLabel) -> Result<Array4<f32>, NetworkError>;

    /// The same and, if the network has learned variances, v of the same shape, which is −1 at the posterior's variance and 1 at β
    /// (Nichol and Dhariwal 2021, Eq. 15).
    ///
    /// Errors: as [`Self::eps`].
    fn eps_and_variance(
        &mut self,
        x: &Array4<f32>,
        t: Timestep,
        y: ClassLabel,
    ) -> Result<(Array4<f32>, Option<Array4<f32>>), NetworkError> {
        Ok((self.eps(x, t, y)?, None))
    }
}

/// Pulls an image towards a class: the noisy classifier's gradient, or a function in a test.
pub trait Guide {
    /// ∇ₓ log p(y | x, t) for each image of a batch `x` [N, C, H, W]; same shape.
    ///
    /// Errors: those of whoever computes it.
    fn gradient(&mut self, x: &Array4<f32>, t: Timestep, y: ClassLabel) -> Result<Array4<f32>, NetworkError>;
}

/// A batch of images [N, C, H, W] and the noise level that they are at.
#[derive(Debug, Clone, PartialEq)]
pub struct NoisyImage {
    level: NoiseLevel,
    pixels: Array4<f32>,
}

impl NoisyImage {
    /// Images [N, C, H, W] that are known to be at `level`.
    pub fn new(level: NoiseLevel, pixels: Array4<f32>) -> Self {
        Self { level, pixels }
    }

    /// The level.
    pub fn level(&self) -> NoiseLevel {
        self.level
    }

    /// The pixels [N, C, H, W].
    pub fn pixels(&self) -> &Array4<f32> {
        &self.pixels
    }

    /// The pixels [N, C, H, W], taken out.
    pub fn into_pixels(self) -> Array4<f32> {
        self.pixels
    }
}

/// Why images could not be encoded or decoded.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum DdimError {
    /// The networks are those of another method.
    #[error(transparent)]
    Method(#[from] MethodError),
    /// A level or a respacing that cannot be.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// A network failed.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// A scale that is negative, infinite or not a number.
    #[error("gradient scale {found}, expected a finite number, at least 0; correct --scale")]
    Scale {
        /// The scale found.
        found: f64,
    },
    /// The published script makes no step to level 1, and has no levels beyond the last.
    #[error(
        "noise level {found} with --schedule reference, expected 2..={most}; the published script makes L - 1 steps: choose another --noise-level, or --schedule paper"
    )]
    ReferenceLevel {
        /// L.
        found: usize,
        /// The highest level.
        most: usize,
    },
    /// An array of another shape than the images.
    #[error("{what}: shape {found:?}, expected {expected:?}: that of the images")]
    Shape {
        /// What was looked at, e.g. `first noise`.
        what: &'static str,
        /// Its shape.
        found: Vec<usize>,
        /// The images' shape.
        expected: Vec<usize>,
    },
    /// The script's way begins with noise, Algorithm 1 does not.
    #[error("first noise: found {found}, expected {expected}; only --schedule reference begins with noise")]
    FirstNoise {
        /// `an array` or `none`.
        found: &'static str,
        /// `an array` or `none`.
        expected: &'static str,
    },
    /// Images at another level than the leg begins with.
    #[error(
        "images at noise level {found}, expected {expected}, where this leg begins; encode and decode by the same plan"
    )]
    Level {
        /// The images' level.
        found: NoiseLevel,
        /// The leg's first level.
        expected: NoiseLevel,
    },
    /// The callback said stop.
    #[error("cancelled after step {done} of {total}")]
    Cancelled {
        /// Steps done in this leg.
        done: usize,
        /// Steps of this leg.
        total: usize,
    },
}

#[cfg(test)]
mod tests;
