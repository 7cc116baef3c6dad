//! What several tests share.

pub(crate) mod onnx;

use ndarray::Array4;

/// Images [n, c, h, w] with values in [0, 1] that look random and are always the same.
pub(crate) fn images(dim: (usize, usize, usize, usize)) -> Array4<f32> {
    let mut state = 1u32;
    Array4::from_shape_simple_fn(dim, || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1u32 << 24) as f32
    })
}
