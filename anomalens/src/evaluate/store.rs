//! What an evaluation keeps while it runs: what each method has made of each slice, batch by batch.
//!
//! `OUT/parts` holds [`Parts`] by the names of methods or of points of a grid, numbered as the plan numbers batches. Scores are not
//! kept: they are computed anew from these at the end.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anomalens_models::output::OutputError;
use ndarray::{Array3, Array4};

use super::plan::Plan;
use super::record::Record;
use super::source::Source;
use crate::parts::{PARTIAL, Part, Parts, SETTINGS, StoreError, write};
use crate::translator::Made;

const PARTS: &str = "parts";

/// What the finished batches of a method took.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Spent {
    /// Time for making what is kept.
    pub time: Duration,
    /// Slices made in it.
    pub slices: usize,
}

impl Spent {
    fn add(&mut self, time: Duration, slices: usize) {
        self.time += time;
        self.slices += slices;
    }

    /// Seconds a slice; `None` if none was made.
    pub fn seconds(&self) -> Option<f64> {
        (self.slices > 0).then(|| self.time.as_secs_f64() / self.slices as f64)
    }
}

/// What one method has made.
#[derive(Default)]
struct Kept {
    /// Where each finished slice is: the number of its batch, and its place there.
    done: BTreeMap<usize, (usize, usize)>,
    /// What the finished batches took.
    spent: Spent,
}

/// The folder of an evaluation.
pub struct Store {
    out: PathBuf,
    parts: Parts,
    plan: Plan,
    /// The batches that are this evaluation's part.
    batches: Vec<usize>,
    /// What each method has made, by its name.
    kept: BTreeMap<String, Kept>,
    /// Parts that were found damaged and will be made again.
    pub damaged: Vec<String>,
}

impl Store {
    /// Opens `out`: begins it if it is new or empty, goes on with it if it holds an evaluation of the same settings, and of
    /// the same part; `record` may have methods more.
    ///
    /// Errors: [`StoreError`].
    pub fn open(out: &Path, record: &Record, plan: Plan) -> Result<Self, StoreError> {
        let parts = out.join(PARTS);
        match Self::record(out) {
            Ok(Some(kept)) => compare(out, &kept, record)?,
            Ok(None) => begin(out, &parts)?,
            Err(_) if !parts.is_dir() => begin(out, &parts)?,
            Err(error) => return Err(error),
        }
        write(&parts.join(SETTINGS), record.text().as_bytes())?;
        Ok(Self::view(out, record, plan))
    }

    /// The evaluation `record` that is in `out`, of which nothing is changed.
    pub fn view(out: &Path, record: &Record, plan: Plan) -> Self {
        let kept = record.networks.iter().map(|network| (network.source.name(), Kept::default()));
        let mut store = Self {
            out: out.to_owned(),
            parts: Parts::new(out.join(PARTS)),
            batches: plan.batches_of(record.shard),
            plan,
            kept: kept.collect(),
            damaged: vec![],
        };
        store.scan();
        store
    }

