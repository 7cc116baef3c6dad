//! Random numbers that are the same on every machine: ChaCha8 and plain arithmetic, no function of the C library.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// What a stream is for: each part of a subject draws from its own, so that a change in one leaves the others alone.
#[derive(Debug, Clone, Copy)]
pub enum Part {
    /// Affine map, deformation, slab.
    Shape,
    /// Tissue intensities and bias.
    Contrast,
    /// Rims, spots and vessels.
    Confounders,
    /// Lesions.
    Lesions,
    /// Noise.
    Noise,
    /// What is put around the brain.
    Head,
}

/// One stream of random numbers.
pub struct Stream(ChaCha8Rng);

impl Stream {
    /// The stream of one part of one subject.
    pub fn new(seed: u64, subject: u64, part: Part) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(subject * 8 + part as u64);
        Self(rng)
    }

    /// Uniform in [0, 1).
    pub fn unit(&mut self) -> f32 {
        (self.0.next_u32() >> 8) as f32 / (1u32 << 24) as f32
    }

    /// Uniform in [low, high).
    pub fn within(&mut self, [low, high]: [f32; 2]) -> f32 {
        low + (high - low) * self.unit()
    }

    /// Uniform whole number in low..=high.
    pub fn count(&mut self, [low, high]: [u32; 2]) -> u32 {
        low + self.0.next_u32() % (high - low + 1)
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f32) -> bool {
        self.unit() < p
    }

    /// Mean 0, standard deviation 1, within ±6: the sum of twelve uniform numbers.
    pub fn normal(&mut self) -> f32 {
        let mut sum = 0u32;
        for _ in 0..6 {
            let two = self.0.next_u32();
            sum += (two >> 16) + (two & 0xffff);
        }
        sum as f32 / 65536.0 - 6.0
    }

    /// A direction, evenly distributed.
    pub fn direction(&mut self) -> [f32; 3] {
        loop {
            let v = [0; 3].map(|_| self.within([-1.0, 1.0]));
            let norm = v.iter().map(|x| x * x).sum::<f32>().sqrt();
            if (0.1..=1.0).contains(&norm) {
                return v.map(|x| x / norm);
            }
        }
    }
}
