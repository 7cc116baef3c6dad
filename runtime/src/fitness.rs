//! How well the U-Net of a bundle predicts noise on images.

use std::ops::ControlFlow;

use anomalens_method::fitness;
use anomalens_method::translate;
use anomalens_models::fitness::Noised;
use anomalens_models::image::UnitImage;
use anomalens_models::preset::Preset;
use ndarray::Array2;

use crate::bundle::{Bundle, Networks};
use crate::translate::TranslateError;

/// The errors [N, levels] of [`fitness::noise_errors`], by a bundle's U-Net; `None` where it has none.
///
/// Errors: [`TranslateError::Method`].
pub fn noise_errors(
    bundle: &mut Bundle,
    images: &[UnitImage],
    noising: &Noised,
    batch: usize,
    on_batch: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
) -> Result<Option<Array2<f64>>, TranslateError> {
    translate::check_images(&bundle.manifest.preset, images)?;
    let Networks::Guided(pair) = &mut bundle.networks else { return Ok(None) };
    let Some(unet) = &mut pair.unet else { return Ok(None) };
    Ok(Some(fitness::noise_errors(unet, &pair.schedule, images, noising, batch, on_batch)?))
}

/// How images are noised for a preset of the guided pair: at levels up to its own L, for its healthy class.
pub fn noising(preset: &Preset) -> Option<Noised> {
    let translate = preset.guided().ok()?.translate;
    let levels = fitness::levels(translate.noise_level);
    Some(Noised { levels, seed: 0, class: translate.healthy_class })
}
