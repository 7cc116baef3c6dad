//! What every derived object says of its patient, study, series, equipment and sources.

use std::collections::{BTreeMap, BTreeSet};

use dicom_core::VR;
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;

use super::copy;
use super::derived::{Draft, NOT_DIAGNOSTIC, image, instance};
use super::element::{code, item, items, plain, purpose, put};
use crate::attributes::text;
use crate::read::{MANUFACTURER, Source, SourceSlice};

impl Draft<'_> {
    /// Patient, study, series, equipment and derivation.
    pub(super) fn common(&mut self) {
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
        let number = if self.multi_frame { 1 } else { self.slices[0].index + 1 };
        self.text(tags::INSTANCE_NUMBER, VR::IS, &number.to_string());
        self.lossy(self.multi_frame);
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
        // The same channels in each slice.
        let all = &self.slices[0].sources;
        let resampled = match all.iter().filter(|source| source.resampled).count() {
            0 => String::new(),
            n => format!(" {n} of {} channels resampled onto the grid of the first (trilinear).", all.len()),
        };
        let description = format!(
            "{NOT_DIAGNOSTIC}. {}: {} {}; bundle {}, sha256 {}; {}.{note}{resampled}",
            self.kind.title, self.kind.how, p.tool, p.bundle, p.bundle_hash, p.parameters
        );
        self.text(tags::DERIVATION_DESCRIPTION, VR::ST, &plain(&description, 1024));
        let [value, scheme, meaning] = self.kind.derivation;
        self.sequence(tags::DERIVATION_CODE_SEQUENCE, vec![code(value, scheme, meaning)]);
        let sources = sources(&self.slices).into_iter().map(source_image).collect();
        self.sequence(tags::SOURCE_IMAGE_SEQUENCE, sources);
        self.sequence(tags::REFERENCED_SERIES_SEQUENCE, referenced_series(&self.slices));
    }

    /// Lossy Image Compression (0028,2110): once it was lossy, what is made of it is, too (PS3.3 C.7.6.1.1.5). Said
    /// where a source says so, or where it is `required`.
    pub(super) fn lossy(&mut self, required: bool) {
        let sources = sources(&self.slices);
        let says = |source: &&Source, word| {
            text(&source.object, tags::LOSSY_IMAGE_COMPRESSION).as_deref() == Some(word)
        };
        if let Some(lossy) = sources.iter().find(|s| says(s, "01")) {
            copy::attributes(lossy, copy::LOSSY, &mut self.object);
        } else if sources.iter().any(|s| ALWAYS_LOSSY.contains(&s.transfer_syntax.as_str())) {
            self.text(tags::LOSSY_IMAGE_COMPRESSION, VR::CS, "01");
        } else if required || sources.iter().any(|s| says(s, "00")) {
            self.text(tags::LOSSY_IMAGE_COMPRESSION, VR::CS, "00");
        }
    }
}

/// Transfer syntaxes that lose something whatever they hold.
const ALWAYS_LOSSY: [&str; 2] = [uids::JPEG_BASELINE8_BIT, uids::JPEG_EXTENDED12_BIT];

/// The sources of slices, each once: two channels may have been read from one image.
pub(super) fn sources<'a>(slices: &[&'a SourceSlice]) -> Vec<&'a Source> {
    let mut seen = BTreeSet::new();
    let all = slices.iter().flat_map(|slice| &slice.sources).map(|source| &**source);
    all.filter(|source| seen.insert(image(source))).collect()
}

/// The item of Source Image Sequence (0008,2112) for a source.
pub(super) fn source_image(source: &Source) -> InMemDicomObject {
    let mut item = purpose("121322", "Source image for image processing operation");
    refer(&mut item, source);
    if let Some(frame) = source.frame {
        put(&mut item, tags::REFERENCED_FRAME_NUMBER, VR::IS, &(frame + 1).to_string());
    }
    item
}

/// Items of Referenced Series Sequence (0008,1115), one a series of the sources, with each object once, whatever the
/// number of its frames.
fn referenced_series(slices: &[&SourceSlice]) -> Vec<InMemDicomObject> {
    let mut series = BTreeMap::<String, Vec<InMemDicomObject>>::new();
    let mut seen = BTreeSet::new();
    for source in sources(slices).into_iter().filter(|source| seen.insert(instance(source))) {
        let uid = text(&source.object, tags::SERIES_INSTANCE_UID).unwrap_or_default();
        series.entry(uid).or_default().push(item(|item| refer(item, source)));
    }
    let one = |(uid, instances): (String, _)| {
        item(|item| {
            items(item, tags::REFERENCED_INSTANCE_SEQUENCE, instances);
            put(item, tags::SERIES_INSTANCE_UID, VR::UI, &uid);
        })
    };
    series.into_iter().map(one).collect()
}

fn refer(item: &mut InMemDicomObject, source: &Source) {
    put(item, tags::REFERENCED_SOP_CLASS_UID, VR::UI, &source.sop_class);
    put(item, tags::REFERENCED_SOP_INSTANCE_UID, VR::UI, &instance(source));
}

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
