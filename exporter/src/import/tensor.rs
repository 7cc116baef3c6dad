//! Stored tensors: in the model itself, or in a file beside it (external data).

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use half::f16;
use ndarray::{ArrayD, IxDyn};

use super::ImportError;
use super::known::{Known, Sort};
use crate::onnx::TensorProto;
use crate::onnx::tensor_proto::{DataLocation, DataType};

/// A stored tensor. Its data are read when they are asked for.
#[derive(Debug)]
pub(super) struct Stored {
    name: String,
    dtype: DataType,
    shape: Vec<usize>,
    data: Data,
}

#[derive(Debug)]
enum Data {
    /// Little-endian, row-major.
    Here(Vec<u8>),
    File {
        path: PathBuf,
        offset: u64,
    },
}

impl Stored {
    /// Takes a tensor of a model that stands in `folder`; `None` for one whose data must be in the model itself. The length of
    /// the data is checked, the data are not read.
    ///
    /// Errors: [`ImportError::Tensor`], [`ImportError::Io`].
    pub(super) fn new(mut tensor: TensorProto, folder: Option<&Path>) -> Result<Self, ImportError> {
        let name = tensor.name.take().unwrap_or_default();
        let wrong = |found: String, expected: &str| ImportError::Tensor {
            tensor: name.clone(),
            found,
            expected: expected.to_owned(),
        };
        let dtype = DataType::try_from(tensor.data_type())
            .ok()
            .filter(|dtype| element_bytes(*dtype).is_some())
            .ok_or_else(|| {
                wrong(format!("element type {}", tensor.data_type()), "f32, f16, f64, i64, i32 or bool")
            })?;
        let shape: Option<Vec<usize>> = tensor.dims.iter().map(|&d| usize::try_from(d).ok()).collect();
        let shape = shape.ok_or_else(|| wrong(format!("shape {:?}", tensor.dims), "no negative length"))?;
        // Of a tensor without elements too, the other lengths must be possible: arrays count on it.
        let lengths = shape.iter().filter(|&&d| d > 0);
        let bytes = lengths
            .fold(element_bytes(dtype), |bytes, &d| bytes?.checked_mul(d))
            .filter(|&bytes| isize::try_from(bytes).is_ok())
            .ok_or_else(|| wrong(format!("shape {shape:?}"), "as many elements as a memory can hold"))?;
        let bytes = if shape.contains(&0) { 0 } else { bytes };
        let data = if tensor.data_location() == DataLocation::External {
            let within = || wrong("external data".to_owned(), "data in the model itself");
            external(&name, &tensor, bytes, folder.ok_or_else(within)?)?
        } else {
            Data::Here(match (tensor.raw_data.take(), dtype) {
                (Some(raw), _) => raw,
                (None, DataType::Float) => tensor.float_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
                (None, DataType::Int64) => tensor.int64_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
                (None, DataType::Double) => tensor.double_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
                (None, DataType::Int32) => tensor.int32_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
                (None, DataType::Bool) => tensor.int32_data.iter().map(|v| u8::from(*v != 0)).collect(),
                // Halves stand in the low 16 bits of each.
                (None, _) => tensor.int32_data.iter().flat_map(|v| (*v as u16).to_le_bytes()).collect(),
            })
        };
        if let Data::Here(data) = &data
            && data.len() != bytes
        {
            return Err(wrong(format!("{} bytes", data.len()), &format!("{bytes} bytes of shape {shape:?}")));
        }
        Ok(Self { name, dtype, shape, data })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// What it is, for messages.
    pub(super) fn describe(&self) -> String {
        format!("the stored tensor '{}' ({}, {:?})", self.name, self.dtype.as_str_name(), self.shape)
    }

    pub(super) fn is_float(&self) -> bool {
        matches!(self.dtype, DataType::Float | DataType::Float16 | DataType::Double)
    }

    /// The values of a floating-point tensor, row-major; halves are widened, which is exact.
    ///
    /// Errors: [`ImportError::Tensor`] for integers, [`ImportError::Io`].
    pub(super) fn floats(&self) -> Result<Vec<f32>, ImportError> {
        let bytes = self.bytes()?;
        match self.dtype {
            DataType::Float => Ok(bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()),
            DataType::Float16 => {
                Ok(bytes.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect())
            }
            DataType::Double => {
                Ok(bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b) as f32).collect())
            }
            _ => Err(self.wrong("f32, f16 or f64")),
        }
    }

    /// The values of any tensor, row-major; integers beyond 2⁵³ are rounded.
    ///
    /// Errors: [`ImportError::Io`].
    pub(super) fn numbers(&self) -> Result<ArrayD<f64>, ImportError> {
        let bytes = self.bytes()?;
        let values = match self.dtype {
            DataType::Int64 => bytes.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b) as f64).collect(),
            DataType::Int32 => {
                bytes.as_chunks().0.iter().map(|b| f64::from(i32::from_le_bytes(*b))).collect()
            }
            DataType::Bool => bytes.iter().map(|b| f64::from(u8::from(*b != 0))).collect(),
            _ => self.floats()?.into_iter().map(f64::from).collect(),
        };
        ArrayD::from_shape_vec(IxDyn(&self.shape), values).map_err(|_| self.wrong("values for its shape"))
    }

    /// The same, as numbers that are known beforehand.
    ///
    /// Errors: [`ImportError::Io`].
    pub(super) fn known(&self) -> Result<Known, ImportError> {
        let sort = match self.dtype {
            DataType::Int64 | DataType::Int32 => Sort::Integer,
            DataType::Bool => Sort::Truth,
            _ => Sort::Float,
        };
        self.numbers().map(|values| Known::same(sort, values))
    }

    fn wrong(&self, expected: &str) -> ImportError {
        ImportError::Tensor {
            tensor: self.name.clone(),
            found: self.dtype.as_str_name().to_owned(),
            expected: expected.to_owned(),
        }
    }

    fn bytes(&self) -> Result<std::borrow::Cow<'_, [u8]>, ImportError> {
        let (path, offset) = match &self.data {
            Data::Here(bytes) => return Ok(bytes.into()),
            Data::File { path, offset } => (path, offset),
        };
        let length = self.shape.iter().product::<usize>() * element_bytes(self.dtype).unwrap_or(1);
        let read = || {
            let mut file = File::open(path)?;
            file.seek(SeekFrom::Start(*offset))?;
            let mut bytes = Vec::new();
            bytes.try_reserve_exact(length)?;
            bytes.resize(length, 0);
            file.read_exact(&mut bytes)?;
            Ok(bytes.into())
        };
        read().map_err(|source| ImportError::Io { path: path.clone(), source })
    }
}

