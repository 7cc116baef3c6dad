//! The picture for people, as Secondary Capture (RGB, 8 bit): of one slice, which every archive shows, or of a whole
//! stack as one multi-frame object.

use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::{tags, uids};
use image::RgbImage;

use super::derived::{Draft, Kind};
use super::{Provenance, Written};
use crate::error::WriteError;
use crate::read::SourceSlice;

const ONE: &str = "picture";
const STACK: &str = "pictures";

/// Writes a picture of one slice, of any size up to 65,535 a side. The words "NOT FOR DIAGNOSTIC USE" must already
/// be drawn in it, and nothing that identifies the patient: Burned In Annotation says NO, which speaks of the latter.
///
/// Errors: [`WriteError`].
pub fn picture(
    slice: &SourceSlice,
    picture: &RgbImage,
    provenance: &Provenance,
) -> Result<Written, WriteError> {
    let size = size(ONE, picture)?;
    let mut draft = Draft::capture(slice, kind(ONE, 9003), provenance);
    draft.colour(size, picture.as_raw().clone());
    draft.finish()
}

/// Writes the pictures of a stack, all of one size, as one Multi-frame True Color Secondary Capture, a frame a slice.
/// What [`picture`] asks of its picture holds for each.
///
/// Errors: [`WriteError`].
pub fn pictures(
    frames: &[(&SourceSlice, &RgbImage)],
    provenance: &Provenance,
) -> Result<Written, WriteError> {
    let class = uids::MULTI_FRAME_TRUE_COLOR_SECONDARY_CAPTURE_IMAGE_STORAGE;
    let slices = frames.iter().map(|(slice, _)| *slice).collect();
    let mut draft = Draft::stack(slices, kind(STACK, 9005), class, "OT", provenance)?;
    let mut pixels = Vec::new();
    let expected = size(STACK, frames[0].1)?;
    for (slice, picture) in frames {
        let found = size(STACK, picture)?;
        if found != expected {
            let [found, expected] = [found, expected].map(|size| size.map(usize::from));
            let source_file = slice.sources[0].path.clone();
            return Err(WriteError::Shape { object: STACK, found, expected, source_file });
        }
        pixels.extend_from_slice(picture.as_raw());
    }
    // Frames follow each other as the pages of a book (PS3.3 C.8.6.4), where there is more than one.
    if frames.len() > 1 {
        let pages: Vec<String> = (1..=frames.len()).map(|page| page.to_string()).collect();
        draft.text(tags::PAGE_NUMBER_VECTOR, VR::IS, &pages.join("\\"));
        let pointer = PrimitiveValue::from(tags::PAGE_NUMBER_VECTOR);
        draft.object.put(DataElement::new(tags::FRAME_INCREMENT_POINTER, VR::AT, pointer));
    }
    draft.colour(expected, pixels);
    draft.finish()
}

fn kind(word: &'static str, series_number: usize) -> Kind<'static> {
    Kind {
        word,
        channel: None,
        title: "Anomaly picture",
        series_number,
        derivation: ["113076", "DCM", "Segmentation"],
        how: "input, pseudo-healthy image if there is one, anomaly map and outline of the mask side by side."
            .to_owned(),
    }
}

/// Rows and columns.
fn size(object: &'static str, picture: &RgbImage) -> Result<[u16; 2], WriteError> {
    let (w, h) = picture.dimensions();
    match (u16::try_from(h), u16::try_from(w)) {
        (Ok(h), Ok(w)) => Ok([h, w]),
        _ => {
            let cause = format!("{h} x {w} pixels, expected at most 65535 a side");
            Err(WriteError::Encode { object, cause })
        }
    }
}

impl Draft<'_> {
    /// Puts colour pixels into the object, frame by frame.
    fn colour(&mut self, [rows, columns]: [u16; 2], mut pixels: Vec<u8>) {
        self.text(tags::IMAGE_TYPE, VR::CS, "DERIVED\\SECONDARY\\OTHER");
        self.text(tags::CONVERSION_TYPE, VR::CS, "WSD");
        self.text(tags::BURNED_IN_ANNOTATION, VR::CS, "NO");
        self.text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "RGB");
        for (tag, value) in [
            (tags::SAMPLES_PER_PIXEL, 3),
            (tags::PLANAR_CONFIGURATION, 0),
            (tags::ROWS, rows),
            (tags::COLUMNS, columns),
            (tags::BITS_ALLOCATED, 8),
            (tags::BITS_STORED, 8),
            (tags::HIGH_BIT, 7),
            (tags::PIXEL_REPRESENTATION, 0),
        ] {
            self.short(tag, value);
        }
        if pixels.len() % 2 == 1 {
            pixels.push(0);
        }
        self.object.put(DataElement::new(tags::PIXEL_DATA, VR::OB, PrimitiveValue::U8(pixels.into())));
    }
}
