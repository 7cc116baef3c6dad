//! How one slice scores, by its anomaly map and by thresholding the image itself.

use anomalens_method::metrics::{MetricError, auroc, dice, ranking};
use anomalens_method::otsu::{self, OtsuError};
use anomalens_models::image::AnomalyMap;
use ndarray::{Array2, Array3, Axis};

/// One slice, with all that scoring needs. All planes are on one grid [H, W].
pub struct Slice {
    /// Its name, for errors.
    pub name: String,
    /// The image, [C, H, W] in [0, 1].
    pub image: Array3<f32>,
    /// The anomaly map.
    pub map: AnomalyMap,
    /// The lesion, [H, W]; empty on a healthy slice.
    pub truth: Array2<bool>,
    /// The brain, [H, W].
    pub brain: Array2<bool>,
}

/// Why a slice has no score.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScoreError {
    /// Nothing to look at.
    #[error("{slice}: no pixel inside the brain, expected at least one; leave this slice out of the cohort")]
    NoBrain {
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

/// How a method scores on one slice; all but the threshold on diseased slices only.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Method {
    /// Otsu's threshold.
    pub threshold: f32,
    /// Dice of the mask above it.
    pub dice: Option<f64>,
    /// The largest Dice of any threshold.
    pub best_dice: Option<f64>,
    /// Pixel AUROC on the whole image.
    pub auroc: Option<f64>,
    /// Pixel AUROC inside the brain.
    pub auroc_brain: Option<f64>,
}

/// How one slice scores.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scores {
    /// Pixels of the lesion.
    pub lesion_pixels: usize,
    /// Pixels of the brain.
    pub brain_pixels: usize,
    /// By the anomaly map.
    pub ours: Method,
    /// By thresholding one channel; absent where there is no channel to threshold.
    pub thresholding: Option<Method>,
    /// Mean of the anomaly map inside the brain.
    pub map_brain: f64,
    /// Mean of the anomaly map inside the lesion; on diseased slices only.
    pub map_lesion: Option<f64>,
}

/// Scores and truth of many pixels.
#[derive(Default)]
pub struct Pixels {
    scores: Vec<f32>,
    truth: Vec<bool>,
}

impl Pixels {
    fn take(&mut self, scores: &[f32], truth: &[bool]) {
        self.scores.extend_from_slice(scores);
        self.truth.extend_from_slice(truth);
    }

    /// Their AUROC.
    ///
    /// Errors: [`MetricError`].
    pub fn auroc(&self) -> Result<Option<f64>, MetricError> {
        auroc(&self.scores, &self.truth)
    }
}

/// The pixels of all diseased slices, for scores that pool them.
#[derive(Default)]
pub struct Pool {
    /// The anomaly map, whole images.
    pub ours: Pixels,
    /// The anomaly map, inside the brain.
    pub ours_brain: Pixels,
    /// The channel, whole images.
    pub thresholding: Pixels,
    /// The channel, inside the brain.
    pub thresholding_brain: Pixels,
}

impl Slice {
    /// Scores the slice; `channel` is the one to threshold. The pixels of a diseased slice go into `pool`, too.
    ///
    /// Errors: [`ScoreError`].
    pub fn score(&self, channel: Option<usize>, pool: &mut Pool) -> Result<Scores, ScoreError> {
        let inside: Vec<bool> = self.brain.iter().copied().collect();
        let truth: Vec<bool> = self.truth.iter().copied().collect();
        let count = |set: &[bool]| set.iter().filter(|&&v| v).count();
        let (lesion_pixels, brain_pixels) = (count(&truth), count(&inside));
        if brain_pixels == 0 {
            return Err(ScoreError::NoBrain { slice: self.name.clone() });
        }
        let map: Vec<f32> = self.map.values().iter().copied().collect();
        let truth_inside = only(&truth, &inside);

        let (threshold, mask) = otsu::mask(&self.map).map_err(|source| self.otsu(source))?;
        let mask: Vec<bool> = mask.into_iter().collect();
        let map_inside = only(&map, &inside);
        let ours = self.method(threshold, &mask, (&map, &truth), (&map_inside, &truth_inside), &map)?;
        if lesion_pixels > 0 {
            pool.ours.take(&map, &truth);
            pool.ours_brain.take(&map_inside, &truth_inside);
        }
        let thresholding = channel.map(|channel| {
            let raw: Vec<f32> = self.image.index_axis(Axis(0), channel).iter().copied().collect();
            let raw_inside = only(&raw, &inside);
            let row = Array2::from_shape_vec((1, raw_inside.len()), raw_inside.clone()).expect("one row");
            let threshold = otsu::threshold(&AnomalyMap::from_values(row)).map_err(|e| self.otsu(e))?;
            let mask: Vec<bool> =
                raw.iter().zip(&inside).map(|(v, inside)| *inside && *v > threshold).collect();
            // Its masks lie inside the brain, so outside it every pixel is below every threshold.
            let bounded: Vec<f32> =
                raw.iter().zip(&inside).map(|(v, inside)| if *inside { *v } else { -1.0 }).collect();
            if lesion_pixels > 0 {
                pool.thresholding.take(&raw, &truth);
                pool.thresholding_brain.take(&raw_inside, &truth_inside);
            }
            self.method(threshold, &mask, (&raw, &truth), (&raw_inside, &truth_inside), &bounded)
        });
        Ok(Scores {
            lesion_pixels,
            brain_pixels,
            ours,
            thresholding: thresholding.transpose()?,
            map_brain: mean(&map_inside),
            map_lesion: (lesion_pixels > 0).then(|| mean(&only(&map, &truth))),
        })
    }

