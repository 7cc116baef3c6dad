//! Masks laid on a study: those that highdicom has written of it are the mask itself, pixel by pixel, whatever their grid;
//! wrong ones are refused, or noticed.

mod common;

use std::path::Path;
use std::process::Command;

use anomalens_dicom_bridge::{PlacedMask, Study, read};
use common::{Slice, have_python, one_channel};
use dicom_core::VR;
use dicom_dictionary_std::tags;
use ndarray::{Array2, Array3, Axis};

/// Slices, rows, columns.
const SIZE: [usize; 3] = [6, 9, 12];
const INSIDE: u16 = 500;

/// Whether a voxel is in the mask: a blob that no turning or reversing takes to itself, with nothing in the lowest slice.
fn inside([k, r, c]: [usize; 3]) -> bool {
    k > 0 && (r as f64 - 3.4).hypot(0.8 * (c as f64 - 4.2)) < 1.2 + 0.5 * k as f64
}

/// A stack of slices.
struct Stack {
    name: &'static str,
    /// Directions of a row and of a column.
    directions: [[f64; 3]; 2],
    /// From slice to slice.
    step: [f64; 3],
}

impl Stack {
    fn all() -> [Self; 4] {
        let ((s, c), (t, d)) = (0.4f64.sin_cos(), 0.7f64.sin_cos());
        let along = |a: [f64; 3], b: [f64; 3]| {
            [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]].map(|v| 2.5 * v)
        };
        let stack = |name, a, b| Self { name, directions: [a, b], step: along(a, b) };
        let mut tilted = stack("tilted", [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]);
        tilted.step[1] += 0.8;
        [
            stack("axial", [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]),
            stack("sagittal", [0.0, 1.0, 0.0], [0.0, 0.0, -1.0]),
            stack("oblique", [c, s * d, s * t], [-s, c * d, c * t]),
            tilted,
        ]
    }

    fn save(&self, folder: &Path) {
        let text = |values: &[f64]| values.iter().map(|v| format!("{v:.6}")).collect::<Vec<_>>().join("\\");
        let [n, h, w] = SIZE;
        for k in 0..n {
            let position = [0, 1, 2].map(|i| [11.0, -7.0, 3.0][i] + k as f64 * self.step[i]);
            let pixel = |i: usize| 100 + if inside([k, i / w, i % w]) { INSIDE } else { 0 };
            let mut slice = Slice::new(self.name, k as f64)
                .with(tags::IMAGE_POSITION_PATIENT, VR::DS, &text(&position))
                .with(tags::IMAGE_ORIENTATION_PATIENT, VR::DS, &text(&self.directions.concat()))
                .with(tags::PIXEL_SPACING, VR::DS, "1.5\\1")
                .with(tags::SLICE_THICKNESS, VR::DS, "2")
                .with(tags::STUDY_DATE, VR::DA, "20261123")
                .with(tags::STUDY_TIME, VR::TM, "101500")
                .with(tags::STUDY_ID, VR::SH, "S1")
                .with(tags::ACCESSION_NUMBER, VR::SH, "A1")
                .with(tags::PATIENT_BIRTH_DATE, VR::DA, "19700101")
                .with(tags::PATIENT_SEX, VR::CS, "O")
                .with(tags::REFERRING_PHYSICIAN_NAME, VR::PN, "Referrer^Test")
                .with_short(tags::ROWS, h as u16)
                .with_short(tags::COLUMNS, w as u16);
            slice = slice.pixels((0..h * w).map(pixel).collect());
            slice.save(&folder.join(format!("{}.dcm", (k * 5) % n)));
        }
    }

    /// The series, read; with it the masks of other programs, where there are any.
    fn read(&self) -> (tempfile::TempDir, Study) {
        let folder = tempfile::tempdir().unwrap();
        self.save(folder.path());
        let study = read(folder.path(), &one_channel(), &[]).unwrap();
        (folder, study)
    }
}

fn truth() -> Vec<Array2<bool>> {
    let [n, h, w] = SIZE;
    (0..n).map(|k| Array2::from_shape_fn((h, w), |(r, c)| inside([k, r, c]))).collect()
}

fn different(found: &[Array2<bool>]) -> usize {
    let expected = truth();
    assert_eq!(found.len(), expected.len());
    found.iter().flatten().zip(expected.iter().flatten()).filter(|(a, b)| a != b).count()
}

