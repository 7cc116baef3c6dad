//! What an evaluation writes of itself beside what it keeps, so that it is gone on with and merged with its like only.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::shard::Shard;
use super::source::Source;
use crate::parts::{Settings, StoreError, difference, object, settings};

/// Of the file; another one is not read.
const FORMAT: u64 = 3;

/// An evaluation, or a part of one.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// What makes the results of all methods what they are.
    pub settings: Settings,
    /// Which part this is; `None`: all of it.
    pub shard: Option<Shard>,
    /// Slices that are looked at, at most.
    pub limit: Option<usize>,
    /// Slices at once.
    pub batch: usize,
    /// The folder of the cohort.
    pub cohort: PathBuf,
    /// The part of it.
    pub split: Option<String>,
    /// Whose maps are scored, in the order of the tables.
    pub networks: Vec<Network>,
}

/// A method, its bundle, and what it is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    /// Which method, or which point of a grid.
    pub source: Source,
    /// The bundle's name.
    pub bundle: String,
    /// Its hash.
    pub sha256: String,
    /// Where its weights come from.
    pub provenance: String,
    /// What makes the results of this method what they are.
    pub settings: Settings,
}

impl Network {
    /// As JSON has it.
    pub fn json(&self) -> Value {
        json!({
            "method": self.source.name(),
            "bundle": self.bundle,
            "sha256": self.sha256,
            "provenance": self.provenance,
            "settings": object(&self.settings),
        })
    }

    fn of(value: &Value) -> Option<Self> {
        let text = |key: &str| value[key].as_str().map(str::to_owned);
        Some(Self {
            source: Source::of_name(value["method"].as_str()?)?,
            bundle: text("bundle")?,
            sha256: text("sha256")?,
            provenance: text("provenance")?,
            settings: settings(&value["settings"])?,
        })
    }

    /// The settings, each named after the method, too.
    pub fn settings_named(&self) -> Settings {
        let column = self.source.name();
        self.settings.iter().map(|(name, value)| (format!("{column}: {name}"), value.clone())).collect()
    }
}

impl Record {
    /// The file's text.
    pub fn text(&self) -> String {
        let networks: Vec<Value> = self.networks.iter().map(Network::json).collect();
        let value = json!({
            "format": FORMAT,
            "settings": object(&self.settings),
            "shard": self.shard.map(|shard| shard.to_string()),
            "limit": self.limit,
            "batch": self.batch,
            "cohort": self.cohort,
            "split": self.split,
            "networks": networks,
        });
        format!("{value:#}\n")
    }

    /// Reads a file that [`Record::text`] is in; `None` if there is none.
    ///
    /// Errors: [`StoreError::Io`], [`StoreError::Part`].
    pub fn read(path: &Path) -> Result<Option<Self>, StoreError> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StoreError::Io { path: path.to_owned(), source }),
        };
        let part = |cause: String| StoreError::Part { path: path.to_owned(), cause };
        let value: Value = serde_json::from_str(&text).map_err(|e| part(e.to_string()))?;
        if value["format"] != FORMAT {
            return Err(part(format!("format {}, expected {FORMAT}", value["format"])));
        }
        Self::of(&value).map(Some).ok_or_else(|| part("a key is missing, or holds something else".into()))
    }

    fn of(value: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let whole = |value: &Value| value.as_u64().map(|number| number as usize);
        let absent_or = |value: &Value, present: bool| value.is_null() || present;
        let shard = value["shard"].as_str().and_then(|shard| shard.parse().ok());
        let (limit, split) = (whole(&value["limit"]), text(&value["split"]));
        let sound = absent_or(&value["shard"], shard.is_some())
            && absent_or(&value["limit"], limit.is_some())
            && absent_or(&value["split"], split.is_some());
        let record = Self {
            settings: settings(&value["settings"])?,
            shard,
            limit,
            batch: whole(&value["batch"]).filter(|batch| *batch > 0)?,
            cohort: text(&value["cohort"])?.into(),
            split,
            networks: value["networks"].as_array()?.iter().map(Network::of).collect::<Option<_>>()?,
        };
        sound.then_some(record)
    }

    /// What differs in the settings of all methods or of one, if anything does: name, here, there.
    pub fn difference(&self, other: &Self) -> Option<(String, String, String)> {
        difference(&self.all_settings(), &other.all_settings())
    }

    fn all_settings(&self) -> Settings {
        let mut all = self.settings.clone();
        for network in &self.networks {
            all.push((format!("{}: bundle", network.source.name()), network.sha256.clone()));
            all.extend(network.settings_named());
        }
        all
    }

    /// This evaluation with no more than the methods of `other`.
    pub fn only_methods_of(&self, other: &Self) -> Self {
        let shared = |network: &&Network| other.networks.iter().any(|theirs| theirs.source == network.source);
        Self { networks: self.networks.iter().filter(shared).cloned().collect(), ..self.clone() }
    }

    /// Which part this is, in words.
    pub fn part(&self) -> String {
        self.shard.map_or("none".into(), |shard| shard.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::translator::Method;

    fn record() -> Record {
        Record {
            settings: vec![("cohort".into(), "def".into()), ("batch".into(), "4".into())],
            shard: Shard::new(2, 3),
            limit: None,
            batch: 4,
            cohort: "/cohort".into(),
            split: Some("test".into()),
            networks: vec![network(Method::Ours), network(Method::Saliency)],
        }
    }

    fn network(method: Method) -> Network {
        Network {
            source: method.into(),
            bundle: "demo".into(),
            sha256: "abc".into(),
            provenance: "trained by a test".into(),
            settings: vec![("noise level".into(), "500".into())],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("settings.json");
        assert_eq!(Record::read(&path).unwrap(), None);
        for record in [record(), Record { shard: None, limit: Some(7), split: None, ..record() }] {
            fs::write(&path, record.text()).unwrap();
            assert_eq!(Record::read(&path).unwrap(), Some(record));
        }
        for (from, to) in [
            ("\"format\": 3", "\"format\": 2"),
            ("\"saliency\"", "\"sanity\""),
            ("\"2/3\"", "\"4/3\""),
            ("\"batch\": 4,", "\"batch\": 0,"),
            ("\"500\"", "500"),
            ("\"provenance\"", "\"providence\""),
            ("{", ""),
        ] {
            let text = record().text();
            assert!(text.contains(from), "{from}");
            fs::write(&path, text.replacen(from, to, 1)).unwrap();
            let error = Record::read(&path).unwrap_err().to_string();
            assert!(error.contains("settings.json"), "{from}: {error}");
        }
    }

    #[test]
    fn the_setting_that_differs_is_named() {
        let mut other = record();
        assert_eq!(record().difference(&other), None);
        let difference = |other: &Record| {
            let (name, here, there) = record().difference(other).unwrap();
            format!("{name} {here} {there}")
        };
        other.networks[1].settings[0].1 = "300".into();
        assert_eq!(difference(&other), "saliency: noise level 500 300");
        other.networks[1].sha256 = "fed".into();
        assert_eq!(difference(&other), "saliency: bundle abc fed");
        other.networks.remove(1);
        assert_eq!(difference(&other), "saliency: bundle abc absent");
        assert_eq!(other.difference(&record().only_methods_of(&other)), None);
        other.settings.remove(0);
        assert_eq!(difference(&other), "cohort def absent");
    }
}
