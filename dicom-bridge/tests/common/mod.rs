//! What the tests share: real files where they are there, synthetic ones everywhere.
#![allow(dead_code)] // Each test binary uses its part.

use std::path::{Path, PathBuf};
use std::process::Command;

use anomalens_dicom_bridge::Provenance;
use anomalens_models::preset::{ChannelSpec, ImageSpec};
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};

/// A file of the package pydicom, or of pydicom-data: `ANOMALENS_PYDICOM` names the folder `pydicom/data/test_files`,
/// `ANOMALENS_PYDICOM_DATA` the folder `data_store/data`. Missing, the test is left out with a word; in CI it fails.
pub fn real(name: &str) -> Option<PathBuf> {
    let variables = ["ANOMALENS_PYDICOM", "ANOMALENS_PYDICOM_DATA"];
    let found = variables.iter().filter_map(std::env::var_os).map(|folder| Path::new(&folder).join(name));
    if let Some(path) = found.into_iter().find(|path| path.is_file()) {
        return Some(path);
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "{name}: not found; set {} (CI may not skip it)",
        variables.join(", ")
    );
    eprintln!("skipped: {name} not found; set {}", variables.join(" and "));
    None
}

/// Whether a program can be started; in CI it must be.
pub fn have(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    assert!(
        found || std::env::var_os("CI").is_none(),
        "{program}: not found; install it (CI may not skip it)"
    );
    if !found {
        eprintln!("skipped: {program} not found");
    }
    found
}

/// Whether the `python3` of the path has a module; in CI it must.
pub fn have_python(module: &str) -> bool {
    let import = format!("import {module}");
    let found = Command::new("python3").args(["-c", &import]).output().is_ok_and(|o| o.status.success());
    assert!(
        found || std::env::var_os("CI").is_none(),
        "python3 cannot import {module}: pip install {module} (CI may not skip it)"
    );
    if !found {
        eprintln!("skipped: python3 cannot import {module}");
    }
    found
}

/// What dciodvfy says of a file.
#[derive(Debug)]
pub struct Told {
    pub errors: Vec<String>,
    pub warnings: Vec<String>,
}

/// Asks dciodvfy; panics where it does not come to its end.
pub fn inspect(path: &Path) -> Told {
    let output = Command::new("dciodvfy").arg("-new").arg(path).output().expect("dciodvfy runs");
    let text =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    // It aborts with no word of error on some 32-bit data: the status says so.
    assert!(output.status.code().is_some(), "{}: dciodvfy ended by a signal: {text}", path.display());
    let lines = |word: &str| text.lines().filter(|l| l.starts_with(word)).map(str::to_owned).collect();
    let told = Told { errors: lines("Error"), warnings: lines("Warning") };
    assert!(
        output.status.success() || !told.errors.is_empty(),
        "{}: dciodvfy: {}: {text}",
        path.display(),
        output.status
    );
    told
}

/// The errors that dciodvfy finds in a file.
pub fn validate(path: &Path) -> Vec<String> {
    inspect(path).errors
}

/// What dcentvfy says of files as one study, nothing where they agree on patient, study, series and frame of reference;
/// panics where it fails without a word.
pub fn entities(files: impl IntoIterator<Item = PathBuf>) -> String {
    let output = Command::new("dcentvfy").args(files).output().expect("dcentvfy runs");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() || !said.is_empty(), "dcentvfy: {}", output.status);
    said.into_owned()
}

/// The files in a folder, sorted.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// An image of one channel of any modality.
pub fn one_channel() -> ImageSpec {
    ImageSpec { size: 32, channels: vec![channel("image", "")], percentile: 99.5 }
}

/// A channel recognised by one word (none: any series).
pub fn channel(name: &str, word: &str) -> ChannelSpec {
    let any_of = if word.is_empty() { vec![] } else { vec![word.to_owned()] };
    ChannelSpec { name: name.to_owned(), modality: vec![], any_of, none_of: vec![] }
}

/// Some provenance.
pub fn provenance() -> Provenance {
    Provenance {
        tool: "anomalens 0.1.0".into(),
        bundle: "tiny".into(),
        bundle_hash: "0123456789abcdef".repeat(4),
        parameters: "noise level 50, scale 100, healthy class 0".into(),
        note: "untrained weights".into(),
        created: ["20261123".into(), "120000".into()],
    }
}

/// A synthetic MR slice, to be changed by the case.
pub struct Slice {
    pub object: InMemDicomObject,
    pub transfer_syntax: &'static str,
}

/// Side of a synthetic slice.
pub const SIDE: u16 = 8;

