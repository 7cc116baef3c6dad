//! `.npy`.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use ndarray::{Array2, ArrayD, Axis, Ix2};
use ndarray_npy::{ReadNpyError, ReadNpyExt, ReadableElement};

use super::refuse;
use crate::CohortError;

/// Reads an array of one channel, [H, W], [H, W, 1] or [1, H, W].
///
/// Errors: [`CohortError::Import`].
pub(in crate::import) fn grey(file: &Path) -> Result<Array2<f32>, CohortError> {
    let mut values = None;
    for read in [
        try_as::<u8>(f32::from),
        try_as::<u16>(f32::from),
        try_as::<i16>(f32::from),
        try_as::<f32>(|v| v),
        try_as::<f64>(|v| v as f32),
        try_as::<bool>(|v| f32::from(u8::from(v))),
    ] {
        match read(file) {
            Ok(found) => {
                values = Some(found);
                break;
            }
            Err(ReadNpyError::WrongDescriptor(_)) => {}
            Err(e) => return Err(refuse(file, e.to_string(), "a whole .npy array; write it anew")),
        }
    }
    let types = "values of type u1, u2, i2, f4, f8 or bool; convert the array first";
    let mut values = values.ok_or_else(|| refuse(file, "found another type", types))?;
    let shape = values.shape().to_vec();
    if values.ndim() == 3 {
        let one = [2, 0].into_iter().find(|&axis| shape[axis] == 1);
        if let Some(axis) = one {
            values.index_axis_inplace(Axis(axis), 0);
        }
    }
    let expected = "[H, W], [H, W, 1] or [1, H, W]: one image of one channel";
    values
        .into_dimensionality::<Ix2>()
        .map_err(|_| refuse(file, format!("found the shape {shape:?}"), expected))
}

type Read = Box<dyn Fn(&Path) -> Result<ArrayD<f32>, ReadNpyError>>;

fn try_as<T: ReadableElement + Copy + 'static>(convert: fn(T) -> f32) -> Read {
    Box::new(move |file| {
        let file = BufReader::new(File::open(file).map_err(ReadNpyError::Io)?);
        Ok(ArrayD::<T>::read_npy(file)?.mapv(convert))
    })
}
