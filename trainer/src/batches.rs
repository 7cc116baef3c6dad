//! What step k trains on: images, labels, timesteps and noise, all functions of the seed and of k.

use std::ops::Range;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::Scope;

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
    /// The images that are drawn from, by their places in the cohort.
    items: Vec<usize>,
    size: usize,
    flip: bool,
    seed: u64,
    /// The epoch whose order is held, and that order.
    order: (u64, Vec<usize>),
}

impl<'a> Batches<'a> {
    /// Batches of `size` images, half of which are mirrored if `flip` says so.
    pub fn new(cohort: &'a Cohort, size: usize, flip: bool, seed: u64) -> Self {
        Self::of(cohort, (0..cohort.len()).collect(), size, flip, seed)
    }

    /// The same of the healthy images alone, of which there must be one.
    pub fn of_healthy(cohort: &'a Cohort, size: usize, flip: bool, seed: u64) -> Self {
        let items = (0..cohort.len()).filter(|&i| !cohort.item(i).diseased).collect();
        Self::of(cohort, items, size, flip, seed)
    }

    fn of(cohort: &'a Cohort, items: Vec<usize>, size: usize, flip: bool, seed: u64) -> Self {
        let order = (0, order(seed, 0, items.len()));
        Self { cohort, items, size, flip, seed, order }
    }

    /// The batch of step `step`, from 0.
    ///
    /// Errors: [`CohortError`] where an image cannot be read or is none.
    pub fn at(&mut self, step: usize, device: Device) -> Result<Batch, CohortError> {
        Ok(self.read(step)?.on(device))
    }

    /// Reads the images of `steps`, in order, in a thread of its own, at most two batches ahead.
    pub fn ahead<'scope>(mut self, steps: Range<usize>, scope: &'scope Scope<'scope, '_>) -> Ahead
    where
        'a: 'scope,
    {
        // One waits in the channel, the other in the thread, for room.
        let (send, read) = sync_channel(1);
        scope.spawn(move || {
            for step in steps {
                let pixels = self.read(step);
                // Training goes no further than an image that cannot be read, and may end before the last step.
                let stop = pixels.is_err();
                if send.send(pixels).is_err() || stop {
                    return;
                }
            }
        });
        Ahead(read)
    }

    fn read(&mut self, step: usize) -> Result<Pixels, CohortError> {
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
        Ok(Pixels { pixels, labels, shape })
    }

    /// The image at a place of the endless list of epochs.
    fn item(&mut self, place: usize) -> usize {
        let epoch = (place / self.items.len()) as u64;
        if self.order.0 != epoch {
            self.order = (epoch, order(self.seed, epoch, self.items.len()));
        }
        self.items[self.order.1[place % self.items.len()]]
    }
}

/// The images of one step, read.
struct Pixels {
    pixels: Vec<f32>,
    labels: Vec<i64>,
    shape: [i64; 4],
}

impl Pixels {
    fn on(&self, device: Device) -> Batch {
        Batch {
            images: Tensor::from_slice(&self.pixels).reshape(self.shape).to_device(device),
            labels: Tensor::from_slice(&self.labels).to_device(device),
        }
    }
}

/// Batches that a thread reads ahead, in the order of their steps.
pub struct Ahead(Receiver<Result<Pixels, CohortError>>);

impl Ahead {
    /// The next batch. Panics after the last step, or after an error.
    ///
    /// Errors: as [`Batches::at`].
    pub fn next(&self, device: Device) -> Result<Batch, CohortError> {
        Ok(self.0.recv().expect("the thread ends after the last step or an error")?.on(device))
    }
}

fn order(seed: u64, epoch: u64, len: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..len).collect();
    order.shuffle(&mut generator(seed, "order", epoch));
    order
}

/// Timesteps `[N]` (integer, drawn evenly from 0..T) and noise like the images, of step `step`.
pub fn noise(images: &Tensor, timesteps: usize, seed: u64, step: usize) -> (Tensor, Tensor) {
    set_generator(seed, step);
    let n = images.size()[0];
    let t = Tensor::randint(timesteps as i64, [n], (Kind::Int64, images.device()));
    (t, images.randn_like())
}

/// Sets libtorch's generator anew for step `step`, so that nothing of its state needs to be kept.
pub fn set_generator(seed: u64, step: usize) {
    tch::manual_seed(generator(seed, "noise", step as u64).next_u64() as i64);
}

fn generator(seed: u64, purpose: &str, index: u64) -> ChaCha8Rng {
    let hash = Sha256::new()
        .chain_update(seed.to_le_bytes())
        .chain_update(purpose)
        .chain_update(index.to_le_bytes())
        .finalize();
    ChaCha8Rng::from_seed(hash.into())
}
