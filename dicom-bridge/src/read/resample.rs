//! A series of the same frame of reference on another grid, brought onto the reference channel's: trilinear, in the
//! coordinates of the patient.

use std::sync::Arc;

use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::tags;
use ndarray::{Array2, Array3};

use super::Source;
use super::plane::{Opened, Plane};
use crate::attributes::decimal;
use crate::error::ReadError;
use crate::lattice::Lattice;

/// At least this part of the reference grid must lie within the other series.
const COVERED: f64 = 0.5;

/// One channel on the reference grid.
pub(super) struct Resampled {
    /// One a reference slice: its attributes are those of the nearest slice, its place that of the reference slice.
    pub sources: Vec<Arc<Source>>,
    /// One a reference slice, until it is taken.
    planes: Vec<Option<Plane>>,
    /// What was done, in a sentence.
    pub decision: String,
}

impl Resampled {
    /// The plane of a reference slice; each is taken once.
    pub fn take(&mut self, index: usize) -> Plane {
        self.planes[index].take().expect("each slice is taken once")
    }
}

/// Decodes `stack` and resamples it onto the grid of `reference`, both sorted, of one patient and one frame of
/// reference. Outside of `stack` there is padding, of the value `floor`.
///
/// Errors: those of decoding; [`ReadError::Grid`] where a stack is no lattice or covers less than half of the reference.
pub(super) fn resample(
    channel: &str,
    stack: &[Arc<Source>],
    reference: &[Arc<Source>],
    floor: f32,
) -> Result<Resampled, ReadError> {
    let fail = |what, found: String, expected: String, remedy| ReadError::Grid {
        path: stack[0].path.clone(),
        other: reference[0].path.clone(),
        what,
        found: found.into(),
        expected: expected.into(),
        remedy,
    };
    let lattices = Lattice::of(stack).ok().zip(Lattice::of(reference).ok());
    let Some((from, to)) = lattices.filter(|(from, to)| from.is_sound() && to.is_sound()) else {
        let expected = "evenly spaced slices with position, orientation and spacing".into();
        let remedy = "resample the series to one grid first";
        return Err(fail("place of the slices", "none or uneven ones".into(), expected, remedy));
    };
    let volume = Volume::decode(stack)?;
    let [n, h, w] = to.size;
    let (mut planes, mut sources, mut covered) = (Vec::new(), Vec::new(), 0usize);
    for (k, slice) in reference.iter().enumerate() {
        let mut values = Array2::from_elem((h, w), floor);
        let mut padding = Array2::from_elem((h, w), false);
        for ((r, c), value) in values.indexed_iter_mut() {
            let voxel = from.voxel(to.place([k as f64, r as f64, c as f64]));
            match volume.at(voxel) {
                Some(found) => *value = found,
                None => padding[[r, c]] = true,
            }
        }
        let outside = padding.iter().filter(|p| **p).count();
        covered += h * w - outside;
        let middle = from.voxel(to.place([k as f64, (h - 1) as f64 / 2.0, (w - 1) as f64 / 2.0]))[0];
        let nearest = middle.round().clamp(0.0, (stack.len() - 1) as f64) as usize;
        sources.push(Arc::new(moved(&stack[nearest], slice)));
        let padding = (outside > 0).then_some(padding);
        planes.push(Some(Plane { values, padding, notes: Vec::new() }));
    }
    let part = covered as f64 / (n * h * w) as f64;
    if part < COVERED {
        let found = format!("{:.0} % covered", 100.0 * part);
        let remedy = "give a series that covers the same part of the body";
        return Err(fail("part of the reference channel's grid", found, "at least 50 %".into(), remedy));
    }
    let mut notes = volume.notes;
    notes.dedup();
    let notes: String = notes.iter().map(|note| format!("; {note}")).collect();
    let sizes = [from.size, to.size].map(|[n, h, w]| format!("{n} x {h} x {w}"));
    let decision = format!(
        "channel '{channel}': resampled from its own grid, {} voxels, onto the reference channel's, {}, trilinear in patient coordinates; {:.1} % of it covered, {floor} elsewhere{notes}",
        sizes[0],
        sizes[1],
        100.0 * part
    );
    Ok(Resampled { sources, planes, decision })
}

/// A decoded stack.
struct Volume {
    values: Array3<f32>,
    padding: Option<Array3<bool>>,
    notes: Vec<String>,
}

impl Volume {
    fn decode(stack: &[Arc<Source>]) -> Result<Self, ReadError> {
        let mut opened = Opened::default();
        let planes: Vec<Plane> =
            stack.iter().map(|source| opened.decode(source)).collect::<Result<_, _>>()?;
        let (values, padding) = super::plane::stack(&planes);
        Ok(Self { values, padding, notes: planes.into_iter().flat_map(|plane| plane.notes).collect() })
    }

    /// The value at [k, r, c]; none outside of the voxels, or where one that counts is padding.
    fn at(&self, voxel: [f64; 3]) -> Option<f32> {
        let size: [usize; 3] = self.values.dim().into();
        let mut low = [0; 3];
        let mut part = [0.0; 3];
        for i in 0..3 {
            let last = (size[i] - 1) as f64;
            // A voxel reaches half its side beyond its centre; rounding must not cut the edge off.
            if !(-0.5 - 1e-6..=last + 0.5 + 1e-6).contains(&voxel[i]) {
                return None;
            }
            let inside = voxel[i].clamp(0.0, last);
            low[i] = (inside.floor() as usize).min(size[i].saturating_sub(2));
            part[i] = inside - low[i] as f64;
        }
        let mut sum = 0.0;
        for corner in 0..8 {
            let bit = [corner >> 2 & 1, corner >> 1 & 1, corner & 1];
            let weight: f64 = (0..3).map(|i| if bit[i] == 1 { part[i] } else { 1.0 - part[i] }).product();
            if weight < 1e-9 {
                continue;
            }
            let index = [low[0] + bit[0], low[1] + bit[1], low[2] + bit[2]];
            if self.padding.as_ref().is_some_and(|padding| padding[index]) {
                return None;
            }
            sum += weight * f64::from(self.values[index]);
        }
        Some(sum as f32)
    }
}

/// `source` as if it had been cut where `place` lies.
fn moved(source: &Source, place: &Source) -> Source {
    let mut moved = source.clone();
    for tag in [
        tags::IMAGE_POSITION_PATIENT,
        tags::IMAGE_ORIENTATION_PATIENT,
        tags::PIXEL_SPACING,
        tags::SLICE_THICKNESS,
        tags::SPACING_BETWEEN_SLICES,
        tags::SLICE_LOCATION,
        tags::ROWS,
        tags::COLUMNS,
        tags::PATIENT_POSITION,
        tags::PATIENT_ORIENTATION,
    ] {
        match place.object.get(tag) {
            Some(element) => {
                moved.object.put(element.clone());
            }
            None => {
                moved.object.remove_element(tag);
            }
        }
    }
    // A spacing that stood under another name.
    if let (None, Some(spacing)) = (place.object.get(tags::PIXEL_SPACING), place.geometry.spacing) {
        let text = spacing.map(decimal).join("\\");
        moved.object.put(DataElement::new(tags::PIXEL_SPACING, VR::DS, PrimitiveValue::from(text)));
    }
    moved.geometry = place.geometry.clone();
    moved.resampled = true;
    moved
}
