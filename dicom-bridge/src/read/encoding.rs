//! Stored values of grey images to the values that the rest of the program sees, and back: Modality LUT (PS3.3
//! C.11.1), the sense of MONOCHROME1, and pixel padding (PS3.3 C.7.5.1.1.2).

use dicom_core::Tag;
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;

use super::Source;
use super::syntax::{codec, name_of};
use crate::attributes::{integer, numbers, text};
use crate::error::ReadError;

/// How stored values become the values that the rest of the program sees, and back.
#[derive(Debug, Clone, PartialEq)]
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
    /// Modality LUT Sequence (0028,3000): it stands in the place of slope and intercept.
    pub table: Option<Table>,
    /// Smallest and largest stored value that stand for "no pixel here": Pixel Padding Value (0028,0120) and Pixel
    /// Padding Range Limit (0028,0121).
    pub padding: Option<[i32; 2]>,
}

/// A Modality LUT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// The stored value that the first entry stands for; smaller ones become the first, larger ones the last entry.
    pub first: i32,
    /// Bits of an entry: 8 or 16.
    pub bits: u32,
    /// At least one.
    pub entries: Vec<u16>,
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
        if let Some(table) = &self.table {
            let value = table.look_up(stored);
            let highest = (1u32 << table.bits) - 1;
            return if self.inverted { (highest - u32::from(value)) as f32 } else { f32::from(value) };
        }
        let [low, high] = self.range();
        let stored = if self.inverted { low + high - stored } else { stored };
        (f64::from(stored) * self.slope + self.intercept) as f32
    }

    /// Whether a stored value stands for "no pixel here".
    pub fn is_padding(&self, stored: i32) -> bool {
        self.padding.is_some_and(|[low, high]| (low..=high).contains(&stored))
    }

    /// How values are written: as they were stored, but that those of a table, which has no way back, are stored
    /// themselves.
    pub fn written(&self) -> Self {
        let Some(table) = &self.table else { return self.clone() };
        Self {
            bits_allocated: table.bits,
            bits_stored: table.bits,
            signed: false,
            slope: 1.0,
            intercept: 0.0,
            inverted: self.inverted,
            table: None,
            padding: None,
        }
    }

    /// The nearest stored value, clamped to the range: the inverse of [`Encoding::rescale`], of one without a table.
    pub fn store(&self, value: f32) -> i32 {
        let [low, high] = self.range();
        let stored = ((f64::from(value) - self.intercept) / self.slope).round();
        let stored = stored.clamp(f64::from(low), f64::from(high)) as i32;
        if self.inverted { low + high - stored } else { stored }
    }

    /// Takes the encoding out of a source's attributes.
    ///
    /// Errors: [`ReadError::Attribute`] for everything that is no grey image of 8 or 16 bits,
    /// [`ReadError::TransferSyntax`].
    pub fn of(source: &Source) -> Result<Self, ReadError> {
        let object = &source.object;
        let path = &source.path;
        if codec(&source.transfer_syntax).is_none() {
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
            let expected = "1 in a single-frame class; split it into single frames first";
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
        let sign = number(tags::PIXEL_REPRESENTATION);
        let Some(sign @ (0 | 1)) = sign else {
            return fail("Pixel Representation (0028,0103)", say(sign), "0 (unsigned) or 1 (signed)");
        };
        let signed = sign == 1;
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
        let table = Table::of(object, signed).map_err(|found| ReadError::Attribute {
            path: path.clone(),
            attribute: "Modality LUT Sequence (0028,3000)",
            found,
            expected: "one table (0028,3006) as its descriptor (0028,3002) says; apply it first".into(),
        })?;
        Ok(Self {
            bits_allocated,
            bits_stored,
            signed,
            slope,
            intercept,
            inverted: photometric == "MONOCHROME1" && source.single_frame_class() != uids::CT_IMAGE_STORAGE,
            table,
            padding: padding(object, signed),
        })
    }
}

impl Table {
    /// The entry of a stored value.
    fn look_up(&self, stored: i32) -> u16 {
        let last = self.entries.len() as i64 - 1;
        self.entries[(i64::from(stored) - i64::from(self.first)).clamp(0, last) as usize]
    }

    /// The table of a data set. `Err`: why what is there is none.
    fn of(object: &InMemDicomObject, signed: bool) -> Result<Option<Self>, String> {
        let Some(sequence) = object.get(tags::MODALITY_LUT_SEQUENCE) else { return Ok(None) };
        let [item] = sequence.items().unwrap_or_default() else { return Err("no single item".into()) };
        let integers = |tag: Tag| item.get(tag).and_then(|e| e.value().to_multi_int::<i32>().ok());
        let descriptor = integers(tags::LUT_DESCRIPTOR).unwrap_or_default();
        let &[entries, first, bits] = descriptor.as_slice() else { return Err("no descriptor".into()) };
        // 0 stands for 65,536, which the field cannot hold (C.11.1.1.1).
        let wanted = if entries & 0xFFFF == 0 { 1 << 16 } else { (entries & 0xFFFF) as usize };
        if ![8, 16].contains(&bits) {
            return Err(format!("entries of {bits} bits"));
        }
        let data: Vec<i32> = integers(tags::LUT_DATA).unwrap_or_default();
        let mut words: Vec<u16> = data.iter().map(|v| *v as u16).collect();
        // Entries of 8 bits may stand two in a word.
        if words.len() == wanted.div_ceil(2) && words.len() != wanted && bits == 8 {
            words = words.iter().flat_map(|w| w.to_le_bytes()).map(u16::from).take(wanted).collect();
        }
        if words.len() != wanted {
            return Err(format!("{} entries where {wanted} are declared", words.len()));
        }
        if bits == 8 && words.iter().any(|w| *w > 0xFF) {
            return Err("entries of more than 8 bits where 8 are declared".into());
        }
        Ok(Some(Self { first: as_stored(first, signed), bits: bits as u32, entries: words }))
    }
}

