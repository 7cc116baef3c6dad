//! How far two outputs are apart, and how far they may be.

use std::fmt;

use anomalens_models::weights::Precision;
use ndarray::{ArrayD, IxDyn};

/// Outputs, logits: maximum absolute difference, in units of the larger of 1 and the maximum of the right-hand
/// side. f32 itself is 2e-6 away from f64 on the reference vectors; flipping one label changes them by 1e-1.
pub const OUTPUT: f64 = 1e-5;

/// The same of a graph in f16. Its 11 bits round each value by up to 2⁻¹¹ = 5e-4; over the hundred or so roundings on a
/// path through a network it came to 1.4e-3, and a wrong sample or label changes outputs by 1e-1.
pub const OUTPUT_F16: f64 = 1e-2;

/// A graph imported back and interpreted in f64, against the same parameters: the same, in units of the maximum of the
/// right-hand side. Only the order of sums differs; f64 rounds by 1e-16.
pub const IMPORTED: f64 = 1e-10;

/// Input gradients: the same, in units of the maximum of the right-hand side (gradients have no natural size).
/// On the reference vectors, whose maximum is 2e-3, this is 1e-6; f32 is 1.3e-8 away from f64 there.
pub const GRADIENT: f64 = 5e-4;

/// The graph of a step against its networks alone and the update in f64, both on one engine: the same, in units of the
/// larger of 1 and the maximum of the right-hand side. The networks are the same kernels, but a GPU may choose others of
/// them, so that the gradient is allowed what [`GRADIENT`] allows; another coefficient changes it by 1e-1.
pub const STEP: f64 = GRADIENT;

/// The output that is a gradient.
const GRADIENT_NAME: &str = "gradient";

/// How far an output may be from what is expected, as a maximum absolute difference.
pub fn tolerance(output: &str, expected: &ArrayD<f64>, precision: Precision) -> f64 {
    let largest = largest(expected);
    match precision {
        _ if output == GRADIENT_NAME => GRADIENT * largest,
        Precision::F32 => OUTPUT * largest.max(1.0),
        Precision::F16 => OUTPUT_F16 * largest.max(1.0),
    }
}

/// How far the graph of a step may be from its networks alone and the update.
pub fn step_tolerance(expected: &ArrayD<f64>, precision: Precision) -> f64 {
    let largest = largest(expected).max(1.0);
    match precision {
        Precision::F32 => STEP * largest,
        Precision::F16 => OUTPUT_F16 * largest,
    }
}

/// The largest absolute value.
pub fn largest(values: &ArrayD<f64>) -> f64 {
    values.iter().fold(0.0f64, |max, v| max.max(v.abs()))
}

/// How far two arrays of one shape are apart.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Maximum absolute difference; infinite if a value is not finite.
    pub max_abs: f64,
    /// The same over the maximum absolute value of the right-hand side.
    pub max_rel: f64,
    /// Where it is worst.
    pub worst: Vec<usize>,
    /// The left-hand value there.
    pub found: f64,
    /// The right-hand value there.
    pub expected: f64,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { max_abs, max_rel, worst, found, expected } = self;
        write!(
            f,
            "max abs {max_abs:.1e}, rel {max_rel:.1e}, worst at {worst:?}: found {found:.6e}, expected {expected:.6e}"
        )
    }
}

/// The largest difference; `None` if the shapes differ.
pub fn difference(found: &ArrayD<f64>, expected: &ArrayD<f64>) -> Option<Difference> {
    if found.shape() != expected.shape() {
        return None;
    }
    let mut worst = (0.0, IxDyn(&vec![0; found.ndim()]));
    let largest = largest(expected);
    for ((index, &a), &b) in found.indexed_iter().zip(expected) {
        let apart = if a.is_finite() && b.is_finite() { (a - b).abs() } else { f64::INFINITY };
        if apart > worst.0 {
            worst = (apart, index);
        }
    }
    let at = |array: &ArrayD<f64>| array.get(&worst.1).copied().unwrap_or(0.0);
    Some(Difference {
        max_abs: worst.0,
        max_rel: if worst.0 == 0.0 { 0.0 } else { worst.0 / largest },
        found: at(found),
        expected: at(expected),
        worst: ndarray::Dimension::slice(&worst.1).to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::arr2;

    #[test]
    fn names_the_worst_place() {
        let expected = arr2(&[[1.0, -4.0], [0.0, 2.0]]).into_dyn();
        let mut found = expected.clone();
        assert_eq!(difference(&found, &expected).unwrap().max_abs, 0.0);
        found[[1, 1]] = 1.0;
        found[[0, 0]] = 1.5;
        let d = difference(&found, &expected).unwrap();
        assert_eq!((d.max_abs, d.max_rel, d.worst.as_slice()), (1.0, 0.25, &[1, 1][..]));
        assert_eq!((d.found, d.expected), (1.0, 2.0));
        assert_eq!(difference(&arr2(&[[1.0, 2.0]]).into_dyn(), &expected), None);
    }

    #[test]
    fn what_is_not_finite_is_infinitely_wrong() {
        for bad in [f64::NAN, f64::INFINITY] {
            let (a, b) = (arr2(&[[1.0, bad]]).into_dyn(), arr2(&[[1.0, 1.0]]).into_dyn());
            assert_eq!(difference(&a, &b).unwrap().max_abs, f64::INFINITY);
            assert_eq!(difference(&b, &a).unwrap().max_abs, f64::INFINITY);
            assert_eq!(difference(&a, &a).unwrap().max_abs, f64::INFINITY);
        }
    }

    #[test]
    fn tolerances_follow_the_size_of_what_is_expected() {
        let of = |v: f64| arr2(&[[v, 0.0]]).into_dyn();
        let f32 = |output, v| tolerance(output, &of(v), Precision::F32);
        assert_eq!(f32("out", -0.1), OUTPUT);
        assert_eq!(f32("logits", -3.0), 3.0 * OUTPUT);
        assert_eq!(f32("gradient", 2e-3), 1e-6);
        assert_eq!(tolerance("out", &of(-3.0), Precision::F16), 3.0 * OUTPUT_F16);
    }
}
