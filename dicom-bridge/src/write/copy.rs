//! What a derived object takes over from its source, byte for byte.

use dicom_core::header::Header;
use dicom_core::value::{DataSetSequence, Value};
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;
use dicom_object::mem::InMemElement;

use crate::read::Source;

/// General Study (PS3.3 C.7.2.1).
pub(super) const STUDY: &[Tag] = &[
    tags::STUDY_INSTANCE_UID,
    tags::STUDY_DATE,
    tags::STUDY_TIME,
    tags::STUDY_ID,
    tags::STUDY_DESCRIPTION,
    tags::ACCESSION_NUMBER,
    tags::REFERRING_PHYSICIAN_NAME,
    tags::REFERRING_PHYSICIAN_IDENTIFICATION_SEQUENCE,
    tags::CONSULTING_PHYSICIAN_NAME,
    tags::PHYSICIANS_OF_RECORD,
    tags::NAME_OF_PHYSICIANS_READING_STUDY,
    tags::PROCEDURE_CODE_SEQUENCE,
];

/// What part of the body, and how it lay.
pub(super) const BODY: &[Tag] = &[
    tags::LATERALITY,
    tags::IMAGE_LATERALITY,
    tags::BODY_PART_EXAMINED,
    tags::ANATOMIC_REGION_SEQUENCE,
    tags::PATIENT_POSITION,
    tags::PATIENT_ORIENTATION,
];

/// From where it was looked at: of images of the source's modality alone.
pub(super) const VIEW: &[Tag] = &[tags::VIEW_POSITION, tags::VIEW_CODE_SEQUENCE];

/// Frame of Reference, Image Plane and the spacing attributes: where each pixel lies.
pub(super) const GEOMETRY: &[Tag] = &[
    tags::FRAME_OF_REFERENCE_UID,
    tags::POSITION_REFERENCE_INDICATOR,
    tags::IMAGE_POSITION_PATIENT,
    tags::IMAGE_ORIENTATION_PATIENT,
    tags::SLICE_THICKNESS,
    tags::SPACING_BETWEEN_SLICES,
    tags::SLICE_LOCATION,
    tags::PIXEL_SPACING,
    tags::IMAGER_PIXEL_SPACING,
    tags::PIXEL_SPACING_CALIBRATION_TYPE,
    tags::PIXEL_SPACING_CALIBRATION_DESCRIPTION,
    tags::PIXEL_ASPECT_RATIO,
    tags::ESTIMATED_RADIOGRAPHIC_MAGNIFICATION_FACTOR,
];

/// How the source was acquired: the modality modules, which a derived image of the same modality has, too.
pub(super) const ACQUISITION: &[Tag] = &[
    tags::ACQUISITION_DATE,
    tags::ACQUISITION_TIME,
    tags::ACQUISITION_NUMBER,
    tags::PROTOCOL_NAME,
    tags::CONTRAST_BOLUS_AGENT,
    tags::CONTRAST_BOLUS_ROUTE,
    tags::BURNED_IN_ANNOTATION,
    // MR Image, C.8.3.1
    tags::SCANNING_SEQUENCE,
    tags::SEQUENCE_VARIANT,
    tags::SCAN_OPTIONS,
    tags::MR_ACQUISITION_TYPE,
    tags::SEQUENCE_NAME,
    tags::REPETITION_TIME,
    tags::ECHO_TIME,
    tags::ECHO_TRAIN_LENGTH,
    tags::ECHO_NUMBERS,
    tags::INVERSION_TIME,
    tags::TRIGGER_TIME,
    tags::NUMBER_OF_AVERAGES,
    tags::IMAGING_FREQUENCY,
    tags::IMAGED_NUCLEUS,
    tags::MAGNETIC_FIELD_STRENGTH,
    tags::NUMBER_OF_PHASE_ENCODING_STEPS,
    tags::PERCENT_SAMPLING,
    tags::PERCENT_PHASE_FIELD_OF_VIEW,
    tags::PIXEL_BANDWIDTH,
    tags::IN_PLANE_PHASE_ENCODING_DIRECTION,
    tags::FLIP_ANGLE,
    // CT Image, C.8.2.1
    tags::KVP,
    tags::DATA_COLLECTION_DIAMETER,
    tags::RECONSTRUCTION_DIAMETER,
    tags::DISTANCE_SOURCE_TO_DETECTOR,
    tags::DISTANCE_SOURCE_TO_PATIENT,
    tags::GANTRY_DETECTOR_TILT,
    tags::TABLE_HEIGHT,
    tags::ROTATION_DIRECTION,
    tags::EXPOSURE_TIME,
    tags::X_RAY_TUBE_CURRENT,
    tags::EXPOSURE,
    tags::FILTER_TYPE,
    tags::FOCAL_SPOTS,
    tags::CONVOLUTION_KERNEL,
    // CR Series and CR Image, C.8.1
    tags::PLATE_TYPE,
    tags::PHOSPHOR_TYPE,
    tags::SENSITIVITY,
    // DX Series, Image, Detector and Positioning, C.8.11
    tags::PRESENTATION_INTENT_TYPE,
    tags::POSITIONER_TYPE,
    tags::DETECTOR_TYPE,
    tags::DETECTOR_CONFIGURATION,
    tags::DETECTOR_ID,
    tags::FIELD_OF_VIEW_SHAPE,
    tags::FIELD_OF_VIEW_DIMENSIONS,
    tags::FIELD_OF_VIEW_ORIGIN,
    tags::FIELD_OF_VIEW_ROTATION,
    tags::FIELD_OF_VIEW_HORIZONTAL_FLIP,
    tags::PATIENT_ORIENTATION_CODE_SEQUENCE,
    tags::ACQUISITION_CONTEXT_SEQUENCE,
    tags::PIXEL_INTENSITY_RELATIONSHIP,
    tags::PIXEL_INTENSITY_RELATIONSHIP_SIGN,
];