    /// What the evaluation in `out` says of itself; `None` if there is none.
    ///
    /// Errors: [`StoreError::Io`], [`StoreError::Part`].
    pub fn record(out: &Path) -> Result<Option<Record>, StoreError> {
        Record::read(&out.join(PARTS).join(SETTINGS))
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Takes in every finished part of the plan.
    fn scan(&mut self) {
        for name in self.names() {
            for number in self.batches.clone() {
                match self.parts.part(&name, number) {
                    Some(Ok(part)) if self.plan.accepts(number, &part.items) => {
                        self.take(&name, number, part);
                    }
                    // Not there, or cut short by a --limit that has gone.
                    None | Some(Ok(_)) => {}
                    Some(Err(damaged)) => self.damaged.push(damaged),
                }
            }
        }
    }

    fn names(&self) -> Vec<String> {
        self.kept.keys().cloned().collect()
    }

    fn take(&mut self, name: &str, number: usize, Part { items, time }: Part) {
        let kept = self.kept.get_mut(name).expect("a method of this evaluation");
        kept.spent.add(time, items.len());
        for (place, item) in items.into_iter().enumerate() {
            kept.done.insert(item, (number, place));
        }
    }

    /// The slices that are this evaluation's part.
    pub fn slices(&self) -> usize {
        self.batches.iter().map(|&number| self.plan.batch(number).len()).sum()
    }

    fn items(&self) -> impl Iterator<Item = &usize> {
        self.batches.iter().flat_map(|&number| self.plan.batch(number))
    }

    /// How many of them every method has finished.
    pub fn finished(&self) -> usize {
        self.items().filter(|item| self.kept.values().all(|kept| kept.done.contains_key(item))).count()
    }

    /// How many of them a method has finished.
    pub fn done(&self, of: impl Into<Source>) -> usize {
        let kept = &self.kept[&of.into().name()];
        self.items().filter(|item| kept.done.contains_key(item)).count()
    }

    /// The batches that a method has not finished.
    pub fn missing(&self, of: impl Into<Source>) -> Vec<usize> {
        self.missing_of(&of.into().name())
    }

    fn missing_of(&self, name: &str) -> Vec<usize> {
        let done = &self.kept[name].done;
        let missing = |number: &usize| !done.contains_key(&self.plan.batch(*number)[0]);
        self.batches.iter().copied().filter(missing).collect()
    }

    /// What the finished batches of a method took, those of earlier runs among them.
    pub fn spent(&self, of: impl Into<Source>) -> Spent {
        self.kept[&of.into().name()].spent
    }

    /// Keeps batch `number` of a method: the healthy versions of its slices, or the maps.
    ///
    /// Errors: [`StoreError::Io`].
    pub fn put(&mut self, of: impl Into<Source>, number: usize, made: &Made) -> Result<(), StoreError> {
        self.keep(of, number, &made.kept(), made.time)
    }

    /// The same from arrays, [N, C, H, W] or [N, 1, H, W], and the time that they took.
    ///
    /// Errors: [`StoreError::Io`].
    pub fn keep(
        &mut self,
        of: impl Into<Source>,
        number: usize,
        pixels: &Array4<f32>,
        time: Duration,
    ) -> Result<(), StoreError> {
        let name = of.into().name();
        let part = Part { items: self.plan.batch(number).to_vec(), time };
        self.parts.keep(&name, number, &part, pixels)?;
        self.take(&name, number, part);
        Ok(())
    }

    /// Copies the batches that are missing here from another evaluation of the same plan that has them.
    ///
    /// Errors: [`StoreError::Io`].
    pub fn adopt(&mut self, other: &Self) -> Result<(), StoreError> {
        for name in self.names() {
            for number in self.missing_of(&name).into_iter().filter(|number| other.batches.contains(number)) {
                self.parts.adopt(&other.parts, &name, number)?;
            }
        }
        self.scan_again();
        Ok(())
    }

    fn scan_again(&mut self) {
        self.kept.values_mut().for_each(|kept| *kept = Kept::default());
        self.damaged.clear();
        self.scan();
    }

    /// The healthy version [C, H, W] that a method has made of a finished slice; of one that makes none the map, [1, H, W].
    /// Panics if the slice is not finished.
    ///
    /// Errors: [`StoreError::Part`].
    pub fn read(&mut self, of: impl Into<Source>, item: usize) -> Result<Array3<f32>, StoreError> {
        let name = of.into().name();
        let (number, place) = self.kept[&name].done[&item];
        self.parts.image(&name, number, place)
    }

    /// Writes a result beside the parts; it replaces one of that name.
    ///
    /// Errors: [`StoreError::Io`].
    pub fn result(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        write(&self.out.join(name), bytes)
    }
}

/// Makes the folders. What is there must be nothing, or what a run left that was stopped right here.
fn begin(out: &Path, parts: &Path) -> Result<(), StoreError> {
    let fail = |source| OutputError::new(out, source);
    match fs::read_dir(out) {
        Ok(entries) => {
            for entry in entries {
                let entry = entry.map_err(fail)?;
                let ours = entry.path() == parts && only_partial(parts).map_err(fail)?;
                if !ours {
                    let found = entry.file_name().to_string_lossy().into_owned();
                    return Err(OutputError::NotEmpty { path: out.to_owned(), found }.into());
                }
            }
        }
        Err(_) if out.is_file() => return Err(OutputError::NotAFolder { path: out.to_owned() }.into()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(fail(e).into()),
    }
    Ok(fs::create_dir_all(parts).map_err(fail)?)
}

fn only_partial(folder: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(folder)? {
        if !entry?.file_name().to_string_lossy().ends_with(PARTIAL) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn compare(out: &Path, kept: &Record, now: &Record) -> Result<(), StoreError> {
    let parts = (kept.shard != now.shard).then(|| ("shard".to_owned(), kept.part(), now.part()));
    match kept.difference(&now.only_methods_of(kept)).or(parts) {
        None => Ok(()),
        Some((name, found, expected)) => {
            let (path, work) = (out.to_owned(), "an evaluation");
            Err(StoreError::Settings { path, work, name, found, expected })
        }
    }
}
