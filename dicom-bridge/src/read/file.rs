//! One file: from bytes to a [`Source`], or the reason why it is none.

use std::path::Path;

use dicom_core::dictionary::UidDictionary;
use dicom_dictionary_std::{StandardSopClassDictionary, tags, uids};
use dicom_object::{DefaultDicomObject, FileMetaTable, InMemDicomObject, OpenFileOptions};

use super::lengths::impossible;
use super::part10::complete;
use super::syntax::{BIG_ENDIAN, codec, name_of};
use super::unknown::restore;
use super::{Source, multiframe};
use crate::attributes::text;
use crate::error::ReadError;
use crate::geometry::Geometry;

/// Manufacturer (0008,0070) of everything that this crate writes: what carries it is not taken as input again.
pub(crate) const MANUFACTURER: &str = "anomalens";

/// The SOP classes of one frame that can be read: slices and projections. Those of many are in [`multiframe`].
const IMAGES: [&str; 5] = [
    uids::MR_IMAGE_STORAGE,
    uids::CT_IMAGE_STORAGE,
    uids::COMPUTED_RADIOGRAPHY_IMAGE_STORAGE,
    uids::DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PRESENTATION,
    uids::DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PROCESSING,
];

/// Opens a file as a source of images, one a frame; its pixels are left where they are.
pub(super) fn open(path: &Path) -> Result<Vec<Source>, ReadError> {
    let (mut object, charset) = load(path)?;
    let meta = object.meta();
    let class = text(&object, tags::SOP_CLASS_UID)
        .unwrap_or_else(|| meta.media_storage_sop_class_uid().trim_end_matches('\0').to_owned());
    let refuse = |found: String| Err(ReadError::NotAnImage { path: path.to_owned(), found });
    // Loop guard: a node that receives its own results would translate them for ever.
    if text(&object, tags::MANUFACTURER).as_deref() == Some(MANUFACTURER) {
        return refuse(format!("a result written by {MANUFACTURER} itself"));
    }
    if let Some(found) = no_image(&class) {
        return refuse(found);
    }
    let transfer_syntax = meta.transfer_syntax().trim_end_matches('\0').to_owned();
    let pixels = [tags::PIXEL_DATA, tags::FLOAT_PIXEL_DATA, tags::DOUBLE_FLOAT_PIXEL_DATA];
    let found = pixels.map(|tag| object.take(tag).is_some());
    if found == [false; 3] {
        return Err(ReadError::NoPixelData { path: path.to_owned() });
    }
    let required = |tag, attribute| {
        text(&object, tag).ok_or_else(|| ReadError::Attribute {
            path: path.to_owned(),
            attribute,
            found: "nothing".into(),
            expected: "a UID; the object cannot be referred to without it".into(),
        })
    };
    required(tags::SOP_INSTANCE_UID, "SOP Instance UID (0008,0018)")?;
    required(tags::SERIES_INSTANCE_UID, "Series Instance UID (0020,000E)")?;
    required(tags::STUDY_INSTANCE_UID, "Study Instance UID (0020,000D)")?;
    if charset.is_none() && text(&object, tags::SPECIFIC_CHARACTER_SET).is_some_and(|c| c != "ISO_IR 100") {
        return Err(ReadError::Attribute {
            path: path.to_owned(),
            attribute: "Specific Character Set (0008,0005)",
            found: "one that cannot be copied byte for byte out of a deflated file".into(),
            expected: "another transfer syntax; convert it first, e.g. with dcmconv +te".into(),
        });
    }
    let object = object.into_inner();
    let source = |object: InMemDicomObject, frame| {
        Ok(Source {
            path: path.to_owned(),
            sop_class: class.clone(),
            frame,
            geometry: Geometry::of(path, &object)?,
            object,
            charset: charset.clone(),
            transfer_syntax: transfer_syntax.clone(),
            resampled: false,
            has_float_pixels: found[1] || found[2],
        })
    };
    if multiframe::single_frame_class(&class).is_none() {
        return Ok(vec![source(object, None)?]);
    }
    let frames = multiframe::split(path, &object)?;
    frames.into_iter().enumerate().map(|(frame, object)| source(object, Some(frame))).collect()
}

