//! How a method scores, slice by slice and volume by volume, by its maps.

use anomalens_cohort::Cohort;
use anomalens_method::metrics::{MetricError, Pool, Ranked, Ranking, dice, ranking};
use anomalens_method::otsu::{self, OtsuError};
use anyhow::Result;
use ndarray::Array2;

use super::column::{Column, Found, Slice};
use super::store::Store;
use super::volume::Volume;

/// Why a slice has no score.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScoreError {
    /// Nothing to look at.
    #[error("{slice}: no pixel inside the region, expected at least one; leave this slice out of the cohort")]
    NoRegion {
        /// The slice.
        slice: String,
    },
    /// A map without a threshold.
    #[error("{slice}: {source}")]
    Otsu {
        /// The slice.
        slice: String,
        /// The cause.
        source: OtsuError,
    },
    /// Shapes that do not fit, or a map that is not finite.
    #[error("{slice}: {source}")]
    Metric {
        /// The slice.
        slice: String,
        /// The cause.
        source: MetricError,
    },
}

/// What is so of a slice, whoever looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Its place in the cohort.
    pub index: usize,
    /// Its volume, from 0.
    pub volume: usize,
    /// Pixels of the lesion.
    pub lesion_pixels: usize,
    /// Pixels of the region.
    pub region_pixels: usize,
}

impl Facts {
    /// Whether there is a lesion.
    pub fn diseased(&self) -> bool {
        self.lesion_pixels > 0
    }
}

/// How a method scores on one slice; what needs a lesion is `None` on healthy slices.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct SliceScore {
    /// Otsu's threshold.
    pub threshold: f32,
    /// Dice of the mask above it.
    pub dice: Option<f64>,
    /// Dice of the mask above the one threshold of all slices.
    pub dice_one: Option<f64>,
    /// By the order of all pixels.
    pub whole: Ranking,
    /// By the order of those inside the region.
    pub inside: Ranking,
    /// Mean of the map inside the region.
    pub mean_region: f64,
    /// Mean of the map inside the lesion.
    pub mean_lesion: Option<f64>,
}

/// How a method scores on one volume: the scored slices of one subject, together. What needs a lesion is `None` where there
/// is none.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct VolumeScore {
    /// Dice of the slices' masks by Otsu's threshold of each, those of healthy slices among them.
    pub dice: Option<f64>,
    /// Dice of the masks above the one threshold of all slices.
    pub dice_one: Option<f64>,
    /// By the order of all pixels.
    pub whole: Ranking,
    /// By the order of those inside the region.
    pub inside: Ranking,
    /// Mean over its slices of the map's mean inside the region.
    pub mean_region: f64,
    /// The same over its healthy slices.
    pub mean_healthy: Option<f64>,
}

/// How a method scores on everything, before anything is averaged.
pub struct Scores {
    /// The slices, volume by volume.
    pub facts: Vec<Facts>,
    /// Each slice's score.
    pub slices: Vec<SliceScore>,
    /// Each volume's score.
    pub volumes: Vec<VolumeScore>,
    /// The mean of Otsu's thresholds of the diseased slices.
    pub one_threshold: Option<f32>,
    /// The pixels of all slices.
    pub pixels: Ranked,
}

/// Pixels of one or several slices, in one order.
#[derive(Default)]
struct Pixels {
    map: Vec<f32>,
    truth: Vec<bool>,
    inside: Vec<bool>,
    /// The mask by Otsu's threshold.
    mask: Vec<bool>,
}

/// Scores a method on all chosen slices. `progress` is told after each volume.
///
/// Errors: those of the cohort and the store; [`ScoreError`].
pub fn score(cohort: &Cohort, store: &mut Store, column: &Column, volumes: &[Volume]) -> Result<Scores> {
    let (mut facts, mut slices, mut scored) = (Vec::new(), Vec::new(), Vec::new());
    let mut pool = Pool::default();
    for (number, volume) in volumes.iter().enumerate() {
        let ready = column.prepare(cohort, &volume.all)?;
        let (mut together, first) = (Pixels::default(), slices.len());
        for &index in &volume.chosen {
            let slice = Slice::read(cohort, index)?;
            let found = ready.find(&slice, store)?;
            let (fact, score, pixels) = one(&slice, &found, number)?;
            pool.push(&pixels.map, &pixels.truth, &pixels.inside)
                .map_err(|source| ScoreError::Metric { slice: slice.name, source })?;
            together.append(pixels);
            facts.push(fact);
            slices.push(score);
        }
        scored.push(together.volume(&facts[first..], &slices[first..])?);
    }
    let pixels = pool.rank();
    let mut scores = Scores { facts, slices, volumes: scored, one_threshold: None, pixels };
    scores.by_one_threshold();
    Ok(scores)
}

