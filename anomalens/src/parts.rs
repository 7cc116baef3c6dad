//! What a long run keeps so that it can be gone on with: finished batches, each an array and what it is.
//!
//! ```text
//! PARTS/settings.json      what makes the results what they are; another run does not fit in here
//! PARTS/NAME-000000.npy    f32 [N, C, H, W]: the healthy versions of one batch; of a method that makes none [N, 1, H, W]: the maps
//! PARTS/NAME-000000.json   written last, so that it says: complete; which slices, size and hash of the .npy, time
//! ```
//!
//! Every file appears whole, by rename, so that nothing is lost but the batch in work, however the program ends.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anomalens_models::manifest::FileEntry;
use anomalens_models::output::OutputError;
use ndarray::{Array3, Array4, Axis};
use ndarray_npy::{ReadNpyExt, WriteNpyExt};
use serde_json::{Value, json};

/// The name of the file that says what makes the results what they are.
pub const SETTINGS: &str = "settings.json";
/// The end of a name that is not final.
pub const PARTIAL: &str = ".partial";

/// Why nothing can be kept, or what was kept cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The folder is another's.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// Work of other networks, images or options.
    #[error("output '{}': holds {work} with {name} {found}, now it is {expected}; expected the same settings: choose another --out, or remove that folder", path.display())]
    Settings {
        /// The folder.
        path: PathBuf,
        /// What is in it.
        work: &'static str,
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

/// What makes results what they are, by name.
pub type Settings = Vec<(String, String)>;

/// Settings as JSON has them.
pub fn object(settings: &Settings) -> Value {
    Value::Object(settings.iter().map(|(name, value)| (name.clone(), json!(value))).collect())
}

/// Settings from JSON, if they are some.
pub fn settings(value: &Value) -> Option<Settings> {
    value.as_object()?.iter().map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

/// The first setting that differs, if one does: name, here, there.
pub fn difference(here: &Settings, there: &Settings) -> Option<(String, String, String)> {
    let value = |settings: &Settings, name: &str| {
        let found = settings.iter().find(|setting| setting.0 == name);
        found.map_or("absent".to_owned(), |setting| setting.1.clone())
    };
    let mut names = here.iter().chain(there).map(|setting| &setting.0);
    let name = names.find(|name| value(here, name) != value(there, name))?;
    Some((name.clone(), value(here, name), value(there, name)))
}

/// A finished batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Its slices, in the order of the array.
    pub items: Vec<usize>,
    /// What it took.
    pub time: Duration,
}

/// A folder of finished batches, which have a name and a number each.
pub struct Parts {
    folder: PathBuf,
    /// The array that was read last.
    last: Option<(PathBuf, Array4<f32>)>,
}

impl Parts {
    /// The folder, which need not be there before something is kept.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, last: None }
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn array(&self, name: &str, number: usize) -> PathBuf {
        self.folder.join(format!("{name}-{number:06}.npy"))
    }

    /// A batch, if it is finished and its array as it was written.
    ///
    /// Errors: in words, which batch is damaged and how.
    pub fn part(&self, name: &str, number: usize) -> Option<Result<Part, String>> {
        let json = self.array(name, number).with_extension("json");
        json.exists().then(|| read(&json).map_err(|cause| format!("{}: {cause}", json.display())))
    }

    /// Keeps a batch: its slices' healthy versions [N, C, H, W], or maps [N, 1, H, W].
    ///
    /// Errors: [`StoreError::Io`].
    pub fn keep(
        &self,
        name: &str,
        number: usize,
        part: &Part,
        pixels: &Array4<f32>,
    ) -> Result<(), StoreError> {
        let array = self.array(name, number);
        let mut bytes = io::Cursor::new(Vec::new());
        pixels
            .write_npy(&mut bytes)
            .map_err(|e| StoreError::Io { path: array.clone(), source: io::Error::other(e.to_string()) })?;
        write(&array, bytes.get_ref())?;
        let entry = FileEntry::of(&array).map_err(|source| StoreError::Io { path: array.clone(), source })?;
        let part = json!({
            "items": &part.items,
            "bytes": entry.bytes,
            "sha256": entry.sha256,
            "seconds": part.time.as_secs_f64(),
        });
        write(&array.with_extension("json"), format!("{part:#}\n").as_bytes())
    }

    /// Copies a finished batch from another folder.
    ///
    /// Errors: [`StoreError::Io`].
    pub fn adopt(&self, other: &Self, name: &str, number: usize) -> Result<(), StoreError> {
        let (from, to) = (other.array(name, number), self.array(name, number));
        for end in ["npy", "json"] {
            let from = from.with_extension(end);
            let bytes = fs::read(&from).map_err(|source| StoreError::Io { path: from, source })?;
            write(&to.with_extension(end), &bytes)?;
        }
        Ok(())
    }

    /// What is kept of one slice, `place` in the array of a finished batch: [C, H, W], or [1, H, W].
    ///
    /// Errors: [`StoreError::Part`].
    pub fn image(&mut self, name: &str, number: usize, place: usize) -> Result<Array3<f32>, StoreError> {
        let path = self.array(name, number);
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
}

/// The batch that a file tells of, if its array is as it was written.
fn read(path: &Path) -> Result<Part, String> {
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
    let (items, seconds) = items.zip(seconds).ok_or("a key is missing")?;
    Ok(Part { items, time: Duration::from_secs_f64(seconds) })
}

/// Writes a file that appears whole or not at all.
///
/// Errors: [`StoreError::Io`].
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
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
