//! The loops of the reference interpreter, each as its definition says.

use std::ops::Range;

use ndarray::{
    Array2, Array4, ArrayD, ArrayView2, ArrayView3, ArrayView4, ArrayViewMut3, Axis, Ix2, Ix3, Ix4, IxDyn,
    Slice, s,
};

/// x − log Σ eˣ over an axis, shifted by the maximum so that nothing overflows.
pub(super) fn log_softmax(x: &ArrayD<f64>, axis: usize) -> ArrayD<f64> {
    let mut y = x.clone();
    for mut lane in y.lanes_mut(Axis(axis)) {
        let max = lane.fold(f64::NEG_INFINITY, |a, &b| a.max(b));
        let log_sum = lane.iter().map(|v| (v - max).exp()).sum::<f64>().ln() + max;
        lane.mapv_inplace(|v| v - log_sum);
    }
    y
}

/// (x − mean) / √(variance + eps) over all axes but the first two.
pub(super) fn instance_norm(x: &ArrayD<f64>, epsilon: f64) -> ArrayD<f64> {
    let mut y = x.clone();
    for mut sample in y.outer_iter_mut() {
        for mut channel in sample.outer_iter_mut() {
            let count = channel.len() as f64;
            let mean = channel.sum() / count;
            let variance = channel.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count;
            channel.mapv_inplace(|v| (v - mean) / (variance + epsilon).sqrt());
        }
    }
    y
}

/// x Wᵀ + b.
pub(super) fn gemm(x: &ArrayD<f64>, w: &ArrayD<f64>, b: &ArrayD<f64>) -> ArrayD<f64> {
    let product: Array2<f64> = matrix(x).dot(&matrix(w).t());
    product.into_dyn() + b
}

/// Matrix product over the last two axes, the others broadcast to those of `shape`.
pub(super) fn matmul(a: &ArrayD<f64>, b: &ArrayD<f64>, shape: &[usize]) -> ArrayD<f64> {
    let outer = &shape[..shape.len() - 2];
    let stack = |m: &ArrayD<f64>| {
        let last = [m.shape()[m.ndim() - 2], m.shape()[m.ndim() - 1]];
        let full: Vec<usize> = outer.iter().copied().chain(last).collect();
        let count = outer.iter().product();
        let m = m.broadcast(IxDyn(&full)).expect("checked when built").as_standard_layout().into_owned();
        m.into_shape_with_order(Ix3(count, last[0], last[1])).expect("same elements")
    };
    let (a, b) = (stack(a), stack(b));
    let products: Vec<f64> = a
        .outer_iter()
        .zip(b.outer_iter())
        .flat_map(|(a, b)| a.dot(&b).into_iter().collect::<Vec<_>>())
        .collect();
    ArrayD::from_shape_vec(IxDyn(shape), products).expect("one matrix each")
}

