//! NIfTI and DICOM: what is read back is what the arrays hold, at the place where it was.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anomalens_cohort::Cohort;
use anomalens_cohort::synthetic::{self, Format, Subject};
use anomalens_cohort::synthetic::{Anatomy, Parameters, Source};
use anomalens_models::image::normalise::Normaliser;
use anomalens_models::preset::Preset;
use common::{arrays, contents, phantom};
use ndarray::{Array2, Axis};
use nifti::{IntoNdArray, NiftiObject, ReaderOptions};
use tempfile::tempdir;

const SEED: u64 = 11;
const SIZE: usize = 24;
/// A stored value and q are each off by half a step at most, and the image never exceeds q.
const STEPS: f32 = 1.0 + 1e-3;

/// The slices of the first subject in a cohort of arrays, with their numbers.
fn first_subject(cohort: &Cohort) -> Vec<(usize, usize)> {
    (0..cohort.len())
        .filter(|&i| cohort.item(i).subject == "s0001")
        .map(|i| (i, cohort.item(i).slice))
        .collect()
}

fn subject() -> Subject {
    Subject::make(&Anatomy::load(&Source::Phantom).unwrap(), &Parameters::default(), SEED, 1, SIZE)
}

#[test]
fn nifti_reads_back() {
    let place = tempdir().unwrap();
    let cohort = arrays(&place.path().join("arrays"), &phantom(16, SEED, SIZE));
    let dir = place.path().join("nifti");
    synthetic::write(&dir, Format::Nifti, &phantom(12, SEED, SIZE), |_, _| true).unwrap();
    let names: Vec<String> = contents(&dir).into_keys().collect();
    // Twelve slices need two subjects.
    assert_eq!(names.len(), 11, "{names:?}");
    let geometry = subject().geometry;
    for (c, channel) in ["t1", "t1ce", "t2", "flair", "seg"].iter().enumerate() {
        let file = dir.join(format!("s0001/s0001_{channel}.nii.gz"));
        let object = ReaderOptions::new().read_file(&file).unwrap();
        let header = object.header().clone();
        let volume = object.into_volume().into_ndarray::<f32>().unwrap();
        assert_eq!(volume.shape(), [SIZE, SIZE, 8]);
        // Voxel (column 5, row 3, slice 2), by the file's own matrix.
        let at = [5.0, 3.0, 2.0, 1.0];
        let expected = geometry.place(SIZE, 2, 3.0, 5.0);
        for (row, expected) in [header.srow_x, header.srow_y, header.srow_z].iter().zip(expected) {
            let found: f32 = row.iter().zip(at).map(|(a, b)| a * b).sum();
            assert!((found - expected).abs() < 1e-3, "{channel}: {found}, expected {expected} mm");
        }
        assert!(header.descrip.starts_with(b"synthetic; not for diagnostic use"));
        let slices: Vec<Array2<f32>> =
            (0..8).map(|s| Array2::from_shape_fn((SIZE, SIZE), |(h, w)| volume[[w, h, s]])).collect();
        if *channel == "seg" {
            for (index, slice) in first_subject(&cohort) {
                assert_eq!(slices[slice].mapv(|v| v > 0.0), cohort.mask(index).unwrap().unwrap());
            }
            continue;
        }
        let normaliser = Normaliser::fit(channel, slices.iter().map(|s| s.view()), 99.5, 0.0).unwrap();
        for (index, slice) in first_subject(&cohort) {
            let (found, image) = (normaliser.apply(slices[slice].view()), cohort.image(index).unwrap());
            let off = largest_difference(&found, &image.index_axis(Axis(0), c).to_owned());
            assert!(off <= STEPS / normaliser.q, "{channel}, slice {slice}: {off}");
            // Another slice would not pass.
            let other = normaliser.apply(slices[(slice + 1) % 8].view());
            assert!(largest_difference(&other, &image.index_axis(Axis(0), c).to_owned()) > 0.05);
        }
    }
}

