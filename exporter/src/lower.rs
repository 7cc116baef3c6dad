//! Lowering: a graph becomes an ONNX model for a target, in a precision.
//!
//! | target | runs on | |
//! |---|---|---|
//! | `portable` | ONNX Runtime's CPU provider, tract, TensorRT | ONNX's own operators, one primitive at a time (`ops`); gradients of convolutions as convolutions (`adjoint`), long sums of products as products of matrices (`dots`) |
//! | `ort-cuda` | ONNX Runtime's CUDA provider | channels last, group norms fused (`cuda`); what needs neither as above |
//!
//! Opset 21 (18 for `ort-cuda`), IR 10; every value has a name that says where in the network it stands, and a shape with the batch as the
//! one symbolic dimension. Parameters are not copied: they point into the bundle's weights file (external data). Inputs
//! and outputs are f32 with the channels first, whatever stands between (`form`, `precision`).

mod adjoint;
mod cuda;
mod dots;
mod form;
mod ops;
mod precision;
mod proto;
mod rewrite;

pub use precision::of_params;

use anomalens_models::graph::{Graph, Node, Op, ParamSource, Primitive};
use anomalens_models::weights::{Location, Precision};

use crate::onnx::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto,
    TensorProto, ValueInfoProto,
};
use crate::target::Target;
use form::{Form, element_type};
use precision::Rule;

/// ONNX operator set of portable models.
pub const OPSET: i64 = 21;
/// ONNX file format of every model.
pub const IR_VERSION: i64 = 10;
/// Name of the open dimension.
pub const BATCH: &str = "N";

/// What to lower for, where parameters are, and what the model says of itself.
pub struct Lowering<'a> {
    /// The kernels.
    pub target: Target,
    /// What most of the graph computes in.
    pub precision: Precision,
    /// Scopes that are portable f32 nevertheless: a network within another, e.g. `classifier`.
    pub plain: &'a [&'a str],
    /// Where the parameters are.
    pub weights: WeightsAt<'a>,
    /// Keys and values of `metadata_props`.
    pub metadata: &'a [(&'a str, String)],
}

/// Where the parameters of a model are, stored as [`of_params`] says.
#[derive(Clone, Copy)]
pub enum WeightsAt<'a> {
    /// In a file.
    Beside {
        /// Its name; it stands beside the model.
        file: &'a str,
        /// Place of each parameter in it; `None` for one that is not there.
        locate: &'a dyn Fn(&str) -> Option<Location>,
    },
    /// In the model itself, copied from here.
    Inside(&'a dyn ParamSource),
}

/// A parameter of the graph is not where the weights are.
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
    let &Lowering { target, precision, plain, .. } = lowering;
    let stored = of_params(graph, precision, plain);
    let graph = &match target {
        Target::Portable => dots::as_matrix_products(&adjoint::as_convolutions(&graph.expanded())),
        Target::OrtCuda => cuda::expanded(graph, plain),
    };
    let fusion = cuda::Fusion::plan(graph);
    let mut out = Lowered::new(graph, precision, plain);
    for (id, node) in graph.iter() {
        let target = if is_within(&node.scope, plain) { Target::Portable } else { target };
        match (&node.op, target) {
            (Op::Primitive(Primitive::Param(spec)), _) => {
                let missing = |file: &str| MissingParameter {
                    graph: graph.name().to_owned(),
                    name: spec.name.clone(),
                    file: file.to_owned(),
                };
                let precision = stored[&spec.name];
                let name = out.make(id, Form::first(precision));
                out.initializers.push(match lowering.weights {
                    WeightsAt::Beside { file, locate } => {
                        let location = locate(&spec.name).ok_or_else(|| missing(file))?;
                        proto::external(&name, &spec.shape, precision, file, location)
                    }
                    WeightsAt::Inside(params) => {
                        let values = params.param(&spec.name).ok_or_else(|| missing("what was given"))?;
                        proto::inside(&name, precision, &values)
                    }
                });
            }
            (Op::Primitive(op), Target::Portable) => ops::lower(&mut out, id, node, op),
            (Op::Composite(_), Target::Portable) => unreachable!("the graph was expanded"),
            (_, Target::OrtCuda) => cuda::lower(&mut out, &fusion, id, node),
        }
    }
    let opset = |domain: &str, version| OperatorSetIdProto {
        domain: Some(domain.to_owned()),
        version: Some(version),
    };
    Ok(ModelProto {
        ir_version: Some(IR_VERSION),
        opset_import: match target {
            Target::Portable => vec![opset("", OPSET)],
            Target::OrtCuda => vec![opset("", cuda::OPSET), opset(cuda::DOMAIN, cuda::DOMAIN_VERSION)],
        },
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

/// Whether a place in a network is below one of these scopes.
fn is_within(place: &str, scopes: &[&str]) -> bool {
    scopes.contains(&place.split('.').next().unwrap_or_default())
}

/// The ONNX graph as far as it is written.
struct Lowered<'a> {
    graph: &'a Graph,
    precision: Precision,
    plain: &'a [&'a str],
    /// The forms that each node's value is there in, and its name in each; the first is the one that it was made in.
    values: Vec<Vec<(Form, String)>>,
    nodes: Vec<NodeProto>,
    initializers: Vec<TensorProto>,
    inputs: Vec<ValueInfoProto>,
    values_info: Vec<ValueInfoProto>,
}

impl<'a> Lowered<'a> {
    fn new(graph: &'a Graph, precision: Precision, plain: &'a [&'a str]) -> Self {
        Self {
            graph,
            precision,
            plain,
            values: vec![vec![]; graph.nodes().len()],
            nodes: vec![],
            initializers: vec![],
            inputs: vec![],
            values_info: vec![],
        }
    }

    /// What a primitive computes in.
    fn computes_in(&self, node: &Node) -> Precision {
        let Op::Primitive(op) = &node.op else { return self.precision };
        match (self.precision, precision::rule(op)) {
            (Precision::F32, _) | (_, Rule::Full) => Precision::F32,
            _ if is_within(&node.scope, self.plain) => Precision::F32,
            (_, Rule::Half) => Precision::F16,
            (_, Rule::Follows) => match node.inputs.iter().any(|&i| self.form(i).precision == Precision::F16)
            {
                true => Precision::F16,
                false => Precision::F32,
            },
        }
    }

    /// Writes one node, named after its first output.
    fn node(
        &mut self,
        domain: &str,
        op: &str,
        input: Vec<String>,
        output: Vec<String>,
        attribute: Vec<AttributeProto>,
    ) {
        self.nodes.push(NodeProto {
            input,
            name: output.first().cloned(),
            output,
            op_type: Some(op.to_owned()),
            domain: Some(domain.to_owned()).filter(|domain| !domain.is_empty()),
            attribute,
            ..NodeProto::default()
        });
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

    fn finish(mut self) -> GraphProto {
        let outputs = self.graph.outputs().iter().map(|(_, id)| {
            let ty = &self.graph.node(*id).ty;
            let name = self.operand(*id, Form::PLAIN);
            proto::value_info(&name, element_type(ty.dtype, Precision::F32), &ty.shape)
        });
        GraphProto {
            output: outputs.collect(),
            name: Some(self.graph.name().to_owned()),
            node: self.nodes,
            initializer: self.initializers,
            input: self.inputs,
            value_info: self.values_info,
            ..GraphProto::default()
        }
    }
}
