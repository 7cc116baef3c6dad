//! The command line. Exit codes: 0 done, 1 failed or over tolerance, 2 wrong usage.

mod bundle;
mod convert;
mod describe;
mod fitness;
mod gradient;
mod package;
mod preset;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anomalens_exporter::gate::Gate;
use anomalens_exporter::target::Target;
use anomalens_models::manifest::{ParityCheck, Trajectory};
use anomalens_models::weights::Precision;
use anomalens_runtime::engine::{Device, EngineChoice, Provider};
use clap::{ArgGroup, Parser, Subcommand, ValueEnum};

/// Turns checkpoints of guided-diffusion, MONAI and diffusers into bundles that `anomalens translate` runs, and checks
/// them.
#[derive(Parser)]
#[command(
    name = "anomalens-export",
    version,
    arg_required_else_help = true,
    after_help = "\
Exit codes: 0 done; 1 failed, or over tolerance; 2 wrong usage."
)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print the layers of a preset's networks, or what an ONNX network costs: parameters, multiply-adds and memory
    #[command(
        group(ArgGroup::new("what").required(true).args(["preset", "model"])),
        after_help = "\
Examples:
  anomalens-export describe --preset brats256
  anomalens-export describe --preset my-networks.toml
  anomalens-export describe classifier_gradient.onnx"
    )]
    Describe {
        /// An ONNX network that `gradient` reads, or has written
        #[arg(value_name = "FILE.onnx")]
        model: Option<PathBuf>,
        /// A built-in preset (brats256, chexpert256, demo, demo-vae, demo-fpgan, demo-radiograph, demo-radiograph-vae,
        /// demo-radiograph-fpgan, tiny) or the path of a TOML file
        #[arg(long, value_name = "NAME|FILE")]
        preset: Option<String>,
    },
    /// Write the preset of a checkpoint of guided-diffusion, MONAI or diffusers, from its tensors and your answers to what
    /// these do not tell
    #[command(
        group(ArgGroup::new("networks").required(true).multiple(true).args(["unet", "classifier"])),
        after_help = "\
Examples:
  anomalens-export preset --unet model.pt --classifier class.pt -o mine.toml
  anomalens-export preset --unet model.pt -o mine.toml --image-size 256 --channels image \\
      --schedule linear --timesteps 1000 --heads count:1 --healthy-class 0
  anomalens-export preset --unet unet/diffusion_pytorch_model.safetensors -o mine.toml \\
      --schedule linear --timesteps 1000 --channels image

The first form lists what is to be answered, and what would fit; the second answers it.
The third is a UNet2DModel of diffusers, whose config.json lies beside it.
`bundle --preset mine.toml` takes the file."
    )]
    Preset(preset::PresetArgs),
    /// Write a bundle: weights, ONNX graphs, model card and manifest, compared between engines
    #[command(
        group(ArgGroup::new("parts").required(true).multiple(true).args(["unet", "classifier", "classifier_onnx", "network", "random_weights"])),
        after_help = "\
Examples:
  anomalens-export bundle --preset brats256 --unet emabrats.pt --classifier class.pt -o brats
  anomalens-export bundle --preset brats256 --unet run.pt --unet-key state_dict -o brats
  anomalens-export bundle --preset mine.toml --unet unet.pt --classifier-onnx noisy.onnx -o mine
  anomalens-export bundle --preset demo-vae --network runs/vae/vae.safetensors -o vae
  anomalens-export bundle --preset my-networks.toml --random-weights 7 -o timing --gate quick
  anomalens-export bundle --preset brats256 --unet emabrats.pt --classifier class.pt -o brats-cuda \
      --target ort-cuda --precision f16 --held-out cohort

Each checkpoint is a .pt (a state_dict() saved by PyTorch 1.6 or later) or a .safetensors file, told apart by its
content. Without a classifier, translate runs with --scale 0 only. A preset whose method makes images healthy in one pass (vae,
fixed-point-gan) takes --network, and is written as portable f32. If the graphs are over tolerance, nothing is written. What this machine cannot run is written unverified: `anomalens-export verify` it where it shall run."
    )]
    Bundle(BundleArgs),
    /// Write a checkpoint in another format: .pt to .safetensors, and back
    #[command(after_help = "\
Examples:
  anomalens-export convert emabrats.pt emabrats.safetensors
  anomalens-export convert run.pt unet.safetensors --key ema.module --dtype f32
  anomalens-export convert unet.safetensors unet.pt

A network of MONAI or diffusers is written by guided-diffusion's names. Nothing in a .pt is executed. The .pt that is written holds an OrderedDict, which torch.load(…, weights_only=True) reads.
What is there is never overwritten.")]
    Convert(convert::ConvertArgs),
    /// Hold a bundle's parity gate on this machine, and compare it with outputs of another framework
    #[command(after_help = "\
Examples:
  anomalens-export verify brats
  anomalens-export verify brats-cuda --device cuda --held-out cohort
  anomalens-export verify brats --provider openvino
  anomalens-export verify brats --reference outputs --gate none --engine ort

