//! How well a map or a mask finds what is marked in a truth: Dice, and the areas under the ROC curve and under the curve
//! of precision over recall, exactly; their intervals by resampling subjects.
//!
//! Pixels are given as plain lists in any order, the same for both, so that "inside the brain" is a choice of the
//! caller. No metric here sees a threshold that was chosen by looking at the truth, but for [`Ranking::best_dice`],
//! which says so in its name. [`Pool`] ranks the pixels of many images together.

mod bootstrap;
mod pool;

pub use bootstrap::{Bootstrap, Interval};
pub use pool::{Curve, Pool, Ranked, Region};

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

/// What the order of the scores says, whatever the threshold.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Ranking {
    /// The area under the ROC curve, in [0, 1]: the chance that a pixel of the truth has a higher score than one outside,
    /// ties counted half (Mann and Whitney's U over the number of pairs). `None` if there are no such pairs.
    pub auroc: Option<f64>,
    /// The average precision, in (0, 1], which stands for the area under the curve of precision over recall: the sum over
    /// thresholds of precision times the recall gained, without interpolation. `None` if the truth is empty.
    pub auprc: Option<f64>,
    /// The largest Dice that any threshold could have given, the mask being the scores at or above it. The threshold is
    /// chosen by the truth: a bound, not a result. `None` if the truth is empty.
    pub best_dice: Option<f64>,
}

/// What the order of the scores says of how well they find the truth. Exact but for rounding in f64.
///
/// Errors: [`MetricError::Length`], [`MetricError::NotFinite`].
pub fn ranking(scores: &[f32], truth: &[bool]) -> Result<Ranking, MetricError> {
    check(scores, truth.len())?;
    let mut pixels: Vec<(f32, bool)> = scores.iter().copied().zip(truth.iter().copied()).collect();
    pixels.sort_unstable_by(|a, b| descending(a.0, b.0));
    let group = |pixels: &[(f32, bool)]| {
        let positives = pixels.iter().filter(|pixel| pixel.1).count() as u64;
        Group { positives, negatives: pixels.len() as u64 - positives }
    };
    let groups: Vec<Group> = pixels.chunk_by(|a, b| a.0 == b.0).map(group).collect();
    Ok(rank(&groups))
}

/// The area under the ROC curve, see [`Ranking::auroc`].
///
/// Errors: [`MetricError::Length`], [`MetricError::NotFinite`].
pub fn auroc(scores: &[f32], truth: &[bool]) -> Result<Option<f64>, MetricError> {
    Ok(ranking(scores, truth)?.auroc)
}

/// Pixels of one score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Group {
    positives: u64,
    negatives: u64,
}

/// The ranking of groups by falling score.
fn rank(groups: &[Group]) -> Ranking {
    let all: u64 = groups.iter().map(|group| group.positives).sum();
    if all == 0 {
        return Ranking::default();
    }
    let (mut hits, mut misses) = (0u64, 0u64);
    let (mut twice_won, mut precision, mut best_dice) = (0u128, 0.0, 0.0f64);
    for group in groups {
        // A pixel outside loses to all of the truth that came before, and ties with those of its group.
        twice_won += u128::from(group.negatives) * u128::from(2 * hits + group.positives);
        hits += group.positives;
        misses += group.negatives;
        if hits + misses > 0 {
            precision += group.positives as f64 * (hits as f64 / (hits + misses) as f64);
            best_dice = best_dice.max(2.0 * hits as f64 / (hits + misses + all) as f64);
        }
    }
    let pairs = u128::from(all) * u128::from(misses);
    Ranking {
        auroc: (pairs > 0).then(|| twice_won as f64 / (2.0 * pairs as f64)),
        auprc: Some(precision / all as f64),
        best_dice: Some(best_dice),
    }
}

/// The order of falling scores, in which -0 equals 0.
fn descending(a: f32, b: f32) -> std::cmp::Ordering {
    (b + 0.0).total_cmp(&(a + 0.0))
}

/// Whether there is a finite score for every one of `pixels`.
fn check(scores: &[f32], pixels: usize) -> Result<(), MetricError> {
    same_length("scores", scores.len(), pixels)?;
    match scores.iter().enumerate().find(|(_, v)| !v.is_finite()) {
        Some((index, &found)) => Err(MetricError::NotFinite { index, found }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