    /// `whole` and `inside` are scores and truth; `bounded` the scores whose thresholds give masks.
    fn method(
        &self,
        threshold: f32,
        mask: &[bool],
        whole: (&[f32], &[bool]),
        inside: (&[f32], &[bool]),
        bounded: &[f32],
    ) -> Result<Method, ScoreError> {
        if !whole.1.contains(&true) {
            return Ok(Method { threshold, ..Method::default() });
        }
        let all = || -> Result<Method, MetricError> {
            Ok(Method {
                threshold,
                dice: Some(dice(mask, whole.1)?),
                best_dice: ranking(bounded, whole.1)?.best_dice,
                auroc: auroc(whole.0, whole.1)?,
                auroc_brain: auroc(inside.0, inside.1)?,
            })
        };
        all().map_err(|source| ScoreError::Metric { slice: self.name.clone(), source })
    }

    fn otsu(&self, source: OtsuError) -> ScoreError {
        ScoreError::Otsu { slice: self.name.clone(), source }
    }
}

/// The values where `inside` is set.
fn only<T: Copy>(values: &[T], inside: &[bool]) -> Vec<T> {
    values.iter().zip(inside).filter(|(_, inside)| **inside).map(|(v, _)| *v).collect()
}

fn mean(values: &[f32]) -> f64 {
    values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    /// Two by four; the brain is the three columns on the left. Otsu's threshold is the centre of a bin, so the upper
    /// value of the darker class stands below that of its own bin.
    fn slice(truth: Array2<bool>) -> Slice {
        Slice {
            name: "s".into(),
            image: array![[[0.2f32, 0.9, 0.2995, 0.0], [0.2, 0.8, 0.2995, 1.0]]],
            map: AnomalyMap::from_values(array![[0.098f32, 1.0, 0.9, 0.0], [0.098, 0.098, 0.098, 0.8]]),
            truth,
            brain: array![[true, true, true, false], [true, true, true, false]],
        }
    }

    #[test]
    fn a_diseased_slice_by_hand() {
        let lesion = array![[false, true, true, false], [false, false, false, false]];
        let mut pool = Pool::default();
        let s = slice(lesion).score(Some(0), &mut pool).unwrap();
        assert_eq!((s.lesion_pixels, s.brain_pixels), (2, 6));
        // Otsu marks 1.0, 0.9, 0.8: 2 * 2 / (3 + 2).
        assert_eq!(s.ours.dice, Some(0.8));
        assert_eq!((s.ours.best_dice, s.ours.auroc, s.ours.auroc_brain), (Some(1.0), Some(1.0), Some(1.0)));
        assert!((s.map_brain - 2.292 / 6.0).abs() < 1e-6 && (s.map_lesion.unwrap() - 0.95).abs() < 1e-6);
        // Inside the brain 0.9 and 0.8 are marked; the 1.0 outside is not, but counts in the AUROC of the whole image.
        let t = s.thresholding.unwrap();
        assert_eq!((t.dice, t.best_dice), (Some(0.5), Some(2.0 / 3.0)));
        // 0.9 wins against 5 of 6, 0.2995 against 3 and ties with 1; inside the brain 4 of 4, and 2 and a tie.
        assert_eq!((t.auroc, t.auroc_brain), (Some(8.5 / 12.0), Some(6.5 / 8.0)));
        assert_eq!(pool.ours.auroc().unwrap(), s.ours.auroc);
        assert_eq!(pool.thresholding_brain.auroc().unwrap(), t.auroc_brain);
    }

    #[test]
    fn a_healthy_slice_has_a_map_level_alone() {
        let mut pool = Pool::default();
        let s = slice(Array2::from_elem((2, 4), false)).score(Some(0), &mut pool).unwrap();
        assert_eq!((s.lesion_pixels, s.map_lesion, s.ours.dice, s.ours.auroc), (0, None, None, None));
        assert!(s.thresholding.unwrap().dice.is_none() && s.map_brain > 0.0);
        assert_eq!(pool.ours.auroc().unwrap(), None);
    }

    #[test]
    fn a_slice_without_a_brain_is_refused() {
        let mut empty = slice(Array2::from_elem((2, 4), false));
        empty.brain.fill(false);
        let error = empty.score(None, &mut Pool::default()).unwrap_err();
        assert!(error.to_string().contains("no pixel inside the brain"), "{error}");
    }
}
