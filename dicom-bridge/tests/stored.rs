//! Stored values of all test files of pydicom and pydicom-data against pydicom's own arrays: not one differs without a
//! word.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anomalens_dicom_bridge::{ReadError, StoredPixels, read};
use common::one_channel;
use dicom_core::VR;
use dicom_dictionary_std::{tags, uids};
use ndarray::{Array2, Array4};

/// Two decoders of lossy JPEG round otherwise, in the cosine transform and once more in the colours.
const LOSSY: f64 = 5.0;

/// What pydicom reads and this crate refuses, with the kind of the error.
const REFUSED: [(&str, &str); 9] = [
    // 12 bits.
    ("JPGExtended.dcm", "decode"),
    // The parser does not come to its end, and a class that is not read need not be whole.
    ("SC_rgb_jpeg.dcm", "not-an-image"),
    ("JPEGLSNearLossless_08.dcm", JPEG_LS),
    ("JPEGLSNearLossless_16.dcm", JPEG_LS),
    ("MR_small_jpeg_ls_lossless.dcm", JPEG_LS),
    ("SC_rgb_jls_lossy_line.dcm", JPEG_LS),
    ("SC_rgb_jls_lossy_sample.dcm", JPEG_LS),
    ("emri_small_jpeg_ls_lossless.dcm", JPEG_LS),
    ("MR_truncated.dcm", "damaged"),
];
const JPEG_LS: &str = if cfg!(feature = "charls") { "none" } else { "transfer-syntax" };

/// What pydicom refuses and this crate must refuse, too.
const NEITHER: [(&str, &str); 5] = [
    ("JPEG-lossy.dcm", "decode"),
    ("JPEG2000-embedded-sequence-delimiter.dcm", "decode"),
    ("MR_truncated.dcm", "damaged"),
    ("badVR.dcm", "attribute"),
    ("rtplan.dcm", "no-pixel-data"),
];

/// What one line of `index.tsv` says.
struct Case {
    path: PathBuf,
    name: String,
    /// Frames in all, those compared, their values, whether bit by bit; none where pydicom cannot decode.
    pixels: Option<(usize, Vec<usize>, Array4<f64>, bool)>,
    /// The first frame after Modality LUT or rescale.
    modality: Option<Array2<f64>>,
}

