//! The anomaly map, as a derived image of the source's modality.
//!
//! What a stored value is worth is said by Rescale where the modality has it (CT, CR), and by Real World Value
//! Mapping in all of them: a Rescale other than the identity is no part of an MR image, and fixed to the identity in a
//! DX image.

use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;
use ndarray::ArrayView2;

use super::derived::{Draft, Kind, check_map};
use super::element::{code, item, items, put};
use super::{Frame, MapNumbers, MapScale, Provenance, Written};
use crate::attributes::decimal;
use crate::error::WriteError;
use crate::read::SourceSlice;

const OBJECT: &str = "map";

/// What a map's values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MapOf {
    /// The sum over channels of |image − pseudo-healthy image|, both in [0, 1].
    Difference,
    /// The sum over channels of |∂ log p(healthy) / ∂ image|, the image in [0, 1].
    Gradient,
}

impl MapOf {
    fn derivation(self) -> [&'static str; 3] {
        match self {
            Self::Difference => ["113062", "DCM", "Pixel by pixel subtraction"],
            Self::Gradient => ["SALIENCY", "99ANOMALENS", "Saliency of a classifier"],
        }
    }

    fn how(self) -> &'static str {
        match self {
            Self::Difference => "|image - pseudo-healthy image|, both in [0, 1]",
            Self::Gradient => "|gradient of a classifier's log p(healthy)| by the image in [0, 1]",
        }
    }

    fn explanation(self) -> &'static str {
        match self {
            Self::Difference => "Sum of absolute differences",
            Self::Gradient => "Sum of absolute gradients",
        }
    }

    /// How the contrast of pixels came about, value 4 of a volume's Image Type (PS3.3 C.8.16.1.4).
    pub(super) fn contrast(self) -> &'static str {
        match self {
            Self::Difference => "SUBTRACTION",
            Self::Gradient => "QUANTITY",
        }
    }

    /// Code and meaning of the quantity. No scheme has one for it.
    fn quantity(self) -> [&'static str; 2] {
        match self {
            Self::Difference => ["ANOMAP", "Absolute difference from the pseudo-healthy image"],
            Self::Gradient => ["SALMAP", "Absolute gradient of a classifier's log p(healthy)"],
        }
    }
}

/// Writes the map of one slice. `values`: [H, W], at least 0.
///
/// Errors: [`WriteError`].
pub fn map(
    slice: &SourceSlice,
    values: ArrayView2<'_, f32>,
    scale: &MapScale,
    provenance: &Provenance,
) -> Result<Written, WriteError> {
    check_map(OBJECT, slice, &values)?;
    let kind = kind(OBJECT, &[(slice, values)], scale, &by_slope(scale));
    let mut draft = Draft::image(slice, kind, provenance);
    let class = slice.sources[0].single_frame_class();
    let rescaled = [uids::CT_IMAGE_STORAGE, uids::COMPUTED_RADIOGRAPHY_IMAGE_STORAGE].contains(&class);
    let slope = if rescaled { scale.text() } else { "1" };
    if class != uids::MR_IMAGE_STORAGE {
        draft.unspecified_units(slope);
    }
    let width = f64::from(u16::MAX) * if rescaled { scale.slope() } else { 1.0 };
    draft.text(tags::WINDOW_CENTER, VR::DS, &decimal(width / 2.0));
    draft.text(tags::WINDOW_WIDTH, VR::DS, &decimal(width));
    // A width below 1 is allowed for this function alone (PS3.3 C.11.2.1.3.2), and weak maps have one.
    draft.text(tags::VOILUT_FUNCTION, VR::CS, "LINEAR_EXACT");
    draft.sequence(tags::REAL_WORLD_VALUE_MAPPING_SEQUENCE, vec![mapping(scale, MapNumbers::Integer)]);
    let words = values.iter().map(|&v| scale.store(v)).collect();
    draft.grey("MONOCHROME2", 16, 16, false, words);
    draft.finish()
}

impl Draft<'_> {
    /// Rescale without a unit, and no inversion for display.
    pub(super) fn unspecified_units(&mut self, slope: &str) {
        self.text(tags::RESCALE_INTERCEPT, VR::DS, "0");
        self.text(tags::RESCALE_SLOPE, VR::DS, slope);
        self.text(tags::RESCALE_TYPE, VR::LO, "US");
        if self.object.get(tags::PRESENTATION_INTENT_TYPE).is_some() {
            self.text(tags::PRESENTATION_LUT_SHAPE, VR::CS, "IDENTITY");
        }
    }
}

/// The kind of an object that holds maps. `stored`: what a stored value is, in a sentence.
pub(super) fn kind(
    word: &'static str,
    frames: &[Frame<'_, f32>],
    scale: &MapScale,
    stored: &str,
) -> Kind<'static> {
    let channels = frames.first().map_or(0, |(slice, _)| slice.sources.len());
    Kind {
        word,
        channel: None,
        title: "Anomaly map",
        series_number: 9001,
        derivation: scale.of().derivation(),
        how: format!("Sum over {channels} channel(s) of {}. {stored}", scale.of().how()),
    }
}

/// What a stored value of 16 bits is, in a sentence.
pub(super) fn by_slope(scale: &MapScale) -> String {
    format!("Value = stored value x {}.", scale.text())
}

/// One item of Real World Value Mapping (PS3.3 C.7.6.16.2.11).
pub(super) fn mapping(scale: &MapScale, numbers: MapNumbers) -> InMemDicomObject {
    item(|item| {
        let mut put = |tag, vr, value: PrimitiveValue| {
            item.put(DataElement::new(tag, vr, value));
        };
        let slope = match numbers {
            MapNumbers::Integer => {
                put(tags::REAL_WORLD_VALUE_FIRST_VALUE_MAPPED, VR::US, PrimitiveValue::from(0u16));
                put(tags::REAL_WORLD_VALUE_LAST_VALUE_MAPPED, VR::US, PrimitiveValue::from(u16::MAX));
                scale.slope()
            }
            MapNumbers::Float => {
                let last = PrimitiveValue::from(scale.maximum());
                put(
                    tags::DOUBLE_FLOAT_REAL_WORLD_VALUE_FIRST_VALUE_MAPPED,
                    VR::FD,
                    PrimitiveValue::from(0f64),
                );
                put(tags::DOUBLE_FLOAT_REAL_WORLD_VALUE_LAST_VALUE_MAPPED, VR::FD, last);
                1.0
            }
        };
        put(tags::REAL_WORLD_VALUE_INTERCEPT, VR::FD, PrimitiveValue::from(0f64));
        put(tags::REAL_WORLD_VALUE_SLOPE, VR::FD, PrimitiveValue::from(slope));
        put(tags::LUT_LABEL, VR::SH, PrimitiveValue::from("ANOMALY"));
        put(tags::LUT_EXPLANATION, VR::LO, PrimitiveValue::from(scale.of().explanation()));
        items(item, tags::MEASUREMENT_UNITS_CODE_SEQUENCE, vec![code("1", "UCUM", "no units")]);
        items(item, tags::QUANTITY_DEFINITION_SEQUENCE, vec![quantity(scale.of())]);
    })
}

/// What the numbers measure.
fn quantity(of: MapOf) -> InMemDicomObject {
    let [value, meaning] = of.quantity();
    item(|item| {
        put(item, tags::VALUE_TYPE, VR::CS, "CODE");
        items(item, tags::CONCEPT_NAME_CODE_SEQUENCE, vec![code("246205007", "SCT", "Quantity")]);
        items(item, tags::CONCEPT_CODE_SEQUENCE, vec![code(value, "99ANOMALENS", meaning)]);
    })
}
