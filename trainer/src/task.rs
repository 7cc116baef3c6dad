//! The networks that are trained, and what each minimises: one file a kind.
//!
//! A step has one phase or two: a phase changes the parameters that are its own, by their gradients alone. What a step draws is a
//! function of the seed and of its number.

mod fixed_point_gan;
mod guided;
mod vae;

use anomalens_models::graph::{Graph, ParamSpec};
use anomalens_models::preset::{MethodError, Preset, Recipe, Train};
use tch::{Device, Kind, Tensor};

use crate::adam::Betas;
use crate::batches::Batch;
use crate::error::TrainError;
use crate::interpret::{Params, Precision};

pub use fixed_point_gan::{CRITIC_STEPS, GanTask};
pub use guided::GuidedTask;
pub use vae::VaeTask;

/// Which network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// The noise predictor.
    Ddpm,
    /// The noisy classifier.
    Classifier,
    /// The variational autoencoder.
    Vae,
    /// The Fixed-Point GAN: its generator, and the critic that comes and goes with it.
    FixedPointGan,
}

/// Which images of a cohort a network learns from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Diet {
    /// All, whatever their class.
    Any,
    /// All, and there must be some of both classes.
    Both,
    /// The healthy ones alone.
    Healthy,
}

impl Network {
    /// Name of its command and of its files: `ddpm`, `classifier`, `vae` or `fpgan`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ddpm => "ddpm",
            Self::Classifier => "classifier",
            Self::Vae => "vae",
            Self::FixedPointGan => "fpgan",
        }
    }

    /// Its recipe among those of a preset.
    pub fn recipe(self, train: &Train) -> &Recipe {
        match self {
            Self::Ddpm => &train.ddpm,
            Self::Classifier => &train.classifier,
            Self::Vae => &train.vae,
            Self::FixedPointGan => &train.fpgan,
        }
    }

    /// T of the preset's process; none for a network that knows no noise levels.
    ///
    /// Errors: [`MethodError`] where the preset has no such network.
    pub fn timesteps(self, preset: &Preset) -> Result<Option<usize>, MethodError> {
        match self {
            Self::Ddpm | Self::Classifier => Ok(Some(preset.guided()?.schedule.timesteps)),
            Self::Vae => preset.vae().map(|_| None),
            Self::FixedPointGan => preset.fixed_point_gan().map(|_| None),
        }
    }

    /// What it learns from.
    ///
    /// Errors: [`MethodError`] where the preset has no such network.
    pub fn diet(self, preset: &Preset) -> Result<Diet, MethodError> {
        Ok(match self {
            Self::Ddpm if preset.guided()?.unet.classes.is_none() => Diet::Any,
            Self::Ddpm | Self::Classifier | Self::FixedPointGan => Diet::Both,
            Self::Vae => Diet::Healthy,
        })
    }

    /// What is minimised, on a device.
    ///
    /// Errors: [`TrainError::Method`], [`TrainError::Graph`], [`TrainError::Schedule`].
    pub fn task(self, preset: &Preset, recipe: &Recipe, device: Device) -> Result<Box<dyn Task>, TrainError> {
        Ok(match self {
            Self::Ddpm | Self::Classifier => {
                let task = GuidedTask::new(self, preset, device)?;
                let highest = recipe.max_level.unwrap_or(task.timesteps());
                Box::new(task.with_dropout(recipe.dropout).with_highest(highest))
            }
            Self::Vae => Box::new(VaeTask::new(preset)?),
            Self::FixedPointGan => Box::new(GanTask::new(preset)?),
        })
    }
}

/// What is minimised to train a network.
pub trait Task {
    /// The network that training is for: its parameters are the result.
    fn graph(&self) -> &Graph;

    /// Every parameter that is trained, those of [`Task::graph`] among them by their own names.
    fn params(&self) -> Vec<ParamSpec> {
        self.graph().params().to_vec()
    }

    /// The phases of step number `step`, from 1, in order; but for networks that are trained against each other, one of all parameters.
    fn phases(&self, step: usize) -> Vec<Phase> {
        vec![Phase { part: Part::Whole, count: step, betas: Betas::USUAL }]
    }

    /// What step `step`, from 0, draws for the images of its batch: tensors `[N, …]`, whose parts belong to the batch's
    /// parts.
    fn draw(&self, batch: &Batch, seed: u64, step: usize) -> Vec<Tensor>;

    /// The loss of one phase for a batch and what was drawn for it.
    ///
    /// Errors: [`TrainError::Interpret`].
    fn loss(
        &self,
        part: Part,
        params: &dyn Params,
        batch: &Batch,
        drawn: &[Tensor],
        precision: Precision,
    ) -> Result<Loss, TrainError>;
}

/// One change of some parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Phase {
    /// Of which.
    pub part: Part,
    /// How often these have been changed with this phase, from 1: what Adam's means are corrected by.
    pub count: usize,
    /// Adam's.
    pub betas: Betas,
}

/// Parameters that are changed together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// All.
    Whole,
    /// The critic's.
    Critic,
    /// All but the critic's.
    Generator,
}

/// What stands before the names of a critic's parameters.
pub const CRITIC: &str = "critic.";

impl Part {
    /// Whether a parameter is one of them.
    pub fn owns(self, name: &str) -> bool {
        match self {
            Self::Whole => true,
            Self::Critic => name.starts_with(CRITIC),
            Self::Generator => !name.starts_with(CRITIC),
        }
    }

    /// The name of the figure that is the norm of their gradient.
    pub fn norm_name(self) -> &'static str {
        match self {
            Self::Whole => "gradient_norm",
            Self::Critic => "critic_gradient_norm",
            Self::Generator => "generator_gradient_norm",
        }
    }
}

/// The loss of one batch and what else there is to say of it.
#[derive(Debug)]
pub struct Loss {
    /// What is minimised, one number, with its history for autograd.
    pub total: Tensor,
    /// What must stay small: a mean squared error, a cross-entropy, a gradient penalty.
    pub guard: f64,
    /// Figures for the metrics.
    pub figures: Vec<Figure>,
}

/// A mean over some images.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figure {
    /// What of.
    pub name: &'static str,
    /// The mean.
    pub value: f64,
    /// Over how many images.
    pub images: usize,
}

fn mean(x: &Tensor) -> f64 {
    x.detach().mean(Kind::Float).double_value(&[])
}