/// How the source was compressed, with loss.
pub(super) const LOSSY: &[Tag] = &[
    tags::LOSSY_IMAGE_COMPRESSION,
    tags::LOSSY_IMAGE_COMPRESSION_RATIO,
    tags::LOSSY_IMAGE_COMPRESSION_METHOD,
];

/// Rescale and VOI: how stored values become values, and values grey levels.
pub(super) const VALUES: &[Tag] = &[
    tags::RESCALE_INTERCEPT,
    tags::RESCALE_SLOPE,
    tags::RESCALE_TYPE,
    tags::WINDOW_CENTER,
    tags::WINDOW_WIDTH,
    tags::WINDOW_CENTER_WIDTH_EXPLANATION,
    tags::VOILUT_FUNCTION,
    tags::VOILUT_SEQUENCE,
    tags::PRESENTATION_LUT_SHAPE,
];

/// Which stored values stand for "no pixel here".
pub(super) const PADDING: &[Tag] = &[tags::PIXEL_PADDING_VALUE, tags::PIXEL_PADDING_RANGE_LIMIT];

/// Copies attributes, where the source has them.
pub(super) fn attributes(source: &Source, which: &[Tag], to: &mut InMemDicomObject) {
    for &tag in which {
        if let Some(element) = source.object.get(tag) {
            to.put(raw(element));
        }
    }
}

/// Copies the Patient, Patient Study and Clinical Trial modules (groups 0010 and 0012) and the character set
/// they are written in.
pub(super) fn patient(source: &Source, to: &mut InMemDicomObject) {
    for element in source.object.iter() {
        if [0x0010, 0x0012].contains(&element.tag().group()) {
            to.put(raw(element));
        }
    }
    if let Some(charset) = &source.charset {
        to.put(DataElement::new(
            tags::SPECIFIC_CHARACTER_SET,
            VR::CS,
            PrimitiveValue::U8(charset.iter().copied().collect()),
        ));
    }
}

/// An element whose text is bytes, so that the encoder cannot touch it: text was read one character a byte.
pub(super) fn raw(element: &InMemElement) -> InMemElement {
    let header = element.header();
    let value = match element.value() {
        Value::Sequence(sequence) => {
            let items = sequence.items().iter();
            let items = items.map(|item| InMemDicomObject::from_element_iter(item.iter().map(raw)));
            return DataElement::new(
                header.tag,
                header.vr(),
                DataSetSequence::from(items.collect::<Vec<_>>()),
            );
        }
        // DS and IS are plain ASCII, and the encoder writes bytes under these VRs as numbers.
        _ if [VR::DS, VR::IS, VR::UI].contains(&header.vr()) => return element.clone(),
        Value::Primitive(PrimitiveValue::Str(text)) => bytes(text),
        Value::Primitive(PrimitiveValue::Strs(texts)) => bytes(&texts.join("\\")),
        Value::Primitive(_) | Value::PixelSequence(_) => return element.clone(),
    };
    DataElement::new(header.tag, header.vr(), value)
}

fn bytes(text: &str) -> PrimitiveValue {
    let mut bytes: Vec<u8> = text.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect();
    if bytes.len() % 2 == 1 {
        bytes.push(b' ');
    }
    PrimitiveValue::U8(bytes.into())
}
