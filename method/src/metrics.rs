//! How well a map or a mask finds what is marked in a truth: Dice and the area under the ROC curve, exactly.
//!
//! Pixels are given as plain lists in any order, the same for both, so that "inside the brain" is a choice of the
//! caller. No metric here sees a threshold that was chosen by looking at the truth, but for [`best_dice`], which says
//! so in its name.

/// Why there is no metric.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MetricError {
    /// Two lists of pixels that do not belong together.
    #[error("{what}: {found} pixels, expected {expected}, as many as the truth has; compare on one grid")]
    Length {
        /// Mask or scores.
        what: &'static str,
        /// Its pixels.
        found: usize,
        /// The truth's.
        expected: usize,
    },
    /// A score that is not a number, or infinite.
    #[error("scores: value {index} is {found}, expected a finite number; check the map it came from")]
    NotFinite {
        /// Which, from 0.
        index: usize,
        /// The value.
        found: f32,
    },
}

fn same_length(what: &'static str, found: usize, expected: usize) -> Result<(), MetricError> {
    if found == expected { Ok(()) } else { Err(MetricError::Length { what, found, expected }) }
}

/// Dice's coefficient of two masks, 2 |A ∩ B| / (|A| + |B|), in [0, 1]; 1 if both are empty.
///
/// Errors: [`MetricError::Length`].
pub fn dice(mask: &[bool], truth: &[bool]) -> Result<f64, MetricError> {
    same_length("mask", mask.len(), truth.len())?;
    let count = |set: &[bool]| set.iter().filter(|&&v| v).count();
    let both = mask.iter().zip(truth).filter(|&(&a, &b)| a && b).count();
    let all = count(mask) + count(truth);
    Ok(if all == 0 { 1.0 } else { 2.0 * both as f64 / all as f64 })
}

/// The area under the ROC curve of scores, in [0, 1]: the chance that a pixel of the truth has a higher score than
/// one outside, ties counted half (Mann and Whitney's U over the number of pairs). `None` if there are no such pairs.
///
/// Exact but for the last division. Errors: [`MetricError::Length`], [`MetricError::NotFinite`].
pub fn auroc(scores: &[f32], truth: &[bool]) -> Result<Option<f64>, MetricError> {
    let (mut below, mut twice_won) = (0u64, 0u64);
    let mut positives = 0u64;
    // Ascending: a pixel of the truth wins against all outside that came before, and ties with those of its group.
    for group in groups(scores, truth, false)? {
        twice_won += group.positives * (2 * below + group.negatives);
        below += group.negatives;
        positives += group.positives;
    }
    let pairs = positives * below;
    Ok((pairs > 0).then(|| twice_won as f64 / (2.0 * pairs as f64)))
}

/// The largest Dice that any threshold on the scores could have given, the mask being the scores at or above it. The
/// threshold is chosen by the truth: a bound, not a result. `None` if the truth is empty.
///
/// Errors: [`MetricError::Length`], [`MetricError::NotFinite`].
pub fn best_dice(scores: &[f32], truth: &[bool]) -> Result<Option<f64>, MetricError> {
    let all = truth.iter().filter(|&&v| v).count() as u64;
    let (mut hits, mut marked, mut best) = (0u64, 0u64, 0.0f64);
    for group in groups(scores, truth, true)? {
        hits += group.positives;
        marked += group.positives + group.negatives;
        best = best.max(2.0 * hits as f64 / (marked + all) as f64);
    }
    Ok((all > 0).then_some(best))
}

/// Pixels of one score.
struct Group {
    positives: u64,
    negatives: u64,
}

/// The pixels by score, ascending or descending; -0 equals 0.
fn groups(scores: &[f32], truth: &[bool], descending: bool) -> Result<Vec<Group>, MetricError> {
    same_length("scores", scores.len(), truth.len())?;
    if let Some((index, &found)) = scores.iter().enumerate().find(|(_, v)| !v.is_finite()) {
        return Err(MetricError::NotFinite { index, found });
    }
    let mut pixels: Vec<(f32, bool)> = scores.iter().map(|v| v + 0.0).zip(truth.iter().copied()).collect();
    pixels.sort_unstable_by(|a, b| if descending { b.0.total_cmp(&a.0) } else { a.0.total_cmp(&b.0) });
    let group = |pixels: &[(f32, bool)]| {
        let positives = pixels.iter().filter(|pixel| pixel.1).count() as u64;
        Group { positives, negatives: pixels.len() as u64 - positives }
    };
    Ok(pixels.chunk_by(|a, b| a.0 == b.0).map(group).collect())
}

#[cfg(test)]
mod tests;
