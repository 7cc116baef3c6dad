//! The stored values of an image object, as its transfer syntax and its Image Pixel module say: any class, any number
//! of frames and samples, integers of 1, 8, 16 or 32 bits and floating point.
//!
//! What the header says and what the codestream says must agree, and nothing is made up: a frame that is shorter
//! than it should be, or holds bits that nobody explains, is refused.

mod codestream;
mod fragments;
mod native;
mod rle;

use std::path::{Path, PathBuf};

use dicom_core::Tag;
use dicom_core::value::Value;
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

use super::file::load;
use super::syntax::{BIG_ENDIAN, Codec, codec, name_of};
use crate::attributes::{integer, text};
use crate::error::ReadError;

/// More samples a frame than any image has (16,384 × 16,384): a header that asks for more is not believed.
const LARGEST: usize = 1 << 28;

/// The pixels of one object, not yet decoded.
pub struct StoredPixels {
    path: PathBuf,
    layout: Layout,
    frames: usize,
    data: Data,
    notes: Vec<String>,
}

/// How the samples of a frame lie.
#[derive(Debug, Clone, PartialEq)]
struct Layout {
    rows: usize,
    columns: usize,
    samples: usize,
    allocated: u32,
    stored: u32,
    signed: bool,
    /// All samples of one kind, then all of the next.
    planar: bool,
    /// Two pixels share their colour: Y Y Cb Cr.
    halved: bool,
    photometric: String,
    /// A retired overlay lies in the bits above Bits Stored.
    overlay: bool,
}

enum Data {
    /// Samples of all frames, little endian.
    Native(Vec<u8>),
    /// One codestream a frame.
    Encoded(Codec, Vec<Vec<u8>>),
    /// Floating point, all frames.
    Float(Vec<f64>),
}

