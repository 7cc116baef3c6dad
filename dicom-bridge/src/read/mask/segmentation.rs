//! DICOM Segmentations (PS3.3 A.51) as masks.

use std::path::Path;

use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;
use ndarray::{Array3, Zip, s};

use super::super::file::{MANUFACTURER, load, name_of_class};
use super::super::multiframe;
use super::super::pixels::StoredPixels;
use super::{MaskError, Owner, PlacedMask};
use crate::attributes::{integer, numbers, text};
use crate::geometry::Geometry;
use crate::lattice::{Lattice, UNEVEN, cross, dot};

/// A share from which on a fractional segmentation counts as set.
const HALF: f64 = 0.5;
/// Two planes nearer than this, in mm, are one.
const SAME_PLACE: f64 = 0.01;

const A_SEGMENTATION: &str = "a DICOM Segmentation (BINARY, or FRACTIONAL) with a place for each frame, or a NIfTI file (.nii, .nii.gz)";
const EVEN: &str = "planes at whole steps of one distance; resample the segmentation to one grid first";

pub(super) fn read(path: &Path) -> Result<PlacedMask, MaskError> {
    let unusable = |found: String, expected| MaskError::Unusable { path: path.to_owned(), found, expected };
    let (object, _) = load(path)?;
    let syntax = object.meta().transfer_syntax().trim_end_matches('\0').to_owned();
    let mut object = object.into_inner();
    let class = text(&object, tags::SOP_CLASS_UID).unwrap_or_default();
    if class != uids::SEGMENTATION_STORAGE {
        return Err(unusable(name_of_class(&class), A_SEGMENTATION));
    }
    if text(&object, tags::MANUFACTURER).as_deref() == Some(MANUFACTURER) {
        return Err(unusable(
            format!("a result written by {MANUFACTURER} itself"),
            "a mask of the brain, which that is not",
        ));
    }
    let least = match text(&object, tags::SEGMENTATION_TYPE).as_deref() {
        Some("BINARY") => 1.0,
        Some("FRACTIONAL") => {
            let most = integer(&object, tags::MAXIMUM_FRACTIONAL_VALUE).filter(|most| *most > 0);
            let Some(most) = most else {
                return Err(unusable("FRACTIONAL without Maximum Fractional Value".into(), A_SEGMENTATION));
            };
            HALF * f64::from(most)
        }
        other => {
            return Err(unusable(format!("Segmentation Type {}", other.unwrap_or("none")), A_SEGMENTATION));
        }
    };
    let pixels = StoredPixels::of(path, &object, &syntax)?;
    object.take(tags::PIXEL_DATA);
    let frames = multiframe::split(path, &object)?;
    let geometries: Vec<Geometry> =
        frames.iter().map(|frame| Geometry::of(path, frame)).collect::<Result<_, _>>()?;
    for geometry in &geometries[1..] {
        if let Some((what, found, expected)) = geometry.differs(&geometries[0]) {
            return Err(unusable(format!("frames of two kinds: {what} {found} and {expected}"), EVEN));
        }
    }
    let places: Option<Vec<f64>> = geometries.iter().map(Geometry::place).collect();
    let lattice = places.as_deref().and_then(|places| lattice(&geometries, places, &frames[0]));
    let Some((lattice, planes)) = lattice else {
        let found = if places.is_none() { "frames that do not say where they lie" } else { "uneven planes" };
        return Err(unusable(found.into(), if places.is_none() { A_SEGMENTATION } else { EVEN }));
    };
    let mut voxels = Array3::from_elem(lattice.size, false);
    for (frame, plane) in planes.iter().enumerate() {
        let values = pixels.frame(frame)?;
        // Several segments may have a frame in one plane.
        let mut plane = voxels.slice_mut(s![*plane, .., ..]);
        let values = ndarray::ArrayView2::from_shape(plane.dim(), &values).expect("rows and columns");
        Zip::from(&mut plane).and(values).for_each(|set, value| *set |= *value >= least);
    }
    let segments = object.get(tags::SEGMENT_SEQUENCE).and_then(|e| e.items()).map_or(0, <[_]>::len);
    let [n, h, w] = lattice.size;
    let note = format!("{segments} segment(s), {} frame(s) in {n} plane(s) of {h} x {w}", frames.len());
    PlacedMask::new(path, voxels, lattice, Some(Owner::of(&object)), note)
}

/// The lattice of planes of which some may be missing, being empty, and the plane of each frame. None where they are not at
/// whole steps, or lack a spacing.
fn lattice(
    geometries: &[Geometry],
    places: &[f64],
    frame: &InMemDicomObject,
) -> Option<(Lattice, Vec<usize>)> {
    let (o, [row, column]) = (geometries[0].orientation?, geometries[0].spacing?);
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_by(|a, b| places[*a].total_cmp(&places[*b]));
    let (low, high) = (order[0], order[order.len() - 1]);
    let length = places[high] - places[low];
    let said = |tag| numbers::<1>(frame, tag).ok().flatten().map(|[mm]| mm.abs()).filter(|mm| *mm > 0.0);
    let gaps = order.windows(2).map(|pair| places[pair[1]] - places[pair[0]]).filter(|gap| *gap > SAME_PLACE);
    let nearest = gaps.min_by(f64::total_cmp);
    let distance = match (said(tags::SPACING_BETWEEN_SLICES), nearest) {
        // Said to the last digit, or not: planes are at whole steps of what is found.
        (Some(said), Some(found)) => found / (found / said).round().max(1.0),
        (Some(said), None) => said,
        (None, Some(found)) => found,
        (None, None) => said(tags::SLICE_THICKNESS).unwrap_or(1.0),
    };
    let steps = (length / distance).round();
    let [origin, last] = [geometries[low].position?, geometries[high].position?];
    let step = if steps > 0.0 {
        [0, 1, 2].map(|i| (last[i] - origin[i]) / steps)
    } else {
        cross([o[0], o[1], o[2]], [o[3], o[4], o[5]]).map(|v| v * distance)
    };
    let size = [steps as usize + 1, geometries[0].size[0], geometries[0].size[1]];
    let across = [o[0], o[1], o[2]].map(|v| v * column);
    let down = [o[3], o[4], o[5]].map(|v| v * row);
    let lattice = Lattice { origin, step, down, across, size };
    let planes = geometries.iter().zip(places).map(|(geometry, place)| {
        let plane = ((place - places[low]) / distance).round().clamp(0.0, steps);
        let (at, meant) = (geometry.position?, lattice.place([plane, 0.0, 0.0]));
        let off = [0, 1, 2].map(|i| at[i] - meant[i]);
        (dot(off, off) <= (UNEVEN * distance).powi(2)).then_some(plane as usize)
    });
    Some((lattice, planes.collect::<Option<_>>()?))
}
