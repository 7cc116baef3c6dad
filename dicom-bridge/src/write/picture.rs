//! The picture for people, as a Secondary Capture image (RGB, 8 bit).

use image::RgbImage;

use super::{Provenance, Written};
use crate::error::WriteError;
use crate::read::SourceSlice;

/// Writes a picture of one slice, of any size. The words "NOT FOR DIAGNOSTIC USE" must already be drawn in it:
/// Burned In Annotation says so.
///
/// Errors: [`WriteError`].
pub fn picture(
    slice: &SourceSlice,
    picture: &RgbImage,
    provenance: &Provenance,
) -> Result<Written, WriteError> {
    todo!("{slice:?} {picture:?} {provenance:?}")
}
