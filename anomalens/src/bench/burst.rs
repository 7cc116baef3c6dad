//! One measurement, in a process of its own: a bundle opened, images translated.

use std::time::{Duration, Instant};

use anomalens_method::ddim::GradientScale;
use anomalens_method::translate::Options;
use anomalens_models::image::{ImageError, UnitImage};
use anomalens_models::manifest::{CLASSIFIER_GRADIENT, Manifest};
use anomalens_models::preset::Preset;
use anomalens_runtime::engine::{self, EngineOptions};
use anyhow::Result;
use ndarray::Array3;
use serde_json::{Value, json};

use super::args::BenchArgs;
use super::timed::{Runs, TimedEngine};
use crate::args::PathArgs;
use crate::failure::Usage;
use crate::translate::options;
use crate::translator::{Approach, OnePass, Translator};

/// Times one configuration: the first of each list of `args`.
///
/// Errors: [`Usage`]; those of the engine, the bundle and the method.
pub fn run(args: &BenchArgs) -> Result<Value> {
    let (folder, manifest) = (&args.bundles[0], Manifest::read(&args.bundles[0])?);
    let approach = approach(&args.path, args.batch[0], &manifest).map_err(Usage::new)?;
    approach.check(folder, &manifest).map_err(Usage::new)?;
    let options = EngineOptions {
        choice: args.engine[0],
        device: args.device[0],
        provider: args.provider[0],
        threads: args.threads,
        tf32: args.tf32,
    };
    let began = Instant::now();
    let engine = match &args.profile {
        None => engine::open(&options)?,
        Some(folder) => engine::open_profiled(&options, folder)?,
    };
    let engine = TimedEngine::new(engine);
    let settings = approach.describe();
    let mut translator = Translator::open(folder, &engine, args.unverified, approach)?;
    let opened = began.elapsed();
    let images = waves(&manifest.preset, args.batch[0])?;
    // Engines set up memory in the first runs of a graph.
    translator.pace(&images);
    engine.take();
    let began = Instant::now();
    translator.run(&images, &mut |_, _, _| ())?;
    let took = began.elapsed();
    let milliseconds = |time: &Duration| 1e3 * time.as_secs_f64();
    let runs: Runs = engine.take();
    let graphs: serde_json::Map<String, Value> = runs
        .iter()
        .map(|(graph, times)| (graph.clone(), times.iter().map(milliseconds).collect::<Vec<_>>().into()))
        .collect();
    Ok(json!({
        "engine": translator.engine(),
        "target": manifest.target,
        "precision": manifest.precision,
        "settings": settings.into_iter().map(|(name, value)| (name, value.into())).collect::<serde_json::Map<_, _>>(),
        "open_seconds": opened.as_secs_f64(),
        "translation_seconds": took.as_secs_f64(),
        "graph_milliseconds": graphs,
        "peak_bytes": peak_memory(),
    }))
}

/// The bundle's method with its defaults, but for the steps and the batch; without a classifier nothing pulls.
///
/// Errors: what does not fit the bundle; of usage.
pub fn approach(path: &PathArgs, batch: usize, manifest: &Manifest) -> Result<Approach> {
    if let Some(one_pass) = OnePass::of(&manifest.preset, batch) {
        return match path.given().next() {
            Some(name) => Err(one_pass.refuses(name)),
            None => Ok(Approach::OnePass(one_pass)),
        };
    }
    let mut options = Options::defaults(&manifest.preset)?;
    options.batch = batch;
    if !manifest.has(CLASSIFIER_GRADIENT) {
        options.scale = GradientScale::NONE;
    }
    options::path(path, &mut options)?;
    Ok(Approach::Guided(options))
}

/// Images that show nothing; what a network takes does not depend on what is in them.
///
/// Errors: none that are met.
pub fn waves(preset: &Preset, batch: usize) -> Result<Vec<UnitImage>, ImageError> {
    let dim = (preset.channels(), preset.image.size, preset.image.size);
    let image = |i: usize| {
        let pixels = Array3::from_shape_fn(dim, |(c, y, x)| {
            let wave = 0.11 * x as f32 + 0.07 * y as f32 + c as f32 + 0.3 * i as f32;
            0.5 + 0.4 * wave.sin()
        });
        UnitImage::new(&format!("image {i}"), pixels)
    };
    (0..batch).map(image).collect()
}

/// The most memory of the host that this process has had, in bytes; `None` where the system does not say.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(1024 * line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?)
}
