//! What all derived objects have in common.

use dicom_core::value::DataSetSequence;
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use ndarray::ArrayView2;
use sha2::{Digest, Sha256};

use super::copy;
use super::element::{code, plain, purpose, put, safe};
use super::uid::uid;
use super::{Provenance, Written};
use crate::attributes::{numbers, text};
use crate::error::WriteError;
use crate::read::{MANUFACTURER, Source, SourceSlice};

/// The words that every result carries.
const NOT_DIAGNOSTIC: &str = "NOT FOR DIAGNOSTIC USE";

/// A kind of result: what tells its series from the others of the same run.
pub(super) struct Kind<'a> {
    /// A word for errors and file names, e.g. `map`.
    pub word: &'static str,
    /// The channel it belongs to; none where it belongs to all.
    pub channel: Option<(usize, &'a str)>,
    /// What it is, for a person, e.g. `Anomaly map`.
    pub title: &'static str,
    /// Series Number (0020,0011).
    pub series_number: usize,
    /// Derivation code: value, scheme, meaning.
    pub derivation: [&'static str; 3],
    /// How it was made, in a sentence.
    pub how: String,
}

/// An object under construction.
pub(super) struct Draft<'a> {
    pub object: InMemDicomObject,
    source: &'a Source,
    slice: &'a SourceSlice,
    kind: Kind<'a>,
    provenance: &'a Provenance,
}

impl<'a> Draft<'a> {
    /// An image of the source's SOP class on the source's grid, without pixels.
    pub fn image(slice: &'a SourceSlice, kind: Kind<'a>, provenance: &'a Provenance) -> Self {
        let source = &*slice.sources[kind.channel.map_or(0, |(c, _)| c)];
        let mut draft = Self { object: InMemDicomObject::new_empty(), source, slice, kind, provenance };
        draft.common();
        let object = &mut draft.object;
        for list in [copy::GEOMETRY, copy::ACQUISITION] {
            copy::attributes(source, list, object);
        }
        for tag in [tags::PIXEL_SPACING, tags::IMAGER_PIXEL_SPACING] {
            // "Unknown", which must be absent.
            if numbers(object, tag) == Ok(Some([0.0, 0.0])) {
                object.remove_element(tag);
            }
        }
        draft.text(tags::SOP_CLASS_UID, VR::UI, source.single_frame_class());
        draft.text(tags::MODALITY, VR::CS, &text(&source.object, tags::MODALITY).unwrap_or_default());
        // The third value of a CT's Image Type is axial or localiser (C.8.2.1.1.1).
        let image_type = match source.single_frame_class() {
            uids::CT_IMAGE_STORAGE => "DERIVED\\SECONDARY\\AXIAL",
            uids::MR_IMAGE_STORAGE | uids::COMPUTED_RADIOGRAPHY_IMAGE_STORAGE => "DERIVED\\SECONDARY\\OTHER",
            // DX wants it empty (C.8.11.3.1.3).
            _ => "DERIVED\\SECONDARY\\",
        };
        draft.text(tags::IMAGE_TYPE, VR::CS, image_type);
        draft.type_2_of_the_modality();
        draft
    }

    /// A Secondary Capture of the slice, without pixels.
    pub fn capture(slice: &'a SourceSlice, kind: Kind<'a>, provenance: &'a Provenance) -> Self {
        let source = &*slice.sources[0];
        let mut draft = Self { object: InMemDicomObject::new_empty(), source, slice, kind, provenance };
        draft.common();
        draft.text(tags::SOP_CLASS_UID, VR::UI, uids::SECONDARY_CAPTURE_IMAGE_STORAGE);
        draft.text(tags::MODALITY, VR::CS, "OT");
        draft.text(tags::IMAGE_TYPE, VR::CS, "DERIVED\\SECONDARY\\OTHER");
        draft
    }

