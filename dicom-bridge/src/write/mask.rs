//! The anomaly mask, as a derived image of the source's modality: 1 inside, 0 outside.

use ndarray::ArrayView2;

use super::{Provenance, Written};
use crate::error::WriteError;
use crate::read::SourceSlice;

/// Writes the mask of one slice, [H, W]. `threshold` says in words how it was made, e.g. `Otsu, 256 bins: map > 0.31`.
///
/// Errors: [`WriteError`].
pub fn mask(
    slice: &SourceSlice,
    mask: ArrayView2<'_, bool>,
    threshold: &str,
    provenance: &Provenance,
) -> Result<Written, WriteError> {
    todo!("{slice:?} {mask:?} {threshold} {provenance:?}")
}
