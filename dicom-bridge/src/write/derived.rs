//! A derived object from its beginning to its bytes.

use dicom_core::value::DataSetSequence;
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use ndarray::ArrayView2;
use sha2::{Digest, Sha256};

use super::copy;
use super::element::{self, put, safe};
use super::uid::uid;
use super::{Provenance, Written};
use crate::attributes::{numbers, text};
use crate::error::WriteError;
use crate::read::{Source, SourceSlice};

/// The words that every result carries.
pub(super) const NOT_DIAGNOSTIC: &str = "NOT FOR DIAGNOSTIC USE";

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
    /// The source that it takes its patient, study and grid from.
    pub source: &'a Source,
    /// The slices that it shows, at least one.
    pub slices: Vec<&'a SourceSlice>,
    /// One object holds all slices of the stack, whatever their number.
    pub multi_frame: bool,
    pub kind: Kind<'a>,
    pub provenance: &'a Provenance,
}

impl<'a> Draft<'a> {
    /// An image of the source's SOP class on the source's grid, without pixels.
    pub fn image(slice: &'a SourceSlice, kind: Kind<'a>, provenance: &'a Provenance) -> Self {
        let source = &*slice.sources[kind.channel.map_or(0, |(c, _)| c)];
        let object = InMemDicomObject::new_empty();
        let mut draft = Self { object, source, slices: vec![slice], multi_frame: false, kind, provenance };
        draft.common();
        let object = &mut draft.object;
        for list in [copy::GEOMETRY, copy::VIEW, copy::ACQUISITION] {
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
        let object = InMemDicomObject::new_empty();
        let source = &*slice.sources[0];
        let mut draft = Self { object, source, slices: vec![slice], multi_frame: false, kind, provenance };
        draft.common();
        draft.text(tags::SOP_CLASS_UID, VR::UI, uids::SECONDARY_CAPTURE_IMAGE_STORAGE);
        draft.text(tags::MODALITY, VR::CS, "OT");
        draft
    }

    /// A multi-frame object of its own kind, one frame a slice, without pixels.
    ///
    /// Errors: [`WriteError::NoSlices`], [`WriteError::Shape`] for slices of different sizes.
    pub fn stack(
        slices: Vec<&'a SourceSlice>,
        kind: Kind<'a>,
        sop_class: &str,
        modality: &str,
        provenance: &'a Provenance,
    ) -> Result<Self, WriteError> {
        let Some(first) = slices.first() else { return Err(WriteError::NoSlices { object: kind.word }) };
        if let Some(other) = slices.iter().find(|slice| slice.size() != first.size()) {
            let source_file = other.sources[0].path.clone();
            let (found, expected) = (other.size(), first.size());
            return Err(WriteError::Shape { object: kind.word, found, expected, source_file });
        }
        let object = InMemDicomObject::new_empty();
        let source = &*first.sources[0];
        let mut draft = Self { object, source, slices, multi_frame: true, kind, provenance };
        draft.common();
        draft.text(tags::SOP_CLASS_UID, VR::UI, sop_class);
        draft.text(tags::MODALITY, VR::CS, modality);
        draft.text(tags::NUMBER_OF_FRAMES, VR::IS, &draft.slices.len().to_string());
        Ok(draft)
    }

    pub fn empty_if_absent(&mut self, tag: Tag, vr: VR) {
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
        element::short(&mut self.object, tag, value);
    }

    /// Puts a sequence into the object.
    pub fn sequence(&mut self, tag: Tag, items: Vec<InMemDicomObject>) {
        element::items(&mut self.object, tag, items);
    }

    /// Describes one grey image a frame, on the source's grid.
    pub fn grid(&mut self, photometric: &str, allocated: u16, stored: u16, signed: bool) {
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
    }

    /// Puts grey pixels into the object: `words` are the low bits of the stored values, row by row.
    pub fn grey(&mut self, photometric: &str, allocated: u16, stored: u16, signed: bool, words: Vec<u16>) {
        self.grid(photometric, allocated, stored, signed);
        let element = if allocated == 8 {
            let bytes = words.iter().map(|w| *w as u8).collect();
            DataElement::new(tags::PIXEL_DATA, VR::OB, PrimitiveValue::U8(bytes))
        } else {
            DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(words.into()))
        };
        self.object.put(element);
    }

    /// A UID that follows from `parts`, from what kind of result it is and from the run.
    pub fn uid(&self, parts: &[&[u8]]) -> String {
        let p = self.provenance;
        let channel = self.kind.channel.map_or("", |(_, name)| name);
        let run = [self.kind.word, channel, &p.tool, &p.bundle_hash, &p.parameters, &p.note];
        uid(&[parts, &run.map(str::as_bytes)].concat())
    }

    /// What tells all source images from others.
    pub fn images(&self) -> String {
        let sources = self.slices.iter().flat_map(|slice| &slice.sources);
        sources.map(|source| image(source)).collect::<Vec<_>>().join("\\")
    }

    /// The finished file.
    pub fn finish(mut self) -> Result<Written, WriteError> {
        let encode = |cause: String| WriteError::Encode { object: self.kind.word, cause };
        let pixels = self.object.get(tags::PIXEL_DATA).or(self.object.get(tags::FLOAT_PIXEL_DATA));
        let pixels = pixels.ok_or_else(|| encode("no pixel data".to_owned()))?;
        let digest = Sha256::digest(pixels.to_bytes().map_err(|e| encode(e.to_string()))?);
        let first = self.slices[0].sources.iter();
        let series: Vec<String> = first.filter_map(|s| text(&s.object, tags::SERIES_INSTANCE_UID)).collect();
        let series_uid = self.uid(&[b"series", series.join("\\").as_bytes()]);
        let uid =
            self.uid(&[b"instance", self.images().as_bytes(), self.kind.how.as_bytes(), digest.as_slice()]);
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
        let (word, number) = (self.kind.word, self.slices[0].index + 1);
        let file_name = match self.kind.channel {
            _ if self.multi_frame => format!("{word}.dcm"),
            Some((_, name)) => format!("{number:04}-{word}-{}.dcm", safe(name)),
            None => format!("{number:04}-{word}.dcm"),
        };
        Ok(Written { sop_instance_uid: uid, series_instance_uid: series_uid, file_name, bytes })
    }
}

/// Implementation Class UID (PS3.7 D.3.3.2): 2.25 and a UUID drawn once for this program.
const IMPLEMENTATION: &str = "2.25.107759147780093882233239965658878043622";

/// Checks that a map lies on the slice's grid, and that its values are finite and at least 0.
pub(super) fn check_map(
    object: &'static str,
    slice: &SourceSlice,
    values: &ArrayView2<'_, f32>,
) -> Result<(), WriteError> {
    check_shape(object, slice, values)?;
    match values.indexed_iter().find(|(_, v)| !(v.is_finite() && **v >= 0.0)) {
        None => Ok(()),
        Some(((r, c), &found)) => {
            let expected = "a finite number, at least 0";
            Err(WriteError::Value { object, index: [r, c], found, expected })
        }
    }
}

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

/// SOP Instance UID (0008,0018).
pub(super) fn instance(source: &Source) -> String {
    text(&source.object, tags::SOP_INSTANCE_UID).unwrap_or_default()
}

/// What tells a source image from others: frames of one object share its UID.
pub(super) fn image(source: &Source) -> String {
    source.frame.map_or_else(|| instance(source), |frame| format!("{}#{frame}", instance(source)))
}
