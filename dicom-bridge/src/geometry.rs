//! Where a slice lies: grid, spacing, orientation and position (PS3.3 C.7.6.2).

use std::path::Path;

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

use crate::attributes::{integer, numbers, text};
use crate::error::ReadError;

/// Where a slice lies in the patient, as far as its object says.
#[derive(Debug, Clone, PartialEq)]
pub struct Geometry {
    /// Rows and columns.
    pub size: [usize; 2],
    /// Pixel Spacing (0028,0030), else Imager Pixel Spacing (0018,1164): mm between rows, mm between columns.
    pub spacing: Option<[f64; 2]>,
    /// Image Orientation (Patient) (0020,0037): direction of a row, direction of a column.
    pub orientation: Option<[f64; 6]>,
    /// Image Position (Patient) (0020,0032), mm: centre of the first pixel.
    pub position: Option<[f64; 3]>,
    /// Frame of Reference UID (0020,0052).
    pub frame_of_reference: Option<String>,
}

/// Direction cosines are written with six digits at least: unit length and right angle within this.
const COSINE: f64 = 1e-3;

impl Geometry {
    /// Takes the geometry out of a data set.
    ///
    /// Errors: [`ReadError::Attribute`] for a value that is no number, a spacing that is not positive, or an
    /// orientation that is no pair of perpendicular unit vectors.
    pub fn of(path: &Path, object: &InMemDicomObject) -> Result<Self, ReadError> {
        let fail = |attribute, found: String, expected: &str| ReadError::Attribute {
            path: path.to_owned(),
            attribute,
            found,
            expected: expected.to_owned(),
        };
        let side = |tag, attribute| {
            let n = integer(object, tag).unwrap_or(0);
            if n == 0 { Err(fail(attribute, "nothing".into(), "a number above 0")) } else { Ok(n as usize) }
        };
        let size = [side(tags::ROWS, "Rows (0028,0010)")?, side(tags::COLUMNS, "Columns (0028,0011)")?];

        let spacing_of = |tag: Tag, attribute| -> Result<Option<[f64; 2]>, ReadError> {
            let expected = "two positive numbers, in mm";
            let found = numbers::<2>(object, tag).map_err(|found| fail(attribute, found, expected))?;
            match found {
                // What some plate readers write for "unknown".
                Some([0.0, 0.0]) => Ok(None),
                Some(s) if s.iter().any(|v| *v <= 0.0) => Err(fail(attribute, format!("{s:?}"), expected)),
                found => Ok(found),
            }
        };
        let spacing = match spacing_of(tags::PIXEL_SPACING, "Pixel Spacing (0028,0030)")? {
            Some(spacing) => Some(spacing),
            None => spacing_of(tags::IMAGER_PIXEL_SPACING, "Imager Pixel Spacing (0018,1164)")?,
        };

        let attribute = "Image Orientation (Patient) (0020,0037)";
        let expected = "two perpendicular unit vectors; without them the stack's normal is unknown";
        let orientation = numbers::<6>(object, tags::IMAGE_ORIENTATION_PATIENT)
            .map_err(|found| fail(attribute, found, expected))?;
        if let Some(o) = orientation {
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
            let wrong = [dot(&o[..3], &o[..3]) - 1.0, dot(&o[3..], &o[3..]) - 1.0, dot(&o[..3], &o[3..])];
            if wrong.iter().any(|w| w.abs() > COSINE) {
                return Err(fail(attribute, format!("{o:?}"), expected));
            }
        }
        let position = numbers::<3>(object, tags::IMAGE_POSITION_PATIENT)
            .map_err(|found| fail("Image Position (Patient) (0020,0032)", found, "three numbers, in mm"))?;
        let frame_of_reference = text(object, tags::FRAME_OF_REFERENCE_UID);
        Ok(Self { size, spacing, orientation, position, frame_of_reference })
    }

    /// Place along the normal (row direction × column direction), in mm; none without position and orientation.
    pub fn place(&self) -> Option<f64> {
        let (o, p) = (self.orientation?, self.position?);
        let normal = [o[1] * o[5] - o[2] * o[4], o[2] * o[3] - o[0] * o[5], o[0] * o[4] - o[1] * o[3]];
        Some(normal.iter().zip(p).map(|(n, x)| n * x).sum())
    }

    /// What differs first between two grids, as (what, found, expected); position is not looked at.
    pub(crate) fn differs(&self, other: &Self) -> Option<(&'static str, String, String)> {
        let say = |what, a: &dyn std::fmt::Debug, b: &dyn std::fmt::Debug| {
            Some((what, format!("{a:?}"), format!("{b:?}")))
        };
        if self.size != other.size {
            return say("rows and columns", &self.size, &other.size);
        }
        if !close(&self.spacing, &other.spacing, SPACING) {
            return say("pixel spacing in mm", &self.spacing, &other.spacing);
        }
        if !close(&self.orientation, &other.orientation, ORIENTATION) {
            return say("orientation", &self.orientation, &other.orientation);
        }
        if self.frame_of_reference != other.frame_of_reference {
            // UIDs do not belong into messages.
            return Some(("frame of reference", "another one".into(), "the same".into()));
        }
        None
    }
}

/// Two spacings are the same within this many mm: over 512 pixels half a pixel of 1 mm adds up.
const SPACING: f64 = 1e-3;
/// Two orientations are the same within this much a cosine: over 512 pixels a twentieth of a pixel adds up.
const ORIENTATION: f64 = 1e-4;

fn close<const N: usize>(a: &Option<[f64; N]>, b: &Option<[f64; N]>, tolerance: f64) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a.iter().zip(b).all(|(x, y)| (x - y).abs() <= tolerance),
        (a, b) => a.is_none() && b.is_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn geometry(orientation: [f64; 6], position: [f64; 3]) -> Geometry {
        Geometry {
            size: [4, 5],
            spacing: Some([1.0, 2.0]),
            orientation: Some(orientation),
            position: Some(position),
            frame_of_reference: Some("1.2.3".into()),
        }
    }

    #[test]
    fn the_place_is_measured_along_the_normal() {
        let half = std::f64::consts::FRAC_1_SQRT_2;
        for (name, o, p, expected) in [
            ("axial", [1.0, 0.0, 0.0, 0.0, 1.0, 0.0], [7.0, -3.0, 12.5], 12.5),
            ("sagittal", [0.0, 1.0, 0.0, 0.0, 0.0, -1.0], [-20.0, 1.0, 1.0], 20.0),
            // Tilted by 45 degrees about x: 1 mm in z is 0.707 mm along the normal.
            ("oblique", [1.0, 0.0, 0.0, 0.0, half, half], [0.0, 0.0, 1.0], half),
        ] {
            let found = geometry(o, p).place().unwrap();
            assert!((found - expected).abs() < 1e-12, "{name}: found {found}, expected {expected}");
        }
    }

    #[test]
    fn row_and_column_spacing_are_not_swapped() {
        let a = geometry([1.0, 0.0, 0.0, 0.0, 1.0, 0.0], [0.0; 3]);
        let mut b = a.clone();
        assert_eq!(a.differs(&b), None);
        b.spacing = Some([2.0, 1.0]);
        assert_eq!(a.differs(&b).unwrap().0, "pixel spacing in mm");
    }
}
