//! PNG, JPEG and TIFF.

use std::path::Path;

use image::{DynamicImage, ImageReader};
use ndarray::Array2;

use super::refuse;
use crate::CohortError;

/// Reads a grey picture of 8 or 16 bits, [H, W], values as stored.
///
/// Errors: [`CohortError::Import`], also where the colours differ.
pub(in crate::import) fn picture(file: &Path) -> Result<Array2<f32>, CohortError> {
    let expected = "a PNG, JPEG or TIFF picture; copy the file anew";
    let decoded = ImageReader::open(file)
        .and_then(ImageReader::with_guessed_format)
        .map_err(|e| refuse(file, e.to_string(), expected))?
        .decode()
        .map_err(|e| refuse(file, e.to_string(), expected))?;
    let (width, height) = (decoded.width() as usize, decoded.height() as usize);
    let values: Vec<f32> = match decoded {
        DynamicImage::ImageLuma8(grey) => grey.into_raw().into_iter().map(f32::from).collect(),
        DynamicImage::ImageLuma16(grey) => grey.into_raw().into_iter().map(f32::from).collect(),
        // Grey pictures are often stored in three equal colours.
        other => {
            let colours = other.to_rgb16();
            if let Some((x, y, pixel)) = colours.enumerate_pixels().find(|(_, _, p)| p.0 != [p.0[0]; 3]) {
                let found = format!("found the colour {:?} at row {y}, column {x}", pixel.0);
                return Err(refuse(file, found, "a grey picture; convert it first"));
            }
            colours.pixels().map(|p| f32::from(p.0[0])).collect()
        }
    };
    Ok(Array2::from_shape_vec((height, width), values).expect("a decoder gives every pixel"))
}
