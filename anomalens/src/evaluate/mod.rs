//! `evaluate`: a cohort with masks in; scores, and those of baselines beside them, out. `merge`: the same from parts.
//!
//! ```text
//! Cohort -> runtime::translate, batch by batch -> Store (OUT/parts)   for each network; a shard ends here
//! Store, Cohort -> Column: a map for every slice -> Scores -> figures for each method
//!               -> Results -> results.csv, volumes.csv, summary.json, report.html, sheet.png
//! ```
//!
//! Translating is what takes time and is kept; scoring starts again from what is kept, so that the result depends neither on
//! where a run was interrupted nor on how many machines have shared it. A method more is a [`column::Column`] more.

mod args;
mod cases;
mod column;
mod figure;
mod merge;
mod page;
mod plan;
mod record;
mod results;
mod score;
mod shard;
mod store;
mod table;
mod volume;

use std::path::{Path, PathBuf};

use anomalens_cohort::Cohort;
use anomalens_method::ddim::GradientScale;
use anomalens_method::translate::Options;
use anomalens_models::image::UnitImage;
use anomalens_models::manifest::Manifest;
use anomalens_models::schedule::NoiseLevel;
use anomalens_runtime::engine::{self, Engine};
use anyhow::Result;

use crate::TOOL;
use crate::failure::{Outcome, Usage};
use crate::interrupt::{self, Interrupted};
use crate::picture;
use crate::progress::Progress;
use crate::translate::options;
use crate::translator::{Approach, Translator};

pub use args::{EvaluateArgs, MergeArgs};
use column::{OURS, columns};
pub use merge::run as merge;
use plan::Plan;
use record::{Network, Record, Settings};
use results::{Method, Origin, Results};
use store::Store;

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
    let shard = shard::choose(args.shard, |name| std::env::var(name).ok()).map_err(Usage::new)?;
    let manifest = Manifest::read(&args.bundle)?;
    let mut approach = approach(args, &manifest).map_err(Usage::new)?;
    let cohort = Cohort::open_split(&args.cohort, args.split.as_deref())?;
    check(&cohort, &manifest)?;
    let engine = engine::open(&options::engine(&args.engine))?;
    let batch = args.batch.unwrap_or(if engine.describe().starts_with("ort") { 16 } else { 4 });
    *approach.batch() = batch;
    let sha256 = Manifest::bundle_hash(&args.bundle)?;
    let record = Record {
        settings: settings(args, engine.as_ref(), &approach, batch, &sha256, &cohort.fingerprint()?),
        shard,
        limit: args.limit,
        batch,
        cohort: std::path::absolute(&args.cohort)?,
        split: args.split.clone(),
        networks: vec![Network {
            method: OURS.to_owned(),
            bundle: manifest.preset.name.clone(),
            sha256,
            provenance: manifest.provenance.clone(),
        }],
    };
    let mut store = Store::open(&args.out, &record, plan(&cohort, &record))?;
    begin(&cohort, &manifest, engine.as_ref(), &approach, &record, &store);
    translate_all(args, &cohort, engine.as_ref(), approach, &mut store)?;
    match shard {
        None => conclude(&cohort, &mut store, record, &args.out)?,
        Some(shard) => {
            let (n, of) = (store.slices(), shard.of());
            eprintln!(
                "part {shard}: its {n} slices are kept in '{}'; when all {of} parts are done, `anomalens merge` scores them",
                args.out.display()
            );
        }
    }
    Ok(Outcome::Done)
}

/// Which slices are looked at, in which batches.
fn plan(cohort: &Cohort, record: &Record) -> Plan {
    let diseased: Vec<bool> = cohort.items().iter().map(|item| item.diseased).collect();
    Plan::new(&diseased, record.batch, record.limit)
}

/// Scores what is kept, all of it, and writes the results.
fn conclude(cohort: &Cohort, store: &mut Store, record: Record, out: &Path) -> Result<()> {
    let results = results(cohort, store, record)?;
    store.result("results.csv", table::slices_csv(&results).as_bytes())?;
    store.result("volumes.csv", table::volumes_csv(&results).as_bytes())?;
    store.result("summary.json", table::json(&results).as_bytes())?;
    store.result("timings.json", table::timings(&results).as_bytes())?;
    let sheet = cases::sheet(cohort, store, &results)?;
    store.result("report.html", page::html(&results, &sheet)?.as_bytes())?;
    // Last: who finds it, as a recipe's run does, finds everything.
    store.result("sheet.png", &picture::png(&sheet.draw())?)?;
    let mut text = table::text(&results);
    text += &format!(
        "report.html, results.csv, volumes.csv, summary.json and sheet.png are in {}\n",
        out.display()
    );
    crate::print(&text);
    Ok(())
}

