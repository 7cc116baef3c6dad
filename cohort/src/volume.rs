//! Values of any type from files of others: NIfTI volumes, and where their voxels lie; `.npy` arrays.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use ndarray::{Array3, ArrayD, Axis, Ix3};
use ndarray_npy::{ReadNpyError, ReadNpyExt, ReadableElement};
use nifti::{IntoNdArray, NiftiError, NiftiHeader, NiftiObject, ReaderOptions};

use crate::CohortError;
use crate::import::refuse;

/// What a NIfTI file of two or three dimensions holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Volume {
    /// [i, j, k], in the file's order of axes, scaled by its slope and intercept.
    pub values: Array3<f32>,
    /// Takes (i, j, k, 1) to millimetres to the right, the front and the head of the patient: three rows. The file's sform,
    /// else its qform, if the code says that the coordinates are those of a scanner or of another image; a place in a template
    /// is none in the patient.
    pub affine: Option<[[f64; 4]; 3]>,
}

/// Codes of coordinates of a patient: of the scanner, of another image (nifti1.h, NIFTI_XFORM).
const OF_A_PATIENT: [i16; 2] = [1, 2];

impl Volume {
    /// Reads a file.
    ///
    /// Errors: [`CohortError::Import`].
    pub fn read(file: &Path) -> Result<Self, CohortError> {
        let fail =
            |error: NiftiError| refuse(file, error.to_string(), "a whole NIfTI-1 volume; copy the file anew");
        let object = ReaderOptions::new().read_file(file).map_err(fail)?;
        let affine = affine(object.header());
        let mut values = object.into_volume().into_ndarray::<f32>().map_err(fail)?;
        while values.ndim() > 3 && values.shape().last() == Some(&1) {
            let last = Axis(values.ndim() - 1);
            values.index_axis_inplace(last, 0);
        }
        if values.ndim() == 2 {
            values.insert_axis_inplace(Axis(2));
        }
        let shape = values.shape().to_vec();
        let values = values
            .into_dimensionality::<Ix3>()
            .map_err(|_| refuse(file, format!("found the shape {shape:?}"), "two or three dimensions"))?;
        Ok(Self { values, affine })
    }
}

fn affine(header: &NiftiHeader) -> Option<[[f64; 4]; 3]> {
    if OF_A_PATIENT.contains(&header.sform_code) {
        Some([header.srow_x, header.srow_y, header.srow_z].map(|row| row.map(f64::from)))
    } else if OF_A_PATIENT.contains(&header.qform_code) {
        Some(qform(header))
    } else {
        None
    }
}

/// Method 2 of nifti1.h: a turn by a unit quaternion, of which the file holds three parts, and a shift.
fn qform(header: &NiftiHeader) -> [[f64; 4]; 3] {
    let [b, c, d] = [header.quatern_b, header.quatern_c, header.quatern_d].map(f64::from);
    let a = (1.0 - b * b - c * c - d * d).max(0.0).sqrt();
    let turn = [
        [a * a + b * b - c * c - d * d, 2.0 * (b * c - a * d), 2.0 * (b * d + a * c)],
        [2.0 * (b * c + a * d), a * a + c * c - b * b - d * d, 2.0 * (c * d - a * b)],
        [2.0 * (b * d - a * c), 2.0 * (c * d + a * b), a * a + d * d - b * b - c * c],
    ];
    let shift = [header.quatern_x, header.quatern_y, header.quatern_z].map(f64::from);
    let [first, di, dj, dk, ..] = header.pixdim.map(f64::from);
    // Left-handed, if it says -1 there.
    let sides = [di, dj, if first < 0.0 { -dk } else { dk }];
    [0, 1, 2].map(|row| {
        let of = |column: usize| turn[row][column] * sides[column];
        [of(0), of(1), of(2), shift[row]]
    })
}

/// Reads a `.npy` array of any shape, of numbers of 8 or 16 bits, floating point or truth values.
///
/// Errors: [`CohortError::Import`].
pub fn array(file: &Path) -> Result<ArrayD<f32>, CohortError> {
    for read in [
        try_as::<u8>(f32::from),
        try_as::<u16>(f32::from),
        try_as::<i16>(f32::from),
        try_as::<f32>(|v| v),
        try_as::<f64>(|v| v as f32),
        try_as::<bool>(|v| f32::from(u8::from(v))),
    ] {
        match read(file) {
            Ok(found) => return Ok(found),
            Err(ReadNpyError::WrongDescriptor(_)) => {}
            Err(e) => return Err(refuse(file, e.to_string(), "a whole .npy array; write it anew")),
        }
    }
    let types = "values of type u1, u2, i2, f4, f8 or bool; convert the array first";
    Err(refuse(file, "found another type", types))
}

type Read = Box<dyn Fn(&Path) -> Result<ArrayD<f32>, ReadNpyError>>;

fn try_as<T: ReadableElement + Copy + 'static>(convert: fn(T) -> f32) -> Read {
    Box::new(move |file| {
        let file = BufReader::new(File::open(file).map_err(ReadNpyError::Io)?);
        Ok(ArrayD::<T>::read_npy(file)?.mapv(convert))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// set_qform of a left-handed affine by nibabel 5.4, which stores this quaternion, and what its get_qform gives back.
    const QUATERNION: [f32; 3] = [0.170_616_02, -0.297_437_52, 0.814_833_7];
    const NIBABELS: [[f64; 4]; 3] = [
        [-0.757_269_112, -1.726_418_77, 0.0, 10.0],
        [0.990_328_45, -0.772_255_138, 1.932_653_03, -20.0],
        [0.834_142_106, -0.650_461_558, -2.294_526_59, 30.0],
    ];

    #[test]
    fn a_place_in_a_template_is_none() {
        let srow_x = [2.0, 0.0, 0.0, 7.0];
        let mut header = NiftiHeader { srow_x, sform_code: 0, qform_code: 0, ..NiftiHeader::default() };
        assert_eq!(affine(&header), None);
        header.sform_code = 4;
        assert_eq!(affine(&header), None, "MNI space");
        header.sform_code = 2;
        assert_eq!(affine(&header).unwrap()[0], [2.0, 0.0, 0.0, 7.0]);
    }

    #[test]
    fn the_quaternion_is_nibabels() {
        let header = NiftiHeader {
            sform_code: 0,
            qform_code: 1,
            pixdim: [-1.0, 1.5, 2.0, 3.0, 0.0, 0.0, 0.0, 0.0],
            quatern_b: QUATERNION[0],
            quatern_c: QUATERNION[1],
            quatern_d: QUATERNION[2],
            quatern_x: 10.0,
            quatern_y: -20.0,
            quatern_z: 30.0,
            ..NiftiHeader::default()
        };
        let found = affine(&header).unwrap();
        let off = |expected: [[f64; 4]; 3]| {
            let pairs = found.iter().flatten().zip(expected.iter().flatten());
            pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
        };
        assert!(off(NIBABELS) < 1e-5, "{found:?}");
        let right_handed = NIBABELS.map(|[a, b, c, d]| [a, b, -c, d]);
        assert!(off(right_handed) > 1.0);
    }
}