/// Convolution with bias: for each place of the kernel, the weights there times the image seen from there. A thread a
/// sample, so that networks of the paper's size take minutes.
pub(super) fn conv(
    x: &ArrayD<f64>,
    w: &ArrayD<f64>,
    b: &ArrayD<f64>,
    stride: usize,
    pad: usize,
    shape: &[usize],
) -> ArrayD<f64> {
    let (x, w) = (images(x), images(w));
    let mut y = Array4::zeros((shape[0], shape[1], shape[2], shape[3]));
    let one = |x: ArrayView3<'_, f64>, mut y: ArrayViewMut3<'_, f64>| {
        let mut total = Array2::zeros((shape[1], shape[2] * shape[3]));
        for place in places(&w, stride, pad, (shape[2], shape[3]), (x.dim().1, x.dim().2)) {
            let mut seen = Array2::zeros((x.dim().0, shape[2] * shape[3]));
            place.each(|outputs, (row, cols)| {
                seen.slice_mut(s![.., outputs]).assign(&x.slice(s![.., row, cols]));
            });
            total += &w.slice(s![.., .., place.row, place.col]).dot(&seen);
        }
        for ((mut y, total), bias) in y.outer_iter_mut().zip(total.outer_iter()).zip(b.iter()) {
            y.iter_mut().zip(total.iter()).for_each(|(y, total)| *y = total + bias);
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
    g: &ArrayD<f64>,
    w: &ArrayD<f64>,
    stride: usize,
    pad: usize,
    shape: &[usize],
) -> ArrayD<f64> {
    let (g, w) = (images(g), images(w));
    let mut x = Array4::zeros((shape[0], shape[1], shape[2], shape[3]));
    for (g, mut x) in g.outer_iter().zip(x.outer_iter_mut()) {
        let (channels, height, width) = g.dim();
        let g = g.as_standard_layout().into_owned().into_shape_with_order((channels, height * width));
        let g = g.expect("same elements");
        for place in places(&w, stride, pad, (height, width), (shape[2], shape[3])) {
            let given = w.slice(s![.., .., place.row, place.col]).t().dot(&g);
            place.each(|outputs, (row, cols)| {
                let mut pixels = x.slice_mut(s![.., row, cols]);
                pixels += &given.slice(s![.., outputs]);
            });
        }
    }
    x.into_dyn()
}

/// One place of a kernel, and how outputs and pixels of the image meet there.
struct Place {
    row: usize,
    col: usize,
    stride: usize,
    pad: usize,
    output: (usize, usize),
    image: (usize, usize),
}

impl Place {
    /// Calls `f` with each run of outputs (counted row by row) that see pixels of one row of the image from here, and these
    /// pixels: the row, its columns. Beyond the border nothing is seen: there the image is zero.
    fn each(&self, mut f: impl FnMut(Range<usize>, (usize, Slice))) {
        let pixel = |i: usize, offset: usize, side: usize| {
            (i * self.stride + offset).checked_sub(self.pad).filter(|&p| p < side)
        };
        let col = |j: usize| pixel(j, self.col, self.image.1);
        let seeing = |j: &usize| col(*j).is_some();
        let (first, last) = ((0..self.output.1).find(seeing), (0..self.output.1).rfind(seeing));
        let (Some(first), Some(last)) = (first, last) else { return };
        let (Some(from), Some(to)) = (col(first), col(last)) else { return };
        let cols = Slice::new(from as isize, Some(to as isize + 1), self.stride as isize);
        for i in 0..self.output.0 {
            if let Some(row) = pixel(i, self.row, self.image.0) {
                let start = i * self.output.1;
                f(start + first..start + last + 1, (row, cols));
            }
        }
    }
}

fn places(
    w: &ArrayView4<'_, f64>,
    stride: usize,
    pad: usize,
    output: (usize, usize),
    image: (usize, usize),
) -> impl Iterator<Item = Place> {
    let (_, _, rows, cols) = w.dim();
    (0..rows).flat_map(move |row| (0..cols).map(move |col| Place { row, col, stride, pad, output, image }))
}

/// Mean over blocks.
pub(super) fn average_pool(x: &ArrayD<f64>, size: usize, shape: &[usize]) -> ArrayD<f64> {
    let x = images(x);
    let mean = |n: usize, c: usize, h: usize, w: usize| {
        let block: ArrayView3<'_, f64> =
            x.slice(s![n, c..=c, h * size..(h + 1) * size, w * size..(w + 1) * size]);
        block.sum() / (size * size) as f64
    };
    ArrayD::from_shape_fn(IxDyn(shape), |i| mean(i[0], i[1], i[2], i[3]))
}

/// Sum over axes, which stay with length 1.
pub(super) fn sum(x: &ArrayD<f64>, axes: &[usize]) -> ArrayD<f64> {
    axes.iter().fold(x.clone(), |x, &axis| x.sum_axis(Axis(axis)).insert_axis(Axis(axis)))
}

fn matrix(x: &ArrayD<f64>) -> ArrayView2<'_, f64> {
    x.view().into_dimensionality::<Ix2>().expect("checked when built")
}

fn images(x: &ArrayD<f64>) -> ArrayView4<'_, f64> {
    x.view().into_dimensionality::<Ix4>().expect("checked when built")
}
