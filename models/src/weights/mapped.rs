//! A file seen as bytes, without reading it into memory.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::path::Path;

use memmap2::Mmap;

/// A whole file, mapped read-only.
pub struct MappedFile(Mmap);

impl MappedFile {
    /// Maps a file.
    ///
    /// Errors: those of the file system.
    #[allow(unsafe_code)]
    pub fn open(path: &Path) -> io::Result<Self> {
        // SAFETY: the map is private and read-only. What remains is that another program cuts the file short while it
        // is mapped: then a read ends the process, as with every mapped file.
        unsafe { Mmap::map(&File::open(path)?) }.map(Self)
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
