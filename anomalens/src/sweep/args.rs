//! Which levels and scales, on which images, by which bundle.

use std::path::PathBuf;

use clap::Args;

use crate::args::PathArgs;
use crate::evaluate::JobArgs;

const SWEEP_EXAMPLES: &str = "\
Examples:
  Which noise level and gradient scale fit these images; choose on a split that is kept for it:
    anomalens sweep cohort --split validation --bundle brats --out grid --levels 300,400,500 --scales 0,10,30,100
  A first look at 20 slices; then, in the same folder, at all of them:
    anomalens sweep cohort --bundle brats --out grid --levels 250,500 --scales 10,100 --limit 20
    anomalens sweep cohort --bundle brats --out grid --levels 250,500 --scales 10,100
  The second of three parts, each on a machine of its own; `anomalens merge` scores them:
    anomalens sweep cohort --bundle brats --out part-2 --levels 250,500 --scales 10,100 --shard 2/3

--steps are those of the loop to the largest level, a lower one makes those below it; by default so many that a loop has as many
as the bundle's own on the average.

Interrupted or killed, it keeps what is finished: the same command goes on from there.

Exit codes: 0 done; 1 failed or interrupted; 2 wrong command line.";

const ROUNDTRIP_EXAMPLES: &str = "\
Examples:
  How well images are recovered from each noise level:
    anomalens roundtrip cohort --bundle brats --out trips --levels 100,200,300,400,500
  The same without an error of long steps:
    anomalens roundtrip cohort --bundle brats --out exact --levels 100,300,500 --steps every --limit 8

--steps are those of the loop to the largest level, a lower one makes those below it; by default so many that a loop has as many
as the bundle's own on the average.

Interrupted or killed, it keeps what is finished: the same command goes on from there.

Exit codes: 0 done; 1 failed or interrupted; 2 wrong command line.";

/// What a grid of noise levels is run on, and how.
#[derive(Debug, Args)]
pub struct GridArgs {
    /// Folder of the networks, written by `anomalens-export bundle`
    #[arg(long, value_name = "DIR")]
    pub bundle: PathBuf,
    /// L: the noise levels to encode to, with commas between
    #[arg(long, value_name = "L,...", value_delimiter = ',', required = true)]
    pub levels: Vec<usize>,
    /// Which steps a loop to the largest level makes, and how; a lower one makes those below it. By default there are so many that
    /// a loop has as many as the bundle's on the average.
    #[command(flatten)]
    pub path: PathArgs,
    /// The images, and how they are worked through.
    #[command(flatten)]
    pub job: JobArgs,
}

/// A grid of noise levels and gradient scales.
#[derive(Debug, Args)]
#[command(after_help = SWEEP_EXAMPLES)]
pub struct SweepArgs {
    /// The levels, and on what.
    #[command(flatten)]
    pub grid: GridArgs,
    /// s: the weights of the classifier's gradient, with commas between; 0 needs no classifier
    #[arg(long, value_name = "S,...", value_delimiter = ',', required = true)]
    pub scales: Vec<f64>,
}

/// Round trips from several noise levels.
#[derive(Debug, Args)]
#[command(after_help = ROUNDTRIP_EXAMPLES)]
pub struct RoundtripArgs {
    /// The levels, and on what.
    #[command(flatten)]
    pub grid: GridArgs,
}
