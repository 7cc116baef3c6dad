//! What an evaluation keeps while it runs: what each method has made of each slice, batch by batch.
//!
//! ```text
//! OUT/parts/settings.json     what makes the results what they are; another evaluation does not fit in here
//! OUT/parts/ours-000000.npy   f32 [N, C, H, W]: the healthy versions of one batch, the first of the plan; of a method that
//!                             makes none [N, 1, H, W]: the maps
//! OUT/parts/ours-000000.json  written last, so that it says: complete; which slices, size and hash of the .npy, time
//! ```
//!
//! Every file appears whole, by rename, so that nothing is lost but the batch in work, however the program ends. Scores are
//! not kept: they are computed anew from these at the end.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anomalens_models::manifest::FileEntry;
use anomalens_models::output::OutputError;
use ndarray::{Array3, Array4, Axis, stack};
use ndarray_npy::{ReadNpyExt, WriteNpyExt};
use serde_json::{Value, json};

use super::plan::Plan;
use super::record::Record;
use crate::translator::{Made, Method};

const PARTS: &str = "parts";
const SETTINGS: &str = "settings.json";
/// The end of a name that is not final.
const PARTIAL: &str = ".partial";

/// Why nothing can be kept, or what was kept cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The folder is another's.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// An evaluation of other networks, images or options.
    #[error("output '{}': holds an evaluation with {name} {found}, now it is {expected}; expected the same settings: choose another --out, or remove that folder", path.display())]
    Settings {
        /// The folder.
        path: PathBuf,
        /// Which setting.
        name: String,
        /// What stands in the folder.
        found: String,
        /// What was asked for now.
        expected: String,
    },
    /// The file system said no.
    #[error("output '{}': {source}; finished batches are kept: make room or mend it, and give the same command again", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file that was kept has changed since it was checked.
    #[error("output '{}': {cause}, expected the file as it was written; remove it, and give the same command again", path.display())]
    Part {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
}

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
    /// Where each finished slice is: its part, and its place there.
    done: BTreeMap<usize, (PathBuf, usize)>,
    /// What the finished batches took.
    spent: Spent,
}

