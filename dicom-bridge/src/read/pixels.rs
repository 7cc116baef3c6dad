//! The pixels of one file: checked, decoded, rescaled.
//!
//! dicom-rs decodes some objects to wrong values without a word (Modality LUT Sequence, 32-bit big endian, a
//! sign that differs between header and codestream, pad bytes): each of them is looked for here and refused, or put
//! right where that is certain.

use dicom_core::value::Value;
use dicom_dictionary_std::{tags, uids};
use dicom_object::{DefaultDicomObject, InMemDicomObject};
use dicom_pixeldata::PixelDecoder;
use ndarray::Array2;

use super::Source;
use super::file::{chain, load};
use crate::attributes::{integer, numbers, text};
use crate::error::ReadError;

/// The transfer syntaxes that are decoded, with their names.
const DECODABLE: [(&str, &str); 10] = [
    (uids::IMPLICIT_VR_LITTLE_ENDIAN, "Implicit VR Little Endian"),
    (uids::EXPLICIT_VR_LITTLE_ENDIAN, "Explicit VR Little Endian"),
    (uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, "Deflated Explicit VR Little Endian"),
    (BIG_ENDIAN, "Explicit VR Big Endian"),
    (uids::JPEG_BASELINE8_BIT, "JPEG Baseline"),
    (uids::JPEG_LOSSLESS, "JPEG Lossless"),
    (uids::JPEG_LOSSLESS_SV1, "JPEG Lossless, first-order prediction"),
    (uids::JPEG2000_LOSSLESS, "JPEG 2000 Lossless"),
    (uids::JPEG2000, "JPEG 2000"),
    (uids::RLE_LOSSLESS, "RLE Lossless"),
];

/// Those that come up but are refused: JPEG Extended is used for 12 bits, which the decoder cannot do; JPEG-LS
/// wants a C++ library.
const REFUSED: [(&str, &str); 3] = [
    (uids::JPEG_EXTENDED12_BIT, "JPEG Extended, 12 bit"),
    (uids::JPEGLS_LOSSLESS, "JPEG-LS Lossless"),
    (uids::JPEGLS_NEAR_LOSSLESS, "JPEG-LS Near-Lossless"),
];

/// Retired in 2006, but files remain.
pub(super) const BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";

/// Whether a transfer syntax can be decoded.
pub(super) fn decodable(uid: &str) -> bool {
    DECODABLE.iter().any(|(known, _)| *known == uid)
}

/// UID and name of a transfer syntax.
pub(super) fn name_of(uid: &str) -> String {
    match DECODABLE.iter().chain(&REFUSED).find(|(known, _)| *known == uid) {
        Some((_, name)) => format!("{name} ({uid})"),
        None => uid.to_owned(),
    }
}

/// How stored values become the values that the rest of the program sees, and back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Encoding {
    /// Bits Allocated (0028,0100): 8 or 16.
    pub bits_allocated: u32,
    /// Bits Stored (0028,0101).
    pub bits_stored: u32,
    /// Pixel Representation (0028,0103) is 1.
    pub signed: bool,
    /// Rescale Slope (0028,1053), 1 where absent.
    pub slope: f64,
    /// Rescale Intercept (0028,1052), 0 where absent.
    pub intercept: f64,
    /// Small stored values are bright (MONOCHROME1 other than CT): the values are mirrored in their range.
    pub inverted: bool,
}

impl Encoding {
    /// Smallest and largest stored value.
    pub fn range(&self) -> [i32; 2] {
        if self.signed {
            [-(1 << (self.bits_stored - 1)), (1 << (self.bits_stored - 1)) - 1]
        } else {
            [0, (1 << self.bits_stored) - 1]
        }
    }

    /// A stored value in the source's units.
    pub fn rescale(&self, stored: i32) -> f32 {
        let [low, high] = self.range();
        let stored = if self.inverted { low + high - stored } else { stored };
        (f64::from(stored) * self.slope + self.intercept) as f32
    }

    /// The nearest stored value, clamped to the range: the inverse of [`Encoding::rescale`].
    pub fn store(&self, value: f32) -> i32 {
        let [low, high] = self.range();
        let stored = ((f64::from(value) - self.intercept) / self.slope).round();
        let stored = stored.clamp(f64::from(low), f64::from(high)) as i32;
        if self.inverted { low + high - stored } else { stored }
    }

