//! What step k trains on: images, labels, timesteps and noise, all functions of the seed and of k.

use anomalens_cohort::{Cohort, CohortError};
use ndarray::Axis;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};
use tch::{Device, Kind, Tensor};

/// The images of one step, on a device.
#[derive(Debug)]
pub struct Batch {
    /// [N, C, H, W] in [0, 1].
    pub images: Tensor,
    /// `[N]`, integer: 0 healthy, 1 diseased.
    pub labels: Tensor,
}

/// Draws batches from a cohort: each epoch visits every image once, in an order of its own.
#[derive(Debug)]
pub struct Batches<'a> {
    cohort: &'a Cohort,
    size: usize,
    flip: bool,
    seed: u64,
    /// The epoch whose order is held, and that order.
    order: (u64, Vec<usize>),
}

impl<'a> Batches<'a> {
    /// Batches of `size` images, half of which are mirrored if `flip` says so.
    pub fn new(cohort: &'a Cohort, size: usize, flip: bool, seed: u64) -> Self {
        Self { cohort, size, flip, seed, order: (0, order(seed, 0, cohort.len())) }
    }

    /// The batch of step `step`, from 0.
    ///
    /// Errors: [`CohortError`] where an image cannot be read or is none.
    pub fn at(&mut self, step: usize, device: Device) -> Result<Batch, CohortError> {
        let mut mirror = generator(self.seed, "flip", step as u64);
        let (mut pixels, mut labels) = (Vec::<f32>::new(), Vec::with_capacity(self.size));
        for place in step * self.size..(step + 1) * self.size {
            let item = self.item(place);
            let mut image = self.cohort.image(item)?;
            if self.flip && mirror.next_u32() & 1 == 1 {
                image.invert_axis(Axis(2));
            }
            pixels.extend(image.iter());
            labels.push(i64::from(self.cohort.item(item).diseased));
        }
        let side = self.cohort.size() as i64;
        let shape = [self.size as i64, self.cohort.channels().len() as i64, side, side];
        Ok(Batch {
            images: Tensor::from_slice(&pixels).reshape(shape).to_device(device),
            labels: Tensor::from_slice(&labels).to_device(device),
        })
    }

    /// The image at a place of the endless list of epochs.
    fn item(&mut self, place: usize) -> usize {
        let epoch = (place / self.cohort.len()) as u64;
        if self.order.0 != epoch {
            self.order = (epoch, order(self.seed, epoch, self.cohort.len()));
        }
        self.order.1[place % self.cohort.len()]
    }
}

fn order(seed: u64, epoch: u64, len: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..len).collect();
    order.shuffle(&mut generator(seed, "order", epoch));
    order
}

/// Timesteps `[N]` (integer, drawn evenly from 0..T) and noise like the images, of step `step`.
pub fn noise(images: &Tensor, timesteps: usize, seed: u64, step: usize) -> (Tensor, Tensor) {
    // libtorch's generator is set anew at each step, so that nothing of its state needs to be kept.
    tch::manual_seed(generator(seed, "noise", step as u64).next_u64() as i64);
    let n = images.size()[0];
    let t = Tensor::randint(timesteps as i64, [n], (Kind::Int64, images.device()));
    (t, images.randn_like())
}

fn generator(seed: u64, purpose: &str, index: u64) -> ChaCha8Rng {
    let hash = Sha256::new()
        .chain_update(seed.to_le_bytes())
        .chain_update(purpose)
        .chain_update(index.to_le_bytes())
        .finalize();
    ChaCha8Rng::from_seed(hash.into())
}
