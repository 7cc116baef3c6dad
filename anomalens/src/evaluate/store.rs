//! What an evaluation keeps while it runs: the healthy version of each slice, batch by batch.
//!
//! ```text
//! OUT/parts/settings.json   what makes the results what they are; another evaluation does not fit in here
//! OUT/parts/000000.npy      f32 [N, C, H, W]: the healthy versions of one batch, the first of the plan
//! OUT/parts/000000.json     written last, so that it says: complete; which slices, size and hash of the .npy, time
//! ```
//!
//! Every file appears whole, by rename. Scores are not kept: they are computed anew from these at the end. Engines
//! round by the size of a batch, so the same slices stand in the same batches however often a run is interrupted.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anomalens_models::manifest::FileEntry;
use anomalens_models::output::OutputError;
use ndarray::{Array3, Array4, Axis};
use ndarray_npy::{ReadNpyExt, WriteNpyExt};
use serde_json::{Map, Value, json};

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
    /// A batch that was kept has changed since it was checked.
    #[error("output '{}': {cause}, expected the batch as it was written; remove this file, and give the same command again", path.display())]
    Part {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
}

/// The golden section of 2^64: whichever part of the multiples k · φ mod 1 is taken, their k are evenly spaced.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// Which slices make which batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Every slice of the cohort, in the order in which they are looked at.
    order: Vec<usize>,
    /// Slices at once, at least 1.
    batch: usize,
    /// How many of the slices are looked at, at least 1.
    limit: usize,
}

impl Plan {
    /// Diseased and healthy slices by turns while there are both, each class from all over the cohort: the first N
    /// are few slices of many subjects.
    pub fn new(diseased: &[bool], batch: usize, limit: Option<usize>) -> Self {
        let class = |of: bool| {
            let items = (0..diseased.len()).filter(|&i| diseased[i] == of);
            let mut ranked: Vec<(u64, usize)> =
                (0u64..).map(|rank| rank.wrapping_mul(GOLDEN)).zip(items).collect();
            ranked.sort_unstable();
            ranked.into_iter().map(|(_, item)| item)
        };
        let (mut sick, mut well) = (class(true), class(false));
        let mut order = Vec::with_capacity(diseased.len());
        while order.len() < diseased.len() {
            order.extend(sick.next());
            order.extend(well.next());
        }
        let limit = limit.unwrap_or(order.len()).min(order.len());
        Self { order, batch, limit }
    }

    /// The slices that are looked at, ascending.
    pub fn slices(&self) -> Vec<usize> {
        let mut slices = self.order[..self.limit].to_vec();
        slices.sort_unstable();
        slices
    }

    /// How many batches they make.
    pub fn batches(&self) -> usize {
        self.limit.div_ceil(self.batch)
    }

    /// The slices of batch `number`: as many as are looked at.
    pub fn batch(&self, number: usize) -> &[usize] {
        &self.order[number * self.batch..self.limit.min((number + 1) * self.batch)]
    }

    /// Whether slices that were kept as batch `number` are that batch: as it is now, or as it is without a limit.
    fn accepts(&self, number: usize, items: &[usize]) -> bool {
        let whole = number * self.batch..self.order.len().min((number + 1) * self.batch);
        items == self.batch(number) || items == &self.order[whole]
    }
}

/// What makes the results what they are, by name.
pub type Settings = Vec<(String, String)>;

/// What a finished batch took.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Spent {
    /// Time for encoding and decoding.
    pub time: Duration,
    /// Slices translated in it.
    pub slices: usize,
}

/// The folder of an evaluation.
pub struct Store {
    out: PathBuf,
    plan: Plan,
    /// Where each finished slice is: its part, and its place there.
    done: BTreeMap<usize, (PathBuf, usize)>,
    /// What the finished batches took.
    spent: Spent,
    /// The part that was read last.
    last: Option<(PathBuf, Array4<f32>)>,
    /// Parts that were found damaged and will be made again.
    pub damaged: Vec<String>,
}

