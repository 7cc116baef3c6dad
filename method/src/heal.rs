//! Networks that make an image healthy in one pass, and the anomaly map that follows: what the paper's method is compared with.
//!
//! ```text
//! UnitImage [C, H, W] ──> Healer ──> healthy version ──> AnomalyMap
//! ```
//!
//! There is no noise, no level and no guidance: the paper compares with a variational autoencoder and with Fixed-Point GAN, which are
//! trained to give a healthy image back, and takes their map as its own, Σ over channels of |x − healthy version|.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use anomalens_models::image::{AnomalyMap, UnitImage};
use ndarray::{Array4, s};

use crate::ddim::{DdimError, NetworkError, check_shape};
use crate::translate::{TranslateError, batches, joined, maps, stacked};

/// Makes images healthy in one pass: a network, or a function in a test.
pub trait Healer {
    /// The healthy version of a batch of images `x` [N, C, H, W] in [0, 1]; same shape, not clipped.
    ///
    /// Errors: those of whoever computes it.
    fn healthy(&mut self, x: &Array4<f32>) -> Result<Array4<f32>, NetworkError>;
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Healed {
    /// The healthy version, [N, C, H, W]; not clipped.
    pub healthy: Array4<f32>,
    /// One anomaly map an image.
    pub maps: Vec<AnomalyMap>,
    /// What the network took.
    pub time: Duration,
    /// Evaluations of the network, each of one batch.
    pub calls: usize,
}

/// Makes images healthy, `batch` at a time. `on_batch` is told how many images of how many are done; [`ControlFlow::Break`]
/// cancels.
///
/// Errors: [`TranslateError::NoImages`], [`TranslateError::NoBatch`], [`TranslateError::ImageShape`] where the images are not of
/// one shape; as [`TranslateError::Ddim`], [`DdimError::Network`], [`DdimError::Shape`] where the network gives another shape than
/// it was given, and [`DdimError::Cancelled`].
pub fn heal(
    net: &mut dyn Healer,
    images: &[UnitImage],
    batch: usize,
    on_batch: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
) -> Result<Healed, TranslateError> {
    let all = stacked(images)?;
    let (total, ranges) = (images.len(), batches(images.len(), batch)?);
    let mut parts = Vec::with_capacity(ranges.len());
    let mut time = Duration::ZERO;
    for range in ranges {
        let done = range.end;
        let pixels = all.slice(s![range, .., .., ..]).to_owned();
        let began = Instant::now();
        let healthy = net.healthy(&pixels).map_err(DdimError::from)?;
        time += began.elapsed();
        check_shape("healthy version", &healthy, &pixels)?;
        parts.push(healthy);
        if on_batch(done, total).is_break() {
            return Err(DdimError::Cancelled { done, total }.into());
        }
    }
    let healthy = joined(&parts.iter().map(|part| part.view()).collect::<Vec<_>>());
    Ok(Healed { maps: maps(&all, &healthy)?, healthy, time, calls: parts.len() })
}

#[cfg(test)]
mod tests;