/// Scores every method on every slice that is looked at.
fn results(cohort: &Cohort, store: &mut Store, record: Record) -> Result<Results> {
    let volumes = volume::volumes(cohort, &store.plan().slices());
    let networks: Vec<_> = record.networks.iter().map(|network| network.method.as_str()).collect();
    let seconds =
        networks.iter().filter_map(|name| Some(((*name).to_owned(), store.spent(name).seconds()?))).collect();
    let (mut methods, mut facts) = (Vec::new(), Vec::new());
    for column in columns(&networks, cohort.channels()) {
        let scores = score::score(cohort, store, &column, &volumes)?;
        let figures = figure::figures(&scores)?;
        facts = scores.facts;
        let (slices, one_threshold) = (scores.slices, scores.one_threshold);
        methods.push(Method { column, one_threshold, slices, volumes: scores.volumes, figures });
    }
    Ok(Results {
        origin: Origin {
            tool: TOOL.to_owned(),
            networks: record.networks,
            cohort: [cohort.kind().to_owned(), cohort.note().to_owned(), cohort.fingerprint()?],
            settings: record.settings,
            all: cohort.len(),
            seconds,
        },
        items: facts.iter().map(|fact| cohort.item(fact.index).clone()).collect(),
        thirds: figure::thirds(&facts).map(|third| third.pixels),
        volumes,
        facts,
        methods,
    })
}

/// What the sampler is told; every error is one of usage.
fn approach(args: &EvaluateArgs, manifest: &Manifest) -> Result<Approach> {
    let mut options = Options::defaults(&manifest.preset)?;
    if let Some(level) = args.noise_level {
        options.noise_level = NoiseLevel::new(level);
    }
    if let Some(scale) = args.scale {
        options.scale = GradientScale::new(scale)?;
    }
    options.steps = options::steps(args.steps, args.spacing, &options)?;
    options.batch = args.batch.unwrap_or(1);
    let approach = Approach::Guided(options);
    approach.check(&args.bundle, manifest)?;
    if args.limit == Some(0) {
        anyhow::bail!("--limit 0, expected at least 1 slice; leave it out to score them all");
    }
    Ok(approach)
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
    approach: &Approach,
    batch: usize,
    bundle: &str,
    cohort: &str,
) -> Settings {
    let mut settings = vec![("bundle".into(), bundle.to_owned()), ("cohort".into(), cohort.to_owned())];
    settings.extend(approach.describe());
    let name = engine.describe();
    let name = name.split(" (").next().unwrap_or_default();
    let tf32 = if args.engine.tf32 { ", tf32" } else { "" };
    settings.push(("engine".into(), format!("{name}, {}{tf32}", args.engine.device)));
    settings.push(("batch".into(), batch.to_string()));
    settings
}

/// Says on the terminal what is about to be done.
fn begin(
    cohort: &Cohort,
    manifest: &Manifest,
    engine: &dyn Engine,
    approach: &Approach,
    record: &Record,
    store: &Store,
) {
    eprintln!("engine: {}", engine.describe());
    eprintln!("bundle: {}, {}", manifest.preset.name, manifest.provenance);
    eprintln!("cohort: {}, {}: {}", cohort.dir().display(), cohort.kind(), cohort.note());
    for damaged in &store.damaged {
        eprintln!("warning: {damaged}; this batch is made again");
    }
    let parameters: Vec<_> =
        approach.describe().iter().map(|(name, value)| format!("{name} {value}")).collect();
    if let Some(shard) = record.shard {
        eprintln!("part {shard}: --shard 1/1 would do all of it");
    }
    let (all, done) = (store.slices(), store.finished());
    eprintln!("slices: {all}, of which {done} are done; {}", parameters.join(", "));
}

/// Translates what is not yet kept.
fn translate_all(
    args: &EvaluateArgs,
    cohort: &Cohort,
    engine: &dyn Engine,
    approach: Approach,
    store: &mut Store,
) -> Result<()> {
    let missing = store.missing(OURS);
    if missing.is_empty() {
        return Ok(());
    }
    let stopped = |store: &Store| EvaluateError::Interrupted {
        done: store.finished(),
        total: store.slices(),
        out: args.out.clone(),
    };
    let mut translator = Translator::open(&args.bundle, engine, args.unverified, approach)?;
    let mut progress = Progress::start();
    for (done, &number) in missing.iter().enumerate() {
        let images: Vec<_> =
            store.plan().batch(number).iter().map(|&i| unit(cohort, i)).collect::<Result<_>>()?;
        let made = translator.run(&images, &mut |place, step, steps| {
            progress.step(place, done * steps + step, missing.len() * steps);
        });
        match made {
            Err(error) if error.is::<Interrupted>() => {
                progress.finish();
                return Err(stopped(store).into());
            }
            made => {
                let made = made?;
                let healthy = made.healthy.as_ref().expect("the method makes one");
                store.put(OURS, number, healthy, made.time())?;
            }
        }
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
