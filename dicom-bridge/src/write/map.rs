//! The anomaly map, as a derived image of the source's modality.

use ndarray::ArrayView2;

use super::{Provenance, Written};
use crate::error::WriteError;
use crate::read::SourceSlice;

/// What one stored unit of a map is worth: one scale for a whole stack, so that slices can be compared.
#[derive(Debug, Clone, PartialEq)]
pub struct MapScale(String);

impl MapScale {
    /// The scale that brings `maximum` (over the stack, at least 0) to 65,535.
    pub fn for_maximum(maximum: f32) -> Self {
        todo!("{maximum}")
    }
}

/// Writes the map of one slice. `values`: [H, W], at least 0 (the sum over channels of |x − x₀|, in units of the
/// normalised image).
///
/// Errors: [`WriteError`].
pub fn map(
    slice: &SourceSlice,
    values: ArrayView2<'_, f32>,
    scale: &MapScale,
    provenance: &Provenance,
) -> Result<Written, WriteError> {
    todo!("{slice:?} {values:?} {scale:?} {provenance:?}")
}
