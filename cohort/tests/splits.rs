//! Splits by subject, and what `check` finds.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anomalens_cohort::check::check;
use anomalens_cohort::{Cohort, CohortWriter, Item, Shares, Splits};
use common::{info, sample, small};
use tempfile::tempdir;

const SHARES: Shares = Shares { validation: 0.1, test: 0.2 };

/// Subjects s0 to s39; the first ten have a diseased slice beside a healthy one.
fn items() -> Vec<Item> {
    let item = |n: usize, slice, diseased| Item {
        subject: format!("s{n}"),
        slice,
        diseased,
        extra: Default::default(),
    };
    (0..40).flat_map(|n| [item(n, 0, false), item(n, 1, n < 10)]).collect()
}

/// Three subjects, the middle one with two items. No two images are equal.
fn three(dir: &Path) {
    let mut writer = CohortWriter::create(dir, info()).unwrap();
    for (n, subject) in ["a", "b", "b", "c"].into_iter().enumerate() {
        let mut sample = sample(n % 2 == 1);
        sample.item = Item { subject: subject.into(), slice: n, ..sample.item };
        sample.image *= 1.0 - n as f32 / 8.0;
        writer.push(sample).unwrap();
    }
    writer.finish().unwrap();
}

fn splits(dir: &Path, subjects: &str) {
    fs::write(
        dir.join("splits.json"),
        format!("{{\"format\": 1, \"seed\": 0, \"subjects\": {{{subjects}}}}}"),
    )
    .unwrap();
}

