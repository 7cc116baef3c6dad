//! The variational autoencoder, trained on healthy images alone.

use anomalens_models::graph::Graph;
use anomalens_models::nets;
use anomalens_models::preset::Preset;
use tch::Tensor;

use super::{Figure, Loss, Part, Task, mean};
use crate::batches::{self, Batch};
use crate::error::TrainError;
use crate::interpret::{self, Params, Precision};
use crate::losses::{DECODER_DEVIATION, divergence_from_standard, squared_error};

/// The autoencoder and its loss.
#[derive(Debug)]
pub struct VaeTask {
    graph: Graph,
    /// Of the noise, without the batch.
    latent: Vec<i64>,
}

impl VaeTask {
    /// The autoencoder of a preset.
    ///
    /// Errors: [`TrainError::Graph`].
    pub fn new(preset: &Preset) -> Result<Self, TrainError> {
        let graph = nets::vae(preset)?;
        let (_, noise) = graph.inputs().find(|(name, _)| *name == "noise").expect("an autoencoder draws");
        let shape = &graph.node(noise).ty.shape;
        let latent = (1..shape.rank()).filter_map(|axis| shape.len(axis)).map(|d| d as i64).collect();
        Ok(Self { graph, latent })
    }
}

impl Task for VaeTask {
    fn graph(&self) -> &Graph {
        &self.graph
    }

    fn draw(&self, batch: &Batch, seed: u64, step: usize) -> Vec<Tensor> {
        batches::set_generator(seed, step);
        let shape = [&[batch.images.size()[0]][..], &self.latent].concat();
        vec![Tensor::randn(shape, (batch.images.kind(), batch.images.device()))]
    }

    /// The negative evidence lower bound (Kingma and Welling 2014, Eq. 10) of a Gaussian decoder, a pixel and channel.
    fn loss(
        &self,
        _: Part,
        params: &dyn Params,
        batch: &Batch,
        drawn: &[Tensor],
        precision: Precision,
    ) -> Result<Loss, TrainError> {
        let inputs = [("x", &batch.images), ("noise", &drawn[0])];
        let out = interpret::run(&self.graph, params, &inputs, precision)?;
        let [reconstruction, mean_z, log_variance] = &out[..] else {
            unreachable!("the graph has three outputs")
        };
        let images = batch.labels.numel();
        let pixels = (batch.images.numel() / images) as f64;
        let squared = squared_error(&batch.images, reconstruction);
        let divergence = divergence_from_standard(mean_z, log_variance);
        let weight = 1.0 / (2.0 * DECODER_DEVIATION * DECODER_DEVIATION);
        let total = (&squared * weight + &divergence / pixels).mean(squared.kind());
        let mse = mean(&squared);
        let figures = vec![
            Figure { name: "reconstruction_mse", value: mse, images },
            Figure { name: "divergence", value: mean(&divergence), images },
        ];
        Ok(Loss { total, guard: mse, figures })
    }
}
