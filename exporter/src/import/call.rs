//! One node of a model while it is imported: its operands and attributes, with errors that name the place.

use anomalens_models::graph::{Builder, DType, Dim, GraphError, NodeId, Primitive, Shape};

use super::ops::Op;
use super::{ImportError, Importer, Place};
use crate::onnx::attribute_proto::AttributeType;
use crate::onnx::{AttributeProto, GraphProto, NodeProto};

pub(super) struct Call<'a> {
    importer: &'a mut Importer,
    node: &'a NodeProto,
    place: Box<Place>,
    scope: &'a str,
    op: &'static Op,
}

impl<'a> Call<'a> {
    /// Errors: [`ImportError::Attribute`] for one that the operator's row in the table does not list.
    pub(super) fn new(
        importer: &'a mut Importer,
        graph: &GraphProto,
        node: &'a NodeProto,
        op: &'static Op,
    ) -> Result<Self, ImportError> {
        let scope = node.name().rsplit_once('/').map_or("", |(scope, _)| scope);
        let call = Self { importer, node, place: place(graph, node), scope, op };
        match node.attribute.iter().find(|a| !op.attributes.contains(&a.name())) {
            None => Ok(call),
            Some(other) => Err(ImportError::Attribute {
                place: call.place,
                attribute: other.name().to_owned(),
                found: show(other),
                supported: match op.attributes {
                    [] => "none".to_owned(),
                    names => format!("the attributes {}", names.join(", ")),
                },
            }),
        }
    }

    /// The node's values, one an output.
    pub(super) fn run(mut self) -> Result<Vec<NodeId>, ImportError> {
        (self.op.import)(&mut self)
    }

    /// Builds something whose shapes may not fit.
    pub(super) fn build<T>(
        &mut self,
        f: impl FnOnce(&mut Builder) -> Result<T, GraphError>,
    ) -> Result<T, ImportError> {
        self.importer
            .b
            .at(self.scope, f)
            .map_err(|source| ImportError::Graph { place: self.place.clone(), source: Box::new(source) })
    }

    pub(super) fn primitive(&mut self, op: Primitive, inputs: &[NodeId]) -> Result<NodeId, ImportError> {
        self.build(|b| b.primitive(op, inputs))
    }

    pub(super) fn shape(&self, id: NodeId) -> Shape {
        self.importer.b.shape(id).clone()
    }

    pub(super) fn dtype(&self, id: NodeId) -> DType {
        self.importer.b.ty(id).dtype
    }

    // Operands.

