//! `preset`: the definition of a checkpoint's networks, from its tensors and a person's answers.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anomalens_exporter::checkpoint::{Checkpoint, CheckpointError, Origin};
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
    /// Groups of the U-Net's group norms, where they are not 32
    #[arg(long, value_name = "N", requires = "unet")]
    norm_groups: Option<usize>,
    /// What the U-Net's group norms add to the variance, where it is not 1e-5
    #[arg(long, value_name = "EPSILON", requires = "unet")]
    norm_epsilon: Option<f64>,
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
    let unet = open("unet", unet, unet_key, "--unet-key")?;
    let classifier = open("classifier", classifier, classifier_key, "--classifier-key")?;
    let name = args.output.file_stem().unwrap_or_default().to_string_lossy();
    let answers = args.answers(unet.as_ref().map(|(_, origin)| *origin).unwrap_or_default());
    let shapes = |network: &Option<(Shapes, Origin)>| network.as_ref().map(|(shapes, _)| shapes.clone());
    let inferred = infer(&name, shapes(&unet).as_ref(), shapes(&classifier).as_ref(), &answers)?;
    write(&args.output, &inferred.text)?;
    for Finding { key, value, from } in &inferred.findings {
        println!("  {key:<34} {value:<28} {from}");
    }
    println!("wrote {}; next: anomalens-export bundle --preset {0}", args.output.display());
    Ok(ExitCode::SUCCESS)
}

impl PresetArgs {
    fn answers(&self, origin: Origin) -> Answers {
        Answers {
            origin,
            image_size: self.image_size,
            channels: self.channels.clone(),
            schedule: self.schedule,
            timesteps: self.timesteps,
            healthy_class: self.healthy_class,
            heads: self.heads,
            heads_up: self.heads_up,
            qkv_order: self.qkv_order,
            norm_groups: self.norm_groups,
            norm_epsilon: self.norm_epsilon,
            classifier_heads: self.classifier_heads,
            classifier_qkv_order: self.classifier_qkv_order,
            classifier_res_blocks: self.classifier_res_blocks,
        }
    }
}

/// Names and shapes of the one network of a file, and whose it is; `option` takes `key`.
fn open(
    network: &str,
    path: &Option<PathBuf>,
    key: &Option<String>,
    option: &str,
) -> Result<Option<(Shapes, Origin)>, CheckpointError> {
    let Some(path) = path else { return Ok(None) };
    let checkpoint = Checkpoint::open(path, key.as_deref())?.one_network(option)?;
    if let Some(remark) = checkpoint.renamed() {
        eprintln!("note: {network} of '{}': {remark}", path.display());
    }
    Ok(Some((checkpoint.shapes(), checkpoint.origin()?)))
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
