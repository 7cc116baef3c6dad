//! What the images of a training cohort look like to a bundle: `fitness.json`, by which `translate` says whether an image is
//! unlike anything that the networks were trained on.
//!
//! ```text
//! Fitness ─┬─ look    what is measured on the pixels alone, for every method
//!          └─ noise   the error of the noise prediction at a few levels, for a U-Net
//! ```
//!
//! Each statistic has the range that it has in the cohort. How they are measured and compared is no matter of this file:
//! `anomalens_method::fitness` does it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::manifest::{BundleError, Manifest};
use crate::preset::Preset;

/// The file, beside the manifest.
pub const FITNESS: &str = "fitness.json";
/// The version that this crate writes and reads.
const FORMAT: u32 = 1;
/// Cells a side, at most.
const MOST_CELLS: usize = 16;

/// How images of a cohort look to a bundle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fitness {
    /// Always 1.
    format: u32,
    /// Program and version that measured it.
    pub tool: String,
    /// What was measured, in words.
    pub cohort: String,
    /// What is measured on the pixels alone.
    pub look: Look,
    /// What a U-Net makes of them; absent where a bundle has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise: Option<Noise>,
}

/// What is measured on the pixels alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Look {
    /// Images that were measured.
    pub images: usize,
    /// Mean of each cell, [C, cells, cells], row by row.
    pub mean: Vec<f32>,
    /// Standard deviation of each cell, likewise.
    pub deviation: Vec<f32>,
    /// What tells images from those upside down.
    pub upside_down: Direction,
    /// What tells images from those turned by a quarter.
    pub on_its_side: Direction,
    /// What the statistics are in the cohort.
    pub expected: Expected,
}

/// A linear discriminant: w · cells + offset, about 1 for images as they are and about −1 for turned ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Direction {
    /// w of each cell and its mirror image, left to right, together: [C, cells, half the cells, rounded up].
    pub weights: Vec<f32>,
    /// The offset.
    pub offset: f64,
}

/// The error of the noise prediction on noised images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Noise {
    /// Images that were measured.
    pub images: usize,
    /// How they are noised.
    pub noised: Noised,
    /// What the errors are in the cohort.
    pub expected: Expected,
}

/// How images are noised for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Noised {
    /// The noise levels, increasing.
    pub levels: Vec<usize>,
    /// Seed of the noise.
    pub seed: u64,
    /// The class that the network is told.
    pub class: usize,
}

/// Where some statistics lie in a cohort.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// One a statistic.
    pub ranges: Vec<Range>,
    /// The largest distance that is still like the cohort, in units of the way from the median to the range's end.
    pub limit: f64,
}

/// Where one statistic lies in a cohort.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// The statistic.
    pub name: String,
    /// Few of the cohort lie below.
    pub low: f64,
    /// Half of the cohort lies below.
    pub median: f64,
    /// Few of the cohort lie above.
    pub high: f64,
}

impl Fitness {
    /// What was measured of `cohort` by `tool`.
    pub fn new(tool: &str, cohort: String, look: Look, noise: Option<Noise>) -> Self {
        Self { format: FORMAT, tool: tool.to_owned(), cohort, look, noise }
    }

    /// That of a bundle whose manifest is read; `None` where it has none.
    ///
    /// Errors: [`BundleError::Io`]; [`BundleError::Fitness`] for what is not JSON, of another format, or not of the preset.
    pub fn read(bundle: &Path, manifest: &Manifest) -> Result<Option<Self>, BundleError> {
        if !manifest.has(FITNESS) {
            return Ok(None);
        }
        let text = std::fs::read_to_string(bundle.join(FITNESS)).map_err(|source| BundleError::Io {
            bundle: bundle.to_owned(),
            file: FITNESS.to_owned(),
            source,
        })?;
        let wrong = |why: String| BundleError::Fitness { bundle: bundle.to_owned(), why };
        let fitness: Self = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        fitness.check(&manifest.preset).map_err(wrong)?;
        Ok(Some(fitness))
    }

    /// The JSON text that is written to disk.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers and strings") + "\n"
    }

    /// What does not fit together or belongs to another preset, in words.
    fn check(&self, preset: &Preset) -> Result<(), String> {
        let same = |what: &str, found: String, expected: String| match found == expected {
            true => Ok(()),
            false => Err(format!("{what}: found {found}, expected {expected}")),
        };
        same("format", self.format.to_string(), FORMAT.to_string())?;
        let (c, n, look) = (preset.channels(), cells(preset.image.size), &self.look);
        let half = c * n * n.div_ceil(2);
        for (what, found, expected) in [
            ("look.mean", &look.mean, c * n * n),
            ("look.deviation", &look.deviation, c * n * n),
            ("look.upside_down.weights", &look.upside_down.weights, half),
            ("look.on_its_side.weights", &look.on_its_side.weights, half),
        ] {
            same(what, format!("{} values", found.len()), format!("{expected} values"))?;
        }
        let names: Vec<_> = preset.image.channels.iter().map(|channel| channel.name.as_str()).collect();
        look.expected.check("look", &look_statistics(&names))?;
        match (&self.noise, preset.guided()) {
            (None, _) => Ok(()),
            (Some(_), Err(_)) => {
                Err(format!("noise: found it, expected none by method {}", preset.method.name()))
            }
            (Some(noise), Ok(guided)) => {
                let most = guided.schedule.timesteps;
                match noise.noised.levels.iter().find(|level| !(1..=most).contains(*level)) {
                    Some(level) => Err(format!("noise.noised.levels: found {level}, expected 1..={most}")),
                    None => noise.expected.check("noise", &noise_statistics(&noise.noised.levels)),
                }
            }
        }
    }
}

impl Expected {
    /// Whether these are the ranges of such statistics.
    fn check(&self, part: &str, names: &[String]) -> Result<(), String> {
        let found: Vec<_> = self.ranges.iter().map(|range| range.name.clone()).collect();
        if found != names {
            return Err(format!("{part}.expected: found {found:?}, expected {names:?}"));
        }
        let sound = |range: &&Range| range.low <= range.median && range.median <= range.high;
        match self.ranges.iter().find(|range| !sound(range)) {
            Some(Range { name, low, median, high }) => {
                Err(format!("{part}.expected: {name}: found {low}, {median}, {high}, expected them in order"))
            }
            None if self.limit > 0.0 && self.limit.is_finite() => Ok(()),
            None => Err(format!("{part}.expected.limit: found {}, expected above 0", self.limit)),
        }
    }
}

/// Cells a side that a square of `size` pixels is divided into: all of one size.
pub fn cells(size: usize) -> usize {
    (1..=MOST_CELLS.min(size)).rev().find(|&n| size.is_multiple_of(n)).unwrap_or(1)
}

/// The statistics that are measured on pixels alone, by name, for these channels.
pub fn look_statistics(channels: &[&str]) -> Vec<String> {
    let mut names = vec!["filled".to_owned()];
    for channel in channels {
        names.extend(["mean", "deviation", "detail"].map(|statistic| format!("{channel}: {statistic}")));
    }
    names.extend(["layout", "upright", "level"].map(str::to_owned));
    names
}

/// The errors of the noise prediction, by name.
pub fn noise_statistics(levels: &[usize]) -> Vec<String> {
    levels.iter().map(|level| format!("noise error at level {level}")).collect()
}
