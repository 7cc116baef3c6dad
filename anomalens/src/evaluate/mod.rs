//! `evaluate`: a cohort with masks in; scores, and those of baselines beside them, out. `merge`: the same from parts.
//!
//! ```text
//! Cohort -> Translator, batch by batch -> Store (OUT/parts)   for each method of networks; a shard ends here
//! Store, Cohort -> Column: a map for every slice -> Scores -> figures for each method
//!               -> Results -> results.csv, volumes.csv, summary.json, report.html, sheet.png
//! ```
//!
//! Translating is what takes time and is kept; scoring starts again from what is kept, so that the result depends neither on
//! where a run was interrupted nor on how many machines have shared it. A method more is a [`column::Column`] more.

mod args;
mod cases;
pub mod column;
pub mod figure;
pub mod gallery;
mod merge;
pub mod page;
mod plan;
pub mod record;
pub mod results;
mod runs;
pub mod score;
pub mod shard;
pub mod source;
pub mod store;
pub mod table;
mod volume;

use std::path::{Path, PathBuf};

use anomalens_cohort::Cohort;
use anomalens_models::image::UnitImage;
use anomalens_models::manifest::Manifest;
use anomalens_runtime::engine::{self, Engine};
use anyhow::Result;

use crate::TOOL;
use crate::args::EngineArgs;
use crate::failure::{Outcome, Usage};
use crate::interrupt::{self, Interrupted, Stopped};
use crate::parts::Settings;
use crate::picture;
use crate::progress::Progress;
use crate::translate::options;
use crate::translator::Translator;
use crate::tune;

pub use args::{EvaluateArgs, JobArgs, MergeArgs};
use column::columns;
pub use merge::run as merge;
use plan::Plan;
use record::Record;
use results::{Method, Origin, Results};
use runs::Run;
use store::Store;

/// Why a cohort and a bundle do not go together.
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
}

/// Runs the command.
///
/// Errors: everything that can be wrong with the cohort, the bundle, the options and the output.
pub fn run(mut args: EvaluateArgs) -> Result<Outcome> {
    interrupt::catch()?;
    // A choice is one bundle's.
    if let [bundle] = args.bundles.as_slice() {
        tune::apply(bundle, &mut args.job.engine, &mut args.job.batch)?;
    }
    let args = &args;
    let shard = shard::choose(args.job.shard, |name| std::env::var(name).ok()).map_err(Usage::new)?;
    let bundles = args.bundles.iter().map(|bundle| Ok((bundle.as_path(), Manifest::read(bundle)?)));
    let bundles = bundles.collect::<Result<Vec<_>>>()?;
    let runs = runs::choose(args, &bundles).map_err(Usage::new)?;
    let cohort = Cohort::open_split(&args.job.cohort, args.job.split.as_deref())?;
    if !cohort.has_masks() {
        return Err(EvaluateError::NoMasks { path: cohort.dir().to_owned() }.into());
    }
    for (_, manifest) in &bundles {
        fits(&cohort, manifest)?;
    }
    let engine = engine::open(&options::engine(&args.job.engine))?;
    let batch = args.job.batch();
    let record = Record {
        settings: settings(&args.job.engine, engine.as_ref(), batch, &cohort.fingerprint()?),
        shard,
        limit: args.job.limit,
        batch,
        cohort: std::path::absolute(&args.job.cohort)?,
        split: args.job.split.clone(),
        networks: runs.iter().map(Run::network).collect::<Result<_>>()?,
    };
    let mut store = Store::open(&args.job.out, &record, plan(&cohort, &record))?;
    begin(&cohort, engine.as_ref(), &record, &store);
    for run in runs {
        translate_all(args, &cohort, engine.as_ref(), run, &mut store)?;
    }
    match shard {
        None => conclude(&cohort, &mut store, record, &args.job.out)?,
        Some(shard) => {
            let (n, of) = (store.slices(), shard.of());
            eprintln!(
                "part {shard}: its {n} slices are kept in '{}'; when all {of} parts are done, `anomalens merge` scores them",
                args.job.out.display()
            );
        }
    }
    Ok(Outcome::Done)
}

