//! The loops of the reference interpreter, each as its definition says.

use ndarray::{Array2, ArrayD, ArrayView1, ArrayView2, ArrayView4, Axis, Ix2, Ix3, Ix4, IxDyn};

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

/// Sum over axes, which stay with length 1.
pub(super) fn sum(x: &ArrayD<f64>, axes: &[usize]) -> ArrayD<f64> {
    axes.iter().fold(x.clone(), |x, &axis| x.sum_axis(Axis(axis)).insert_axis(Axis(axis)))
}

/// Greatest value over axes, which stay with length 1.
pub(super) fn max(x: &ArrayD<f64>, axes: &[usize]) -> ArrayD<f64> {
    axes.iter().fold(x.clone(), |x, &axis| {
        let greatest = |lane: ArrayView1<'_, f64>| lane.fold(f64::NEG_INFINITY, |a, &b| a.max(b));
        x.map_axis(Axis(axis), greatest).insert_axis(Axis(axis))
    })
}

fn matrix(x: &ArrayD<f64>) -> ArrayView2<'_, f64> {
    x.view().into_dimensionality::<Ix2>().expect("checked when built")
}

pub(super) fn images(x: &ArrayD<f64>) -> ArrayView4<'_, f64> {
    x.view().into_dimensionality::<Ix4>().expect("checked when built")
}
