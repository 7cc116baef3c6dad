//! Reads and writes what `torch.save` writes: a zip with a pickle (names, shapes, strides) and one entry a storage.
//!
//! The pickle is read into plain values; nothing in it is executed. The file is mapped, so that what is in memory is
//! one tensor, whatever sizes the file declares.

mod archive;
mod pickle;
mod tensors;
mod writer;
mod zip;

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anomalens_models::weights::{Element, MappedFile, Shapes};

pub use self::writer::PtWriter;
use crate::checkpoint::CheckpointError;
use archive::Archive;
use pickle::Pickle;
use tensors::{Tensor, View, tensors};

/// Bytes of the pickle; a network of hundreds of tensors takes some 100 kB.
const MAX_PICKLE: usize = 16 << 20;
/// Elements that a view may have beyond those of its storage, which it then repeats.
const MAX_REPEATED: usize = 1 << 24;

/// An open `.pt` file.
pub struct PtFile {
    path: PathBuf,
    map: MappedFile,
    archive: Archive,
    /// Folder of the storages in the zip.
    folder: String,
    tensors: BTreeMap<String, Tensor>,
    /// The storages whose checksum was right.
    whole: RefCell<BTreeSet<String>>,
}

impl PtFile {
    /// Opens a file and reads its pickle.
    ///
    /// Errors: [`CheckpointError::Io`], [`CheckpointError::Damaged`], [`CheckpointError::TorchScript`].
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let map =
            MappedFile::open(path).map_err(|source| CheckpointError::Io { path: path.to_owned(), source })?;
        let damaged = |what: &str, cause: String| CheckpointError::Damaged {
            path: path.to_owned(),
            what: what.to_owned(),
            cause,
        };
        let archive = Archive::read(&map).map_err(|e| damaged("zip", e))?;
        if archive.names().any(|name| name == "constants.pkl" || name.ends_with("/constants.pkl")) {
            return Err(CheckpointError::TorchScript { path: path.to_owned() });
        }
        let pickles: Vec<String> = archive
            .names()
            .filter(|n| *n == "data.pkl" || n.ends_with("/data.pkl"))
            .map(str::to_owned)
            .collect();
        let pickle = match &pickles[..] {
            [pickle] => pickle,
            [] => return Err(damaged("zip", "no data.pkl in it".into())),
            _ => return Err(damaged("zip", "more than one data.pkl in it".into())),
        };
        let root = pickle.strip_suffix("data.pkl").expect("found by this suffix");
        let order = format!("{root}byteorder");
        if archive.names().any(|name| name == order)
            && archive.bytes(&map, &order).map_err(|e| damaged(&order, e))? != b"little"
        {
            return Err(damaged(&order, "the file was written on a big-endian machine".into()));
        }
        let bytes = archive.bytes(&map, pickle).map_err(|e| damaged(pickle, e))?;
        if bytes.len() > MAX_PICKLE {
            let cause = format!("{} bytes, expected at most {MAX_PICKLE}", bytes.len());
            return Err(damaged(pickle, cause));
        }
        if !archive.is_whole(pickle, bytes) {
            return Err(damaged(pickle, "wrong checksum".into()));
        }
        let tensors = Pickle::read(bytes).and_then(|p| tensors(&p)).map_err(|e| damaged(pickle, e))?;
        let folder = format!("{root}data");
        Ok(Self { path: path.to_owned(), map, archive, folder, tensors, whole: RefCell::default() })
    }

    /// The names of all tensors.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Names and shapes of the tensors that can be read.
    pub fn shapes(&self) -> Shapes {
        let shape = |(name, tensor): (&String, &Tensor)| match tensor {
            Tensor::View(view) => Some((name.clone(), view.shape.clone())),
            Tensor::Unreadable(_) => None,
        };
        self.tensors.iter().filter_map(shape).collect()
    }

    /// Whether there is a tensor of this name, be it one that cannot be read.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The shape of a tensor that can be read.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.view(name).ok().map(|view| view.shape.as_slice())
    }

    /// Element type of a tensor.
    ///
    /// Errors: [`CheckpointError::Unreadable`], also if there is no such tensor.
    pub fn element(&self, name: &str) -> Result<Element, CheckpointError> {
        self.view(name).map(|view| view.element)
    }

    /// A tensor's data, row-major, little-endian: a part of the file where it stands there so, else a copy.
    ///
    /// Errors: [`CheckpointError::Unreadable`], [`CheckpointError::Damaged`].
    pub fn bytes(&self, name: &str) -> Result<Cow<'_, [u8]>, CheckpointError> {
        let view = self.view(name)?;
        let damaged = |cause: String| CheckpointError::Damaged {
            path: self.path.clone(),
            what: name.to_owned(),
            cause,
        };
        let storage = self.storage(view).map_err(damaged)?;
        let View { shape, strides, offset, .. } = view;
        let length = view.len().filter(|_| view.fits()).ok_or_else(|| {
            let of = view.of;
            damaged(format!("shape {shape:?}, strides {strides:?}, offset {offset}, in a storage of {of}"))
        })?;
        let size = view.element.bytes();
        if length == 0 {
            return Ok(Cow::Borrowed(&[]));
        }
        if view.is_contiguous() {
            return Ok(Cow::Borrowed(&storage[offset * size..(offset + length) * size]));
        }
        if length > view.of.saturating_add(MAX_REPEATED) {
            let why = format!("a view of shape {shape:?} that repeats a storage of {}", view.of);
            return Err(self.unreadable(name, why));
        }
        Ok(Cow::Owned(gather(view, length, storage)))
    }

    fn view(&self, name: &str) -> Result<&View, CheckpointError> {
        match self.tensors.get(name) {
            Some(Tensor::View(view)) => Ok(view),
            Some(Tensor::Unreadable(why)) => Err(self.unreadable(name, why.clone())),
            None => Err(self.unreadable(name, "not there".into())),
        }
    }

    fn unreadable(&self, name: &str, why: String) -> CheckpointError {
        CheckpointError::Unreadable { path: self.path.clone(), name: name.to_owned(), why }
    }

    /// A whole storage, whose checksum is compared the first time.
    fn storage(&self, view: &View) -> Result<&[u8], String> {
        let entry = format!("{}/{}", self.folder, view.storage);
        let bytes = self.archive.bytes(&self.map, &entry)?;
        if view.of.checked_mul(view.element.bytes()) != Some(bytes.len()) {
            let (of, element) = (view.of, view.element);
            return Err(format!("{entry} has {} bytes, expected {of} × {element}", bytes.len()));
        }
        if !self.whole.borrow().contains(&entry) {
            if !self.archive.is_whole(&entry, bytes) {
                return Err(format!("{entry}: wrong checksum"));
            }
            self.whole.borrow_mut().insert(entry);
        }
        Ok(bytes)
    }
}

/// The elements of a view that fits its storage, in the order of its indices.
fn gather(view: &View, length: usize, storage: &[u8]) -> Vec<u8> {
    let size = view.element.bytes();
    let mut out = Vec::with_capacity(length * size);
    let mut index = vec![0; view.shape.len()];
    let mut at = view.offset;
    for _ in 0..length {
        out.extend_from_slice(&storage[at * size..(at + 1) * size]);
        for axis in (0..index.len()).rev() {
            index[axis] += 1;
            at += view.strides[axis];
            if index[axis] < view.shape[axis] {
                break;
            }
            at -= view.shape[axis] * view.strides[axis];
            index[axis] = 0;
        }
    }
    out
}
