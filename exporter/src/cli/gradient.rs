//! `gradient`: the input gradient of an ONNX classifier, as ONNX.

use std::path::PathBuf;
use std::process::ExitCode;

use anomalens_exporter::gradient::Kind;
use anomalens_exporter::onnx_gradient::{Report, Request, write};

#[derive(clap::Args)]
pub struct GradientArgs {
    /// The network: ONNX, opset 13 to 21, with a dynamic batch and a fixed size of image
    #[arg(value_name = "FILE.onnx")]
    model: PathBuf,
    /// Its input to differentiate with respect to
    #[arg(long, value_name = "NAME")]
    input: String,
    /// Its output to differentiate
    #[arg(long, value_name = "NAME")]
    output: String,
    /// What of the output: `log-prob` and `logit` of the class that one more input names, or the `sum` of all of it
    #[arg(long, value_name = "log-prob|logit|sum", default_value_t = Kind::LogProb)]
    kind: Kind,
    /// Name of the input that the class of each sample comes in by: i64, one a sample, from 0
    #[arg(long, value_name = "NAME", default_value = "y")]
    class_input: String,
    /// The new file; must not exist
    #[arg(short = 'o', long = "out", value_name = "FILE.onnx")]
    out: PathBuf,
}

pub fn run(args: &GradientArgs) -> anyhow::Result<ExitCode> {
    let GradientArgs { model, input, output, kind, class_input, out } = args;
    let report = write(&Request { model, input, output, kind: *kind, class_input, out })?;
    let Report { forward, gradient, bytes } = &report;
    println!("wrote {}: {bytes} bytes, weights inside", out.display());
    for (what, description) in [("network", forward), ("with gradient", gradient)] {
        println!(
            "  {what:<14} {:.3} GMAC a sample, {:.1} MiB at once",
            description.macs as f64 / 1e9,
            super::describe::mib(description.peak_bytes)
        );
    }
    Ok(ExitCode::SUCCESS)
}
