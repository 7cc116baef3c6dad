//! The anomaly mask, as a derived image of the source's modality: 1 inside, 0 outside.

use dicom_core::VR;
use dicom_dictionary_std::{tags, uids};
use ndarray::ArrayView2;

use super::derived::{Draft, Kind, check_shape};
use super::{Provenance, Written};
use crate::error::WriteError;
use crate::read::SourceSlice;

const OBJECT: &str = "mask";

/// Writes the mask of one slice, [H, W]. `threshold` says in words how it was made, e.g. `Otsu, 256 bins: map > 0.31`.
///
/// Errors: [`WriteError`].
pub fn mask(
    slice: &SourceSlice,
    mask: ArrayView2<'_, bool>,
    threshold: &str,
    provenance: &Provenance,
) -> Result<Written, WriteError> {
    check_shape(OBJECT, slice, &mask)?;
    let kind = Kind {
        word: OBJECT,
        channel: None,
        title: "Anomaly mask",
        series_number: 9002,
        derivation: ["113076", "DCM", "Segmentation"],
        how: format!("1 where the anomaly map is above a threshold ({threshold}), else 0."),
    };
    let mut draft = Draft::image(slice, kind, provenance);
    if slice.sources[0].single_frame_class() != uids::MR_IMAGE_STORAGE {
        draft.unspecified_units("1");
    }
    // LINEAR with width 1 shows 0 as black and 1 as white (PS3.3 C.11.2.1.2.1).
    draft.text(tags::WINDOW_CENTER, VR::DS, "0.5");
    draft.text(tags::WINDOW_WIDTH, VR::DS, "1");
    draft.grey("MONOCHROME2", 16, 16, false, mask.iter().map(|&set| u16::from(set)).collect());
    draft.finish()
}
