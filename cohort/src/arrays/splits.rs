//! splits.json: which subject belongs to which part of a cohort.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};

use anomalens_models::output::OutputError;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest, Sha256};

use super::{Cohort, Item};
use crate::CohortError;

/// The file, beside cohort.json.
pub const SPLITS: &str = "splits.json";
/// The version of the format.
const FORMAT: u32 = 1;
/// The names that a split may have.
pub const NAMES: [&str; 3] = ["train", "validation", "test"];

/// A file splits.json, as it stands.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Splits {
    format: u32,
    /// What it was drawn with.
    pub seed: u64,
    /// Subject and split, in the file's order. Unlike in a map, a subject that is listed twice stands here twice.
    #[serde(deserialize_with = "pairs")]
    pub subjects: Vec<(String, String)>,
}

/// How large the splits shall be: shares of the subjects; training gets the rest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shares {
    /// In [0, 1).
    pub validation: f64,
    /// In [0, 1).
    pub test: f64,
}

impl Splits {
    /// Draws a split by subject: all images of a subject fall into one part. Subjects with diseased images and subjects
    /// without any are drawn by themselves, so that each part has its share of both. The same seed and subjects give the
    /// same split.
    ///
    /// Errors: [`CohortError::Setting`] for shares that cannot be, or that come to no subject.
    pub fn draw(items: &[Item], shares: Shares, seed: u64) -> Result<Self, CohortError> {
        let Shares { validation, test } = shares;
        let wrong =
            |what, found: String, expected: String| Err(CohortError::Setting { what, found, expected });
        for (what, share) in [("the validation share", validation), ("the test share", test)] {
            if !(0.0..1.0).contains(&share) {
                return wrong(what, share.to_string(), "0 or more, below 1".into());
            }
        }
        if validation + test >= 1.0 {
            return wrong(
                "the sum of the shares",
                (validation + test).to_string(),
                "below 1: training gets the rest".into(),
            );
        }
        let mut diseased: BTreeMap<&str, bool> = BTreeMap::new();
        for item in items {
            *diseased.entry(&item.subject).or_default() |= item.diseased;
        }
        let mut subjects = Vec::new();
        for stratum in [false, true] {
            let mut drawn: Vec<&str> =
                diseased.iter().filter(|(_, d)| **d == stratum).map(|(s, _)| *s).collect();
            drawn.sort_by_cached_key(|subject| Sha256::digest(format!("{seed} {subject}")).to_vec());
            let part = |share: f64| (share * drawn.len() as f64).round() as usize;
            let (v, t) = (part(validation), part(test));
            for (i, subject) in drawn.into_iter().enumerate() {
                let split = if i < v {
                    NAMES[1]
                } else if i < v + t {
                    NAMES[2]
                } else {
                    NAMES[0]
                };
                subjects.push((subject.to_owned(), split.to_owned()));
            }
        }
        subjects.sort();
        for (name, share) in NAMES.into_iter().zip([1.0 - validation - test, validation, test]) {
            if share > 0.0 && !subjects.iter().any(|(_, split)| split == name) {
                let expected =
                    format!("enough for a subject in each split; '{name}' got none: choose other shares");
                return wrong("the number of subjects", subjects.len().to_string(), expected);
            }
        }
        Ok(Self { format: FORMAT, seed, subjects })
    }

    /// Reads a cohort's splits.json; whether its subjects are sound is left to [`Splits::faults`].
    ///
    /// Errors: [`CohortError::Read`], [`CohortError::Json`], [`CohortError::Value`].
    pub fn read(dir: &Path) -> Result<Self, CohortError> {
        let path = dir.join(SPLITS);
        let text = std::fs::read_to_string(&path)
            .map_err(|source| CohortError::Splits { path: path.clone(), found: source.to_string() })?;
        let splits: Self =
            serde_json::from_str(&text).map_err(|source| CohortError::Json { path: path.clone(), source })?;
        if splits.format != FORMAT {
            let (found, expected) = (splits.format.to_string(), FORMAT.to_string());
            return Err(CohortError::Value { path, key: "format", found, expected });
        }
        Ok(splits)
    }

