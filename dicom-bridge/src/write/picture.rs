//! The picture for people, as a Secondary Capture image (RGB, 8 bit).

use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::tags;
use image::RgbImage;

use super::derived::{Draft, Kind};
use super::{Provenance, Written};
use crate::error::WriteError;
use crate::read::SourceSlice;

const OBJECT: &str = "picture";

/// Writes a picture of one slice, of any size up to 65,535 a side. The words "NOT FOR DIAGNOSTIC USE" must already
/// be drawn in it, and nothing that identifies the patient: Burned In Annotation says NO, which speaks of the latter.
///
/// Errors: [`WriteError`].
pub fn picture(
    slice: &SourceSlice,
    picture: &RgbImage,
    provenance: &Provenance,
) -> Result<Written, WriteError> {
    let (Ok(w), Ok(h)) = (u16::try_from(picture.width()), u16::try_from(picture.height())) else {
        let cause =
            format!("{} x {} pixels, expected at most 65535 a side", picture.height(), picture.width());
        return Err(WriteError::Encode { object: OBJECT, cause });
    };
    let kind = Kind {
        word: OBJECT,
        channel: None,
        title: "Anomaly picture",
        series_number: 9003,
        derivation: ["113076", "DCM", "Segmentation"],
        how: "input, pseudo-healthy image if there is one, anomaly map and outline of the mask side by side."
            .to_owned(),
    };
    let mut draft = Draft::capture(slice, kind, provenance);
    draft.text(tags::CONVERSION_TYPE, VR::CS, "WSD");
    draft.text(tags::BURNED_IN_ANNOTATION, VR::CS, "NO");
    draft.text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "RGB");
    for (tag, value) in [
        (tags::SAMPLES_PER_PIXEL, 3),
        (tags::PLANAR_CONFIGURATION, 0),
        (tags::ROWS, h),
        (tags::COLUMNS, w),
        (tags::BITS_ALLOCATED, 8),
        (tags::BITS_STORED, 8),
        (tags::HIGH_BIT, 7),
        (tags::PIXEL_REPRESENTATION, 0),
    ] {
        draft.short(tag, value);
    }
    let bytes = PrimitiveValue::U8(picture.as_raw().as_slice().into());
    draft.object.put(DataElement::new(tags::PIXEL_DATA, VR::OB, bytes));
    draft.finish()
}
