//! Regular grids of voxels in the patient.

use std::sync::Arc;

use dicom_dictionary_std::tags;

use super::Source;
use crate::attributes::numbers;

/// A slice may lie this far, in slice distances, from where evenly spaced slices would.
pub(super) const UNEVEN: f64 = 0.1;

/// A stack as a lattice: the voxel [k, r, c] lies at origin + k·step + r·down + c·across, mm in patient coordinates.
/// The step need not be perpendicular to the slices, as in a stack of a tilted gantry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lattice {
    pub origin: [f64; 3],
    pub step: [f64; 3],
    pub down: [f64; 3],
    pub across: [f64; 3],
    /// Slices, rows, columns.
    pub size: [usize; 3],
}

impl Lattice {
    /// The lattice of a sorted stack; none where it does not say where it lies, or its slices are not even.
    pub fn of(stack: &[Arc<Source>]) -> Option<Self> {
        let first = &stack[0].geometry;
        let (o, [row, column], origin) = (first.orientation?, first.spacing?, first.position?);
        let across = [o[0], o[1], o[2]].map(|v| v * column);
        let down = [o[3], o[4], o[5]].map(|v| v * row);
        let n = stack.len();
        let step = if n > 1 {
            let last = stack[n - 1].geometry.position?;
            [0, 1, 2].map(|i| (last[i] - origin[i]) / (n - 1) as f64)
        } else {
            let thickness = numbers::<1>(&stack[0].object, tags::SLICE_THICKNESS).ok().flatten();
            let thickness = thickness.map_or(1.0, |[v]| v).max(1e-3);
            cross([o[0], o[1], o[2]], [o[3], o[4], o[5]]).map(|v| v * thickness)
        };
        let length = dot(step, step).sqrt();
        for (k, slice) in stack.iter().enumerate() {
            let position = slice.geometry.position?;
            let off = [0, 1, 2].map(|i| position[i] - origin[i] - k as f64 * step[i]);
            if dot(off, off).sqrt() > UNEVEN * length {
                return None;
            }
        }
        Some(Self { origin, step, down, across, size: [n, first.size[0], first.size[1]] })
    }

    /// Where a voxel lies, in mm.
    pub fn place(&self, [k, r, c]: [f64; 3]) -> [f64; 3] {
        [0, 1, 2].map(|i| self.origin[i] + k * self.step[i] + r * self.down[i] + c * self.across[i])
    }

    /// The voxel [k, r, c], between whole ones, that lies at a place: the inverse of [`Lattice::place`], by Cramer's rule.
    pub fn voxel(&self, place: [f64; 3]) -> [f64; 3] {
        let d = [0, 1, 2].map(|i| place[i] - self.origin[i]);
        let volume = dot(self.step, cross(self.down, self.across));
        [
            dot(d, cross(self.down, self.across)) / volume,
            dot(self.step, cross(d, self.across)) / volume,
            dot(self.step, cross(self.down, d)) / volume,
        ]
    }

    /// Whether it spans space.
    pub fn is_sound(&self) -> bool {
        let volume = dot(self.step, cross(self.down, self.across)).abs();
        let sides = [self.step, self.down, self.across].map(|v| dot(v, v).sqrt());
        // A step nearly within the slice is no stack.
        volume > 0.1 * sides.iter().product::<f64>() && volume.is_finite()
    }
}

pub(super) fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

pub(super) fn cross(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}
