//! `anomalens-train ddpm`, `classifier`, `vae` and `fpgan`.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};

use anomalens_cohort::Cohort;
use anomalens_models::preset::{Preset, Recipe};
use anomalens_trainer::TrainError;
use anomalens_trainer::device::{DeviceChoice, PrecisionChoice, allow_tf32};
use anomalens_trainer::interpret::Precision;
use anomalens_trainer::run::{Ended, Settings, Start, Watch, train};
use anomalens_trainer::task::Network;
use anomalens_trainer::validate::Validation;
use clap::Args;

use super::Usage;
use super::bar::Bar;

/// More threads than any machine has cores.
const MOST_THREADS: i32 = 4096;

const EXAMPLES: &str = "\
Examples:
  The paper's recipe, which is the preset's (batch 10, learning rate 1e-4; 50,000 steps for the DDPM, 20,000 for the
  classifier):
    anomalens-train ddpm --preset brats256 --cohort brats -o runs/ddpm --device cuda
    anomalens-train classifier --preset brats256 --cohort brats -o runs/classifier --device cuda
  Interrupted, or cut off? The same command again goes on exactly where the last checkpoint was.
  Then: anomalens-export bundle --preset brats256 --unet runs/ddpm/ddpm.safetensors \\
            --classifier runs/classifier/classifier.safetensors -o bundle

Exit codes: 0 done, or stopped by Ctrl-C with a checkpoint; 1 failed, the last checkpoint stays; 2 wrong command line.";

/// What to train, on what, how. What is not given of the recipe is the preset's.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct TrainArgs {
    /// Definition of the networks and their recipes: a built-in name or a TOML file
    #[arg(long, value_name = "NAME|FILE")]
    preset: String,
    /// Folder of labelled images, e.g. written by `anomalens-cohort synthetic`
    #[arg(long, value_name = "DIR")]
    cohort: PathBuf,
    /// The split of it to train on, e.g. train, by its splits.json; without, all images
    #[arg(long, value_name = "NAME")]
    split: Option<String>,
    /// Folder of the run; one that holds a run of the same settings goes on
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    #[command(flatten)]
    recipe: RecipeArgs,
    /// Start from these weights wherever name and shape agree, e.g. a classifier from a DDPM of the same widths
    #[arg(long, value_name = "FILE.safetensors|none")]
    start_from: Option<OrNone<PathBuf>>,
    /// Seed of the first parameters, the order of images and the noise
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    /// cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceChoice::Cpu)]
    device: DeviceChoice,
    /// auto, f32, tf32 (a GPU's products) or bf16; auto takes bf16 where the device has units for it
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
    /// Checkpoints that stay, the last ones
    #[arg(long, value_name = "N", default_value_t = 2)]
    keep: usize,
    #[command(flatten)]
    watch: WatchArgs,
}

/// Held-out images, which training never sees.
#[derive(Debug, Args)]
#[command(next_help_heading = "Held-out images")]
struct WatchArgs {
    /// Folder of images to try the network on while it is trained; its masks are read for the scores
    #[arg(long, value_name = "DIR")]
    validation: Option<PathBuf>,
    /// The split of it to try, e.g. validation; without, all images
    #[arg(long, value_name = "NAME", requires = "validation")]
    validation_split: Option<String>,
    /// Weights of the other network; with them images are translated and scored
    #[arg(long, value_name = "FILE.safetensors", requires = "validation")]
    partner: Option<PathBuf>,
    /// Steps between two tries
    #[arg(long, value_name = "N", default_value_t = 500)]
    validate_every: usize,
    /// Images that are tried, diseased and healthy by turns
    #[arg(long, value_name = "N", default_value_t = 8)]
    validation_images: usize,
    /// Keep the weights that did best, as best.safetensors
    #[arg(long, requires = "validation")]
    keep_best: bool,
}

