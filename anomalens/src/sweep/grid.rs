//! Everything that came of a sweep: each point's figures, and the baselines'.

use anomalens_cohort::Cohort;
use anomalens_method::ddim::GradientScale;
use anomalens_models::schedule::NoiseLevel;
use anyhow::Result;

use super::layout::steps_to;
use crate::evaluate;
use crate::evaluate::figure::{Figure, ROWS, Row};
use crate::evaluate::record::Record;
use crate::evaluate::results::{Method, Results};
use crate::evaluate::source::Point;
use crate::evaluate::store::Store;

/// The rows that are told and plotted, by their keys; JSON has them all.
pub const SHOWN: [&str; 5] = ["dice_otsu", "dice_one_threshold", "auroc_mean", "auprc_mean", "level_healthy"];

/// The row by which a point is called the best.
const BEST: &str = "dice_otsu";

/// Why a grid has no scores.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GridError {
    /// Nothing to find.
    #[error(
        "cohort '{cohort}': no slice with a lesion among the {slices} that are looked at, expected at least one; sweep scores by them: choose another cohort, split or --limit"
    )]
    NoLesion {
        /// The cohort.
        cohort: String,
        /// How many slices there are.
        slices: usize,
    },
}

/// Everything that came of a sweep.
pub struct Grid {
    /// The scores: methods are the points, in their order, and behind them the baselines.
    pub results: Results,
    /// The points, by rising level and scale.
    pub points: Vec<Point>,
    /// The best of them.
    pub best: usize,
}

impl Grid {
    /// Scores what is kept.
    ///
    /// Errors: those of the cohort and the store; [`GridError`].
    pub fn new(cohort: &Cohort, store: &mut Store, record: Record, points: Vec<Point>) -> Result<Self> {
        let results = evaluate::results(cohort, store, record)?;
        if results.diseased() == 0 {
            let (cohort, slices) = (cohort.dir().display().to_string(), results.facts.len());
            return Err(GridError::NoLesion { cohort, slices }.into());
        }
        let value = |place: usize| results.methods[place].figures[number(BEST)].value.unwrap_or(f64::MIN);
        // The first of equal ones: the lower level, the smaller scale.
        let best = (0..points.len()).rev().max_by(|&a, &b| value(a).total_cmp(&value(b))).unwrap_or(0);
        Ok(Self { results, points, best })
    }

    /// The noise levels, rising.
    pub fn levels(&self) -> Vec<NoiseLevel> {
        let mut levels: Vec<_> = self.points.iter().map(|point| point.level).collect();
        levels.dedup();
        levels
    }

    /// The scales, rising.
    pub fn scales(&self) -> Vec<GradientScale> {
        let first = self.points[0].level;
        self.points.iter().filter(|point| point.level == first).filter_map(|point| point.scale).collect()
    }

    /// The place of a point.
    pub fn place(&self, level: NoiseLevel, scale: GradientScale) -> usize {
        let point = Point { level, scale: Some(scale) };
        self.points.iter().position(|other| *other == point).expect("a grid has every pair")
    }

    /// A figure of the method at `place`: a point, or behind them a baseline.
    pub fn figure(&self, place: usize, key: &str) -> &Figure {
        &self.results.methods[place].figures[number(key)]
    }

    /// The methods that need no network.
    pub fn baselines(&self) -> &[Method] {
        &self.results.methods[self.points.len()..]
    }

    /// How many steps a loop to a level makes, as the settings say.
    pub fn steps(&self, level: NoiseLevel) -> &str {
        let settings = &self.results.origin.settings;
        settings.iter().find(|(name, _)| *name == steps_to(level)).map_or("", |(_, value)| value)
    }

    /// What was done how, line by line.
    pub fn protocol(&self) -> Vec<String> {
        let first = &self.results.methods[0].column.what;
        let mut lines = vec![
            format!("each point: {first}"),
            "encoding goes up once, through every level, on steps that all levels share; decoding goes down from each level \
             once for each scale, on the same steps"
                .to_owned(),
            format!(
                "the best point is the one with the highest '{}': chosen by these masks, so its scores flatter it; score it again \
                 on images that have chosen nothing",
                row(BEST).title
            ),
        ];
        let baselines = self.baselines().iter();
        lines.extend(baselines.map(|method| format!("{}: {}", method.column.name, method.column.what)));
        lines.extend(self.results.scoring());
        lines
    }

    /// The best point and what it scores, in a sentence; and whether a baseline is better.
    pub fn verdict(&self) -> String {
        let (best, value) = (&self.points[self.best], self.figure(self.best, BEST).value.unwrap_or(f64::NAN));
        let mut text = format!("highest {}: {value:.4} at {}", row(BEST).title, best.words());
        for method in self.baselines() {
            if let Some(other) = method.figures[number(BEST)].value.filter(|other| *other > value) {
                text += &format!("; {} WINS with {other:.4}", method.column.name.to_uppercase());
            }
        }
        text
    }
}

/// The row of a key.
pub fn row(key: &str) -> &'static Row {
    &ROWS[number(key)]
}

fn number(key: &str) -> usize {
    ROWS.iter().position(|row| row.key == key).expect("a key of the rows")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_there() {
        for key in SHOWN.into_iter().chain([BEST]) {
            assert_eq!(row(key).key, key);
        }
    }
}
