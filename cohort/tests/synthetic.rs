//! Synthetic brains of the phantom: what must hold of every slice.

mod common;

use std::fs;

use anomalens_cohort::synthetic::{self, Anatomy, Format, Parameters, Source, Subject};
use anomalens_cohort::{CohortError, Counts};
use common::{arrays, contents, phantom};
use ndarray::Axis;
use sha2::{Digest, Sha256};
use tempfile::tempdir;

/// SHA-256 of images.npy for 6 slices of the phantom, seed 7, 16 pixels, version 1 of the parameters. It may change
/// with that version only: trained networks and published figures depend on these bytes.
const FROZEN: &str = "5af6ff05e4cd091c6dd8873983c30799b0db95f024b3a96cd3e0a1bd0b83d45b";

#[test]
fn a_seed_gives_the_same_bytes() {
    let place = tempdir().unwrap();
    let [a, b, c] = ["a", "b", "c"].map(|name| place.path().join(name));
    arrays(&a, &phantom(6, 7, 16));
    arrays(&b, &phantom(6, 7, 16));
    arrays(&c, &phantom(6, 8, 16));
    assert_eq!(contents(&a), contents(&b));
    assert_ne!(contents(&a)["images.npy"], contents(&c)["images.npy"]);
    let digest = Sha256::digest(&contents(&a)["images.npy"]);
    assert_eq!(digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>(), FROZEN);
}

#[test]
fn every_slice_is_what_its_label_says() {
    let place = tempdir().unwrap();
    let cohort = arrays(&place.path().join("cohort"), &phantom(41, 3, 32));
    assert_eq!(cohort.counts(), Counts { healthy: 21, diseased: 20 });
    assert_eq!(cohort.channels(), ["t1", "t1ce", "t2", "flair"]);
    assert!(cohort.note().contains("one template") && cohort.note().contains("not for diagnostic use"));
    assert_eq!(cohort.info().generator["parameters"]["version"], 1);
    let mut contrasts = Vec::new();
    for index in 0..cohort.len() {
        let item = cohort.item(index);
        // Both check what they read: range, label against mask.
        let (image, mask) = (cohort.image(index).unwrap(), cohort.mask(index).unwrap().unwrap());
        let brain = cohort.brain(index).unwrap();
        let pixels = mask.iter().filter(|&&m| m).count();
        assert!(pixels == 0 || pixels >= 3, "item {index}: {pixels}");
        for (at, &inside) in brain.indexed_iter() {
            assert!(inside || !mask[at], "item {index}: lesion outside the brain at {at:?}");
            for plane in image.axis_iter(Axis(0)) {
                assert!(inside || plane[at] == 0.0, "item {index}: {} outside the brain", plane[at]);
            }
        }
        let share = brain.iter().filter(|&&b| b).count() as f64 / brain.len() as f64;
        assert!((0.1..0.7).contains(&share), "item {index}: the brain fills {share}");
        if item.diseased {
            contrasts.push(item.extra["lesion_contrast"].as_f64().unwrap());
            assert_eq!(item.extra["lesion_pixels"], pixels);
        }
    }
    // Lesions can be seen in the four contrasts together, if not in each.
    let visible = contrasts.iter().filter(|&&c| c >= 0.35).count();
    assert!(visible * 10 >= contrasts.len() * 9, "{contrasts:?}");
}

#[test]
fn a_lesion_changes_nothing_elsewhere() {
    let anatomy = Anatomy::load(&Source::Phantom).unwrap();
    let set = Parameters::default();
    let subject =
        (1..).map(|n| Subject::make(&anatomy, &set, 5, n, 24)).find(|s| s.iso_flair == Some(true)).unwrap();
    let (mut changed, mut flair) = (0, 0f32);
    for slice in &subject.slices {
        for ((c, h, w), &with) in slice.image.indexed_iter() {
            let without = slice.healthy[[c, h, w]];
            if slice.lesion[[h, w]] == 0.0 {
                assert_eq!(with, without, "[{c}, {h}, {w}]");
            } else if c == 3 {
                flair = flair.max((with - without).abs());
            } else if (with - without).abs() > 0.05 {
                changed += 1;
            }
        }
    }
    assert!(changed > 20, "{changed} pixels changed");
    assert_eq!(flair, 0.0, "FLAIR does not show it");
}

#[test]
fn cohorts_that_follow_each_other_share_no_subject() {
    let place = tempdir().unwrap();
    let first = arrays(&place.path().join("first"), &phantom(8, 7, 16));
    let last = first.items().last().unwrap().subject[1..].parse::<u64>().unwrap();
    let mut settings = phantom(8, 7, 16);
    settings.first = last + 1;
    let second = arrays(&place.path().join("second"), &settings);
    let subjects = |cohort: &anomalens_cohort::Cohort| {
        cohort.items().iter().map(|item| item.subject.clone()).collect::<std::collections::BTreeSet<_>>()
    };
    assert!(subjects(&first).is_disjoint(&subjects(&second)));
}

#[test]
fn stopped_it_leaves_nothing() {
    let place = tempdir().unwrap();
    for format in [Format::Arrays, Format::Nifti, Format::Dicom] {
        let mut calls = 0;
        let error = synthetic::write(&place.path().join("x"), format, &phantom(200, 1, 16), |_, _| {
            calls += 1;
            calls < 2
        });
        assert!(matches!(error, Err(CohortError::Interrupted)), "{format:?}: {error:?}");
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0, "{format:?}");
    }
}

#[test]
fn settings_that_make_no_sense_are_named() {
    let place = tempdir().unwrap();
    let mut zero = phantom(4, 1, 16);
    zero.first = 0;
    let mut nowhere = phantom(4, 1, 16);
    nowhere.source = Source::Mni152(place.path().into());
    for (settings, expected) in [
        (phantom(1, 1, 16), "the number of slices is 1, expected at least 2"),
        (phantom(4, 1, 7), "the size is 7, expected 8 to 512 pixels"),
        (zero, "the first subject is 0, expected 1 to"),
        (nowhere, "run `make deps` and set ANOMALENS_MNI152"),
    ] {
        let error =
            synthetic::write(&place.path().join("x"), Format::Arrays, &settings, |_, _| true).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
    }
}

#[test]
fn a_sheet_shows_a_row_a_slice() {
    let place = tempdir().unwrap();
    let cohort = arrays(&place.path().join("cohort"), &phantom(6, 7, 16));
    let file = place.path().join("sheet.png");
    anomalens_cohort::sheet::write(&cohort, 2, 3, &file).unwrap();
    let sheet = image::open(&file).unwrap();
    // Three rows; the four channels and the last of them again.
    assert_eq!((sheet.width(), sheet.height()), (4 + 5 * 130, 3 * 130));
    let error = anomalens_cohort::sheet::write(&cohort, 6, 3, &file).unwrap_err();
    assert!(matches!(error, CohortError::NoItem { .. }), "{error}");
}
