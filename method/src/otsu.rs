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
    let values = map.values();
    if let Some(((row, column), &found)) = values.indexed_iter().find(|(_, v)| !v.is_finite()) {
        return Err(OtsuError::NotFinite { row, column, found });
    }
    let first = *values.first().ok_or(OtsuError::Empty)?;
    let (low, high) = values.iter().fold((first, first), |(low, high), &v| (low.min(v), high.max(v)));
    if low == high {
        return Ok(low);
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
    Ok(centres[best])
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

#[cfg(test)]
mod tests;