    fn name(&self, operand: usize) -> Option<&'a str> {
        self.node.input.get(operand).map(String::as_str).filter(|name| !name.is_empty())
    }

    /// How many operands the node names, those left out in between included.
    pub(super) fn operands(&self) -> usize {
        self.node.input.len()
    }

    /// A value, computed or stored.
    pub(super) fn operand(&mut self, operand: usize) -> Result<NodeId, ImportError> {
        self.optional(operand)?.ok_or_else(|| self.bad(operand, "nothing".into(), "a value"))
    }

    /// The same, where it may be left out.
    pub(super) fn optional(&mut self, operand: usize) -> Result<Option<NodeId>, ImportError> {
        let Some(name) = self.name(operand) else { return Ok(None) };
        match self.importer.value(name) {
            Some(id) => Ok(Some(id)),
            None => {
                let found = self.importer.stored.get(name).map_or(format!("'{name}'"), |s| s.describe());
                Err(self.bad(operand, found, "the value of an earlier node, or floating-point weights"))
            }
        }
    }

    /// Integers that are stored in the model, e.g. a shape; `None` where they are left out.
    pub(super) fn ints(&mut self, operand: usize) -> Result<Option<Vec<i64>>, ImportError> {
        let Some(name) = self.name(operand) else { return Ok(None) };
        match self.importer.stored.get(name) {
            Some(stored) => stored.ints().map(Some),
            None => {
                Err(self.bad(operand, format!("the computed value '{name}'"), "integers stored in the model"))
            }
        }
    }

    /// The same, where they must be there.
    pub(super) fn some_ints(&mut self, operand: usize) -> Result<Vec<i64>, ImportError> {
        self.ints(operand)?.ok_or_else(|| self.bad(operand, "nothing".into(), "integers stored in the model"))
    }

    /// Floating-point values that are stored in the model; `None` where they are left out.
    pub(super) fn floats(&mut self, operand: usize) -> Result<Option<Vec<f32>>, ImportError> {
        let Some(name) = self.name(operand) else { return Ok(None) };
        match self.importer.stored.get(name) {
            Some(stored) => stored.floats().map(Some),
            None => {
                Err(self.bad(operand, format!("the computed value '{name}'"), "values stored in the model"))
            }
        }
    }

    /// One floating-point value that is stored in the model, e.g. a bound; `default` where it is left out.
    pub(super) fn number(&mut self, operand: usize, default: f32) -> Result<f32, ImportError> {
        match self.floats(operand)?.as_deref() {
            None => Ok(default),
            Some(&[value]) => Ok(value),
            Some(values) => Err(self.bad(operand, format!("{} values", values.len()), "one value")),
        }
    }

    pub(super) fn bad(&self, operand: usize, found: String, supported: &str) -> ImportError {
        ImportError::Operand { place: self.place.clone(), operand, found, supported: supported.to_owned() }
    }

    // Attributes.

    fn attribute(&self, name: &str) -> Option<&'a AttributeProto> {
        self.node.attribute.iter().find(|a| a.name() == name)
    }

    pub(super) fn unsupported(&self, name: &str, supported: &str) -> ImportError {
        ImportError::Attribute {
            place: self.place.clone(),
            attribute: name.to_owned(),
            found: self.attribute(name).map_or("nothing".to_owned(), show),
            supported: supported.to_owned(),
        }
    }

    pub(super) fn int(&self, name: &str, default: i64) -> i64 {
        self.attribute(name).map_or(default, |a| a.i())
    }

    pub(super) fn float(&self, name: &str, default: f32) -> f32 {
        self.attribute(name).map_or(default, |a| a.f())
    }

    pub(super) fn int_list(&self, name: &str) -> Option<Vec<i64>> {
        self.attribute(name).map(|a| a.ints.clone())
    }

    pub(super) fn string(&self, name: &str, default: &str) -> String {
        self.attribute(name).map_or(default.to_owned(), |a| String::from_utf8_lossy(a.s()).into_owned())
    }

    /// Errors: [`ImportError::Attribute`] for another value than the one that is read.
    pub(super) fn only(&self, name: &str, default: i64, read: i64) -> Result<(), ImportError> {
        if self.int(name, default) == read { Ok(()) } else { Err(self.unsupported(name, &read.to_string())) }
    }

    /// Errors: [`ImportError::Attribute`] for another text than the one that is read.
    pub(super) fn only_text(&self, name: &str, default: &str, read: &str) -> Result<(), ImportError> {
        if self.string(name, default) == read { Ok(()) } else { Err(self.unsupported(name, read)) }
    }

    /// An axis counted from the front; negative ones count from the back.
    pub(super) fn axis(&self, name: &str, axis: i64, rank: usize) -> Result<usize, ImportError> {
        let from_front = if axis < 0 { axis + rank as i64 } else { axis };
        usize::try_from(from_front).ok().filter(|a| *a < rank).ok_or_else(|| {
            self.unsupported(name, &format!("an axis of the {rank} that the operand has, not {axis}"))
        })
    }

    /// A stored tensor that a `Constant` node holds, from now on under its output's name.
    pub(super) fn store(&mut self) -> Result<(), ImportError> {
        let value = self.attribute("value").and_then(|a| a.t.clone());
        let Some(mut tensor) = value else { return Err(self.unsupported("value", "a tensor")) };
        tensor.name = self.node.output.first().cloned();
        // Only initialisers may have their data elsewhere.
        let stored = super::Stored::new(tensor, None)?;
        self.importer.stored.insert(stored.name().to_owned(), stored);
        Ok(())
    }

    // Layouts.

    /// `[N, …, C]` → `[N, C, …]`.
    pub(super) fn channels_first(&mut self, x: NodeId) -> Result<NodeId, ImportError> {
        let rank = self.shape(x).rank();
        let perm = std::iter::once(0).chain([rank - 1]).chain(1..rank - 1).collect();
        self.primitive(Primitive::Transpose { perm }, &[x])
    }

    /// `[N, C, …]` → `[N, …, C]`.
    pub(super) fn channels_last(&mut self, x: NodeId) -> Result<NodeId, ImportError> {
        let rank = self.shape(x).rank();
        let perm = std::iter::once(0).chain(2..rank).chain([1]).collect();
        self.primitive(Primitive::Transpose { perm }, &[x])
    }

    /// A value in the shape that ONNX's `Reshape` makes of it: 0 keeps a length, −1 is what is left.
    pub(super) fn reshape(&mut self, x: NodeId, target: &[i64]) -> Result<NodeId, ImportError> {
        let from = self.shape(x);
        let keep = |(axis, &len): (usize, &i64)| match len {
            0 => from.dims().get(axis).copied(),
            len => usize::try_from(len).ok().map(Dim::Len),
        };
        let mut dims: Vec<Option<Dim>> = target.iter().enumerate().map(keep).collect();
        let known = |d: &Option<Dim>| if let Some(Dim::Len(len)) = d { *len } else { 1 };
        let product = dims.iter().map(known).fold(1usize, usize::saturating_mul);
        let batched = dims.contains(&Some(Dim::N));
        if let Some(open) = target.iter().position(|len| *len == -1) {
            dims[open] = Some(match from.has_batch() && !batched && open == 0 {
                true => Dim::N,
                false => Dim::Len(from.sample_elements() / product.max(1)),
            });
        }
        let shape = dims.into_iter().collect::<Option<Vec<_>>>().and_then(Shape::from_dims);
        let shape = shape.ok_or_else(|| {
            self.bad(1, format!("the shape {target:?} for {from}"), "a shape that keeps the batch first")
        })?;
        self.primitive(Primitive::Reshape { shape }, &[x])
    }
}

pub(super) fn place(graph: &GraphProto, node: &NodeProto) -> Box<Place> {
    let named = Some(node.name()).filter(|n| !n.is_empty());
    Box::new(Place {
        graph: graph.name().to_owned(),
        node: named.or(node.output.first().map(String::as_str)).unwrap_or_default().to_owned(),
        op: match node.domain() {
            "" => node.op_type().to_owned(),
            domain => format!("{domain}.{}", node.op_type()),
        },
    })
}

fn show(attribute: &AttributeProto) -> String {
    match attribute.r#type() {
        AttributeType::Int => attribute.i().to_string(),
        AttributeType::Float => attribute.f().to_string(),
        AttributeType::Ints => format!("{:?}", attribute.ints),
        AttributeType::String => format!("'{}'", String::from_utf8_lossy(attribute.s())),
        _ => "another type".to_owned(),
    }
}
