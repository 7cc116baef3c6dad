//! Real files of BRATS and CheXpert in the reference's layouts, where `ANOMALENS_DATA` points.

use std::path::PathBuf;

use anomalens_cohort::Cohort;
use anomalens_cohort::import::folder::{self, Layout};
use anomalens_cohort::import::{Settings, brats_slices};
use ndarray::{ArrayView2, Axis, s};
use tempfile::tempdir;

/// q is the largest value, so that values stay what they are in the files.
const PLAIN: Settings = Settings { size: 256, percentile: 100.0 };

fn data() -> Option<PathBuf> {
    let found = std::env::var_os("ANOMALENS_DATA").map(PathBuf::from);
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "CI must set ANOMALENS_DATA");
        eprintln!("skipped: ANOMALENS_DATA is not set");
    }
    found
}

/// The largest distance of `scale` times a value from a whole number.
fn off_whole(plane: ArrayView2<f32>, scale: f32) -> f32 {
    plane.iter().fold(0f32, |most, v| most.max((v * scale - (v * scale).round()).abs()))
}

#[test]
fn brats_slices() {
    let Some(data) = data().map(|data| data.join("brats")) else { return };
    let place = tempdir().unwrap();
    // Each volume was divided by a whole number, found by trying them all on the files: t1, t1ce, t2, flair.
    let sets = [
        ("training", None, "brats_train_001", vec![80, 81, 82, 83], [369.0, 617.0, 209.0, 325.0]),
        (
            "testing",
            Some(data.join("test_labels")),
            "brats_train_006",
            vec![81],
            [385.0, 525.0, 327.0, 439.0],
        ),
    ];
    for (set, labels, subject, slices, scales) in sets {
        let out = place.path().join(set);
        brats_slices::write(&data.join(set), labels.as_deref(), &out, PLAIN, |_, _| true).unwrap();
        let cohort = Cohort::open(&out).unwrap();
        assert_eq!(cohort.items().iter().map(|item| item.slice).collect::<Vec<_>>(), slices);
        for index in 0..cohort.len() {
            assert_eq!((cohort.item(index).subject.as_str(), cohort.item(index).diseased), (subject, true));
            let image = cohort.image(index).unwrap();
            for (plane, scale) in image.axis_iter(Axis(0)).zip(scales) {
                assert!(off_whole(plane, scale) < 1e-3, "{set} {index}: {scale}");
                // A channel in another's place would not pass.
                assert!(scales.iter().all(|&s| s == scale || off_whole(plane, s) > 0.1));
            }
            let border: f32 = image.slice(s![.., ..8, ..]).sum() + image.slice(s![.., .., 248..]).sum();
            assert_eq!(border, 0.0, "padded by eight pixels");
            // The forehead is above: BRATS' brains are longer from front to back than from side to side.
            let brain = cohort.brain(index).unwrap();
            let extent = |axis| brain.axis_iter(Axis(axis)).filter(|line| line.iter().any(|&v| v)).count();
            assert!(extent(0) > extent(1), "{set} {index}: {} x {}", extent(0), extent(1));
        }
    }
    let test = Cohort::open(&place.path().join("testing")).unwrap();
    // Counted in the label's file by Python's gzip and array.
    assert_eq!(test.mask(0).unwrap().unwrap().iter().filter(|&&m| m).count(), 2674);
}

#[test]
fn chexpert_arrays() {
    let Some(data) = data().map(|data| data.join("chexpert/training")) else { return };
    let place = tempdir().unwrap();
    let out = place.path().join("out");
    folder::write(&data, &out, PLAIN, Layout::ChexpertArrays, "radiograph", |_, _| true).unwrap();
    let cohort = Cohort::open(&out).unwrap();
    let items: Vec<_> = cohort.items().iter().map(|item| (item.subject.as_str(), item.diseased)).collect();
    let expected = [
        ("patient00485", false),
        ("patient00486", false),
        ("patient00488", false),
        ("patient00122", true),
        ("patient00124", true),
        ("patient00128", true),
    ];
    assert_eq!(items, expected);
    for index in 0..cohort.len() {
        let image = cohort.image(index).unwrap();
        assert!(off_whole(image.index_axis(Axis(0), 0), 255.0) < 1e-3, "8 bits, the largest of them 255");
        assert!(off_whole(image.index_axis(Axis(0), 0), 254.0) > 0.1);
    }
    // As the reference sees it: the folder's bytes, row by row, after a header of 128 bytes.
    let bytes = std::fs::read(data.join("healthy/patient00486_study1.npy")).unwrap();
    let image = cohort.image(1).unwrap();
    assert!(image.iter().zip(&bytes[128..]).all(|(v, b)| (v * 255.0).round() == f32::from(*b)));
}
