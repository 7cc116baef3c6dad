//! Convolution and its adjoint: for each place of the kernel, the weights there times the image seen from there.

use std::ops::Range;

use ndarray::{Array2, Array4, ArrayD, ArrayView3, ArrayView4, ArrayViewMut3, Axis, Slice, s};

use super::super::Window;
use super::kernels::images;

/// Convolution of `x` by `w` with bias `b`. A thread a sample, so that networks of the paper's size take minutes.
pub(super) fn conv(
    [x, w, b]: [&ArrayD<f64>; 3],
    window: &Window,
    groups: usize,
    shape: &[usize],
) -> ArrayD<f64> {
    let (x, w) = (images(x), images(w));
    let mut y = Array4::zeros((shape[0], shape[1], shape[2], shape[3]));
    let outputs = (shape[2], shape[3]);
    let one = |x: ArrayView3<'_, f64>, mut y: ArrayViewMut3<'_, f64>| {
        let part = |channels: usize| (channels / groups).max(1);
        let given = x.axis_chunks_iter(Axis(0), part(x.dim().0));
        let weights = w.axis_chunks_iter(Axis(0), part(w.dim().0));
        let made = y.axis_chunks_iter_mut(Axis(0), part(w.dim().0));
        for ((x, w), mut y) in given.zip(weights).zip(made) {
            let mut total = Array2::zeros((w.dim().0, outputs.0 * outputs.1));
            for place in places(&w, window, outputs, (x.dim().1, x.dim().2)) {
                let mut seen = Array2::zeros((x.dim().0, outputs.0 * outputs.1));
                place.each(|outputs, (row, cols)| {
                    seen.slice_mut(s![.., outputs]).assign(&x.slice(s![.., row, cols]));
                });
                total += &w.slice(s![.., .., place.row, place.col]).dot(&seen);
            }
            y.iter_mut().zip(&total).for_each(|(y, total)| *y = *total);
        }
        for (mut y, bias) in y.outer_iter_mut().zip(b.iter()) {
            y += *bias;
        }
    };
    std::thread::scope(|scope| {
        let one = &one;
        for (x, y) in x.outer_iter().zip(y.outer_iter_mut()) {
            scope.spawn(move || one(x, y));
        }
    });
    y.into_dyn()
}

/// The adjoint of [`conv`]: what the image gave to each output, the output gives back.
pub(super) fn conv_transpose(
    [g, w]: [&ArrayD<f64>; 2],
    window: &Window,
    groups: usize,
    shape: &[usize],
) -> ArrayD<f64> {
    let (g, w) = (images(g), images(w));
    let mut x = Array4::zeros((shape[0], shape[1], shape[2], shape[3]));
    let part = |channels: usize| (channels / groups).max(1);
    for (g, mut x) in g.outer_iter().zip(x.outer_iter_mut()) {
        let given = g.axis_chunks_iter(Axis(0), part(w.dim().0));
        let weights = w.axis_chunks_iter(Axis(0), part(w.dim().0));
        let made = x.axis_chunks_iter_mut(Axis(0), part(shape[1]));
        for ((g, w), mut x) in given.zip(weights).zip(made) {
            let (channels, height, width) = g.dim();
            let g = g.as_standard_layout().into_owned();
            let g = g.into_shape_with_order((channels, height * width)).expect("same elements");
            for place in places(&w, window, (height, width), (shape[2], shape[3])) {
                let back = w.slice(s![.., .., place.row, place.col]).t().dot(&g);
                place.each(|outputs, (row, cols)| {
                    let mut pixels = x.slice_mut(s![.., row, cols]);
                    pixels += &back.slice(s![.., outputs]);
                });
            }
        }
    }
    x.into_dyn()
}

/// One place of a kernel, and how outputs and pixels of the image meet there.
struct Place {
    row: usize,
    col: usize,
    window: Window,
    outputs: (usize, usize),
    image: (usize, usize),
}

impl Place {
    /// Calls `f` with each run of outputs (counted row by row) that see pixels of one row of the image from here, and these
    /// pixels: the row, its columns. Beyond the border nothing is seen: there the image is zero.
    fn each(&self, mut f: impl FnMut(Range<usize>, (usize, Slice))) {
        let Window { strides, pads, dilations } = self.window;
        let row = |i: usize| {
            (i * strides[0] + self.row * dilations[0]).checked_sub(pads[0]).filter(|&p| p < self.image.0)
        };
        let col = |j: usize| {
            (j * strides[1] + self.col * dilations[1]).checked_sub(pads[1]).filter(|&p| p < self.image.1)
        };
        let seeing = |j: &usize| col(*j).is_some();
        let (first, last) = ((0..self.outputs.1).find(seeing), (0..self.outputs.1).rfind(seeing));
        let (Some(first), Some(last)) = (first, last) else { return };
        let (Some(from), Some(to)) = (col(first), col(last)) else { return };
        let cols = Slice::new(from as isize, Some(to as isize + 1), strides[1] as isize);
        for i in 0..self.outputs.0 {
            if let Some(row) = row(i) {
                let start = i * self.outputs.1;
                f(start + first..start + last + 1, (row, cols));
            }
        }
    }
}

fn places(
    w: &ArrayView4<'_, f64>,
    window: &Window,
    outputs: (usize, usize),
    image: (usize, usize),
) -> impl Iterator<Item = Place> {
    let ((_, _, rows, cols), window) = (w.dim(), *window);
    (0..rows).flat_map(move |row| (0..cols).map(move |col| Place { row, col, window, outputs, image }))
}
