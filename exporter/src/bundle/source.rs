//! Where the parameters of a network come from.

use std::fmt;

use anomalens_models::graph::{ParamSource, ParamSpec};
use anomalens_models::weights::{RandomWeights, check_keys};
use ndarray::ArrayD;

use crate::checkpoint::{Checkpoint, CheckpointError};

/// Where the parameters of a network come from.
pub enum Source {
    /// A file that a person brings.
    Checkpoint(Checkpoint),
    /// Random numbers in every layer: to try a preset, and to time it, before it is trained.
    Random(RandomWeights),
}

impl Source {
    /// Checks that these are the parameters of a network; `network` names it in the error.
    ///
    /// Errors: [`CheckpointError`].
    pub fn check(&self, network: &str, params: &[ParamSpec]) -> Result<(), CheckpointError> {
        match self {
            Self::Checkpoint(checkpoint) => checkpoint.check(network, params),
            Self::Random(weights) => Ok(check_keys("random weights", network, weights.shapes(), params)?),
        }
    }

    /// A parameter of the network that [`Source::check`] has passed.
    ///
    /// Errors: [`CheckpointError`].
    pub(super) fn read(&self, name: &str) -> Result<ArrayD<f32>, CheckpointError> {
        match self {
            Self::Checkpoint(checkpoint) => checkpoint.read(name),
            Self::Random(weights) => Ok(weights.param(name).expect("the names were checked")),
        }
    }
}

impl ParamSource for Source {
    fn param(&self, name: &str) -> Option<ArrayD<f32>> {
        match self {
            Self::Checkpoint(checkpoint) => checkpoint.param(name),
            Self::Random(weights) => weights.param(name),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Checkpoint(checkpoint) => {
                write!(f, "{}", checkpoint.path().file_name().unwrap_or_default().to_string_lossy())
            }
            Self::Random(weights) => write!(f, "random weights (seed {}), untrained", weights.seed()),
        }
    }
}
