//! Regular grids of voxels in the patient: what stacks of slices, volumes and masks lie on.

use std::path::PathBuf;

use dicom_dictionary_std::tags;

use crate::attributes::numbers;
use crate::read::Source;

/// A slice may lie this far, in slice distances, from where evenly spaced slices would.
pub(crate) const UNEVEN: f64 = 0.1;

/// Where the voxels of a volume lie: voxel [k, r, c] (slice, row, column) at origin + k · step + r · down + c · across, in mm, patient
/// coordinates (to the left, to the back, to the head; PS3.3 C.7.6.2.1.1). The step need not be perpendicular to the
/// slices, as in a stack of a tilted gantry.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lattice {
    /// Centre of the first pixel of the first slice.
    pub origin: [f64; 3],
    /// From a slice to the next.
    pub step: [f64; 3],
    /// From a row to the next.
    pub down: [f64; 3],
    /// From a column to the next.
    pub across: [f64; 3],
    /// Slices, rows, columns.
    pub size: [usize; 3],
}

/// Why a stack has no such grid.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LatticeError {
    /// A slice that does not say where it lies.
    #[error("{attribute} is missing in {}, expected in each slice of a volume", path.display())]
    Unplaced {
        /// The file.
        path: PathBuf,
        /// Name and tag.
        attribute: &'static str,
    },
    /// Slices that do not follow each other in equal steps.
    #[error("{} lies {found:.3} mm from where equal steps would put it, expected {most:.3} mm at most", path.display())]
    Uneven {
        /// The file.
        path: PathBuf,
        /// How far off, in mm.
        found: f64,
        /// How far at most.
        most: f64,
    },
}

impl Lattice {
    /// The grid of slices in their order along the normal, at least one. The step of a single slice is its thickness, or 1 mm where
    /// that is not said.
    ///
    /// Errors: [`LatticeError`].
    pub fn of(slices: impl IntoIterator<Item = impl AsRef<Source>>) -> Result<Self, LatticeError> {
        let slices: Vec<_> = slices.into_iter().collect();
        let (first, n) = (slices[0].as_ref(), slices.len());
        let missing =
            |source: &Source, attribute| LatticeError::Unplaced { path: source.path.clone(), attribute };
        let [row, column] =
            first.geometry.spacing.ok_or_else(|| missing(first, "Pixel Spacing (0028,0030)"))?;
        let orientation = first.geometry.orientation;
        let o = orientation.ok_or_else(|| missing(first, "Image Orientation (Patient) (0020,0037)"))?;
        let (along_row, along_column) = ([o[0], o[1], o[2]], [o[3], o[4], o[5]]);
        let place = |source: &Source| {
            let position = source.geometry.position;
            position.ok_or_else(|| missing(source, "Image Position (Patient) (0020,0032)"))
        };
        let (origin, last) = (place(first)?, place(slices[n - 1].as_ref())?);
        let step = if n > 1 {
            [0, 1, 2].map(|i| (last[i] - origin[i]) / (n - 1) as f64)
        } else {
            let thickness = numbers::<1>(&first.object, tags::SLICE_THICKNESS).ok().flatten();
            let thickness = thickness.map(|[t]| t).filter(|t| *t > 0.0).unwrap_or(1.0);
            cross(along_row, along_column).map(|v| v * thickness)
        };
        let most = UNEVEN * dot(step, step).sqrt();
        for (k, slice) in slices.iter().map(AsRef::as_ref).enumerate() {
            let position = place(slice)?;
            let off = [0, 1, 2].map(|i| position[i] - origin[i] - k as f64 * step[i]);
            let found = dot(off, off).sqrt();
            if found > most {
                return Err(LatticeError::Uneven { path: slice.path.clone(), found, most });
            }
        }
        let (across, down) = (along_row.map(|v| v * column), along_column.map(|v| v * row));
        let [h, w] = first.geometry.size;
        Ok(Self { origin, step, down, across, size: [n, h, w] })
    }

    /// Where a voxel lies, in mm.
    pub(crate) fn place(&self, [k, r, c]: [f64; 3]) -> [f64; 3] {
        [0, 1, 2].map(|i| self.origin[i] + k * self.step[i] + r * self.down[i] + c * self.across[i])
    }

    /// The voxel [k, r, c], between whole ones, that lies at a place: the inverse of [`Lattice::place`], by Cramer's rule.
    pub(crate) fn voxel(&self, place: [f64; 3]) -> [f64; 3] {
        let d = [0, 1, 2].map(|i| place[i] - self.origin[i]);
        let volume = dot(self.step, cross(self.down, self.across));
        [
            dot(d, cross(self.down, self.across)) / volume,
            dot(self.step, cross(d, self.across)) / volume,
            dot(self.step, cross(self.down, d)) / volume,
        ]
    }

    /// Whether it spans space.
    pub(crate) fn is_sound(&self) -> bool {
        let volume = dot(self.step, cross(self.down, self.across)).abs();
        let sides = [self.step, self.down, self.across].map(|v| dot(v, v).sqrt());
        // A step nearly within the slice is no stack.
        volume > 0.1 * sides.iter().product::<f64>() && volume.is_finite()
    }
}

pub(crate) fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

pub(crate) fn cross(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}
