//! Intervals by drawing subjects anew (Efron's percentile bootstrap).

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, Uniform};

/// Where a score would lie with other subjects.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Interval {
    /// The middle [`Bootstrap::COVERAGE`] of what a statistic says of the resamples. Those of which it says nothing, as they
    /// lack what it is about, are left out; `None` if they are the greater part, or if there are no resamples.
    pub fn of(resampled: impl IntoIterator<Item = Option<f64>>) -> Option<Self> {
        let (mut values, mut all) = (Vec::new(), 0);
        for value in resampled {
            values.extend(value);
            all += 1;
        }
        if all == 0 || 2 * values.len() < all {
            return None;
        }
        values.sort_unstable_by(f64::total_cmp);
        let tail = (1.0 - Bootstrap::COVERAGE) / 2.0;
        Some(Self { low: quantile(&values, tail), high: quantile(&values, 1.0 - tail) })
    }
}

/// How often each subject is drawn: a list a resample. Slices of one subject are alike, so subjects are drawn, with all
/// that belongs to them, and never slices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bootstrap {
    weights: Vec<Vec<u32>>,
}

impl Bootstrap {
    /// How many times the subjects are drawn.
    pub const RESAMPLES: usize = 1000;
    /// The part of the resamples that an interval holds.
    pub const COVERAGE: f64 = 0.95;

    /// As many subjects as there are, drawn with replacement [`Bootstrap::RESAMPLES`] times, always the same for one seed;
    /// of fewer than two subjects no resamples, for these would be all alike.
    pub fn new(subjects: usize, seed: u64) -> Self {
        if subjects < 2 {
            return Self { weights: Vec::new() };
        }
        let any = Uniform::new(0, subjects).expect("at least two");
        let mut generator = ChaCha20Rng::seed_from_u64(seed);
        let mut resample = || {
            let mut weights = vec![0; subjects];
            for _ in 0..subjects {
                weights[any.sample(&mut generator)] += 1;
            }
            weights
        };
        Self { weights: (0..Self::RESAMPLES).map(|_| resample()).collect() }
    }

    /// What `statistic` says of each resample, given how often each subject was drawn.
    pub fn map<T>(&self, statistic: impl Fn(&[u32]) -> T) -> Vec<T> {
        self.weights.iter().map(|weights| statistic(weights)).collect()
    }
}

/// The value below which the part `q` of ascending values lies, linear between neighbours; `values` is not empty.
fn quantile(values: &[f64], q: f64) -> f64 {
    let place = q * (values.len() - 1) as f64;
    let (below, above) = (values[place.floor() as usize], values[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_resample_has_as_many_subjects() {
        let drawn = Bootstrap::new(7, 3);
        assert_eq!(drawn.weights.len(), Bootstrap::RESAMPLES);
        assert!(drawn.weights.iter().all(|weights| weights.iter().sum::<u32>() == 7));
        assert_eq!(drawn, Bootstrap::new(7, 3));
        assert_ne!(drawn, Bootstrap::new(7, 4));
        // Each of 7000 draws is subject 0 with a chance of 1/7: 1000 +- 29.
        let first: u32 = drawn.weights.iter().map(|weights| weights[0]).sum();
        assert!((880..1120).contains(&first), "{first}");
    }

    #[test]
    fn quantiles_are_those_of_numpy() {
        // numpy.quantile([0, 1, 4, 9, 16], q)
        for (q, expected) in [(0.0, 0.0), (0.025, 0.1), (0.5, 4.0), (0.9, 13.2), (1.0, 16.0)] {
            let found = quantile(&[0.0, 1.0, 4.0, 9.0, 16.0], q);
            assert!((found - expected).abs() < 1e-12, "{q}: {found}, expected {expected}");
        }
    }

    #[test]
    fn a_mean_has_the_interval_that_its_error_predicts() {
        // The mean of 100 values with the variance 833.25 has a standard error of 2.887: 1.96 of them to either side. Ends
        // from 1000 resamples stray by some tenth of it.
        const TOLERANCE: f64 = 0.6;
        let values: Vec<f64> = (0..100).map(f64::from).collect();
        let mean = |weights: &[u32]| {
            Some(weights.iter().zip(&values).map(|(w, v)| f64::from(*w) * v).sum::<f64>() / 100.0)
        };
        let found = Interval::of(Bootstrap::new(100, 0).map(mean)).unwrap();
        assert!((found.low - 43.84).abs() < TOLERANCE && (found.high - 55.16).abs() < TOLERANCE, "{found:?}");
    }

    #[test]
    fn what_cannot_be_resampled_has_no_interval() {
        let interval = |subjects, statistic: fn(&[u32]) -> Option<f64>| {
            Interval::of(Bootstrap::new(subjects, 0).map(statistic))
        };
        assert_eq!(interval(0, |_| Some(1.0)), None);
        assert_eq!(interval(1, |_| Some(1.0)), None);
        assert_eq!(interval(2, |_| Some(1.0)), Some(Interval { low: 1.0, high: 1.0 }));
        assert_eq!(interval(9, |_| None), None);
        // Subject 0 is in two thirds of the resamples (1 - 8^9/9^9 = 0.65), twice in a quarter.
        assert!(interval(9, |weights| (weights[0] > 0).then_some(1.0)).is_some());
        assert_eq!(interval(9, |weights| (weights[0] > 1).then_some(1.0)), None);
    }
}