/// The folder of an evaluation.
pub struct Store {
    out: PathBuf,
    plan: Plan,
    /// The batches that are this evaluation's part.
    batches: Vec<usize>,
    /// What each method has made.
    kept: BTreeMap<Method, Kept>,
    /// The part that was read last.
    last: Option<(PathBuf, Array4<f32>)>,
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
        let kept = record.networks.iter().map(|network| (network.method, Kept::default()));
        let mut store = Self {
            out: out.to_owned(),
            batches: plan.batches_of(record.shard),
            plan,
            kept: kept.collect(),
            last: None,
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

    fn array(&self, method: Method, number: usize) -> PathBuf {
        self.out.join(PARTS).join(format!("{}-{number:06}.npy", method.column()))
    }

    /// Takes in every finished part of the plan.
    fn scan(&mut self) {
        for method in self.methods() {
            for number in self.batches.clone() {
                let array = self.array(method, number);
                let json = array.with_extension("json");
                if !json.exists() {
                    continue;
                }
                match read_part(&json) {
                    Ok((items, seconds)) if self.plan.accepts(number, &items) => {
                        self.take(method, array, items, Duration::from_secs_f64(seconds));
                    }
                    // Cut short by a --limit that has gone.
                    Ok(_) => {}
                    Err(cause) => self.damaged.push(format!("{}: {cause}", json.display())),
                }
            }
        }
    }

    fn methods(&self) -> Vec<Method> {
        self.kept.keys().copied().collect()
    }

    fn take(&mut self, method: Method, array: PathBuf, items: Vec<usize>, time: Duration) {
        let kept = self.kept.get_mut(&method).expect("a method of this evaluation");
        kept.spent.add(time, items.len());
        for (place, item) in items.into_iter().enumerate() {
            kept.done.insert(item, (array.clone(), place));
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
    pub fn done(&self, method: Method) -> usize {
        self.items().filter(|item| self.kept[&method].done.contains_key(item)).count()
    }

    /// The batches that a method has not finished.
    pub fn missing(&self, method: Method) -> Vec<usize> {
        let done = &self.kept[&method].done;
        let missing = |number: &usize| !done.contains_key(&self.plan.batch(*number)[0]);
        self.batches.iter().copied().filter(missing).collect()
    }

    /// What the finished batches of a method took, those of earlier runs among them.
    pub fn spent(&self, method: Method) -> Spent {
        self.kept[&method].spent
    }

    /// Keeps batch `number` of a method: the healthy versions of its slices, or the maps.
    ///
    /// Errors: [`StoreError::Io`].
    pub fn put(&mut self, method: Method, number: usize, made: &Made) -> Result<(), StoreError> {
        let (array, items) = (self.array(method, number), self.plan.batch(number).to_vec());
        let (pixels, time) = (pixels(made), made.time());
        let mut bytes = io::Cursor::new(Vec::new());
        pixels
            .write_npy(&mut bytes)
            .map_err(|e| StoreError::Io { path: array.clone(), source: io::Error::other(e.to_string()) })?;
        write(&array, bytes.get_ref())?;
        let entry = FileEntry::of(&array).map_err(|source| StoreError::Io { path: array.clone(), source })?;
        let part = json!({
            "items": &items,
            "bytes": entry.bytes,
            "sha256": entry.sha256,
            "seconds": time.as_secs_f64(),
        });
        write(&array.with_extension("json"), format!("{part:#}\n").as_bytes())?;
        self.take(method, array, items, time);
        Ok(())
    }

    /// Copies the batches that are missing here from another evaluation of the same plan that has them.
    ///
    /// Errors: [`StoreError::Io`].
    pub fn adopt(&mut self, other: &Self) -> Result<(), StoreError> {
        for method in self.methods() {
            for number in self.missing(method).into_iter().filter(|number| other.batches.contains(number)) {
                let (from, to) = (other.array(method, number), self.array(method, number));
                for end in ["npy", "json"] {
                    let from = from.with_extension(end);
                    let bytes = fs::read(&from).map_err(|source| StoreError::Io { path: from, source })?;
                    write(&to.with_extension(end), &bytes)?;
                }
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
    pub fn read(&mut self, method: Method, item: usize) -> Result<Array3<f32>, StoreError> {
        let (path, place) = self.kept[&method].done[&item].clone();
        let part = |cause: String| StoreError::Part { path: path.clone(), cause };
        if self.last.as_ref().is_none_or(|(last, _)| *last != path) {
            let file = File::open(&path).map_err(|e| part(e.to_string()))?;
            let array = Array4::<f32>::read_npy(file).map_err(|e| part(e.to_string()))?;
            self.last = Some((path.clone(), array));
        }
        let (_, array) = self.last.as_ref().expect("it was just read");
        if place >= array.len_of(Axis(0)) {
            return Err(part(format!("{} images", array.len_of(Axis(0)))));
        }
        Ok(array.index_axis(Axis(0), place).to_owned())
    }

    /// Writes a result beside the parts; it replaces one of that name.
    ///
    /// Errors: [`StoreError::Io`].
    pub fn result(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        write(&self.out.join(name), bytes)
    }
}

/// What is kept of a batch: [N, C, H, W], or [N, 1, H, W].
fn pixels(made: &Made) -> Cow<'_, Array4<f32>> {
    match &made.healthy {
        Some(healthy) => Cow::Borrowed(healthy),
        None => {
            let planes: Vec<_> =
                made.maps.iter().map(|map| map.values().view().insert_axis(Axis(0))).collect();
            Cow::Owned(stack(Axis(0), &planes).expect("one shape a map"))
        }
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
            Err(StoreError::Settings { path: out.to_owned(), name, found, expected })
        }
    }
}

/// The slices of a part and the seconds that it took, if its array is as it was written.
fn read_part(path: &Path) -> Result<(Vec<usize>, f64), String> {
    let text = fs::read_to_string(path).map_err(|e| e.to_string())?;
    let part: Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
    let items: Option<Vec<usize>> = part["items"]
        .as_array()
        .and_then(|items| items.iter().map(|i| i.as_u64().map(|i| i as usize)).collect());
    let found = FileEntry::of(&path.with_extension("npy")).map_err(|e| e.to_string())?;
    if part["sha256"] != *found.sha256 || part["bytes"] != found.bytes {
        return Err("the array has changed since it was written".into());
    }
    let seconds = part["seconds"].as_f64().filter(|s| (0.0..1e9).contains(s));
    items.zip(seconds).ok_or_else(|| "a key is missing".into())
}

/// Writes a file that appears whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(PARTIAL);
    let partial = path.with_file_name(name);
    let written = File::create(&partial)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&partial, path));
    written.map_err(|source| {
        let _ = fs::remove_file(&partial);
        StoreError::Io { path: path.to_owned(), source }
    })
}
