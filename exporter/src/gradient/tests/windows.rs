//! Windows that move over images: every sort of them, and what happens where values are equal.

use std::collections::HashMap;

use anomalens_models::graph::reference::{self, Value};
use anomalens_models::graph::{Builder, DType, GraphError, Init, NodeId, Primitive, Shape, Window};
use ndarray::ArrayD;

use super::super::{backward, rules};
use super::cases::{p, unary};
use super::{FINITE_DIFFERENCE, error_of};

/// Every window of up to three places and steps, with gaps and uneven borders: rows of one kind, columns of another.
/// Puts the operation into a graph, behind its input and what it is multiplied by.
type Build<'a> = dyn Fn(&mut Builder, NodeId, NodeId) -> Result<NodeId, GraphError> + 'a;

#[test]
fn windows_of_every_sort_agree_with_finite_differences() {
    let mut lines = Vec::new();
    for (places, step, gap) in
        (1..=3).flat_map(|p| (1..=3).flat_map(move |s| (1..=2).map(move |g| (p, s, g))))
    {
        lines.extend((0..places).flat_map(|pad| (0..places).map(move |end| (places, step, gap, [pad, end]))));
    }
    let mut failures = Vec::new();
    for (i, &(rows, down, row_gap, [top, bottom])) in lines.iter().enumerate() {
        let (cols, right, col_gap, [left, end]) = lines[(7 * i + 5) % lines.len()];
        let window =
            Window { strides: [down, right], pads: [top, left, bottom, end], dilations: [row_gap, col_gap] };
        let kernel = [rows, cols];
        let conv = |b: &mut Builder, x: NodeId, z: NodeId| {
            let w = b.param("w", &[4, 1, rows, cols], Init::Zeros);
            let bias = b.param("b", &[4], Init::Zeros);
            let y = p(b, Primitive::Conv { window, groups: 2 }, &[x, w, bias])?;
            b.mul(y, z)
        };
        let max = |b: &mut Builder, x, z| unary(b, Primitive::MaxPool { kernel, window }, x, z);
        let mean = |b: &mut Builder, x, z| unary(b, Primitive::AveragePool { kernel, window }, x, z);
        let builds: [&Build<'_>; 3] = [&conv, &max, &mean];
        for (name, build) in ["Conv", "MaxPool", "AveragePool"].into_iter().zip(builds) {
            let error = error_of(name, [&[2, 5, 6], &[1, 1, 1]], build, 0, &rules::rule).unwrap();
            if error > FINITE_DIFFERENCE {
                failures.push(format!("{name} of {kernel:?}, {window:?}: {error:.1e}"));
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

/// The cotangent of the image that `op` gives where each of its values gets 1, 2, 3, … as cotangent.
fn given_back(op: Primitive, image: ArrayD<f64>) -> ArrayD<f64> {
    let mut b = Builder::new("ties");
    let x = b.input("x", DType::F32, Shape::batch(&image.shape()[1..]));
    let y = p(&mut b, op, &[x]).unwrap();
    let c = b.input("c", DType::F32, b.shape(y).clone());
    let count = ArrayD::from_shape_vec(
        b.shape(y).concrete(1),
        (1..).map(f64::from).take(b.shape(y).sample_elements()).collect(),
    );
    let gradient = backward(&mut b, y, c, x, &rules::rule).unwrap();
    b.output("gradient", gradient);
    let inputs = [("x", Value::Float(image)), ("c", Value::Float(count.unwrap()))];
    let none: HashMap<String, ArrayD<f32>> = HashMap::new();
    reference::run(&b.finish(), &none, &inputs).unwrap().remove(0).1
}

/// torch.nn.functional.max_pool2d(x, 2, 1) of 3 × 3 equal values: each window's first place gets all. amax: all get the same.
#[test]
fn ties_are_broken_as_pytorch_breaks_them() {
    let equal = ArrayD::from_elem(vec![1, 1, 3, 3], 0.25);
    let pool = Primitive::MaxPool { kernel: [2; 2], window: Window::square(1, 0) };
    let found = given_back(pool, equal.clone());
    assert_eq!(found.into_raw_vec_and_offset().0, [1.0, 2.0, 0.0, 3.0, 4.0, 0.0, 0.0, 0.0, 0.0]);
    // The border is never the greatest.
    let pool = Primitive::MaxPool { kernel: [2; 2], window: Window::square(2, 1) };
    let found = given_back(pool, -equal.clone());
    assert_eq!(found.into_raw_vec_and_offset().0, [1.0, 2.0, 0.0, 3.0, 4.0, 0.0, 0.0, 0.0, 0.0]);
    let found = given_back(Primitive::ReduceMax { axes: vec![2, 3] }, equal);
    assert!(found.iter().all(|v| (v - 1.0 / 9.0).abs() < 1e-15), "{found}");
}
