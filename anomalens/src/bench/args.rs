//! What to time, and how often.

use std::path::PathBuf;

use anomalens_runtime::engine::{Device, EngineChoice, Provider};
use clap::Args;

use crate::args::PathArgs;

const EXAMPLES: &str = "\
Examples:
  Both engines, at one image and at four, by the demo's networks:
    anomalens bench models/demo --engine ort,tract --batch 1,4
  The networks of the paper's size, three steps a loop instead of hundreds:
    anomalens bench brats --steps 3
  Where the time of each network goes, operator by operator, and a trace for ui.perfetto.dev:
    anomalens bench brats --steps 3 --engine ort --profile trace
  The paper's own steps beside the bundle's:
    anomalens bench models/demo --exact --rounds 1
    anomalens bench models/demo --rounds 1
  OpenVINO's kernels beside ONNX Runtime's own:
    anomalens bench models/demo --engine ort --provider default,openvino
  For a program to read:
    anomalens bench models/demo --json figures.json

Each figure is of a process of its own; several rounds take turns, so that whatever else the machine does falls on all alike.
Compare figures of one run alone, and see that the machine does nothing else.

Exit codes: 0 done; 1 failed or interrupted; 2 wrong command line.";

/// What to time, and how often.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct BenchArgs {
    /// Folders of networks, written by `anomalens-export bundle`
    #[arg(required = true, value_name = "BUNDLE")]
    pub bundles: Vec<PathBuf>,
    /// auto, ort or tract, with commas between
    #[arg(long, value_name = "ENGINE,…", value_delimiter = ',', default_value = "auto")]
    pub engine: Vec<EngineChoice>,
    /// cpu, cuda or cuda:N, with commas between
    #[arg(long, value_name = "DEVICE,…", value_delimiter = ',', default_value = "cpu")]
    pub device: Vec<Device>,
    /// default, openvino or openvino-bf16, with commas between
    #[arg(long, value_name = "PROVIDER,…", value_delimiter = ',', default_value = "default")]
    pub provider: Vec<Provider>,
    /// Images given to the networks at once, with commas between
    #[arg(long, value_name = "B,…", value_delimiter = ',', default_value = "1")]
    pub batch: Vec<usize>,
    /// Which steps are made, and how.
    #[command(flatten)]
    pub path: PathArgs,
    /// Threads [default: one a core]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// With --device cuda: faster products of 10-bit mantissa
    #[arg(long)]
    pub tf32: bool,
    /// Take a bundle that no parity gate has passed
    #[arg(long)]
    pub unverified: bool,
    /// How often each is timed, by turns
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub rounds: usize,
    /// Write every figure to this file
    #[arg(long, value_name = "FILE.json")]
    pub json: Option<PathBuf>,
    /// Instead of timing, have ONNX Runtime write what each node takes into this folder, new or empty
    #[arg(long, value_name = "DIR", conflicts_with = "json")]
    pub profile: Option<PathBuf>,
    /// Time once, in this process, and print the figures as JSON: what the turns are made of.
    #[arg(long, hide = true)]
    pub burst: bool,
}
