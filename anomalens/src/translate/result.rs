//! What came of each slice, back on the slice's own grid.

use anomalens_method::otsu::{self, OtsuError};
use anomalens_models::image::{AnomalyMap, ImageError, UnitImage};
use ndarray::{Array2, Array3, Axis, Zip, stack};

use super::input::{Slice, zero_outside};

/// What came of one slice.
pub struct SliceResult {
    /// Which slice of the input, from 0.
    pub slice: usize,
    /// The anomaly map on the slice's grid, [H, W]; 0 outside the brain mask.
    pub map: Array2<f32>,
    /// The mask on the slice's grid, [H, W].
    pub mask: Array2<bool>,
    /// The map value that divides the mask from the rest: Otsu's, of the map in the network's square; inside the brain mask, if
    /// there is one.
    pub threshold: f32,
}

/// The healthy version of a slice.
pub struct Healthy {
    /// What the network was given, [C, size, size].
    pub x: Array3<f32>,
    /// What it made of it, [C, size, size]; outside the brain mask the same.
    pub x0: Array3<f32>,
    /// The same on the slice's grid, [C, H, W], in the units of [0, 1]; not clipped.
    pub pixels: Array3<f32>,
}

/// Why a result could not be taken back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResultError {
    /// No threshold.
    #[error("{slice}: {source}")]
    Otsu {
        /// The slice's name.
        slice: String,
        /// The cause.
        source: OtsuError,
    },
    /// Shapes that do not fit.
    #[error("{slice}: {source}")]
    Image {
        /// The slice's name.
        slice: String,
        /// The cause.
        source: ImageError,
    },
}

impl SliceResult {
    /// Takes the map of slice number `index` back to the slice's grid.
    ///
    /// Errors: [`ResultError`].
    pub fn new(index: usize, slice: &Slice, map: &AnomalyMap) -> Result<Self, ResultError> {
        let image = |source| ResultError::Image { slice: slice.name.clone(), source };
        let (threshold, mask) = match slice.framed_brain().map_err(image)? {
            Some(brain) => otsu::mask_within(map, &brain),
            None => otsu::mask(map),
        }
        .map_err(|source| ResultError::Otsu { slice: slice.name.clone(), source })?;
        let mut map = slice.frame.undo(map.values().view()).map_err(image)?;
        let mut mask = slice.frame.undo_mask(&mask).map_err(image)?;
        if let Some(brain) = &slice.brain {
            zero_outside(&mut map.view_mut(), brain);
            mask.zip_mut_with(brain, |set, inside| *set &= inside);
        }
        Ok(Self { slice: index, map, mask, threshold })
    }

    /// Pixels in the mask.
    pub fn area(&self) -> usize {
        self.mask.iter().filter(|set| **set).count()
    }

    /// Mean of the map.
    pub fn mean(&self) -> f64 {
        self.map.iter().map(|v| f64::from(*v)).sum::<f64>() / self.map.len().max(1) as f64
    }

    /// Maximum of the map.
    pub fn maximum(&self) -> f32 {
        self.map.iter().copied().fold(0.0, f32::max)
    }
}

impl Healthy {
    /// Takes what was made of the image `x`, a slice as the network sees it, back to the slice's grid. Outside a brain mask it is
    /// the image.
    ///
    /// Errors: [`ResultError::Image`].
    pub fn new(slice: &Slice, x: &UnitImage, x0: Array3<f32>) -> Result<Self, ResultError> {
        Self::on_the_slices_grid(slice, x.pixels().clone(), x0)
            .map_err(|source| ResultError::Image { slice: slice.name.clone(), source })
    }

    fn on_the_slices_grid(slice: &Slice, x: Array3<f32>, mut x0: Array3<f32>) -> Result<Self, ImageError> {
        if let Some(brain) = slice.framed_brain()? {
            keep_outside(&mut x0, &x, &brain);
        }
        let mut pixels = if slice.frame.pads_only() {
            // Cut out, rather than original + (x0 - x), so that not even a last bit is rounded.
            let planes =
                x0.outer_iter().map(|plane| slice.frame.undo(plane)).collect::<Result<Vec<_>, _>>()?;
            let views: Vec<_> = planes.iter().map(|plane| plane.view()).collect();
            stack(Axis(0), &views).expect("one shape a plane")
        } else {
            let ones = vec![1.0; x.dim().0];
            slice.frame.reconstruct(&slice.unit, &x, &x0, &ones)?
        };
        if let Some(brain) = &slice.brain {
            pixels.outer_iter_mut().for_each(|mut plane| zero_outside(&mut plane, brain));
        }
        Ok(Self { x, x0, pixels })
    }
}

/// Outside of a mask [H, W] an image [C, H, W] becomes another.
fn keep_outside(image: &mut Array3<f32>, other: &Array3<f32>, mask: &Array2<bool>) {
    for (mut plane, other) in image.outer_iter_mut().zip(other.outer_iter()) {
        Zip::from(&mut plane).and(other).and(mask).for_each(|value, other, inside| {
            if !inside {
                *value = *other;
            }
        });
    }
}
