//! Standard attributes that come as UN: a system that did not know them wrote their bytes and forgot their type.

use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry, VirtualVr};
use dicom_core::header::Header;
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::StandardDataDictionary;
use dicom_object::InMemDicomObject;

/// Gives text and unsigned shorts at the root of a data set their VR back, from the dictionary (PS3.5 6.2.2,
/// note 2). Their bytes are little endian always.
pub(super) fn restore(object: &mut InMemDicomObject) {
    let unknown: Vec<Tag> = object.iter().filter(|e| e.vr() == VR::UN).map(|e| e.tag()).collect();
    for tag in unknown {
        let Some(VirtualVr::Exact(vr)) = StandardDataDictionary.by_tag(tag).map(|e| e.vr()) else { continue };
        let Some(bytes) = object.get(tag).and_then(|e| e.to_bytes().ok()) else { continue };
        let text = || bytes.iter().map(|b| char::from(*b)).collect::<String>();
        let value = match vr {
            VR::AE
            | VR::AS
            | VR::CS
            | VR::DA
            | VR::DS
            | VR::DT
            | VR::IS
            | VR::LO
            | VR::PN
            | VR::SH
            | VR::TM
            | VR::UI => PrimitiveValue::Strs(text().split('\\').map(str::to_owned).collect()),
            VR::LT | VR::ST | VR::UC | VR::UR | VR::UT => PrimitiveValue::Str(text()),
            VR::US => {
                let words = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
                PrimitiveValue::U16(words.collect())
            }
            _ => continue,
        };
        let element = DataElement::new(tag, vr, value);
        object.put(element);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attributes::{integer, numbers, text};
    use dicom_dictionary_std::tags;

    #[test]
    fn text_and_shorts_come_back() {
        let mut object = InMemDicomObject::new_empty();
        let private = Tag(0x0013, 0x1010);
        for (tag, bytes) in [
            (tags::MODALITY, &b"CT"[..]),
            (tags::PIXEL_SPACING, b"0.5\\0.75"),
            (tags::ROWS, b"\x00\x02"),
            (private, b"ab"),
        ] {
            object.put(DataElement::new(tag, VR::UN, PrimitiveValue::U8(bytes.into())));
        }
        restore(&mut object);
        assert_eq!(text(&object, tags::MODALITY).as_deref(), Some("CT"));
        assert_eq!(numbers::<2>(&object, tags::PIXEL_SPACING), Ok(Some([0.5, 0.75])));
        assert_eq!(integer(&object, tags::ROWS), Some(512));
        assert_eq!(object.element(private).unwrap().vr(), VR::UN);
    }
}
