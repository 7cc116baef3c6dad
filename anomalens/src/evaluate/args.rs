//! What to evaluate, by what, and how.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;

use super::shard::Shard;
use crate::args::{EngineArgs, Method, PathArgs};

const EXAMPLES: &str = "\
Examples:
  A cohort, at the bundle's own defaults:
    anomalens evaluate cohort/test --bundle brats --out scores
  The subjects that a split has kept for it:
    anomalens evaluate cohort --split test --bundle brats --out scores
  The paper's method, its ablation and the classifier's gradient, each a column of the tables:
    anomalens evaluate cohort/test --bundle brats --method ddim,ddpm,saliency --out scores
  A first look at 20 slices; then, in the same folder, at all of them:
    anomalens evaluate cohort/test --bundle brats --out scores --limit 20
    anomalens evaluate cohort/test --bundle brats --out scores
  The second of three parts, each on a machine of its own; when all are done, their scores:
    anomalens evaluate cohort/test --bundle brats --out part-2 --shard 2/3
    anomalens merge part-1 part-2 part-3 --out scores

Interrupted or killed, it keeps the finished batches: the same command goes on from there, and so does one with a method or
a bundle more.

In an array job the part is that of the task: SLURM_ARRAY_TASK_ID of SLURM_ARRAY_TASK_COUNT, counted from
SLURM_ARRAY_TASK_MIN by SLURM_ARRAY_TASK_STEP; or JOB_COMPLETION_INDEX (Kubernetes) of ANOMALENS_SHARDS.

Exit codes: 0 done; 1 failed or interrupted; 2 wrong command line.";

/// What to evaluate, by what, and how.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct EvaluateArgs {
    /// Folder of networks, written by `anomalens-export bundle`; may be repeated, each for methods of its own
    #[arg(long = "bundle", value_name = "DIR", required = true)]
    pub bundles: Vec<PathBuf>,
    /// What is run by a bundle of a U-Net and a classifier, one or several [default: ddim]
    #[arg(long = "method", value_name = "METHOD,…", value_enum, value_delimiter = ',')]
    pub methods: Vec<Method>,
    /// L, the noise level to encode to, of ddim and ddpm, as those of steps and scale below [default: the bundle's]
    #[arg(long, value_name = "L")]
    pub noise_level: Option<usize>,
    /// Which steps ddim makes, and how; of ddpm --steps, --spacing and --guidance-interval.
    #[command(flatten)]
    pub path: PathArgs,
    /// s, the weight of the classifier's gradient; 0 needs no classifier [default: the bundle's]
    #[arg(long, value_name = "S")]
    pub scale: Option<f64>,
    /// The images, and how they are worked through.
    #[command(flatten)]
    pub job: JobArgs,
}

/// What every run over a cohort is told: of which images, where to, which part, and what computes.
#[derive(Debug, Args)]
pub struct JobArgs {
    /// Folder of images, as `anomalens-cohort` writes it; to be scored they need labels and masks
    pub cohort: PathBuf,
    /// The part of it to look at, by `anomalens-cohort split`: train, validation or test [default: all]
    #[arg(long, value_name = "NAME")]
    pub split: Option<String>,
    /// Folder for the results; new, empty, or begun by the same command
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Look at N slices only: diseased and healthy ones by turns, from all over the cohort
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Images given to the networks at once; a run goes on only with the same [default: what `anomalens tune` has found here, else 16]
    #[arg(long, value_name = "B")]
    pub batch: Option<usize>,
    /// Run part I of N only, and score nothing; `anomalens merge` scores the parts [default: the array job's, else all]
    #[arg(long, value_name = "I/N")]
    pub shard: Option<Shard>,
    /// Take a bundle that no parity gate has passed
    #[arg(long)]
    pub unverified: bool,
    /// What computes.
    #[command(flatten)]
    pub engine: EngineArgs,
}

impl JobArgs {
    /// Images given to the networks at once.
    pub fn batch(&self) -> usize {
        self.batch.unwrap_or(16)
    }

    /// Whether there is anything to do; the error is one of usage.
    pub fn check(&self) -> Result<()> {
        match self.limit {
            Some(0) => bail!("--limit 0, expected at least 1 slice; leave it out to look at them all"),
            _ => Ok(()),
        }
    }
}

const MERGE_EXAMPLES: &str = "\
Examples:
  The scores of three parts:
    anomalens merge part-1 part-2 part-3 --out scores
  The parts were made elsewhere, and the cohort lies in another place here:
    anomalens merge part-* --out scores --cohort cohort/test

results.csv, volumes.csv and summary.json are, to the last byte, those of one undivided run.

Exit codes: 0 done; 1 failed; 2 wrong command line.";

/// Which parts to put together, and where.
#[derive(Debug, Args)]
#[command(after_help = MERGE_EXAMPLES)]
pub struct MergeArgs {
    /// Folders that runs with `--shard I/N` have finished, one for every part
    #[arg(required = true, value_name = "OUT")]
    pub parts: Vec<PathBuf>,
    /// Folder for the results; new, empty, or begun by the same command
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// The cohort that was evaluated [default: where it was then]
    #[arg(long, value_name = "DIR")]
    pub cohort: Option<PathBuf>,
}
