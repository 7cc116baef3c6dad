//! The command line.

mod bar;
mod fit;
mod train;

use std::path::PathBuf;

use anomalens_cohort::CohortError;
use anomalens_trainer::run::redraw;
use anomalens_trainer::task::Network;
use clap::{Parser, Subcommand};

/// Fits the networks of anomalens: the diffusion model (DDPM) and the noisy classifier that guides it; and those of the
/// methods that it is compared with.
///
/// What they produce is not for diagnostic use.
#[derive(Debug, Parser)]
#[command(name = "anomalens-train", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Fit the noise predictor (U-Net) by the hybrid loss
    Ddpm(Box<train::TrainArgs>),
    /// Fit the noisy classifier by cross-entropy
    Classifier(Box<train::TrainArgs>),
    /// Fit the variational autoencoder, a comparison method, on the cohort's healthy images
    Vae(Box<train::TrainArgs>),
    /// Fit the Fixed-Point GAN, a comparison method
    Fpgan(Box<train::TrainArgs>),
    /// Draw the curves of a run anew, into its progress.png
    Plot {
        /// The run's folder
        #[arg(value_name = "RUN")]
        run: PathBuf,
    },
    /// Make, import, split, check and draw the images to train on, as `anomalens-cohort` does
    Cohort(anomalens_cohort::cli::Args),
    /// Do a whole training by one file: images, networks, the bundle, its scores
    Fit(fit::FitArgs),
}

/// The command line does not fit together.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Usage(anyhow::Error);

/// Runs the command.
pub fn run(cli: &Cli) -> anyhow::Result<()> {
    match &cli.command {
        Command::Ddpm(args) => train::run(Network::Ddpm, args),
        Command::Classifier(args) => train::run(Network::Classifier, args),
        Command::Vae(args) => train::run(Network::Vae, args),
        Command::Fpgan(args) => train::run(Network::FixedPointGan, args),
        Command::Plot { run } => {
            println!("{}", redraw(run)?.display());
            Ok(())
        }
        Command::Cohort(args) => anomalens_cohort::cli::run(args).map_err(|e| match e {
            CohortError::Setting { .. } => Usage(e.into()).into(),
            other => other.into(),
        }),
        Command::Fit(args) => fit::run(args),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }
}
