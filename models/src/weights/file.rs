//! The reader: a memory-mapped safetensors file.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use half::f16;
use ndarray::ArrayD;
use safetensors::{Dtype, SafeTensorError, SafeTensors};

use super::{Element, MappedFile, Shapes, header};
use crate::graph::ParamSource;

/// Why a weights file could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// The file could not be opened.
    #[error("weights '{}': {source}; expected a readable .safetensors file", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Not safetensors, or cut short.
    #[error("weights '{}': {source}, expected a whole safetensors file; copy or write it again", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: SafeTensorError,
    },
    /// The header names a tensor twice.
    #[error("weights '{}': tensor '{name}' stands twice in the header, expected once; write the file again", path.display())]
    Duplicate {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// A shape that no array can have.
    #[error("weights '{}': tensor '{name}' has the impossible shape {shape:?}; write the file again", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The shape found.
        shape: Vec<usize>,
    },
    /// No tensor of this name.
    #[error("weights '{}': no tensor '{name}' among {found}; the file belongs to another network", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// How many tensors there are.
        found: usize,
    },
    /// An element type other than f32 and f16.
    #[error("weights '{}': tensor '{name}' is {found}, expected f32 or f16; convert it with tensor.float() and save again", path.display())]
    DType {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The type found.
        found: String,
    },
}

/// Where a tensor's data stands in its file: what ONNX external data wants to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// First byte, counted from the start of the file.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}

struct Entry {
    shape: Vec<usize>,
    dtype: Dtype,
    location: Location,
}

/// A memory-mapped safetensors file: tensors are copied out one at a time, the rest stays on disk.
pub struct Weights {
    path: PathBuf,
    map: MappedFile,
    tensors: BTreeMap<String, Entry>,
}

impl Weights {
    /// Maps a file and reads its header.
    ///
    /// Errors: [`WeightsError::Io`], [`WeightsError::Format`] (also for a file that was cut short, and for data that
    /// overlap or leave gaps), [`WeightsError::Duplicate`].
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
        let map =
            MappedFile::open(path).map_err(|source| WeightsError::Io { path: path.to_owned(), source })?;
        let (header, metadata) = SafeTensors::read_metadata(&map)
            .map_err(|source| WeightsError::Format { path: path.to_owned(), source })?;
        if let Some(name) = header::duplicate(&map[size_of::<u64>()..size_of::<u64>() + header]) {
            return Err(WeightsError::Duplicate { path: path.to_owned(), name });
        }
        let data = (size_of::<u64>() + header) as u64;
        let entry = |info: &safetensors::tensor::TensorInfo| Entry {
            shape: info.shape.clone(),
            dtype: info.dtype,
            location: Location {
                offset: data + info.data_offsets.0 as u64,
                length: (info.data_offsets.1 - info.data_offsets.0) as u64,
            },
        };
        let tensors = metadata.tensors().into_iter().map(|(name, info)| (name, entry(info))).collect();
        Ok(Self { path: path.to_owned(), map, tensors })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Names and shapes of all tensors.
    pub fn shapes(&self) -> Shapes {
        self.tensors.iter().map(|(name, entry)| (name.clone(), entry.shape.clone())).collect()
    }

    /// The shape of a tensor; `None` if there is no tensor of this name.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|entry| entry.shape.as_slice())
    }

    /// Where a tensor's data stands in the file.
    ///
    /// Errors: [`WeightsError::Missing`].
    pub fn location(&self, name: &str) -> Result<Location, WeightsError> {
        Ok(self.entry(name)?.location)
    }

    /// Element type of a tensor, e.g. `f32`.
    ///
    /// Errors: [`WeightsError::Missing`].
    pub fn dtype(&self, name: &str) -> Result<String, WeightsError> {
        Ok(format!("{:?}", self.entry(name)?.dtype).to_lowercase())
    }

    /// Element type of a tensor.
    ///
    /// Errors: [`WeightsError::Missing`], [`WeightsError::DType`] for a type that PyTorch's networks do not have.
    pub fn element(&self, name: &str) -> Result<Element, WeightsError> {
        Element::of(self.entry(name)?.dtype).ok_or_else(|| self.other_type(name))
    }

    /// A tensor's data, row-major.
    ///
    /// Errors: [`WeightsError::Missing`].
    pub fn bytes(&self, name: &str) -> Result<&[u8], WeightsError> {
        let Location { offset, length } = self.entry(name)?.location;
        Ok(&self.map[offset as usize..(offset + length) as usize])
    }

    /// A copy of one tensor; f16 is widened, which is exact.
    ///
    /// Errors: [`WeightsError::Missing`], [`WeightsError::DType`] if it is neither f32 nor f16, [`WeightsError::Shape`].
    pub fn read(&self, name: &str) -> Result<ArrayD<f32>, WeightsError> {
        let entry = self.entry(name)?;
        let bytes = self.bytes(name)?;
        // A foreign file may place its data at an odd address, so the bytes are not reinterpreted in place.
        let values = match entry.dtype {
            Dtype::F32 => bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
            Dtype::F16 => bytes.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
            _ => return Err(self.other_type(name)),
        };
        // The header was checked: length = product of the shape × bytes of the type. Yet [0, 2^60, 2^60] passes.
        ArrayD::from_shape_vec(entry.shape.clone(), values).map_err(|_| WeightsError::Shape {
            path: self.path.clone(),
            name: name.to_owned(),
            shape: entry.shape.clone(),
        })
    }

    fn other_type(&self, name: &str) -> WeightsError {
        let found = self.dtype(name).unwrap_or_default();
        WeightsError::DType { path: self.path.clone(), name: name.to_owned(), found }
    }

    /// The tensors whose names begin with `prefix`, seen without it, e.g. [`super::UNET_PREFIX`].
    pub fn part<'a>(&'a self, prefix: &'a str) -> Part<'a> {
        Part { weights: self, prefix }
    }

    fn entry(&self, name: &str) -> Result<&Entry, WeightsError> {
        self.tensors.get(name).ok_or_else(|| WeightsError::Missing {
            path: self.path.clone(),
            name: name.to_owned(),
            found: self.tensors.len(),
        })
    }
}