/// One slice of volume `volume`.
fn one(slice: &Slice, found: &Found, volume: usize) -> Result<(Facts, SliceScore, Pixels), ScoreError> {
    let list = |plane: &Array2<bool>| plane.iter().copied().collect::<Vec<_>>();
    let count = |set: &[bool]| set.iter().filter(|&&v| v).count();
    let (truth, inside) = (list(&slice.truth), list(&slice.region));
    let facts =
        Facts { index: slice.index, volume, lesion_pixels: count(&truth), region_pixels: count(&inside) };
    if facts.region_pixels == 0 {
        return Err(ScoreError::NoRegion { slice: slice.name.clone() });
    }
    let threshold =
        threshold(found).map_err(|source| ScoreError::Otsu { slice: slice.name.clone(), source })?;
    let map: Vec<f32> = found.map.values().iter().copied().collect();
    let mask = map.iter().map(|value| *value > threshold).collect();
    let mean_region = mean(&only(&map, &inside));
    let mut score = SliceScore { threshold, mean_region, ..SliceScore::default() };
    let pixels = Pixels { map, truth, inside, mask };
    if facts.diseased() {
        pixels
            .score(&mut score)
            .map_err(|source| ScoreError::Metric { slice: slice.name.clone(), source })?;
    }
    Ok((facts, score, pixels))
}

/// Otsu's threshold where the method looks.
pub fn threshold(found: &Found) -> Result<f32, OtsuError> {
    match &found.domain {
        Some(domain) => otsu::threshold_within(&found.map, domain),
        None => otsu::threshold(&found.map),
    }
}

impl Pixels {
    /// What needs a lesion.
    fn score(&self, score: &mut SliceScore) -> Result<(), MetricError> {
        score.dice = Some(dice(&self.mask, &self.truth)?);
        (score.whole, score.inside) = self.rankings()?;
        score.mean_lesion = Some(mean(&only(&self.map, &self.truth)));
        Ok(())
    }

    fn rankings(&self) -> Result<(Ranking, Ranking), MetricError> {
        let inside = ranking(&only(&self.map, &self.inside), &only(&self.truth, &self.inside))?;
        Ok((ranking(&self.map, &self.truth)?, inside))
    }

    fn append(&mut self, mut other: Self) {
        self.map.append(&mut other.map);
        self.truth.append(&mut other.truth);
        self.inside.append(&mut other.inside);
        self.mask.append(&mut other.mask);
    }

    /// The score of a volume of these slices.
    fn volume(&self, facts: &[Facts], slices: &[SliceScore]) -> Result<VolumeScore, MetricError> {
        let levels = |healthy_only: bool| {
            let chosen = facts.iter().zip(slices).filter(|(fact, _)| !healthy_only || !fact.diseased());
            average(chosen.map(|(_, score)| score.mean_region))
        };
        let mut score = VolumeScore {
            mean_region: levels(false).unwrap_or_default(),
            mean_healthy: levels(true),
            ..VolumeScore::default()
        };
        if facts.iter().any(Facts::diseased) {
            score.dice = Some(dice(&self.mask, &self.truth)?);
            (score.whole, score.inside) = self.rankings()?;
        }
        Ok(score)
    }
}

impl Scores {
    /// Puts in the Dice by one threshold, which is known when all slices are.
    fn by_one_threshold(&mut self) {
        let thresholds = self.facts.iter().zip(&self.slices).filter(|(fact, _)| fact.diseased());
        self.one_threshold =
            average(thresholds.map(|(_, score)| f64::from(score.threshold))).map(|mean| mean as f32);
        let Some(threshold) = self.one_threshold else { return };
        let dice = |both: u64, marked: u64, lesion: u64| 2.0 * both as f64 / (marked + lesion) as f64;
        let mut sums = vec![(0, 0, 0); self.volumes.len()];
        for ((fact, score), (both, marked)) in
            self.facts.iter().zip(&mut self.slices).zip(self.pixels.marked(threshold))
        {
            let lesion = fact.lesion_pixels as u64;
            score.dice_one = fact.diseased().then(|| dice(both, marked, lesion));
            let sum = &mut sums[fact.volume];
            *sum = (sum.0 + both, sum.1 + marked, sum.2 + lesion);
        }
        for (score, (both, marked, lesion)) in self.volumes.iter_mut().zip(sums) {
            score.dice_one = (lesion > 0).then(|| dice(both, marked, lesion));
        }
    }
}

/// The values where `inside` is set.
fn only<T: Copy>(values: &[T], inside: &[bool]) -> Vec<T> {
    values.iter().zip(inside).filter(|(_, inside)| **inside).map(|(v, _)| *v).collect()
}

fn mean(values: &[f32]) -> f64 {
    average(values.iter().map(|v| f64::from(*v))).unwrap_or_default()
}

/// The mean; `None` of nothing.
fn average(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, n) = values.fold((0.0, 0usize), |(sum, n), value| (sum + value, n + 1));
    (n > 0).then(|| sum / n as f64)
}

#[cfg(test)]
mod tests;