impl Slice {
    /// An axial 8 x 8 slice at height `z` of the series `series`.
    pub fn new(series: &str, z: f64) -> Self {
        let mut slice =
            Self { object: InMemDicomObject::new_empty(), transfer_syntax: uids::EXPLICIT_VR_LITTLE_ENDIAN };
        slice.text(tags::SOP_CLASS_UID, VR::UI, uids::MR_IMAGE_STORAGE);
        slice.text(
            tags::SOP_INSTANCE_UID,
            VR::UI,
            &format!("1.2.3.{}.{}", series.len(), (z * 100.0).abs() as i64),
        );
        slice.text(tags::STUDY_INSTANCE_UID, VR::UI, "1.2.3.4");
        slice.text(
            tags::SERIES_INSTANCE_UID,
            VR::UI,
            &format!("1.2.3.4.{}", series.bytes().map(u64::from).sum::<u64>()),
        );
        slice.text(tags::FRAME_OF_REFERENCE_UID, VR::UI, "1.2.3.5");
        slice.text(tags::MODALITY, VR::CS, "MR");
        slice.text(tags::SERIES_DESCRIPTION, VR::LO, series);
        slice.text(tags::PATIENT_NAME, VR::PN, "Phantom^Test");
        slice.text(tags::PATIENT_ID, VR::LO, "P1");
        slice.text(tags::IMAGE_ORIENTATION_PATIENT, VR::DS, "1\\0\\0\\0\\1\\0");
        slice.text(tags::IMAGE_POSITION_PATIENT, VR::DS, &format!("-10\\-20\\{z}"));
        slice.text(tags::PIXEL_SPACING, VR::DS, "0.5\\0.75");
        slice.text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2");
        for (tag, value) in [
            (tags::SAMPLES_PER_PIXEL, 1),
            (tags::ROWS, SIDE),
            (tags::COLUMNS, SIDE),
            (tags::BITS_ALLOCATED, 16),
            (tags::BITS_STORED, 12),
            (tags::HIGH_BIT, 11),
            (tags::PIXEL_REPRESENTATION, 0),
        ] {
            slice.short(tag, value);
        }
        let pixels: Vec<u16> = (0..SIDE * SIDE).map(|i| i * 7 + (z * 10.0) as u16 % 100).collect();
        slice.pixels(pixels)
    }

    pub fn text(&mut self, tag: Tag, vr: VR, value: &str) {
        self.object.put(DataElement::new(tag, vr, PrimitiveValue::from(value)));
    }

    pub fn short(&mut self, tag: Tag, value: u16) {
        self.object.put(DataElement::new(tag, VR::US, PrimitiveValue::from(value)));
    }

    pub fn pixels(mut self, words: Vec<u16>) -> Self {
        self.object.put(DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(words.into())));
        self
    }

    /// The same with other text.
    pub fn with(mut self, tag: Tag, vr: VR, value: &str) -> Self {
        self.text(tag, vr, value);
        self
    }

    /// The same with another number.
    pub fn with_short(mut self, tag: Tag, value: u16) -> Self {
        self.short(tag, value);
        self
    }

    /// The same without an attribute.
    pub fn without(mut self, tag: Tag) -> Self {
        self.object.remove_element(tag);
        self
    }

    /// The same with what a study says of itself.
    pub fn in_study(self) -> Self {
        // Without these nothing can be put on a medium, which is worth a warning.
        self.with(tags::STUDY_DATE, VR::DA, "20261123")
            .with(tags::STUDY_TIME, VR::TM, "101500")
            .with(tags::STUDY_ID, VR::SH, "S1")
            // Without these the results, which must have them, if only empty, differ from their source.
            .with(tags::PATIENT_BIRTH_DATE, VR::DA, "19700101")
            .with(tags::PATIENT_SEX, VR::CS, "O")
            .with(tags::REFERRING_PHYSICIAN_NAME, VR::PN, "Referrer^Test")
    }

    pub fn save(self, path: &Path) {
        let meta = FileMetaTableBuilder::new()
            .media_storage_sop_class_uid(self.object.element(tags::SOP_CLASS_UID).unwrap().to_str().unwrap())
            .media_storage_sop_instance_uid("1.2.3")
            .transfer_syntax(self.transfer_syntax)
            .build()
            .unwrap();
        self.object.with_exact_meta(meta).write_to_file(path).unwrap();
    }
}

/// A digital radiograph with what its IOD wants.
pub fn dx() -> Slice {
    let mut slice = Slice::new("dx", 0.0);
    let sign = PrimitiveValue::from(-1i16);
    slice.object.put(DataElement::new(tags::PIXEL_INTENSITY_RELATIONSHIP_SIGN, VR::SS, sign));
    slice
        .with(tags::SOP_CLASS_UID, VR::UI, uids::DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PRESENTATION)
        .with(tags::MODALITY, VR::CS, "DX")
        .with(tags::PRESENTATION_INTENT_TYPE, VR::CS, "FOR PRESENTATION")
        .with(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME1")
        .with(tags::PRESENTATION_LUT_SHAPE, VR::CS, "INVERSE")
        .with(tags::PIXEL_INTENSITY_RELATIONSHIP, VR::CS, "LOG")
        .with(tags::RESCALE_INTERCEPT, VR::DS, "0")
        .with(tags::RESCALE_SLOPE, VR::DS, "1")
        .with(tags::RESCALE_TYPE, VR::LO, "US")
        .with(tags::IMAGER_PIXEL_SPACING, VR::DS, "0.5\\0.75")
        .with(tags::PATIENT_ORIENTATION, VR::CS, "L\\F")
        .with(tags::IMAGE_LATERALITY, VR::CS, "U")
        .with(tags::DETECTOR_TYPE, VR::CS, "DIRECT")
        .with(tags::BURNED_IN_ANNOTATION, VR::CS, "NO")
        .with(tags::LOSSY_IMAGE_COMPRESSION, VR::CS, "00")
        .with(tags::WINDOW_CENTER, VR::DS, "2048")
        .with(tags::WINDOW_WIDTH, VR::DS, "4096")
        .without(tags::PIXEL_SPACING)
        .without(tags::FRAME_OF_REFERENCE_UID)
        .without(tags::IMAGE_POSITION_PATIENT)
        .without(tags::IMAGE_ORIENTATION_PATIENT)
}
