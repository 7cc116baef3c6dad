//! Small helpers to take attributes out of a data set.

use dicom_core::Tag;
use dicom_object::InMemDicomObject;

/// The text of an attribute, trimmed; none where it is absent or empty.
pub(crate) fn text(object: &InMemDicomObject, tag: Tag) -> Option<String> {
    let text = object.get(tag)?.to_str().ok()?;
    let text = text.trim_matches([' ', '\0']);
    (!text.is_empty()).then(|| text.to_owned())
}

/// An unsigned integer; none where it is absent or unreadable.
pub(crate) fn integer(object: &InMemDicomObject, tag: Tag) -> Option<u32> {
    object.get(tag)?.value().to_int().ok()
}

/// The numbers of a decimal string or float attribute: `Ok(None)` where it is absent or empty, `Err` with the
/// value where it cannot be read as `N` finite numbers.
pub(crate) fn numbers<const N: usize>(
    object: &InMemDicomObject,
    tag: Tag,
) -> Result<Option<[f64; N]>, String> {
    let Some(element) = object.get(tag).filter(|e| text(object, e.header().tag).is_some()) else {
        return Ok(None);
    };
    let found = || format!("'{}'", element.to_str().unwrap_or_default());
    let values = element.to_multi_float64().map_err(|_| found())?;
    let values: [f64; N] = values.try_into().map_err(|_| found())?;
    if values.iter().all(|v| v.is_finite()) { Ok(Some(values)) } else { Err(found()) }
}

/// At most 16 characters, as a decimal string may have.
pub(crate) fn decimal(value: f64) -> String {
    let plain = value.to_string();
    if plain.len() <= 16 {
        return plain;
    }
    (0..=10).rev().map(|digits| format!("{value:.digits$e}")).find(|s| s.len() <= 16).unwrap_or(plain)
}
