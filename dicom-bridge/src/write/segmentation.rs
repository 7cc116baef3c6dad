//! Segmentations (PS3.3 A.51): the mask, one bit a pixel, and the map of images that have no place in the patient, as
//! a fraction.
//!
//! A Parametric Map wants a frame of reference, which radiographs lack; a segmentation is the one object for values a
//! pixel that does without.

use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;

use super::derived::{Draft, Kind, check_map, check_shape};
use super::element::{code, item, items, plain, put, short};
use super::frames::{Place, slices_of};
use super::map;
use super::{Frame, MapScale, Provenance, Written};
use crate::attributes::decimal;
use crate::error::WriteError;
use crate::read::SourceSlice;

const MASK: &str = "segmentation";
const FRACTION: &str = "fractional-map";
/// The stored value of the largest map value.
const HIGHEST: u16 = 255;

/// Writes the masks of a stack as one object, a frame a slice, also where nothing was found. `threshold` says in words
/// how they were made, e.g. `Otsu, 256 bins, each slice by itself`.
///
/// Errors: [`WriteError`].
pub fn segmentation(
    frames: &[Frame<'_, bool>],
    threshold: &str,
    provenance: &Provenance,
) -> Result<Written, WriteError> {
    for (slice, mask) in frames {
        check_shape(MASK, slice, mask)?;
    }
    let kind = Kind {
        word: MASK,
        channel: None,
        title: "Anomaly mask",
        series_number: 9004,
        derivation: ["113076", "DCM", "Segmentation"],
        how: format!("1 where the anomaly map is above a threshold ({threshold}), else 0."),
    };
    let mut draft = segments(slices_of(frames), kind, "BINARY", provenance)?;
    draft.stored(1);
    let bits = frames.iter().flat_map(|(_, mask)| mask.iter().copied());
    draft.bytes(packed(bits));
    draft.finish()
}

/// Writes the maps of a stack as one fractional segmentation, a frame a slice: the stored value is map / maximum × 255,
/// rounded, with the maximum that `scale` was made for. The fractional type is PROBABILITY, the nearer of the two
/// that there are; that it is none is said in the segment's description.
///
/// Errors: [`WriteError`].
pub fn fractional_map(
    frames: &[Frame<'_, f32>],
    scale: &MapScale,
    provenance: &Provenance,
) -> Result<Written, WriteError> {
    for (slice, values) in frames {
        check_map(FRACTION, slice, values)?;
    }
    let stored = format!("No probability: value = stored value / 255 x {}.", decimal(scale.maximum()));
    let kind = map::kind(FRACTION, frames, scale, &stored);
    let mut draft = segments(slices_of(frames), kind, "FRACTIONAL", provenance)?;
    draft.text(tags::SEGMENTATION_FRACTIONAL_TYPE, VR::CS, "PROBABILITY");
    draft.short(tags::MAXIMUM_FRACTIONAL_VALUE, HIGHEST);
    draft.stored(8);
    let values = frames.iter().flat_map(|(_, values)| values.iter());
    draft.bytes(values.map(|&v| scale.store_up_to(v, f64::from(HIGHEST)) as u8).collect());
    draft.finish()
}

/// A segmentation with its one segment and its frames, without pixels.
fn segments<'a>(
    slices: Vec<&'a SourceSlice>,
    kind: Kind<'a>,
    form: &str,
    provenance: &'a Provenance,
) -> Result<Draft<'a>, WriteError> {
    let segment = segment(&kind, provenance);
    let mut draft = Draft::stack(slices, kind, uids::SEGMENTATION_STORAGE, "SEG", provenance)?;
    draft.text(tags::IMAGE_TYPE, VR::CS, "DERIVED\\PRIMARY");
    draft.text(tags::SEGMENTATION_TYPE, VR::CS, form);
    draft.text(tags::SEGMENTS_OVERLAP, VR::CS, "NO");
    draft.content("ANOMALY");
    draft.sequence(tags::SEGMENT_SEQUENCE, vec![segment]);
    let place = Place::of(&draft.slices).ok();
    draft.frames(place.as_ref(), true, InMemDicomObject::new_empty());
    Ok(draft)
}