    /// Takes the encoding out of a source's attributes.
    ///
    /// Errors: [`ReadError::Attribute`] for everything that would be decoded wrongly, [`ReadError::TransferSyntax`].
    pub fn of(source: &Source) -> Result<Self, ReadError> {
        let object = &source.object;
        let path = &source.path;
        if !decodable(&source.transfer_syntax) {
            return Err(ReadError::TransferSyntax {
                path: path.clone(),
                found: name_of(&source.transfer_syntax),
            });
        }
        let fail = |attribute, found: String, expected: &str| {
            Err(ReadError::Attribute { path: path.clone(), attribute, found, expected: expected.to_owned() })
        };
        if source.has_float_pixels {
            return fail(
                "Float Pixel Data (7FE0,0008/0009)",
                "floating-point pixels".into(),
                "integers (7FE0,0010)",
            );
        }
        let number = |tag| integer(object, tag);
        let say = |value: Option<u32>| value.map_or("nothing".to_owned(), |v| v.to_string());
        let frames = text(object, tags::NUMBER_OF_FRAMES).unwrap_or_else(|| "1".into());
        if frames != "1" {
            let expected = "1; multi-frame objects are not read yet: split it into single frames first";
            return fail("Number of Frames (0028,0008)", frames, expected);
        }
        let samples = number(tags::SAMPLES_PER_PIXEL);
        if samples != Some(1) {
            return fail("Samples per Pixel (0028,0002)", say(samples), "1, a grey-scale image");
        }
        let photometric = text(object, tags::PHOTOMETRIC_INTERPRETATION).unwrap_or_else(|| "nothing".into());
        if !["MONOCHROME1", "MONOCHROME2"].contains(&photometric.as_str()) {
            let expected = "MONOCHROME1 or MONOCHROME2, a grey-scale image";
            return fail("Photometric Interpretation (0028,0004)", photometric, expected);
        }
        let (allocated, stored) = (number(tags::BITS_ALLOCATED), number(tags::BITS_STORED));
        let Some(bits_allocated @ (8 | 16)) = allocated else {
            return fail("Bits Allocated (0028,0100)", say(allocated), "8 or 16");
        };
        let Some(bits_stored) = stored.filter(|b| (2..=bits_allocated).contains(b)) else {
            return fail("Bits Stored (0028,0101)", say(stored), "2 to Bits Allocated");
        };
        let high = number(tags::HIGH_BIT);
        if high != Some(bits_stored - 1) {
            return fail("High Bit (0028,0102)", say(high), "Bits Stored - 1");
        }
        let sign = number(tags::PIXEL_REPRESENTATION);
        let Some(sign @ (0 | 1)) = sign else {
            return fail("Pixel Representation (0028,0103)", say(sign), "0 (unsigned) or 1 (signed)");
        };
        if object.get(tags::MODALITY_LUT_SEQUENCE).is_some() {
            let expected = "Rescale Slope and Intercept; apply the table first";
            return fail("Modality LUT Sequence (0028,3000)", "a table".into(), expected);
        }
        let real = |tag, attribute, default: f64| match numbers::<1>(object, tag) {
            Ok(value) => Ok(value.map_or(default, |[v]| v)),
            Err(found) => Err(ReadError::Attribute {
                path: path.clone(),
                attribute,
                found,
                expected: "one finite number".to_owned(),
            }),
        };
        let slope = real(tags::RESCALE_SLOPE, "Rescale Slope (0028,1053)", 1.0)?;
        let intercept = real(tags::RESCALE_INTERCEPT, "Rescale Intercept (0028,1052)", 0.0)?;
        if slope == 0.0 {
            return fail("Rescale Slope (0028,1053)", "0".into(), "a number other than 0");
        }
        Ok(Self {
            bits_allocated,
            bits_stored,
            signed: sign == 1,
            slope,
            intercept,
            inverted: photometric == "MONOCHROME1" && source.sop_class != uids::CT_IMAGE_STORAGE,
        })
    }
}

/// Decodes a source to [H, W] in the source's units. The second part says what was put right.
///
/// Errors: as [`Encoding::of`], and [`ReadError::Decode`], [`ReadError::Damaged`].
pub(super) fn decode(source: &Source) -> Result<(Array2<f32>, Vec<String>), ReadError> {
    let encoding = Encoding::of(source)?;
    let (object, _) = load(&source.path)?;
    codestream_agrees(source, &object, encoding)?;
    let decode = |cause| ReadError::Decode { path: source.path.clone(), cause };
    let decoded = object.decode_pixel_data().map_err(|e| decode(chain(&e)))?;
    let [h, w] = source.geometry.size;
    let mut words: Vec<u16> = match encoding.bits_allocated {
        8 => decoded.data().iter().map(|b| u16::from(*b)).collect(),
        _ => decoded.data_ow(),
    };
    let mut notes = Vec::new();
    if words.len() < h * w {
        let cause = format!("found {} pixels, expected {h} x {w} = {}", words.len(), h * w);
        return Err(ReadError::Damaged { path: source.path.clone(), cause });
    }
    // One byte more makes an odd length even; more than that is worth a word.
    if words.len() > h * w + 1 {
        notes.push(format!("{} pad values after the image left out", words.len() - h * w));
    }
    words.truncate(h * w);
    let stored = words.iter().map(|&w| stored_value(w, encoding));
    let values: Option<Vec<f32>> = stored.map(|v| v.map(|v| encoding.rescale(v))).collect();
    let values = values.ok_or_else(|| ReadError::Attribute {
        path: source.path.clone(),
        attribute: "Bits Stored (0028,0101)",
        found: format!("{}, but pixels that use more", encoding.bits_stored),
        expected: "no bit set above High Bit; remove overlays from the pixels first".into(),
    })?;
    let pixels = Array2::from_shape_vec((h, w), values).expect("truncated to h * w values");
    Ok((pixels, notes))
}

