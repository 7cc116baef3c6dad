//! `anomalens-cohort`: makes labelled images to train and to measure on.

use std::process::ExitCode;

use anomalens_cohort::{CohortError, cli};
use clap::Parser;

fn main() -> ExitCode {
    match cli::run(&cli::Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The messages hold their causes.
            eprintln!("error: {}", error.to_string().replace('\n', " "));
            ExitCode::from(if matches!(error, CohortError::Setting { .. }) { 2 } else { 1 })
        }
    }
}
