//! Group norms in one pass.
//!
//! tract takes an instance normalisation apart into a dozen nodes, of which each reads and writes the whole image, and so
//! are the scale, the shift and the SiLU behind it: a third of the time of the demo's U-Net. Here it stays whole, and takes in
//! what follows it:
//!
//! ```text
//! InstanceNormalization [N, groups, …] -> Reshape [N, channels, …] -> Mul [channels] -> Add [channels] -> SiLU
//! ```

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::math::{self, Add, Mul};
use tract_onnx::tract_core::ops::nn::Silu;
use tract_onnx::tract_core::tract_linalg::multithread::par_chunks_mut;
use tract_onnx::tract_core::tract_linalg::routines::Func;
use tract_onnx::tract_hir::internal::*;

use super::dot::sum;

/// Keeps instance normalisations whole. To be called before a model is read.
pub(super) fn register(reader: &mut tract_onnx::Onnx) {
    reader.op_register.insert("InstanceNormalization", |_: &ParsingContext<'_>, node: &NodeProto| {
        let epsilon = node.get_attr_opt("epsilon")?.unwrap_or(1e-5);
        Ok((expand(InstanceNormalization { epsilon }), vec![]))
    });
}

/// Takes into each norm what follows it. To be called when the model is decluttered.
///
/// Errors: those of tract, for a model that contradicts itself.
pub(super) fn absorb(model: &mut TypedModel) -> TractResult<()> {
    Rewriter::default()
        .with_rule_for("norm", |(), model, node, name, op: &Norm| {
            let [next] = node.outputs[0].successors.as_slice() else { return Ok(None) };
            if model.outputs.contains(&node.id.into()) {
                return Ok(None);
            }
            let next = model.node(next.node);
            let Some(op) = op.with(model, node, next)? else { return Ok(None) };
            let mut patch = TypedModelPatch::default();
            let x = patch.tap_model(model, node.inputs[0])?;
            let y = patch.wire_node(format!("{name}.with"), op, &[x])?[0];
            patch.shunt_outside(model, next.id.into(), y)?;
            Ok(Some(patch))
        })
        .rewrite(&(), model)
}

/// ONNX's operator: three inputs, of which the scale and the shift do nothing in what lowering writes.
#[derive(Debug, Clone)]
struct InstanceNormalization {
    epsilon: f32,
}

impl Expansion for InstanceNormalization {
    fn name(&self) -> StaticName {
        "InstanceNormalization".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, 3)?;
        check_output_arity(outputs, 1)?;
        for input in inputs {
            s.equals(&input.datum_type, f32::datum_type())?;
        }
        s.equals(&outputs[0].datum_type, f32::datum_type())?;
        s.equals(&inputs[0].shape, &outputs[0].shape)?;
        s.equals(&inputs[1].shape, &inputs[2].shape)?;
        s.equals(&inputs[1].shape[0], &inputs[0].shape[1])?;
        Ok(())
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        let fact = model.outlet_fact(inputs[0])?;
        let rank = fact.rank();
        let shape = fact.shape.as_concrete().context("a norm whose shape is not known")?.into();
        let op = Norm { epsilon: self.epsilon, shape, scale: None, shift: None, silu: false };
        let mut y = model.wire_node(format!("{prefix}.norm"), op, &inputs[..1])?[0];
        for (input, neutral, op) in [(inputs[1], 1.0, math::mul()), (inputs[2], 0.0, math::add())] {
            if model.outlet_fact(input)?.konst.as_ref().is_some_and(|value| all(value, neutral)) {
                continue;
            }
            let name = format!("{prefix}.{}", op.name());
            let mut operand = model.wire_node(format!("{name}.batch"), AxisOp::Add(0), &[input])?[0];
            for axis in 2..rank {
                operand = model.wire_node(format!("{name}.{axis}"), AxisOp::Add(axis), &[operand])?[0];
            }
            y = model.wire_node(name, op, &[y, operand])?[0];
        }
        Ok(tvec![y])
    }
}

fn all(tensor: &Tensor, value: f32) -> bool {
    tensor.to_plain_array_view::<f32>().is_ok_and(|values| values.iter().all(|v| *v == value))
}

/// (x − mean) / √(variance + ε) over each group of `[N, groups, …]`, as `shape`, `[N, channels, …]`; times `scale`, plus
/// `shift`, both `[channels]`; then, if `silu`, x · sigmoid(x).
#[derive(Debug, Clone, PartialEq)]
struct Norm {
    epsilon: f32,
    shape: TVec<usize>,
    scale: Option<Arc<Tensor>>,
    shift: Option<Arc<Tensor>>,
    silu: bool,
}

// tract compares operators to find equal ones; no ε is NaN.
impl Eq for Norm {}

