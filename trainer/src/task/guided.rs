//! The two networks of guided diffusion, each trained on noised images.

use anomalens_models::graph::Graph;
use anomalens_models::nets;
use anomalens_models::preset::Preset;
use anomalens_models::schedule::Schedule;
use tch::{Device, Kind, Tensor};

use super::{Figure, Loss, Network, Part, Task, mean};
use crate::batches::{self, Batch};
use crate::dropout::dropout;
use crate::error::TrainError;
use crate::interpret::{self, Params, Precision};
use crate::losses::{Diffusion, cross_entropy, squared_error};

/// The noise predictor or the noisy classifier, its process and its loss on one device.
#[derive(Debug)]
pub struct GuidedTask {
    noise_predictor: bool,
    graph: Graph,
    diffusion: Diffusion,
    conditional: bool,
    learn_sigma: bool,
    dropout: f64,
    highest: usize,
}

impl GuidedTask {
    /// The noise predictor of a preset, or else its classifier.
    ///
    /// Errors: [`TrainError::Method`], [`TrainError::Graph`], [`TrainError::Schedule`].
    pub fn new(network: Network, preset: &Preset, device: Device) -> Result<Self, TrainError> {
        let graph = if network == Network::Ddpm { nets::unet(preset)? } else { nets::classifier(preset)? };
        let guided = preset.guided()?;
        let diffusion = Diffusion::new(&Schedule::new(&guided.schedule)?, device);
        let highest = diffusion.timesteps();
        Ok(Self {
            noise_predictor: network == Network::Ddpm,
            graph,
            diffusion,
            conditional: guided.unet.classes.is_some(),
            learn_sigma: guided.unet.learn_sigma,
            dropout: 0.0,
            highest,
        })
    }

    /// The same, whose loss drops a share of the values: [`dropout`].
    pub fn with_dropout(self, rate: f64) -> Self {
        Self { dropout: rate, ..self }
    }

    /// The same, trained on timesteps below `highest` alone.
    pub fn with_highest(self, highest: usize) -> Self {
        Self { highest, ..self }
    }

    /// Timesteps that are drawn are below it.
    pub fn highest(&self) -> usize {
        self.highest
    }

    /// T.
    pub fn timesteps(&self) -> usize {
        self.diffusion.timesteps()
    }

    /// The loss of a batch noised to timesteps `t` `[N]`, all below [`GuidedTask::with_highest`]'s, by `noise` [N, C, H, W].
    /// Its figures: `mse` and, where variances are learned, `bound`; or `cross_entropy`, `accuracy`, and the accuracy in
    /// each quarter of the timesteps that has images.
    ///
    /// Errors: [`TrainError::Interpret`].
    pub fn loss_at(
        &self,
        params: &dyn Params,
        batch: &Batch,
        t: &Tensor,
        noise: &Tensor,
        precision: Precision,
    ) -> Result<Loss, TrainError> {
        let x_t = self.diffusion.noised(&batch.images, t, noise);
        let mut inputs = vec![("x", &x_t), ("t", t)];
        if self.noise_predictor && self.conditional {
            inputs.push(("y", &batch.labels));
        }
        let images = batch.labels.numel();
        let out = interpret::run_with(&self.graph, params, &inputs, precision, &dropout(self.dropout))?;
        Ok(match (self.noise_predictor, self.learn_sigma) {
            (true, true) => {
                let terms = self.diffusion.hybrid(&batch.images, &x_t, t, noise, &out[0]);
                let (mse, bound) = (mean(&terms.mse), mean(&terms.bound));
                let total = terms.total().mean(Kind::Float);
                let figures = vec![
                    Figure { name: "mse", value: mse, images },
                    Figure { name: "bound", value: bound, images },
                ];
                Loss { total, guard: mse, figures }
            }
            (true, false) => {
                let total = squared_error(noise, &out[0]).mean(Kind::Float);
                let mse = mean(&total);
                Loss { total, guard: mse, figures: vec![Figure { name: "mse", value: mse, images }] }
            }
            (false, _) => {
                let logits = &out[0];
                let total = cross_entropy(logits, &batch.labels).mean(Kind::Float);
                let right = logits.argmax(1, false).eq_tensor(&batch.labels).to_kind(Kind::Float);
                let entropy = total.double_value(&[]);
                let mut figures = vec![
                    Figure { name: "cross_entropy", value: entropy, images },
                    Figure { name: "accuracy", value: mean(&right), images },
                ];
                for (quarter, name) in QUARTERS.into_iter().enumerate() {
                    let within = (t * 4).divide_scalar_mode(self.highest as i64, "floor").eq(quarter as i64);
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

impl Task for GuidedTask {
    fn graph(&self) -> &Graph {
        &self.graph
    }

    fn draw(&self, batch: &Batch, seed: u64, step: usize) -> Vec<Tensor> {
        let (t, noise) = batches::noise(&batch.images, self.highest, seed, step);
        vec![t, noise]
    }

    fn loss(
        &self,
        _: Part,
        params: &dyn Params,
        batch: &Batch,
        drawn: &[Tensor],
        precision: Precision,
    ) -> Result<Loss, TrainError> {
        self.loss_at(params, batch, &drawn[0], &drawn[1], precision)
    }
}

/// The accuracy in each quarter of the timesteps, the least noisy first.
const QUARTERS: [&str; 4] = ["accuracy_1", "accuracy_2", "accuracy_3", "accuracy_4"];
