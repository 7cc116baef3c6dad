//! The command line.

use std::path::PathBuf;
use std::str::FromStr;

use anomalens_models::preset::{GuidanceInterval, Solver};
use anomalens_models::schedule::Respacing;
use anomalens_runtime::engine::{Device, EngineChoice, Provider};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::bench::BenchArgs;
use crate::evaluate::{EvaluateArgs, MergeArgs};
use crate::sweep::{RoundtripArgs, SweepArgs};
use crate::translate::{BrainArgs, FitnessArgs, WriteArgs};
use crate::tune::{AttemptArgs, TuneArgs};

/// Finds lesions without pixel labels: a DICOM study in; its healthy version, an anomaly map and a mask out.
///
/// Not for diagnostic use.
#[derive(Debug, Parser)]
#[command(name = "anomalens", version, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Translate images to their healthy version and show where the two differ
    Translate(Box<TranslateArgs>),
    /// Score a bundle on labelled images with masks, baselines without a network beside it
    Evaluate(Box<EvaluateArgs>),
    /// Score a grid of noise levels and gradient scales, and plot it
    Sweep(Box<SweepArgs>),
    /// Encode and decode without guidance: how well images are recovered from each noise level
    Roundtrip(Box<RoundtripArgs>),
    /// Score what several machines have evaluated or swept, each a part
    Merge(MergeArgs),
    /// Say what a bundle holds, or what would be done with an image and why
    Inspect(InspectArgs),
    /// Say which engines and devices can be used here, and what to do where not
    Doctor(DoctorArgs),
    /// Time the networks of a bundle and a whole translation, for engines, devices and batches
    Bench(BenchArgs),
    /// Find the engine, device, threads and batch that translate fastest here, and keep them for this bundle
    Tune(TuneArgs),
    /// One attempt of tune, in a process of its own
    #[command(hide = true)]
    TuneAttempt(AttemptArgs),
}

/// What to look at.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Look at this provider alone: for a process of its own, as one has a single library of ONNX Runtime.
    #[arg(long, hide = true)]
    pub provider: Option<Provider>,
}

const TRANSLATE_EXAMPLES: &str = "\
Examples:
  A study whose four series are recognised by their descriptions:
    anomalens translate study/ --bundle brats --out result
  One file for each channel, 100 steps a loop instead of every level:
    anomalens translate study/ --bundle brats --out result --steps 100 \\
        --channel t1=t1.dcm --channel t1ce=t1ce.dcm --channel t2=t2.dcm --channel flair=flair.dcm
  Arrays [N, C, H, W] in [0, 1], keeping every x_t:
    anomalens translate images.npy --bundle brats --out result --trajectory steps.npz

Interrupted or killed, it keeps the finished slices in OUT.partial: the same command goes on from there. With --trajectory
all is done in one piece, or anew.

Exit codes: 0 done; 1 failed or interrupted, nothing was written to OUT; 2 wrong command line; 3 some slices failed, the
others were written.";

