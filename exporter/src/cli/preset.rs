//! `preset`: the definition of a checkpoint's networks, from its tensors and a person's answers.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anomalens_exporter::checkpoint::{Checkpoint, CheckpointError};
use anomalens_exporter::infer::{Answers, Finding, infer};
use anomalens_models::output::{OutputError, OutputFile};
use anomalens_models::preset::{Heads, QkvOrder, ScheduleKind};
use anomalens_models::weights::Shapes;

use super::Checkpoints;

#[derive(clap::Args)]
pub struct PresetArgs {
    #[command(flatten)]
    checkpoints: Checkpoints,
    /// Height and width of the images, in pixels
    #[arg(long, value_name = "N")]
    image_size: Option<usize>,
    /// Names of the image channels, in network order
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    channels: Vec<String>,
    /// Noise schedule
    #[arg(long, value_name = "linear|cosine", value_parser = schedule)]
    schedule: Option<ScheduleKind>,
    /// T, the number of diffusion steps
    #[arg(long, value_name = "T")]
    timesteps: Option<usize>,
    /// The class that means healthy
    #[arg(long, value_name = "CLASS")]
    healthy_class: Option<usize>,
    /// Attention heads of the U-Net: so many, or of so many channels
    #[arg(long, value_name = "count:N|channels:N", value_parser = heads, requires = "unet")]
    heads: Option<Heads>,
    /// Attention heads of the U-Net on the way up, where they are others (num_heads_upsample)
    #[arg(long, value_name = "count:N|channels:N", value_parser = heads, requires = "heads")]
    heads_up: Option<Heads>,
    /// Order of q, k and v in the U-Net
    #[arg(long, value_name = "head-first|qkv-first", value_parser = qkv_order, requires = "unet")]
    qkv_order: Option<QkvOrder>,
    /// Attention heads of the classifier
    #[arg(long, value_name = "count:N|channels:N", value_parser = heads, requires = "classifier")]
    classifier_heads: Option<Heads>,
    /// Order of q, k and v in the classifier
    #[arg(long, value_name = "head-first|qkv-first", value_parser = qkv_order, requires = "classifier")]
    classifier_qkv_order: Option<QkvOrder>,
    /// Residual blocks a level of the classifier, where its tensors leave that open
    #[arg(long, value_name = "N", requires = "classifier")]
    classifier_res_blocks: Option<usize>,
    /// The preset's file, new
    #[arg(short, long, value_name = "FILE.toml")]
    output: PathBuf,
}

pub fn run(args: &PresetArgs) -> anyhow::Result<ExitCode> {
    let Checkpoints { unet, classifier, unet_key, classifier_key } = &args.checkpoints;
    let unet = shapes(unet, unet_key, "--unet-key")?;
    let classifier = shapes(classifier, classifier_key, "--classifier-key")?;
    let name = args.output.file_stem().unwrap_or_default().to_string_lossy();
    let inferred = infer(&name, unet.as_ref(), classifier.as_ref(), &args.answers())?;
    write(&args.output, &inferred.text)?;
    for Finding { key, value, from } in &inferred.findings {
        println!("  {key:<34} {value:<28} {from}");
    }
    println!("wrote {}; next: anomalens-export bundle --preset {0}", args.output.display());
    Ok(ExitCode::SUCCESS)
}

impl PresetArgs {
    fn answers(&self) -> Answers {
        Answers {
            image_size: self.image_size,
            channels: self.channels.clone(),
            schedule: self.schedule,
            timesteps: self.timesteps,
            healthy_class: self.healthy_class,
            heads: self.heads,
            heads_up: self.heads_up,
            qkv_order: self.qkv_order,
            classifier_heads: self.classifier_heads,
            classifier_qkv_order: self.classifier_qkv_order,
            classifier_res_blocks: self.classifier_res_blocks,
        }
    }
}

/// Names and shapes of the one network of a file; `option` takes `key`.
fn shapes(
    path: &Option<PathBuf>,
    key: &Option<String>,
    option: &str,
) -> Result<Option<Shapes>, CheckpointError> {
    let Some(path) = path else { return Ok(None) };
    let checkpoint = Checkpoint::open(path, key.as_deref())?.one_network(option)?;
    Ok(Some(checkpoint.shapes()))
}

/// Writes a file that appears when it is whole.
fn write(path: &Path, text: &str) -> Result<(), OutputError> {
    let output = OutputFile::create(path)?;
    output.file().write_all(text.as_bytes()).map_err(|e| output.error(e))?;
    output.finish()
}

fn schedule(text: &str) -> Result<ScheduleKind, String> {
    match text {
        "linear" => Ok(ScheduleKind::Linear),
        "cosine" => Ok(ScheduleKind::Cosine),
        _ => Err("expected linear or cosine".into()),
    }
}

fn qkv_order(text: &str) -> Result<QkvOrder, String> {
    match text {
        "head-first" => Ok(QkvOrder::HeadFirst),
        "qkv-first" => Ok(QkvOrder::QkvFirst),
        _ => Err("expected head-first or qkv-first".into()),
    }
}

fn heads(text: &str) -> Result<Heads, String> {
    let number = |text: &str| text.parse().ok().filter(|&n: &usize| n > 0);
    let found = text.split_once(':').and_then(|(kind, n)| match kind {
        "count" => Some(Heads::Count(number(n)?)),
        "channels" => Some(Heads::Channels(number(n)?)),
        _ => None,
    });
    found.ok_or_else(|| "expected count:N or channels:N, e.g. channels:64".into())
}
