//! Otsu's threshold of an anomaly map, as `skimage.filters.threshold_otsu` has it: 256 bins.

use anomalens_models::image::AnomalyMap;
use ndarray::Array2;

const BINS: usize = 256;

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
    // Edges in f32 and sums in f64, as numpy has them for an f32 array: the threshold is then skimage's own.
    let (low, width) = (f64::from(low), (f64::from(high) - f64::from(low)) / BINS as f64);
    let edges: Vec<f32> =
        (0..=BINS).map(|i| if i == BINS { high } else { (low + i as f64 * width) as f32 }).collect();
    let mut counts = [0u64; BINS];
    for &value in values {
        // Edge i belongs to bin i, and the last bin is closed.
        let bin = edges.partition_point(|edge| *edge <= value).clamp(1, BINS) - 1;
        counts[bin] += 1;
    }
    let centre = |i: usize| (edges[i] + edges[i + 1]) / 2.0;
    let weighted = |i: usize| counts[i] as f64 * f64::from(centre(i));
    let (total, sum): (f64, f64) = (values.len() as f64, (0..BINS).map(weighted).sum());
    let (mut below, mut sum_below, mut best, mut largest) = (0.0, 0.0, 0, f64::NEG_INFINITY);
    for (i, &count) in counts.iter().enumerate().take(BINS - 1) {
        below += count as f64;
        sum_below += weighted(i);
        let above = total - below;
        let between = below * above * (sum_below / below - (sum - sum_below) / above).powi(2);
        if between > largest {
            (best, largest) = (i, between);
        }
    }
    Ok(centre(best))
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
