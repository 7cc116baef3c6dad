//! Elements and values as the standard writes them.

use dicom_core::value::DataSetSequence;
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

/// Puts text (ASCII) into a data set.
pub(super) fn put(object: &mut InMemDicomObject, tag: Tag, vr: VR, value: &str) {
    object.put(DataElement::new(tag, vr, PrimitiveValue::from(value)));
}

/// A code sequence item.
pub(super) fn code(value: &str, scheme: &str, meaning: &str) -> InMemDicomObject {
    let mut item = InMemDicomObject::new_empty();
    put(&mut item, tags::CODE_VALUE, VR::SH, value);
    put(&mut item, tags::CODING_SCHEME_DESIGNATOR, VR::SH, scheme);
    put(&mut item, tags::CODE_MEANING, VR::LO, meaning);
    item
}

/// A sequence item that begins with its purpose of reference, a code of DCM.
pub(super) fn purpose(value: &str, meaning: &str) -> InMemDicomObject {
    let mut item = InMemDicomObject::new_empty();
    let codes = DataSetSequence::from(vec![code(value, "DCM", meaning)]);
    item.put(DataElement::new(tags::PURPOSE_OF_REFERENCE_CODE_SEQUENCE, VR::SQ, codes));
    item
}

/// Text that is the same in every character set: printable ASCII without the backslash, which divides values.
pub(super) fn plain(text: &str, longest: usize) -> String {
    let ascii = text.chars().map(|c| if (' '..='~').contains(&c) && c != '\\' { c } else { '?' });
    ascii.take(longest).collect::<String>().trim_end().to_owned()
}

/// A channel's name as part of a file name.
pub(super) fn safe(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}
