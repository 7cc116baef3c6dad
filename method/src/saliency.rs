//! Saliency, a comparison method of the paper's: where the classifier's answer is sensitive to the image.
//!
//! ```text
//! x ──> Guide at noise level 0: ∇ log p(healthy | x) ──> map: the sum over channels of its absolute value
//! ```
//!
//! Gradient saliency as in Simonyan, Vedaldi and Zisserman, "Deep Inside Convolutional Networks" (2013), with the classifier that
//! guides the paper's method. Taken from there: the absolute gradient of a class by the image, in one pass. Different: the class is
//! "healthy" and its log-probability is differentiated, not the score before the softmax, as that is what guides; channels are
//! summed, as in the paper's anomaly map, where Simonyan et al. take the largest.
//!
//! The classifier is asked about the image as it is, at [`LEVEL`]: no noise is drawn and no U-Net is needed.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use anomalens_models::image::{AnomalyMap, UnitImage};
use anomalens_models::schedule::NoiseLevel;
use ndarray::{ArrayView3, Axis, s};

use crate::ddim::{ClassLabel, DdimError, Guide, check_shape};
use crate::translate::{TranslateError, batches, stacked};

/// The noise level that the classifier is told of: that of the image itself, which it has seen with the least noise of all, and is
/// surest of there.
pub const LEVEL: NoiseLevel = NoiseLevel::CLEAN;

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// The class that means "healthy".
    pub healthy_class: ClassLabel,
    /// Images that the classifier is given at once, at least 1.
    pub batch: usize,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Saliency {
    /// One map an image, [H, W].
    pub maps: Vec<AnomalyMap>,
    /// What it took.
    pub time: Duration,
    /// Evaluations of the classifier's gradient, each of one batch.
    pub calls: usize,
}

/// The maps of images, `options.batch` at a time. `on_batch` is told how many images of how many are done; [`ControlFlow::Break`]
/// cancels.
///
/// Errors: [`TranslateError::NoImages`], [`TranslateError::NoBatch`], [`TranslateError::ImageShape`] where the images are not of
/// one shape; as [`TranslateError::Ddim`], [`DdimError::Network`], [`DdimError::Shape`] for a gradient of another shape than the
/// images', and [`DdimError::Cancelled`].
pub fn saliency(
    guide: &mut dyn Guide,
    images: &[UnitImage],
    options: &Options,
    on_batch: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
) -> Result<Saliency, TranslateError> {
    let all = stacked(images)?;
    let (total, ranges) = (images.len(), batches(images.len(), options.batch)?);
    let (mut maps, calls, began) = (Vec::with_capacity(total), ranges.len(), Instant::now());
    for range in ranges {
        let done = range.end;
        let x = all.slice(s![range, .., .., ..]).to_owned();
        let gradient =
            guide.gradient(&x, LEVEL.timestep(), options.healthy_class).map_err(DdimError::from)?;
        check_shape("gradient", &gradient, &x)?;
        maps.extend(gradient.outer_iter().map(map));
        if on_batch(done, total).is_break() {
            return Err(DdimError::Cancelled { done, total }.into());
        }
    }
    Ok(Saliency { maps, time: began.elapsed(), calls })
}

/// The sum over channels of the absolute value of a gradient [C, H, W].
fn map(gradient: ArrayView3<'_, f32>) -> AnomalyMap {
    AnomalyMap::from_values(gradient.mapv(f32::abs).sum_axis(Axis(0)))
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;
    use crate::testing::*;

    fn unit_images(n: usize) -> Vec<UnitImage> {
        let images = images((n, 2, 4, 4));
        images.outer_iter().map(|image| UnitImage::new("test", image.to_owned()).unwrap()).collect()
    }

    fn run(images: &[UnitImage], batch: usize) -> (Saliency, Vec<Call>) {
        // Negative below 1/2: values alone, not their absolute values, would sum to something else.
        let mut guide = Fake::new(|x, t| x - 0.5 + 0.01 * t.get() as f64);
        let options = Options { healthy_class: ClassLabel::new(1), batch };
        let found = saliency(&mut guide, images, &options, &mut |_, _| ControlFlow::Continue(())).unwrap();
        (found, guide.calls)
    }

    #[test]
    fn maps_are_sums_of_absolute_gradients_at_the_lowest_level() {
        /// A sum of two in f32.
        const TOLERANCE: f32 = 1e-6;
        let images = unit_images(5);
        let (found, calls) = run(&images, 2);
        assert_eq!((calls, found.calls), (vec![(0, 1); 3], 3));
        let worst = |of: &dyn Fn(f32) -> f32| {
            let each = images.iter().zip(&found.maps).flat_map(|(image, map)| {
                let expected: Array2<f32> = image.pixels().mapv(of).sum_axis(Axis(0));
                (&expected - map.values()).into_iter().map(f32::abs).collect::<Vec<_>>()
            });
            each.fold(0.0, f32::max)
        };
        assert!(worst(&|x| (x - 0.5).abs()) < TOLERANCE);
        // Of another level, and without the absolute value.
        assert!(worst(&|x| (x - 0.49).abs()) > 100.0 * TOLERANCE && worst(&|x| x - 0.5) > 0.1);
    }

    #[test]
    fn results_do_not_depend_on_the_batch() {
        let images = unit_images(5);
        let alone = run(&images, 1).0.maps;
        for batch in [2, 5, 9] {
            assert_eq!(run(&images, batch).0.maps, alone, "batch {batch}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused_and_cancelling_stops() {
        let images = unit_images(3);
        let mut guide = Fake::new(|x, _| x);
        let options = |batch| Options { healthy_class: ClassLabel::new(0), batch };
        let mut go_on = |_, _| ControlFlow::Continue(());
        let none = saliency(&mut guide, &[], &options(1), &mut go_on);
        assert!(matches!(none, Err(TranslateError::NoImages)));
        let batch = saliency(&mut guide, &images, &options(0), &mut go_on);
        assert!(matches!(batch, Err(TranslateError::NoBatch)));
        let stopped = saliency(&mut guide, &images, &options(1), &mut |done, total| {
            assert_eq!(total, 3);
            if done == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert!(stopped.is_err_and(|error| error.cancelled()) && guide.calls.len() == 2);
    }
}
