//! `bundle`: checkpoints to a bundle.

use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anomalens_exporter::bundle::{Event, Request, Source, write};
use anomalens_exporter::checkpoint::{Checkpoint, CheckpointError};
use anomalens_exporter::target::Target;
use anomalens_models::graph::Graph;
use anomalens_models::manifest::{Manifest, ParityCheck};
use anomalens_models::nets;
use anomalens_models::preset::Preset;
use anomalens_models::weights::RandomWeights;
use anyhow::Context;

use super::BundleArgs;

pub fn run(args: &BundleArgs) -> anyhow::Result<ExitCode> {
    let preset = Preset::load(&args.preset)?;
    let (unet, classifier) = match args.random_weights {
        Some(seed) => {
            let random = |graph: &Graph| Some(Source::Random(RandomWeights::new(seed, graph.params())));
            (random(&nets::unet(&preset)?), random(&nets::classifier(&preset)?))
        }
        None => (open(&args.unet, &args.unet_key)?, open(&args.classifier, &args.classifier_key)?),
    };
    let card = args.card.as_deref().map(read_card).transpose()?;
    let request = Request {
        preset: &preset,
        unet,
        classifier,
        output: &args.output,
        target: args.target,
        precision: args.precision.into(),
        gate: args.gate.into(),
        note: args.note.as_deref(),
        card: card.as_deref(),
    };
    let stopped = stop_on_ctrl_c()?;
    let bar = super::spinner();
    let manifest = write(&request, &mut |event| {
        match event {
            Event::Weights { done, total } => bar.set_message(format!("weights: {}%", 100 * done / total)),
            Event::Next(what) => bar.set_message(what.to_owned()),
        }
        if stopped.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    bar.finish_and_clear();
    report(&args.output, &manifest?);
    Ok(ExitCode::SUCCESS)
}

fn open(path: &Option<std::path::PathBuf>, key: &Option<String>) -> Result<Option<Source>, CheckpointError> {
    let checkpoint = path.as_deref().map(|path| Checkpoint::open(path, key.as_deref())).transpose()?;
    Ok(checkpoint.map(Source::Checkpoint))
}

fn read_card(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path)
        .with_context(|| format!("--card '{}': expected a readable Markdown file", path.display()))
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

fn report(output: &Path, manifest: &Manifest) {
    let verification = &manifest.verification;
    println!("wrote {}: {}", output.display(), manifest.files.keys().cloned().collect::<Vec<_>>().join(", "));
    if verification.passed() {
        println!("parity gate {}, passed; engines: {}", verification.gate, verification.engines.join(", "));
        if !verification.note.is_empty() {
            println!("note: {}", verification.note);
        }
    } else {
        println!("unverified ({}): translate refuses it without --unverified", verification.note);
        if manifest.target != Target::Portable.name() {
            let way_out = "on a machine that has what it is for, run";
            println!("{way_out}: anomalens-export verify {} --device cuda", output.display());
        }
    }
    for ParityCheck { output, between, batch, max_abs, max_rel, tolerance } in &verification.checks {
        println!(
            "  {output:<36} {between:<22} batch {batch}  max abs {max_abs:.1e}  rel {max_rel:.1e}  tolerance {tolerance:.1e}"
        );
    }
}
