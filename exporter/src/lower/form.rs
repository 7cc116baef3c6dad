//! How values lie in memory, and the steps from one form to another.
//!
//! A value is made in one form, and each form that some operator wants beside it is written once, where it is first
//! wanted. In a portable f32 graph every value is in the plain form, and no such step is ever needed.

use anomalens_models::graph::{DType, Dim, Graph, NodeId, Op, Primitive, Shape};
use anomalens_models::weights::Precision;

use super::Lowered;
use super::proto::{int, ints, value_info};
use crate::onnx::NodeProto;
use crate::onnx::tensor_proto::DataType;

/// Where the channels stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// `[N, C, …]`, as the graph has it.
    First,
    /// `[N, …, C]`.
    Last,
}

/// How a value lies in memory; integers are always plain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Form {
    pub layout: Layout,
    pub precision: Precision,
}

impl Form {
    /// As the graph has it, in f32.
    pub(super) const PLAIN: Self = Self::first(Precision::F32);

    pub(super) const fn first(precision: Precision) -> Self {
        Self { layout: Layout::First, precision }
    }

    pub(super) const fn last(precision: Precision) -> Self {
        Self { layout: Layout::Last, precision }
    }

    /// What a name in this form ends with where the value is made in `made`.
    fn suffix(self, made: Self) -> String {
        let layout = match self.layout {
            _ if self.layout == made.layout => "",
            Layout::First => "/channels_first",
            Layout::Last => "/channels_last",
        };
        let precision = match self.precision {
            _ if self.precision == made.precision => "",
            Precision::F32 => "/f32",
            Precision::F16 => "/f16",
        };
        format!("{layout}{precision}")
    }
}

/// ONNX's number of the element type.
pub(super) fn element_type(dtype: DType, precision: Precision) -> i32 {
    match (dtype, precision) {
        (DType::F32, Precision::F32) => DataType::Float as i32,
        (DType::F32, Precision::F16) => DataType::Float16 as i32,
        (DType::I64, _) => DataType::Int64 as i32,
    }
}

/// `[N, C, …]` → `[N, …, C]`.
pub(super) fn channels_last(shape: &Shape) -> Shape {
    let dims = shape.dims();
    let dims: Vec<Dim> = dims.iter().take(1).chain(dims.iter().skip(2)).chain(dims.get(1)).copied().collect();
    Shape::from_dims(dims).expect("the first dimension stays")
}

/// Inputs, outputs and parameters keep their names; every other value is named after its place, operator and number.
pub(super) fn base_name(graph: &Graph, id: NodeId) -> String {
    let node = graph.node(id);
    match &node.op {
        Op::Primitive(Primitive::Input { name, .. }) => name.clone(),
        Op::Primitive(Primitive::Param(spec)) => spec.name.clone(),
        op => format!("{}/{}_{}", node.scope, op.name(), id.index()),
    }
}

impl Lowered<'_> {
    /// The form that a value was made in.
    pub(super) fn form(&self, id: NodeId) -> Form {
        self.values[id.index()].first().map_or(Form::PLAIN, |(form, _)| *form)
    }

    /// Whether a value has been made.
    pub(super) fn is_made(&self, id: NodeId) -> bool {
        !self.values[id.index()].is_empty()
    }

    /// The name of a value that a node is about to make in this form.
    pub(super) fn make(&mut self, id: NodeId, form: Form) -> String {
        let relative = if self.is_made(id) { self.form(id) } else { Form::PLAIN };
        let output = self.graph.outputs().iter().find(|(_, o)| *o == id).map(|(name, _)| name);
        let node = self.graph.node(id);
        let (name, declared) = match (output, &node.op) {
            // Outputs and inputs are declared with the graph, every other value here.
            (Some(name), _) if form == Form::PLAIN => (name.clone(), true),
            (_, Op::Primitive(Primitive::Param(_))) if !self.is_made(id) => (base_name(self.graph, id), true),
            (_, Op::Primitive(Primitive::Input { .. } | Primitive::Constant(_))) if form == Form::PLAIN => {
                (base_name(self.graph, id), true)
            }
            _ => (base_name(self.graph, id) + &form.suffix(relative), false),
        };
        if !declared {
            let shape = match form.layout {
                Layout::First => node.ty.shape.clone(),
                Layout::Last => channels_last(&node.ty.shape),
            };
            // Engines name what is open; a multiple of the batch they find by themselves.
            if !shape.dims().iter().any(|dim| matches!(dim, Dim::Times(_))) {
                self.values_info.push(value_info(&name, element_type(node.ty.dtype, form.precision), &shape));
            }
        }
        self.values[id.index()].push((form, name.clone()));
        name
    }

    /// The name of a value in this form, converted if it has not been yet.
    pub(super) fn operand(&mut self, id: NodeId, form: Form) -> String {
        let dtype = self.graph.node(id).ty.dtype;
        let form = if dtype == DType::I64 { Form::PLAIN } else { form };
        if let Some((_, name)) = self.values[id.index()].iter().find(|(f, _)| *f == form) {
            return name.clone();
        }
        let made = self.form(id);
        // What is to be moved is moved as f16, if it is that before or afterwards.
        let halfway = match form.precision {
            Precision::F16 => Form { layout: made.layout, ..form },
            Precision::F32 => Form { precision: made.precision, ..form },
        };
        let from = if halfway == form { made } else { halfway };
        let input = self.operand(id, from);
        let (op, attribute) = if from.precision != form.precision {
            ("Cast", int("to", i64::from(element_type(dtype, form.precision))))
        } else {
            let rank = self.graph.node(id).ty.shape.rank();
            let perm: Vec<usize> = match form.layout {
                Layout::First => std::iter::once(0).chain([rank - 1]).chain(1..rank - 1).collect(),
                Layout::Last => std::iter::once(0).chain(2..rank).chain([1]).collect(),
            };
            ("Transpose", ints("perm", perm))
        };
        let output = self.make(id, form);
        self.nodes.push(NodeProto {
            input: vec![input],
            output: vec![output.clone()],
            name: Some(format!("{output}:{op}")),
            op_type: Some(op.to_owned()),
            attribute: vec![attribute],
            ..NodeProto::default()
        });
        output
    }
}