The gate runs the graphs on random inputs, by every engine and by the f64 interpreter of the preset's networks. What is not
portable f32 also translates held-out images, and is compared with f32. A bundle that was unverified is marked verified in its
manifest when it has passed; otherwise nothing is written.

REF holds unet/{x,t,y,out}.npy and classifier/{x,t,y,logits,grad}.npy, either or both; y is absent for an unconditional
U-Net; grad is the gradient of the sum over n of log p(y_n | x_n, t_n) with respect to x. For a method that makes images healthy
in one pass it holds network/{x,healthy}.npy.")]
    Verify(VerifyArgs),
    /// Write the input gradient of an ONNX classifier as ONNX: for guidance, saliency, adversarial examples
    #[command(after_help = "\
Examples:
  anomalens-export gradient classifier.onnx --input x --output logits -o classifier_gradient.onnx
  anomalens-export gradient noisy.onnx --input x_t --output logits --kind log-prob --class-input y -o gradient.onnx
  anomalens-export gradient regressor.onnx --input image --output age --kind sum -o gradient.onnx

The new graph takes the network's inputs and, but for `sum`, the class of each sample; it gives the output that was named, and
`gradient`, in the shape of the input. Any ONNX engine runs it; its weights are inside. What is not supported is named, and then
nothing is written.")]
    Gradient(gradient::GradientArgs),
    /// Measure what a bundle's training cohort looks like, so that `anomalens translate` warns of images unlike it
    #[command(after_help = "\
Examples:
  anomalens-export fitness brats --cohort cohort --split train
  anomalens-export fitness vae --cohort out/cohort --limit 500

The cohort is the one that the networks were trained on. What is measured goes into DIR/fitness.json, in the place of what was
there; the manifest lists it, so that the bundle's hash is another one then.")]
    Fitness(fitness::FitnessArgs),
    /// Copy a verified bundle into the layout of another program: Triton Inference Server or MONAI
    #[command(after_help = "\
Examples:
  anomalens-export package brats --format triton -o model_repository
  anomalens-export package brats --format monai -o brats-monai

Graphs and weights are copied as they are; each copy must have the SHA-256 of the bundle's manifest. DIR appears whole or
not at all.")]
    Package(package::PackageArgs),
}

/// The checkpoints of the networks, and where these stand in them.
#[derive(clap::Args)]
struct Checkpoints {
    /// Checkpoint of the U-Net
    #[arg(long, value_name = "FILE")]
    unet: Option<PathBuf>,
    /// Checkpoint of the noisy classifier
    #[arg(long, value_name = "FILE")]
    classifier: Option<PathBuf>,
    /// Key that the U-Net stands under, where its file holds more; '' is the top
    #[arg(long, value_name = "KEY", requires = "unet")]
    unet_key: Option<String>,
    /// Key that the classifier stands under, where its file holds more; '' is the top
    #[arg(long, value_name = "KEY", requires = "classifier")]
    classifier_key: Option<String>,
}

#[derive(clap::Args)]
struct BundleArgs {
    /// A built-in preset (brats256, chexpert256, demo, demo-vae, demo-fpgan, demo-radiograph, demo-radiograph-vae,
    /// demo-radiograph-fpgan, tiny) or the path of a TOML file
    #[arg(long, value_name = "NAME|FILE")]
    preset: String,
    #[command(flatten)]
    checkpoints: Checkpoints,
    /// A noisy classifier as ONNX instead: of the preset's images and classes, with any layers that `gradient` reads
    #[arg(long, value_name = "FILE.onnx", conflicts_with_all = ["classifier", "network", "random_weights"])]
    classifier_onnx: Option<PathBuf>,
    /// Name of its input for the noisy image, [N, C, H, W]
    #[arg(long, value_name = "NAME", requires = "classifier_onnx", default_value = "x_t")]
    classifier_x: String,
    /// Name of its input for the timestep, from 0: one a sample, i64 or f32, or [N, 1] f32
    #[arg(long, value_name = "NAME", requires = "classifier_onnx", default_value = "timestep")]
    classifier_t: String,
    /// Name of its output for the logits, [N, K]
    #[arg(long, value_name = "NAME", requires = "classifier_onnx", default_value = "logits")]
    classifier_logits: String,
    /// Checkpoint of the network that makes images healthy in one pass: of a variational autoencoder, or the generator of a
    /// Fixed-Point GAN
    #[arg(long, value_name = "FILE", conflicts_with_all = ["unet", "classifier"])]
    network: Option<PathBuf>,
    /// Key that this network stands under, where its file holds more; '' is the top
    #[arg(long, value_name = "KEY", requires = "network")]
    network_key: Option<String>,
    /// Random weights for the preset's networks instead of checkpoints: to time a preset before it is trained
    #[arg(long, value_name = "SEED", conflicts_with_all = ["unet", "classifier", "network"])]
    random_weights: Option<u64>,
    /// The bundle's folder: new or empty
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Kernels that the U-Net is lowered for: `portable` runs anywhere, `ort-cuda` by ONNX Runtime on a GPU alone
    #[arg(long, value_enum, default_value_t = Target::Portable)]
    target: Target,
    /// What the U-Net is stored in and computes in; the classifier's gradient is always f32
    #[arg(long, value_enum, default_value_t = PrecisionArg::F32)]
    precision: PrecisionArg,
    /// How thoroughly the written graphs are compared: `full` lets the slow reference interpreter take part on larger
    /// networks, `none` marks the bundle unverified
    #[arg(long, value_enum, default_value_t = GateArg::Full)]
    gate: GateArg,
    /// Held-out images, as `anomalens-cohort` writes them: DIR/images.npy, and masks.npy if there. A U-Net that is not portable
    /// f32 passes the gate only if it translates 8 of them as f32 does
    #[arg(long, value_name = "DIR")]
    held_out: Option<PathBuf>,
    /// Where the weights come from, in your words; shown in every report
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// Markdown file to put at the end of the model card: figures, limits
    #[arg(long, value_name = "FILE.md")]
    card: Option<PathBuf>,
}

