//! `anomalens`: a DICOM study in; its healthy version, an anomaly map and a mask out.
//!
//! ```text
//! translate: read (DICOM or .npy) -> normalise -> frame -> Translator -> undo -> write, report.html
//! evaluate:  a cohort with masks; a Translator for each method -> scores, baselines' beside them
//! sweep:     the paper's method over a grid of noise levels and gradient scales, encoding once
//! roundtrip: how well images are recovered from each noise level, unguided
//! merge:     any of these three, of parts that several machines have translated
//! inspect:   a bundle; or what would be done with an image, and why
//! doctor:    what this machine can compute with
//! bench:     what a translation takes here
//! tune:      what translates fastest here, and as the plainest engine does; kept for the verbs above
//! ```
//!
//! The work is in the libraries; here it is put together, told and timed.

mod args;
mod bench;
mod child;
mod columns;
mod doctor;
mod evaluate;
mod failure;
mod inspect;
mod interrupt;
mod machine;
mod page;
mod parts;
mod picture;
mod progress;
mod report;
mod sweep;
mod translate;
mod translator;
mod tune;

use std::io::Write;
use std::process::ExitCode;

use args::{Cli, Command};
use clap::Parser;
use failure::Outcome;

/// Program and version, as reports and DICOM objects name it.
const TOOL: &str = concat!("anomalens ", env!("CARGO_PKG_VERSION"));

fn main() -> ExitCode {
    let result = run(Cli::parse().command);
    if let Err(error) = &result {
        eprintln!("error: {}", failure::describe(error));
    }
    failure::exit_code(&result)
}

fn run(command: Command) -> anyhow::Result<Outcome> {
    match command {
        Command::Translate(args) => translate::run(*args),
        Command::Evaluate(args) => evaluate::run(*args),
        Command::Sweep(args) => sweep::run(*args),
        Command::Roundtrip(args) => sweep::roundtrip(*args),
        Command::Merge(args) => evaluate::merge(&args),
        Command::Inspect(args) => {
            let (text, outcome) = inspect::run(&args)?;
            print(&text);
            Ok(outcome)
        }
        Command::Bench(args) => bench::run(&args),
        Command::Tune(args) => tune::run(&args),
        Command::TuneAttempt(args) => {
            print(&format!("{}\n", tune::attempt(&args)?));
            Ok(Outcome::Done)
        }
        Command::Doctor(args) => {
            print(&doctor::run(&args)?);
            Ok(Outcome::Done)
        }
    }
}

/// Writes to standard output; whoever reads it may have left, e.g. `| head`.
fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}