impl Norm {
    /// The norm that has taken in the node that follows it, if it is one that it can take in.
    fn with(&self, model: &TypedModel, node: &TypedNode, next: &TypedNode) -> TractResult<Option<Self>> {
        let mut op = self.clone();
        if let Some(AxisOp::Reshape(axis, ..)) = next.op_as() {
            let shape = next.outputs[0].fact.shape.as_concrete();
            let fits = *axis > 0 && self.scale.is_none() && self.shift.is_none();
            let Some(shape) = shape.filter(|shape| fits && self.channels_fit(model, node, shape)) else {
                return Ok(None);
            };
            op.shape = shape.into();
        } else if let Some(TypedBinOp(of, None)) = next.op_as() {
            let operand = next.inputs.iter().find(|input| input.node != node.id);
            let Some(operand) =
                operand.map(|&operand| self.per_channel(model, operand)).transpose()?.flatten()
            else {
                return Ok(None);
            };
            if of.is::<Mul>() && self.scale.is_none() && self.shift.is_none() && !self.silu {
                op.scale = Some(operand);
            } else if of.is::<Add>() && self.shift.is_none() && !self.silu {
                op.shift = Some(operand);
            } else {
                return Ok(None);
            }
        } else if next.op_as::<ElementWiseOp>().is_some_and(|next| next.0.is::<Silu>()) && !self.silu {
            op.silu = true;
        } else {
            return Ok(None);
        }
        Ok(Some(op))
    }

    /// Whether the channels of a shape divide evenly among the groups.
    fn channels_fit(&self, model: &TypedModel, node: &TypedNode, shape: &[usize]) -> bool {
        let groups = model.outlet_fact(node.inputs[0]).ok().and_then(|fact| fact.shape[1].as_i64());
        let groups = groups.and_then(|groups| usize::try_from(groups).ok()).unwrap_or(0);
        shape.len() > 1 && groups > 0 && shape[1].is_multiple_of(groups)
    }

    /// A constant that has one value a channel, and one alone for all else.
    fn per_channel(&self, model: &TypedModel, operand: OutletId) -> TractResult<Option<Arc<Tensor>>> {
        let fact = model.outlet_fact(operand)?;
        let Some(value) = &fact.konst else { return Ok(None) };
        let fits = value.datum_type() == f32::datum_type()
            && value.rank() == self.shape.len()
            && value
                .shape()
                .iter()
                .enumerate()
                .all(|(axis, &l)| l == if axis == 1 { self.shape[1] } else { 1 });
        Ok(fits.then(|| value.clone()))
    }

    /// One group, in place.
    fn normalise(&self, values: &mut [f32], group: usize) -> TractResult<()> {
        let count = values.len() as f64;
        let mean = (sum(values, values, |v, _| v) / count) as f32;
        let variance = sum(values, values, |v, w| (v - mean) * (w - mean)) / count;
        let factor = (variance + f64::from(self.epsilon)).sqrt().recip() as f32;
        let pixels = self.shape[2..].iter().product::<usize>();
        let first = group * (values.len() / pixels.max(1));
        let (scale, shift) = (slice(&self.scale)?, slice(&self.shift)?);
        for (channel, values) in values.chunks_exact_mut(pixels.max(1)).enumerate() {
            let factor = factor * scale.map_or(1.0, |scale| scale[first + channel]);
            let shift = shift.map_or(0.0, |shift| shift[first + channel]);
            for v in values {
                *v = (*v - mean) * factor + shift;
            }
        }
        if self.silu {
            Func::Silu.ew_f32()?.run(values)?;
        }
        Ok(())
    }
}

fn slice(tensor: &Option<Arc<Tensor>>) -> TractResult<Option<&[f32]>> {
    tensor.as_ref().map(|tensor| tensor.try_as_plain_ram()?.as_slice::<f32>()).transpose()
}

impl Op for Norm {
    fn name(&self) -> StaticName {
        "Norm".into()
    }

    fn info(&self) -> TractResult<Vec<String>> {
        let parts = [("scale", self.scale.is_some()), ("shift", self.shift.is_some()), ("silu", self.silu)];
        Ok(parts.into_iter().filter(|(_, there)| *there).map(|(name, _)| name.to_owned()).collect())
    }

    op_as_typed_op!();
}

impl EvalOp for Norm {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext<'_>, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let mut x = args_1!(inputs).into_tensor();
        let groups = x.shape()[1];
        let (total, length) = (x.len(), x.shape()[2..].iter().product::<usize>());
        if total > 0 {
            let mut plain = x.try_as_plain_ram_mut()?;
            par_chunks_mut(plain.as_slice_mut::<f32>()?, length, total, |first, rows| {
                let mut rows = rows.chunks_exact_mut(length).enumerate();
                rows.try_for_each(|(row, values)| self.normalise(values, (first + row) % groups))
            })?;
        }
        x.set_shape(&self.shape)?;
        Ok(tvec![x.into_tvalue()])
    }
}

impl TypedOp for Norm {
    fn output_facts(&self, _: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec![f32::fact(&self.shape)])
    }

    as_op!();
}