impl StoredPixels {
    /// Opens an object of any class, e.g. an image, a segmentation or a parametric map.
    ///
    /// Errors: [`ReadError::Io`], [`ReadError::NotDicom`], [`ReadError::Damaged`], [`ReadError::NoPixelData`],
    /// [`ReadError::TransferSyntax`], and [`ReadError::Attribute`] for a description that cannot be followed.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let (object, _) = load(path)?;
        let syntax = object.meta().transfer_syntax().trim_end_matches('\0').to_owned();
        Self::of(path, &object, &syntax)
    }

    /// Takes the pixels out of a data set.
    pub(super) fn of(path: &Path, object: &InMemDicomObject, syntax: &str) -> Result<Self, ReadError> {
        let mut notes = Vec::new();
        let damaged = |cause: String| ReadError::Damaged { path: path.to_owned(), cause };
        let frames = frames(path, object)?;
        for (tag, bits) in [(tags::FLOAT_PIXEL_DATA, 32), (tags::DOUBLE_FLOAT_PIXEL_DATA, 64)] {
            let Some(element) = object.get(tag) else { continue };
            let layout = Layout::of_float(path, object, bits)?;
            let values = element.value().to_multi_float64().map_err(|e| damaged(e.to_string()))?;
            let wanted = frames.saturating_mul(layout.len());
            if values.len() != wanted {
                return Err(damaged(format!("found {} pixels, expected {wanted}", values.len())));
            }
            return Ok(Self { path: path.to_owned(), layout, frames, data: Data::Float(values), notes });
        }
        let Some(element) = object.get(tags::PIXEL_DATA) else {
            return Err(ReadError::NoPixelData { path: path.to_owned() });
        };
        let Some(codec) = codec(syntax) else {
            return Err(ReadError::TransferSyntax { path: path.to_owned(), found: name_of(syntax) });
        };
        let layout = Layout::of(path, object, codec)?;
        let data = match (codec, element.value()) {
            (Codec::Native, Value::Primitive(value)) => {
                let mut bytes = value.to_bytes().into_owned();
                if syntax == BIG_ENDIAN
                    && layout.allocated == 32
                    && element.header().vr() == dicom_core::VR::OW
                {
                    native::swap_halves(&mut bytes);
                }
                let (found, wanted) = (bytes.len(), layout.bytes(frames));
                if found < wanted {
                    let (h, w) = (layout.rows, layout.columns);
                    let found = format!("found {} bytes of pixels", found);
                    return Err(damaged(format!(
                        "{found}, expected {wanted} for {frames} frame(s) of {h} x {w}"
                    )));
                }
                // One byte more makes an odd length even; more than that is worth a word.
                if found > wanted + 1 {
                    notes.push(format!("{} bytes after the pixels left out", found - wanted));
                }
                Data::Native(bytes)
            }
            (codec, Value::PixelSequence(sequence)) if codec != Codec::Native => {
                Data::Encoded(codec, fragments::frames(sequence, frames).map_err(damaged)?)
            }
            _ => return Err(damaged(format!("the pixels are not as {} wants them", name_of(syntax)))),
        };
        Ok(Self { path: path.to_owned(), layout, frames, data, notes })
    }

    /// Number of frames, rows, columns, samples a pixel.
    pub fn shape(&self) -> [usize; 4] {
        [self.frames, self.layout.rows, self.layout.columns, self.layout.samples]
    }

    /// Bits Stored (0028,0101); of floating-point pixels their size.
    pub fn bits_stored(&self) -> u32 {
        self.layout.stored
    }

    /// What was put right.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The stored values of frame `frame` (from 0), [rows, columns, samples] in one row. Integers are exact. Lossy JPEG of
    /// YBR comes as RGB, and two pixels that share their colour come each with it.
    ///
    /// Errors: [`ReadError::Decode`]; [`ReadError::Damaged`] for a frame that is not there or too short;
    /// [`ReadError::Attribute`] for bits above Bits Stored.
    pub fn frame(&self, frame: usize) -> Result<Vec<f64>, ReadError> {
        let decode = |cause| ReadError::Decode { path: self.path.clone(), cause };
        if frame >= self.frames {
            let cause = format!("frame {} was asked for, it has {}", frame + 1, self.frames);
            return Err(ReadError::Damaged { path: self.path.clone(), cause });
        }
        let (codec, bytes) = match &self.data {
            Data::Float(values) => {
                return Ok(values[frame * self.layout.len()..][..self.layout.len()].to_vec());
            }
            Data::Native(bytes) => {
                let words =
                    native::words(bytes, &self.layout, frame).ok_or_else(|| decode("too short".into()))?;
                return self.values(words);
            }
            Data::Encoded(codec, frames) => (*codec, frames[frame].as_slice()),
        };
        let words = match codec {
            Codec::Native | Codec::Fragment => native::words(bytes, &self.layout, 0)
                .ok_or_else(|| decode("the frame is too short".into()))?,
            Codec::Deflated => {
                let bytes = native::inflate(bytes, self.layout.bytes(1)).map_err(decode)?;
                native::words(&bytes, &self.layout, 0)
                    .ok_or_else(|| decode("the frame is too short".into()))?
            }
            Codec::Rle => rle::words(bytes, &self.layout).map_err(decode)?,
            Codec::Jpeg | Codec::Jpeg2000 | Codec::JpegLs => {
                codestream::words(codec, bytes, &self.layout).map_err(decode)?
            }
        };
        self.values(words)
    }

    fn values(&self, words: Vec<u32>) -> Result<Vec<f64>, ReadError> {
        let layout = &self.layout;
        let values: Option<Vec<f64>> = words.into_iter().map(|word| layout.value(word)).collect();
        values.ok_or_else(|| ReadError::Attribute {
            path: self.path.clone(),
            attribute: "Bits Stored (0028,0101)",
            found: format!("{}, but pixels that use more", layout.stored),
            expected: "no bit set above High Bit; correct the header first".into(),
        })
    }
}

