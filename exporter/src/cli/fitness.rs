//! `fitness`: what a bundle's training cohort looks like, put into the bundle.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use anomalens_exporter::fitness::{IMAGES, Request, measure};
use anomalens_models::fitness::{Expected, Range};
use anomalens_runtime::engine::{self, Device, EngineChoice, EngineOptions};

#[derive(clap::Args)]
pub struct FitnessArgs {
    /// The bundle, which gets a file fitness.json and a new hash
    #[arg(value_name = "DIR")]
    bundle: PathBuf,
    /// The images that its networks were trained on, as `anomalens-cohort` writes them
    #[arg(long, value_name = "DIR")]
    cohort: PathBuf,
    /// The part of the cohort that its splits.json gives this name [default: all of it]
    #[arg(long, value_name = "NAME")]
    split: Option<String>,
    /// Images to look at, at most, evenly spread over the cohort; the U-Net is asked about 256 of them
    #[arg(long, value_name = "N", default_value_t = IMAGES)]
    limit: usize,
    /// auto, ort or tract; auto takes ort where its library is found
    #[arg(long, default_value_t = EngineChoice::Auto, value_name = "ENGINE")]
    engine: EngineChoice,
    /// Where ONNX Runtime computes: cpu, cuda or cuda:N
    #[arg(long, default_value_t = Device::Cpu)]
    device: Device,
}

pub fn run(args: &FitnessArgs) -> anyhow::Result<ExitCode> {
    let &FitnessArgs { engine: choice, device, .. } = args;
    let engine = engine::open(&EngineOptions { choice, device, ..EngineOptions::default() })?;
    let stopped = super::stop_on_ctrl_c()?;
    let bar = super::spinner();
    let request = Request {
        bundle: &args.bundle,
        cohort: &args.cohort,
        split: args.split.as_deref(),
        images: args.limit,
    };
    let fitness = measure(&request, engine.as_ref(), &mut |what| {
        bar.set_message(what.to_owned());
        if stopped.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    bar.finish_and_clear();
    let fitness = fitness?;
    print(&fitness.look.expected);
    if let Some(noise) = &fitness.noise {
        print(&noise.expected);
    }
    println!("{}: translate compares its input with this now", args.bundle.display());
    Ok(ExitCode::SUCCESS)
}

fn print(expected: &Expected) {
    for Range { name, low, median, high } in &expected.ranges {
        println!("{name:<28} {low:>9.4} .. {high:>9.4}, median {median:>9.4}");
    }
    println!("warned beyond {:.2} times the way from the median to the end", expected.limit);
}
