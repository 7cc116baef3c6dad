//! The anomaly map, as a derived image of the source's modality.
//!
//! What a stored value is worth is said by Rescale where the modality has it (CT, CR), and by Real World Value
//! Mapping in all of them: a Rescale other than the identity is no part of an MR image, and fixed to the identity in a
//! DX image.

use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;
use ndarray::ArrayView2;

use super::derived::{Draft, Kind, check_shape};
use super::element::code;
use super::{Provenance, Written};
use crate::attributes::decimal;
use crate::error::WriteError;
use crate::read::SourceSlice;

const OBJECT: &str = "map";
/// The largest stored value.
const HIGHEST: f64 = 65_535.0;

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
}

/// What one stored unit of a map is worth: one scale for a whole stack, so that slices can be compared.
#[derive(Debug, Clone, PartialEq)]
pub struct MapScale {
    of: MapOf,
    /// As it is written, at most 16 characters.
    text: String,
    /// The value of `text`.
    slope: f64,
}

impl MapScale {
    /// The scale that brings `maximum` (over the stack, finite, at least 0) to 65,535.
    pub fn for_maximum(maximum: f32, of: MapOf) -> Self {
        let maximum = if maximum.is_finite() && maximum > 0.0 { f64::from(maximum) } else { 1.0 };
        // Ten digits, rounded up by the last, so that the maximum never falls outside.
        let text = decimal(maximum / HIGHEST * (1.0 + 1e-8));
        let slope = text.parse().expect("a number written by this program");
        Self { of, text, slope }
    }

    /// The stored value nearest to `value` ≥ 0.
    fn store(&self, value: f32) -> u16 {
        (f64::from(value) / self.slope).round().min(HIGHEST) as u16
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
    check_shape(OBJECT, slice, &values)?;
    if let Some(((r, c), &found)) = values.indexed_iter().find(|(_, v)| !(v.is_finite() && **v >= 0.0)) {
        let expected = "a finite number, at least 0";
        return Err(WriteError::Value { object: OBJECT, index: [r, c], found, expected });
    }
    let kind = Kind {
        word: OBJECT,
        channel: None,
        title: "Anomaly map",
        series_number: 9001,
        derivation: scale.of.derivation(),
        how: format!(
            "sum over {} channel(s) of {}; value = stored value x {}.",
            slice.sources.len(),
            scale.of.how(),
            scale.text
        ),
    };
    let mut draft = Draft::image(slice, kind, provenance);
    let class = slice.sources[0].single_frame_class();
    let rescaled = [uids::CT_IMAGE_STORAGE, uids::COMPUTED_RADIOGRAPHY_IMAGE_STORAGE].contains(&class);
    let slope = if rescaled { scale.text.as_str() } else { "1" };
    if class != uids::MR_IMAGE_STORAGE {
        draft.unspecified_units(slope);
    }
    let width = HIGHEST * if rescaled { scale.slope } else { 1.0 };
    draft.text(tags::WINDOW_CENTER, VR::DS, &decimal(width / 2.0));
    draft.text(tags::WINDOW_WIDTH, VR::DS, &decimal(width));
    // A width below 1 is allowed for this function alone (PS3.3 C.11.2.1.3.2), and weak maps have one.
    draft.text(tags::VOILUT_FUNCTION, VR::CS, "LINEAR_EXACT");
    draft.sequence(tags::REAL_WORLD_VALUE_MAPPING_SEQUENCE, vec![mapping(scale)]);
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

/// One item of Real World Value Mapping (PS3.3 C.7.6.16.2.11).
fn mapping(scale: &MapScale) -> InMemDicomObject {
    let mut item = InMemDicomObject::new_empty();
    let mut put = |tag, vr, value: PrimitiveValue| {
        item.put(DataElement::new(tag, vr, value));
    };
    put(tags::REAL_WORLD_VALUE_FIRST_VALUE_MAPPED, VR::US, PrimitiveValue::from(0u16));
    put(tags::REAL_WORLD_VALUE_LAST_VALUE_MAPPED, VR::US, PrimitiveValue::from(u16::MAX));
    put(tags::REAL_WORLD_VALUE_INTERCEPT, VR::FD, PrimitiveValue::from(0f64));
    put(tags::REAL_WORLD_VALUE_SLOPE, VR::FD, PrimitiveValue::from(scale.slope));
    put(tags::LUT_LABEL, VR::SH, PrimitiveValue::from("ANOMALY"));
    put(tags::LUT_EXPLANATION, VR::LO, PrimitiveValue::from(scale.of.explanation()));
    let units = dicom_core::value::DataSetSequence::from(vec![code("1", "UCUM", "no units")]);
    item.put(DataElement::new(tags::MEASUREMENT_UNITS_CODE_SEQUENCE, VR::SQ, units));
    item
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_fits_its_field_and_its_maximum() {
        for maximum in [0.0f32, 1e-6, 0.001, 0.7, 1.0, 3.999, 4.0, 65_535.0, 1e9] {
            let scale = MapScale::for_maximum(maximum, MapOf::Difference);
            assert!(scale.text.len() <= 16, "{}", scale.text);
            if maximum > 0.0 {
                assert_eq!(scale.store(maximum), 65_535, "{maximum}");
            }
            for part in [0.0f32, 0.25, 0.5, 0.9] {
                let value = maximum * part;
                let back = f64::from(scale.store(value)) * scale.slope;
                let error = (back - f64::from(value)).abs();
                assert!(error <= scale.slope * 0.51, "{value} of {maximum} came back as {back}");
            }
        }
    }
}
