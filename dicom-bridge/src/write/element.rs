//! Elements and values as the standard writes them.

use dicom_core::value::DataSetSequence;
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

use crate::attributes::decimal;

/// Puts text (ASCII) into a data set.
pub(super) fn put(object: &mut InMemDicomObject, tag: Tag, vr: VR, value: &str) {
    object.put(DataElement::new(tag, vr, PrimitiveValue::from(value)));
}

/// Puts an unsigned short into a data set.
pub(super) fn short(object: &mut InMemDicomObject, tag: Tag, value: u16) {
    object.put(DataElement::new(tag, VR::US, PrimitiveValue::from(value)));
}

/// Puts decimal strings into a data set.
pub(super) fn decimals(object: &mut InMemDicomObject, tag: Tag, values: &[f64]) {
    let texts: Vec<String> = values.iter().map(|v| decimal(*v)).collect();
    put(object, tag, VR::DS, &texts.join("\\"));
}

/// Puts a sequence into a data set.
pub(super) fn items(object: &mut InMemDicomObject, tag: Tag, items: Vec<InMemDicomObject>) {
    object.put(DataElement::new(tag, VR::SQ, DataSetSequence::from(items)));
}

/// A sequence item of these elements.
pub(super) fn item(fill: impl FnOnce(&mut InMemDicomObject)) -> InMemDicomObject {
    let mut item = InMemDicomObject::new_empty();
    fill(&mut item);
    item
}

/// A code sequence item.
pub(super) fn code(value: &str, scheme: &str, meaning: &str) -> InMemDicomObject {
    item(|item| {
        put(item, tags::CODE_VALUE, VR::SH, value);
        put(item, tags::CODING_SCHEME_DESIGNATOR, VR::SH, scheme);
        put(item, tags::CODE_MEANING, VR::LO, meaning);
    })
}

/// A sequence item that begins with its purpose of reference, a code of DCM.
pub(super) fn purpose(value: &str, meaning: &str) -> InMemDicomObject {
    item(|item| items(item, tags::PURPOSE_OF_REFERENCE_CODE_SEQUENCE, vec![code(value, "DCM", meaning)]))
}

/// Text that is the same in every character set: printable ASCII without the backslash, which divides values.
pub(super) fn plain(text: &str, longest: usize) -> String {
    let ascii = text.chars().map(|c| if (' '..='~').contains(&c) && c != '\\' { c } else { '?' });
    ascii.take(longest).collect::<String>().trim_end().to_owned()
}

/// A channel's name as part of a file name: what is no ASCII letter or digit becomes a line.
pub fn safe(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}