    /// Patient, study, series, equipment and derivation.
    fn common(&mut self) {
        copy::patient(self.source, &mut self.object);
        for list in [copy::STUDY, copy::BODY] {
            copy::attributes(self.source, list, &mut self.object);
        }
        for (tag, vr) in [
            (tags::PATIENT_NAME, VR::PN),
            (tags::PATIENT_ID, VR::LO),
            (tags::PATIENT_BIRTH_DATE, VR::DA),
            (tags::PATIENT_SEX, VR::CS),
            (tags::STUDY_DATE, VR::DA),
            (tags::STUDY_TIME, VR::TM),
            (tags::STUDY_ID, VR::SH),
            (tags::ACCESSION_NUMBER, VR::SH),
            (tags::REFERRING_PHYSICIAN_NAME, VR::PN),
            (tags::PATIENT_ORIENTATION, VR::CS),
        ] {
            self.empty_if_absent(tag, vr);
        }
        self.laterality();
        let p = self.provenance;
        let [date, time] = &p.created;
        for (tag, vr, value) in [
            (tags::INSTANCE_CREATION_DATE, VR::DA, date),
            (tags::INSTANCE_CREATION_TIME, VR::TM, time),
            (tags::SERIES_DATE, VR::DA, date),
            (tags::SERIES_TIME, VR::TM, time),
            (tags::CONTENT_DATE, VR::DA, date),
            (tags::CONTENT_TIME, VR::TM, time),
        ] {
            self.text(tag, vr, value);
        }
        let description = match self.kind.channel {
            Some((_, name)) => format!("{NOT_DIAGNOSTIC}: {} {name}", self.kind.title),
            None => format!("{NOT_DIAGNOSTIC}: {}", self.kind.title),
        };
        self.text(tags::SERIES_DESCRIPTION, VR::LO, &plain(&description, 64));
        self.text(tags::SERIES_NUMBER, VR::IS, &self.kind.series_number.to_string());
        self.text(tags::INSTANCE_NUMBER, VR::IS, &(self.slice.index + 1).to_string());
        self.equipment();
        self.derivation();
    }

    /// Laterality (0020,0060) is wanted, if only empty, where the body part is paired or not named, and forbidden
    /// where it is not paired or the side stands in the image (PS3.3 C.7.3.1).
    fn laterality(&mut self) {
        if text(&self.object, tags::LATERALITY).is_some() {
            return;
        }
        let part = text(&self.source.object, tags::BODY_PART_EXAMINED);
        let one_of_two = part.is_none_or(|part| PAIRED.contains(&part.as_str()));
        if one_of_two && self.object.get(tags::IMAGE_LATERALITY).is_none() {
            self.empty_if_absent(tags::LATERALITY, VR::CS);
        } else {
            self.object.remove_element(tags::LATERALITY);
        }
    }

    fn equipment(&mut self) {
        let p = self.provenance;
        let serial = plain(p.bundle_hash.get(..16).unwrap_or(&p.bundle_hash), 64);
        let ours = [
            (tags::MANUFACTURER, VR::LO, MANUFACTURER.to_owned()),
            (tags::MANUFACTURER_MODEL_NAME, VR::LO, plain(&p.bundle, 64)),
            // Which weights: the beginning of the bundle's hash.
            (tags::DEVICE_SERIAL_NUMBER, VR::LO, serial),
            (tags::SOFTWARE_VERSIONS, VR::LO, plain(&p.tool, 64)),
        ];
        let mut processing = purpose("109102", "Processing Equipment");
        for (tag, vr, value) in &ours {
            self.text(*tag, *vr, value);
            put(&mut processing, *tag, *vr, value);
        }
        put(&mut processing, tags::CONTRIBUTION_DATE_TIME, VR::DT, &p.created.concat());
        put(&mut processing, tags::CONTRIBUTION_DESCRIPTION, VR::ST, &plain(&self.kind.how, 1024));

        let mut acquisition = purpose("109101", "Acquisition Equipment");
        let tags_of_a_device = [
            tags::MANUFACTURER,
            tags::INSTITUTION_NAME,
            tags::STATION_NAME,
            tags::MANUFACTURER_MODEL_NAME,
            tags::DEVICE_SERIAL_NUMBER,
            tags::SOFTWARE_VERSIONS,
        ];
        copy::attributes(self.source, &tags_of_a_device, &mut acquisition);
        if text(&self.source.object, tags::MANUFACTURER).is_none() {
            put(&mut acquisition, tags::MANUFACTURER, VR::LO, "unknown");
        }
        self.sequence(tags::CONTRIBUTING_EQUIPMENT_SEQUENCE, vec![acquisition, processing]);
    }

