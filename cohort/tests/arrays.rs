//! Cohorts as arrays: what is written is read, and what does not fit is refused by name.

mod common;

use std::fs;
use std::path::Path;

use anomalens_cohort::{Cohort, CohortError, CohortWriter, Counts};
use common::{info, sample, small};
use ndarray::Array2;
use tempfile::tempdir;

#[test]
fn what_is_written_is_read() {
    let place = tempdir().unwrap();
    let dir = place.path().join("cohort");
    small(&dir);
    let cohort = Cohort::open(&dir).unwrap();
    assert_eq!((cohort.len(), cohort.size(), cohort.percentile()), (2, 4, 99.5));
    assert_eq!(cohort.channels(), ["a", "b"]);
    assert_eq!(cohort.counts(), Counts { healthy: 1, diseased: 1 });
    assert_eq!((cohort.kind(), cohort.note()), ("test", "a test; not for diagnostic use"));
    for (index, diseased) in [(0, false), (1, true)] {
        let expected = sample(diseased);
        assert_eq!(*cohort.item(index), expected.item);
        assert_eq!(cohort.image(index).unwrap(), expected.image);
        assert_eq!(cohort.mask(index).unwrap(), expected.mask);
        assert_eq!(Some(cohort.brain(index).unwrap()), expected.brain);
    }
}

#[test]
fn masks_may_be_absent() {
    let place = tempdir().unwrap();
    let dir = place.path().join("cohort");
    small(&dir);
    fs::remove_file(dir.join("masks.npy")).unwrap();
    fs::remove_file(dir.join("brains.npy")).unwrap();
    let cohort = Cohort::open(&dir).unwrap();
    assert!(!cohort.has_masks());
    assert_eq!(cohort.mask(1).unwrap(), None);
    // Channel b is above 0 everywhere.
    assert_eq!(cohort.brain(1).unwrap(), Array2::from_elem((4, 4), true));
}

/// Replaces `from` by `to` in a file's text; the header of an array keeps its length.
fn replace(file: &Path, from: &str, to: &str) {
    let bytes = fs::read(file).unwrap();
    let at = bytes.windows(from.len()).position(|w| w == from.as_bytes()).expect("the text is there");
    let mut changed = [&bytes[..at], to.as_bytes(), &bytes[at + from.len()..]].concat();
    if file.extension().is_some_and(|e| e == "npy") {
        // The header ends with spaces and a new line.
        let end = changed.iter().position(|&b| b == b'\n').unwrap();
        let padding = (end + bytes.len()) - changed.len();
        changed.splice(end.min(padding)..end, std::iter::repeat_n(b' ', padding.saturating_sub(end)));
    }
    fs::write(file, changed).unwrap();
}

/// Overwrites bytes from the end of a file.
fn overwrite(file: &Path, from_end: usize, with: &[u8]) {
    let mut bytes = fs::read(file).unwrap();
    let at = bytes.len() - from_end;
    bytes[at..at + with.len()].copy_from_slice(with);
    fs::write(file, bytes).unwrap();
}

type Damage = fn(&Path);

