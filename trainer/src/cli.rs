//! The command line.

use std::io::IsTerminal;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anomalens_cohort::{Cohort, CohortError};
use anomalens_models::preset::Preset;
use anomalens_trainer::TrainError;
use anomalens_trainer::device::{DeviceChoice, PrecisionChoice};
use anomalens_trainer::interpret::Precision;
use anomalens_trainer::run::{Ended, Progress, Settings, Start, train};
use anomalens_trainer::task::Network;
use clap::{Args, Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

/// Fits the networks of anomalens: the diffusion model (DDPM) and the noisy classifier that guides it.
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
    Ddpm(Box<TrainArgs>),
    /// Fit the noisy classifier by cross-entropy
    Classifier(Box<TrainArgs>),
    /// Make, import, split, check and draw the images to train on, as `anomalens-cohort` does
    Cohort(anomalens_cohort::cli::Args),
}

/// More threads than any machine has cores.
const MOST_THREADS: i32 = 4096;

const EXAMPLES: &str = "\
Examples:
  The paper's recipe (batch 10, learning rate 1e-4; 50,000 steps for the DDPM, 20,000 for the classifier):
    anomalens-train ddpm --preset brats256 --cohort brats -o runs/ddpm --iterations 50000 --device cuda
    anomalens-train classifier --preset brats256 --cohort brats -o runs/classifier --iterations 20000 --device cuda
  Interrupted, or cut off? The same command again goes on exactly where the last checkpoint was.
  Then: anomalens-export bundle --preset brats256 --unet runs/ddpm/ddpm.safetensors \\
            --classifier runs/classifier/classifier.safetensors -o bundle

Exit codes: 0 done, or stopped by Ctrl-C with a checkpoint; 1 failed, the last checkpoint stays; 2 wrong command line.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
struct TrainArgs {
    /// Definition of the networks: a built-in name or a TOML file
    #[arg(long, value_name = "NAME|FILE")]
    preset: String,
    /// Folder of labelled images, e.g. written by `anomalens-cohort synthetic`
    #[arg(long, value_name = "DIR")]
    cohort: PathBuf,
    /// Folder of the run; one that holds a run of the same settings goes on
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Steps
    #[arg(long, value_name = "N")]
    iterations: usize,
    /// Images a step
    #[arg(long, value_name = "B", default_value_t = 10)]
    batch: usize,
    /// Adam's learning rate
    #[arg(long, value_name = "R", default_value_t = 1e-4)]
    learning_rate: f64,
    /// Let the rate fall to 0 along half a cosine over this share of the steps, at the end
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    cosine: f64,
    /// Rate of the parameters' average that is written as the result, or 'none' [default: 0.9999; classifier: none]
    #[arg(long, value_name = "RATE|none", value_parser = ema)]
    ema: Option<Ema>,
    /// Scale gradients of a larger norm down to this one
    #[arg(long, value_name = "NORM")]
    clip_gradient: Option<f64>,
    /// Train on noise levels up to this one only: a classifier that guides from level L meets no higher [default: T]
    #[arg(long, value_name = "L")]
    max_level: Option<usize>,
    /// Start from these weights wherever name and shape agree: a classifier from a DDPM of the same widths
    #[arg(long, value_name = "FILE.safetensors")]
    start_from: Option<PathBuf>,
    /// Mirror half of the images, left to right
    #[arg(long)]
    flip: bool,
    /// Seed of the first parameters, the order of images and the noise
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    /// cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceChoice::Cpu)]
    device: DeviceChoice,
    /// auto, f32 or bf16; auto takes bf16 where the device has units for it
    #[arg(long, value_name = "P", default_value_t = PrecisionChoice::Auto)]
    precision: PrecisionChoice,
    /// Threads [default: one a core]
    #[arg(long, value_name = "N")]
    threads: Option<i32>,
    /// Steps between two lines of metrics.jsonl
    #[arg(long, value_name = "N", default_value_t = 50)]
    log_every: usize,
    /// Steps between two checkpoints
    #[arg(long, value_name = "N", default_value_t = 500)]
    checkpoint_every: usize,
}

#[derive(Debug, Clone, Copy)]
struct Ema(Option<f64>);

fn ema(text: &str) -> Result<Ema, String> {
    match text {
        "none" => Ok(Ema(None)),
        _ => text
            .parse()
            .map(|rate| Ema(Some(rate)))
            .map_err(|_| "expected a rate in [0, 1), or none".to_owned()),
    }
}