/// The one segment. What it is, is no more than the method finds: a structure unlike the healthy ones that the
/// networks were trained on.
fn segment(kind: &Kind<'_>, p: &Provenance) -> InMemDicomObject {
    let abnormal = || vec![code("49755003", "SCT", "Morphologically Abnormal Structure")];
    item(|segment| {
        short(segment, tags::SEGMENT_NUMBER, 1);
        put(segment, tags::SEGMENT_LABEL, VR::LO, "Anomaly");
        put(segment, tags::SEGMENT_DESCRIPTION, VR::ST, &plain(&kind.how, 1024));
        put(segment, tags::SEGMENT_ALGORITHM_TYPE, VR::CS, "AUTOMATIC");
        put(segment, tags::SEGMENT_ALGORITHM_NAME, VR::LO, &plain(&p.tool, 64));
        items(segment, tags::SEGMENTED_PROPERTY_CATEGORY_CODE_SEQUENCE, abnormal());
        items(segment, tags::SEGMENTED_PROPERTY_TYPE_CODE_SEQUENCE, abnormal());
        items(segment, tags::SEGMENTATION_ALGORITHM_IDENTIFICATION_SEQUENCE, vec![algorithm(p)]);
        // Red, for those who have no colour of their own: L* 53, a* 80, b* 67 (PS3.3 C.10.7.1.1).
        let red = PrimitiveValue::U16([34_884, 53_485, 50_171].as_slice().into());
        segment.put(DataElement::new(tags::RECOMMENDED_DISPLAY_CIE_LAB_VALUE, VR::US, red));
    })
}

/// Algorithm identification (PS3.3 10.16).
pub(super) fn algorithm(p: &Provenance) -> InMemDicomObject {
    let (name, version) = p.tool.split_once(' ').unwrap_or((&p.tool, "unknown"));
    item(|item| {
        let family = vec![code("123110", "DCM", "Artificial Intelligence")];
        items(item, tags::ALGORITHM_FAMILY_CODE_SEQUENCE, family);
        put(item, tags::ALGORITHM_NAME, VR::LO, &plain(&format!("{name}, bundle {}", p.bundle), 64));
        put(item, tags::ALGORITHM_VERSION, VR::LO, &plain(version, 64));
        let parameters = format!("bundle sha256 {}; {}", p.bundle_hash, p.parameters);
        put(item, tags::ALGORITHM_PARAMETERS, VR::LT, &plain(&parameters, 10_240));
    })
}

/// Bits to bytes, the first pixel in the lowest bit, frames without a gap (PS3.5 8.1.1).
fn packed(bits: impl Iterator<Item = bool>) -> Vec<u8> {
    let bits: Vec<bool> = bits.collect();
    let byte = |bits: &[bool]| bits.iter().rev().fold(0u8, |byte, bit| (byte << 1) | u8::from(*bit));
    bits.chunks(8).map(byte).collect()
}

impl Draft<'_> {
    /// Content identification (PS3.3 10.9).
    pub(super) fn content(&mut self, label: &str) {
        self.text(tags::CONTENT_LABEL, VR::CS, label);
        self.text(tags::CONTENT_DESCRIPTION, VR::LO, self.kind.title);
        self.text(tags::CONTENT_CREATOR_NAME, VR::PN, &plain(&format!("{}^", self.provenance.tool), 64));
    }

    /// Unsigned grey pixels of so many bits.
    fn stored(&mut self, bits: u16) {
        self.grid("MONOCHROME2", bits, bits, false);
    }

    fn bytes(&mut self, mut bytes: Vec<u8>) {
        if bytes.len() % 2 == 1 {
            bytes.push(0);
        }
        self.object.put(DataElement::new(tags::PIXEL_DATA, VR::OB, PrimitiveValue::U8(bytes.into())));
    }
}

#[cfg(test)]
mod tests {
    use super::packed;

    #[test]
    fn the_first_pixel_is_the_lowest_bit_and_frames_follow_each_other() {
        let frames = [[true, false, false, false, true], [true, true, false, false, false]];
        // 10001 11000, from the lowest bit up, over two bytes.
        assert_eq!(packed(frames.iter().flatten().copied()), [0b0111_0001, 0b0000_0000]);
        assert_eq!(packed(std::iter::repeat_n(true, 9)), [0xFF, 0x01]);
    }
}
