//! Raw intensities to [0, 1]: `min(x, q) / q`, with q a percentile of the non-zero pixels of a whole series.
//!
//! The formula wants intensities at or above zero. What lies below is clamped after the series' *floor* has been
//! subtracted: floor 0 for MR and radiographs, whose values below zero are reconstruction noise around an empty
//! background, and [`CT_FLOOR`] for CT, where zero is water. A fixed floor, not the smallest value found, so
//! that one padding pixel cannot move a whole series.

use ndarray::{Array2, ArrayView2};

/// Air in Hounsfield units, rounded to the lowest value that scanners reconstruct (PS3.3 C.11.1.1.2 leaves the
/// range to the maker; 12-bit scanners start at −1024).
pub const CT_FLOOR: f32 = -1024.0;

/// Why a series could not be normalised.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NormaliseError {
    /// A value that is not a number, or infinite.
    #[error("{what}: value at [slice {}, row {}, column {}] is {found}, expected a finite number; check the source's pixel data and rescale values", index[0], index[1], index[2])]
    NotFinite {
        /// The series.
        what: String,
        /// Slice, row, column.
        index: [usize; 3],
        /// The value.
        found: f32,
    },
    /// Every pixel of the series has the same value.
    #[error("{what}: every pixel of the series is {found}, expected an image; choose another series")]
    Constant {
        /// The series.
        what: String,
        /// The value.
        found: f32,
    },
    /// No pixel above the floor.
    #[error("{what}: no pixel above {floor}, expected an image; choose another series")]
    AllZero {
        /// The series.
        what: String,
        /// The value that counts as zero.
        floor: f32,
    },
    /// A percentile that is none.
    #[error("{what}: percentile {found}, expected in (0, 100]; correct image.percentile of the bundle")]
    Percentile {
        /// The series.
        what: String,
        /// The value found.
        found: f64,
    },
}

/// How one series (one channel) becomes [0, 1]: `min(max(x − floor, 0), q) / q`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normaliser {
    /// The intensity that becomes 0, in the source's units.
    pub floor: f32,
    /// The distance above the floor that becomes 1, in the source's units, positive.
    pub q: f32,
}

impl Normaliser {
    /// Measures q: the `percentile` (0, 100] of the pixels above `floor`, over all `slices` [H, W] of the series,
    /// interpolated linearly as numpy does. `what` names the series in errors.
    ///
    /// Errors: [`NormaliseError`].
    pub fn fit<'a>(
        what: &str,
        slices: impl IntoIterator<Item = ArrayView2<'a, f32>>,
        percentile: f64,
        floor: f32,
    ) -> Result<Self, NormaliseError> {
        if !(percentile > 0.0 && percentile <= 100.0) {
            return Err(NormaliseError::Percentile { what: what.to_owned(), found: percentile });
        }
        let (mut above, mut first, mut constant) = (Vec::new(), None, true);
        for (s, slice) in slices.into_iter().enumerate() {
            for ((r, c), &found) in slice.indexed_iter() {
                if !found.is_finite() {
                    return Err(NormaliseError::NotFinite { what: what.to_owned(), index: [s, r, c], found });
                }
                constant &= *first.get_or_insert(found) == found;
                if found > floor {
                    above.push(found - floor);
                }
            }
        }
        if let (true, Some(found)) = (constant, first) {
            return Err(NormaliseError::Constant { what: what.to_owned(), found });
        }
        if above.is_empty() {
            return Err(NormaliseError::AllZero { what: what.to_owned(), floor });
        }
        Ok(Self { floor, q: quantile(&mut above, percentile / 100.0) })
    }

    /// One slice [H, W] in the source's units to [0, 1].
    pub fn apply(&self, pixels: ArrayView2<'_, f32>) -> Array2<f32> {
        pixels.mapv(|x| (x - self.floor).clamp(0.0, self.q) / self.q)
    }
}

/// The quantile p in [0, 1] of `values` (not empty, finite), linear between the two neighbours: numpy's default.
fn quantile(values: &mut [f32], p: f64) -> f32 {
    let place = p * (values.len() - 1) as f64;
    let below = place.floor() as usize;
    let (_, low, rest) = values.select_nth_unstable_by(below, f32::total_cmp);
    let low = f64::from(*low);
    let high = rest.iter().copied().min_by(f32::total_cmp).map_or(low, f64::from);
    (low + (high - low) * (place - below as f64)) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn the_percentile_is_numpys() {
        // np.percentile([1, 2, 3, 4, 10], p), numpy 2.3; the zeros and the negative value are left out.
        let a = array![[0.0, 4.0, 1.0], [10.0, -3.0, 2.0], [3.0, 0.0, 0.0]];
        for (p, expected) in [(50.0, 3.0), (99.5, 9.88), (100.0, 10.0), (10.0, 1.4), (75.0, 4.0)] {
            let n = Normaliser::fit("case", [a.view()], p, 0.0).unwrap();
            assert!((n.q - expected).abs() < 1e-6, "percentile {p}: found {}, expected {expected}", n.q);
        }
    }

    #[test]
    fn q_is_taken_over_the_whole_series() {
        let (a, b) = (array![[0.0, 1.0]], array![[0.0, 3.0]]);
        let n = Normaliser::fit("case", [a.view(), b.view()], 100.0, 0.0).unwrap();
        assert_eq!(n.apply(a.view()), array![[0.0, 1.0 / 3.0]]);
        assert_eq!(n.apply(b.view()), array![[0.0, 1.0]]);
    }

    #[test]
    fn values_outside_the_range_are_clamped() {
        let n = Normaliser { floor: CT_FLOOR, q: 1000.0 };
        let ct = array![[-3024.0, -1024.0, -524.0, -24.0, 3000.0]];
        assert_eq!(n.apply(ct.view()), array![[0.0, 0.0, 0.5, 1.0, 1.0]]);
    }

    #[test]
    fn what_is_no_image_is_refused() {
        let cases: [(&str, ndarray::Array2<f32>, &str); 4] = [
            ("nan", array![[1.0, f32::NAN]], "column 1] is NaN"),
            ("infinite", array![[1.0, f32::INFINITY]], "is inf"),
            ("constant", array![[7.0, 7.0]], "every pixel of the series is 7"),
            ("all below", array![[-1.0, -2.0]], "no pixel above 0"),
        ];
        for (name, pixels, expected) in cases {
            let e = Normaliser::fit("t1", [pixels.view()], 99.5, 0.0).unwrap_err().to_string();
            assert!(e.starts_with("t1: ") && e.contains(expected), "{name}: {e}");
        }
        let zeros = Normaliser::fit("t1", [array![[0.0, 0.0]].view()], 99.5, 0.0).unwrap_err();
        assert_eq!(zeros, NormaliseError::Constant { what: "t1".into(), found: 0.0 });
        let p = Normaliser::fit("t1", [array![[0.0, 1.0]].view()], 0.0, 0.0).unwrap_err();
        assert_eq!(p, NormaliseError::Percentile { what: "t1".into(), found: 0.0 });
    }
}
