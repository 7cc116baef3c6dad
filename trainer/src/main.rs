//! `anomalens-train`: fits the diffusion model and the noisy classifier on a cohort.

mod cli;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match cli::run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(if error.is::<cli::Usage>() { 2 } else { 1 })
        }
    }
}
