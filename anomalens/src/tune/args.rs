//! What to tune, and one attempt at it.

use std::path::PathBuf;

use clap::Args;

use super::choice::Choice;
use crate::args::PathArgs;

const EXAMPLES: &str = "\
Examples:
  What is fastest here and rounds as f32 does:
    anomalens tune models/demo
  Also what rounds more, if it translates images that no training has seen as f32 does:
    anomalens tune models/demo --held-out cohort/test
  By the steps that will be made, where they are not the bundle's:
    anomalens tune brats --steps 25
  Back to what the options' defaults say:
    anomalens tune models/demo --forget

Every choice of engine, device, provider and threads runs in a process of its own. What is found is kept in
$XDG_CONFIG_HOME/anomalens/tuned (or ~/.config/anomalens/tuned) for this bundle on this machine. translate, evaluate, sweep and
roundtrip take it, and say so, where none of --engine, --device, --provider, --threads, --tf32 and --batch is given. See that the
machine does nothing else meanwhile. Interrupted, it leaves what was found before.

Exit codes: 0 done; 1 failed or interrupted; 2 wrong command line.";

/// What to tune, and how it is found out whether it is right.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct TuneArgs {
    /// Folder of the networks, written by `anomalens-export bundle`
    pub bundle: PathBuf,
    /// Folder of images that no training has seen, as `anomalens-cohort` writes it: without it nothing that rounds more than f32 is
    /// taken
    #[arg(long, value_name = "DIR")]
    pub held_out: Option<PathBuf>,
    /// Which steps are made, and how.
    #[command(flatten)]
    pub path: PathArgs,
    /// Take a bundle that no parity gate has passed
    #[arg(long)]
    pub unverified: bool,
    /// Remove what was found before, and find nothing
    #[arg(long, conflicts_with_all = ["held_out", "unverified", "steps", "spacing", "solver", "guidance_interval", "exact"])]
    pub forget: bool,
}

/// One choice, tried in this process: what tuning is made of.
#[derive(Debug, Args)]
pub struct AttemptArgs {
    /// The bundle
    pub bundle: PathBuf,
    /// What is tried.
    #[command(flatten)]
    pub choice: Choice,
    /// Which steps are made.
    #[command(flatten)]
    pub path: PathArgs,
    /// As for tune
    #[arg(long, value_name = "DIR")]
    pub held_out: Option<PathBuf>,
    /// Rather than time the networks, translate, and write the anomaly maps [N, H, W] there
    #[arg(long, value_name = "FILE.npy")]
    pub maps: Option<PathBuf>,
    /// As for tune
    #[arg(long)]
    pub unverified: bool,
}
