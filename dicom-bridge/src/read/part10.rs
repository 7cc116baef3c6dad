//! Files that begin otherwise than PS3.10 wants: without the preamble, or with the data set at once.

use std::path::Path;

use dicom_core::VR;
use dicom_dictionary_std::uids;
use dicom_object::FileMetaTableBuilder;

use super::syntax::BIG_ENDIAN;
use crate::error::ReadError;

/// The same bytes as a DICOM Part 10 file.
///
/// Errors: [`ReadError::NotDicom`].
pub(super) fn complete(path: &Path, bytes: Vec<u8>) -> Result<Vec<u8>, ReadError> {
    if bytes.get(128..132) == Some(b"DICM") {
        return Ok(bytes);
    }
    let mut file = vec![0; 128];
    file.extend(b"DICM");
    if !bytes.starts_with(&[0x02, 0x00, 0x00, 0x00, b'U', b'L']) {
        let syntax = syntax_of(&bytes).ok_or_else(|| ReadError::NotDicom { path: path.to_owned() })?;
        // What class it is the data set says itself.
        let meta = FileMetaTableBuilder::new()
            .media_storage_sop_class_uid("")
            .media_storage_sop_instance_uid("")
            .transfer_syntax(syntax)
            .build()
            .expect("all that a file meta table needs is given");
        meta.write(&mut file).expect("memory takes everything");
    }
    file.extend(bytes);
    Ok(file)
}

/// The uncompressed transfer syntax that a bare data set is written in, by its first element; none where this is not
/// one of those that an image begins with, (0008,0000) to (0008,0018).
fn syntax_of(bytes: &[u8]) -> Option<&'static str> {
    let head: [u8; 8] = bytes.get(..8)?.try_into().ok()?;
    let explicit = VR::from_binary([head[4], head[5]]).is_some();
    match head[..4] {
        [0x08, 0, 0..=0x18, 0] if explicit => Some(uids::EXPLICIT_VR_LITTLE_ENDIAN),
        [0, 0x08, 0, 0..=0x18] if explicit => Some(BIG_ENDIAN),
        // The length of a short text or number.
        [0x08, 0, 0..=0x18, 0] if head[5..] == [0, 0, 0] => Some(uids::IMPLICIT_VR_LITTLE_ENDIAN),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_data_set_is_known_by_its_first_element() {
        for (bytes, expected) in [
            (&b"\x08\0\x05\0CS\x0A\0ISO"[..], Some(uids::EXPLICIT_VR_LITTLE_ENDIAN)),
            (b"\0\x08\0\x05CS\0\x0AISO", Some(BIG_ENDIAN)),
            (b"\x08\0\x05\0\x0A\0\0\0ISO", Some(uids::IMPLICIT_VR_LITTLE_ENDIAN)),
            (b"\x08\0\x20\0\x0A\0\0\0ISO", None),
            (b"\x08\0\x05\0\x0A\0\0\x01ISO", None),
            (b"\x08\0\x05\0xy\x0A\0ISO", None),
            (b"\x08\0\x05", None),
            (b"plain text", None),
        ] {
            assert_eq!(syntax_of(bytes), expected, "{bytes:?}");
        }
    }
}
