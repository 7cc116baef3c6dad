//! The parameters that training starts from.

use ndarray::ArrayD;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal, Uniform};
use sha2::{Digest, Sha256};

use crate::graph::{Init, ParamSpec};

/// The first value of a parameter, drawn from its [`Init`]. Each tensor depends on the seed and on its own name alone,
/// so that it is the same whatever else the network holds, and on every machine.
pub fn initial(seed: u64, param: &ParamSpec) -> ArrayD<f32> {
    let hash = Sha256::new().chain_update(seed.to_le_bytes()).chain_update(&param.name).finalize();
    let mut rng = ChaCha8Rng::from_seed(hash.into());
    let shape = param.shape.clone();
    match param.init {
        Init::Zeros => ArrayD::zeros(shape),
        Init::Ones => ArrayD::ones(shape),
        Init::FanIn(n) => {
            let bound = 1.0 / (n.max(1) as f32).sqrt();
            let uniform = Uniform::new(-bound, bound).expect("a positive bound");
            ArrayD::from_shape_simple_fn(shape, || uniform.sample(&mut rng))
        }
        Init::Normal(n) => {
            let deviation = 1.0 / (n.max(1) as f32).sqrt();
            ArrayD::from_shape_simple_fn(shape, || {
                let z: f32 = StandardNormal.sample(&mut rng);
                deviation * z
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_distribution_has_its_moments() {
        let spec = |init| ParamSpec { name: "w".into(), shape: vec![100, 100], init };
        // Standard deviation of uniform ±b: b/√3. Mean and deviation within five standard errors of 10,000 draws.
        for (init, deviation, most) in [
            (Init::FanIn(16), 0.25 / 3f64.sqrt(), 0.25),
            (Init::Normal(1), 1.0, f64::INFINITY),
            (Init::Normal(64), 0.125, f64::INFINITY),
        ] {
            let values = initial(3, &spec(init)).mapv(f64::from);
            let (mean, std) = (values.mean().unwrap(), values.std(0.0));
            assert!(mean.abs() < 5.0 * deviation / 100.0, "{init:?}: mean {mean}");
            assert!((std - deviation).abs() < 5.0 * deviation / 100.0, "{init:?}: deviation {std}");
            assert!(values.iter().all(|v| v.abs() <= most), "{init:?}");
        }
        assert!(initial(3, &spec(Init::Zeros)).iter().all(|&v| v == 0.0));
        assert!(initial(3, &spec(Init::Ones)).iter().all(|&v| v == 1.0));
        assert_eq!(initial(3, &spec(Init::FanIn(2))), initial(3, &spec(Init::FanIn(2))));
        assert_ne!(initial(3, &spec(Init::FanIn(2))), initial(4, &spec(Init::FanIn(2))));
    }
}
