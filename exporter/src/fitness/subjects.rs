//! Which images of a cohort belong to one of its splits.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Why the images of a split cannot be found.
#[derive(Debug, thiserror::Error)]
#[error("{}: {why}; expected a cohort that anomalens-cohort has written and split, or leave --split out", path.display())]
pub struct SubjectsError {
    path: PathBuf,
    why: String,
}

/// The positions of the images whose subject is in the split; `images`: how many the cohort has.
///
/// Errors: [`SubjectsError`].
pub(super) fn of_split(cohort: &Path, split: &str, images: usize) -> Result<Vec<usize>, SubjectsError> {
    let (splits_path, cohort_path) = (cohort.join("splits.json"), cohort.join("cohort.json"));
    let splits = read(&splits_path)?;
    let fault = |path: &Path, why: String| SubjectsError { path: path.to_owned(), why };
    let subjects = splits.get("subjects").and_then(Value::as_object);
    let subjects = subjects.ok_or_else(|| fault(&splits_path, "found no subjects".into()))?;
    let of_split =
        subjects.iter().filter(|(_, of)| of.as_str() == Some(split)).map(|(subject, _)| subject.as_str());
    let of_split: BTreeSet<&str> = of_split.collect();
    let info = read(&cohort_path)?;
    let items = info.get("items").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if items.len() != images {
        let why = format!("found {} items, but images.npy has {images}", items.len());
        return Err(fault(&cohort_path, why));
    }
    let is_of =
        |item: &Value| item.get("subject").and_then(Value::as_str).is_some_and(|s| of_split.contains(s));
    let positions: Vec<_> =
        items.iter().enumerate().filter(|(_, item)| is_of(item)).map(|(i, _)| i).collect();
    if positions.is_empty() {
        return Err(fault(&splits_path, format!("found no image of split '{split}'")));
    }
    Ok(positions)
}

fn read(path: &Path) -> Result<Value, SubjectsError> {
    let fault = |why: String| SubjectsError { path: path.to_owned(), why };
    let text = fs::read_to_string(path).map_err(|error| fault(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| fault(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_images_of_a_split_are_those_of_its_subjects() {
        let place = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(place.path().join(name), text).unwrap();
        let wrong = |split, images| of_split(place.path(), split, images).unwrap_err().to_string();
        assert!(wrong("train", 3).contains("splits.json: "), "{}", wrong("train", 3));
        write(
            "splits.json",
            r#"{"format": 1, "seed": 0, "subjects": {"a": "train", "b": "test", "c": "train"}}"#,
        );
        write("cohort.json", r#"{"items": [{"subject": "c"}, {"subject": "b"}, {"subject": "a"}]}"#);
        assert_eq!(of_split(place.path(), "train", 3).unwrap(), [0, 2]);
        assert_eq!(of_split(place.path(), "test", 3).unwrap(), [1]);
        assert!(wrong("train", 4).contains("found 3 items, but images.npy has 4"));
        assert!(wrong("validation", 3).contains("no image of split 'validation'; expected a cohort"));
    }
}