/// Which slices are looked at, in which batches.
pub fn plan(cohort: &Cohort, record: &Record) -> Plan {
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
    if let Some(methods) = cases::methods(cohort, store, &results)? {
        store.result("methods.png", &picture::png(&methods.png()?)?)?;
    }
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
pub fn results(cohort: &Cohort, store: &mut Store, record: Record) -> Result<Results> {
    let volumes = volume::volumes(cohort, &store.plan().slices());
    let networks: Vec<_> = record.networks.iter().map(|network| network.source).collect();
    let seconds = networks.iter().filter_map(|source| Some((*source, store.spent(*source).seconds()?)));
    let seconds = seconds.collect();
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

/// Whether the bundle is one for these images.
///
/// Errors: [`EvaluateError::Fit`].
pub fn fits(cohort: &Cohort, manifest: &Manifest) -> Result<(), EvaluateError> {
    let preset = &manifest.preset;
    let path = cohort.dir().to_owned();
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

/// What makes the results of all methods what they are: the batch, too, by whose size engines round.
pub fn settings(args: &EngineArgs, engine: &dyn Engine, batch: usize, cohort: &str) -> Settings {
    let mut settings = vec![("cohort".to_owned(), cohort.to_owned())];
    settings.extend(options::computing(args, &engine.describe(), batch));
    settings
}

/// Says on the terminal what is about to be done.
fn begin(cohort: &Cohort, engine: &dyn Engine, record: &Record, store: &Store) {
    eprintln!("engine: {}", engine.describe());
    eprintln!("cohort: {}, {}: {}", cohort.dir().display(), cohort.kind(), cohort.note());
    for damaged in &store.damaged {
        eprintln!("warning: {damaged}; this batch is made again");
    }
    if let Some(shard) = record.shard {
        eprintln!("part {shard}: --shard 1/1 would do all of it");
    }
    eprintln!("slices: {}, of which {} are done", store.slices(), store.finished());
    for network in &record.networks {
        let settings: Vec<_> =
            network.settings.iter().map(|(name, value)| format!("{name} {value}")).collect();
        eprintln!(
            "{}: bundle {}, {}; {}; {} slices are done",
            network.source.name(),
            network.bundle,
            network.provenance,
            settings.join(", "),
            store.done(network.source)
        );
    }
}

/// Makes what is not yet kept of a method.
fn translate_all(
    args: &EvaluateArgs,
    cohort: &Cohort,
    engine: &dyn Engine,
    run: Run,
    store: &mut Store,
) -> Result<()> {
    let method = run.method();
    let missing = store.missing(method);
    if missing.is_empty() {
        return Ok(());
    }
    let stopped =
        |store: &Store| Stopped { done: store.finished(), total: store.slices(), kept: args.job.out.clone() };
    let mut translator = Translator::open(&run.bundle, engine, args.job.unverified, run.approach)?;
    let mut progress = Progress::start();
    for (done, &number) in missing.iter().enumerate() {
        let images: Vec<_> =
            store.plan().batch(number).iter().map(|&i| unit(cohort, i)).collect::<Result<_>>()?;
        let made = translator.run(&images, &mut |place, step, steps| {
            let place = format!("{} {place}", method.column());
            progress.step(&place, done * steps + step, missing.len() * steps);
        });
        match made {
            Err(error) if error.is::<Interrupted>() => {
                progress.finish();
                return Err(stopped(store).into());
            }
            made => store.put(method, number, &made?)?,
        }
    }
    progress.finish();
    if interrupt::check().is_err() {
        return Err(stopped(store).into());
    }
    Ok(())
}

/// A slice's name, as errors and pictures have it.
pub fn name(cohort: &Cohort, index: usize) -> String {
    let item = cohort.item(index);
    format!("item {index} ({}, slice {})", item.subject, item.slice)
}

pub fn unit(cohort: &Cohort, index: usize) -> Result<UnitImage> {
    Ok(UnitImage::new(&name(cohort, index), cohort.image(index)?)?)
}
