//! Subjects as DICOM studies: `s0001/{t1,t1ce,t2,flair}/0001.dcm`, MR Image Storage (PS3.3 A.4).

use std::fs;

use anomalens_models::output::OutputFolder;
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use ndarray::{ArrayView2, Axis, s};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::parameters::CHANNELS;
use super::volumes::{UNIT, Volume};
use crate::CohortError;

/// MR Image Storage (PS3.4 B.5).
const MR_IMAGE_STORAGE: &str = "1.2.840.10008.5.1.4.1.1.4";
/// Implementation Class UID (PS3.7 D.3.3.2): 2.25 and a UUID drawn once for this program.
const IMPLEMENTATION: &str = "2.25.282310428915066421180734960917531164518";
/// What viewers show as the series' names; presets know the channels by them.
const DESCRIPTIONS: [&str; 4] = ["T1", "T1 CE", "T2", "FLAIR"];
/// What must be said of every image.
const COMMENT: &str = "synthetic; not for diagnostic use";
/// Not the manufacturer of derived objects, which the program's reader leaves out.
const MANUFACTURER: &str = "anomalens-cohort";

/// Writes the four series of a subject.
pub(super) fn write(folder: &OutputFolder, volume: &Volume, generator: &Value) -> Result<(), CohortError> {
    let subject = volume.subject.name();
    let made_by = generator.to_string();
    // All that the study's content follows from, and the content.
    let pixels: Vec<u8> = volume.values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let study = [made_by.as_bytes(), subject.as_bytes(), &Sha256::digest(&pixels)].concat();
    for (channel, name) in CHANNELS.iter().enumerate() {
        let place = format!("{subject}/{name}");
        fs::create_dir_all(folder.path().join(&place)).map_err(|e| folder.error(&place, e))?;
        for slice in 0..volume.subject.slices.len() {
            let file = format!("{place}/{:04}.dcm", slice + 1);
            let plane = volume.values.index_axis(Axis(0), channel);
            let object = image(volume, channel, slice, plane.slice(s![slice, .., ..]), &study);
            let bytes = encode(object)
                .map_err(|found| CohortError::Image { path: folder.target().join(&file), found })?;
            folder.write(&file, &bytes)?;
        }
    }
    Ok(())
}

