//! `package`: a verified bundle in another program's layout.

use std::path::PathBuf;
use std::process::ExitCode;

use anomalens_exporter::package::{Format, package};

#[derive(clap::Args)]
pub struct PackageArgs {
    /// The bundle, verified
    #[arg(value_name = "DIR")]
    bundle: PathBuf,
    /// Whose layout: a model repository of Triton Inference Server, or a MONAI bundle
    #[arg(long, value_enum)]
    format: Format,
    /// The package's folder: new or empty
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
}

pub fn run(args: &PackageArgs) -> anyhow::Result<ExitCode> {
    package(&args.bundle, args.format, &args.output)?;
    println!("wrote {}", args.output.display());
    Ok(ExitCode::SUCCESS)
}
