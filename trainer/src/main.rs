//! `anomalens-train`: fits the diffusion model and the noisy classifier on a cohort.

mod cli;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match cli::run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", describe(&error));
            ExitCode::from(if error.is::<cli::Usage>() { 2 } else { 1 })
        }
    }
}

/// An error and its causes. Most messages already hold their cause, which is then not repeated; libtorch's hold the
/// addresses of its callers, which help nobody.
fn describe(error: &anyhow::Error) -> String {
    let mut told = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !told.contains(&cause) {
            told = format!("{told}: {cause}");
        }
    }
    let lines = told.lines().filter(|l| !l.starts_with("Exception raised from") && !l.starts_with("frame #"));
    lines.collect::<Vec<_>>().join("\n").replace("\n;", ";")
}