impl WatchArgs {
    fn open(&self, settings: &Settings, device: tch::Device) -> anyhow::Result<Option<Watch>> {
        for (what, found) in
            [("--validate-every", self.validate_every), ("--validation-images", self.validation_images)]
        {
            anyhow::ensure!(found > 0, Usage(anyhow::anyhow!("{what}: found 0, expected at least 1")));
        }
        let Some(dir) = &self.validation else { return Ok(None) };
        let cohort = Cohort::open_split(dir, self.validation_split.as_deref())?;
        let Settings { network, preset, .. } = settings;
        let images = self.validation_images;
        let validation =
            Validation::open(*network, preset, &cohort, images, self.partner.as_deref(), device)?;
        Ok(Some(Watch { validation, every: self.validate_every, keep_best: self.keep_best }))
    }
}

/// Options that go before the preset's recipe.
#[derive(Debug, Args)]
#[command(next_help_heading = "Recipe, by default the preset's")]
struct RecipeArgs {
    /// Steps
    #[arg(long, value_name = "N")]
    iterations: Option<usize>,
    /// Images a step
    #[arg(long, value_name = "B")]
    batch: Option<usize>,
    /// Compute the images of a step in so many parts, one after the other: less memory, the same result
    #[arg(long, value_name = "K")]
    accumulate: Option<usize>,
    /// Adam's learning rate
    #[arg(long, value_name = "R")]
    learning_rate: Option<f64>,
    /// Let the rate fall to 0 along half a cosine over this share of the steps, at the end
    #[arg(long, value_name = "SHARE")]
    cosine: Option<f64>,
    /// Rate of the parameters' average that is written as the result, or none for the parameters themselves
    #[arg(long, value_name = "RATE|none")]
    ema: Option<OrNone<f64>>,
    /// Scale gradients of a larger norm down to this one
    #[arg(long, value_name = "NORM|none")]
    clip_gradient: Option<OrNone<f64>>,
    /// Train on noise levels up to this one only, none for T: a classifier that guides from level L meets no higher
    #[arg(long, value_name = "L|none")]
    max_level: Option<OrNone<usize>>,
    /// Set this share of the values before the last convolution of each residual block to 0
    #[arg(long, value_name = "SHARE")]
    dropout: Option<f64>,
    /// Mirror half of the images, left to right
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true")]
    flip: Option<bool>,
}

impl RecipeArgs {
    /// The preset's recipe with these options before it.
    fn over(&self, preset: &Recipe) -> Recipe {
        Recipe {
            iterations: self.iterations.unwrap_or(preset.iterations),
            batch: self.batch.unwrap_or(preset.batch),
            accumulate: self.accumulate.unwrap_or(preset.accumulate),
            learning_rate: self.learning_rate.unwrap_or(preset.learning_rate),
            cosine: self.cosine.unwrap_or(preset.cosine),
            ema: self.ema.clone().map_or(preset.ema, |given| given.0),
            clip_gradient: self.clip_gradient.clone().map_or(preset.clip_gradient, |given| given.0),
            max_level: self.max_level.clone().map_or(preset.max_level, |given| given.0),
            dropout: self.dropout.unwrap_or(preset.dropout),
            flip: self.flip.unwrap_or(preset.flip),
            start_from_ddpm: preset.start_from_ddpm,
        }
    }
}

/// A value, or the word `none`.
#[derive(Debug, Clone)]
struct OrNone<T>(Option<T>);

