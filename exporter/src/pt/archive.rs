//! The table of contents of a zip file, as far as `torch.save` uses the format: entries are stored as they are.
//!
//! Nothing is unpacked or written to disk: an entry is a range of the mapped file, so that no declared size can ask
//! for memory, and a name that leaves the folder leads nowhere.

use std::collections::BTreeMap;
use std::ops::Range;

/// Entries that are listed at most: a network has hundreds.
const MAX_ENTRIES: u64 = 1 << 20;
const END: [u8; 4] = *b"PK\x05\x06";
const END_64: [u8; 4] = *b"PK\x06\x06";
const LOCATOR_64: [u8; 4] = *b"PK\x06\x07";
const CENTRAL: [u8; 4] = *b"PK\x01\x02";
const LOCAL: [u8; 4] = *b"PK\x03\x04";

/// Where the entries of a zip file stand, by name.
pub struct Archive {
    entries: BTreeMap<String, Entry>,
}

struct Entry {
    /// Of the entry's own header.
    header: u64,
    length: u64,
    packed: bool,
    crc: u32,
}

/// The directory of a file.
struct Directory {
    entries: u64,
    range: Range<usize>,
}

impl Archive {
    /// Reads the table of contents, which stands at the end of a zip file.
    pub fn read(file: &[u8]) -> Result<Self, String> {
        let Directory { entries: count, range } =
            directory(file).ok_or("its end is not that of a zip file")?;
        if count > MAX_ENTRIES {
            return Err(format!("{count} entries, expected at most {MAX_ENTRIES}"));
        }
        let (mut entries, mut rest) = (BTreeMap::new(), &file[range]);
        for _ in 0..count {
            let (name, entry, after) = central(rest).ok_or("its table of contents is damaged")?;
            if entries.insert(name.clone(), entry).is_some() {
                return Err(format!("two entries named '{name}'"));
            }
            rest = after;
        }
        Ok(Self { entries })
    }

    /// The names of all entries.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// The bytes of an entry.
    pub fn bytes<'a>(&self, file: &'a [u8], name: &str) -> Result<&'a [u8], String> {
        let entry = self.entries.get(name).ok_or_else(|| format!("no entry '{name}'"))?;
        if entry.packed {
            return Err(format!("entry '{name}' is compressed or encrypted, which torch.save never does"));
        }
        let found = || {
            let rest = file.get(usize::try_from(entry.header).ok()?..)?;
            let fields = rest.strip_prefix(&LOCAL)?;
            let data =
                rest.get(30 + usize::from(u16_at(fields, 22)?) + usize::from(u16_at(fields, 24)?)..)?;
            data.get(..usize::try_from(entry.length).ok()?)
        };
        found().ok_or_else(|| format!("entry '{name}' ends beyond the file"))
    }

    /// Whether the bytes of an entry are those that were written.
    pub fn is_whole(&self, name: &str, bytes: &[u8]) -> bool {
        self.entries.get(name).is_some_and(|entry| entry.crc == crc32fast::hash(bytes))
    }
}

fn directory(file: &[u8]) -> Option<Directory> {
    // A comment of up to 65535 bytes may follow the end record, which is 22 long.
    let last = file.len().checked_sub(22)?;
    let at = (last.saturating_sub(usize::from(u16::MAX))..=last).rev().find(|&at| {
        file[at..].starts_with(&END)
            && u16_at(&file[at..], 20).is_some_and(|n| at + 22 + usize::from(n) == file.len())
    })?;
    let end = &file[at..];
    let (mut entries, mut size, mut start) =
        (u64::from(u16_at(end, 10)?), u64::from(u32_at(end, 12)?), u64::from(u32_at(end, 16)?));
    if entries == u64::from(u16::MAX) || size == u64::from(u32::MAX) || start == u64::from(u32::MAX) {
        let locator = file[..at].get(at.checked_sub(20)?..)?.strip_prefix(&LOCATOR_64)?;
        let record = file.get(usize::try_from(u64_at(locator, 4)?).ok()?..at)?.strip_prefix(&END_64)?;
        (entries, size, start) = (u64_at(record, 28)?, u64_at(record, 36)?, u64_at(record, 44)?);
    }
    let stop = usize::try_from(start.checked_add(size)?).ok().filter(|&stop| stop <= at)?;
    Some(Directory { entries, range: usize::try_from(start).ok()?..stop })
}

/// The first entry of a directory, and what follows it.
fn central(bytes: &[u8]) -> Option<(String, Entry, &[u8])> {
    let fields = bytes.strip_prefix(&CENTRAL)?;
    let name = usize::from(u16_at(fields, 24)?);
    let extra = usize::from(u16_at(fields, 26)?);
    let comment = usize::from(u16_at(fields, 28)?);
    let (mut packed, mut length, mut header) =
        (u64::from(u32_at(fields, 16)?), u64::from(u32_at(fields, 20)?), u64::from(u32_at(fields, 38)?));
    let tail = fields.get(42..)?;
    let (name, tail) = tail.split_at_checked(name)?;
    let (mut extra, tail) = tail.split_at_checked(extra)?;
    // The extra field of number 1 holds what does not fit 32 bits, in this order.
    while let Some((id, size)) = u16_at(extra, 0).zip(u16_at(extra, 2)) {
        let mut field = extra.get(4..4 + usize::from(size))?;
        extra = &extra[4 + usize::from(size)..];
        if id == 1 {
            for value in [&mut length, &mut packed, &mut header] {
                if *value == u64::from(u32::MAX) {
                    *value = u64_at(field, 0)?;
                    field = &field[8..];
                }
            }
        }
    }
    let (encrypted, method) = (u16_at(fields, 4)? & 1 == 1, u16_at(fields, 6)?);
    let entry = Entry {
        header,
        length,
        packed: encrypted || method != 0 || packed != length,
        crc: u32_at(fields, 12)?,
    };
    Some((String::from_utf8_lossy(name).into_owned(), entry, tail.get(comment..)?))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().copied().map(u64::from_le_bytes)
}
