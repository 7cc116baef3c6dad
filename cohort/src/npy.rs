//! The part of NumPy's `.npy` format (versions 1 to 3) that allows one item of a large array to be read or appended.
//!
//! The crate `ndarray-npy` reads and writes whole arrays only.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::CohortError;

const MAGIC: &[u8] = b"\x93NUMPY";
/// Room for the header that the writer keeps, bytes: enough for any shape; a multiple of 64, as the format wants.
const HEADER: usize = 192;
/// A header longer than this is not one of ours.
const LONGEST_HEADER: usize = 1 << 16;

/// The type of an array's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    F32,
    U8,
}

impl Kind {
    fn descr(self) -> &'static str {
        match self {
            Self::F32 => "<f4",
            Self::U8 => "|u1",
        }
    }

    fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::U8 => 1,
        }
    }
}

/// An array [N, ...] on the disk whose items are read one by one.
#[derive(Debug)]
pub(crate) struct ItemFile {
    path: PathBuf,
    file: Mutex<File>,
    data: u64,
    item_bytes: usize,
}

impl ItemFile {
    /// Opens an array that must have the given type and shape, in C order.
    ///
    /// Errors: [`CohortError::Read`], [`CohortError::Array`], [`CohortError::Length`].
    pub fn open(path: PathBuf, kind: Kind, shape: &[usize]) -> Result<Self, CohortError> {
        let read = |source| CohortError::Read { path: path.clone(), source };
        let mut file = File::open(&path).map_err(read)?;
        let wrong = |found: String| {
            let expected = format!("a .npy array of type {}, shape {shape:?}, C order", kind.descr());
            CohortError::Array { path: path.clone(), found, expected }
        };
        let (header, data) = match header(&mut file).map_err(read)? {
            Some(found) => found,
            None => return Err(wrong("found no .npy header".into())),
        };
        let is =
            Header::parse(&header).ok_or_else(|| wrong(format!("found the header {:?}", header.trim())))?;
        if is.descr != kind.descr() || is.fortran || is.shape != shape {
            let order = if is.fortran { "Fortran" } else { "C" };
            return Err(wrong(format!("found type {}, shape {:?}, {order} order", is.descr, is.shape)));
        }
        let item_bytes = shape[1..].iter().product::<usize>() * kind.bytes();
        let expected = data + (shape[0] * item_bytes) as u64;
        let found = file.metadata().map_err(read)?.len();
        if found != expected {
            return Err(CohortError::Length { path: path.clone(), found, expected });
        }
        Ok(Self { path, file: Mutex::new(file), data, item_bytes })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The bytes of one item, which must exist.
    pub fn item(&self, index: usize) -> Result<Vec<u8>, CohortError> {
        let mut bytes = vec![0; self.item_bytes];
        // A poisoned lock only says that another reader panicked; the file is as good as before.
        let mut file = self.file.lock().unwrap_or_else(|e| e.into_inner());
        file.seek(SeekFrom::Start(self.data + (index * self.item_bytes) as u64))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(|source| CohortError::Read { path: self.path.clone(), source })?;
        Ok(bytes)
    }
}

/// The header's text and where the data begin; `None` if it is not a `.npy` file.
fn header(file: &mut File) -> io::Result<Option<(String, u64)>> {
    let mut start = [0; 8];
    match file.read_exact(&mut start) {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let wide = match start[6] {
        _ if &start[..6] != MAGIC => return Ok(None),
        1 => 2,
        2 | 3 => 4,
        _ => return Ok(None),
    };
    let mut size = [0; 4];
    file.read_exact(&mut size[..wide])?;
    let size = u32::from_le_bytes(size) as usize;
    if size > LONGEST_HEADER {
        return Ok(None);
    }
    let mut text = vec![0; size];
    match file.read_exact(&mut text) {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    Ok(Some((String::from_utf8_lossy(&text).into_owned(), (8 + wide + size) as u64)))
}

struct Header {
    descr: String,
    fortran: bool,
    shape: Vec<usize>,
}

impl Header {
    /// Reads e.g. `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4, 64, 64), }`.
    fn parse(text: &str) -> Option<Self> {
        let after = |key: &str| text.split_once(&format!("'{key}':")).map(|(_, rest)| rest.trim_start());
        let descr = after("descr")?.strip_prefix('\'')?.split_once('\'')?.0.to_owned();
        let fortran = after("fortran_order")?.starts_with("True");
        let inside = after("shape")?.strip_prefix('(')?.split_once(')')?.0;
        let numbers = inside.split(',').map(str::trim).filter(|n| !n.is_empty());
        Some(Self { descr, fortran, shape: numbers.map(|n| n.parse().ok()).collect::<Option<_>>()? })
    }
}

/// An array [N, ...] to which items are appended; N is filled in at the end.
pub(crate) struct ItemWriter {
    file: BufWriter<File>,
    kind: Kind,
    item_shape: Vec<usize>,
    items: usize,
}

impl ItemWriter {
    pub fn create(path: &Path, kind: Kind, item_shape: &[usize]) -> io::Result<Self> {
        let mut file = BufWriter::new(File::create(path)?);
        file.write_all(&[0; HEADER])?;
        Ok(Self { file, kind, item_shape: item_shape.to_vec(), items: 0 })
    }

    pub fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        debug_assert_eq!(bytes.len(), self.item_shape.iter().product::<usize>() * self.kind.bytes());
        self.items += 1;
        self.file.write_all(bytes)
    }

    pub fn finish(self) -> io::Result<()> {
        let Self { file, kind, item_shape, items } = self;
        let shape: String = [items].iter().chain(&item_shape).map(|n| format!("{n}, ")).collect();
        let descr = kind.descr();
        let text =
            format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}), }}", shape.trim_end());
        let mut header = [MAGIC, &[1, 0], &((HEADER - 10) as u16).to_le_bytes(), text.as_bytes()].concat();
        header.resize(HEADER - 1, b' ');
        header.push(b'\n');
        let mut file = file.into_inner().map_err(|e| e.into_error())?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&header)
    }
}