#[derive(clap::Args)]
struct VerifyArgs {
    /// The bundle
    #[arg(value_name = "DIR")]
    bundle: PathBuf,
    /// Folder with another framework's inputs and outputs
    #[arg(long, value_name = "REF", required_if_eq("gate", "none"))]
    reference: Option<PathBuf>,
    /// How thoroughly the graphs are compared with the preset's networks, as for `bundle`
    #[arg(long, value_enum, default_value_t = GateArg::Full)]
    gate: GateArg,
    /// Held-out images, as `anomalens-cohort` writes them: DIR/images.npy, and masks.npy if there. A U-Net that is not portable
    /// f32 passes the gate only if it translates 8 of them as f32 does
    #[arg(long, value_name = "DIR")]
    held_out: Option<PathBuf>,
    /// Engines to run (repeatable) [default: every engine that is found]
    #[arg(long, value_name = "ort|tract")]
    engine: Vec<EngineChoice>,
    /// Where ONNX Runtime computes: cpu, cuda or cuda:N
    #[arg(long, default_value_t = Device::Cpu)]
    device: Device,
    /// Whose kernels ONNX Runtime takes, with tract beside it: openvino
    #[arg(long, default_value_t = Provider::Default, conflicts_with = "engine")]
    provider: Provider,
    /// Let CUDA round the inputs of products to TF32
    #[arg(long)]
    tf32: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum PrecisionArg {
    F32,
    F16,
}

impl From<PrecisionArg> for Precision {
    fn from(precision: PrecisionArg) -> Self {
        match precision {
            PrecisionArg::F32 => Self::F32,
            PrecisionArg::F16 => Self::F16,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum GateArg {
    Full,
    Quick,
    None,
}

impl From<GateArg> for Gate {
    fn from(gate: GateArg) -> Self {
        match gate {
            GateArg::Full => Self::Full,
            GateArg::Quick => Self::Quick,
            GateArg::None => Self::None,
        }
    }
}

/// Does what the arguments say.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Describe { preset, model } => describe::run(preset.as_deref(), model.as_deref()),
        Command::Preset(args) => preset::run(&args),
        Command::Bundle(args) => bundle::run(&args),
        Command::Convert(args) => convert::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Gradient(args) => gradient::run(&args),
        Command::Fitness(args) => fitness::run(&args),
        Command::Package(args) => package::run(&args),
    }
}

/// A line on the terminal that says what is being done.
fn spinner() -> indicatif::ProgressBar {
    let bar = indicatif::ProgressBar::new_spinner();
    bar.enable_steady_tick(std::time::Duration::from_millis(200));
    bar
}

/// One line of a table of comparisons.
fn print(verdict: &str, check: &ParityCheck) {
    let ParityCheck { output, between, batch, max_abs, max_rel, tolerance } = check;
    println!(
        "{verdict} {output:<36} {between:<22} batch {batch}  max abs {max_abs:.1e}  rel {max_rel:.1e}  tolerance {tolerance:.1e}"
    );
}

/// The last lines of a table of comparisons.
fn print_trajectory(trajectory: &Trajectory) {
    let Trajectory { images, dice_with, map_change, map_limit, dice_change, dice_limit, .. } = trajectory;
    let dice = format!("Dice with {dice_with}");
    for (what, change, limit) in
        [("anomaly map inside the brain", map_change, map_limit), (&dice, dice_change, dice_limit)]
    {
        let verdict = if change <= limit { "ok  " } else { "OVER" };
        let (output, between) = (format!("translations: {what}"), "bundle vs f32");
        println!(
            "{verdict} {output:<43} {between:<15} images {}  change {change:.1e}  limit {limit:.1e}",
            images.len()
        );
    }
    println!("     {trajectory}");
}

/// The first Ctrl-C asks the work to stop and to remove what it has made, the second ends the program.
fn stop_on_ctrl_c() -> anyhow::Result<Arc<AtomicBool>> {
    let stopped = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stopped);
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        eprintln!("stopping after the present step; again to end at once");
    })?;
    Ok(stopped)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_arguments_fit_together() {
        super::Args::command().debug_assert();
    }
}
