//! A lesion at a known place in the patient is found there again: stacks of any orientation go in, and the written
//! segmentation, read by the standard's formula (PS3.3 C.7.6.2.1.1) alone, has its centroid at the lesion.

mod common;

use anomalens_dicom_bridge::{Study, read, write};
use common::{SIDE, Slice, one_channel, provenance};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

type Vector = [f64; 3];

/// Between rows, between columns.
const SPACING: [f64; 2] = [2.0, 1.25];
const SLICES: usize = 9;
/// Radius of the lesion, a ball, in mm.
const RADIUS: f64 = 3.6;

/// A stack to be made.
struct Stack {
    name: &'static str,
    /// Of a row, of a column.
    orientation: [Vector; 2],
    /// From one slice to the next, in mm.
    step: Vector,
}

const SIN: f64 = 0.342_020_143;
const COS: f64 = 0.939_692_621;

fn stacks() -> Vec<Stack> {
    let stack = |name, row, column, step| Stack { name, orientation: [row, column], step };
    let (x, y, z) = ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]);
    let times = |v: Vector, factor: f64| v.map(|e| e * factor);
    // Turned about z, then about the new row.
    let (row, column) = ([COS, SIN, 0.0], [-SIN * COS, COS * COS, SIN]);
    vec![
        stack("axial", x, y, times(z, 2.5)),
        stack("sagittal", y, times(z, -1.0), times(x, 3.0)),
        stack("coronal", x, times(z, -1.0), times(y, 2.0)),
        stack("oblique", row, column, times(cross(row, column), 2.5)),
        stack("reversed", x, y, times(z, -2.5)),
        stack("feet first, turned", times(x, -1.0), times(y, -1.0), times(z, 2.5)),
        // The slices lean, the stack goes straight on: 2.5 mm in z are 2.35 mm along the normal.
        stack("tilted gantry", x, [0.0, COS, SIN], times(z, 2.5)),
    ]
}

