//! What all slices score together.

use anomalens_method::metrics::MetricError;

use super::score::{Method, Pixels, Pool, Scores};

/// A method's scores over all diseased slices; `None` where there is nothing to average.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct MethodSummary {
    /// Mean of the slices' Dice by Otsu's threshold.
    pub dice: Option<f64>,
    /// Mean of the slices' largest Dice of any threshold.
    pub best_dice: Option<f64>,
    /// AUROC of the pixels of all diseased slices together.
    pub auroc_pooled: Option<f64>,
    /// Mean of the slices' AUROC.
    pub auroc: Option<f64>,
    /// As `auroc_pooled`, inside the region.
    pub auroc_brain_pooled: Option<f64>,
    /// As `auroc`, inside the region.
    pub auroc_brain: Option<f64>,
    /// Mean Dice of the slices with the smallest, middle and largest lesions.
    pub dice_by_size: [Option<f64>; 3],
}

/// What all slices score together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// Healthy slices.
    pub healthy: usize,
    /// Diseased slices.
    pub diseased: usize,
    /// By the anomaly map.
    pub ours: MethodSummary,
    /// By thresholding one channel.
    pub thresholding: Option<MethodSummary>,
    /// Mean over healthy slices of the map's mean inside the region.
    pub map_healthy: Option<f64>,
    /// Mean over diseased slices of the map's mean inside the lesion.
    pub map_lesion: Option<f64>,
    /// Smallest and largest lesion of each third, pixels.
    pub sizes: [Option<(usize, usize)>; 3],
}

/// A score's name, and where it stands.
pub type Row = (&'static str, fn(&MethodSummary) -> Option<f64>);

/// The scores that are compared, in the order of the table.
pub const COMPARED: [Row; 9] = [
    ("Dice, threshold by Otsu", |m| m.dice),
    ("  smallest third of lesions", |m| m.dice_by_size[0]),
    ("  middle third", |m| m.dice_by_size[1]),
    ("  largest third", |m| m.dice_by_size[2]),
    ("Dice, best threshold (a bound)", |m| m.best_dice),
    ("pixel AUROC, pooled", |m| m.auroc_pooled),
    ("pixel AUROC, mean of slices", |m| m.auroc),
    ("  inside the region, pooled", |m| m.auroc_brain_pooled),
    ("  inside the region, mean of slices", |m| m.auroc_brain),
];

impl Summary {
    /// Puts the slices together.
    ///
    /// Errors: [`MetricError`].
    pub fn new(scores: &[Scores], pool: &Pool) -> Result<Self, MetricError> {
        let mut diseased: Vec<&Scores> = scores.iter().filter(|s| s.lesion_pixels > 0).collect();
        // Stable: lesions of one size stay in the cohort's order, so that the thirds are always the same.
        diseased.sort_by_key(|s| s.lesion_pixels);
        let n = diseased.len();
        let thirds: [&[&Scores]; 3] = std::array::from_fn(|i| &diseased[n * i / 3..n * (i + 1) / 3]);
        let method = |of: fn(&Scores) -> Option<Method>, whole: &Pixels, inside: &Pixels| {
            let average = |slices: &[&Scores], score: fn(&Method) -> Option<f64>| {
                mean(slices.iter().filter_map(|s| of(s).and_then(|m| score(&m))))
            };
            Ok(MethodSummary {
                dice: average(&diseased, |m| m.dice),
                best_dice: average(&diseased, |m| m.best_dice),
                auroc_pooled: whole.auroc()?,
                auroc: average(&diseased, |m| m.auroc),
                auroc_brain_pooled: inside.auroc()?,
                auroc_brain: average(&diseased, |m| m.auroc_brain),
                dice_by_size: thirds.map(|third| average(third, |m| m.dice)),
            })
        };
        let thresholded = scores.iter().any(|s| s.thresholding.is_some());
        Ok(Self {
            healthy: scores.len() - n,
            diseased: n,
            ours: method(|s| Some(s.ours), &pool.ours, &pool.ours_brain)?,
            thresholding: thresholded
                .then(|| method(|s| s.thresholding, &pool.thresholding, &pool.thresholding_brain))
                .transpose()?,
            map_healthy: mean(scores.iter().filter(|s| s.lesion_pixels == 0).map(|s| s.map_brain)),
            map_lesion: mean(diseased.iter().filter_map(|s| s.map_lesion)),
            sizes: thirds.map(|third| Some((third.first()?.lesion_pixels, third.last()?.lesion_pixels))),
        })
    }

    /// The map on healthy slices over the map in lesions; small is good.
    pub fn ratio(&self) -> Option<f64> {
        let (healthy, lesion) = (self.map_healthy?, self.map_lesion?);
        (lesion > 0.0).then(|| healthy / lesion)
    }

    /// The scores in which thresholding is better: name, thresholding's, ours.
    pub fn thresholding_wins(&self) -> Vec<(&'static str, f64, f64)> {
        let Some(thresholding) = &self.thresholding else { return Vec::new() };
        let wins = |(name, score): &Row| {
            let (theirs, ours) = (score(thresholding)?, score(&self.ours)?);
            (theirs > ours).then_some((name.trim(), theirs, ours))
        };
        COMPARED.iter().filter_map(wins).collect()
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (mut sum, mut n) = (0.0, 0usize);
    for value in values {
        sum += value;
        n += 1;
    }
    (n > 0).then(|| sum / n as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(lesion_pixels: usize, dice: f64, thresholded: f64, map: f64) -> Scores {
        let sick = |value| (lesion_pixels > 0).then_some(value);
        let method = |dice| Method { dice: sick(dice), ..Method::default() };
        Scores {
            lesion_pixels,
            brain_pixels: 100,
            ours: method(dice),
            thresholding: Some(method(thresholded)),
            map_brain: map,
            map_lesion: sick(map),
        }
    }

    #[test]
    fn slices_are_averaged_and_split_by_the_lesions_size() {
        let all = [
            scores(0, 0.0, 0.0, 0.1),
            scores(50, 0.9, 0.5, 2.0),
            scores(10, 0.3, 0.6, 1.0),
            scores(0, 0.0, 0.0, 0.2),
            scores(20, 0.6, 0.6, 1.5),
        ];
        let summary = Summary::new(&all, &Pool::default()).unwrap();
        assert_eq!((summary.healthy, summary.diseased), (2, 3));
        assert!((summary.ours.dice.unwrap() - 0.6).abs() < 1e-12);
        assert_eq!(summary.ours.dice_by_size, [Some(0.3), Some(0.6), Some(0.9)]);
        assert_eq!(summary.sizes, [Some((10, 10)), Some((20, 20)), Some((50, 50))]);
        assert!((summary.ratio().unwrap() - 0.1).abs() < 1e-12);
        // Equal is no win.
        assert_eq!(summary.thresholding_wins(), [("smallest third of lesions", 0.6, 0.3)]);
        assert_eq!(summary.ours.auroc, None);
    }

    #[test]
    fn one_class_alone_has_no_ratio() {
        for all in [vec![scores(0, 0.0, 0.0, 0.1)], vec![scores(5, 0.5, 0.5, 0.1)], vec![]] {
            let summary = Summary::new(&all, &Pool::default()).unwrap();
            assert_eq!(summary.ratio(), None);
        }
    }
}
