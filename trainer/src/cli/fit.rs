//! `anomalens-train fit`.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use anomalens_trainer::fit::{self, FitError, Plan, Programs, RunFile};
use clap::Args;

use super::Usage;

const EXAMPLES: &str = "\
Examples:
  The demo's training; first what it would do, hold and take:
    anomalens-train fit recipes/demo.toml --dry-run
    anomalens-train fit recipes/demo.toml
  The same, smaller, elsewhere:
    anomalens-train fit recipes/demo.toml --set cohort.synthetic.slices=2000 --set ddpm.iterations=500 --set output=out/small

Interrupted, it keeps what is there: the same command goes on.

Exit codes: 0 done; 1 failed or interrupted; 2 wrong command line or RUN.toml.";

/// What to train, by a file.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct FitArgs {
    /// What to train: docs/training.md says which keys there are
    #[arg(value_name = "RUN.toml")]
    file: PathBuf,
    /// Put a value in place of the file's; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Say what would be done, what it would hold and take; do nothing
    #[arg(long)]
    dry_run: bool,
}

static STOP: AtomicBool = AtomicBool::new(false);

/// Does, or tells, what the file says.
pub fn run(args: &FitArgs) -> anyhow::Result<()> {
    follow(args).map_err(|error| if error.is_usage() { Usage(error.into()).into() } else { error.into() })
}

fn follow(args: &FitArgs) -> Result<(), FitError> {
    let run = RunFile::load(&args.file, &args.set)?;
    let plan = Plan::new(&args.file, &run)?;
    let programs = Programs::beside_this()?;
    if args.dry_run {
        return fit::print(&plan, &programs);
    }
    // Where no handler can be set, an interrupt ends this program at once, and the running one by itself.
    if let Err(error) = ctrlc::set_handler(|| STOP.store(true, Ordering::SeqCst)) {
        eprintln!("warning: {error}");
    }
    fit::carry_out(&plan, &programs, &STOP)
}