#[test]
fn each_part_has_its_share_of_both_kinds_of_subject() {
    let items = items();
    let drawn = Splits::draw(&items, SHARES, 5).unwrap();
    assert!(drawn.faults(&items).is_empty());
    let mut counts: BTreeMap<(&str, bool), usize> = BTreeMap::new();
    for (subject, split) in &drawn.subjects {
        let diseased = subject[1..].parse::<usize>().unwrap() < 10;
        *counts.entry((split, diseased)).or_default() += 1;
    }
    let expected = [
        (("test", false), 6),
        (("test", true), 2),
        (("train", false), 21),
        (("train", true), 7),
        (("validation", false), 3),
        (("validation", true), 1),
    ];
    assert_eq!(counts.into_iter().collect::<Vec<_>>(), expected);
    assert_eq!(drawn, Splits::draw(&items, SHARES, 5).unwrap());
    assert_ne!(drawn.subjects, Splits::draw(&items, SHARES, 6).unwrap().subjects);
    for (shares, expected) in [
        (Shares { validation: 0.5, test: 0.5 }, "sum of the shares is 1"),
        (Shares { validation: f64::NAN, test: 0.1 }, "validation share is NaN"),
        (Shares { validation: 0.001, test: 0.1 }, "'validation' got none"),
    ] {
        let error = Splits::draw(&items, shares, 0).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_split_is_a_cohort_of_fewer_items() {
    let place = tempdir().unwrap();
    let dir = place.path().join("cohort");
    three(&dir);
    let whole = Cohort::open(&dir).unwrap();
    let none = Cohort::open_split(&dir, Some("train")).unwrap_err().to_string();
    assert!(none.contains("splits.json") && none.contains("anomalens-cohort split"), "{none}");
    splits(&dir, r#""a": "test", "b": "train", "c": "test""#);
    let mut seen = BTreeSet::new();
    for (name, expected) in [("train", vec![1, 2]), ("test", vec![0, 3])] {
        let part = Cohort::open_split(&dir, Some(name)).unwrap();
        assert_eq!((part.len(), part.split()), (expected.len(), Some(name)));
        for (index, place) in expected.into_iter().enumerate() {
            assert_eq!(part.item(index), whole.item(place));
            assert_eq!(part.image(index).unwrap(), whole.image(place).unwrap());
            assert_eq!(part.mask(index).unwrap(), whole.mask(place).unwrap());
            assert_eq!(part.brain(index).unwrap(), whole.brain(place).unwrap());
        }
        assert!(part.image(2).unwrap_err().to_string().contains("item 2, expected less than 2"));
        seen.insert(part.fingerprint().unwrap());
    }
    seen.insert(whole.fingerprint().unwrap());
    assert_eq!(Cohort::open_split(&dir, None).unwrap().fingerprint().unwrap(), whole.fingerprint().unwrap());
    assert_eq!(seen.len(), 3, "each part has a fingerprint of its own");
    let before = Cohort::open_split(&dir, Some("train")).unwrap().fingerprint().unwrap();
    splits(&dir, r#""a": "validation", "b": "train", "c": "test""#);
    assert_eq!(Cohort::open_split(&dir, Some("train")).unwrap().fingerprint().unwrap(), before);
    splits(&dir, r#""a": "train", "b": "train", "c": "test""#);
    assert_ne!(Cohort::open_split(&dir, Some("train")).unwrap().fingerprint().unwrap(), before);
}

#[test]
fn splits_that_do_not_fit_are_refused() {
    let place = tempdir().unwrap();
    let dir = place.path().join("cohort");
    three(&dir);
    for (subjects, expected) in [
        (
            r#""a": "train", "b": "train", "c": "test", "a": "test""#,
            "subject a is in two splits, train and test",
        ),
        (r#""a": "train", "b": "train", "c": "test", "a": "train""#, "subject a is listed twice"),
        (r#""a": "train", "b": "train""#, "subject c is in no split"),
        (r#""a": "train", "b": "train", "c": "test", "d": "test""#, "subject d is listed, but"),
        (r#""a": "train", "b": "train", "c": "exam""#, "which is none of train, validation, test"),
        (r#""a": "train", "b": "train", "c": 1"#, "expected a string"),
    ] {
        splits(&dir, subjects);
        let error = Cohort::open_split(&dir, Some("train")).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        let (_, report) = check(&dir, None, |_, _| true).unwrap();
        assert!(report.errors.iter().any(|e| e.contains(expected)), "{:?}", report.errors);
    }
    splits(&dir, r#""a": "train", "b": "train", "c": "test""#);
    for (name, expected) in [("validation", "has no subject"), ("exam", "which is none of")] {
        let error = Cohort::open_split(&dir, Some(name)).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let there = Splits::draw(&items(), SHARES, 0).unwrap().write(&dir).unwrap_err().to_string();
    assert!(there.contains("there is one already"), "{there}");
    fs::remove_file(dir.join("splits.json")).unwrap();
    let drawn = Splits::draw(&items(), SHARES, 0).unwrap();
    drawn.write(&dir).unwrap();
    let sorted = |s: &Splits| s.subjects.iter().cloned().collect::<BTreeSet<_>>();
    assert_eq!(sorted(&Splits::read(&dir).unwrap()), sorted(&drawn));
}

#[test]
fn check_finds_what_cannot_be_right() {
    let place = tempdir().unwrap();
    let dir = place.path().join("cohort");
    three(&dir);
    let (_, report) = check(&dir, None, |_, _| true).unwrap();
    assert_eq!((report.errors.len(), report.warnings.len()), (0, 0), "{report}");
    assert_eq!((report.counts.healthy, report.counts.diseased, report.subjects), (2, 2, [3, 2]));
    // Channel a holds 0 to 15 of 32, scaled: of 4 x 16 values four are 0, none is 1.
    assert_eq!(
        (report.histograms[0].values(), report.histograms[0].zeros, report.histograms[0].ones),
        (64, 4, 0)
    );

    // In f32, 32 values an item, after the header of 192 bytes.
    let edit = |item: usize, values: &[f32]| {
        let mut bytes = fs::read(dir.join("images.npy")).unwrap();
        for (i, v) in values.iter().enumerate() {
            bytes[192 + (item * 32 + i) * 4..][..4].copy_from_slice(&v.to_le_bytes());
        }
        fs::write(dir.join("images.npy"), bytes).unwrap();
    };
    let image: Vec<f32> = Cohort::open(&dir).unwrap().image(3).unwrap().iter().copied().collect();
    edit(0, &[f32::NAN]);
    edit(1, &[0.5; 16]);
    edit(2, &image);
    let (cohort, report) = check(&dir, None, |_, _| true).unwrap();
    let errors = report.errors.join("\n");
    assert!(errors.contains("item 0 (a, slice 0): pixel [channel 0, row 0, column 0] is NaN"), "{errors}");
    assert!(errors.contains("item 3 (c, slice 3) are the same image, with different labels"), "{errors}");
    assert_eq!(report.errors.len(), 2, "{errors}");
    assert!(report.warnings.join("\n").contains("item 1 (b, slice 1): a is 0.5 everywhere"), "{report}");
    assert_eq!((report.readable.clone(), cohort.len()), (vec![1, 2, 3], 4));

    // A healthy item with a mask.
    let mut masks = fs::read(dir.join("masks.npy")).unwrap();
    masks[192] = 1;
    fs::write(dir.join("masks.npy"), masks).unwrap();
    let (_, report) = check(&dir, None, |_, _| true).unwrap();
    assert!(
        report.errors.iter().any(|e| e.contains("is labelled healthy, but its mask has 1 pixels")),
        "{report}"
    );

    // The same image in two splits.
    let twins = place.path().join("twins");
    let mut writer = CohortWriter::create(&twins, info()).unwrap();
    for subject in ["a", "b"] {
        let mut sample = sample(true);
        sample.item.subject = subject.into();
        writer.push(sample).unwrap();
    }
    writer.finish().unwrap();
    let (_, report) = check(&twins, None, |_, _| true).unwrap();
    assert!(report.errors.is_empty() && report.warnings.len() == 2, "{report}");
    splits(&twins, r#""a": "train", "b": "test""#);
    let (_, report) = check(&twins, None, |_, _| true).unwrap();
    assert!(report.errors.join("").contains("are the same image, in different splits"), "{report}");
    let other = place.path().join("small");
    small(&other);
    assert!(check(&other, None, |_, _| false).unwrap_err().to_string().contains("interrupted"));
}