/// One image, without the file meta information.
fn image(
    volume: &Volume,
    channel: usize,
    slice: usize,
    plane: ArrayView2<u16>,
    study: &[u8],
) -> InMemDicomObject {
    let (subject, geometry) = (&volume.subject, &volume.subject.geometry);
    let (rows, columns) = plane.dim();
    // In double precision, whose text is exact: multiples of 1/512 mm, within the 16 characters of a DS.
    let [x, y, z] = geometry.place(columns, slice, 0.0, 0.0).map(f64::from);
    // DICOM counts x to the left and y to the back.
    let position = format!("{}\\{}\\{z}", -x, -y);
    let number = [(channel + 1) as u8, (slice + 1) as u8];
    let of = |what: &str, part: &[u8]| uid(&[what.as_bytes(), study, part]);
    let window =
        f32::from(volume.values.index_axis(Axis(0), channel).iter().copied().max().unwrap_or(1).max(1));
    let mut object = InMemDicomObject::new_empty();
    let texts: &[(Tag, VR, String)] = &[
        (tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 100".into()),
        (tags::IMAGE_TYPE, VR::CS, "DERIVED\\SECONDARY\\OTHER".into()),
        (tags::SOP_CLASS_UID, VR::UI, MR_IMAGE_STORAGE.into()),
        (tags::SOP_INSTANCE_UID, VR::UI, of("instance", &number)),
        (tags::STUDY_DATE, VR::DA, String::new()),
        (tags::STUDY_TIME, VR::TM, String::new()),
        (tags::ACCESSION_NUMBER, VR::SH, String::new()),
        (tags::MODALITY, VR::CS, "MR".into()),
        (tags::MANUFACTURER, VR::LO, MANUFACTURER.into()),
        (tags::REFERRING_PHYSICIAN_NAME, VR::PN, String::new()),
        (tags::STUDY_DESCRIPTION, VR::LO, COMMENT.into()),
        (tags::SERIES_DESCRIPTION, VR::LO, DESCRIPTIONS[channel].into()),
        (tags::MANUFACTURER_MODEL_NAME, VR::LO, "synthetic brains".into()),
        (tags::DERIVATION_DESCRIPTION, VR::ST, "computed from a template; no patient was imaged".into()),
        (tags::PATIENT_NAME, VR::PN, "SYNTHETIC^SUBJECT".into()),
        (tags::PATIENT_ID, VR::LO, format!("SYNTHETIC-{}", subject.name())),
        (tags::PATIENT_BIRTH_DATE, VR::DA, String::new()),
        (tags::PATIENT_SEX, VR::CS, String::new()),
        (tags::BODY_PART_EXAMINED, VR::CS, "BRAIN".into()),
        // Research mode: the one term that claims no sequence that was not run.
        (tags::SCANNING_SEQUENCE, VR::CS, "RM".into()),
        (tags::SEQUENCE_VARIANT, VR::CS, "NONE".into()),
        (tags::SCAN_OPTIONS, VR::CS, String::new()),
        (tags::MR_ACQUISITION_TYPE, VR::CS, "2D".into()),
        (tags::SLICE_THICKNESS, VR::DS, geometry.thickness_mm.to_string()),
        (tags::REPETITION_TIME, VR::DS, String::new()),
        (tags::ECHO_TIME, VR::DS, String::new()),
        (tags::SPACING_BETWEEN_SLICES, VR::DS, geometry.spacing_mm.to_string()),
        (tags::ECHO_TRAIN_LENGTH, VR::IS, String::new()),
        (tags::SOFTWARE_VERSIONS, VR::LO, concat!("anomalens-cohort ", env!("CARGO_PKG_VERSION")).into()),
        (tags::PATIENT_POSITION, VR::CS, "HFS".into()),
        (tags::STUDY_INSTANCE_UID, VR::UI, of("study", &[])),
        (tags::SERIES_INSTANCE_UID, VR::UI, of("series", &number[..1])),
        (tags::STUDY_ID, VR::SH, "1".into()),
        (tags::SERIES_NUMBER, VR::IS, (channel + 1).to_string()),
        (tags::INSTANCE_NUMBER, VR::IS, (slice + 1).to_string()),
        (tags::IMAGE_POSITION_PATIENT, VR::DS, position),
        (tags::IMAGE_ORIENTATION_PATIENT, VR::DS, "1\\0\\0\\0\\1\\0".into()),
        (tags::FRAME_OF_REFERENCE_UID, VR::UI, of("frame", &[])),
        (tags::POSITION_REFERENCE_INDICATOR, VR::LO, String::new()),
        (tags::SLICE_LOCATION, VR::DS, z.to_string()),
        (tags::IMAGE_COMMENTS, VR::LT, COMMENT.into()),
        (tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2".into()),
        (tags::PIXEL_SPACING, VR::DS, format!("{0}\\{0}", f64::from(geometry.pixel_mm))),
        (tags::BURNED_IN_ANNOTATION, VR::CS, "NO".into()),
        (tags::WINDOW_CENTER, VR::DS, (window.min(UNIT) / 2.0).to_string()),
        (tags::WINDOW_WIDTH, VR::DS, window.min(UNIT).to_string()),
        (tags::LOSSY_IMAGE_COMPRESSION, VR::CS, "00".into()),
    ];
    for (tag, vr, text) in texts {
        let value = if text.is_empty() { PrimitiveValue::Empty } else { PrimitiveValue::from(text.as_str()) };
        object.put(DataElement::new(*tag, *vr, value));
    }
    for (tag, value) in [
        (tags::SAMPLES_PER_PIXEL, 1),
        (tags::ROWS, rows as u16),
        (tags::COLUMNS, columns as u16),
        (tags::BITS_ALLOCATED, 16),
        (tags::BITS_STORED, 16),
        (tags::HIGH_BIT, 15),
        (tags::PIXEL_REPRESENTATION, 0),
    ] {
        object.put(DataElement::new(tag, VR::US, PrimitiveValue::from(value)));
    }
    let words: Vec<u16> = plane.iter().copied().collect();
    object.put(DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(words.into())));
    object
}

/// The file's bytes.
fn encode(object: InMemDicomObject) -> Result<Vec<u8>, String> {
    let uid = object.element(tags::SOP_INSTANCE_UID).map_err(|e| e.to_string())?;
    let uid = uid.to_str().map_err(|e| e.to_string())?.into_owned();
    let meta = FileMetaTableBuilder::new()
        .media_storage_sop_class_uid(MR_IMAGE_STORAGE)
        .media_storage_sop_instance_uid(uid)
        .transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN)
        .implementation_class_uid(IMPLEMENTATION)
        .implementation_version_name(concat!("ANOMALENS_", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|e| e.to_string())?;
    let mut bytes = Vec::new();
    object.with_exact_meta(meta).write_all(&mut bytes).map_err(|e| e.to_string())?;
    Ok(bytes)
}

/// 2.25.N, N a UUID of version 8 (custom) as a decimal number (PS3.5 B.2), a hash of `parts`: the same content has
/// the same UID, a change another, as archives expect.
fn uid(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        // The length keeps ("ab", "c") and ("a", "bc") apart.
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.finalize()[..16]);
    bytes[6] = bytes[6] & 0x0F | 0x80;
    bytes[8] = bytes[8] & 0x3F | 0x80;
    format!("2.25.{}", u128::from_be_bytes(bytes))
}
