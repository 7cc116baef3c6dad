//! DICOM objects of one frame, read without the DICOM bridge: what the bridge is measured on must not stand on it.

use std::error::Error;
use std::path::Path;

use dicom_dictionary_std::tags;
use dicom_object::{DefaultDicomObject, open_file};
use dicom_pixeldata::{ConvertOptions, ModalityLutOption, PixelDecoder};
use ndarray::Array2;

use super::refuse;
use crate::CohortError;

/// Reads a grey image, [H, W] in the object's units (rescaled, MONOCHROME1 mirrored in its range), and whether it is CT.
///
/// Errors: [`CohortError::Import`], also for what would be decoded wrongly.
pub(in crate::import) fn grey(file: &Path) -> Result<(Array2<f32>, bool), CohortError> {
    let whole = "a whole DICOM object; copy the file anew";
    let object = open_file(file).map_err(|e| refuse(file, chain(&e), whole))?;
    let text = |tag| text(&object, tag).unwrap_or_default();
    let number = |tag| object.element(tag).ok().and_then(|e| e.to_int::<i64>().ok());
    let photometric = text(tags::PHOTOMETRIC_INTERPRETATION);
    let says = |value: Option<i64>| value.map_or("nothing".to_owned(), |v| v.to_string());
    let one_frame = number(tags::NUMBER_OF_FRAMES).unwrap_or(1);
    let wrong = [
        (
            number(tags::SAMPLES_PER_PIXEL) != Some(1),
            "Samples per Pixel",
            says(number(tags::SAMPLES_PER_PIXEL)),
            "1, a grey image",
        ),
        (one_frame != 1, "Number of Frames", one_frame.to_string(), "1; split it into single frames first"),
        (
            !["MONOCHROME1", "MONOCHROME2"].contains(&photometric.as_str()),
            "Photometric Interpretation",
            photometric.clone(),
            "MONOCHROME1 or MONOCHROME2",
        ),
        (
            !matches!(number(tags::BITS_ALLOCATED), Some(8 | 16)),
            "Bits Allocated",
            says(number(tags::BITS_ALLOCATED)),
            "8 or 16",
        ),
        (
            object.get(tags::MODALITY_LUT_SEQUENCE).is_some(),
            "Modality LUT Sequence",
            "a table".into(),
            "Rescale Slope and Intercept; apply the table first",
        ),
    ];
    if let Some((_, attribute, found, expected)) = wrong.into_iter().find(|(wrong, ..)| *wrong) {
        return Err(refuse(file, format!("{attribute} is {found}"), expected));
    }
    let damaged = |e: &dyn Error| {
        refuse(file, chain(e), "pixels that can be decoded; convert it first, e.g. with gdcmconv --raw")
    };
    let decoded = object.decode_pixel_data().map_err(|e| damaged(&e))?;
    let options = ConvertOptions::new().with_modality_lut(ModalityLutOption::None);
    let mut values: Vec<f32> = decoded.to_vec_with_options(&options).map_err(|e| damaged(&e))?;
    let (h, w) = (decoded.rows() as usize, decoded.columns() as usize);
    if values.len() < h * w {
        return Err(refuse(
            file,
            format!("found {} pixels", values.len()),
            format!("{h} x {w}; copy the file anew"),
        ));
    }
    values.truncate(h * w);
    let ct = text(tags::MODALITY) == "CT";
    let real = |tag, default| object.element(tag).ok().and_then(|e| e.to_float64().ok()).unwrap_or(default);
    let (slope, intercept) = (real(tags::RESCALE_SLOPE, 1.0), real(tags::RESCALE_INTERCEPT, 0.0));
    // The sum of the smallest and the largest stored value: 2^bits - 1 unsigned, -1 signed.
    let signed = number(tags::PIXEL_REPRESENTATION) == Some(1);
    let ends = if signed { -1.0 } else { f64::from(1u32 << decoded.bits_stored().min(16)) - 1.0 };
    let inverted = photometric == "MONOCHROME1" && !ct;
    let rescale = |v: f32| {
        let stored = if inverted { ends - f64::from(v) } else { f64::from(v) };
        (stored * slope + intercept) as f32
    };
    let pixels = Array2::from_shape_vec((h, w), values.into_iter().map(rescale).collect());
    Ok((pixels.expect("truncated to h * w values"), ct))
}

fn text(object: &DefaultDicomObject, tag: dicom_core::Tag) -> Option<String> {
    let value = object.element(tag).ok()?.to_str().ok()?;
    Some(value.trim_end_matches(['\0', ' ']).trim().to_owned())
}

/// An error with its causes, on one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(e) = next {
        let cause = e.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
        next = e.source();
    }
    text
}
