//! `.npy`.

use std::path::Path;

use ndarray::{Array2, Axis, Ix2};

use super::refuse;
use crate::CohortError;
use crate::volume::array;

/// Reads an array of one channel, [H, W], [H, W, 1] or [1, H, W].
///
/// Errors: [`CohortError::Import`].
pub(in crate::import) fn grey(file: &Path) -> Result<Array2<f32>, CohortError> {
    let mut values = array(file)?;
    let shape = values.shape().to_vec();
    if values.ndim() == 3 {
        let one = [2, 0].into_iter().find(|&axis| shape[axis] == 1);
        if let Some(axis) = one {
            values.index_axis_inplace(Axis(axis), 0);
        }
    }
    let expected = "[H, W], [H, W, 1] or [1, H, W]: one image of one channel";
    values
        .into_dimensionality::<Ix2>()
        .map_err(|_| refuse(file, format!("found the shape {shape:?}"), expected))
}
