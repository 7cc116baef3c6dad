//! The first noise of the published script, from a seed.

use ndarray::{Array4, Axis};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};

/// Standard normal noise [N, C, H, W]. Image i is stream `first` + i of the seed, so that it does not depend on how many images
/// come before it in a batch. (torch's generator is not imitated: bring its noise as an array.)
pub(super) fn standard_normal(seed: u64, first: u64, dim: (usize, usize, usize, usize)) -> Array4<f32> {
    let mut noise = Array4::zeros(dim);
    for (i, mut image) in (first..).zip(noise.axis_iter_mut(Axis(0))) {
        let mut generator = ChaCha20Rng::seed_from_u64(seed);
        generator.set_stream(i);
        image.iter_mut().for_each(|n| *n = StandardNormal.sample(&mut generator));
    }
    noise
}