fn element_bytes(dtype: DataType) -> Option<usize> {
    match dtype {
        DataType::Float => Some(4),
        DataType::Float16 => Some(2),
        DataType::Int64 | DataType::Double => Some(8),
        DataType::Int32 => Some(4),
        DataType::Bool => Some(1),
        _ => None,
    }
}

/// The place of external data: a plain file beside the model that holds as many bytes as the tensor wants.
fn external(name: &str, tensor: &TensorProto, bytes: usize, folder: &Path) -> Result<Data, ImportError> {
    let entry = |key: &str| {
        tensor.external_data.iter().find(|e| e.key() == key).map(|e| e.value().to_owned()).unwrap_or_default()
    };
    let wrong = |found: String, expected: String| ImportError::Tensor {
        tensor: name.to_owned(),
        found: format!("external data {found}"),
        expected,
    };
    let location = entry("location");
    // Also of a system where this name is plain: a model goes from one to another.
    let plain = Path::new(&location).file_name().is_some_and(|name| name == location.as_str());
    if !plain || location.contains(['/', '\\', ':', '\0']) {
        return Err(wrong(format!("in '{location}'"), "a plain file name beside the model".to_owned()));
    }
    let number = |key: &str, default: u64| match entry(key).as_str() {
        "" => Ok(default),
        text => text.parse::<u64>().map_err(|_| wrong(format!("at {key} '{text}'"), "a number".to_owned())),
    };
    let (offset, length) = (number("offset", 0)?, number("length", bytes as u64)?);
    let path = folder.join(location);
    let io = |source| ImportError::Io { path: path.clone(), source };
    // Nor by a link may a model take what is not its own; and opening a pipe would wait for ever.
    let metadata = std::fs::symlink_metadata(&path).map_err(io)?;
    if !metadata.is_file() {
        let kind = if metadata.is_symlink() { "a link" } else { "no file" };
        return Err(wrong(format!("in '{}', {kind}", path.display()), "a file beside the model".to_owned()));
    }
    let size = metadata.len();
    if length != bytes as u64 || offset.checked_add(length).is_none_or(|end| end > size) {
        return Err(wrong(
            format!("at {offset}, {length} bytes long, in a file of {size}"),
            format!("{bytes} bytes within the file"),
        ));
    }
    Ok(Data::File { path, offset })
}