    /// Writes splits.json into a cohort, by rename.
    ///
    /// Errors: [`CohortError::Splits`] if there is one already; [`CohortError::Output`].
    pub fn write(&self, dir: &Path) -> Result<PathBuf, CohortError> {
        let path = dir.join(SPLITS);
        if path.exists() {
            // A network that was trained on the old one would be tested on what it has seen.
            let found = "there is one already; remove it to split anew".to_owned();
            return Err(CohortError::Splits { path, found });
        }
        let subjects: BTreeMap<_, _> =
            self.subjects.iter().map(|(subject, split)| (subject, split)).collect();
        #[derive(Serialize)]
        struct File<'a> {
            format: u32,
            seed: u64,
            subjects: BTreeMap<&'a String, &'a String>,
        }
        let text = serde_json::to_string_pretty(&File { format: FORMAT, seed: self.seed, subjects })
            .expect("strings and numbers");
        let fail = |e| OutputError::new(&path, e);
        let mut whole = tempfile::NamedTempFile::new_in(dir).map_err(fail)?;
        whole.write_all((text + "\n").as_bytes()).map_err(fail)?;
        whole.as_file().sync_all().map_err(fail)?;
        whole.persist_noclobber(&path).map_err(|e| fail(e.error))?;
        Ok(path)
    }

    /// What is wrong with it for a cohort of these items: each of its subjects must be listed once, by a known split,
    /// and no other.
    pub fn faults(&self, items: &[Item]) -> Vec<String> {
        let subjects: BTreeSet<&str> = items.iter().map(|item| item.subject.as_str()).collect();
        let mut listed: BTreeMap<&str, &str> = BTreeMap::new();
        let mut faults = Vec::new();
        for (subject, split) in &self.subjects {
            if !NAMES.contains(&split.as_str()) {
                faults.push(format!(
                    "subject {subject} is in '{split}', which is none of {}",
                    NAMES.join(", ")
                ));
            }
            if !subjects.contains(subject.as_str()) {
                faults.push(format!("subject {subject} is listed, but the cohort does not have it"));
            }
            match listed.insert(subject, split) {
                Some(before) if before != split => {
                    faults.push(format!("subject {subject} is in two splits, {before} and {split}"));
                }
                Some(_) => faults.push(format!("subject {subject} is listed twice")),
                None => {}
            }
        }
        let missing = subjects.iter().filter(|subject| !listed.contains_key(**subject));
        faults.extend(missing.map(|subject| format!("subject {subject} is in no split")));
        faults
    }
}

/// A map as pairs, so that a key that is there twice is seen.
fn pairs<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<(String, String)>, D::Error> {
    struct Pairs;
    impl<'de> Visitor<'de> for Pairs {
        type Value = Vec<(String, String)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("subjects with the name of a split each")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut pairs = Vec::new();
            while let Some(pair) = map.next_entry()? {
                pairs.push(pair);
            }
            Ok(pairs)
        }
    }
    from.deserialize_map(Pairs)
}

/// A part of a cohort, by subject.
#[derive(Debug)]
pub(super) struct View {
    /// The split's name.
    pub name: String,
    /// Each item's place in the arrays.
    pub places: Vec<usize>,
}

impl Cohort {
    /// Opens one split of a cohort, as its splits.json has it: a cohort of fewer items. `None` opens all of it.
    ///
    /// Errors: those of [`Cohort::open`]; [`CohortError::Splits`] for a split that is not there, or a splits.json that does
    /// not fit the cohort.
    pub fn open_split(dir: &Path, split: Option<&str>) -> Result<Self, CohortError> {
        let mut cohort = Self::open(dir)?;
        let Some(name) = split else { return Ok(cohort) };
        let fail = |found| Err(CohortError::Splits { path: dir.join(SPLITS), found });
        if !NAMES.contains(&name) {
            return fail(format!("split '{name}' was asked for, which is none of {}", NAMES.join(", ")));
        }
        let splits = Splits::read(dir)?;
        if let Some(fault) = splits.faults(&cohort.items).into_iter().next() {
            return fail(fault);
        }
        let of: BTreeMap<&str, &str> =
            splits.subjects.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        let (mut places, mut items) = (Vec::new(), Vec::new());
        for (place, item) in cohort.items.into_iter().enumerate() {
            if of.get(item.subject.as_str()) == Some(&name) {
                places.push(place);
                items.push(item);
            }
        }
        if items.is_empty() {
            return fail(format!("split '{name}' has no subject"));
        }
        cohort.items = items;
        cohort.view = Some(View { name: name.to_owned(), places });
        Ok(cohort)
    }

    /// The name of the split that this is a view of; `None` if it is the whole cohort.
    pub fn split(&self) -> Option<&str> {
        self.view.as_ref().map(|view| view.name.as_str())
    }
}
