//! Pooling, as its definition says: one window after the other.

use ndarray::{ArrayD, IxDyn};

use super::super::Window;
use super::kernels::images;

/// The greatest value of each window.
pub(super) fn max(x: &ArrayD<f64>, kernel: [usize; 2], window: &Window, shape: &[usize]) -> ArrayD<f64> {
    windows(x, kernel, window, shape, f64::NEG_INFINITY, f64::max)
}

/// The mean of each window, where the border is zeros.
pub(super) fn average(x: &ArrayD<f64>, kernel: [usize; 2], window: &Window, shape: &[usize]) -> ArrayD<f64> {
    windows(x, kernel, window, shape, 0.0, |a, b| a + b) / (kernel[0] * kernel[1]) as f64
}

/// Folds the values of the image that each window sees.
fn windows(
    x: &ArrayD<f64>,
    kernel: [usize; 2],
    window: &Window,
    shape: &[usize],
    from: f64,
    join: impl Fn(f64, f64) -> f64,
) -> ArrayD<f64> {
    let x = images(x);
    // The place in the image that a place of the kernel sees; none in the border.
    let seen = |direction: usize, output: usize, place: usize, side: usize| {
        (output * window.strides[direction] + place * window.dilations[direction])
            .checked_sub(window.pads[direction])
            .filter(|&p| p < side)
    };
    ArrayD::from_shape_fn(IxDyn(shape), |i| {
        let mut total = from;
        for row in (0..kernel[0]).filter_map(|k| seen(0, i[2], k, x.dim().2)) {
            for col in (0..kernel[1]).filter_map(|k| seen(1, i[3], k, x.dim().3)) {
                total = join(total, x[[i[0], i[1], row, col]]);
            }
        }
        total
    })
}
