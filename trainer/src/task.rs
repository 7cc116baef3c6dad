//! The two networks that are trained, and what each minimises.

use anomalens_models::graph::Graph;
use anomalens_models::nets;
use anomalens_models::preset::Preset;
use anomalens_models::schedule::Schedule;
use tch::{Device, Kind, Tensor};

use crate::batches::Batch;
use crate::dropout::dropout;
use crate::error::TrainError;
use crate::interpret::{self, Params, Precision};
use crate::losses::{Diffusion, cross_entropy, squared_error};

/// Which network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// The noise predictor.
    Ddpm,
    /// The noisy classifier.
    Classifier,
}

impl Network {
    /// Name of its files: `ddpm` or `classifier`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ddpm => "ddpm",
            Self::Classifier => "classifier",
        }
    }
}

/// A network, its process and its loss on one device.
#[derive(Debug)]
pub struct Task {
    network: Network,
    graph: Graph,
    diffusion: Diffusion,
    conditional: bool,
    learn_sigma: bool,
    dropout: f64,
}

/// The loss of one batch and what else there is to say of it.
#[derive(Debug)]
pub struct Loss {
    /// What is minimised, one number, with its history for autograd.
    pub total: Tensor,
    /// What must stay small: the mean squared error, or the cross-entropy.
    pub guard: f64,
    /// Figures for the metrics: `mse` and, where variances are learned, `bound`; or `cross_entropy`, `accuracy`, and the accuracy in each quarter of
    /// the timesteps that has images.
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

impl Task {
    /// The network of a preset.
    ///
    /// Errors: [`TrainError::Method`], [`TrainError::Graph`], [`TrainError::Schedule`].
    pub fn new(network: Network, preset: &Preset, device: Device) -> Result<Self, TrainError> {
        let graph = match network {
            Network::Ddpm => nets::unet(preset)?,
            Network::Classifier => nets::classifier(preset)?,
        };
        let guided = preset.guided()?;
        let diffusion = Diffusion::new(&Schedule::new(&guided.schedule)?, device);
        Ok(Self {
            network,
            graph,
            diffusion,
            conditional: guided.unet.classes.is_some(),
            learn_sigma: guided.unet.learn_sigma,
            dropout: 0.0,
        })
    }

    /// The same, whose loss drops a share of the values: [`dropout`].
    pub fn with_dropout(self, rate: f64) -> Self {
        Self { dropout: rate, ..self }
    }

    /// The network.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// T.
    pub fn timesteps(&self) -> usize {
        self.diffusion.timesteps()
    }

    /// The loss of a batch noised to timesteps `t` `[N]`, all below `highest`, by `noise` [N, C, H, W].
    ///
    /// Errors: [`TrainError::Interpret`].
    pub fn loss(
        &self,
        params: &dyn Params,
        batch: &Batch,
        t: &Tensor,
        highest: usize,
        noise: &Tensor,
        precision: Precision,
    ) -> Result<Loss, TrainError> {
        let x_t = self.diffusion.noised(&batch.images, t, noise);
        let mut inputs = vec![("x", &x_t), ("t", t)];
        if self.network == Network::Ddpm && self.conditional {
            inputs.push(("y", &batch.labels));
        }
        let images = batch.labels.numel();
        let out = interpret::run_with(&self.graph, params, &inputs, precision, &dropout(self.dropout))?;
        Ok(match self.network {
            Network::Ddpm if self.learn_sigma => {
                let terms = self.diffusion.hybrid(&batch.images, &x_t, t, noise, &out[0]);
                let (mse, bound) = (mean(&terms.mse), mean(&terms.bound));
                let total = terms.total().mean(Kind::Float);
                let figures = vec![
                    Figure { name: "mse", value: mse, images },
                    Figure { name: "bound", value: bound, images },
                ];
                Loss { total, guard: mse, figures }
            }
            Network::Ddpm => {
                let total = squared_error(noise, &out[0]).mean(Kind::Float);
                let mse = mean(&total);
                Loss { total, guard: mse, figures: vec![Figure { name: "mse", value: mse, images }] }
            }
            Network::Classifier => {
                let logits = &out[0];
                let total = cross_entropy(logits, &batch.labels).mean(Kind::Float);
                let right = logits.argmax(1, false).eq_tensor(&batch.labels).to_kind(Kind::Float);
                let entropy = total.double_value(&[]);
                let mut figures = vec![
                    Figure { name: "cross_entropy", value: entropy, images },
                    Figure { name: "accuracy", value: mean(&right), images },
                ];
                for (quarter, name) in QUARTERS.into_iter().enumerate() {
                    let within = (t * 4).divide_scalar_mode(highest as i64, "floor").eq(quarter as i64);
                    let right = right.masked_select(&within);
                    if right.numel() > 0 {
                        figures.push(Figure { name, value: mean(&right), images: right.numel() });
                    }
                }
                Loss { total, guard: entropy, figures }
            }
        })
    }
}

/// The accuracy in each quarter of the timesteps, the least noisy first.
const QUARTERS: [&str; 4] = ["accuracy_1", "accuracy_2", "accuracy_3", "accuracy_4"];

fn mean(x: &Tensor) -> f64 {
    x.detach().mean(Kind::Float).double_value(&[])
}