impl Store {
    /// Opens `out`: begins it if it is new or empty, goes on with it if it holds an evaluation of the same settings.
    ///
    /// Errors: [`StoreError`].
    pub fn open(out: &Path, settings: &Settings, plan: Plan) -> Result<Self, StoreError> {
        let parts = out.join(PARTS);
        let file = parts.join(SETTINGS);
        let now: Map<String, Value> = settings.iter().map(|(k, v)| (k.clone(), json!(v))).collect();
        match fs::read_to_string(&file) {
            Ok(text) => compare(out, &file, &text, &now)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound || !parts.is_dir() => {
                begin(out, &parts)?;
                write(&file, pretty(&Value::Object(now.clone())).as_bytes())?;
            }
            Err(source) => return Err(StoreError::Io { path: file, source }),
        }
        let mut store = Self {
            out: out.to_owned(),
            plan,
            done: BTreeMap::new(),
            spent: Spent::default(),
            last: None,
            damaged: vec![],
        };
        store.scan();
        Ok(store)
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    fn array(&self, number: usize) -> PathBuf {
        self.out.join(PARTS).join(format!("{number:06}.npy"))
    }

    /// Takes in every finished part of the plan.
    fn scan(&mut self) {
        for number in 0..self.plan.batches() {
            let array = self.array(number);
            let json = array.with_extension("json");
            if !json.exists() {
                continue;
            }
            match read_part(&json) {
                Ok((items, seconds)) if self.plan.accepts(number, &items) => {
                    self.spent.time += Duration::from_secs_f64(seconds);
                    self.spent.slices += items.len();
                    for (place, item) in items.into_iter().enumerate() {
                        self.done.insert(item, (array.clone(), place));
                    }
                }
                // Cut short by a --limit that has gone.
                Ok(_) => {}
                Err(cause) => self.damaged.push(format!("{}: {cause}", json.display())),
            }
        }
    }

    /// The slices that are finished, of those that are looked at.
    pub fn finished(&self) -> usize {
        self.plan.order[..self.plan.limit].iter().filter(|item| self.done.contains_key(item)).count()
    }

    /// The batches that are not finished.
    pub fn missing(&self) -> Vec<usize> {
        let missing = |&number: &usize| !self.done.contains_key(&self.plan.batch(number)[0]);
        (0..self.plan.batches()).filter(missing).collect()
    }

    /// What the finished batches took, those of earlier runs among them.
    pub fn spent(&self) -> Spent {
        self.spent
    }

    /// Keeps batch `number`: the healthy versions [N, C, H, W] of its slices.
    ///
    /// Errors: [`StoreError::Io`].
    pub fn put(&mut self, number: usize, healthy: &Array4<f32>, time: Duration) -> Result<(), StoreError> {
        let (array, items) = (self.array(number), self.plan.batch(number).to_vec());
        let mut bytes = io::Cursor::new(Vec::new());
        healthy
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
        write(&array.with_extension("json"), pretty(&part).as_bytes())?;
        self.spent.time += time;
        self.spent.slices += items.len();
        for (place, item) in items.into_iter().enumerate() {
            self.done.insert(item, (array.clone(), place));
        }
        Ok(())
    }

    /// The healthy version [C, H, W] of a finished slice. Panics if it is not finished.
    ///
    /// Errors: [`StoreError::Part`].
    pub fn healthy(&mut self, item: usize) -> Result<Array3<f32>, StoreError> {
        let (path, place) = self.done[&item].clone();
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

fn compare(out: &Path, file: &Path, text: &str, now: &Map<String, Value>) -> Result<(), StoreError> {
    let kept: Map<String, Value> = serde_json::from_str(text)
        .map_err(|e| StoreError::Part { path: file.to_owned(), cause: e.to_string() })?;
    let say = |value: Option<&Value>| value.map_or("absent".into(), |v| v.as_str().unwrap_or("?").to_owned());
    match now.keys().chain(kept.keys()).find(|name| now.get(*name) != kept.get(*name)) {
        None => Ok(()),
        Some(name) => Err(StoreError::Settings {
            path: out.to_owned(),
            name: name.clone(),
            found: say(kept.get(name)),
            expected: say(now.get(name)),
        }),
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

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_slices_are_even_and_batches_do_not_move() {
        // Healthy 0, 1, 2, 5 come as 0, 2 (2φ mod 1 = 0.24), 1 (0.62), 5 (0.85).
        let diseased = [false, false, false, true, true, false];
        let plan = Plan::new(&diseased, 2, None);
        assert_eq!(plan.order, [3, 0, 4, 2, 1, 5]);
        assert_eq!(plan.slices(), [0, 1, 2, 3, 4, 5]);
        let limited = Plan::new(&diseased, 2, Some(3));
        assert_eq!((limited.slices(), limited.batches()), (vec![0, 3, 4], 2));
        assert_eq!((limited.batch(0), limited.batch(1)), (plan.batch(0), &[4][..]));
        // A cut batch is not the whole one; the whole one has what the cut one wants.
        assert!(!plan.accepts(1, &[4]) && limited.accepts(1, &[4]) && limited.accepts(1, &[4, 2]));
        assert_eq!(Plan::new(&diseased, 4, Some(99)).slices().len(), 6);
        let spread = Plan::new(&[true; 80], 4, Some(8)).slices();
        assert!(spread.windows(2).all(|w| (5..=13).contains(&(w[1] - w[0]))), "{spread:?}");
    }
}
