//! One node of a model while it is imported: its operands and attributes, with errors that name the place.

use anomalens_models::graph::{Builder, DType, Dim, GraphError, NodeId, Primitive, Shape};

use ndarray::{ArrayD, IxDyn};

use super::known::{self, Count, Known, MOST};
use super::ops::Op;
use super::tensor::Stored;
use super::{ImportError, Importer, Place};
use crate::onnx::attribute_proto::AttributeType;
use crate::onnx::tensor_proto::DataType;
use crate::onnx::{AttributeProto, GraphProto, NodeProto, TensorProto};

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

    /// The node's values, one an output; none where they are numbers that are known beforehand.
    pub(super) fn run(mut self) -> Result<Vec<NodeId>, ImportError> {
        let Some(known) = known::evaluate(&self)? else { return (self.op.import)(&mut self) };
        self.importer.known.extend(self.node.output.first().map(|name| (name.clone(), known)));
        Ok(vec![])
    }

    /// The operator.
    pub(super) fn op_type(&self) -> &'a str {
        match self.node.domain() {
            "" => self.node.op_type(),
            _ => "",
        }
    }

    /// Version of ONNX's own operators.
    pub(super) fn opset(&self) -> i64 {
        self.importer.opset
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

    /// The operand's name; a stored tensor goes by its own.
    fn name(&self, operand: usize) -> Option<String> {
        let name = self.node.input.get(operand).filter(|name| !name.is_empty())?;
        Some(self.importer.same.get(name).unwrap_or(name).clone())
    }

    pub(super) fn is_left_out(&self, operand: usize) -> bool {
        self.name(operand).is_none()
    }

    /// How many operands the node names, those left out in between included.
    pub(super) fn operands(&self) -> usize {
        self.node.input.len()
    }

    /// How many values the node makes.
    pub(super) fn outputs(&self) -> usize {
        self.node.output.len()
    }

    /// A value, computed or stored.
    pub(super) fn operand(&mut self, operand: usize) -> Result<NodeId, ImportError> {
        self.optional(operand)?.ok_or_else(|| self.bad(operand, "nothing".into(), "a value"))
    }

    /// The same, where it may be left out.
    pub(super) fn optional(&mut self, operand: usize) -> Result<Option<NodeId>, ImportError> {
        let Some(name) = self.name(operand) else { return Ok(None) };
        match self.importer.value(&name) {
            Some(id) => Ok(Some(id)),
            None => Err(self.bad(
                operand,
                self.describe(&name),
                "the value of an earlier node, or floating-point weights",
            )),
        }
    }

    /// What goes by a name, for messages.
    fn describe(&self, name: &str) -> String {
        match (self.importer.stored.get(name), self.importer.known.get(name)) {
            (Some(stored), _) => stored.describe(),
            (None, Some(known)) if known.is_integer() => format!("the integers '{name}', computed of shapes"),
            (None, Some(_)) => format!("the numbers '{name}', other ones at another batch"),
            (None, None) => format!("'{name}'"),
        }
    }

    /// The shape of an operand, whatever it is.
    pub(super) fn dims(&self, operand: usize) -> Result<Vec<Dim>, ImportError> {
        let name = self.name(operand).unwrap_or_default();
        let importer = &self.importer;
        let value = importer.values.get(&name).map(|id| importer.b.shape(*id).dims().to_vec());
        let stored = || Some(importer.stored.get(&name)?.shape().iter().map(|&len| Dim::Len(len)).collect());
        value.or_else(|| importer.known.get(&name)?.dims()).or_else(stored).ok_or_else(|| {
            self.bad(operand, self.describe(&name), "the value of an earlier node, or a stored tensor")
        })
    }

    /// Numbers that are known beforehand: computed of shapes, or stored, if they are integers or one floating-point number.
    pub(super) fn known(&self, operand: usize) -> Result<Option<Known>, ImportError> {
        let Some(name) = self.name(operand) else { return Ok(None) };
        if let Some(known) = self.importer.known.get(&name) {
            return Ok(Some(known.clone()));
        }
        let elements = |stored: &Stored| stored.shape().iter().product::<usize>();
        match self.importer.stored.get(&name) {
            Some(stored) if elements(stored) <= if stored.is_float() { 1 } else { MOST } => {
                stored.known().map(Some)
            }
            Some(_) | None => Ok(None),
        }
    }

    /// Whether an operand was computed of shapes.
    pub(super) fn is_computed(&self, operand: usize) -> bool {
        self.name(operand).is_some_and(|name| self.importer.known.contains_key(&name))
    }

    /// Whole numbers, e.g. a shape, that may be multiples of the batch; `None` where they are left out.
    pub(super) fn counts(&mut self, operand: usize) -> Result<Option<Vec<Count>>, ImportError> {
        let Some(name) = self.name(operand) else { return Ok(None) };
        let known = self.known(operand)?.filter(Known::is_integer);
        let counts = known.as_ref().map(Known::counts);
        let supported = "integers that are stored, or computed of shapes";
        match counts {
            Some(Some(counts)) => Ok(Some(counts)),
            Some(None) => Err(self.bad(
                operand,
                format!("'{name}', which changes with the batch"),
                "numbers that are the same at any batch, or multiples of it",
            )),
            None if self.importer.values.contains_key(&name) => {
                Err(self.bad(operand, format!("the computed value '{name}'"), supported))
            }
            None => Err(self.bad(operand, self.describe(&name), supported)),
        }
    }

    /// Integers that are the same at any batch, e.g. axes; `None` where they are left out.
    pub(super) fn ints(&mut self, operand: usize) -> Result<Option<Vec<i64>>, ImportError> {
        let Some(counts) = self.counts(operand)? else { return Ok(None) };
        let same = |count: &Count| if let Count::Same(value) = count { Some(*value) } else { None };
        match counts.iter().map(same).collect() {
            Some(ints) => Ok(Some(ints)),
            None => Err(self.bad(operand, format!("{counts:?}"), "numbers that are the same at any batch")),
        }
    }

    /// The same, where they must be there.
    pub(super) fn some_ints(&mut self, operand: usize) -> Result<Vec<i64>, ImportError> {
        self.ints(operand)?.ok_or_else(|| self.bad(operand, "nothing".into(), "integers"))
    }

    /// The same of numbers that may be multiples of the batch.
    pub(super) fn some_counts(&mut self, operand: usize) -> Result<Vec<Count>, ImportError> {
        self.counts(operand)?.ok_or_else(|| self.bad(operand, "nothing".into(), "integers"))
    }

    /// Floating-point values that are stored in the model, or computed of shapes; `None` where they are left out.
    pub(super) fn floats(&mut self, operand: usize) -> Result<Option<Vec<f32>>, ImportError> {
        Ok(self.array(operand)?.map(|array| array.into_raw_vec_and_offset().0))
    }

    /// The same in their shape.
    pub(super) fn array(&mut self, operand: usize) -> Result<Option<ArrayD<f32>>, ImportError> {
        let Some(name) = self.name(operand) else { return Ok(None) };
        let known = self.importer.known.get(&name).and_then(Known::constant);
        let (shape, values) = match (known, self.importer.stored.get(&name)) {
            (Some(constant), _) => (constant.shape, constant.values),
            (None, Some(stored)) => (stored.shape().to_vec(), stored.floats()?),
            (None, None) => {
                return Err(self.bad(
                    operand,
                    format!("the computed value '{name}'"),
                    "values stored in the model",
                ));
            }
        };
        Ok(ArrayD::from_shape_vec(IxDyn(&shape), values).ok())
    }

    /// Whether an operand is stored in the model.
    pub(super) fn is_stored(&self, operand: usize) -> bool {
        self.name(operand).is_some_and(|name| self.importer.stored.contains_key(&name))
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

    /// A tensor that is an attribute.
    pub(super) fn tensor(&self, name: &str) -> Option<&'a TensorProto> {
        self.attribute(name).and_then(|a| a.t.as_ref())
    }

    /// Numbers of a tensor that is an attribute.
    pub(super) fn stored(&self, name: &str) -> Result<Option<ArrayD<f64>>, String> {
        let Some(tensor) = self.tensor(name) else { return Ok(None) };
        let stored = Stored::new(tensor.clone(), None).map_err(|e| e.to_string())?;
        stored.numbers().map(Some).map_err(|e| e.to_string())
    }

    /// The value of a `Constant` node.
    fn constant(&self) -> Option<TensorProto> {
        let of = |name: &str| self.attribute(name);
        let vector = |dims, dtype: DataType| TensorProto {
            dims,
            data_type: Some(dtype as i32),
            ..TensorProto::default()
        };
        let ints = |dims, values| TensorProto { int64_data: values, ..vector(dims, DataType::Int64) };
        let floats = |dims, values| TensorProto { float_data: values, ..vector(dims, DataType::Float) };
        self.tensor("value")
            .cloned()
            .or_else(|| of("value_int").map(|a| ints(vec![], vec![a.i()])))
            .or_else(|| of("value_ints").map(|a| ints(vec![a.ints.len() as i64], a.ints.clone())))
            .or_else(|| of("value_float").map(|a| floats(vec![], vec![a.f()])))
            .or_else(|| of("value_floats").map(|a| floats(vec![a.floats.len() as i64], a.floats.clone())))
    }

    /// A stored tensor has one more name: the node's output.
    pub(super) fn rename(&mut self) -> Option<()> {
        let name = self.name(0).filter(|name| self.importer.stored.contains_key(name))?;
        let output = self.node.output.first()?.clone();
        self.importer.same.insert(output, name);
        Some(())
    }

    /// A stored tensor that a `Constant` node holds, from now on under its output's name.
    pub(super) fn store(&mut self) -> Result<(), ImportError> {
        let Some(mut tensor) = self.constant() else {
            return Err(self.unsupported("value", "a tensor, or numbers"));
        };
        tensor.name = self.node.output.first().cloned();
        // Only initialisers may have their data elsewhere.
        let stored = Stored::new(tensor, None)?;
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
    pub(super) fn reshape(&mut self, x: NodeId, target: &[Count]) -> Result<NodeId, ImportError> {
        let from = self.shape(x);
        let keep = |(axis, &count): (usize, &Count)| match count {
            Count::Same(0) => from.dims().get(axis).copied(),
            Count::Same(len) => usize::try_from(len).ok().map(Dim::Len),
            Count::Batch(each) => Some(Dim::times(each)),
        };
        let mut dims: Vec<Option<Dim>> = target.iter().enumerate().map(keep).collect();
        let known = |d: &Option<Dim>| d.map_or(1, |d| d.at(1));
        let product = dims.iter().map(known).fold(1usize, usize::saturating_mul);
        let batched = dims.iter().flatten().any(|dim| dim.each().is_some());
        if let Some(open) = target.iter().position(|len| *len == Count::Same(-1)) {
            let left = from.sample_elements() / product.max(1);
            dims[open] =
                Some(if from.open().is_some() && !batched { Dim::times(left) } else { Dim::Len(left) });
        }
        let shape = dims.into_iter().collect::<Option<Vec<_>>>().and_then(Shape::from_dims);
        let shape = shape.ok_or_else(|| {
            self.bad(1, format!("the shape {target:?} for {from}"), "a shape that keeps the batch")
        })?;
        self.primitive(Primitive::Reshape { shape }, &[x])
    }

    /// A value with one more open axis than it has, `axis`: the same for each sample.
    pub(super) fn for_each_sample(
        &mut self,
        x: NodeId,
        axis: usize,
        each: usize,
    ) -> Result<NodeId, ImportError> {
        let mut dims = vec![Dim::Len(1); self.shape(x).rank()];
        dims[axis] = Dim::times(each);
        let shape = Shape::from_dims(dims).expect("one axis is open");
        let zeros = self.importer.zeros();
        let zeros = zeros
            .map_err(|source| ImportError::Graph { place: self.place.clone(), source: Box::new(source) })?;
        let Some(zeros) = zeros else {
            return Err(self.bad(0, "no input".into(), "a network with an input"));
        };
        self.build(|b| {
            let row = b.reshape(zeros, Shape::batch(&[1]))?;
            let rows = b.primitive(Primitive::Expand { shape: Shape::batch(&[each]) }, &[row])?;
            let zeros = b.reshape(rows, shape)?;
            b.add(x, zeros)
        })
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
        position: [
            graph.node.iter().position(|other| std::ptr::eq(other, node)).map_or(0, |index| index + 1),
            graph.node.len(),
        ],
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