/// What to translate, by what, and how.
#[derive(Debug, Args)]
#[command(after_help = TRANSLATE_EXAMPLES)]
pub struct TranslateArgs {
    /// DICOM file or folder; or a .npy file, [C, H, W] or [N, C, H, W] in [0, 1]
    pub input: PathBuf,
    /// Folder of the networks, written by `anomalens-export bundle`
    #[arg(long, value_name = "DIR")]
    pub bundle: PathBuf,
    /// Folder for the results; new or empty
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// DICOM file, or folder of one series, for one channel; may be repeated [default: by the bundle's rules]
    #[arg(long = "channel", value_name = "NAME=PATH", value_parser = channel)]
    pub channels: Vec<(String, PathBuf)>,
    /// L, the noise level to encode to: higher removes more of the image [default: the bundle's]
    #[arg(long, value_name = "L")]
    pub noise_level: Option<usize>,
    /// Which steps are made, and how.
    #[command(flatten)]
    pub path: PathArgs,
    /// The published code's respacing to N steps; --noise-level then counts respaced steps
    #[arg(long, value_name = "ddimN", requires = "noise_level", conflicts_with_all = ["steps", "spacing", "exact"])]
    pub respacing: Option<Respacing>,
    /// What is done to the images [default: ddim]
    #[arg(long, value_enum)]
    pub method: Option<Method>,
    /// Whose indices: the paper's Algorithm 1, or the published script's [default: paper]
    #[arg(long, value_enum)]
    pub schedule: Option<Schedule>,
    /// With --schedule reference: clamp the predicted x_0 to [-1, 1]
    #[arg(long)]
    pub clip: bool,
    /// With --schedule reference: the noise that it adds first, of the images' shape
    #[arg(long, value_name = "FILE.npy", conflicts_with = "seed")]
    pub first_noise: Option<PathBuf>,
    /// With --schedule reference or --method ddpm: seed of the noise [default: 0]
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,
    /// s, the weight of the classifier's gradient; 0 needs no classifier [default: the bundle's]
    #[arg(long, value_name = "S")]
    pub scale: Option<f64>,
    /// The class to steer to [default: the bundle's]
    #[arg(long, value_name = "K")]
    pub healthy_class: Option<usize>,
    /// Images given to the networks at once [default: what `anomalens tune` has found here, else 1]
    #[arg(long, value_name = "B")]
    pub batch: Option<usize>,
    /// Keep every x_t: arrays encode, decode [steps, N, C, H, W], encode_levels, decode_levels, slices
    #[arg(long, value_name = "FILE.npz")]
    pub trajectory: Option<PathBuf>,
    /// Take a bundle that no parity gate has passed
    #[arg(long)]
    pub unverified: bool,
    /// What is written.
    #[command(flatten)]
    pub write: WriteArgs,
    /// What is done about images that are unlike the training cohort.
    #[command(flatten)]
    pub fitness: FitnessArgs,
    /// Which part of the images is looked at.
    #[command(flatten)]
    pub brain: BrainArgs,
    /// What computes.
    #[command(flatten)]
    pub engine: EngineArgs,
}

impl TranslateArgs {
    /// Images given to the networks at once.
    pub fn batch(&self) -> usize {
        self.batch.unwrap_or(1)
    }
}

/// Which steps are made, and how.
#[derive(Debug, Args)]
pub struct PathArgs {
    /// N steps a loop, at the levels L (j/N)^P; or "every" for every level [default: the bundle's]
    #[arg(long, value_name = "N")]
    pub steps: Option<StepCount>,
    /// P, the spacing of the steps: P > 1 puts more steps near the clean image [default: 1 with --steps, else the bundle's]
    #[arg(long, value_name = "P")]
    pub spacing: Option<f64>,
    /// How a loop goes from level to level: euler (DDIM), or ab2, of second order, which does with fewer steps [default: the bundle's]
    #[arg(long, value_name = "SOLVER")]
    pub solver: Option<Solver>,
    /// The classifier pulls at levels LO to HI only, and costs nothing elsewhere [default: the bundle's]
    #[arg(long, value_name = "LO:HI")]
    pub guidance_interval: Option<GuidanceInterval>,
    /// Algorithm 1 untouched: every level, Euler, the classifier at each of them
    #[arg(long, conflicts_with_all = ["steps", "spacing", "solver", "guidance_interval"])]
    pub exact: bool,
}

impl PathArgs {
    /// The options that were given.
    pub fn given(&self) -> impl Iterator<Item = &'static str> {
        let given = [
            ("--steps", self.steps.is_some()),
            ("--spacing", self.spacing.is_some()),
            ("--solver", self.solver.is_some()),
            ("--guidance-interval", self.guidance_interval.is_some()),
            ("--exact", self.exact),
        ];
        given.into_iter().filter(|(_, given)| *given).map(|(name, _)| name)
    }

    /// The same options and their values, as a command line has them.
    pub fn words(&self) -> Vec<String> {
        let steps = self.steps.map(|steps| match steps {
            StepCount::Every => "every".to_owned(),
            StepCount::Count(n) => n.to_string(),
        });
        let given = [
            ("--steps", steps),
            ("--spacing", self.spacing.map(|p| p.to_string())),
            ("--solver", self.solver.map(|solver| solver.to_string())),
            ("--guidance-interval", self.guidance_interval.map(|interval| interval.to_string())),
        ];
        pairs(given).chain(self.exact.then(|| "--exact".to_owned())).collect()
    }
}

