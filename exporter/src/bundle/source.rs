//! Where the parameters of a network come from.

use std::fmt;
use std::path::PathBuf;

use anomalens_models::graph::{ParamSource, ParamSpec};
use anomalens_models::preset::Preset;
use anomalens_models::stats::{STATS, Stats, StatsError, Training};
use anomalens_models::weights::{RandomWeights, check_keys};
use ndarray::ArrayD;

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::guide::OnnxGuide;

/// Where the parameters of a network come from.
pub enum Source {
    /// A file that a person brings.
    Checkpoint(Checkpoint),
    /// Random numbers in every layer: to try a preset, and to time it, before it is trained.
    Random(RandomWeights),
    /// A classifier as ONNX, which brings its own graph.
    Onnx(OnnxGuide),
}

/// Why what the trainer says beside the weights cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StatsMismatch {
    /// The file cannot be read.
    #[error(transparent)]
    Stats(#[from] StatsError),
    /// The network was trained by another definition.
    #[error(
        "{}: {what}: found {found} when the network was trained, expected {expected} by the preset; give the preset that it was trained by",
        path.display()
    )]
    Differs {
        /// The trainer's file.
        path: PathBuf,
        /// What was compared.
        what: &'static str,
        /// At training.
        found: String,
        /// Of the preset given now.
        expected: String,
    },
}

impl Source {
    /// Checks that these are the parameters of a network; `network` names it in the error.
    ///
    /// Errors: [`CheckpointError`].
    pub fn check(&self, network: &str, params: &[ParamSpec]) -> Result<(), CheckpointError> {
        match self {
            Self::Checkpoint(checkpoint) => checkpoint.check(network, params),
            Self::Random(weights) => Ok(check_keys("random weights", network, weights.shapes(), params)?),
            Self::Onnx(_) => Ok(()),
        }
    }

    /// How the network was trained, if the trainer's `stats.json` lies beside the weights.
    ///
    /// Errors: [`StatsMismatch`] where the network was trained by another definition than `preset`.
    pub(super) fn training(&self, preset: &Preset) -> Result<Option<Training>, StatsMismatch> {
        let Self::Checkpoint(checkpoint) = self else { return Ok(None) };
        let Some(stats) = Stats::beside(checkpoint.path())? else { return Ok(None) };
        let (then, now) = (&stats.preset, preset);
        let channels =
            |p: &Preset| p.image.channels.iter().map(|c| c.name.as_str()).collect::<Vec<_>>().join(", ");
        let schedule =
            |p: &Preset| p.guided().map_or(String::new(), |guided| format!("{:?}", guided.schedule));
        for (what, found, expected) in [
            ("channels", channels(then), channels(now)),
            ("image.size", then.image.size.to_string(), now.image.size.to_string()),
            ("image.percentile", then.image.percentile.to_string(), now.image.percentile.to_string()),
            ("method", then.method.name().to_string(), now.method.name().to_string()),
            ("schedule", schedule(then), schedule(now)),
        ] {
            if found != expected {
                let path = checkpoint.path().with_file_name(STATS);
                return Err(StatsMismatch::Differs { path, what, found, expected });
            }
        }
        Ok(Some(stats.training))
    }

    /// A parameter of the network that [`Source::check`] has passed.
    ///
    /// Errors: [`CheckpointError`].
    pub(super) fn read(&self, name: &str) -> Result<ArrayD<f32>, CheckpointError> {
        match self {
            Self::Checkpoint(checkpoint) => checkpoint.read(name),
            Self::Random(weights) => Ok(weights.param(name).expect("the names were checked")),
            Self::Onnx(guide) => Ok(guide.param(name).expect("the names are its own")),
        }
    }
}

impl ParamSource for Source {
    fn param(&self, name: &str) -> Option<ArrayD<f32>> {
        match self {
            Self::Checkpoint(checkpoint) => checkpoint.param(name),
            Self::Random(weights) => weights.param(name),
            Self::Onnx(guide) => guide.param(name),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Checkpoint(checkpoint) => {
                write!(f, "{}", checkpoint.path().file_name().unwrap_or_default().to_string_lossy())?;
                checkpoint.key().map_or(Ok(()), |key| write!(f, " ({key})"))
            }
            Self::Random(weights) => write!(f, "random weights (seed {}), untrained", weights.seed()),
            Self::Onnx(guide) => guide.fmt(f),
        }
    }
}
