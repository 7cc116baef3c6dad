//! What a stored value of a map is worth.

use super::MapOf;
use crate::attributes::decimal;

/// The largest stored value.
const HIGHEST: f64 = 65_535.0;

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

    /// What the map's values are.
    pub(super) fn of(&self) -> MapOf {
        self.of
    }

    /// What one stored unit of 16 bits is worth.
    pub(super) fn slope(&self) -> f64 {
        self.slope
    }

    /// The slope, as it is written.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The value of the largest stored one.
    pub(super) fn maximum(&self) -> f64 {
        self.slope * HIGHEST
    }

    /// The stored value nearest to `value` ≥ 0.
    pub(super) fn store(&self, value: f32) -> u16 {
        self.store_up_to(value, HIGHEST)
    }

    /// The stored value nearest to `value` ≥ 0 where the maximum is stored as `highest` ≤ 65,535.
    pub(super) fn store_up_to(&self, value: f32, highest: f64) -> u16 {
        (f64::from(value) / self.maximum() * highest).round().min(highest) as u16
    }
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