impl ParamSource for Weights {
    fn param(&self, name: &str) -> Option<ArrayD<f32>> {
        self.read(name).ok()
    }
}

/// The tensors of a file under one prefix, seen without it.
#[derive(Clone, Copy)]
pub struct Part<'a> {
    weights: &'a Weights,
    prefix: &'a str,
}

impl Part<'_> {
    /// Names (without the prefix) and shapes.
    pub fn shapes(&self) -> Shapes {
        let named = |(name, entry): (&String, &Entry)| {
            Some((name.strip_prefix(self.prefix)?.to_owned(), entry.shape.clone()))
        };
        self.weights.tensors.iter().filter_map(named).collect()
    }

    /// Where a tensor's data stands in the file.
    ///
    /// Errors: [`WeightsError::Missing`].
    pub fn location(&self, name: &str) -> Result<Location, WeightsError> {
        self.weights.location(&format!("{}{name}", self.prefix))
    }

    /// A copy of one tensor.
    ///
    /// Errors: [`WeightsError::Missing`], [`WeightsError::DType`].
    pub fn read(&self, name: &str) -> Result<ArrayD<f32>, WeightsError> {
        self.weights.read(&format!("{}{name}", self.prefix))
    }
}

impl ParamSource for Part<'_> {
    fn param(&self, name: &str) -> Option<ArrayD<f32>> {
        self.read(name).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file_of(bytes: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat()
    }

    #[test]
    fn reads_values_at_their_offsets() {
        // An odd header length, so that the data stands at an odd address.
        let header = r#"{"u.b":{"dtype":"F32","shape":[],"data_offsets":[8,12]},"u.a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}"#;
        let header = format!("{header}{}", " ".repeat(1 - header.len() % 2));
        let data: Vec<u8> = [1.5f32, -2.0, 7.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        let file = file_of(&safetensors(&header, &data));
        let weights = Weights::open(file.path()).unwrap();
        assert_eq!(weights.names().collect::<Vec<_>>(), ["u.a", "u.b"]);
        assert_eq!(weights.read("u.a").unwrap(), ndarray::arr2(&[[1.5, -2.0]]).into_dyn());
        let at = weights.part("u.").location("b").unwrap();
        assert_eq!(at, Location { offset: (8 + header.len() + 8) as u64, length: 4 });
        assert_eq!(std::fs::read(file.path()).unwrap()[at.offset as usize..], 7.0f32.to_le_bytes());
        assert_eq!(weights.part("u.").param("b").unwrap().into_raw_vec_and_offset().0, [7.0]);
        assert_eq!(weights.part("v.").shapes().len(), 0);
        assert!(matches!(weights.read("c"), Err(WeightsError::Missing { found: 2, .. })));
    }

    #[test]
    fn bad_files_are_typed_errors_that_name_the_file() {
        let half = r#"{"a":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}"#;
        let whole = safetensors(half, &[0; 4]);
        let cases: [(&str, Vec<u8>, &str); 4] = [
            ("empty", vec![], "header too small"),
            ("not safetensors", b"PK\x03\x04 and then something else".to_vec(), "header too large"),
            ("cut short", whole[..whole.len() - 1].to_vec(), "incomplete"),
            ("no json", safetensors("{", &[]), "JSON"),
        ];
        for (case, bytes, expected) in cases {
            let file = file_of(&bytes);
            let text = Weights::open(file.path()).err().map(|e| e.to_string()).unwrap_or_default();
            assert!(text.contains(expected), "{case}: {text}");
            assert!(text.contains(&*file.path().to_string_lossy()), "{case}: {text}");
        }
        let file = file_of(&whole);
        let text = Weights::open(file.path()).unwrap().read("a").unwrap_err().to_string();
        assert!(text.contains("'a' is bf16, expected f32 or f16"), "{text}");
        let (name, huge) = ("empty", 1u64 << 60);
        let header =
            format!(r#"{{"{name}":{{"dtype":"F32","shape":[0,{huge},{huge}],"data_offsets":[0,0]}}}}"#);
        let file = file_of(&safetensors(&header, &[]));
        let text = Weights::open(file.path()).and_then(|w| w.read(name)).unwrap_err().to_string();
        assert!(text.contains("'empty' has the impossible shape") || text.contains("overflow"), "{text}");
        assert!(matches!(Weights::open(Path::new("/nowhere.safetensors")), Err(WeightsError::Io { .. })));
    }
}