#[test]
fn segmentations_of_highdicom_are_the_mask_itself() {
    if !have_python("highdicom") || !have_python("nibabel") {
        return;
    }
    for stack in Stack::all() {
        let (folder, study) = stack.read();
        let out = tempfile::tempdir().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/masks.py");
        let done = Command::new("python3").arg(script).arg(folder.path()).arg("400").arg(out.path()).output();
        let done = done.unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let lay = |name: &str| {
            let mask = PlacedMask::from_segmentation(&out.path().join(name))?;
            mask.onto(&study).map(|found| (different(&found), mask.note().to_owned()))
        };
        for (name, note) in [
            ("binary.dcm", "1 segment(s), 5 frame(s) in 5 plane(s) of 9 x 12"),
            ("half.dcm", "1 segment(s), 6 frame(s) in 6"),
            ("two.dcm", "2 segment(s)"),
            ("turned.dcm", "5 plane(s) of 9 x 12"),
            ("fine.dcm", "5 plane(s) of 27 x 36"),
        ] {
            let (different, found) = lay(name).unwrap_or_else(|e| panic!("{}: {name}: {e}", stack.name));
            assert_eq!(different, 0, "{}: {name}", stack.name);
            assert!(found.contains(note), "{}: {name}: {found}", stack.name);
        }
        let (flipped, _) = lay("flipped.dcm").unwrap();
        assert!(flipped > 50, "{}: a flipped mask differs in {flipped} pixels only", stack.name);
        for (name, words) in [
            ("elsewhere.dcm", "found 0 of the study's 648 pixels"),
            ("empty.dcm", "being empty"),
            ("labelmap.dcm", "expected a DICOM Segmentation (BINARY"),
        ] {
            let e = lay(name).expect_err(name).to_string();
            assert!(e.contains(words), "{}: {name}: {e}", stack.name);
        }
    }
}

#[test]
fn an_image_is_no_mask_and_a_mask_of_another_is_refused() {
    let [axial, ..] = Stack::all();
    let (folder, study) = axial.read();
    let image = PlacedMask::from_segmentation(&folder.path().join("0.dcm")).unwrap_err().to_string();
    assert!(image.contains("MR Image Storage") && image.contains("expected a DICOM Segmentation"), "{image}");
    let masks = truth();
    let frames: Vec<_> = study.slices.iter().zip(&masks).map(|(slice, mask)| (slice, mask.view())).collect();
    let ours = anomalens_dicom_bridge::write::segmentation(&frames, "x", &common::provenance()).unwrap();
    let path = ours.save(folder.path()).unwrap();
    let e = PlacedMask::from_segmentation(&path).unwrap_err().to_string();
    assert!(e.contains("a result written by anomalens itself"), "{e}");
    // The same of another maker is a mask of this patient.
    let change = |tag, vr, value: &str| {
        let mut object = dicom_object::open_file(&path).unwrap();
        object.put(dicom_core::DataElement::new(tags::MANUFACTURER, VR::LO, "other"));
        object.put(dicom_core::DataElement::new(tag, vr, value));
        let path = folder.path().join("changed.dcm");
        object.write_to_file(&path).unwrap();
        PlacedMask::from_segmentation(&path).unwrap().onto(&study)
    };
    assert_eq!(different(&change(tags::MANUFACTURER, VR::LO, "other").unwrap()), 0);
    for (tag, vr, what) in [
        (tags::PATIENT_ID, VR::LO, "Patient ID"),
        (tags::FRAME_OF_REFERENCE_UID, VR::UI, "Frame of Reference UID"),
    ] {
        let e = change(tag, vr, "1.9").unwrap_err().to_string();
        assert!(e.contains(what) && e.contains("another one"), "{e}");
    }
}

#[test]
fn an_affine_map_is_to_the_right_and_the_front() {
    for stack in Stack::all() {
        let (_folder, study) = stack.read();
        let [n, h, w] = SIZE;
        let [row, column] = stack.directions;
        // Axes (row from the last, slice, column).
        let voxels = Array3::from_shape_fn((h, n, w), |(r, k, c)| inside([k, h - 1 - r, c]));
        let affine = |to_right: f64| {
            [0, 1, 2].map(|i| {
                let sign = if i < 2 { to_right } else { 1.0 };
                let last = [11.0, -7.0, 3.0][i] + (h - 1) as f64 * 1.5 * column[i];
                [-1.5 * column[i], stack.step[i], row[i], last].map(|v| sign * v)
            })
        };
        let lay = |affine| PlacedMask::from_affine(Path::new("x.nii"), voxels.clone(), affine)?.onto(&study);
        assert_eq!(different(&lay(affine(-1.0)).unwrap()), 0, "{}", stack.name);
        // To the left and the back, as DICOM has it, is another place.
        let off = lay(affine(1.0)).map_or(usize::MAX, |found| different(&found));
        assert!(off > 50, "{}: {off} pixels differ only", stack.name);
        let mut flat = affine(-1.0);
        flat.iter_mut().for_each(|row| row[0] = row[2]);
        let e = lay(flat).unwrap_err().to_string();
        assert!(e.contains("do not span space"), "{}: {e}", stack.name);
    }
}

#[test]
fn what_is_outside_counts_as_padding() {
    let [axial, ..] = Stack::all();
    let (_folder, mut study) = axial.read();
    let masks = truth();
    let before: Vec<_> = study.slices.iter().map(|slice| slice.pixels.clone()).collect();
    study.hide_outside(&masks);
    let normalisers = study.normalisers(100.0).unwrap();
    assert_eq!(normalisers[0].q, 600.0);
    for ((slice, mask), before) in study.slices.iter().zip(&masks).zip(&before) {
        assert_eq!(&slice.pixels, before, "the source's values stay");
        let unit = slice.normalised(&normalisers);
        for (at, value) in unit.index_axis(Axis(0), 0).indexed_iter() {
            assert_eq!(*value, if mask[at] { 1.0 } else { 0.0 }, "slice {} at {at:?}", slice.index);
        }
    }
}
