//! Random parameters in every layer, also in those that training starts at zero: for tests, and to time a preset
//! before it is trained.

use ndarray::ArrayD;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use sha2::{Digest, Sha256};

use super::Shapes;
use crate::graph::{ParamSource, ParamSpec};

/// Deviation of norm weights from 1, and of biases from 0.
const SMALL: f32 = 0.1;

/// Random parameters, made when they are asked for. Each tensor depends on the seed and on its own name alone.
#[derive(Debug, Clone)]
pub struct RandomWeights {
    seed: u64,
    shapes: Shapes,
}

impl RandomWeights {
    /// Random parameters of these names and shapes.
    pub fn new(seed: u64, params: &[ParamSpec]) -> Self {
        Self { seed, shapes: params.iter().map(|p| (p.name.clone(), p.shape.clone())).collect() }
    }

    /// The seed of all tensors.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Names and shapes.
    pub fn shapes(&self) -> &Shapes {
        &self.shapes
    }
}

impl ParamSource for RandomWeights {
    /// Two and more dimensions: normal, variance 1 / fan-in, so that activations stay of order 1. One dimension:
    /// a norm's weight near 1, a bias near 0.
    fn param(&self, name: &str) -> Option<ArrayD<f32>> {
        let shape = self.shapes.get(name)?;
        let hash = Sha256::new().chain_update(self.seed.to_le_bytes()).chain_update(name).finalize();
        let mut rng = ChaCha8Rng::from_seed(hash.into());
        let (mean, deviation) = match shape.len() {
            0 | 1 if name.ends_with("weight") => (1.0, SMALL),
            0 | 1 => (0.0, SMALL),
            _ => (0.0, 1.0 / (shape[1..].iter().product::<usize>().max(1) as f32).sqrt()),
        };
        Some(ArrayD::from_shape_simple_fn(shape.clone(), || {
            let z: f32 = StandardNormal.sample(&mut rng);
            mean + deviation * z
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Init;

    #[test]
    fn every_tensor_is_random_reproducible_and_scaled() {
        let spec = |name: &str, shape: &[usize]| ParamSpec {
            name: name.into(),
            shape: shape.to_vec(),
            init: Init::Zeros,
        };
        let params =
            [spec("conv.weight", &[64, 32, 3, 3]), spec("norm.weight", &[512]), spec("norm.bias", &[512])];
        let weights = RandomWeights::new(7, &params);
        // Mean and standard deviation within five standard errors.
        for (name, mean, deviation) in
            [("conv.weight", 0.0, 1.0 / 288f64.sqrt()), ("norm.weight", 1.0, 0.1), ("norm.bias", 0.0, 0.1)]
        {
            let values = weights.param(name).unwrap().mapv(f64::from);
            let error = deviation / (values.len() as f64).sqrt();
            assert!((values.mean().unwrap() - mean).abs() < 5.0 * error, "{name}: mean {:?}", values.mean());
            assert!((values.std(0.0) - deviation).abs() < 5.0 * error, "{name}: std {}", values.std(0.0));
        }
        assert_eq!(weights.param("norm.bias"), RandomWeights::new(7, &params[2..]).param("norm.bias"));
        assert_ne!(weights.param("norm.bias"), RandomWeights::new(8, &params).param("norm.bias"));
        assert_eq!(weights.param("absent"), None);
    }
}