/// What pydicom reads; none, with a word, where it or its files are missing. In CI both must be there.
fn cases(folder: &Path) -> Option<Vec<Case>> {
    let variables = ["ANOMALENS_PYDICOM", "ANOMALENS_PYDICOM_DATA"];
    let folders: Vec<_> = variables.iter().filter_map(std::env::var_os).collect();
    let imports = "import numpy, pydicom, pylibjpeg, libjpeg, openjpeg, jpeg_ls";
    let python = Command::new("python3").args(["-c", imports]).status().is_ok_and(|s| s.success());
    let complete = folders.len() == 2 && python;
    assert!(
        complete || std::env::var_os("CI").is_none(),
        "set {}, and pip install pydicom numpy pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg pyjpegls (CI may not skip it)",
        variables.join(", ")
    );
    if !complete {
        eprintln!("skipped: pydicom's arrays: {} or a package of python3 is missing", variables.join(", "));
        return None;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/arrays.py");
    let ended = Command::new("python3").arg(script).arg(folder).args(&folders).output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let index = std::fs::read_to_string(folder.join("index.tsv")).unwrap();
    let case = |line: &str| {
        let fields: Vec<&str> = line.split('\t').collect();
        let path = PathBuf::from(fields[1]);
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let pixels = (fields.len() == 5).then(|| {
            let chosen = fields[3].split(',').map(|n| n.parse().unwrap()).collect();
            let values = ndarray_npy::read_npy(folder.join(format!("{}.npy", fields[0]))).unwrap();
            (fields[2].parse().unwrap(), chosen, values, fields[4] == "exact")
        });
        let modality = folder.join(format!("{}.modality.npy", fields[0]));
        let modality = modality.exists().then(|| ndarray_npy::read_npy(modality).unwrap());
        Case { path, name, pixels, modality }
    };
    Some(index.lines().map(case).collect())
}

/// The largest difference of a file's frames from pydicom's; infinite where the shapes differ.
fn difference(pixels: &StoredPixels, chosen: &[usize], expected: &Array4<f64>) -> Result<f64, ReadError> {
    let (_, h, w, samples) = expected.dim();
    if pixels.shape()[1..] != [h, w, samples] {
        return Ok(f64::INFINITY);
    }
    let mut largest = 0f64;
    for (&frame, expected) in chosen.iter().zip(expected.outer_iter()) {
        let found = pixels.frame(frame)?;
        let differences = found.iter().zip(expected.iter()).map(|(a, b)| (a - b).abs());
        largest = differences.fold(largest, f64::max);
    }
    Ok(largest)
}

#[test]
fn all_test_files_are_read_as_pydicom_reads_them() {
    let folder = tempfile::tempdir().unwrap();
    let Some(cases) = cases(folder.path()) else { return };
    stored_values_are_pydicoms_or_refused(&cases);
    values_are_those_after_pydicoms_modality_lut(&cases, folder.path());
}

fn stored_values_are_pydicoms_or_refused(cases: &[Case]) {
    let refused = BTreeMap::from(REFUSED);
    let neither = BTreeMap::from(NEITHER);
    let (mut exact, mut lossy, mut wrong) = (0, 0, Vec::new());
    for Case { path, name, pixels: expected, .. } in cases {
        let name = name.as_str();
        let pixels = || StoredPixels::open(path);
        let Some((frames, chosen, expected, bit_by_bit)) = expected else {
            let Some(expected) = neither.get(name) else { continue };
            let kind = pixels().and_then(|p| p.frame(0)).map_or_else(|e| e.kind(), |_| "none");
            if kind != *expected {
                wrong.push(format!("{name}: pydicom refuses it, found '{kind}', expected '{expected}'"));
            }
            continue;
        };
        let found = pixels().and_then(|p| Ok((p.shape()[0], difference(&p, chosen, expected)?)));
        let (found_kind, expected_kind) =
            (found.as_ref().map_or_else(|e| e.kind(), |_| "none"), *refused.get(name).unwrap_or(&"none"));
        if found_kind != expected_kind {
            wrong.push(format!(
                "{name}: found '{found_kind}', expected '{expected_kind}': {:?}",
                found.as_ref().err()
            ));
        }
        let Ok((found_frames, difference)) = found else { continue };
        let tolerance = if *bit_by_bit { 0.0 } else { LOSSY };
        if found_frames != *frames || difference.is_nan() || difference > tolerance {
            wrong.push(format!("{name}: {found_frames} frames of {frames}, differs by {difference}"));
        }
        *(if *bit_by_bit { &mut exact } else { &mut lossy }) += 1;
    }
    println!("{} files: {exact} exact, {lossy} lossy within {LOSSY}, {} wrong", cases.len(), wrong.len());
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(exact >= 100, "{exact} exact");
}

/// A single grey frame of any class, dressed up as MR: its values are those after pydicom's Modality LUT.
fn values_are_those_after_pydicoms_modality_lut(cases: &[Case], folder: &Path) {
    let dressed = folder.join("dressed.dcm");
    let mut tables = 0;
    let mut compared = 0;
    for Case { path, name, modality, .. } in cases {
        let Some(expected) = modality else { continue };
        let Ok(mut object) = dicom_object::open_file(path) else { continue };
        let inverted = object.element(tags::PHOTOMETRIC_INTERPRETATION).unwrap().to_str().unwrap().trim()
            == "MONOCHROME1";
        let is_grey = object.element(tags::BITS_ALLOCATED).unwrap().to_int::<u16>().unwrap() <= 16;
        let frames = object.element(tags::NUMBER_OF_FRAMES).map_or(1, |e| e.to_int::<u32>().unwrap_or(1));
        if inverted
            || !is_grey
            || frames != 1
            || REFUSED.iter().any(|(refused, kind)| refused == name && *kind != "none")
        {
            continue;
        }
        object.put_str(tags::SOP_CLASS_UID, VR::UI, uids::MR_IMAGE_STORAGE);
        object.write_to_file(&dressed).unwrap();
        let study = read(&dressed, &one_channel(), &[]).unwrap_or_else(|e| panic!("{name}: {e}"));
        let found = study.slices[0].pixels.index_axis(ndarray::Axis(0), 0).mapv(f64::from);
        let difference = found.iter().zip(expected.iter()).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        // Values are f32: 24 bits.
        let bound = expected.iter().fold(0f64, |m, v| m.max(v.abs())) * f64::from(f32::EPSILON);
        assert!(found.dim() == expected.dim() && difference <= bound, "{name}: differs by {difference}");
        compared += 1;
        if object.get(tags::MODALITY_LUT_SEQUENCE).is_some() {
            tables += 1;
            let rescaled = expected.iter().zip(StoredPixels::open(path).unwrap().frame(0).unwrap());
            assert!(
                rescaled.into_iter().any(|(a, b)| *a != b),
                "{name}: a table that changes nothing proves nothing"
            );
        }
    }
    assert!(tables >= 1 && compared >= 12, "{tables} tables among {compared}");
}
