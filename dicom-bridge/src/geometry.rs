//! Where a slice lies: grid, spacing, orientation and position (PS3.3 C.7.6.2).

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
