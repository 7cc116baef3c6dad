//! The frames of a multi-frame object: where each lies, what it was made of, and how they are indexed
//! (PS3.3 C.7.6.16, C.7.6.17).

use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

use super::Frame;
use super::copy;
use super::derived::{Draft, NOT_DIAGNOSTIC};
use super::describe::{source_image, sources};
use super::element::{code, decimals, item, items, plain, put, short};
use super::modality::frame_of_reference;
use crate::attributes::{decimal, numbers, text};
use crate::read::{Source, SourceSlice};

/// Neighbours are evenly spaced where their distances differ by no more than this part: positions are often written
/// with few digits.
const EVEN: f64 = 1e-3;

/// The slices of frames.
pub(super) fn slices_of<'a, T>(frames: &[Frame<'a, T>]) -> Vec<&'a SourceSlice> {
    frames.iter().map(|(slice, _)| *slice).collect()
}

/// Where the slices of a stack lie in the patient.
pub(super) struct Place {
    frame_of_reference: String,
    orientation: [f64; 6],
    spacing: [f64; 2],
    /// One a slice.
    positions: Vec<[f64; 3]>,
    thickness: Option<f64>,
    /// Distance along the normal, where it is the same between all neighbours.
    between: Option<f64>,
}

impl Place {
    /// The place of slices, or the name of the first attribute that is missing for it: a radiograph has none.
    pub fn of(slices: &[&SourceSlice]) -> Result<Self, &'static str> {
        let source = &*slices[0].sources[0];
        let grid = &source.geometry;
        let orientation = grid.orientation.ok_or("Image Orientation (Patient) (0020,0037)")?;
        let position = |slice: &&SourceSlice| slice.sources[0].geometry.position;
        let positions: Option<Vec<_>> = slices.iter().map(position).collect();
        let positions = positions.ok_or("Image Position (Patient) (0020,0032)")?;
        let spacing = grid.spacing.ok_or("Pixel Spacing (0028,0030)")?;
        let between = between(slices);
        let thickness = numbers::<1>(&source.object, tags::SLICE_THICKNESS).ok().flatten().map(|[t]| t);
        let thickness = thickness.filter(|t| *t > 0.0).or(between);
        let frame_of_reference = frame_of_reference(source);
        Ok(Self { frame_of_reference, orientation, spacing, positions, thickness, between })
    }

    /// Pixel Measures and Plane Orientation, which all frames share.
    fn shared(&self, groups: &mut InMemDicomObject) {
        let measures = item(|item| {
            decimals(item, tags::PIXEL_SPACING, &self.spacing);
            for (tag, value) in
                [(tags::SLICE_THICKNESS, self.thickness), (tags::SPACING_BETWEEN_SLICES, self.between)]
            {
                if let Some(value) = value {
                    put(item, tag, VR::DS, &decimal(value));
                }
            }
        });
        items(groups, tags::PIXEL_MEASURES_SEQUENCE, vec![measures]);
        let plane = item(|item| decimals(item, tags::IMAGE_ORIENTATION_PATIENT, &self.orientation));
        items(groups, tags::PLANE_ORIENTATION_SEQUENCE, vec![plane]);
    }
}

fn between(slices: &[&SourceSlice]) -> Option<f64> {
    let places: Option<Vec<f64>> = slices.iter().map(|slice| slice.sources[0].geometry.place()).collect();
    let distances: Vec<f64> = places?.windows(2).map(|pair| (pair[1] - pair[0]).abs()).collect();
    let mean = distances.iter().sum::<f64>() / distances.len() as f64;
    let even = mean > 0.0 && distances.iter().all(|d| (d - mean).abs() <= EVEN * mean);
    even.then_some(mean)
}

/// What frames are told apart by.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Dimension {
    /// The segment, of which there is one.
    Segment,
    /// The position along the normal.
    Position,
}

impl Dimension {
    /// The attribute, the functional group that holds it, and its name.
    fn pointers(self) -> (Tag, Tag, &'static str) {
        match self {
            Self::Segment => (
                tags::REFERENCED_SEGMENT_NUMBER,
                tags::SEGMENT_IDENTIFICATION_SEQUENCE,
                "Referenced Segment Number",
            ),
            Self::Position => {
                (tags::IMAGE_POSITION_PATIENT, tags::PLANE_POSITION_SEQUENCE, "Image Position (Patient)")
            }
        }
    }
}