/// What a SOP class is, where it is none of those that can be read.
fn no_image(class: &str) -> Option<String> {
    if IMAGES.contains(&class) || multiframe::single_frame_class(class).is_some() {
        return None;
    }
    if class == uids::MEDIA_STORAGE_DIRECTORY_STORAGE {
        return Some("a DICOMDIR".into());
    }
    Some(name_of_class(class))
}

/// A SOP class in words.
pub(super) fn name_of_class(class: &str) -> String {
    let name = StandardSopClassDictionary.by_uid(class).map_or("unknown SOP class", |e| e.name);
    format!("{name} ({class})")
}

/// Parses a whole file. Text is read as Latin-1 whatever character set the file declares, so that each character
/// is one byte of the file and can be written again byte for byte: dicom-rs neither decodes ISO 2022 escapes
/// nor gives invalid text back as it was. The second part is the value of Specific Character Set (0008,0005) as it
/// stands in the file.
pub(super) fn load(path: &Path) -> Result<(DefaultDicomObject, Option<Vec<u8>>), ReadError> {
    let bytes = std::fs::read(path).map_err(|source| ReadError::Io { path: path.to_owned(), source })?;
    let mut bytes = complete(path, bytes)?;
    let place = charset_place(&bytes);
    let charset = place.clone().map(|place| bytes[place].to_vec());
    if let Some(place) = place {
        bytes[place].fill(b' ');
    }
    let fail = |cause: String| {
        let path = path.to_owned();
        let Ok(meta) = FileMetaTable::from_reader(&bytes[128..]) else {
            return ReadError::Damaged { path, cause };
        };
        let trim = |uid: &str| uid.trim_end_matches('\0').to_owned();
        let syntax = trim(meta.transfer_syntax());
        match no_image(&trim(meta.media_storage_sop_class_uid())) {
            // What is no image anyhow need not be whole.
            Some(found) if !meta.media_storage_sop_class_uid().is_empty() => {
                ReadError::NotAnImage { path, found }
            }
            _ if codec(&syntax).is_none() => ReadError::TransferSyntax { path, found: name_of(&syntax) },
            _ => ReadError::Damaged { path, cause },
        }
    };
    if let Some(cause) = impossible(&bytes) {
        return Err(fail(cause));
    }
    let opened = OpenFileOptions::new().from_reader(bytes.as_slice());
    let mut object = opened.map_err(|e| fail(chain(&e)))?;
    restore(&mut object);
    Ok((object, charset))
}

/// An error with its causes, on one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(e) = next {
        let e_text = e.to_string();
        if !text.contains(&e_text) {
            text = format!("{text}: {e_text}");
        }
        next = e.source();
    }
    text
}

/// Where the value of Specific Character Set lies in a file; none in a deflated one.
fn charset_place(bytes: &[u8]) -> Option<std::ops::Range<usize>> {
    let mut rest = &bytes[128..];
    let meta = FileMetaTable::from_reader(&mut rest).ok()?;
    let (implicit, big_endian) = match meta.transfer_syntax().trim_end_matches('\0') {
        uids::IMPLICIT_VR_LITTLE_ENDIAN => (true, false),
        BIG_ENDIAN => (false, true),
        uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN => return None,
        _ => (false, false),
    };
    let mut at = bytes.len() - rest.len();
    // What stands before (0008,0005) are integers with a short header, so that this walk needs no table of VRs; only
    // an element of unknown VR has the long one.
    loop {
        let word = |i: usize| {
            let pair = bytes.get(at + i..at + i + 2)?.try_into().ok()?;
            Some(if big_endian { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) })
        };
        let tag = (word(0)?, word(2)?);
        let value = match (implicit, bytes.get(at + 4..at + 6)?) {
            (true, _) => at + 8..at + 8 + usize::from(word(4)?),
            (false, b"UN") => at + 12..at + 12 + usize::from(word(8)?),
            (false, _) => at + 8..at + 8 + usize::from(word(6)?),
        };
        match tag {
            (0x0008, 0x0005) => return (value.end <= bytes.len()).then_some(value),
            (0x0008, 0..0x0005) => at = value.end,
            _ => return None,
        }
    }
}
