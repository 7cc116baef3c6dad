//! Lowering: a graph becomes an ONNX model for the `portable` target (ONNX Runtime's CPU provider, tract, TensorRT).
//!
//! Opset 21, IR 10; every value has a name that says where in the network it stands, and a shape with the batch as the
//! one symbolic dimension. Parameters are not copied: they point into the bundle's weights file (external data).

mod ops;
mod proto;

use anomalens_models::graph::{DType, Graph, NodeId, Op, Primitive};
use anomalens_models::weights::Location;

use crate::onnx::{
    GraphProto, ModelProto, OperatorSetIdProto, StringStringEntryProto, TensorProto, ValueInfoProto,
};

/// ONNX operator set of every model.
pub const OPSET: i64 = 21;
/// ONNX file format of every model.
pub const IR_VERSION: i64 = 10;
/// Name of the open dimension.
pub const BATCH: &str = "N";

/// Where parameters are, and what the model says of itself.
pub struct Lowering<'a> {
    /// Name of the weights file, which stands beside the model.
    pub weights_file: &'a str,
    /// Place of each parameter in that file; `None` for one that is not there.
    pub locate: &'a dyn Fn(&str) -> Option<Location>,
    /// Keys and values of `metadata_props`.
    pub metadata: &'a [(&'a str, String)],
}

/// A parameter of the graph is not in the weights file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "graph '{graph}': parameter '{name}' is not in {file}; write all of the network's weights before its graph"
)]
pub struct MissingParameter {
    /// The graph.
    pub graph: String,
    /// The parameter.
    pub name: String,
    /// The weights file.
    pub file: String,
}

/// The ONNX model of a graph.
///
/// Errors: [`MissingParameter`].
pub fn lower(graph: &Graph, lowering: &Lowering<'_>) -> Result<ModelProto, MissingParameter> {
    let graph = &graph.expanded();
    let mut out = Lowered::new(graph);
    for (id, node) in graph.iter() {
        let Op::Primitive(op) = &node.op else { unreachable!("the graph was expanded") };
        if let Primitive::Param(spec) = op {
            let missing = || MissingParameter {
                graph: graph.name().to_owned(),
                name: spec.name.clone(),
                file: lowering.weights_file.to_owned(),
            };
            let location = (lowering.locate)(&spec.name).ok_or_else(missing)?;
            out.initializers.push(proto::external(&spec.name, &spec.shape, lowering.weights_file, location));
        } else {
            ops::lower(&mut out, id, node, op);
        }
    }
    Ok(ModelProto {
        ir_version: Some(IR_VERSION),
        opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(OPSET) }],
        producer_name: Some(env!("CARGO_PKG_NAME").to_owned()),
        producer_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        metadata_props: lowering
            .metadata
            .iter()
            .map(|(key, value)| StringStringEntryProto {
                key: Some((*key).to_owned()),
                value: Some(value.clone()),
            })
            .collect(),
        graph: Some(out.finish()),
        ..ModelProto::default()
    })
}

/// The ONNX graph as far as it is written.
struct Lowered<'a> {
    graph: &'a Graph,
    /// Name of each node's value.
    names: Vec<String>,
    nodes: Vec<crate::onnx::NodeProto>,
    initializers: Vec<TensorProto>,
    inputs: Vec<ValueInfoProto>,
    values: Vec<ValueInfoProto>,
}

impl<'a> Lowered<'a> {
    fn new(graph: &'a Graph) -> Self {
        let names = graph.iter().map(|(id, node)| value_name(graph, id, &node.op, &node.scope)).collect();
        Self { graph, names, nodes: vec![], initializers: vec![], inputs: vec![], values: vec![] }
    }

    fn name(&self, id: NodeId) -> &str {
        &self.names[id.index()]
    }

    /// The name of a small integer tensor (a shape, axes, …), written once.
    fn integers(&mut self, values: &[i64]) -> String {
        let text: Vec<String> = values.iter().map(ToString::to_string).collect();
        let name = format!("const/i64[{}]", text.join(","));
        if !self.initializers.iter().any(|t| t.name() == name) {
            self.initializers.push(proto::integers(&name, values));
        }
        name
    }

    /// The name of a small floating-point tensor, written once.
    fn floats(&mut self, name: String, shape: &[usize], values: &[f32]) -> String {
        if !self.initializers.iter().any(|t| t.name() == name) {
            self.initializers.push(proto::floats(&name, shape, values));
        }
        name
    }

    fn finish(self) -> GraphProto {
        let outputs = self
            .graph
            .outputs()
            .iter()
            .map(|(name, id)| proto::value_info(name, &self.graph.node(*id).ty))
            .collect();
        GraphProto {
            name: Some(self.graph.name().to_owned()),
            node: self.nodes,
            initializer: self.initializers,
            input: self.inputs,
            output: outputs,
            value_info: self.values,
            ..GraphProto::default()
        }
    }
}

/// Inputs, outputs and parameters keep their names; every other value is named after its place, operator and number.
fn value_name(graph: &Graph, id: NodeId, op: &Op, scope: &str) -> String {
    if let Some((name, _)) = graph.outputs().iter().find(|(_, o)| *o == id) {
        return name.clone();
    }
    match op {
        Op::Primitive(Primitive::Input { name, .. }) => name.clone(),
        Op::Primitive(Primitive::Param(spec)) => spec.name.clone(),
        Op::Primitive(_) | Op::Composite(_) => format!("{scope}/{}_{}", op.name(), id.index()),
    }
}

fn element_type(dtype: DType) -> i32 {
    use crate::onnx::tensor_proto::DataType;
    match dtype {
        DType::F32 => DataType::Float as i32,
        DType::I64 => DataType::Int64 as i32,
    }
}