impl Draft<'_> {
    /// Frame of reference, dimensions and functional groups. `shared` holds what else all frames share; `place` is
    /// none for radiographs. Frames of a segmentation name their segment.
    pub(super) fn frames(&mut self, place: Option<&Place>, segment: bool, mut shared: InMemDicomObject) {
        // No part of objects made of frames: where it can be told, it is told of the frames.
        for tag in [tags::LATERALITY, tags::IMAGE_LATERALITY] {
            self.object.remove_element(tag);
        }
        let mut dimensions = Vec::new();
        if segment {
            dimensions.push(Dimension::Segment);
        }
        if let Some(place) = place {
            dimensions.push(Dimension::Position);
            place.shared(&mut shared);
            self.text(tags::FRAME_OF_REFERENCE_UID, VR::UI, &place.frame_of_reference);
            copy::attributes(self.source, &[tags::POSITION_REFERENCE_INDICATOR], &mut self.object);
            self.empty_if_absent(tags::POSITION_REFERENCE_INDICATOR, VR::LO);
        }
        self.dimensions(&dimensions);
        self.sequence(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, vec![shared]);
        let frames = (0..self.slices.len()).map(|frame| self.frame(frame, place, &dimensions)).collect();
        self.sequence(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, frames);
    }

    /// Frame Anatomy (PS3.3 C.7.6.16.2.8): what the source says, and where it says nothing, no more than that it is a
    /// part of a body that has no side.
    pub(super) fn anatomy(&self) -> InMemDicomObject {
        let side = [tags::LATERALITY, tags::IMAGE_LATERALITY]
            .into_iter()
            .find_map(|tag| text(&self.source.object, tag));
        let side = side.filter(|s| ["R", "L", "B"].contains(&s.as_str()));
        item(|item| {
            put(item, tags::FRAME_LATERALITY, VR::CS, side.as_deref().unwrap_or("U"));
            copy::attributes(self.source, &[tags::ANATOMIC_REGION_SEQUENCE], item);
            let named = item.get(tags::ANATOMIC_REGION_SEQUENCE).and_then(|e| e.items());
            if named.is_none_or(|regions| regions.len() != 1) {
                let body = vec![code("123037004", "SCT", "Body structure")];
                items(item, tags::ANATOMIC_REGION_SEQUENCE, body);
            }
        })
    }

    fn dimensions(&mut self, dimensions: &[Dimension]) {
        let uid = self.uid(&[b"dimension organization", self.images().as_bytes()]);
        let of = |item: &mut InMemDicomObject| put(item, tags::DIMENSION_ORGANIZATION_UID, VR::UI, &uid);
        self.sequence(tags::DIMENSION_ORGANIZATION_SEQUENCE, vec![item(of)]);
        let index = |dimension: &Dimension| {
            let (attribute, group, label) = dimension.pointers();
            item(|item| {
                of(item);
                for (tag, value) in
                    [(tags::DIMENSION_INDEX_POINTER, attribute), (tags::FUNCTIONAL_GROUP_POINTER, group)]
                {
                    item.put(DataElement::new(tag, VR::AT, PrimitiveValue::from(value)));
                }
                put(item, tags::DIMENSION_DESCRIPTION_LABEL, VR::LO, label);
            })
        };
        let indices = dimensions.iter().map(index).collect();
        self.sequence(tags::DIMENSION_INDEX_SEQUENCE, indices);
    }

    /// The functional groups of one frame.
    fn frame(&self, frame: usize, place: Option<&Place>, dimensions: &[Dimension]) -> InMemDicomObject {
        let values = dimensions.iter().map(|dimension| match dimension {
            Dimension::Segment => 1,
            Dimension::Position => frame as u32 + 1,
        });
        let values = PrimitiveValue::U32(values.collect());
        let content = item(|item| {
            item.put(DataElement::new(tags::DIMENSION_INDEX_VALUES, VR::UL, values));
        });
        let derivation = item(|item| {
            let source = |source: &Source| {
                let mut item = source_image(source);
                let preserved = if source.resampled { "NO" } else { "YES" };
                put(&mut item, tags::SPATIAL_LOCATIONS_PRESERVED, VR::CS, preserved);
                item
            };
            let sources = sources(&self.slices[frame..=frame]).into_iter().map(source).collect();
            items(item, tags::SOURCE_IMAGE_SEQUENCE, sources);
            let [value, scheme, meaning] = self.kind.derivation;
            items(item, tags::DERIVATION_CODE_SEQUENCE, vec![code(value, scheme, meaning)]);
            let description = format!("{NOT_DIAGNOSTIC}. {}", self.kind.how);
            put(item, tags::DERIVATION_DESCRIPTION, VR::ST, &plain(&description, 1024));
        });
        item(|groups| {
            items(groups, tags::FRAME_CONTENT_SEQUENCE, vec![content]);
            items(groups, tags::DERIVATION_IMAGE_SEQUENCE, vec![derivation]);
            if let Some(place) = place {
                let position =
                    item(|item| decimals(item, tags::IMAGE_POSITION_PATIENT, &place.positions[frame]));
                items(groups, tags::PLANE_POSITION_SEQUENCE, vec![position]);
            }
            if dimensions.contains(&Dimension::Segment) {
                let segment = item(|item| short(item, tags::REFERENCED_SEGMENT_NUMBER, 1));
                items(groups, tags::SEGMENT_IDENTIFICATION_SEQUENCE, vec![segment]);
            }
        })
    }
}
