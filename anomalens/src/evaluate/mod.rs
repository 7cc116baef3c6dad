//! `evaluate`: a cohort with masks in; scores, and those of thresholding beside them, out.
//!
//! ```text
//! Cohort -> runtime::translate, batch by batch -> Store (OUT/parts) -> score each slice -> Summary
//!                                                                        -> results.csv, summary.json, sheet.png
//! ```
//!
//! Translating is what takes time and is kept; scoring starts again from what is kept, so that the result does not
//! depend on where a run was interrupted.

mod args;
mod score;
mod sheet;
mod store;
mod summary;
mod table;

use std::ops::ControlFlow;
use std::path::PathBuf;

use anomalens_cohort::Cohort;
use anomalens_method::ddim::{GradientScale, Leg};
use anomalens_method::translate::Options;
use anomalens_models::image::{AnomalyMap, UnitImage};
use anomalens_models::manifest::Manifest;
use anomalens_models::schedule::NoiseLevel;
use anomalens_runtime::bundle::Bundle;
use anomalens_runtime::engine::{self, Engine};
use anomalens_runtime::translate::translate;
use anyhow::Result;

use crate::failure::{Outcome, Usage};
use crate::picture::{self, Sheet, SheetRow};
use crate::progress::Progress;
use crate::translate::options::{self, describe};
use crate::{TOOL, interrupt};

pub use args::EvaluateArgs;
use score::{Pool, Scores, Slice};
use store::{Plan, Settings, Store};
use summary::Summary;
use table::Origin;

/// Why a cohort and a bundle do not go together, or why the work stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvaluateError {
    /// No truth.
    #[error("cohort '{}': no masks.npy, expected a mask for every slice; scores need them: write the cohort with masks", path.display())]
    NoMasks {
        /// The cohort.
        path: PathBuf,
    },
    /// Other images than the networks were made for.
    #[error("cohort '{}': {what} {found}, expected {expected} by bundle '{bundle}'; choose a bundle for these images, or make the cohort anew", path.display())]
    Fit {
        /// The cohort.
        path: PathBuf,
        /// Channels or size.
        what: &'static str,
        /// The cohort's.
        found: String,
        /// The bundle's.
        expected: String,
        /// The bundle's preset.
        bundle: String,
    },
    /// A person has stopped the program.
    #[error("interrupted: {done} of {total} slices are kept in '{}'; the same command goes on from there", out.display())]
    Interrupted {
        /// The slices that are finished.
        done: usize,
        /// The slices to be scored.
        total: usize,
        /// The folder.
        out: PathBuf,
    },
}

/// Runs the command.
///
/// Errors: everything that can be wrong with the cohort, the bundle, the options and the output.
pub fn run(args: &EvaluateArgs) -> Result<Outcome> {
    interrupt::catch()?;
    let manifest = Manifest::read(&args.bundle)?;
    let mut options = sampler(args, &manifest).map_err(Usage::new)?;
    let cohort = Cohort::open_split(&args.cohort, args.split.as_deref())?;
    check(&cohort, &manifest)?;
    let engine = engine::open(&options::engine(&args.engine))?;
    options.batch = args.batch.unwrap_or(if engine.describe().starts_with("ort") { 16 } else { 4 });
    let (hash, fingerprint) = (Manifest::bundle_hash(&args.bundle)?, cohort.fingerprint()?);
    let settings = settings(args, engine.as_ref(), &options, &hash, &fingerprint);
    let diseased: Vec<bool> = cohort.items().iter().map(|item| item.diseased).collect();
    let plan = Plan::new(&diseased, options.batch, args.limit);
    let chosen = plan.slices();
    let mut store = Store::open(&args.out, &settings, plan)?;
    begin(&cohort, &manifest, engine.as_ref(), &options, &store);

    translate_all(args, &cohort, engine.as_ref(), &options, &mut store)?;

    let channel = thresholded(cohort.channels());
    let (scores, pool) = score_all(&cohort, &mut store, &chosen, channel)?;
    let summary = Summary::new(&scores, &pool)?;
    let spent = store.spent();
    let origin = Origin {
        tool: TOOL.to_owned(),
        bundle: [manifest.preset.name.clone(), hash, manifest.provenance.clone()],
        cohort: [cohort.kind().to_owned(), cohort.note().to_owned(), fingerprint],
        settings,
        thresholded: channel.map(|c| cohort.channels()[c].clone()),
        slices: (chosen.len(), cohort.len()),
        seconds: spent.time.as_secs_f64() / spent.slices.max(1) as f64,
    };
    let rows = chosen.iter().zip(&scores).map(|(&index, scores)| (index, cohort.item(index), scores));
    store.result("results.csv", table::csv(rows).as_bytes())?;
    store.result("summary.json", table::json(&origin, &summary).as_bytes())?;
    let sheet = sheet(&cohort, &mut store, &chosen, &scores, &origin)?;
    store.result("sheet.png", &picture::png(&sheet.draw())?)?;
    let mut text = table::text(&origin, &summary);
    text += &format!("results.csv, summary.json and sheet.png are in {}\n", args.out.display());
    crate::print(&text);
    Ok(Outcome::Done)
}