/// A number of VR "US or SS" as Pixel Representation wants it read.
fn as_stored(value: i32, signed: bool) -> i32 {
    if signed { i32::from(value as u16 as i16) } else { i32::from(value as u16) }
}

fn padding(object: &InMemDicomObject, signed: bool) -> Option<[i32; 2]> {
    let number = |tag| object.get(tag)?.value().to_int::<i32>().ok().map(|v| as_stored(v, signed));
    let value = number(tags::PIXEL_PADDING_VALUE)?;
    let limit = number(tags::PIXEL_PADDING_RANGE_LIMIT).unwrap_or(value);
    Some([value.min(limit), value.max(limit)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use dicom_core::value::DataSetSequence;
    use dicom_core::{DataElement, PrimitiveValue, VR};

    const PLAIN: Encoding = Encoding {
        bits_allocated: 16,
        bits_stored: 16,
        signed: false,
        slope: 1.0,
        intercept: 0.0,
        inverted: false,
        table: None,
        padding: None,
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
    fn a_table_is_looked_up_and_its_values_are_written() {
        let table = Table { first: -1, bits: 8, entries: vec![10, 20, 200] };
        let encoding = Encoding { signed: true, slope: 7.0, table: Some(table), ..PLAIN };
        assert_eq!([-9, -1, 0, 1, 9].map(|v| encoding.rescale(v)), [10.0, 10.0, 20.0, 200.0, 200.0]);
        let written = encoding.written();
        assert_eq!((written.bits_stored, written.signed, written.store(20.4)), (8, false, 20));
        let inverted = Encoding { inverted: true, ..encoding };
        assert_eq!((inverted.rescale(0), inverted.written().store(235.0)), (235.0, 20));
    }

    #[test]
    fn tables_are_read_as_their_descriptor_says() {
        let object = |descriptor: &[u16], words: &[u16]| {
            let mut item = InMemDicomObject::new_empty();
            for (tag, vr, words) in
                [(tags::LUT_DESCRIPTOR, VR::US, descriptor), (tags::LUT_DATA, VR::OW, words)]
            {
                item.put(DataElement::new(tag, vr, PrimitiveValue::U16(words.into())));
            }
            let mut object = InMemDicomObject::new_empty();
            object.put(DataElement::new(
                tags::MODALITY_LUT_SEQUENCE,
                VR::SQ,
                DataSetSequence::from(vec![item]),
            ));
            object
        };
        let of = |descriptor: &[u16], words: &[u16], signed| Table::of(&object(descriptor, words), signed);
        let table = |first, bits, entries: &[u16]| Ok(Some(Table { first, bits, entries: entries.to_vec() }));
        assert_eq!(of(&[2, 0xFFFF, 16], &[7, 300], true), table(-1, 16, &[7, 300]));
        assert_eq!(of(&[2, 0xFFFF, 16], &[7, 300], false), table(65_535, 16, &[7, 300]));
        assert_eq!(of(&[3, 0, 8], &[0x0201, 0x0003], false), table(0, 8, &[1, 2, 3]));
        for (descriptor, words) in
            [(&[2, 0, 16][..], &[7][..]), (&[2, 0, 12], &[7, 8]), (&[2, 0], &[7, 8]), (&[2, 0, 8], &[7, 300])]
        {
            assert!(of(descriptor, words, false).is_err(), "{descriptor:?} {words:?}");
        }
        assert_eq!(of(&[0, 0, 16], &[5; 65_536], false).unwrap().unwrap().entries.len(), 65_536);
    }

    #[test]
    fn padding_is_a_value_or_a_range() {
        let object = |tags_and_values: &[(Tag, u16)]| {
            let mut object = InMemDicomObject::new_empty();
            for &(tag, value) in tags_and_values {
                object.put(DataElement::new(tag, VR::US, PrimitiveValue::from(value)));
            }
            object
        };
        let (value, limit) = (tags::PIXEL_PADDING_VALUE, tags::PIXEL_PADDING_RANGE_LIMIT);
        assert_eq!(padding(&object(&[]), false), None);
        assert_eq!(padding(&object(&[(limit, 3)]), false), None);
        // −2000, written as US.
        assert_eq!(padding(&object(&[(value, 63_536)]), true), Some([-2000, -2000]));
        assert_eq!(padding(&object(&[(value, 63_536)]), false), Some([63_536, 63_536]));
        assert_eq!(padding(&object(&[(value, 9), (limit, 3)]), false), Some([3, 9]));
        let encoding = Encoding { padding: Some([3, 9]), ..PLAIN };
        assert_eq!([2, 3, 9, 10].map(|v| encoding.is_padding(v)), [false, true, true, false]);
    }
}