#[test]
fn damage_is_named() {
    let cases: &[(&str, Damage, &str)] = &[
        ("no cohort.json", |d| fs::remove_file(d.join("cohort.json")).unwrap(), "cohort.json': No such file"),
        ("no images", |d| fs::remove_file(d.join("images.npy")).unwrap(), "images.npy': No such file"),
        ("not JSON", |d| fs::write(d.join("cohort.json"), "{").unwrap(), "EOF while parsing"),
        (
            "another format",
            |d| replace(&d.join("cohort.json"), "\"format\": 1", "\"format\": 2"),
            "format is 2, expected 1",
        ),
        (
            "no format",
            |d| replace(&d.join("cohort.json"), "\"format\": 1,", ""),
            "format is absent, expected 1",
        ),
        ("a key is missing", |d| replace(&d.join("cohort.json"), "\"size\": 4,", ""), "missing field `size`"),
        ("no channels", |d| replace(&d.join("cohort.json"), "\"a\",\n    \"b\"", ""), "channels is empty"),
        (
            "no size",
            |d| replace(&d.join("cohort.json"), "\"size\": 4", "\"size\": 0"),
            "size is 0, expected 1 to",
        ),
        (
            "a percentile of 0",
            |d| replace(&d.join("cohort.json"), "99.5", "0.0"),
            "percentile is 0, expected above 0",
        ),
        (
            "mixed sizes",
            |d| replace(&d.join("images.npy"), "4, 4", "8, 2"),
            "found type <f4, shape [2, 2, 8, 2], C order, expected a .npy array of type <f4, shape [2, 2, 4, 4]",
        ),
        (
            "another number of masks",
            |d| replace(&d.join("masks.npy"), "(2, 4", "(1, 4"),
            "masks.npy': found type |u1, shape [1, 4, 4]",
        ),
        ("another type", |d| replace(&d.join("images.npy"), "<f4", "<i4"), "found type <i4"),
        ("Fortran order", |d| replace(&d.join("images.npy"), "False", "True"), "Fortran order"),
        ("no array", |d| fs::write(d.join("images.npy"), "PNG").unwrap(), "found no .npy header"),
        ("a damaged header", |d| replace(&d.join("images.npy"), "shape", "shade"), "found the header"),
        (
            "truncated",
            |d| {
                let f = d.join("images.npy");
                let b = fs::read(&f).unwrap();
                fs::write(f, &b[..b.len() - 1]).unwrap()
            },
            "447 bytes, expected 448; the file was cut short",
        ),
        (
            "overlong",
            |d| {
                let f = d.join("brains.npy");
                let b = fs::read(&f).unwrap();
                fs::write(f, [&b[..], &[0]].concat()).unwrap()
            },
            "225 bytes, expected 224",
        ),
    ];
    let mut wrong = Vec::new();
    for (name, damage, expected) in cases {
        let place = tempdir().unwrap();
        let dir = place.path().join("cohort");
        small(&dir);
        damage(&dir);
        match Cohort::open(&dir) {
            Ok(_) => wrong.push(format!("{name}: was opened")),
            Err(e) if e.to_string().contains(expected) => {}
            Err(e) => wrong.push(format!("{name}: {e}")),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn bad_pixels_are_named_when_they_are_read() {
    let cases: &[(&str, Damage, &str)] = &[
        (
            "NaN",
            |d| overwrite(&d.join("images.npy"), 4, &f32::NAN.to_le_bytes()),
            "item 1 (s1, slice 1): pixel [channel 1, row 3, column 3] is NaN",
        ),
        (
            "infinite",
            |d| overwrite(&d.join("images.npy"), 8, &f32::INFINITY.to_le_bytes()),
            "row 3, column 2] is inf",
        ),
        (
            "above 1",
            |d| overwrite(&d.join("images.npy"), 128, &1.5f32.to_le_bytes()),
            "pixel [channel 0, row 0, column 0] is 1.5",
        ),
        (
            "below 0",
            |d| overwrite(&d.join("images.npy"), 124, &(-0.1f32).to_le_bytes()),
            "is -0.1, expected a number from 0 to 1",
        ),
        (
            "a mask of 255",
            |d| overwrite(&d.join("masks.npy"), 1, &[255]),
            "masks.npy': item 1: pixel [row 3, column 3] is 255",
        ),
        (
            "a healthy mask where the label is diseased",
            |d| overwrite(&d.join("masks.npy"), 16, &[0; 16]),
            "labelled diseased, but its mask has 0 pixels",
        ),
    ];
    for (name, damage, expected) in cases {
        let place = tempdir().unwrap();
        let dir = place.path().join("cohort");
        small(&dir);
        damage(&dir);
        let cohort = Cohort::open(&dir).unwrap();
        assert!(cohort.image(0).is_ok() && cohort.mask(0).is_ok(), "{name}: the other item is good");
        let error = cohort.image(1).err().or_else(|| cohort.mask(1).err());
        let error = error.map_or("none".to_owned(), |e| e.to_string());
        assert!(error.contains(expected), "{name}: {error}");
    }
    let place = tempdir().unwrap();
    let dir = place.path().join("cohort");
    small(&dir);
    overwrite(&dir.join("masks.npy"), 32, &[1]);
    let cohort = Cohort::open(&dir).unwrap();
    let error = cohort.mask(0).unwrap_err().to_string();
    assert!(error.contains("item 0 (s1, slice 0) is labelled healthy, but its mask has 1 pixels"), "{error}");
    let error = cohort.image(2).unwrap_err().to_string();
    assert!(error.contains("item 2, expected less than 2"), "{error}");
}

#[test]
fn the_fingerprint_changes_with_any_byte_that_training_sees() {
    let place = tempdir().unwrap();
    let dir = place.path().join("cohort");
    small(&dir);
    let before = Cohort::open(&dir).unwrap().fingerprint().unwrap();
    assert_eq!(before.len(), 64);
    assert_eq!(before, Cohort::open(&dir).unwrap().fingerprint().unwrap());
    // One bit of one pixel.
    let bytes = fs::read(dir.join("images.npy")).unwrap();
    overwrite(&dir.join("images.npy"), 3, &[bytes[bytes.len() - 3] ^ 1]);
    let pixel = Cohort::open(&dir).unwrap().fingerprint().unwrap();
    assert_ne!(pixel, before);
    fs::write(dir.join("images.npy"), bytes).unwrap();
    assert_eq!(Cohort::open(&dir).unwrap().fingerprint().unwrap(), before);
    replace(&dir.join("cohort.json"), "\"diseased\": true", "\"diseased\":  true");
    assert_ne!(Cohort::open(&dir).unwrap().fingerprint().unwrap(), before);
}

#[test]
fn samples_that_do_not_fit_are_refused() {
    let place = tempdir().unwrap();
    let dir = place.path().join("cohort");
    let mut writer = CohortWriter::create(&dir, info()).unwrap();
    writer.push(sample(false)).unwrap();
    let good = sample(true);
    let mut nan = good.clone();
    nan.image[[0, 1, 2]] = f32::NAN;
    let mut small = good.clone();
    small.image = ndarray::Array3::zeros((2, 4, 3));
    let mut unmasked = good.clone();
    unmasked.mask = None;
    let mut mislabelled = good.clone();
    mislabelled.item.diseased = false;
    for (sample, expected) in [
        (nan, "row 1, column 2] is NaN"),
        (small, "image has shape [2, 4, 3], expected [2, 4, 4]"),
        (unmasked, "mask has shape [], expected [4, 4]"),
        (mislabelled, "is labelled healthy, but its mask has 3 pixels"),
    ] {
        let error = writer.push(sample).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    assert_eq!(writer.len(), 1);
    drop(writer);
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0, "an unfinished cohort leaves nothing");

    let empty = CohortWriter::create(&dir, info()).unwrap().finish().unwrap_err();
    assert!(matches!(empty, CohortError::Empty { .. }), "{empty}");
    fs::write(&dir, "a file").unwrap();
    let taken = CohortWriter::create(&dir, info()).err().unwrap();
    assert!(matches!(taken, CohortError::Output(_)), "{taken}");
}
