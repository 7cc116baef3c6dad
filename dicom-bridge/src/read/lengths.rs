//! Lengths that a file declares. The parser reserves memory for a value before it reads it: a damaged file of a few kilobytes
//! can ask for gigabytes.

use dicom_dictionary_std::uids;
use dicom_object::FileMetaTable;
use dicom_parser::dataset::LazyDataToken;
use dicom_parser::dataset::lazy_read::LazyDataSetReader;
use dicom_transfer_syntax_registry::entries;

use super::syntax::BIG_ENDIAN;

/// The first value of the data set that is declared to be longer than the whole file, in words; none where each is shorter,
/// where the file is deflated, so that nothing is known of its length, and as far as it can be parsed. `file`: a Part 10
/// file.
pub(super) fn impossible(file: &[u8]) -> Option<String> {
    let mut data = &file[128..];
    let meta = FileMetaTable::from_reader(&mut data).ok()?;
    let syntax = match meta.transfer_syntax().trim_end_matches('\0') {
        uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN => return None,
        uids::IMPLICIT_VR_LITTLE_ENDIAN => entries::IMPLICIT_VR_LITTLE_ENDIAN.erased(),
        BIG_ENDIAN => entries::EXPLICIT_VR_BIG_ENDIAN.erased(),
        _ => entries::EXPLICIT_VR_LITTLE_ENDIAN.erased(),
    };
    let mut reader = LazyDataSetReader::new_with_ts(std::io::Cursor::new(data), &syntax).ok()?;
    while let Some(Ok(token)) = reader.advance() {
        let (name, length) = match &token {
            LazyDataToken::LazyValue { header, .. } => (header.tag.to_string(), header.len.0),
            LazyDataToken::LazyItemValue { len, .. } => ("an item".to_owned(), *len),
            _ => continue,
        };
        if length as usize > file.len() {
            return Some(format!(
                "{name} is said to be {length} bytes long, in a file of {}: it is cut off, or no such file",
                file.len()
            ));
        }
        token.skip().ok()?;
    }
    None
}
