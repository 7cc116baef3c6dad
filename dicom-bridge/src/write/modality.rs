//! What a derived image of the source's modality has besides.

use dicom_core::{Tag, VR};
use dicom_dictionary_std::{tags, uids};

use super::derived::Draft;
use super::uid::uid;
use crate::attributes::text;
use crate::read::Source;

impl Draft<'_> {
    /// Attributes that the modality's IOD wants present although old sources lack them.
    pub(super) fn type_2_of_the_modality(&mut self) {
        let wanted: &[(Tag, VR)] = match self.source.single_frame_class() {
            uids::MR_IMAGE_STORAGE => &[
                (tags::SCAN_OPTIONS, VR::CS),
                (tags::MR_ACQUISITION_TYPE, VR::CS),
                (tags::REPETITION_TIME, VR::DS),
                (tags::ECHO_TIME, VR::DS),
                (tags::ECHO_TRAIN_LENGTH, VR::IS),
                (tags::SLICE_THICKNESS, VR::DS),
                (tags::PATIENT_POSITION, VR::CS),
            ],
            uids::CT_IMAGE_STORAGE => &[
                (tags::KVP, VR::DS),
                (tags::ACQUISITION_NUMBER, VR::IS),
                (tags::SLICE_THICKNESS, VR::DS),
                (tags::PATIENT_POSITION, VR::CS),
            ],
            uids::COMPUTED_RADIOGRAPHY_IMAGE_STORAGE => {
                &[(tags::BODY_PART_EXAMINED, VR::CS), (tags::VIEW_POSITION, VR::CS)]
            }
            // DX
            _ => &[
                (tags::ANATOMIC_REGION_SEQUENCE, VR::SQ),
                (tags::ACQUISITION_CONTEXT_SEQUENCE, VR::SQ),
                (tags::DETECTOR_TYPE, VR::CS),
                (tags::POSITIONER_TYPE, VR::CS),
            ],
        };
        for &(tag, vr) in wanted {
            self.empty_if_absent(tag, vr);
        }
        let slices =
            [uids::MR_IMAGE_STORAGE, uids::CT_IMAGE_STORAGE].contains(&self.source.single_frame_class());
        let named = text(&self.object, tags::FRAME_OF_REFERENCE_UID).is_some();
        if slices && !named {
            self.text(tags::FRAME_OF_REFERENCE_UID, VR::UI, &frame_of_reference(self.source));
        }
        if slices || named {
            self.empty_if_absent(tags::POSITION_REFERENCE_INDICATOR, VR::LO);
        }
    }
}

/// Frame of Reference UID (0020,0052). Slices must have one: where it is missing it is invented for the whole series,
/// so that its results lie in one frame.
pub(super) fn frame_of_reference(source: &Source) -> String {
    text(&source.object, tags::FRAME_OF_REFERENCE_UID).unwrap_or_else(|| {
        let series = text(&source.object, tags::SERIES_INSTANCE_UID).unwrap_or_default();
        uid(&[b"frame of reference", series.as_bytes()])
    })
}
