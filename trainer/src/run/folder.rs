//! The run's folder.

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use anomalens_cohort::Cohort;
use anomalens_models::stats::{STATS, Stats};
use serde_json::{Map, Value};

use super::metrics::METRICS;
use super::watch::png;
use super::{Settings, plot};
use crate::checkpoint::{encode, sweep, write_whole};
use crate::error::TrainError;
use crate::weights::Named;

const RUN: &str = "run.json";
const PROGRESS: &str = "progress.png";
const COHORT: &str = "cohort_fingerprint";

/// The folder of a run that has begun.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// `run.json`, locked for as long as this lives; the system lets go of it when the program dies.
    lock: Option<File>,
    /// The cohort's; reading all of it takes time.
    pub fingerprint: String,
}

impl Folder {
    /// Makes the folder of a new run, or checks that the one there is a run of these settings and images, which
    /// nobody else works on.
    ///
    /// Errors: [`TrainError::OtherRun`], [`TrainError::CohortChanged`], [`TrainError::Busy`], [`TrainError::Io`].
    pub fn open(path: &Path, settings: &Settings, cohort: &Cohort) -> Result<Self, TrainError> {
        let fingerprint = cohort.fingerprint()?;
        let mut folder = Self { path: path.to_owned(), lock: None, fingerprint: fingerprint.clone() };
        match fs::read_to_string(folder.file(RUN)) {
            Ok(text) => folder.compare(&text, settings, cohort, &fingerprint)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                folder.fail("", fs::create_dir_all(path))?;
                let mut run = Map::new();
                run.insert("tool".into(), crate::TOOL.into());
                run.extend(settings.entries().into_iter().map(|(name, value)| (name.to_owned(), value)));
                run.insert("cohort".into(), cohort.dir().display().to_string().into());
                run.insert(COHORT.into(), fingerprint.into());
                let text = serde_json::to_string_pretty(&run).expect("a JSON value");
                folder.write(RUN, text.as_bytes())?;
            }
            Err(e) => return folder.fail(RUN, Err(e)),
        }
        folder.take_lock()?;
        folder.fail("checkpoints", fs::create_dir_all(folder.checkpoints()))?;
        if folder.lock.is_some() {
            sweep(path);
            sweep(&folder.checkpoints());
        }
        Ok(folder)
    }

    fn take_lock(&mut self) -> Result<(), TrainError> {
        let file = self.fail(RUN, File::open(self.file(RUN)))?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => return Err(TrainError::Busy { run: self.path.clone() }),
            Ok(()) => self.lock = Some(file),
            // A file system without locks: whoever starts two programs on one folder is not warned there.
            Err(TryLockError::Error(_)) => {}
        }
        Ok(())
    }

    fn compare(
        &self,
        text: &str,
        settings: &Settings,
        cohort: &Cohort,
        fingerprint: &str,
    ) -> Result<(), TrainError> {
        let run: Map<String, Value> = self.fail(
            RUN,
            serde_json::from_str(text).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e)),
        )?;
        for (name, expected) in settings.entries() {
            let found = run.get(name).unwrap_or(&Value::Null);
            if let Some((what, found, expected)) = difference(name, found, &expected) {
                return Err(TrainError::OtherRun { run: self.path.clone(), what, found, expected });
            }
        }
        match run.get(COHORT).and_then(Value::as_str) {
            Some(found) if found == fingerprint => Ok(()),
            other => Err(TrainError::CohortChanged {
                run: self.path.clone(),
                cohort: cohort.dir().to_owned(),
                found: fingerprint.to_owned(),
                expected: other.unwrap_or("none").to_owned(),
            }),
        }
    }

    /// Where checkpoints lie.
    pub fn checkpoints(&self) -> PathBuf {
        self.file("checkpoints")
    }

    /// The result of a run that was complete before.
    pub fn result(&self, settings: &Settings) -> Option<PathBuf> {
        let file = self.file(&result_name(settings));
        (file.exists() && self.file(STATS).exists()).then_some(file)
    }

    /// A file of the run.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes the result: the weights by the reference's names, and how they came about.
    ///
    /// Errors: [`TrainError::Io`].
    pub fn finish(&self, settings: &Settings, weights: &Named, stats: &Stats) -> Result<PathBuf, TrainError> {
        let name = result_name(settings);
        let tensors: Vec<_> = weights.iter().map(|(name, tensor)| (name.to_owned(), tensor)).collect();
        self.write(STATS, stats.to_json().as_bytes())?;
        self.write(&name, &encode(&tensors, HashMap::new()))?;
        Ok(self.file(&name))
    }

    /// Draws the curves of the metrics.
    ///
    /// Errors: [`TrainError::Io`].
    pub fn draw(&self, settings: &Settings, metrics: &[Map<String, Value>]) -> Result<(), TrainError> {
        let title = title(settings.network.name(), &settings.preset.name);
        let picture = self.fail(PROGRESS, plot::draw(&title, metrics).map_err(io::Error::other))?;
        self.write(PROGRESS, &png(&picture))
    }

    /// Writes one file, whole or not at all.
    ///
    /// Errors: [`TrainError::Io`].
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), TrainError> {
        self.fail(name, write_whole(&self.file(name), bytes))
    }

    /// The typed error of a fault at a file of the run.
    pub fn fail<T>(&self, name: &str, result: io::Result<T>) -> Result<T, TrainError> {
        result.map_err(|source| TrainError::Io {
            path: self.file(name),
            source,
            kept: "nothing half-written is left, checkpoints stay: mend the cause and give the same command again to go on".into(),
        })
    }
}

fn title(network: &str, preset: &str) -> String {
    format!("{network} of preset {preset}")
}

/// Draws the curves of a run anew, from its metrics, and says where they are.
///
/// Errors: [`TrainError::Io`] where there is no run.
pub fn redraw(run: &Path) -> Result<PathBuf, TrainError> {
    let folder = Folder { path: run.to_owned(), lock: None, fingerprint: String::new() };
    let json = |name, text: &str| {
        let read = serde_json::from_str::<Map<String, Value>>(text);
        folder.fail(name, read.map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e)))
    };
    let settings = json(RUN, &folder.fail(RUN, fs::read_to_string(folder.file(RUN)))?)?;
    let word = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or("unknown").to_owned();
    let preset = settings.get("preset").and_then(|preset| preset.get("name"));
    let text = folder.fail(METRICS, fs::read_to_string(folder.file(METRICS)))?;
    let metrics = text.lines().map(|line| json(METRICS, line)).collect::<Result<Vec<_>, _>>()?;
    let title = title(&word(settings.get("network")), &word(preset));
    let picture = folder.fail(PROGRESS, plot::draw(&title, &metrics).map_err(io::Error::other))?;
    folder.write(PROGRESS, &png(&picture))?;
    Ok(folder.file(PROGRESS))
}

fn result_name(settings: &Settings) -> String {
    format!("{}.safetensors", settings.network.name())
}

/// The first place where two settings differ.
fn difference(name: &str, found: &Value, expected: &Value) -> Option<(String, String, String)> {
    match (found, expected) {
        (Value::Object(a), Value::Object(b)) => {
            let keys = b.keys().chain(a.keys().filter(|key| !b.contains_key(*key)));
            keys.into_iter().find_map(|key| {
                let at = |map: &Map<String, Value>| map.get(key).cloned().unwrap_or(Value::Null);
                difference(&format!("{name}.{key}"), &at(a), &at(b))
            })
        }
        _ if found == expected => None,
        _ => Some((name.to_owned(), found.to_string(), expected.to_string())),
    }
}
