//! Small makers of ONNX messages.

use anomalens_models::graph::{Dim, Shape};
use anomalens_models::weights::{Location, Precision};
use half::f16;
use ndarray::ArrayD;

use super::BATCH;
use crate::onnx::attribute_proto::AttributeType;
use crate::onnx::tensor_proto::{DataLocation, DataType};
use crate::onnx::tensor_shape_proto::{Dimension, dimension};
use crate::onnx::{
    AttributeProto, StringStringEntryProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto,
    type_proto,
};

/// A parameter in the weights file.
pub(super) fn external(
    name: &str,
    shape: &[usize],
    precision: Precision,
    file: &str,
    location: Location,
) -> TensorProto {
    let entry =
        |key: &str, value: String| StringStringEntryProto { key: Some(key.to_owned()), value: Some(value) };
    let dtype = match precision {
        Precision::F32 => DataType::Float,
        Precision::F16 => DataType::Float16,
    };
    TensorProto {
        external_data: vec![
            entry("location", file.to_owned()),
            entry("offset", location.offset.to_string()),
            entry("length", location.length.to_string()),
        ],
        data_location: Some(DataLocation::External as i32),
        ..tensor(name, shape, dtype)
    }
}

/// A parameter in the model itself.
pub(super) fn inside(name: &str, precision: Precision, values: &ArrayD<f32>) -> TensorProto {
    let (dtype, raw) = match precision {
        Precision::F32 => (DataType::Float, values.iter().flat_map(|v| v.to_le_bytes()).collect()),
        Precision::F16 => {
            let half = |v: &f32| f16::from_f32(*v).to_le_bytes();
            (DataType::Float16, values.iter().flat_map(half).collect())
        }
    };
    TensorProto { raw_data: Some(raw), ..tensor(name, values.shape(), dtype) }
}

/// A floating-point tensor in the model itself.
pub(super) fn floats(name: &str, shape: &[usize], values: &[f32]) -> TensorProto {
    let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    TensorProto { raw_data: Some(raw), ..tensor(name, shape, DataType::Float) }
}

/// An integer vector in the model itself.
pub(super) fn integers(name: &str, values: &[i64]) -> TensorProto {
    let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    TensorProto { raw_data: Some(raw), ..tensor(name, &[values.len()], DataType::Int64) }
}

fn tensor(name: &str, shape: &[usize], dtype: DataType) -> TensorProto {
    TensorProto {
        name: Some(name.to_owned()),
        dims: shape.iter().map(|&d| d as i64).collect(),
        data_type: Some(dtype as i32),
        ..TensorProto::default()
    }
}

/// Name and type of a value.
pub(super) fn value_info(name: &str, element_type: i32, shape: &Shape) -> ValueInfoProto {
    let dim = |d: &Dim| Dimension {
        value: Some(match d {
            Dim::N => dimension::Value::DimParam(BATCH.to_owned()),
            Dim::Times(each) => dimension::Value::DimParam(format!("{each}*{BATCH}")),
            Dim::Len(l) => dimension::Value::DimValue(*l as i64),
        }),
        ..Dimension::default()
    };
    let shape = TensorShapeProto { dim: shape.dims().iter().map(dim).collect() };
    let tensor = type_proto::Tensor { elem_type: Some(element_type), shape: Some(shape) };
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(tensor)),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    }
}

/// The shape `to` as `Reshape` takes it for a value of shape `from`: 0 keeps the batch where it is first in both, and −1 is what
/// the other lengths leave.
pub(super) fn reshape_target(from: &Shape, to: &Shape) -> Vec<i64> {
    let open = if from.has_batch() && to.has_batch() { 0 } else { -1 };
    to.dims().iter().map(|d| if let Dim::Len(l) = d { *l as i64 } else { open }).collect()
}

/// A shape as `Expand` takes it: 1 leaves the batch as it is.
pub(super) fn expand_target(shape: &Shape) -> Vec<i64> {
    shape.dims().iter().map(|d| if let Dim::Len(l) = d { *l as i64 } else { 1 }).collect()
}

/// An integer attribute.
pub(super) fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { i: Some(value), ..attribute(name, AttributeType::Int) }
}

/// An attribute that is a list of integers.
pub(super) fn ints(name: &str, values: impl IntoIterator<Item = usize>) -> AttributeProto {
    let ints = values.into_iter().map(|v| v as i64).collect();
    AttributeProto { ints, ..attribute(name, AttributeType::Ints) }
}

/// A floating-point attribute.
pub(super) fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { f: Some(value), ..attribute(name, AttributeType::Float) }
}

/// A text attribute.
pub(super) fn string(name: &str, value: &str) -> AttributeProto {
    AttributeProto { s: Some(value.as_bytes().to_vec()), ..attribute(name, AttributeType::String) }
}

fn attribute(name: &str, r#type: AttributeType) -> AttributeProto {
    AttributeProto { name: Some(name.to_owned()), r#type: Some(r#type as i32), ..AttributeProto::default() }
}
