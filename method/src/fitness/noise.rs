//! How well a U-Net predicts the noise that was added to an image.

use std::ops::ControlFlow;

use anomalens_models::fitness::Noised;
use anomalens_models::image::UnitImage;
use anomalens_models::schedule::{NoiseLevel, Schedule};
use ndarray::Array2;

use crate::ddim::{ClassLabel, DdimError, NoisePredictor, check_shape};
use crate::ddpm::{Noise, noised};
use crate::translate::{TranslateError, batches, stacked};

/// Levels of a translation that goes to level `top`: a twentieth of it, a fifth, and itself; those that coincide once.
pub fn levels(top: usize) -> Vec<usize> {
    let mut levels = vec![top.div_ceil(20), top.div_ceil(5), top];
    levels.dedup();
    levels
}

/// The mean squared error of the noise prediction, [N, levels], for images that are noised as `noising` says, `batch` at a time.
/// An image's noise is a function of the seed and of its pixels. `on_batch` is told how many images of how many are done;
/// [`ControlFlow::Break`] cancels.
///
/// Errors: those of [`crate::translate::translate`].
pub fn noise_errors(
    net: &mut dyn NoisePredictor,
    schedule: &Schedule,
    images: &[UnitImage],
    noising: &Noised,
    batch: usize,
    on_batch: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
) -> Result<Array2<f64>, TranslateError> {
    let total = images.len();
    let mut errors = Array2::zeros((total, noising.levels.len()));
    for range in batches(total, batch)? {
        let pixels = stacked(&images[range.clone()])?;
        let mut noise = Noise::new(noising.seed, &pixels);
        for (column, &level) in noising.levels.iter().enumerate() {
            let (level, drawn) = (NoiseLevel::new(level), noise.draw(pixels.dim()));
            let x = noised(schedule, level, &pixels, &drawn)?;
            let class = ClassLabel::new(noising.class);
            let eps = net.eps(x.pixels(), level.timestep(), class).map_err(DdimError::from)?;
            check_shape("noise prediction", &eps, x.pixels())?;
            for (i, (eps, drawn)) in range.clone().zip(eps.outer_iter().zip(drawn.outer_iter())) {
                let squares = (&eps - &drawn).mapv(|d| f64::from(d).powi(2));
                errors[[i, column]] = squares.mean().unwrap_or_default();
            }
        }
        let done = range.end;
        if on_batch(done, total).is_break() {
            return Err(DdimError::Cancelled { done, total }.into());
        }
    }
    Ok(errors)
}