/// What the sampler is told; every error is one of usage.
fn sampler(args: &EvaluateArgs, manifest: &Manifest) -> Result<Options> {
    let mut options = Options::defaults(&manifest.preset)?;
    if let Some(level) = args.noise_level {
        options.noise_level = NoiseLevel::new(level);
    }
    if let Some(scale) = args.scale {
        options.scale = GradientScale::new(scale)?;
    }
    options.steps = options::steps(args.steps, args.spacing, &options)?;
    options.batch = args.batch.unwrap_or(1);
    options::check(&args.bundle, manifest, &options)?;
    if args.limit == Some(0) {
        anyhow::bail!("--limit 0, expected at least 1 slice; leave it out to score them all");
    }
    Ok(options)
}

/// Whether the bundle is one for these images.
fn check(cohort: &Cohort, manifest: &Manifest) -> Result<(), EvaluateError> {
    let preset = &manifest.preset;
    let path = cohort.dir().to_owned();
    if !cohort.has_masks() {
        return Err(EvaluateError::NoMasks { path });
    }
    let fit = |what, found, expected| {
        let bundle = preset.name.clone();
        Err(EvaluateError::Fit { path: path.clone(), what, found, expected, bundle })
    };
    let names: Vec<_> = preset.image.channels.iter().map(|c| c.name.as_str()).collect();
    if cohort.channels() != names {
        return fit("channels", cohort.channels().join(", "), names.join(", "));
    }
    let size = |size: usize| format!("{size} x {size}");
    if cohort.size() != preset.image.size {
        return fit("size", size(cohort.size()), size(preset.image.size));
    }
    if cohort.percentile() != preset.image.percentile {
        eprintln!(
            "warning: the cohort was normalised by percentile {}, the bundle's networks by {}",
            cohort.percentile(),
            preset.image.percentile
        );
    }
    Ok(())
}

/// What makes the results what they are: the batch, too, by whose size engines round.
fn settings(
    args: &EvaluateArgs,
    engine: &dyn Engine,
    options: &Options,
    bundle: &str,
    cohort: &str,
) -> Settings {
    let mut settings = vec![("bundle".into(), bundle.to_owned()), ("cohort".into(), cohort.to_owned())];
    settings.extend(describe(options));
    let name = engine.describe();
    let name = name.split(" (").next().unwrap_or_default();
    let tf32 = if args.engine.tf32 { ", tf32" } else { "" };
    settings.push(("engine".into(), format!("{name}, {}{tf32}", args.engine.device)));
    settings.push(("batch".into(), options.batch.to_string()));
    settings
}

/// Says on the terminal what is about to be done.
fn begin(cohort: &Cohort, manifest: &Manifest, engine: &dyn Engine, options: &Options, store: &Store) {
    eprintln!("engine: {}", engine.describe());
    eprintln!("bundle: {}, {}", manifest.preset.name, manifest.provenance);
    eprintln!("cohort: {}, {}: {}", cohort.dir().display(), cohort.kind(), cohort.note());
    for damaged in &store.damaged {
        eprintln!("warning: {damaged}; this batch is made again");
    }
    let parameters: Vec<_> =
        describe(options).iter().map(|(name, value)| format!("{name} {value}")).collect();
    let (all, done) = (store.plan().slices().len(), store.finished());
    eprintln!("slices: {all}, of which {done} are done; {}", parameters.join(", "));
}