impl<T: FromStr> FromStr for OrNone<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self(None)),
            _ => text
                .parse()
                .map(|value| Self(Some(value)))
                .map_err(|_| "expected a number, or none".to_owned()),
        }
    }
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Trains a network.
pub fn run(network: Network, args: &TrainArgs) -> anyhow::Result<()> {
    let device = args.device.open()?;
    if let Some(threads) = args.threads {
        let expected = || Usage(anyhow::anyhow!("--threads: found {threads}, expected 1 to {MOST_THREADS}"));
        anyhow::ensure!((1..=MOST_THREADS).contains(&threads), expected());
        tch::set_num_threads(threads);
    }
    let settings = args.settings(network, device)?;
    let cohort = Cohort::open_split(&args.cohort, args.split.as_deref())?;
    let watch = args.watch.open(&settings, device)?;
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
        settings.precision.name(),
    );
    let mut bar = Bar::new(settings.recipe.iterations);
    let ended = train(&settings, &cohort, &args.output, device, watch.as_ref(), &mut |progress| {
        bar.show(progress);
        if INTERRUPTED.load(Ordering::SeqCst) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
    .map_err(usage)?;
    bar.finish();
    match ended {
        Ended::Complete(file) => println!("complete: {} (not for diagnostic use)", file.display()),
        Ended::Stopped { step, checkpoint } => println!(
            "stopped after step {step} of {}; give the same command again to go on from {}",
            settings.recipe.iterations,
            checkpoint.display()
        ),
    }
    Ok(())
}

impl TrainArgs {
    /// The preset and these options, resolved.
    fn settings(&self, network: Network, device: tch::Device) -> anyhow::Result<Settings> {
        let preset = Preset::load(&self.preset).map_err(|e| Usage(e.into()))?;
        network.timesteps(&preset).map_err(|e| Usage(e.into()))?;
        let recipe = self.recipe.over(network.recipe(&preset.train));
        let start_from = match &self.start_from {
            Some(OrNone(file)) => file.as_deref().map(Start::open).transpose()?,
            None if recipe.start_from_ddpm => {
                let name = &preset.name;
                anyhow::bail!(Usage(anyhow::anyhow!(
                    "--start-from: found nothing, expected the weights of a DDPM, which the classifier of preset '{name}' starts from: its ddpm.safetensors, or none for a fresh classifier"
                )))
            }
            None => None,
        };
        let precision = self.precision.on(device).map_err(usage)?;
        allow_tf32(precision == Precision::Tf32);
        let machine = vec![
            ("device", self.device.to_string()),
            ("threads", tch::get_num_threads().to_string()),
            ("cohort", self.cohort.display().to_string()),
        ];
        Ok(Settings {
            network,
            preset,
            recipe,
            start_from,
            seed: self.seed,
            precision,
            log_every: self.log_every,
            checkpoint_every: self.checkpoint_every,
            keep: self.keep,
            machine,
        })
    }
}

fn usage(error: TrainError) -> anyhow::Error {
    match error {
        TrainError::Option { .. } => Usage(error.into()).into(),
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        recipe: RecipeArgs,
    }

    #[test]
    fn options_go_before_the_presets_recipe() {
        let preset =
            Recipe { clip_gradient: Some(1.0), max_level: Some(500), flip: true, ..Recipe::paper_ddpm() };
        let with = |words: &[&str]| {
            let words = ["program"].into_iter().chain(words.iter().copied());
            Program::try_parse_from(words)
                .map(|program| program.recipe.over(&preset))
                .map_err(|e| e.to_string())
        };
        let cases: [(&[&str], Recipe); 8] = [
            (&[], preset.clone()),
            (&["--iterations", "7"], Recipe { iterations: 7, ..preset.clone() }),
            (&["--ema", "none"], Recipe { ema: None, ..preset.clone() }),
            (&["--ema", "0.5"], Recipe { ema: Some(0.5), ..preset.clone() }),
            (&["--clip-gradient", "none"], Recipe { clip_gradient: None, ..preset.clone() }),
            (&["--max-level", "none"], Recipe { max_level: None, ..preset.clone() }),
            (&["--flip", "false"], Recipe { flip: false, ..preset.clone() }),
            (&["--flip"], preset.clone()),
        ];
        for (words, expected) in cases {
            assert_eq!(with(words).unwrap(), expected, "{words:?}");
        }
        assert!(with(&["--ema", "some"]).unwrap_err().contains("expected a number, or none"));
    }
}
