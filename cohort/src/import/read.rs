//! Single files: volumes, pictures, arrays, DICOM objects.

mod array;
mod dicom;
mod picture;

use std::path::Path;

use anomalens_models::image::normalise::CT_FLOOR;
use ndarray::{Array2, Array3, Axis};

use super::{name, refuse};
use crate::CohortError;
use crate::volume::Volume;

pub(super) use picture::picture;

/// An image of one channel, [H, W] in the source's units, and the value that counts as zero.
pub(super) struct Plane {
    pub pixels: Array2<f32>,
    pub floor: f32,
}

/// Along which axis of a NIfTI file an image's rows follow each other, downwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rows {
    FirstAxis,
    SecondAxis,
}

/// The kinds of file that hold one image, by the ends of their names.
const IMAGES: &str = ".png, .jpg, .jpeg, .tif, .tiff, .npy, .nii, .nii.gz or .dcm";

/// A file's name without the end that says its kind, and that end in small letters.
pub(super) fn stem(path: &Path) -> (String, String) {
    let name = name(path);
    let lower = name.to_lowercase();
    let end = [".nii.gz"]
        .into_iter()
        .find(|end| lower.ends_with(end))
        .map_or_else(|| lower.rfind('.').map_or(String::new(), |dot| lower[dot..].to_owned()), str::to_owned);
    (name[..name.len() - end.len()].to_owned(), end)
}

/// Reads the image of a file of any kind.
///
/// Errors: [`CohortError::Import`].
pub(super) fn image(file: &Path) -> Result<Plane, CohortError> {
    let plain = |pixels| Plane { pixels, floor: 0.0 };
    match stem(file).1.as_str() {
        ".png" | ".jpg" | ".jpeg" | ".tif" | ".tiff" => picture(file).map(plain),
        ".npy" => array::grey(file).map(plain),
        ".nii" | ".nii.gz" => {
            let volume = volume(file, Rows::SecondAxis)?;
            match volume.len_of(Axis(0)) {
                1 => Ok(plain(volume.index_axis_move(Axis(0), 0))),
                n => Err(refuse(
                    file,
                    format!("found {n} slices"),
                    "one; write each slice into a file of its own",
                )),
            }
        }
        ".dcm" => {
            let (pixels, ct) = dicom::grey(file)?;
            Ok(Plane { pixels, floor: if ct { CT_FLOOR } else { 0.0 } })
        }
        other => Err(refuse(file, format!("found a file named *{other}"), format!("{IMAGES}; move it away"))),
    }
}

/// Reads a NIfTI file of two or three dimensions: [slice, row, column].
///
/// Errors: [`CohortError::Import`].
pub(super) fn volume(file: &Path, rows: Rows) -> Result<Array3<f32>, CohortError> {
    let Volume { values, .. } = Volume::read(file)?;
    Ok(values.permuted_axes(match rows {
        Rows::FirstAxis => [2, 0, 1],
        Rows::SecondAxis => [2, 1, 0],
    }))
}

/// Reads a mask, [H, W]: what is above 0.
///
/// Errors: [`CohortError::Import`].
pub(super) fn mask(file: &Path) -> Result<Array2<bool>, CohortError> {
    let pixels = match stem(file).1.as_str() {
        ".npy" => array::grey(file)?,
        _ => picture(file)?,
    };
    Ok(pixels.mapv(|v| v > 0.0))
}
