//! How a network was trained, in `stats.json` beside its weights: what the trainer writes and the exporter reads.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::preset::Preset;

/// The file's name.
pub const STATS: &str = "stats.json";

/// `stats.json`: the definition that a network was trained by, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// The definition, with the normalisation and the order of channels that the network expects.
    pub preset: Preset,
    /// How it was trained; goes into the bundle's manifest.
    pub training: Training,
}

/// How one network was trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Training {
    /// `ddpm`, `classifier`, `vae` or `fpgan`.
    pub network: String,
    /// Program and version.
    pub tool: String,
    /// On which images.
    pub cohort: CohortStats,
    /// Steps made.
    pub iterations: usize,
    /// Images a step.
    pub batch: usize,
    /// Adam's learning rate.
    pub learning_rate: f64,
    /// Share of the steps, at the end, over which the rate fell to 0 along half a cosine.
    pub cosine: f64,
    /// Rate of the parameters' average that was written, or none for the parameters themselves.
    pub ema: Option<f64>,
    /// Highest noise level that was trained on; none for a network that knows no noise levels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_level: Option<usize>,
    /// Seed of the first parameters, the order of images and the noise.
    pub seed: u64,
    /// `f32`, `tf32` or `bf16`: products.
    pub precision: String,
    /// The means of the loss and its parts on the way: a few lines of the run's metrics, the last one included.
    pub curve: Vec<serde_json::Map<String, serde_json::Value>>,
}

/// The images that a network was trained on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CohortStats {
    /// E.g. `synthetic-brains`.
    pub kind: String,
    /// What its maker says of it, e.g. its limits.
    pub note: String,
    /// SHA-256 of its images and labels.
    pub fingerprint: String,
    /// Images without a lesion.
    pub healthy: usize,
    /// Images with one.
    pub diseased: usize,
    /// Percentile of the non-zero pixels that became 1.
    pub percentile: f64,
    /// In the network's order.
    pub channels: Vec<ChannelStats>,
}

/// One channel of the training images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChannelStats {
    /// E.g. `flair`.
    pub name: String,
    /// Mean of the non-zero pixels, in [0, 1].
    pub mean: f64,
    /// Their standard deviation.
    pub deviation: f64,
    /// Share of pixels that are not zero.
    pub filled: f64,
}

/// Why `stats.json` could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StatsError {
    /// The file could not be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Not JSON, or a key is missing or of the wrong type.
    #[error("{}: {source}, expected what anomalens-train writes; remove it to bundle without it", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// The cause: names the key, line and column.
        source: serde_json::Error,
    },
}

impl Stats {
    /// The statistics that lie beside a weights file, or none.
    ///
    /// Errors: [`StatsError`].
    pub fn beside(weights: &Path) -> Result<Option<Self>, StatsError> {
        let path = weights.with_file_name(STATS);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StatsError::Io { path, source }),
        };
        serde_json::from_str(&text).map(Some).map_err(|source| StatsError::Key { path, source })
    }

    /// The JSON text that is written to disk.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("no map with non-string keys");
        text.push('\n');
        text
    }
}
