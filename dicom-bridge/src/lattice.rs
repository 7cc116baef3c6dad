//! The regular grid that a stack of slices lies on: what volume formats can say of a place.

use std::path::PathBuf;

use dicom_dictionary_std::tags;

use crate::attributes::numbers;
use crate::read::SourceSlice;

/// Where the pixels of a stack lie in the patient: pixel (column, row, slice) at origin + column · steps\[0\] + row ·
/// steps\[1\] + slice · steps\[2\], in mm, patient coordinates (to the left, to the back, to the head; PS3.3 C.7.6.2.1.1).
#[derive(Debug, Clone, PartialEq)]
pub struct Lattice {
    /// Centre of the first pixel of the first slice.
    pub origin: [f64; 3],
    /// From a column, a row and a slice to the next.
    pub steps: [[f64; 3]; 3],
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

/// A slice may lie this part of a step off its place.
const OFF: f64 = 0.1;

impl Lattice {
    /// The grid of slices, at least one, by the place of their first channel. The step of a single slice is its thickness,
    /// or 1 mm where that is not said.
    ///
    /// Errors: [`LatticeError`].
    pub fn of(slices: &[SourceSlice]) -> Result<Self, LatticeError> {
        let first = &*slices[0].sources[0];
        let grid = &first.geometry;
        let missing = |attribute| LatticeError::Unplaced { path: first.path.clone(), attribute };
        let [between_rows, between_columns] =
            grid.spacing.ok_or_else(|| missing("Pixel Spacing (0028,0030)"))?;
        let orientation =
            grid.orientation.ok_or_else(|| missing("Image Orientation (Patient) (0020,0037)"))?;
        let [along_row, along_column] = [0, 3].map(|at| [0, 1, 2].map(|axis| orientation[at + axis]));
        let mut positions = Vec::new();
        for slice in slices {
            let source = &slice.sources[0];
            let attribute = "Image Position (Patient) (0020,0032)";
            let unplaced = || LatticeError::Unplaced { path: source.path.clone(), attribute };
            positions.push((source, source.geometry.position.ok_or_else(unplaced)?));
        }
        let (origin, last) = (positions[0].1, positions[positions.len() - 1].1);
        let step = match positions.len() {
            1 => {
                let thickness = numbers::<1>(&first.object, tags::SLICE_THICKNESS).ok().flatten();
                let thickness = thickness.map(|[t]| t).filter(|t| *t > 0.0).unwrap_or(1.0);
                cross(along_row, along_column).map(|n| n * thickness)
            }
            n => [0, 1, 2].map(|axis| (last[axis] - origin[axis]) / (n - 1) as f64),
        };
        let most = OFF * length(step);
        for (slice, (source, position)) in positions.iter().enumerate() {
            let found =
                length([0, 1, 2].map(|axis| position[axis] - origin[axis] - slice as f64 * step[axis]));
            if found > most {
                return Err(LatticeError::Uneven { path: source.path.clone(), found, most });
            }
        }
        let steps = [along_row.map(|v| v * between_columns), along_column.map(|v| v * between_rows), step];
        Ok(Self { origin, steps })
    }
}

fn cross(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

fn length(v: [f64; 3]) -> f64 {
    v.iter().map(|x| x * x).sum::<f64>().sqrt()
}