/// Translates what is not yet kept.
fn translate_all(
    args: &EvaluateArgs,
    cohort: &Cohort,
    engine: &dyn Engine,
    options: &Options,
    store: &mut Store,
) -> Result<()> {
    let missing = store.missing();
    if missing.is_empty() {
        return Ok(());
    }
    let stopped = |store: &Store| EvaluateError::Interrupted {
        done: store.finished(),
        total: store.plan().slices().len(),
        out: args.out.clone(),
    };
    let mut bundle = Bundle::open(&args.bundle, engine, args.unverified)?;
    let mut progress = Progress::start();
    for (done, &number) in missing.iter().enumerate() {
        let images: Vec<_> =
            store.plan().batch(number).iter().map(|&i| unit(cohort, i)).collect::<Result<_>>()?;
        let translated = translate(&mut bundle, &images, options, &mut |step| {
            let leg = match step.leg {
                Leg::Encode => "encode",
                Leg::Decode => "decode",
            };
            progress.step(leg, step.level.get(), done * step.total + step.done, missing.len() * step.total);
            if interrupt::check().is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        let translated = match translated {
            Err(error) if error.cancelled() => {
                progress.finish();
                return Err(stopped(store).into());
            }
            translated => translated?,
        };
        store.put(number, &translated.healthy, translated.timings.encode + translated.timings.decode)?;
    }
    progress.finish();
    if interrupt::check().is_err() {
        return Err(stopped(store).into());
    }
    Ok(())
}

/// A slice's name, as errors and pictures have it.
fn name(cohort: &Cohort, index: usize) -> String {
    let item = cohort.item(index);
    format!("item {index} ({}, slice {})", item.subject, item.slice)
}

fn unit(cohort: &Cohort, index: usize) -> Result<UnitImage> {
    Ok(UnitImage::new(&name(cohort, index), cohort.image(index)?)?)
}

/// The channel to threshold: FLAIR, where lesions of the brain are bright, or the only one.
fn thresholded(channels: &[String]) -> Option<usize> {
    let flair = channels.iter().position(|name| name.to_lowercase().contains("flair"));
    flair.or_else(|| (channels.len() == 1).then_some(0))
}

/// A finished slice with its truth, and its healthy version.
fn slice(cohort: &Cohort, store: &mut Store, index: usize) -> Result<(Slice, ndarray::Array3<f32>)> {
    let image = cohort.image(index)?;
    let healthy = store.healthy(index)?;
    let map = AnomalyMap::between(&image, &healthy)?;
    let truth =
        cohort.mask(index)?.ok_or_else(|| EvaluateError::NoMasks { path: cohort.dir().to_owned() })?;
    Ok((Slice { name: name(cohort, index), image, map, truth, brain: cohort.brain(index)? }, healthy))
}

fn score_all(
    cohort: &Cohort,
    store: &mut Store,
    chosen: &[usize],
    channel: Option<usize>,
) -> Result<(Vec<Scores>, Pool)> {
    let mut pool = Pool::default();
    let mut scores = Vec::with_capacity(chosen.len());
    for &index in chosen {
        scores.push(slice(cohort, store, index)?.0.score(channel, &mut pool)?);
    }
    Ok((scores, pool))
}

fn sheet(
    cohort: &Cohort,
    store: &mut Store,
    chosen: &[usize],
    scores: &[Scores],
    origin: &Origin,
) -> Result<Sheet> {
    let ranked: Vec<_> =
        scores.iter().map(|s| (s.lesion_pixels > 0, s.ours.dice.unwrap_or(s.map_brain))).collect();
    let mut rows = Vec::new();
    for (place, why) in sheet::choose(&ranked) {
        let (index, s) = (chosen[place], &scores[place]);
        let (slice, healthy) = slice(cohort, store, index)?;
        let (_, mask) = anomalens_method::otsu::mask(&slice.map)?;
        let score = |value: Option<f64>| value.map_or("-".into(), |v| format!("{v:.3}"));
        let label = match s.lesion_pixels {
            0 => format!("healthy, {why}: mean {:.4} inside the region - {}", s.map_brain, slice.name),
            pixels => format!(
                "diseased, {why}: {} (thresholding {}), AUROC {} - {}, lesion {pixels} pixels",
                score(s.ours.dice),
                score(s.thresholding.and_then(|t| t.dice)),
                score(s.ours.auroc),
                slice.name
            ),
        };
        let Slice { image, map, truth, .. } = slice;
        rows.push(SheetRow { label, input: image, healthy, map: map.values().clone(), mask, truth });
    }
    let settings = origin.settings.iter().skip(2).map(|(name, value)| format!("{name} {value}"));
    Ok(Sheet {
        lines: vec![
            format!(
                "{}, bundle {} {} - {}",
                origin.tool,
                origin.bundle[0],
                &origin.bundle[1][..12],
                origin.bundle[2]
            ),
            format!("cohort {}: {}", origin.cohort[0], origin.cohort[1]),
            settings.collect::<Vec<_>>().join(", "),
        ],
        channels: cohort.channels().to_vec(),
        under: thresholded(cohort.channels()).unwrap_or(0),
        rows,
    })
}
