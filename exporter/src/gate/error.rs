//! Why a bundle did not pass the gate.

use std::io;
use std::path::PathBuf;

use anomalens_method::otsu::OtsuError;
use anomalens_method::translate::TranslateError;
use anomalens_models::graph::reference::ReferenceError;
use anomalens_models::manifest::{Trajectory, WEIGHTS};
use anomalens_models::weights::WeightsError;
use anomalens_runtime::bundle::OpenError;
use anomalens_runtime::engine::EngineError;

use crate::compare::Difference;
use crate::import::ImportError;
use crate::lower::MissingParameter;

/// Why a bundle did not pass.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GateError {
    /// Two sides do not agree.
    #[error(
        "parity gate: {output}, {between}, batch {batch}: {difference}, tolerance {tolerance:.1e} ({failed} of {checks} comparisons are over theirs); nothing was written: the graph does not compute the preset's network"
    )]
    OverTolerance {
        /// File and output.
        output: String,
        /// The two sides.
        between: String,
        /// Batch size.
        batch: usize,
        /// What was found.
        difference: Box<Difference>,
        /// What is allowed.
        tolerance: f64,
        /// Comparisons over their tolerance.
        failed: usize,
        /// All comparisons.
        checks: usize,
    },
    /// A side lacks an output, or has it in another shape.
    #[error(
        "parity gate: {output}, {between}: found {found}, expected {expected}; nothing was written: the graph does not compute the preset's network"
    )]
    Output {
        /// File and output.
        output: String,
        /// The two sides.
        between: String,
        /// The left-hand shape.
        found: String,
        /// The right-hand shape.
        expected: String,
    },
    /// A parameter is not what was brought.
    #[error(
        "parity gate: {WEIGHTS}: '{name}' differs from the checkpoint; nothing was written: check the disk, and that no other program changes the checkpoint"
    )]
    Parameter {
        /// The parameter.
        name: String,
    },
    /// An engine failed.
    #[error("parity gate: {0}")]
    Engine(#[from] EngineError),
    /// A graph could not be imported back.
    #[error("parity gate: {0}")]
    Import(#[from] ImportError),
    /// The written weights could not be read back.
    #[error("parity gate: {0}")]
    Weights(#[from] WeightsError),
    /// A person stopped it.
    #[error("stopped; nothing was written")]
    Stopped,
    /// Translations of held-out images change too much.
    #[error(
        "parity gate: {0}; nothing was written: write the bundle as portable f32, or check the weights for values that f16 cannot tell apart"
    )]
    Trajectory(Box<Trajectory>),
    /// The f32 side of the translations could not be written.
    #[error("parity gate: the f32 side of the translations, in '{}': {source}; make room there, or set TMPDIR to another folder", path.display())]
    Scratch {
        /// The folder for temporary files.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The f32 side of the translations could not be lowered.
    #[error("parity gate: {0}")]
    Lower(#[from] MissingParameter),
    /// A graph could not be opened to translate with.
    #[error("parity gate: {0}")]
    Open(#[from] OpenError),
    /// Held-out images could not be translated.
    #[error("parity gate: held-out images: {0}")]
    Translate(#[from] TranslateError),
    /// An anomaly map has no threshold.
    #[error("parity gate: held-out images: {0}")]
    Otsu(#[from] OtsuError),
    /// The reference interpreter failed.
    #[error("parity gate: {0}")]
    Reference(#[from] ReferenceError),
}
