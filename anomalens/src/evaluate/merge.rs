//! `merge`: the parts of an evaluation, or of a grid, that several machines have translated, put together and scored as one run.

use std::path::{Path, PathBuf};

use anomalens_cohort::Cohort;
use anyhow::Result;

use super::args::MergeArgs;
use super::record::Record;
use super::shard::Shard;
use super::store::Store;
use super::{conclude, plan};
use crate::failure::Outcome;
use crate::sweep;

/// Why parts do not make a whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    /// Something else.
    #[error("part '{}': found no parts/settings.json in it, expected a folder that anomalens evaluate has written", path.display())]
    NotAPart {
        /// The folder.
        path: PathBuf,
    },
    /// An evaluation of other networks, images or options.
    #[error("part '{}': {name} {found}, expected {expected} as in '{}'; evaluate all parts with the same settings", path.display(), first.display())]
    Settings {
        /// The folder.
        path: PathBuf,
        /// The first part's.
        first: PathBuf,
        /// Which setting.
        name: String,
        /// This part's.
        found: String,
        /// The first part's.
        expected: String,
    },
    /// One part twice.
    #[error("part '{}': shard {shard}, as is '{}', expected every shard once; leave one of the two out", path.display(), first.display())]
    Doubled {
        /// The folder.
        path: PathBuf,
        /// The one that is the same part.
        first: PathBuf,
        /// Which.
        shard: String,
    },
    /// Too few.
    #[error("found {found} of {of} shards, expected all; missing: {missing}")]
    Missing {
        /// Parts that are there.
        found: usize,
        /// Of how many.
        of: usize,
        /// Those that are not.
        missing: String,
    },
    /// A part that is still at work, or was stopped.
    #[error("part '{}': {done} of {all} slices of shard {shard} are finished{damaged}, expected all; give its command again to finish it", path.display())]
    Unfinished {
        /// The folder.
        path: PathBuf,
        /// Which.
        shard: String,
        /// Its finished slices.
        done: usize,
        /// All of its slices.
        all: usize,
        /// What is wrong with a batch, if something is.
        damaged: String,
    },
    /// Another cohort than was evaluated.
    #[error("cohort '{}': fingerprint {found}, expected {expected}, which was evaluated; say where that is by --cohort", path.display())]
    Cohort {
        /// The folder.
        path: PathBuf,
        /// Its fingerprint.
        found: String,
        /// The parts'.
        expected: String,
    },
}

/// Runs the command.
///
/// Errors: [`MergeError`]; those of the cohort and the output.
pub fn run(args: &MergeArgs) -> Result<Outcome> {
    let mut parts = Vec::new();
    for path in &args.parts {
        let record = Store::record(path)?.ok_or_else(|| MergeError::NotAPart { path: path.clone() })?;
        parts.push((path.as_path(), record));
    }
    belong_together(&parts)?;
    let first = &parts[0].1;
    let path = args.cohort.as_ref().unwrap_or(&first.cohort);
    let cohort = Cohort::open_split(path, first.split.as_deref())?;
    let found = cohort.fingerprint()?;
    let expected = first.settings.iter().find(|setting| setting.0 == "cohort");
    if let Some((_, expected)) = expected.filter(|(_, expected)| *expected != found) {
        return Err(MergeError::Cohort { path: path.clone(), found, expected: expected.clone() }.into());
    }
    let mut stores = Vec::new();
    for (path, record) in &parts {
        let store = Store::view(path, record, plan(&cohort, record));
        let (done, all) = (store.finished(), store.slices());
        if done < all {
            let damaged = store.damaged.first().map_or(String::new(), |damaged| format!(" ({damaged})"));
            let (path, shard) = (path.to_path_buf(), record.part());
            return Err(MergeError::Unfinished { path, shard, done, all, damaged }.into());
        }
        stores.push(store);
    }
    let whole = Record { shard: None, cohort: std::path::absolute(path)?, ..first.clone() };
    let mut store = Store::open(&args.out, &whole, plan(&cohort, &whole))?;
    for part in &stores {
        store.adopt(part)?;
    }
    eprintln!("merged: {} slices of {} parts", store.finished(), parts.len());
    if whole.networks.iter().any(|network| network.source.point().is_some()) {
        sweep::conclude(&cohort, &mut store, whole, &args.out)?;
    } else {
        conclude(&cohort, &mut store, whole, &args.out)?;
    }
    Ok(Outcome::Done)
}

/// Whether the parts, at least one, are of one evaluation, and all of it.
fn belong_together(parts: &[(&Path, Record)]) -> Result<(), MergeError> {
    let (first_path, first) = &parts[0];
    let of = |record: &Record| record.shard.map_or(1, Shard::of);
    let number = |record: &Record| record.shard.map_or(1, Shard::number);
    let mut seen: Vec<Option<&Path>> = vec![None; of(first)];
    for (path, record) in parts {
        let limit = |record: &Record| record.limit.map_or("none".to_owned(), |limit| limit.to_string());
        let split = |record: &Record| record.split.clone().unwrap_or_else(|| "none".to_owned());
        let others = [
            ("--limit", limit(record), limit(first)),
            ("--split", split(record), split(first)),
            ("number of shards", of(record).to_string(), of(first).to_string()),
        ];
        let others = others.into_iter().map(|(name, found, expected)| (name.to_owned(), found, expected));
        let difference = record.difference(first).into_iter().chain(others).find(|(_, a, b)| a != b);
        if let Some((name, found, expected)) = difference {
            let (path, first) = (path.to_path_buf(), first_path.to_path_buf());
            return Err(MergeError::Settings { path, first, name, found, expected });
        }
        if let Some(first) = seen[number(record) - 1].replace(path) {
            let (path, first, shard) = (path.to_path_buf(), first.to_path_buf(), record.part());
            return Err(MergeError::Doubled { path, first, shard });
        }
    }
    let of = seen.len();
    let missing: Vec<_> = (1..=of).filter(|n| seen[n - 1].is_none()).map(|n| format!("{n}/{of}")).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(MergeError::Missing { found: of - missing.len(), of, missing: missing.join(", ") })
}
