//! What a translation is told.

use std::ops::Range;

use anomalens_models::preset::{GuidanceInterval, Preset, Solver};
use anomalens_models::schedule::{NoiseLevel, Respacing, Schedule, Trajectory};
use ndarray::{Array4, s};

use super::TranslateError;
use crate::ddim::{ClassLabel, DdimError, GradientScale, Plan};

/// Which levels a translation visits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Steps {
    /// Every level 0..=L.
    Every,
    /// n steps at the levels `round(L (j/n)^p)`, see [`Trajectory::spaced`].
    Spaced {
        /// n, 1..=L.
        n: usize,
        /// p, within [`Trajectory::SPACING`]; 1 makes equal steps.
        spacing: f64,
    },
    /// The reference's `ddimN`; the noise level then counts respaced steps.
    Respaced(Respacing),
}

/// Whose indices and noise.
#[derive(Debug, Clone, PartialEq)]
pub enum Procedure {
    /// Algorithm 1 of the paper.
    Paper,
    /// DDPM sampling, the paper's ablation: [`crate::ddpm`].
    Ddpm {
        /// Of all noise; an image's also depends on its pixels.
        seed: u64,
    },
    /// The published script, so that its results can be repeated; see [`Plan::reference`].
    Reference {
        /// Whether x₀ is clamped to [−1, 1] before guidance.
        clip: bool,
        /// The noise that is added before encoding.
        first_noise: FirstNoise,
    },
}

/// The noise that the published script adds before it encodes.
#[derive(Debug, Clone, PartialEq)]
pub enum FirstNoise {
    /// Standard normal from a seed; every image has its own stream, whatever the batch.
    Seed {
        /// The seed.
        seed: u64,
        /// The stream of the first image; the next has the next.
        first: u64,
    },
    /// This array [N, C, H, W].
    Array(Array4<f32>),
}

/// How often a batch asks the networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Calls {
    /// The U-Net, on the way up.
    pub encode: usize,
    /// The U-Net, on the way down.
    pub decode: usize,
    /// The classifier's gradient, on the way down, if there is a classifier.
    pub gradient: usize,
}

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// L, the level to encode to.
    pub noise_level: NoiseLevel,
    /// Which levels are visited.
    pub steps: Steps,
    /// How a loop goes from level to level; it has a meaning for [`Procedure::Paper`] only.
    pub solver: Solver,
    /// Where the classifier pulls; none: at every level. The published script knows none.
    pub guidance_interval: Option<GuidanceInterval>,
    /// Whose indices and noise.
    pub procedure: Procedure,
    /// s, the weight of the classifier's gradient.
    pub scale: GradientScale,
    /// The class that means "healthy".
    pub healthy_class: ClassLabel,
    /// Images that the networks are given at once, at least 1.
    pub batch: usize,
    /// Whether every x_t is kept: (2 steps + 1) times the images' memory.
    pub keep_trajectory: bool,
}

impl Options {
    /// What a preset says: its L, s, healthy class, steps and how they are made; one image at a time.
    ///
    /// Errors: [`DdimError::Method`], [`DdimError::Scale`].
    pub fn defaults(preset: &Preset) -> Result<Self, DdimError> {
        let defaults = &preset.guided()?.translate;
        Ok(Self {
            noise_level: NoiseLevel::new(defaults.noise_level),
            steps: match defaults.steps {
                None => Steps::Every,
                Some(n) => Steps::Spaced { n, spacing: defaults.spacing },
            },
            solver: defaults.solver,
            guidance_interval: defaults.guidance_interval,
            procedure: Procedure::Paper,
            scale: GradientScale::new(defaults.scale)?,
            healthy_class: ClassLabel::new(defaults.healthy_class),
            batch: 1,
            keep_trajectory: false,
        })
    }

    /// What images `range` of those that these options are for are told where they are translated without the others: of the
    /// noise their own. Panics if the range lies beyond the noise that was brought.
    pub fn part(&self, range: Range<usize>) -> Self {
        let procedure = match &self.procedure {
            Procedure::Reference { clip, first_noise } => {
                let first_noise = match first_noise {
                    &FirstNoise::Seed { seed, first } => {
                        FirstNoise::Seed { seed, first: first + range.start as u64 }
                    }
                    FirstNoise::Array(noise) => {
                        FirstNoise::Array(noise.slice(s![range, .., .., ..]).to_owned())
                    }
                };
                Procedure::Reference { clip: *clip, first_noise }
            }
            whole @ (Procedure::Paper | Procedure::Ddpm { .. }) => whole.clone(),
        };
        Self { procedure, ..*self }
    }

    /// How often each batch asks the networks on a schedule.
    ///
    /// Errors: those of [`Options::plan`].
    pub fn calls(&self, schedule: &Schedule) -> Result<Calls, TranslateError> {
        Ok(self.calls_of(&self.plan(schedule)?))
    }

    /// The same, of the plan.
    pub(super) fn calls_of(&self, plan: &Plan) -> Calls {
        let decode = plan.decode().len();
        Calls {
            // DDPM sampling noises the images at once.
            encode: if matches!(self.procedure, Procedure::Ddpm { .. }) { 0 } else { plan.encode().len() },
            decode,
            gradient: match self.scale {
                GradientScale::NONE => 0,
                _ => plan.decode().iter().filter(|step| step.guided).count(),
            },
        }
    }

    /// Whether the noise that was brought, if it was, is for images [N, C, H, W] of this shape.
    ///
    /// Errors: [`DdimError::Shape`].
    pub fn check_noise(&self, expected: &[usize]) -> Result<(), TranslateError> {
        match &self.procedure {
            Procedure::Reference { first_noise: FirstNoise::Array(noise), .. }
                if noise.shape() != expected =>
            {
                let (found, expected) = (noise.shape().to_vec(), expected.to_vec());
                Err(DdimError::Shape { what: "first noise", found, expected }.into())
            }
            _ => Ok(()),
        }
    }

    /// The steps of both legs on a schedule.
    ///
    /// Errors: [`TranslateError::Ddim`], [`TranslateError::ReferenceSteps`].
    pub fn plan(&self, schedule: &Schedule) -> Result<Plan, TranslateError> {
        let level = self.noise_level;
        let plan = match (&self.procedure, self.steps) {
            (Procedure::Paper | Procedure::Ddpm { .. }, steps) => {
                let trajectory = match steps {
                    Steps::Every => Trajectory::every(schedule, level),
                    Steps::Spaced { n, spacing } => Trajectory::spaced(schedule, level, n, spacing),
                    Steps::Respaced(respacing) => Trajectory::respaced(schedule, respacing, level),
                };
                let plan = Plan::paper(schedule, &trajectory.map_err(DdimError::from)?)?;
                plan.by(self.solver, self.guidance_interval)
            }
            (Procedure::Reference { clip, .. }, Steps::Every) => {
                Plan::reference(schedule, None, level, *clip)?
            }
            (Procedure::Reference { clip, .. }, Steps::Respaced(respacing)) => {
                Plan::reference(schedule, Some(respacing), level, *clip)?
            }
            (Procedure::Reference { .. }, Steps::Spaced { .. }) => {
                return Err(TranslateError::ReferenceSteps);
            }
        };
        Ok(plan)
    }
}