    fn derivation(&mut self) {
        let p = self.provenance;
        let note = if p.note.is_empty() { String::new() } else { format!(" {}.", p.note) };
        let resampled = self.slice.sources.iter().filter(|s| s.resampled).count();
        let resampled = match resampled {
            0 => String::new(),
            n => {
                let all = self.slice.sources.len();
                format!(" {n} of {all} channels resampled onto the grid of the first (trilinear).")
            }
        };
        let description = format!(
            "{NOT_DIAGNOSTIC}. {}: {} {}; bundle {}, sha256 {}; {}.{note}{resampled}",
            self.kind.title, self.kind.how, p.tool, p.bundle, p.bundle_hash, p.parameters
        );
        self.text(tags::DERIVATION_DESCRIPTION, VR::ST, &plain(&description, 1024));
        let [value, scheme, meaning] = self.kind.derivation;
        self.sequence(tags::DERIVATION_CODE_SEQUENCE, vec![code(value, scheme, meaning)]);
        let mut seen = Vec::new();
        let mut sources = Vec::new();
        for source in &self.slice.sources {
            let uid = instance(source);
            let this = (uid.clone(), source.frame);
            if !seen.contains(&this) {
                let mut item = purpose("121322", "Source image for image processing operation");
                put(&mut item, tags::REFERENCED_SOP_CLASS_UID, VR::UI, &source.sop_class);
                put(&mut item, tags::REFERENCED_SOP_INSTANCE_UID, VR::UI, &uid);
                if let Some(frame) = source.frame {
                    put(&mut item, tags::REFERENCED_FRAME_NUMBER, VR::IS, &(frame + 1).to_string());
                }
                sources.push(item);
                seen.push(this);
            }
        }
        self.sequence(tags::SOURCE_IMAGE_SEQUENCE, sources);
    }