#[test]
fn dicom_reads_back_by_the_programs_own_reader() {
    let place = tempdir().unwrap();
    let cohort = arrays(&place.path().join("arrays"), &phantom(16, SEED, SIZE));
    let dir = place.path().join("dicom");
    let again = place.path().join("again");
    for dir in [&dir, &again] {
        synthetic::write(dir, Format::Dicom, &phantom(8, SEED, SIZE), |_, _| true).unwrap();
    }
    assert_eq!(contents(&dir), contents(&again));
    // The presets' own rules find the four series.
    let preset = Preset::load("brats256").unwrap();
    let study = anomalens_dicom_bridge::read(&dir.join("s0001"), &preset.image, &[]).unwrap();
    assert!(study.warnings.is_empty(), "{:?}", study.warnings);
    assert_eq!(study.slices.len(), 8);
    let geometry = subject().geometry;
    let mut uids = BTreeSet::new();
    for slice in &study.slices {
        let [x, y, z] = geometry.place(SIZE, slice.index, 0.0, 0.0).map(f64::from);
        for source in &slice.sources {
            let found = &source.geometry;
            assert_eq!(found.position, Some([-x, -y, z]));
            assert_eq!(found.orientation, Some([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]));
            assert_eq!(found.spacing, Some([f64::from(geometry.pixel_mm); 2]));
            uids.insert(source.path.clone());
        }
    }
    assert_eq!(uids.len(), 32);
    let normalisers = study.normalisers(preset.image.percentile).unwrap();
    let coarsest = normalisers.iter().map(|n| STEPS / n.q).fold(0.0, f32::max);
    for (index, slice) in first_subject(&cohort) {
        let (found, image) = (study.slices[slice].normalised(&normalisers), cohort.image(index).unwrap());
        let off = (&found - &image).iter().fold(0f32, |m, v| m.max(v.abs()));
        assert!(off <= coarsest, "slice {slice}: {off}, expected at most {coarsest}");
    }
    let masks = fs::read(dir.join("truth/s0001-mask.npy")).unwrap();
    let data = &masks[masks.len() - 8 * SIZE * SIZE..];
    for (index, slice) in first_subject(&cohort) {
        let mask = cohort.mask(index).unwrap().unwrap();
        let plane = &data[slice * SIZE * SIZE..][..SIZE * SIZE];
        assert!(mask.iter().zip(plane).all(|(m, b)| u8::from(*m) == *b), "slice {slice}");
    }
}

#[test]
fn every_object_passes_dciodvfy() {
    if Command::new("dciodvfy").arg("-version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "dciodvfy: not found; install it (CI may not skip it)");
        eprintln!("skipped: dciodvfy not found");
        return;
    }
    let place = tempdir().unwrap();
    let dir = place.path().join("dicom");
    synthetic::write(&dir, Format::Dicom, &phantom(2, SEED, 16), |_, _| true).unwrap();
    let validate = |file: &Path| {
        let output = Command::new("dciodvfy").arg("-new").arg(file).output().unwrap();
        assert!(output.status.code().is_some(), "{}: ended by a signal", file.display());
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let errors: Vec<String> =
            text.lines().filter(|l| l.starts_with("Error")).map(str::to_owned).collect();
        (errors, text)
    };
    let files: Vec<_> = contents(&dir).into_keys().filter(|name| name.ends_with(".dcm")).collect();
    assert_eq!(files.len(), 32);
    for file in &files {
        let (errors, text) = validate(&dir.join(file));
        assert!(errors.is_empty() && text.contains("MRImage"), "{file}: {text}");
    }
    // Without its modality it would not.
    let bytes = fs::read(dir.join(&files[0])).unwrap();
    let at = bytes.windows(8).position(|w| w == b"\x08\x00\x60\x00CS\x02\x00").unwrap();
    let bare = place.path().join("bare.dcm");
    fs::write(&bare, [&bytes[..at], &bytes[at + 10..]].concat()).unwrap();
    assert!(!validate(&bare).0.is_empty());
}

fn largest_difference(a: &Array2<f32>, b: &Array2<f32>) -> f32 {
    (a - b).iter().fold(0f32, |m, v| m.max(v.abs()))
}
