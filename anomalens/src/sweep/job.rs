//! The work on a grid, whatever is made of it: every point of every slice, batch by batch, into a store.

use std::ops::ControlFlow;
use std::time::Instant;

use anomalens_cohort::Cohort;
use anomalens_method::ddim::{Leg, StepDone};
use anomalens_method::sweep::Grid;
use anomalens_models::manifest::Manifest;
use anomalens_runtime::bundle::Bundle;
use anomalens_runtime::engine::{self, Engine};
use anomalens_runtime::sweep::sweep;
use anyhow::Result;

use super::args::GridArgs;
use super::conclude;
use super::layout::Layout;
use crate::evaluate::record::{Network, Record};
use crate::evaluate::shard;
use crate::evaluate::source::Point;
use crate::evaluate::store::Store;
use crate::evaluate::{EvaluateError, fits, plan, settings, unit};
use crate::failure::{Outcome, Usage};
use crate::interrupt::{self, Stopped};
use crate::parts::StoreError;
use crate::progress::Progress;
use crate::translate::options;
use crate::tune;

/// Runs a grid and makes of it what it is for; without scales, round trips.
///
/// Errors: everything that can be wrong with the cohort, the bundle, the options and the output.
pub fn run(mut args: GridArgs, scales: Option<&[f64]>) -> Result<Outcome> {
    interrupt::catch()?;
    tune::apply(&args.bundle, &mut args.job.engine, &mut args.job.batch)?;
    let args = &args;
    let shard = shard::choose(args.job.shard, |name| std::env::var(name).ok()).map_err(Usage::new)?;
    let manifest = Manifest::read(&args.bundle)?;
    let layout = Layout::new(args, scales, &manifest).map_err(Usage::new)?;
    let cohort = Cohort::open_split(&args.job.cohort, args.job.split.as_deref())?;
    fits(&cohort, &manifest)?;
    if scales.is_some() && !cohort.has_masks() {
        return Err(EvaluateError::NoMasks { path: cohort.dir().to_owned() }.into());
    }
    let engine = engine::open(&options::engine(&args.job.engine))?;
    let batch = args.job.batch();
    let record = record(args, &manifest, &layout, engine.as_ref(), &cohort, batch)?;
    let record = Record { shard, ..record };
    let mut store = Store::open(&args.job.out, &record, plan(&cohort, &record))?;
    eprintln!("engine: {}", engine.describe());
    eprintln!("bundle: {}, {}", manifest.preset.name, manifest.provenance);
    eprintln!("cohort: {}, {}: {}", cohort.dir().display(), cohort.kind(), cohort.note());
    for damaged in &store.damaged {
        eprintln!("warning: {damaged}; this batch is made again");
    }
    for (name, value) in layout.settings() {
        eprintln!("{name}: {value}");
    }
    let (all, done) = (store.slices(), store.finished());
    eprintln!("slices: {all}, of which {done} are done; {} points each", layout.points.len());
    all_points(args, &cohort, engine.as_ref(), &layout, &mut store)?;
    match shard {
        None => conclude(&cohort, &mut store, record, &args.job.out)?,
        Some(shard) => {
            let (n, of) = (store.slices(), shard.of());
            eprintln!(
                "part {shard}: its {n} slices are kept in '{}'; when all {of} parts are done, put them together by `anomalens merge`",
                args.job.out.display()
            );
        }
    }
    Ok(Outcome::Done)
}

/// What the store is told.
fn record(
    args: &GridArgs,
    manifest: &Manifest,
    layout: &Layout,
    engine: &dyn Engine,
    cohort: &Cohort,
    batch: usize,
) -> Result<Record> {
    let sha256 = Manifest::bundle_hash(&args.bundle)?;
    let mut settings = settings(&args.job.engine, engine, batch, &cohort.fingerprint()?);
    settings.extend(layout.settings());
    let network = |point: &Point| Network {
        source: (*point).into(),
        bundle: manifest.preset.name.clone(),
        sha256: sha256.clone(),
        provenance: manifest.provenance.clone(),
        settings: vec![],
    };
    Ok(Record {
        settings,
        shard: None,
        limit: args.job.limit,
        batch,
        cohort: std::path::absolute(&args.job.cohort)?,
        split: args.job.split.clone(),
        networks: layout.points.iter().map(network).collect(),
    })
}