    /// Attributes that the modality's IOD wants present although old sources lack them.
    fn type_2_of_the_modality(&mut self) {
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
            // Slices must have one. Invented for the whole series, so that its results lie in one frame.
            let series = text(&self.source.object, tags::SERIES_INSTANCE_UID).unwrap_or_default();
            self.text(
                tags::FRAME_OF_REFERENCE_UID,
                VR::UI,
                &uid(&[b"frame of reference", series.as_bytes()]),
            );
        }
        if slices || named {
            self.empty_if_absent(tags::POSITION_REFERENCE_INDICATOR, VR::LO);
        }
    }

    fn empty_if_absent(&mut self, tag: Tag, vr: VR) {
        if self.object.get(tag).is_none() {
            let element = match vr {
                VR::SQ => DataElement::new(tag, vr, DataSetSequence::empty()),
                _ => DataElement::new(tag, vr, PrimitiveValue::Empty),
            };
            self.object.put(element);
        }
    }

    /// Puts text (ASCII) into the object.
    pub fn text(&mut self, tag: Tag, vr: VR, value: &str) {
        put(&mut self.object, tag, vr, value);
    }

    /// Puts an unsigned short into the object.
    pub fn short(&mut self, tag: Tag, value: u16) {
        self.object.put(DataElement::new(tag, VR::US, PrimitiveValue::from(value)));
    }

    /// Puts a sequence into the object.
    pub fn sequence(&mut self, tag: Tag, items: Vec<InMemDicomObject>) {
        self.object.put(DataElement::new(tag, VR::SQ, DataSetSequence::from(items)));
    }

    /// Puts grey pixels into the object: `words` are the low bits of the stored values, row by row.
    pub fn grey(&mut self, photometric: &str, allocated: u16, stored: u16, signed: bool, words: Vec<u16>) {
        let [h, w] = self.source.geometry.size;
        self.text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, photometric);
        for (tag, value) in [
            (tags::SAMPLES_PER_PIXEL, 1),
            (tags::ROWS, h as u16),
            (tags::COLUMNS, w as u16),
            (tags::BITS_ALLOCATED, allocated),
            (tags::BITS_STORED, stored),
            (tags::HIGH_BIT, stored - 1),
            (tags::PIXEL_REPRESENTATION, u16::from(signed)),
        ] {
            self.short(tag, value);
        }
        let element = if allocated == 8 {
            let bytes = words.iter().map(|w| *w as u8).collect();
            DataElement::new(tags::PIXEL_DATA, VR::OB, PrimitiveValue::U8(bytes))
        } else {
            DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(words.into()))
        };
        self.object.put(element);
    }

    /// The finished file.
    pub fn finish(mut self) -> Result<Written, WriteError> {
        let encode = |cause: String| WriteError::Encode { object: self.kind.word, cause };
        let p = self.provenance;
        let pixels = self.object.element(tags::PIXEL_DATA).map_err(|e| encode(e.to_string()))?;
        let digest = Sha256::digest(pixels.to_bytes().map_err(|e| encode(e.to_string()))?);
        // Frames of one object share its UID.
        let image = |s: &Source| s.frame.map_or_else(|| instance(s), |n| format!("{}#{n}", instance(s)));
        let instances: Vec<String> = self.slice.sources.iter().map(|s| image(s)).collect();
        let series: Vec<String> =
            self.slice.sources.iter().filter_map(|s| text(&s.object, tags::SERIES_INSTANCE_UID)).collect();
        let (instances, series) = (instances.join("\\"), series.join("\\"));
        let channel = self.kind.channel.map_or("", |(_, name)| name);
        let run = [&p.tool, &p.bundle_hash, &p.parameters, &p.note].map(|part| part.as_bytes());
        let kind = [self.kind.word.as_bytes(), self.kind.how.as_bytes(), channel.as_bytes()];
        let series_uid = uid(&[&[series.as_bytes()], &kind[..1], &kind[2..], &run[..]].concat());
        let uid = uid(&[&[instances.as_bytes()], &kind[..], &run[..], &[digest.as_slice()]].concat());
        self.text(tags::SERIES_INSTANCE_UID, VR::UI, &series_uid);
        self.text(tags::SOP_INSTANCE_UID, VR::UI, &uid);

        let encode = |cause: String| WriteError::Encode { object: self.kind.word, cause };
        let class = text(&self.object, tags::SOP_CLASS_UID).unwrap_or_default();
        let meta = FileMetaTableBuilder::new()
            .media_storage_sop_class_uid(class)
            .media_storage_sop_instance_uid(&uid)
            .transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN)
            .implementation_class_uid(IMPLEMENTATION)
            .implementation_version_name(concat!("ANOMALENS_", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| encode(e.to_string()))?;
        let mut bytes = Vec::new();
        self.object.with_exact_meta(meta).write_all(&mut bytes).map_err(|e| encode(e.to_string()))?;
        let number = self.slice.index + 1;
        let file_name = match self.kind.channel {
            Some((_, name)) => format!("{number:04}-{}-{}.dcm", self.kind.word, safe(name)),
            None => format!("{number:04}-{}.dcm", self.kind.word),
        };
        Ok(Written { sop_instance_uid: uid, series_instance_uid: series_uid, file_name, bytes })
    }
}

/// Implementation Class UID (PS3.7 D.3.3.2): 2.25 and a UUID drawn once for this program.
const IMPLEMENTATION: &str = "2.25.107759147780093882233239965658878043622";

/// Body parts of which there are two (PS3.16 Annex L), as Body Part Examined names them.
const PAIRED: [&str; 30] = [
    "ACJOINT",
    "ADRENAL",
    "ANKLE",
    "ARM",
    "AXILLA",
    "BREAST",
    "CALCANEUS",
    "CALF",
    "CLAVICLE",
    "EAR",
    "ELBOW",
    "EXTREMITY",
    "EYE",
    "FEMUR",
    "FINGER",
    "FOOT",
    "FOREARM",
    "HAND",
    "HIP",
    "HUMERUS",
    "KIDNEY",
    "KNEE",
    "LEG",
    "RADIUS",
    "SCAPULA",
    "SHOULDER",
    "THIGH",
    "TOE",
    "ULNA",
    "WRIST",
];

/// Checks that an array lies on the slice's grid.
pub(super) fn check_shape<T>(
    object: &'static str,
    slice: &SourceSlice,
    pixels: &ArrayView2<'_, T>,
) -> Result<(), WriteError> {
    let (found, expected) = ([pixels.nrows(), pixels.ncols()], slice.size());
    if found == expected {
        return Ok(());
    }
    Err(WriteError::Shape { object, found, expected, source_file: slice.sources[0].path.clone() })
}

fn instance(source: &Source) -> String {
    text(&source.object, tags::SOP_INSTANCE_UID).unwrap_or_default()
}
