//! `bundle`: checkpoints to a bundle.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use anomalens_exporter::bundle::{Event, Request, Source, write};
use anomalens_exporter::checkpoint::Checkpoint;
use anomalens_exporter::guide::{OnnxGuide, Ports};
use anomalens_models::graph::{Graph, GraphError};
use anomalens_models::manifest::Manifest;
use anomalens_models::nets;
use anomalens_models::preset::Preset;
use anomalens_models::weights::RandomWeights;
use anyhow::Context;

use super::{BundleArgs, Checkpoints};

pub fn run(args: &BundleArgs) -> anyhow::Result<ExitCode> {
    let preset = Preset::load(&args.preset)?;
    let [unet, classifier, network] = sources(args, &preset)?;
    let card = args.card.as_deref().map(read_card).transpose()?;
    let request = Request {
        preset: &preset,
        unet,
        classifier,
        network,
        output: &args.output,
        target: args.target,
        precision: args.precision.into(),
        gate: args.gate.into(),
        held_out: args.held_out.as_deref(),
        note: args.note.as_deref(),
        card: card.as_deref(),
    };
    let stopped = super::stop_on_ctrl_c()?;
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

/// The parameters of the U-Net, the classifier and the network of a one-pass method, as far as they are given.
fn sources(args: &BundleArgs, preset: &Preset) -> anyhow::Result<[Option<Source>; 3]> {
    let Checkpoints { unet, classifier, unet_key, classifier_key } = &args.checkpoints;
    if let Some(seed) = args.random_weights {
        let random = |graph: &Graph| Some(Source::Random(RandomWeights::new(seed, graph.params())));
        return Ok(match preset.method.is_one_pass() {
            true => [None, None, random(&nets::trained_one_pass(preset)?)],
            false => [random(&nets::unet(preset)?), random(&nets::classifier(preset)?), None],
        });
    }
    if let Some(model) = &args.classifier_onnx {
        let BundleArgs { classifier_x: x, classifier_t: t, classifier_logits: logits, .. } = args;
        let guide = OnnxGuide::read(model, &Ports { x, t, logits }, preset)?;
        let unet = open("--unet", unet, unet_key, || nets::unet(preset))?;
        return Ok([unet, Some(Source::Onnx(guide)), None]);
    }
    Ok([
        open("--unet", unet, unet_key, || nets::unet(preset))?,
        open("--classifier", classifier, classifier_key, || nets::classifier(preset))?,
        open("--network", &args.network, &args.network_key, || nets::trained_one_pass(preset))?,
    ])
}

/// A checkpoint, and the place in it where the network stands. Says what a person should know of it.
fn open(
    option: &str,
    path: &Option<PathBuf>,
    key: &Option<String>,
    graph: impl FnOnce() -> Result<Graph, GraphError>,
) -> anyhow::Result<Option<Source>> {
    let Some(path) = path else { return Ok(None) };
    let graph = graph().context(option.to_owned())?;
    let (network, key_option) = (graph.name(), format!("{option}-key"));
    let checkpoint = Checkpoint::open(path, key.as_deref())?.place(&key_option, network, graph.params())?;
    for remark in checkpoint.remarks(graph.params()) {
        eprintln!("note: {network} of '{}': {remark}", path.display());
    }
    Ok(Some(Source::Checkpoint(checkpoint)))
}

fn read_card(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path)
        .with_context(|| format!("--card '{}': expected a readable Markdown file", path.display()))
}

fn report(output: &Path, manifest: &Manifest) {
    let verification = &manifest.verification;
    println!("wrote {}: {}", output.display(), manifest.files.keys().cloned().collect::<Vec<_>>().join(", "));
    if verification.passed() {
        println!("parity gate {}, passed; engines: {}", verification.gate, verification.engines.join(", "));
    } else {
        println!("unverified: translate refuses it without --unverified");
        verification.wanting.iter().for_each(|wanting| println!("wanting: {wanting}"));
        println!("on the machine that is to translate, run: {}", manifest.verify_command(output));
    }
    if !verification.note.is_empty() {
        println!("note: {}", verification.note);
    }
    verification.checks.iter().for_each(|check| super::print("ok  ", check));
    verification.trajectory.iter().for_each(super::print_trajectory);
}