/// The value of one stored word; none where bits above Bits Stored are neither zero nor the sign repeated
/// (PS3.5 8.1.1).
fn stored_value(word: u16, encoding: Encoding) -> Option<i32> {
    let shift = 32 - encoding.bits_stored;
    let unsigned = (u32::from(word) << shift) >> shift;
    let signed = ((u32::from(word) << shift) as i32) >> shift;
    let sign_filled = (signed as u32) << (32 - encoding.bits_allocated) >> (32 - encoding.bits_allocated);
    match encoding.signed {
        false => (u32::from(word) == unsigned).then_some(unsigned as i32),
        true => (u32::from(word) == unsigned || u32::from(word) == sign_filled).then_some(signed),
    }
}

/// JPEG 2000 says the sign twice, in the header and in the codestream; where they differ nobody knows the values.
fn codestream_agrees(
    source: &Source,
    object: &DefaultDicomObject,
    encoding: Encoding,
) -> Result<(), ReadError> {
    let jpeg2000 = [uids::JPEG2000_LOSSLESS, uids::JPEG2000].contains(&source.transfer_syntax.as_str());
    let Some(signed) = jpeg2000.then(|| codestream_sign(object)).flatten() else { return Ok(()) };
    if signed == encoding.signed {
        return Ok(());
    }
    Err(ReadError::Attribute {
        path: source.path.clone(),
        attribute: "Pixel Representation (0028,0103)",
        found: u32::from(encoding.signed).to_string(),
        expected: format!("{}, as in the JPEG 2000 codestream; correct the header first", u32::from(signed)),
    })
}

/// Whether the first component of a JPEG 2000 codestream is signed: Ssiz of the SIZ marker (ISO 15444-1 A.5.1).
fn codestream_sign(object: &InMemDicomObject) -> Option<bool> {
    let Value::PixelSequence(sequence) = object.get(tags::PIXEL_DATA)?.value() else { return None };
    let stream = sequence.fragments().first()?;
    let start = stream.windows(4).position(|w| w == [0xFF, 0x4F, 0xFF, 0x51])?;
    stream.get(start + 42).map(|ssiz| ssiz & 0x80 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Encoding = Encoding {
        bits_allocated: 16,
        bits_stored: 16,
        signed: false,
        slope: 1.0,
        intercept: 0.0,
        inverted: false,
    };

    #[test]
    fn every_stored_value_survives_the_way_there_and_back() {
        for encoding in [
            PLAIN,
            Encoding { signed: true, ..PLAIN },
            Encoding { bits_stored: 10, inverted: true, ..PLAIN },
            Encoding {
                bits_stored: 12,
                signed: true,
                slope: -0.5,
                intercept: 1024.0,
                inverted: true,
                ..PLAIN
            },
            Encoding { slope: 3.141_592_7e-3, intercept: -1024.0, ..PLAIN },
            Encoding { slope: 1e4, intercept: 0.25, ..PLAIN },
        ] {
            let [low, high] = encoding.range();
            let wrong = (low..=high).find(|&v| encoding.store(encoding.rescale(v)) != v);
            assert_eq!(wrong, None, "{encoding:?}");
        }
    }

    #[test]
    fn monochrome1_is_mirrored_in_its_range() {
        let encoding = Encoding { bits_stored: 10, inverted: true, ..PLAIN };
        assert_eq!([0, 1, 1023].map(|v| encoding.rescale(v)), [1023.0, 1022.0, 0.0]);
    }

    #[test]
    fn bits_above_bits_stored() {
        let e12 = Encoding { bits_stored: 12, ..PLAIN };
        let s12 = Encoding { signed: true, ..e12 };
        for (word, encoding, expected) in [
            (0x0FFF, e12, Some(4095)),
            (0x1FFF, e12, None),
            (0xFFFF, s12, Some(-1)),
            (0x0FFF, s12, Some(-1)),
            (0x07FF, s12, Some(2047)),
            (0x10FF, s12, None),
            (0x8000, Encoding { signed: true, ..PLAIN }, Some(-32768)),
            (0x80, Encoding { bits_allocated: 8, bits_stored: 8, signed: true, ..PLAIN }, Some(-128)),
        ] {
            assert_eq!(stored_value(word, encoding), expected, "{word:#06x} {encoding:?}");
        }
    }
}