/// Options with a value, as a command line has them.
fn pairs<const N: usize>(given: [(&str, Option<String>); N]) -> impl Iterator<Item = String> {
    given.into_iter().filter_map(|(name, value)| Some([name.to_owned(), value?])).flatten()
}

/// How many steps a loop makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepCount {
    /// One for each level.
    Every,
    /// This many.
    Count(usize),
}

impl FromStr for StepCount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "every" => Ok(Self::Every),
            number => {
                number.parse().map(Self::Count).map_err(|_| "expected a number of steps, or every".into())
            }
        }
    }
}

/// What computes.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub struct EngineArgs {
    /// auto, ort or tract; auto takes ort where its library is found [default: what `anomalens tune` has found here, else auto]
    #[arg(long, value_name = "ENGINE")]
    pub engine: Option<EngineChoice>,
    /// cpu, cuda or cuda:N [default: what `anomalens tune` has found here, else cpu]
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<Device>,
    /// Whose kernels ONNX Runtime takes: default, openvino, or openvino-bf16 on a processor with AMX [default: what `anomalens tune`
    /// has found here, else default]
    #[arg(long, value_name = "PROVIDER")]
    pub provider: Option<Provider>,
    /// Threads [default: one a core]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// With --device cuda: faster products of 10-bit mantissa
    #[arg(long)]
    pub tf32: bool,
    /// By which finding of `anomalens tune` all this was chosen, if by one.
    #[arg(skip)]
    pub tuned: Option<String>,
}

impl EngineArgs {
    /// Whether a person has chosen something.
    pub fn given(&self) -> bool {
        *self != Self::default()
    }

    /// Which engine.
    pub fn engine(&self) -> EngineChoice {
        self.engine.unwrap_or_default()
    }

    /// Where it computes.
    pub fn device(&self) -> Device {
        self.device.unwrap_or_default()
    }

    /// By whose kernels.
    pub fn provider(&self) -> Provider {
        self.provider.unwrap_or_default()
    }

    /// What was given, as a command line has it.
    pub fn words(&self) -> Vec<String> {
        let given = [
            ("--engine", self.engine.map(|engine| engine.to_string())),
            ("--device", self.device.map(|device| device.to_string())),
            ("--provider", self.provider.map(|provider| provider.to_string())),
            ("--threads", self.threads.map(|threads| threads.to_string())),
        ];
        pairs(given).chain(self.tf32.then(|| "--tf32".to_owned())).collect()
    }
}

/// What a bundle of a U-Net and a classifier can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Method {
    /// The paper's: deterministic encoding, guided decoding
    Ddim,
    /// Its ablation: random noise, guided DDPM sampling; it changes healthy anatomy, too
    Ddpm,
    /// A comparison: the classifier's gradient alone; it has a map, and no healthy version
    Saliency,
}

/// Whose indices and noise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Schedule {
    /// Algorithm 1 of the paper
    Paper,
    /// The published script, so that its results can be repeated
    Reference,
}

const INSPECT_EXAMPLES: &str = "\
Examples:
  anomalens inspect brats
  anomalens inspect study/ --bundle brats";

/// What to look at.
#[derive(Debug, Args)]
#[command(after_help = INSPECT_EXAMPLES)]
pub struct InspectArgs {
    /// A bundle; or a DICOM file or folder; or a .npy file
    pub path: PathBuf,
    /// For an image: the bundle that would translate it
    #[arg(long, value_name = "DIR")]
    pub bundle: Option<PathBuf>,
    /// As for translate
    #[arg(long = "channel", value_name = "NAME=PATH", value_parser = channel, requires = "bundle")]
    pub channels: Vec<(String, PathBuf)>,
}

fn channel(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, path)) if !name.is_empty() && !path.is_empty() => {
            Ok((name.to_owned(), PathBuf::from(path)))
        }
        _ => Err("expected NAME=PATH, e.g. flair=series/0004".to_owned()),
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

    #[test]
    fn channels_are_name_and_path() {
        assert_eq!(channel("flair=a=b"), Ok(("flair".into(), "a=b".into())));
        for wrong in ["flair", "=x", "flair="] {
            assert!(channel(wrong).unwrap_err().contains("NAME=PATH"), "{wrong}");
        }
    }
}
