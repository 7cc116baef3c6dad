//! Why a RUN.toml could not be followed to its end.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

use anomalens_models::preset::{MethodError, PresetError};

use crate::error::TrainError;

/// Why a RUN.toml could not be followed to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FitError {
    /// The file could not be read.
    #[error("'{}': {source}; expected a TOML file that says what to train, e.g. recipes/demo.toml", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// No TOML; or a key is missing, unknown or of another type, on the line or by the key that the cause names.
    #[error("'{}': {}", path.display(), key_first(cause))]
    Toml {
        /// The file.
        path: PathBuf,
        /// The cause, with what was found and expected.
        cause: Box<toml::de::Error>,
    },
    /// A `--set` that sets nothing.
    #[error("--set {found}: expected KEY=VALUE with a key of RUN.toml, e.g. ddpm.iterations=500; {why}")]
    Set {
        /// As it was given.
        found: String,
        /// What is wrong with it.
        why: String,
    },
    /// A value that does not fit.
    #[error("'{}': {key}: found {found}, expected {expected}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The key, e.g. `ddpm.batch`.
        key: String,
        /// Its value.
        found: String,
        /// What would be right.
        expected: String,
    },
    /// The preset.
    #[error(transparent)]
    Preset(#[from] PresetError),
    /// The preset holds the networks of another method.
    #[error(transparent)]
    Method(#[from] MethodError),
    /// A program that is not beside this one.
    #[error("'{}': found no such program, expected it beside anomalens-train; run `make train`, which builds all of them", path.display())]
    Program {
        /// Where it should be.
        path: PathBuf,
    },
    /// Something is there that was made by other settings.
    #[error(
        "{step}: '{}': {key}: found {found}, expected {expected} as the recipe says; remove '{}' to make it anew, or choose another output, or set {key} as it was",
        file.display(), file.parent().unwrap_or(file).display()
    )]
    Other {
        /// The step.
        step: &'static str,
        /// The file of its folder that says how it was made.
        file: PathBuf,
        /// The setting.
        key: String,
        /// As it was made.
        found: String,
        /// As the recipe says.
        expected: String,
    },
    /// A program of a step has failed.
    #[error("{step}: {status} of `{command}`; its message stands above; the steps before it are kept")]
    Failed {
        /// The step.
        step: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// Its command line.
        command: String,
    },
    /// A program of a step has ended well without a result.
    #[error("{step}: found no '{}' after `{command}`, expected its result there", result.display())]
    NoResult {
        /// The step.
        step: &'static str,
        /// Its command line.
        command: String,
        /// What it should have left.
        result: PathBuf,
    },
    /// Told to stop.
    #[error("stopped in step {step}; the same command goes on from here")]
    Stopped {
        /// The step.
        step: &'static str,
    },
    /// A file or folder of the output.
    #[error("'{}': {source}; what is complete is kept: mend the cause and give the same command again", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A network that cannot be, or a device that is not there.
    #[error(transparent)]
    Train(Box<TrainError>),
}

impl From<TrainError> for FitError {
    fn from(error: TrainError) -> Self {
        Self::Train(Box::new(error))
    }
}

impl FitError {
    /// Whether the command line or RUN.toml is at fault, rather than what was done by it.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Read { .. }
                | Self::Toml { .. }
                | Self::Set { .. }
                | Self::Value { .. }
                | Self::Preset(_)
                | Self::Method(_)
        )
    }
}

/// The library tells the key last.
fn key_first(cause: &toml::de::Error) -> String {
    let text = cause.to_string();
    match text.trim_end().rsplit_once("\nin `") {
        Some((said, key)) => format!("{}: {said}", key.trim_end_matches('`')),
        None => text.trim_end().to_owned(),
    }
}
