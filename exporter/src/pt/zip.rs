//! Writes a zip file as `torch.save` does: entries stored as they are, their data at multiples of 64 bytes.

use std::io::{self, Write};

/// PyTorch maps a file's tensors only where they are aligned so.
const ALIGNMENT: u64 = 64;
/// What a 32-bit field holds where the number stands in the extra field instead.
const ELSEWHERE: u32 = u32::MAX;

/// A zip file under construction.
pub struct ZipWriter<W: Write> {
    out: W,
    at: u64,
    entries: Vec<Entry>,
    /// Numbers from here on are written with 64 bits.
    large: u64,
}

struct Entry {
    name: String,
    crc: u32,
    length: u64,
    header: u64,
}

impl<W: Write> ZipWriter<W> {
    /// Begins a file.
    pub fn new(out: W) -> Self {
        Self { out, at: 0, entries: Vec::new(), large: ELSEWHERE.into() }
    }

    /// Writes one entry.
    ///
    /// Errors: those of the output.
    pub fn entry(&mut self, name: String, data: &[u8]) -> io::Result<()> {
        let entry = Entry { name, crc: crc32fast::hash(data), length: data.len() as u64, header: self.at };
        let mut extra = self.wide(&[entry.length, entry.length]);
        // A field of PyTorch's own, "FB", fills up to the alignment. Its header takes four bytes.
        let start = self.at + 30 + entry.name.len() as u64 + extra.len() as u64 + 4;
        let fill = start.next_multiple_of(ALIGNMENT) - start;
        extra.extend(field(u16::from_le_bytes(*b"FB"), &vec![b'Z'; fill as usize]));
        let mut header = b"PK\x03\x04".to_vec();
        self.common(&mut header, &entry, extra.len() as u16);
        header.extend(entry.name.as_bytes());
        header.extend(extra);
        self.write(&header)?;
        self.write(data)?;
        self.entries.push(entry);
        Ok(())
    }

    /// Writes the table of contents and gives the output back.
    ///
    /// Errors: those of the output.
    pub fn finish(mut self) -> io::Result<W> {
        let start = self.at;
        let mut directory = Vec::new();
        for entry in &self.entries {
            let extra = self.wide(&[entry.length, entry.length, entry.header]);
            directory.extend(b"PK\x01\x02\x2d\0");
            self.common(&mut directory, entry, extra.len() as u16);
            // No comment, disk, or attributes.
            directory.extend([0; 10]);
            directory.extend(self.narrow(entry.header).to_le_bytes());
            directory.extend(entry.name.as_bytes());
            directory.extend(extra);
        }
        self.write(&directory)?;
        let (count, size, end) = (self.entries.len() as u64, directory.len() as u64, self.at);
        let few = u16::try_from(count).ok().filter(|&n| n < u16::MAX && count < self.large);
        if few.is_none() || size >= self.large || start >= self.large {
            let mut record = b"PK\x06\x06".to_vec();
            record.extend(44u64.to_le_bytes());
            record.extend([45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            for number in [count, count, size, start] {
                record.extend(number.to_le_bytes());
            }
            record.extend(b"PK\x06\x07\0\0\0\0");
            record.extend(end.to_le_bytes());
            record.extend(1u32.to_le_bytes());
            self.write(&record)?;
        }
        let mut record = b"PK\x05\x06\0\0\0\0".to_vec();
        record.extend(few.unwrap_or(u16::MAX).to_le_bytes());
        record.extend(few.unwrap_or(u16::MAX).to_le_bytes());
        record.extend(self.narrow(size).to_le_bytes());
        record.extend(self.narrow(start).to_le_bytes());
        record.extend([0, 0]);
        self.write(&record)?;
        Ok(self.out)
    }

    /// What the two headers of an entry have in common: from the version to the length of the extra field.
    fn common(&self, header: &mut Vec<u8>, entry: &Entry, extra: u16) {
        // Version 4.5; names in UTF-8; stored; 1 January 1980, so that the same tensors give the same file.
        header.extend([45, 0, 0, 8, 0, 0, 0, 0, 0x21, 0]);
        header.extend(entry.crc.to_le_bytes());
        header.extend(self.narrow(entry.length).to_le_bytes());
        header.extend(self.narrow(entry.length).to_le_bytes());
        header.extend((entry.name.len() as u16).to_le_bytes());
        header.extend(extra.to_le_bytes());
    }

    fn narrow(&self, number: u64) -> u32 {
        if number < self.large { number as u32 } else { ELSEWHERE }
    }

    /// The extra field with those of the numbers that 32 bits do not hold.
    fn wide(&self, numbers: &[u64]) -> Vec<u8> {
        let large = numbers.iter().filter(|&&n| n >= self.large);
        let bytes: Vec<u8> = large.flat_map(|n| n.to_le_bytes()).collect();
        if bytes.is_empty() { bytes } else { field(1, &bytes) }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.at += bytes.len() as u64;
        self.out.write_all(bytes)
    }
}

fn field(id: u16, data: &[u8]) -> Vec<u8> {
    [&id.to_le_bytes()[..], &(data.len() as u16).to_le_bytes(), data].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pt::archive::Archive;
    use std::io::{Cursor, Read};

    /// What a second reader of the format, and our own, make of it; also where numbers need 64 bits.
    #[test]
    fn two_readers_agree() {
        for large in [u64::from(ELSEWHERE), 100, 0] {
            let mut writer = ZipWriter { large, ..ZipWriter::new(Vec::new()) };
            let data: [(&str, Vec<u8>); 3] =
                [("a/data.pkl", vec![1; 7]), ("a/data/0", vec![]), ("a/data/é", vec![3; 1000])];
            for (name, data) in &data {
                writer.entry((*name).into(), data).unwrap();
            }
            let file = writer.finish().unwrap();
            let mut other = ::zip::ZipArchive::new(Cursor::new(&file)).unwrap();
            let ours = Archive::read(&file).unwrap();
            assert_eq!((other.len(), ours.names().count()), (3, 3));
            for (name, data) in &data {
                let mut entry = other.by_name(name).unwrap();
                assert_eq!(entry.data_start().unwrap() % ALIGNMENT, 0, "{name}, {large}");
                let mut read = Vec::new();
                entry.read_to_end(&mut read).unwrap();
                assert_eq!(&read, data, "{name}, {large}");
                assert_eq!(ours.bytes(&file, name).unwrap(), data, "{name}, {large}");
                assert!(ours.is_whole(name, data) && !ours.is_whole(name, b"other"));
            }
        }
    }
}
