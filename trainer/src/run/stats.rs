//! `stats.json`: how a network was trained.

use anomalens_cohort::Cohort;
use anomalens_models::stats::{ChannelStats, CohortStats, Stats, Training};
use ndarray::Axis;
use serde_json::{Map, Value};

use super::Settings;
use crate::error::TrainError;
use crate::task::Diet;

/// Images that the channels' means are taken over, evenly spread.
const SAMPLE: usize = 500;

/// What `stats.json` says of a finished run; `curve` holds some lines of its metrics.
///
/// Errors: [`TrainError::Method`], [`TrainError::Cohort`].
pub(super) fn training(
    settings: &Settings,
    cohort: &Cohort,
    fingerprint: &str,
    curve: Vec<Map<String, Value>>,
) -> Result<Stats, TrainError> {
    let counts = cohort.counts();
    let diet = settings.network.diet(&settings.preset)?;
    let training = Training {
        network: settings.network.name().into(),
        tool: crate::TOOL.into(),
        cohort: CohortStats {
            kind: cohort.kind().into(),
            note: cohort.note().into(),
            fingerprint: fingerprint.to_owned(),
            healthy: counts.healthy,
            diseased: if diet == Diet::Healthy { 0 } else { counts.diseased },
            percentile: cohort.percentile(),
            channels: channels(cohort)?,
        },
        iterations: settings.recipe.iterations,
        batch: settings.recipe.batch,
        learning_rate: settings.recipe.learning_rate,
        cosine: settings.recipe.cosine,
        ema: settings.recipe.ema,
        max_level: settings.recipe.max_level.or(settings.network.timesteps(&settings.preset)?),
        seed: settings.seed,
        precision: settings.precision.name().into(),
        curve,
    };
    Ok(Stats { preset: settings.preset.clone(), training })
}

fn channels(cohort: &Cohort) -> Result<Vec<ChannelStats>, TrainError> {
    let step = cohort.len().div_ceil(SAMPLE).max(1);
    // Count of pixels, of non-zero ones, their sum and sum of squares.
    let mut sums = vec![[0.0f64; 4]; cohort.channels().len()];
    for item in (0..cohort.len()).step_by(step) {
        let image = cohort.image(item)?;
        for (plane, sums) in image.axis_iter(Axis(0)).zip(&mut sums) {
            for &v in plane.iter() {
                let v = f64::from(v);
                let filled = f64::from(v != 0.0);
                [1.0, filled, v, v * v].iter().zip(sums.iter_mut()).for_each(|(x, sum)| *sum += x);
            }
        }
    }
    Ok(cohort
        .channels()
        .iter()
        .zip(sums)
        .map(|(name, [pixels, filled, sum, squares])| {
            let mean = sum / filled.max(1.0);
            let deviation = (squares / filled.max(1.0) - mean * mean).max(0.0).sqrt();
            ChannelStats { name: name.clone(), mean, deviation, filled: filled / pixels.max(1.0) }
        })
        .collect())
}
