//! Rows times columns in one pass.
//!
//! A gradient has sums of products over whole images, which lowering writes as products of a row and a column. tract packs the
//! operands of a product of matrices into panels of a dozen rows, of which one row fills little: the demo's gradient took 150 ms by
//! these, 29 by the sums themselves.

use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::tract_linalg::multithread::par_chunks_mut;

/// Values that are added up in f32; the sums of these are added up in f64.
const BLOCK: usize = 1024;
/// Sums that are kept side by side, so that the processor adds several at once.
const LANES: usize = 16;

/// Puts [`Dot`] in place of products of matrices that are rows times columns. To be called when the model is decluttered.
///
/// Errors: those of tract, for a model that contradicts itself.
pub(super) fn take_rows(model: &mut TypedModel) -> TractResult<()> {
    Rewriter::default()
        .with_rule_for("dot", |(), model, node, name, op: &EinSum| match Dot::of(model, node, op)? {
            Some(dot) => TypedModelPatch::replace_single_op(model, node, &node.inputs, dot)
                .map(|patch| Some(patch.with_context(name))),
            None => Ok(None),
        })
        .rewrite(&(), model)
}

/// Σ a · b over each row of `length` values, as `shape`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Dot {
    length: usize,
    shape: TVec<usize>,
}

impl Dot {
    /// What a product of matrices is, if every axis longer than 1 is one of both operands, in the same order, and what is summed
    /// stands last.
    fn of(model: &TypedModel, node: &TypedNode, op: &EinSum) -> TractResult<Option<Self>> {
        let [a, b] = node.inputs[..] else { return Ok(None) };
        let facts = [model.outlet_fact(a)?, model.outlet_fact(b)?, &node.outputs[0].fact];
        if op.q_params.is_some() || facts.iter().any(|fact| fact.datum_type != f32::datum_type()) {
            return Ok(None);
        }
        let mut long: [TVec<(char, usize)>; 3] = Default::default();
        for ((fact, slot), long) in
            facts.iter().zip([InOut::In(0), InOut::In(1), InOut::Out(0)]).zip(&mut long)
        {
            let Some(shape) = fact.shape.as_concrete() else { return Ok(None) };
            for (axis, &length) in shape.iter().enumerate().filter(|(_, length)| **length != 1) {
                long.push((op.axes.axis((slot, axis))?.repr, length));
            }
        }
        let [a, b, sums] = &long;
        let summed = a.strip_prefix(&sums[..]).filter(|summed| !summed.is_empty() && a == b);
        Ok(summed.map(|summed| Self {
            length: summed.iter().map(|(_, length)| length).product(),
            shape: node.outputs[0].fact.shape.as_concrete().map(Into::into).unwrap_or_default(),
        }))
    }
}

/// Σ f(a, b), with the rounding of a few dozen additions.
pub(super) fn sum(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f64 {
    let block = |(a, b): (&[f32], &[f32])| {
        let mut lanes = [0f32; LANES];
        let (a, b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
        let rest: f32 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| f(*a, *b)).sum();
        for (a, b) in a.zip(b) {
            for (lane, (a, b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
                *lane += f(*a, *b);
            }
        }
        f64::from(rest) + lanes.iter().map(|lane| f64::from(*lane)).sum::<f64>()
    };
    a.chunks(BLOCK).zip(b.chunks(BLOCK)).map(block).sum()
}

impl Op for Dot {
    fn name(&self) -> StaticName {
        "Dot".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Dot {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext<'_>, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let (a, b) = args_2!(inputs);
        let (a, b) = (a.try_as_plain_ram()?, b.try_as_plain_ram()?);
        let (a, b) = (a.as_slice::<f32>()?, b.as_slice::<f32>()?);
        let mut sums = Tensor::zero::<f32>(&self.shape)?;
        par_chunks_mut(sums.try_as_plain_ram_mut()?.as_slice_mut::<f32>()?, 1, a.len(), |first, sums| {
            let rows = a.chunks_exact(self.length).zip(b.chunks_exact(self.length)).skip(first);
            for (total, (a, b)) in sums.iter_mut().zip(rows) {
                *total = sum(a, b, |a, b| a * b) as f32;
            }
            Ok(())
        })?;
        Ok(tvec![sums.into_tvalue()])
    }
}

impl TypedOp for Dot {
    fn output_facts(&self, _: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec![f32::fact(&self.shape)])
    }

    as_op!();
}