/// The command line does not fit together.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Usage(anyhow::Error);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Runs the command.
pub fn run(cli: &Cli) -> anyhow::Result<()> {
    match &cli.command {
        Command::Ddpm(args) => fit(Network::Ddpm, args),
        Command::Classifier(args) => fit(Network::Classifier, args),
        Command::Cohort(args) => anomalens_cohort::cli::run(args).map_err(|e| match e {
            CohortError::Setting { .. } => Usage(e.into()).into(),
            other => other.into(),
        }),
    }
}

fn fit(network: Network, args: &TrainArgs) -> anyhow::Result<()> {
    let device = args.device.open()?;
    if let Some(threads) = args.threads {
        let expected = || Usage(anyhow::anyhow!("--threads: found {threads}, expected 1 to {MOST_THREADS}"));
        anyhow::ensure!((1..=MOST_THREADS).contains(&threads), expected());
        tch::set_num_threads(threads);
    }
    let preset = Preset::load(&args.preset).map_err(|e| Usage(e.into()))?;
    let default = match network {
        Network::Ddpm => Some(0.9999),
        Network::Classifier => None,
    };
    let precision = args.precision.on(device);
    let settings = Settings {
        network,
        preset,
        iterations: args.iterations,
        batch: args.batch,
        learning_rate: args.learning_rate,
        cosine: args.cosine,
        ema: args.ema.map_or(default, |ema| ema.0),
        clip_gradient: args.clip_gradient,
        max_level: args.max_level,
        start_from: args.start_from.as_deref().map(Start::open).transpose()?,
        flip: args.flip,
        seed: args.seed,
        bf16: precision == Precision::Bf16,
        log_every: args.log_every,
        checkpoint_every: args.checkpoint_every,
    };
    let cohort = Cohort::open(&args.cohort)?;
    ctrlc::set_handler(|| {
        eprintln!("interrupted: writing a checkpoint after this step");
        INTERRUPTED.store(true, Ordering::SeqCst);
    })?;
    eprintln!(
        "{} of preset {} on {} images, {} in {}",
        network.name(),
        settings.preset.name,
        cohort.len(),
        args.device,
        if settings.bf16 { "bf16" } else { "f32" },
    );
    let mut bar = Bar::new(settings.iterations);
    let ended = train(&settings, &cohort, &args.output, device, &mut |progress| {
        bar.show(progress);
        if INTERRUPTED.load(Ordering::SeqCst) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
    .map_err(usage)?;
    bar.bar.finish_and_clear();
    match ended {
        Ended::Complete(file) => println!("complete: {} (not for diagnostic use)", file.display()),
        Ended::Stopped { step, checkpoint } => println!(
            "stopped after step {step} of {}; give the same command again to go on from {}",
            settings.iterations,
            checkpoint.display()
        ),
    }
    Ok(())
}

fn usage(error: TrainError) -> anyhow::Error {
    match error {
        TrainError::Option { .. } => Usage(error.into()).into(),
        other => other.into(),
    }
}

/// A progress bar on a terminal, a line now and then elsewhere.
struct Bar {
    bar: ProgressBar,
    told: Instant,
    terminal: bool,
}

/// Seconds between two lines where there is no terminal.
const QUIET: u64 = 30;

impl Bar {
    fn new(total: usize) -> Self {
        let style = "{bar:30} {pos}/{len}  {msg}  {eta} left";
        let bar = ProgressBar::new(total as u64);
        bar.set_style(ProgressStyle::with_template(style).expect("a sound template"));
        Self { bar, told: Instant::now(), terminal: std::io::stderr().is_terminal() }
    }

    fn show(&mut self, progress: Progress) {
        let Progress { step, total, loss, images_per_second } = progress;
        if loss.is_nan() {
            // Before the first step: the time left counts from here.
            self.bar.set_position(step as u64);
            self.bar.reset_eta();
            return;
        }
        self.bar.set_position(step as u64);
        self.bar.set_message(format!("loss {loss:.4}  {images_per_second:.1} images/s"));
        if !self.terminal && (self.told.elapsed().as_secs() >= QUIET || step == total) {
            self.told = Instant::now();
            let left = self.bar.eta().as_secs();
            eprintln!("{step}/{total}  loss {loss:.4}  {images_per_second:.1} images/s  {left} s left");
        }
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