/// Number of Frames (0028,0008), 1 where absent.
pub(super) fn frames(path: &Path, object: &InMemDicomObject) -> Result<usize, ReadError> {
    let Some(found) = text(object, tags::NUMBER_OF_FRAMES) else { return Ok(1) };
    found.trim().parse().ok().filter(|n| *n > 0).ok_or_else(|| ReadError::Attribute {
        path: path.to_owned(),
        attribute: "Number of Frames (0028,0008)",
        found: format!("'{found}'"),
        expected: "a number above 0".into(),
    })
}

impl Layout {
    /// Samples in a frame.
    fn len(&self) -> usize {
        self.rows * self.columns * self.samples
    }

    /// Bytes that `frames` frames take without compression.
    fn bytes(&self, frames: usize) -> usize {
        // Of three samples a pixel two remain where colour is halved.
        let samples = if self.halved { self.len() / 3 * 2 } else { self.len() };
        let bits = (samples as u128) * (frames as u128) * u128::from(self.allocated);
        usize::try_from(bits.div_ceil(8)).unwrap_or(usize::MAX)
    }

    /// The value of one stored word; none where bits above Bits Stored are neither zero nor the sign repeated (PS3.5
    /// 8.1.1), unless an overlay explains them.
    fn value(&self, word: u32) -> Option<f64> {
        let shift = 32 - self.stored;
        let above = 32 - self.allocated;
        let unsigned = (word << shift) >> shift;
        let signed = ((word << shift) as i32) >> shift;
        let sign_filled = (signed as u32) << above >> above;
        let clean = word == unsigned || (self.signed && word == sign_filled);
        (clean || self.overlay).then_some(if self.signed { f64::from(signed) } else { f64::from(unsigned) })
    }

    fn size(path: &Path, object: &InMemDicomObject) -> Result<[usize; 2], ReadError> {
        let side = |tag, attribute| {
            let n = integer(object, tag).filter(|n| *n > 0);
            n.map(|n| n as usize).ok_or_else(|| ReadError::Attribute {
                path: path.to_owned(),
                attribute,
                found: "nothing".into(),
                expected: "a number above 0".into(),
            })
        };
        Ok([side(tags::ROWS, "Rows (0028,0010)")?, side(tags::COLUMNS, "Columns (0028,0011)")?])
    }

    fn of_float(path: &Path, object: &InMemDicomObject, bits: u32) -> Result<Self, ReadError> {
        let [rows, columns] = Self::size(path, object)?;
        let photometric = text(object, tags::PHOTOMETRIC_INTERPRETATION).unwrap_or_default();
        Ok(Self {
            rows,
            columns,
            samples: 1,
            allocated: bits,
            stored: bits,
            signed: true,
            planar: false,
            halved: false,
            photometric,
            overlay: false,
        })
    }