fn cross(a: Vector, b: Vector) -> Vector {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

/// The place of (slice, row, column), by the standard's formula.
fn place(position: Vector, [row, column]: [Vector; 2], spacing: [f64; 2], r: usize, c: usize) -> Vector {
    std::array::from_fn(|i| position[i] + row[i] * spacing[1] * c as f64 + column[i] * spacing[0] * r as f64)
}

fn distance(a: Vector, b: Vector) -> f64 {
    a.iter().zip(b).map(|(x, y)| (x - y).powi(2)).sum::<f64>().sqrt()
}

const ORIGIN: Vector = [-31.5, 12.25, 40.0];

impl Stack {
    fn position(&self, slice: usize) -> Vector {
        std::array::from_fn(|i| ORIGIN[i] + self.step[i] * slice as f64)
    }

    /// Where the lesion is: off the middle in every direction.
    fn lesion(&self) -> Vector {
        let inside = place(self.position(4), self.orientation, SPACING, 4, 4);
        std::array::from_fn(|i| inside[i] + 0.2 * self.step[i] + 0.3 * self.orientation[0][i])
    }

    /// The stack as files, in an order of their own, read back.
    fn study(&self) -> Study {
        let folder = tempfile::tempdir().unwrap();
        let join = |values: &[f64]| values.iter().map(|v| format!("{v:.9}")).collect::<Vec<_>>().join("\\");
        let lesion = self.lesion();
        for slice in 0..SLICES {
            let position = self.position(slice);
            let side = usize::from(SIDE);
            let pixel = |i: usize| {
                let there = place(position, self.orientation, SPACING, i / side, i % side);
                if distance(there, lesion) <= RADIUS { 1000 } else { 10 }
            };
            Slice::new("t1", slice as f64)
                .with(tags::IMAGE_POSITION_PATIENT, VR::DS, &join(&position))
                .with(tags::IMAGE_ORIENTATION_PATIENT, VR::DS, &join(self.orientation.as_flattened()))
                .with(tags::PIXEL_SPACING, VR::DS, &join(&SPACING))
                .pixels((0..side * side).map(pixel).collect())
                .save(&folder.path().join(format!("{}.dcm", slice * 4 % SLICES)));
        }
        read(folder.path(), &one_channel(), &[]).unwrap()
    }
}

/// What a reader sees of a segmentation.
struct Seen {
    orientation: [Vector; 2],
    spacing: [f64; 2],
    positions: Vec<Vector>,
    /// The pixels of all frames.
    pixels: Vec<bool>,
}

impl Seen {
    fn of(bytes: &[u8]) -> Self {
        let object = dicom_object::from_reader(bytes).unwrap();
        let items = |object: &InMemDicomObject, tag| object.element(tag).unwrap().items().unwrap().to_vec();
        let numbers = |group: &InMemDicomObject, sequence, tag: Tag| {
            items(group, sequence)[0].element(tag).unwrap().to_multi_float64().unwrap()
        };
        let shared = &items(&object, tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE)[0];
        let o = numbers(shared, tags::PLANE_ORIENTATION_SEQUENCE, tags::IMAGE_ORIENTATION_PATIENT);
        let s = numbers(shared, tags::PIXEL_MEASURES_SEQUENCE, tags::PIXEL_SPACING);
        let frames = items(&object, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE);
        let position = |frame| {
            numbers(frame, tags::PLANE_POSITION_SEQUENCE, tags::IMAGE_POSITION_PATIENT).try_into().unwrap()
        };
        let bytes = object.element(tags::PIXEL_DATA).unwrap().to_bytes().unwrap().into_owned();
        let count = frames.len() * usize::from(SIDE) * usize::from(SIDE);
        Self {
            orientation: [[o[0], o[1], o[2]], [o[3], o[4], o[5]]],
            spacing: [s[0], s[1]],
            positions: frames.iter().map(position).collect(),
            pixels: (0..count).map(|i| bytes[i / 8] >> (i % 8) & 1 == 1).collect(),
        }
    }

    fn centroid(&self) -> Vector {
        let side = usize::from(SIDE);
        let (mut sum, mut count) = ([0.0; 3], 0.0);
        for (i, _) in self.pixels.iter().enumerate().filter(|(_, set)| **set) {
            let (frame, r, c) = (i / (side * side), i / side % side, i % side);
            let there = place(self.positions[frame], self.orientation, self.spacing, r, c);
            sum = std::array::from_fn(|i| sum[i] + there[i]);
            count += 1.0;
        }
        sum.map(|s| s / count)
    }

    /// The largest part of a voxel that a place is off, along row, column and normal.
    fn off(&self, place: Vector, stack: &Stack) -> f64 {
        let dot = |a: Vector, b: Vector| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
        let difference: Vector = std::array::from_fn(|i| place[i] - stack.lesion()[i]);
        let [row, column] = stack.orientation;
        let normal = cross(row, column);
        let parts = [
            dot(difference, row) / SPACING[1],
            dot(difference, column) / SPACING[0],
            dot(difference, normal) / dot(stack.step, normal),
        ];
        parts.into_iter().map(f64::abs).fold(0.0, f64::max)
    }
}

#[test]
fn a_lesion_is_where_it_was() {
    for stack in stacks() {
        let study = stack.study();
        let masks: Vec<_> = study
            .slices
            .iter()
            .map(|s| s.pixels.index_axis(ndarray::Axis(0), 0).mapv(|v| v > 500.0))
            .collect();
        let frames: Vec<_> = study.slices.iter().zip(&masks).map(|(s, m)| (s, m.view())).collect();
        let written = write::segmentation(&frames, "value > 500", &provenance()).unwrap();
        let mut seen = Seen::of(&written.bytes);
        let off = seen.off(seen.centroid(), &stack);
        assert!(off < 0.5, "{}: off by {off} of a voxel", stack.name);
        // What a writer may do wrong is seen: spacing swapped, rows and columns swapped, one slice off.
        seen.spacing.reverse();
        assert!(seen.off(seen.centroid(), &stack) > 0.5, "{}: spacing swapped", stack.name);
        seen.spacing.reverse();
        seen.orientation.reverse();
        assert!(seen.off(seen.centroid(), &stack) > 0.5, "{}: rows and columns swapped", stack.name);
        seen.orientation.reverse();
        seen.positions.rotate_left(1);
        assert!(seen.off(seen.centroid(), &stack) > 0.5, "{}: one slice off", stack.name);
    }
}
