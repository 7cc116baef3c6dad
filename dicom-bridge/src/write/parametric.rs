//! The anomaly map of a stack as a Parametric Map (PS3.3 A.75): 16-bit integers with a real world value mapping, which
//! archives can show, or floating point, which is exact and which few can.

use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;

use super::derived::{Draft, check_map};
use super::element::{item, items, put};
use super::frames::{Place, slices_of};
use super::map::{by_slope, kind, mapping};
use super::{Frame, MapScale, Provenance, Written};
use crate::attributes::decimal;
use crate::error::WriteError;
use crate::read::Source;

/// How the values of a Parametric Map are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MapNumbers {
    /// 16-bit integers, with what one is worth.
    Integer,
    /// 32-bit floating point, the values themselves.
    Float,
}

impl MapNumbers {
    /// A word for errors, and the name of the file.
    fn word(self) -> &'static str {
        match self {
            Self::Integer => "parametric-map",
            Self::Float => "float-map",
        }
    }
}

/// Writes the maps of a stack as one object, a frame a slice. The values are at least 0.
///
/// Errors: [`WriteError`]; [`WriteError::Unplaced`] for slices that do not say where they lie in the patient, for which
/// there is [`super::fractional_map`].
pub fn parametric_map(
    frames: &[Frame<'_, f32>],
    scale: &MapScale,
    numbers: MapNumbers,
    provenance: &Provenance,
) -> Result<Written, WriteError> {
    let word = numbers.word();
    for (slice, values) in frames {
        check_map(word, slice, values)?;
    }
    let stored = match numbers {
        MapNumbers::Integer => by_slope(scale),
        MapNumbers::Float => "Stored are the values themselves.".to_owned(),
    };
    let kind = kind(word, frames, scale, &stored);
    let class = uids::PARAMETRIC_MAP_STORAGE;
    let mut draft = Draft::stack(slices_of(frames), kind, class, "OT", provenance)?;
    let place = Place::of(&draft.slices).map_err(|missing| unplaced(numbers, missing, draft.source))?;
    let image_type = format!("DERIVED\\PRIMARY\\VOLUME\\{}", scale.of().contrast());
    draft.text(tags::IMAGE_TYPE, VR::CS, &image_type);
    draft.text(tags::PIXEL_PRESENTATION, VR::CS, "MONOCHROME");
    draft.text(tags::CONTENT_QUALIFICATION, VR::CS, "RESEARCH");
    draft.text(tags::BURNED_IN_ANNOTATION, VR::CS, "NO");
    // Maps of heads still show a head.
    draft.text(tags::RECOGNIZABLE_VISUAL_FEATURES, VR::CS, "YES");
    draft.text(tags::PRESENTATION_LUT_SHAPE, VR::CS, "IDENTITY");
    draft.empty_if_absent(tags::ACQUISITION_CONTEXT_SEQUENCE, VR::SQ);
    draft.content("ANOMALY");
    let mut shared = shared_groups(&image_type, scale, numbers);
    items(&mut shared, tags::FRAME_ANATOMY_SEQUENCE, vec![draft.anatomy()]);
    draft.frames(Some(&place), false, shared);
    let values = frames.iter().flat_map(|(_, values)| values.iter());
    let (tag, vr, pixels) = match numbers {
        MapNumbers::Integer => {
            draft.grid("MONOCHROME2", 16, 16, false);
            let words = values.map(|&v| scale.store(v)).collect();
            (tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(words))
        }
        MapNumbers::Float => {
            draft.grid("MONOCHROME2", 32, 32, false);
            // Of numbers that are no integers nothing more is said.
            for tag in [tags::BITS_STORED, tags::HIGH_BIT, tags::PIXEL_REPRESENTATION] {
                draft.object.remove_element(tag);
            }
            (tags::FLOAT_PIXEL_DATA, VR::OF, PrimitiveValue::F32(values.copied().collect()))
        }
    };
    draft.object.put(DataElement::new(tag, vr, pixels));
    draft.finish()
}

/// The error for slices that do not say where they lie.
pub(super) fn unplaced(numbers: MapNumbers, missing: &'static str, source: &Source) -> WriteError {
    WriteError::Unplaced { object: numbers.word(), missing, source_file: source.path.clone() }
}

/// What all frames share besides their geometry.
fn shared_groups(image_type: &str, scale: &MapScale, numbers: MapNumbers) -> InMemDicomObject {
    let width = match numbers {
        MapNumbers::Integer => f64::from(u16::MAX),
        MapNumbers::Float => scale.maximum(),
    };
    let window = item(|item| {
        put(item, tags::WINDOW_CENTER, VR::DS, &decimal(width / 2.0));
        put(item, tags::WINDOW_WIDTH, VR::DS, &decimal(width));
        // A width below 1 is allowed for this function alone (PS3.3 C.11.2.1.3.2).
        put(item, tags::VOILUT_FUNCTION, VR::CS, "LINEAR_EXACT");
    });
    let identity = item(|item| {
        put(item, tags::RESCALE_INTERCEPT, VR::DS, "0");
        put(item, tags::RESCALE_SLOPE, VR::DS, "1");
        put(item, tags::RESCALE_TYPE, VR::LO, "US");
    });
    let frame_type = item(|item| put(item, tags::FRAME_TYPE, VR::CS, image_type));
    item(|groups| {
        items(groups, tags::PARAMETRIC_MAP_FRAME_TYPE_SEQUENCE, vec![frame_type]);
        items(groups, tags::FRAME_VOILUT_SEQUENCE, vec![window]);
        items(groups, tags::PIXEL_VALUE_TRANSFORMATION_SEQUENCE, vec![identity]);
        items(groups, tags::REAL_WORLD_VALUE_MAPPING_SEQUENCE, vec![mapping(scale, numbers)]);
    })
}