    fn of(path: &Path, object: &InMemDicomObject, codec: Codec) -> Result<Self, ReadError> {
        let fail = |attribute, found: String, expected: &str| {
            Err(ReadError::Attribute {
                path: path.to_owned(),
                attribute,
                found,
                expected: expected.to_owned(),
            })
        };
        let say = |value: Option<u32>| value.map_or("nothing".to_owned(), |v| v.to_string());
        let number = |tag| integer(object, tag);
        let [rows, columns] = Self::size(path, object)?;
        let samples = number(tags::SAMPLES_PER_PIXEL);
        let Some(samples @ 1..=4) = samples else {
            return fail("Samples per Pixel (0028,0002)", say(samples), "1 to 4");
        };
        let (allocated, stored) = (number(tags::BITS_ALLOCATED), number(tags::BITS_STORED));
        let Some(allocated @ (1 | 8 | 16 | 32)) = allocated else {
            return fail("Bits Allocated (0028,0100)", say(allocated), "1, 8, 16 or 32");
        };
        let Some(stored) = stored.filter(|b| (1..=allocated).contains(b)) else {
            return fail("Bits Stored (0028,0101)", say(stored), "1 to Bits Allocated");
        };
        let high = number(tags::HIGH_BIT);
        if high != Some(stored - 1) {
            return fail("High Bit (0028,0102)", say(high), "Bits Stored - 1");
        }
        let sign = number(tags::PIXEL_REPRESENTATION);
        let Some(sign @ (0 | 1)) = sign else {
            return fail("Pixel Representation (0028,0103)", say(sign), "0 (unsigned) or 1 (signed)");
        };
        let photometric = text(object, tags::PHOTOMETRIC_INTERPRETATION).unwrap_or_default();
        let uncompressed = !matches!(codec, Codec::Jpeg | Codec::Jpeg2000 | Codec::JpegLs);
        if uncompressed && ["YBR_PARTIAL_422", "YBR_PARTIAL_420"].contains(&photometric.as_str()) {
            let expected = "another one; convert it first, e.g. with dcmconv";
            return fail("Photometric Interpretation (0028,0004)", photometric, expected);
        }
        let halved = uncompressed && codec != Codec::Rle && photometric == "YBR_FULL_422";
        if halved && (samples != 3 || allocated != 8 || columns % 2 != 0) {
            let found = format!("YBR_FULL_422 with {samples} samples of {allocated} bits, {columns} columns");
            return fail(
                "Photometric Interpretation (0028,0004)",
                found,
                "3 samples of 8 bits, an even number",
            );
        }
        let samples = samples as usize;
        if rows * columns * samples > LARGEST {
            return fail("Rows (0028,0010)", format!("{rows} x {columns}"), "a smaller image");
        }
        Ok(Self {
            rows,
            columns,
            samples,
            allocated,
            stored,
            signed: sign == 1,
            planar: samples > 1 && !halved && number(tags::PLANAR_CONFIGURATION) == Some(1),
            halved,
            photometric,
            overlay: overlay_in_pixels(object, stored),
        })
    }
}

/// Whether an overlay lies in the pixels, above Bits Stored: Overlay Bit Position (60xx,0102) says so, and there is no
/// Overlay Data (60xx,3000) of its own (PS3.3 C.9.2, retired).
fn overlay_in_pixels(object: &InMemDicomObject, stored: u32) -> bool {
    (0x6000..=0x601E).step_by(2).any(|group| {
        let place = integer(object, Tag(group, 0x0102));
        place.is_some_and(|bit| bit >= stored) && object.get(Tag(group, 0x3000)).is_none()
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(super) fn layout(rows: usize, columns: usize, samples: usize, allocated: u32) -> Layout {
        Layout {
            rows,
            columns,
            samples,
            allocated,
            stored: allocated,
            signed: false,
            planar: false,
            halved: false,
            photometric: "MONOCHROME2".into(),
            overlay: false,
        }
    }

    #[test]
    fn bits_above_bits_stored() {
        let plain = layout(1, 1, 1, 16);
        let e12 = Layout { stored: 12, ..plain.clone() };
        let s12 = Layout { signed: true, ..e12.clone() };
        let s16 = Layout { signed: true, ..plain };
        let s8 = Layout { signed: true, ..layout(1, 1, 1, 8) };
        let with_overlay = Layout { overlay: true, ..e12.clone() };
        for (word, layout, expected) in [
            (0x0FFF, &e12, Some(4095.0)),
            (0x1FFF, &e12, None),
            (0x1FFF, &with_overlay, Some(4095.0)),
            (0xFFFF, &s12, Some(-1.0)),
            (0x0FFF, &s12, Some(-1.0)),
            (0x07FF, &s12, Some(2047.0)),
            (0x10FF, &s12, None),
            (0x8000, &s16, Some(-32768.0)),
            (0x80, &s8, Some(-128.0)),
            (u32::MAX, &super::tests::layout(1, 1, 1, 32), Some(4_294_967_295.0)),
        ] {
            assert_eq!(layout.value(word), expected, "{word:#06x} {layout:?}");
        }
    }
}
