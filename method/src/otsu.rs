//! Otsu's threshold of an anomaly map, as `skimage.filters.threshold_otsu` has it: 256 bins.

use anomalens_models::image::AnomalyMap;
use ndarray::Array2;

use crate::histogram::{BINS, Histogram};

/// Why a map has no threshold.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OtsuError {
    /// No pixels.
    #[error("anomaly map: 0 pixels, expected at least 1; check the input image")]
    Empty,
    /// A value that is not a number, or infinite.
    #[error(
        "anomaly map: value at [row {row}, column {column}] is {found}, expected a finite number; check the weights with anomalens-export verify"
    )]
    NotFinite {
        /// Row.
        row: usize,
        /// Column.
        column: usize,
        /// The value.
        found: f32,
    },
}

/// The threshold between the two classes of a map's values; of a constant map, its value.
///
/// The histogram has 256 equal bins from the smallest to the largest value, and the threshold is the centre of the
/// bin after which splitting makes the variance between the classes largest (Otsu 1979).
///
/// Errors: [`OtsuError`].
pub fn threshold(map: &AnomalyMap) -> Result<f32, OtsuError> {
    check(map)?;
    let values: Vec<f32> = map.values().iter().copied().collect();
    split(&values).ok_or(OtsuError::Empty)
}

/// The threshold between the two classes of those of a map's values that lie inside a mask [H, W].
///
/// Errors: [`OtsuError`].
pub fn threshold_within(map: &AnomalyMap, inside: &Array2<bool>) -> Result<f32, OtsuError> {
    check(map)?;
    let pairs = map.values().iter().zip(inside);
    let values: Vec<f32> = pairs.filter(|(_, inside)| **inside).map(|(v, _)| *v).collect();
    split(&values).ok_or(OtsuError::Empty)
}

fn check(map: &AnomalyMap) -> Result<(), OtsuError> {
    match map.values().indexed_iter().find(|(_, v)| !v.is_finite()) {
        Some(((row, column), &found)) => Err(OtsuError::NotFinite { row, column, found }),
        None => Ok(()),
    }
}

/// The threshold between the two classes of finite values; none where there is no value.
pub(crate) fn split(values: &[f32]) -> Option<f32> {
    let first = *values.first()?;
    let (low, high) = values.iter().fold((first, first), |(low, high), &v| (low.min(v), high.max(v)));
    if low == high {
        return Some(low);
    }
    let Histogram { counts, centres } = Histogram::new(values.iter().copied(), low, high);
    // All in f32 and in skimage's order: where the maximum is flat, another rounding finds another threshold, and
    // published Dice values rest on this one.
    let counts = counts.map(|count| count as f32);
    let weighted: Vec<f32> = counts.iter().zip(&centres).map(|(count, centre)| count * centre).collect();
    let (below, above) = (running_sum(counts.iter()), running_sum(counts.iter().rev()));
    let (sum_below, sum_above) = (running_sum(weighted.iter()), running_sum(weighted.iter().rev()));
    let (mut best, mut largest) = (0, f32::NEG_INFINITY);
    for i in 0..BINS - 1 {
        let rest = BINS - 2 - i;
        let apart = sum_below[i] / below[i] - sum_above[rest] / above[rest];
        let between = below[i] * above[rest] * (apart * apart);
        if between > largest {
            (best, largest) = (i, between);
        }
    }
    Some(centres[best])
}

fn running_sum<'a>(values: impl Iterator<Item = &'a f32>) -> Vec<f32> {
    values
        .scan(0.0, |sum, value| {
            *sum += value;
            Some(*sum)
        })
        .collect()
}

/// The threshold of a map, and the mask of the pixels above it [H, W].
///
/// Errors: [`OtsuError`].
pub fn mask(map: &AnomalyMap) -> Result<(f32, Array2<bool>), OtsuError> {
    let threshold = threshold(map)?;
    Ok((threshold, map.values().mapv(|v| v > threshold)))
}

/// The threshold of a map inside a mask [H, W], and the mask of the pixels above it that lie inside.
///
/// Errors: as [`threshold_within`].
pub fn mask_within(map: &AnomalyMap, inside: &Array2<bool>) -> Result<(f32, Array2<bool>), OtsuError> {
    let threshold = threshold_within(map, inside)?;
    let mut mask = map.values().mapv(|v| v > threshold);
    mask.zip_mut_with(inside, |set, inside| *set &= inside);
    Ok((threshold, mask))
}

#[cfg(test)]
mod tests;
