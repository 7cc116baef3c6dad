//! The pseudo-healthy reconstruction, as a derived image of the source's modality.

use ndarray::ArrayView2;

use super::{Provenance, Written};
use crate::error::WriteError;
use crate::read::SourceSlice;

/// Writes the reconstruction of one channel. `pixels`: [H, W] in the source's units, as [`SourceSlice::pixels`].
/// Values are taken back to stored values and clamped to what the source's Bits Stored can hold; where they equal
/// the source's the stored values do, too.
///
/// Errors: [`WriteError`].
pub fn reconstruction(
    slice: &SourceSlice,
    channel: usize,
    channel_name: &str,
    pixels: ArrayView2<'_, f32>,
    provenance: &Provenance,
) -> Result<Written, WriteError> {
    todo!("{slice:?} {channel} {channel_name} {pixels:?} {provenance:?}")
}
