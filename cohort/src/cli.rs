//! The command line. Exit codes: 0 done, 1 failed, 2 wrong usage.

use std::path::PathBuf;

use anomalens_cohort::synthetic::{self, Settings, Source};
use clap::{Parser, Subcommand, ValueEnum};

/// Makes labelled images to train and to measure on. Not for diagnostic use.
#[derive(Parser)]
#[command(name = "anomalens-cohort", version, arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make synthetic brains: T1, T1ce, T2 and FLAIR, half of the slices with a lesion
    Synthetic(Synthetic),
}

#[derive(clap::Args)]
struct Synthetic {
    /// The cohort's folder: new or empty
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// How many slices, half of them diseased
    #[arg(long, value_name = "N")]
    slices: usize,
    /// Everything random follows from it
    #[arg(long, value_name = "S")]
    seed: u64,
    /// Height and width, pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 64)]
    size: usize,
    /// The brain that every subject deforms
    #[arg(long, value_enum, default_value_t = Anatomy::Mni152)]
    anatomy: Anatomy,
}

#[derive(Clone, Copy, ValueEnum)]
enum Anatomy {
    /// The MNI ICBM152 template: the folder named by ANOMALENS_MNI152
    Mni152,
    /// Ellipsoids, for tests: needs no file
    Phantom,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let Command::Synthetic(args) = args.command;
    let source = match args.anatomy {
        Anatomy::Mni152 => Source::mni152_from_environment()?,
        Anatomy::Phantom => Source::Phantom,
    };
    let settings = Settings { slices: args.slices, seed: args.seed, size: args.size, source };
    synthetic::write(&args.output, &settings, |_, _| true)?;
    Ok(())
}
