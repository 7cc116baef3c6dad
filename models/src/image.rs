//! Images as the sampler sees them. Three types, so that the steps of a translation cannot be swapped.
//!
//! [`UnitImage`] is the input, [`AnomalyMap`] the result; what stands between (the noisy image of a level)
//! belongs to the sampler. [`normalise`] makes raw intensities into a unit image, [`frame`] fits it to the
//! network's size and takes the result back.

pub mod frame;
pub mod normalise;

use ndarray::{Array2, Array3, Axis};

/// Why an array is not an image.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// A value that is not a number, or infinite.
    #[error("{what}: value at [channel {}, row {}, column {}] is {found}, expected a finite number; check the source's pixel data and rescale values", index[0], index[1], index[2])]
    NotFinite {
        /// Where the image came from.
        what: String,
        /// Channel, row, column.
        index: [usize; 3],
        /// The value.
        found: f32,
    },
    /// A value outside [0, 1].
    #[error("{what}: value at [channel {}, row {}, column {}] is {found}, expected [0, 1]; normalise first: min(x, q) / q", index[0], index[1], index[2])]
    OutOfRange {
        /// Where the image came from.
        what: String,
        /// Channel, row, column.
        index: [usize; 3],
        /// The value.
        found: f32,
    },
    /// Every pixel of a channel has the same value.
    #[error(
        "{what}: channel {channel} is constant ({found} everywhere), expected an image; leave this slice out or check the source"
    )]
    Constant {
        /// Where the image came from.
        what: String,
        /// Channel.
        channel: usize,
        /// The value.
        found: f32,
    },
    /// The two shapes do not belong together.
    #[error("{what}: shape {found:?}, expected {expected:?}")]
    Shape {
        /// What was looked at.
        what: String,
        /// Found.
        found: Vec<usize>,
        /// Expected.
        expected: Vec<usize>,
    },
}

/// An image [C, H, W] in [0, 1], finite, no channel constant.
#[derive(Debug, Clone, PartialEq)]
pub struct UnitImage(Array3<f32>);

impl UnitImage {
    /// Checks and takes an image [C, H, W] in [0, 1]; `what` names it in the error.
    ///
    /// Errors: [`ImageError::NotFinite`], [`ImageError::OutOfRange`], [`ImageError::Constant`].
    pub fn new(what: &str, pixels: Array3<f32>) -> Result<Self, ImageError> {
        for ((c, h, w), &found) in pixels.indexed_iter() {
            let (what, index) = (what.to_owned(), [c, h, w]);
            if !found.is_finite() {
                return Err(ImageError::NotFinite { what, index, found });
            }
            if !(0.0..=1.0).contains(&found) {
                return Err(ImageError::OutOfRange { what, index, found });
            }
        }
        for (channel, plane) in pixels.axis_iter(Axis(0)).enumerate() {
            let first = plane.first().copied().unwrap_or(0.0);
            if plane.iter().all(|&v| v == first) {
                return Err(ImageError::Constant { what: what.to_owned(), channel, found: first });
            }
        }
        Ok(Self(pixels))
    }

    /// The pixels, [C, H, W] in [0, 1].
    pub fn pixels(&self) -> &Array3<f32> {
        &self.0
    }
}

/// An anomaly map [H, W]: Σ over channels of |x − x₀| (Algorithm 1, last line), at least 0.
#[derive(Debug, Clone, PartialEq)]
pub struct AnomalyMap(Array2<f32>);

impl AnomalyMap {
    /// The sum over channels of the absolute difference of two images [C, H, W].
    ///
    /// Errors: [`ImageError::Shape`].
    pub fn between(image: &Array3<f32>, healthy: &Array3<f32>) -> Result<Self, ImageError> {
        if image.dim() != healthy.dim() {
            return Err(ImageError::Shape {
                what: "healthy version".into(),
                found: healthy.shape().to_vec(),
                expected: image.shape().to_vec(),
            });
        }
        Ok(Self((image - healthy).mapv(f32::abs).sum_axis(Axis(0))))
    }

    /// A map from its values, e.g. one taken back to another grid.
    pub fn from_values(values: Array2<f32>) -> Self {
        Self(values)
    }

    /// The values, [H, W], at least 0.
    pub fn values(&self) -> &Array2<f32> {
        &self.0
    }
}
