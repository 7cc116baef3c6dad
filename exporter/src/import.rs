//! Import: an ONNX model (opset 13–21) becomes a graph, the way back from [`crate::lower`].
//!
//! ```text
//! float initialisers, also in a file beside the model ─> parameters, read when they are asked for
//! integer initialisers                                ─> shapes, axes, …: folded into the primitives
//! first dimension of each input                       ─> the batch, the one thing that is open
//! nodes that compute shapes, of shapes                ─> numbers that are the same, or a multiple of the batch (`known`)
//! all other nodes                                     ─> primitives and composites, by one table (`ops`)
//! ```
//!
//! Shapes are inferred anew by the graph's own rules; what the model declares of its outputs must agree. f16 is a way to
//! store and to compute: in the graph it is floating point like f32, so that the reference interpreter shows what a model
//! computes apart from rounding.

mod call;
mod error;
mod images;
mod known;
mod microsoft;
mod moves;
mod near;
mod norms;
mod ops;
mod products;
mod resize;
mod tensor;

pub use error::{ImportError, Place};

use std::collections::HashMap;
use std::path::Path;

use anomalens_models::graph::{
    Builder, DType, Dim, Graph, GraphError, Init, NodeId, ParamSource, Primitive, Shape,
};
use anomalens_runtime::engine::Port;
use ndarray::{ArrayD, IxDyn};
use prost::Message;

use crate::onnx::tensor_proto::DataType;
use crate::onnx::tensor_shape_proto::dimension;
use crate::onnx::{GraphProto, ModelProto, ValueInfoProto, type_proto};
use call::Call;
use known::Known;
use tensor::Stored;

/// Operator sets that are read.
const OPSETS: std::ops::RangeInclusive<i64> = 13..=21;

/// A model as a graph, and the parameters that it came with.
#[derive(Debug)]
pub struct Imported {
    /// The network.
    pub graph: Graph,
    stored: HashMap<String, Stored>,
}

impl ParamSource for Imported {
    fn param(&self, name: &str) -> Option<ArrayD<f32>> {
        let stored = self.stored.get(name)?;
        ArrayD::from_shape_vec(IxDyn(stored.shape()), stored.floats().ok()?).ok()
    }
}

/// Reads an ONNX file, with the external data that stand beside it.
///
/// Errors: [`ImportError`].
pub fn import_file(path: &Path) -> Result<Imported, ImportError> {
    import(decode(path)?, path.parent().unwrap_or(Path::new("")))
}

fn decode(path: &Path) -> Result<ModelProto, ImportError> {
    let bytes = std::fs::read(path).map_err(|source| ImportError::Io { path: path.to_owned(), source })?;
    ModelProto::decode(bytes.as_slice())
        .map_err(|source| ImportError::Decode { path: path.to_owned(), source })
}

/// Inputs and outputs of an ONNX file.
///
/// Errors: [`ImportError::Io`], [`ImportError::Decode`].
pub(crate) fn ports(path: &Path) -> Result<(Vec<Port>, Vec<Port>), ImportError> {
    let graph = decode(path)?.graph.unwrap_or_default();
    let port = |info: &ValueInfoProto| {
        let (dtype, dims) = declared(info).unwrap_or_default();
        Port { name: info.name().to_owned(), dtype: element(dtype), dims }
    };
    let stored = |info: &&ValueInfoProto| graph.initializer.iter().all(|t| t.name() != info.name());
    Ok((graph.input.iter().filter(stored).map(port).collect(), graph.output.iter().map(port).collect()))
}

/// The element type of a value that stands in a graph.
fn element(dtype: i32) -> Option<DType> {
    match DataType::try_from(dtype) {
        Ok(DataType::Float) => Some(DType::F32),
        Ok(DataType::Int64) => Some(DType::I64),
        _ => None,
    }
}

/// Makes a graph of a model whose external data stand in `folder`.
///
/// Errors: [`ImportError`].
pub fn import(model: ModelProto, folder: &Path) -> Result<Imported, ImportError> {
    let mut proto = model.graph.unwrap_or_default();
    let opset = model.opset_import.iter().find(|o| o.domain().is_empty()).map_or(0, |o| o.version());
    if !OPSETS.contains(&opset) {
        let (found, expected) = (opset.to_string(), format!("{} to {}", OPSETS.start(), OPSETS.end()));
        return Err(ImportError::Model {
            graph: proto.name().to_owned(),
            what: "opset".into(),
            found,
            expected,
        });
    }
    let mut stored = HashMap::new();
    for tensor in std::mem::take(&mut proto.initializer) {
        let tensor = Stored::new(tensor, Some(folder))?;
        stored.insert(tensor.name().to_owned(), tensor);
    }
    let mut importer = Importer {
        b: Builder::new(proto.name()),
        opset,
        stored,
        same: HashMap::new(),
        known: HashMap::new(),
        values: HashMap::new(),
    };
    for input in &proto.input {
        if !importer.stored.contains_key(input.name()) {
            importer.input(&proto, input)?;
        }
    }
    for node in &proto.node {
        let op = ops::find(&proto, node)?;
        let outputs = Call::new(&mut importer, &proto, node, op)?.run()?;
        importer.values.extend(node.output.iter().cloned().zip(outputs));
    }
    for output in &proto.output {
        importer.output(&proto, output)?;
    }
    Ok(Imported { graph: importer.b.finish(), stored: importer.stored })
}

