//! `convert`: a checkpoint in another format.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use anomalens_exporter::convert::{Format, Report, Request, convert};
use anomalens_models::weights::Element;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

#[derive(Args)]
pub struct ConvertArgs {
    /// The checkpoint: a .pt or .safetensors, told apart by its content
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// The new file, .pt, .pth or .safetensors; must not exist
    #[arg(value_name = "OUT", value_parser = named_by_format)]
    output: PathBuf,
    /// Key that the tensors stand under, where the file holds more; '' is the top [default: the one network that is
    /// found; without a network in it, everything]
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// What to take from the beginning of every name, e.g. `model.`
    #[arg(long, value_name = "PREFIX")]
    strip: Option<String>,
    /// Make f16, bf16 and f64 tensors f32 [default: every tensor keeps its type]
    #[arg(long, value_enum, value_name = "f32")]
    dtype: Option<DType>,
}

#[derive(Clone, Copy, ValueEnum)]
enum DType {
    F32,
}

fn named_by_format(path: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(path);
    Format::of(&path).map(|_| path).map_err(|e| e.to_string())
}

pub fn run(args: &ConvertArgs) -> anyhow::Result<ExitCode> {
    let request = Request {
        input: &args.input,
        output: &args.output,
        key: args.key.as_deref(),
        strip: args.strip.as_deref(),
        to_f32: matches!(args.dtype, Some(DType::F32)),
    };
    let stopped = super::stop_on_ctrl_c()?;
    let style = "{bar:40} {decimal_bytes} of {decimal_total_bytes}";
    let bar = ProgressBar::new(0).with_style(ProgressStyle::with_template(style)?);
    let report = convert(&request, &mut |done, total| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
        if stopped.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    bar.finish_and_clear();
    let Report { tensors, bytes, found, renamed, left_out, converted } = report?;
    if let Some(key) = found {
        println!("found under '{key}'");
    }
    if let Some(renamed) = renamed {
        println!(
            "{renamed}: so they are written. The order of q, k and v is qkv-first, and its group norms are its own:"
        );
        println!("give --qkv-order, --norm-groups and --norm-epsilon to `preset`");
    }
    for (element, count) in converted {
        let how = if element == Element::F64 { "rounded to f32" } else { "widened to f32, exactly" };
        println!("{count} tensors of {element}: {how}");
    }
    if left_out > 0 {
        println!("{left_out} tensors that stand elsewhere in the file were left out");
    }
    println!("wrote {}: {tensors} tensors, {bytes} bytes", args.output.display());
    Ok(ExitCode::SUCCESS)
}
