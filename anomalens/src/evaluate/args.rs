//! What to evaluate, by what, and how.

use std::path::PathBuf;

use clap::Args;

use crate::args::{EngineArgs, StepCount};

const EXAMPLES: &str = "\
Examples:
  A cohort, at the bundle's own defaults:
    anomalens evaluate cohort/test --bundle brats --out scores
  The subjects that a split has kept for it:
    anomalens evaluate cohort --split test --bundle brats --out scores
  A first look at 20 slices; then, in the same folder, at all of them:
    anomalens evaluate cohort/test --bundle brats --out scores --limit 20
    anomalens evaluate cohort/test --bundle brats --out scores

Interrupted, it keeps the finished batches: the same command goes on from there.

Exit codes: 0 done; 1 failed or interrupted; 2 wrong command line.";

/// What to evaluate, by what, and how.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct EvaluateArgs {
    /// Folder of labelled images with masks, as `anomalens-cohort` writes it
    pub cohort: PathBuf,
    /// The part of it to score, by `anomalens-cohort split`: train, validation or test [default: all]
    #[arg(long, value_name = "NAME")]
    pub split: Option<String>,
    /// Folder of the networks, written by `anomalens-export bundle`
    #[arg(long, value_name = "DIR")]
    pub bundle: PathBuf,
    /// Folder for the results; new, empty, or begun by the same command
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// L, the noise level to encode to [default: the bundle's]
    #[arg(long, value_name = "L")]
    pub noise_level: Option<usize>,
    /// N steps a loop, at the levels L (j/N)^P; or "every" for every level [default: the bundle's]
    #[arg(long, value_name = "N")]
    pub steps: Option<StepCount>,
    /// P, the spacing of the steps [default: 1 with --steps, else the bundle's]
    #[arg(long, value_name = "P")]
    pub spacing: Option<f64>,
    /// s, the weight of the classifier's gradient; 0 needs no classifier [default: the bundle's]
    #[arg(long, value_name = "S")]
    pub scale: Option<f64>,
    /// Look at N slices only: diseased and healthy ones by turns, from all over the cohort
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Images given to the networks at once; a run goes on only with the same [default: 16 by ort, 4 by tract]
    #[arg(long, value_name = "B")]
    pub batch: Option<usize>,
    /// Take a bundle that no parity gate has passed
    #[arg(long)]
    pub unverified: bool,
    /// What computes.
    #[command(flatten)]
    pub engine: EngineArgs,
}
