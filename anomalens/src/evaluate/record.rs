//! What an evaluation writes of itself beside what it keeps, so that it is gone on with and merged with its like only.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::shard::Shard;
use super::store::StoreError;

/// What makes the results what they are, by name.
pub type Settings = Vec<(String, String)>;

/// An evaluation, or a part of one.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// What makes the results what they are.
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
    /// Whose maps are scored.
    pub networks: Vec<Network>,
}

/// A bundle, and the method that it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// The method's name, which is that of its column.
    pub method: String,
    /// The bundle's name.
    pub bundle: String,
    /// Its hash.
    pub sha256: String,
    /// Where its weights come from.
    pub provenance: String,
}

impl Network {
    /// As JSON has it.
    pub fn json(&self) -> Value {
        let Self { method, bundle, sha256, provenance } = self;
        json!({ "method": method, "bundle": bundle, "sha256": sha256, "provenance": provenance })
    }

    fn of(value: &Value) -> Option<Self> {
        let text = |key: &str| value[key].as_str().map(str::to_owned);
        let (method, bundle) = (text("method")?, text("bundle")?);
        Some(Self { method, bundle, sha256: text("sha256")?, provenance: text("provenance")? })
    }
}

impl Record {
    /// The file's text.
    pub fn text(&self) -> String {
        let settings: Map<String, Value> = self.settings.iter().map(|(k, v)| (k.clone(), json!(v))).collect();
        let networks: Vec<Value> = self.networks.iter().map(Network::json).collect();
        let value = json!({
            "format": 2,
            "settings": settings,
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
        if value["format"] != 2 {
            return Err(part(format!("format {}, expected 2", value["format"])));
        }
        Self::of(&value).map(Some).ok_or_else(|| part("a key is missing, or holds something else".into()))
    }

    fn of(value: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let whole = |value: &Value| value.as_u64().map(|number| number as usize);
        let absent_or = |value: &Value, present: bool| value.is_null() || present;
        let settings = value["settings"].as_object()?.iter().map(|(k, v)| Some((k.clone(), text(v)?)));
        let shard = value["shard"].as_str().and_then(|shard| shard.parse().ok());
        let (limit, split) = (whole(&value["limit"]), text(&value["split"]));
        let sound = absent_or(&value["shard"], shard.is_some())
            && absent_or(&value["limit"], limit.is_some())
            && absent_or(&value["split"], split.is_some());
        let record = Self {
            settings: settings.collect::<Option<_>>()?,
            shard,
            limit,
            batch: whole(&value["batch"]).filter(|batch| *batch > 0)?,
            cohort: text(&value["cohort"])?.into(),
            split,
            networks: value["networks"].as_array()?.iter().map(Network::of).collect::<Option<_>>()?,
        };
        sound.then_some(record)
    }

    /// What differs in the settings, if anything does: name, here, there.
    pub fn difference(&self, other: &Self) -> Option<(String, String, String)> {
        let value = |record: &Self, name: &str| {
            let found = record.settings.iter().find(|setting| setting.0 == name);
            found.map_or("absent".to_owned(), |setting| setting.1.clone())
        };
        let mut names = self.settings.iter().chain(&other.settings).map(|setting| &setting.0);
        let name = names.find(|name| value(self, name) != value(other, name))?;
        Some((name.clone(), value(self, name), value(other, name)))
    }

    /// Which part this is, in words.
    pub fn part(&self) -> String {
        self.shard.map_or("none".into(), |shard| shard.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            settings: vec![("noise level".into(), "500".into()), ("batch".into(), "4".into())],
            shard: Shard::new(2, 3),
            limit: None,
            batch: 4,
            cohort: "/cohort".into(),
            split: Some("test".into()),
            networks: vec![Network {
                method: "ours".into(),
                bundle: "demo".into(),
                sha256: "abc".into(),
                provenance: "trained by a test".into(),
            }],
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
            ("\"format\": 2", "\"format\": 1"),
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
        other.settings[0].1 = "300".into();
        let expected = ("noise level".to_owned(), "500".to_owned(), "300".to_owned());
        assert_eq!(record().difference(&other), Some(expected));
        other.settings.remove(0);
        assert_eq!(other.difference(&record()).unwrap().1, "absent");
    }
}