/// The batches that some point has not finished, each with those points.
fn missing(layout: &Layout, store: &Store) -> Vec<(usize, Vec<Point>)> {
    let of: Vec<_> = layout.points.iter().map(|point| (*point, store.missing(*point))).collect();
    let mut batches: Vec<usize> = of.iter().flat_map(|(_, batches)| batches.iter().copied()).collect();
    batches.sort_unstable();
    batches.dedup();
    let points =
        |batch: usize| of.iter().filter(move |(_, batches)| batches.contains(&batch)).map(|(p, _)| *p);
    batches.into_iter().map(|batch| (batch, points(batch).collect())).collect()
}

/// Makes what is not yet kept, and keeps each point of a batch as soon as it is there.
fn all_points(
    args: &GridArgs,
    cohort: &Cohort,
    engine: &dyn Engine,
    layout: &Layout,
    store: &mut Store,
) -> Result<()> {
    let missing = missing(layout, store);
    if missing.is_empty() {
        return Ok(());
    }
    let grid = |points: &[Point]| Grid {
        trajectory: layout.trajectory.clone(),
        pairs: points.iter().map(|point| point.pair()).collect(),
        healthy_class: layout.options.healthy_class,
        solver: layout.options.solver,
        guidance_interval: layout.options.guidance_interval,
    };
    let total: usize = missing.iter().map(|(_, points)| grid(points).steps()).sum();
    let mut bundle = Bundle::open(&args.bundle, engine, args.job.unverified)?;
    let (mut progress, mut done) = (Progress::start(), 0);
    for (number, points) in missing {
        let images: Vec<_> =
            store.plan().batch(number).iter().map(|&i| unit(cohort, i)).collect::<Result<_>>()?;
        let (mut since, mut failed) = (Instant::now(), None);
        let mut on_step = |step: &StepDone| {
            done += 1;
            let leg = match step.leg {
                Leg::Encode => "encode",
                Leg::Decode => "decode",
            };
            progress.step(&format!("{leg} level {}", step.level), done, total);
            if interrupt::check().is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        let ended = sweep(&mut bundle, &images, &grid(&points), &mut on_step, &mut |point| {
            // The way up is shared: its time is the first point's.
            let time = std::mem::replace(&mut since, Instant::now()).elapsed();
            let kept = points.iter().find(|kept| kept.pair() == (point.level, point.scale));
            match store.keep(*kept.expect("a point that was asked for"), number, &point.healthy, time) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        });
        settle(ended, failed, &progress, args, store)?;
    }
    progress.finish();
    if interrupt::check().is_err() {
        return Err(stopped(args, store).into());
    }
    Ok(())
}

/// How a batch has ended: well, stopped, or by what could not be kept or computed.
fn settle(
    ended: Result<(), anomalens_runtime::translate::TranslateError>,
    failed: Option<StoreError>,
    progress: &Progress,
    args: &GridArgs,
    store: &Store,
) -> Result<()> {
    match (ended, failed) {
        (Ok(()), _) => Ok(()),
        (Err(_), Some(failed)) => Err(failed.into()),
        (Err(error), None) if error.cancelled() => {
            progress.finish();
            Err(stopped(args, store).into())
        }
        (Err(error), None) => Err(error.into()),
    }
}

fn stopped(args: &GridArgs, store: &Store) -> Stopped {
    Stopped { done: store.finished(), total: store.slices(), kept: args.job.out.clone() }
}
