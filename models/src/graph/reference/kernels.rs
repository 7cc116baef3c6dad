//! The loops of the reference interpreter, each as its definition says.

use ndarray::{Array2, Array4, ArrayD, ArrayView2, ArrayView3, ArrayView4, Axis, Ix2, Ix3, Ix4, IxDyn, s};

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

/// Convolution with bias; zeros outside.
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
    for ((n, o), bias) in indices(shape[0], shape[1]).zip(b.iter().cycle()) {
        y.slice_mut(s![n, o, .., ..]).fill(*bias);
    }
    for_each_tap(&x, &w, stride, pad, (shape[2], shape[3]), |tap| {
        let (n, o, c) = (tap.sample, tap.out, tap.channel);
        for (row_out, row_in) in tap.rows.clone() {
            for (col_out, col_in) in tap.cols.clone() {
                y[[n, o, row_out, col_out]] += tap.weight * x[[n, c, row_in, col_in]];
            }
        }
    });
    y.into_dyn()
}

/// The adjoint of [`conv`]: what each output gave to the sum of an input is given back.
pub(super) fn conv_transpose(
    g: &ArrayD<f64>,
    w: &ArrayD<f64>,
    stride: usize,
    pad: usize,
    shape: &[usize],
) -> ArrayD<f64> {
    let (g, w) = (images(g), images(w));
    let mut x = Array4::zeros((shape[0], shape[1], shape[2], shape[3]));
    let like = x.clone();
    for_each_tap(&like.view(), &w, stride, pad, (g.dim().2, g.dim().3), |tap| {
        let (n, o, c) = (tap.sample, tap.out, tap.channel);
        for (row_out, row_in) in tap.rows.clone() {
            for (col_out, col_in) in tap.cols.clone() {
                x[[n, c, row_in, col_in]] += tap.weight * g[[n, o, row_out, col_out]];
            }
        }
    });
    x.into_dyn()
}

/// One weight of one kernel and the pairs of (output, input) rows and columns that it joins.
struct Tap {
    sample: usize,
    out: usize,
    channel: usize,
    weight: f64,
    rows: std::vec::IntoIter<(usize, usize)>,
    cols: std::vec::IntoIter<(usize, usize)>,
}

fn for_each_tap(
    x: &ArrayView4<'_, f64>,
    w: &ArrayView4<'_, f64>,
    stride: usize,
    pad: usize,
    out: (usize, usize),
    mut f: impl FnMut(Tap),
) {
    let (samples, _, height, width) = x.dim();
    let pairs = |length_out: usize, length_in: usize, offset: usize| -> Vec<(usize, usize)> {
        (0..length_out)
            .filter_map(|i| Some((i, (i * stride + offset).checked_sub(pad).filter(|&j| j < length_in)?)))
            .collect()
    };
    for ((o, c, ky, kx), &weight) in w.indexed_iter() {
        for sample in 0..samples {
            let rows = pairs(out.0, height, ky).into_iter();
            let cols = pairs(out.1, width, kx).into_iter();
            f(Tap { sample, out: o, channel: c, weight, rows, cols });
        }
    }
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

fn indices(a: usize, b: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..a).flat_map(move |i| (0..b).map(move |j| (i, j)))
}

fn matrix(x: &ArrayD<f64>) -> ArrayView2<'_, f64> {
    x.view().into_dimensionality::<Ix2>().expect("checked when built")
}

fn images(x: &ArrayD<f64>) -> ArrayView4<'_, f64> {
    x.view().into_dimensionality::<Ix4>().expect("checked when built")
}