/// The graph as far as it is built.
struct Importer {
    b: Builder,
    /// Version of ONNX's own operators.
    opset: i64,
    /// By name; those that some node takes as an operand are parameters.
    stored: HashMap<String, Stored>,
    /// Other names of stored tensors.
    same: HashMap<String, String>,
    /// Numbers that are computed beforehand.
    known: HashMap<String, Known>,
    /// Computed values, and the parameters met so far.
    values: HashMap<String, NodeId>,
}

impl Importer {
    fn input(&mut self, graph: &GraphProto, info: &ValueInfoProto) -> Result<(), ImportError> {
        let fail = |found: String, expected: &str| ImportError::Model {
            graph: graph.name().to_owned(),
            what: format!("input '{}'", info.name()),
            found,
            expected: expected.to_owned(),
        };
        let (dtype, dims) = declared(info).ok_or_else(|| fail("no shape".into(), "a tensor with a shape"))?;
        let dtype = element(dtype).ok_or_else(|| fail(format!("element type {dtype}"), "f32 or i64"))?;
        let dims = dims.iter().enumerate().map(|(axis, dim)| match dim {
            None if axis == 0 => Ok(Dim::N),
            Some(len) if axis > 0 => Ok(Dim::Len(*len)),
            Some(len) => Err(fail(
                format!("length {len} along axis 0"),
                "an open first dimension: the batch; export the model with a dynamic batch",
            )),
            None => Err(fail(
                format!("an open axis {axis}"),
                "the batch as the one open dimension; export the model for a fixed size of image",
            )),
        });
        let shape = Shape::from_dims(dims.collect::<Result<_, _>>()?).expect("the batch stands first");
        let id = self.b.input(info.name(), dtype, shape);
        self.values.insert(info.name().to_owned(), id);
        Ok(())
    }

    fn output(&mut self, graph: &GraphProto, info: &ValueInfoProto) -> Result<(), ImportError> {
        let fail = |found: String, expected: String| ImportError::Model {
            graph: graph.name().to_owned(),
            what: format!("output '{}'", info.name()),
            found,
            expected,
        };
        let id = *self
            .values
            .get(info.name())
            .ok_or_else(|| fail("no value of that name".into(), "the value of a node or an input".into()))?;
        if self.b.ty(id).dtype != DType::F32 {
            return Err(fail("integers".into(), "floating point".into()));
        }
        let shape = self.b.shape(id);
        if let Some((_, dims)) = declared(info) {
            let fits = |(dim, declared): (&Dim, &Option<usize>)| match (dim, declared) {
                (Dim::Len(len), Some(declared)) => len == declared,
                (Dim::N | Dim::Times(_) | Dim::Len(_), None) => true,
                (Dim::N | Dim::Times(_), Some(_)) => false,
            };
            if dims.len() != shape.rank() || !shape.dims().iter().zip(&dims).all(fits) {
                return Err(fail(format!("the declared shape {dims:?}"), shape.to_string()));
            }
        }
        self.b.output(info.name(), id);
        Ok(())
    }

    /// The node of a named floating-point value; a stored tensor becomes a parameter when it is first taken.
    fn value(&mut self, name: &str) -> Option<NodeId> {
        if let Some(id) = self.values.get(name) {
            return Some(*id);
        }
        if let Some(constant) = self.known.get(name).and_then(Known::constant) {
            let id = self.b.primitive(Primitive::Constant(constant), &[]).ok()?;
            self.values.insert(name.to_owned(), id);
            return Some(id);
        }
        let stored = self.stored.get(name).filter(|stored| stored.is_float())?;
        // What training would start from is not written in a model.
        let id = self.b.at("", |b| b.param(name, stored.shape(), Init::Zeros));
        self.values.insert(name.to_owned(), id);
        Some(id)
    }
}

impl Importer {
    /// Zeros `[N]`, taken of an input, since of the batch nothing else is known; their gradient is zero.
    fn zeros(&mut self) -> Result<Option<NodeId>, GraphError> {
        let Some((_, input)) = self.b.graph().inputs().next() else { return Ok(None) };
        let mut x = input;
        if self.b.ty(x).dtype == DType::I64 {
            x = self.b.primitive(Primitive::Cast, &[x])?;
        }
        for axis in 1..self.b.shape(x).rank() {
            x = self.b.slice(x, axis, 0, 1)?;
        }
        x = self.b.reshape(x, Shape::batch(&[]))?;
        x = self.b.primitive(Primitive::Sign, &[x])?;
        self.b.scale(x, 0.0).map(Some)
    }
}

/// Element type and dimensions as a model declares them; `None` for an open dimension.
fn declared(info: &ValueInfoProto) -> Option<(i32, Vec<Option<usize>>)> {
    let Some(type_proto::Value::TensorType(tensor)) = &info.r#type.as_ref()?.value else { return None };
    let dim = |d: &crate::onnx::tensor_shape_proto::Dimension| match &d.value {
        Some(dimension::Value::DimValue(len)) => usize::try_from(*len).ok(),
        Some(dimension::Value::DimParam(_)) | None => None,
    };
    Some((tensor.elem_type(), tensor.shape.as_ref()?.dim.iter().map(dim).collect()))
}
