//! The pseudo-healthy reconstruction, as a derived image of the source's modality.

use dicom_dictionary_std::{tags, uids};
use ndarray::ArrayView2;

use super::copy;
use super::derived::{Draft, Kind, check_shape};
use super::{Provenance, Written};
use crate::attributes::text;
use crate::error::WriteError;
use crate::read::{Encoding, SourceSlice};

const OBJECT: &str = "reconstruction";

/// Writes the reconstruction of one channel. `pixels`: [H, W] in the source's units, as [`SourceSlice::pixels`].
/// Values are taken back to stored values and clamped to what the source's Bits Stored can hold; where they equal
/// the source's the stored values do, too. Padding stays as it is. Of a source with a Modality LUT the values
/// themselves are stored.
///
/// Errors: [`WriteError`].
pub fn reconstruction(
    slice: &SourceSlice,
    channel: usize,
    channel_name: &str,
    pixels: ArrayView2<'_, f32>,
    provenance: &Provenance,
) -> Result<Written, WriteError> {
    let channels = slice.sources.len();
    let Some(source) = slice.sources.get(channel) else {
        return Err(WriteError::Channel { object: OBJECT, found: channel, expected: channels });
    };
    check_shape(OBJECT, slice, &pixels)?;
    if let Some(((r, c), &found)) = pixels.indexed_iter().find(|(_, v)| !v.is_finite()) {
        return Err(WriteError::Value { object: OBJECT, index: [r, c], found, expected: "a finite number" });
    }
    let encoding =
        Encoding::of(source).map_err(|e| WriteError::Encode { object: OBJECT, cause: e.to_string() })?;
    let by_table = encoding.table.is_some();
    let encoding = encoding.written();
    let kind = Kind {
        word: OBJECT,
        channel: Some((channel, channel_name)),
        title: "Pseudo-healthy",
        series_number: 9010 + channel,
        // CID 7203 has no code for it, and is extensible.
        derivation: ["PHREC", "99ANOMALENS", "Pseudo-healthy reconstruction"],
        how: "source image + change made by networks that take an image to the healthy class.".to_owned(),
    };
    let mut draft = Draft::image(slice, kind, provenance);
    copy::attributes(source, copy::VALUES, &mut draft.object);
    if by_table && source.single_frame_class() != uids::MR_IMAGE_STORAGE {
        draft.unspecified_units("1");
    } else if !by_table {
        copy::attributes(source, copy::PADDING, &mut draft.object);
    }
    let photometric = text(&source.object, tags::PHOTOMETRIC_INTERPRETATION).unwrap_or_default();
    // Negative values keep their low bits; Pixel Representation says that they are signed.
    let padded = |index| slice.padding.as_ref().is_some_and(|padding| padding[index]);
    let value = |((r, c), &new): ((usize, usize), &f32)| {
        let index = [channel, r, c];
        encoding.store(if padded(index) { slice.pixels[index] } else { new }) as u16
    };
    let words = pixels.indexed_iter().map(value).collect();
    draft.grey(
        &photometric,
        encoding.bits_allocated as u16,
        encoding.bits_stored as u16,
        encoding.signed,
        words,
    );
    draft.finish()
}
