//! Long sums in two stages.
//!
//! tract adds a row up from its first value to its last. In f32 that loses two digits where the paper's networks normalise
//! 262,144 values at once, 256 × 256 pixels of four channels: the output is 5e-5 of its maximum away from f64. Added up
//! in blocks, and then over the blocks, the error is that of rows as long as the root of the length.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::{AxisOp, Rewriter, TypedModelPatch};
use tract_onnx::tract_core::ops::math;
use tract_onnx::tract_core::ops::nn::{Reduce, Reducer, RmsNorm};

/// Rows up to this length are added up in one go.
const SHORT: usize = 1024;
/// Blocks of fewer values are not worth a stage.
const SMALLEST_BLOCK: usize = 16;

/// Divides every long sum over the last axis into blocks. To be called last: tract's own passes would join the stages again.
///
/// Errors: those of tract, for a model that contradicts itself.
pub(super) fn divide_long_sums(model: &mut TypedModel) -> TractResult<()> {
    Rewriter::default()
        .with_rule_for("sum", |(), model, node, name, op: &Reduce| {
            let of_last = op.axes.as_slice() == [model.outlet_fact(node.inputs[0])?.rank() - 1];
            if !of_last || op.reducer != Reducer::Sum {
                return Ok(None);
            }
            rewrite(model, node, |patch, x, row| sum(patch, name, x, row))
        })
        .with_rule_for("root mean square", |(), model, node, name, op: &RmsNorm| {
            if op.axis != model.outlet_fact(node.inputs[0])?.rank() - 1 {
                return Ok(None);
            }
            rewrite(model, node, |patch, x, row| rms_norm(patch, name, x, row, &op.eps))
        })
        .rewrite(&(), model)
}

/// A row along the last axis.
struct Row {
    axis: usize,
    length: usize,
    block: usize,
}

/// A node whose rows are long, replaced by what `body` makes of its input.
fn rewrite(
    model: &TypedModel,
    node: &TypedNode,
    body: impl FnOnce(&mut TypedModelPatch, OutletId, &Row) -> TractResult<OutletId>,
) -> TractResult<Option<TypedModelPatch>> {
    let fact = model.outlet_fact(node.inputs[0])?;
    let axis = fact.rank() - 1;
    let length = fact.shape[axis].as_i64().and_then(|length| usize::try_from(length).ok());
    let Some((length, block)) = length.and_then(|length| Some((length, block(length)?))) else {
        return Ok(None);
    };
    if fact.datum_type != f32::datum_type() {
        return Ok(None);
    }
    let mut patch = TypedModelPatch::default();
    let x = patch.tap_model(model, node.inputs[0])?;
    let y = body(&mut patch, x, &Row { axis, length, block })?;
    patch.shunt_outside(model, node.id.into(), y)?;
    Ok(Some(patch))
}

/// The divisor of a long row's length that is nearest below its root, where it is worth a stage.
fn block(length: usize) -> Option<usize> {
    if length <= SHORT {
        return None;
    }
    (SMALLEST_BLOCK..=length.isqrt()).rev().find(|block| length.is_multiple_of(*block))
}

/// `[…, length]` → `[…, 1]`: the sum over each row.
fn sum(patch: &mut TypedModelPatch, name: &str, x: OutletId, row: &Row) -> TractResult<OutletId> {
    let Row { axis, length, block } = *row;
    let blocks = AxisOp::Reshape(axis, tvec![length.into()], tvec![(length / block).into(), block.into()]);
    let add_up = |axis| Reduce::new(tvec![axis], Reducer::Sum);
    let y = patch.wire_node(format!("{name}.blocks"), blocks, &[x])?;
    let y = patch.wire_node(format!("{name}.each"), add_up(axis + 1), &y)?;
    let y = patch.wire_node(format!("{name}.row"), AxisOp::Rm(axis + 1), &y)?;
    Ok(patch.wire_node(format!("{name}.all"), add_up(axis), &y)?[0])
}

/// x / √(mean of x² over the row + ε).
fn rms_norm(
    patch: &mut TypedModelPatch,
    name: &str,
    x: OutletId,
    row: &Row,
    epsilon: &Tensor,
) -> TractResult<OutletId> {
    let mut constant = |what: &str, value: f32| -> TractResult<OutletId> {
        let value = tensor0(value).broadcast_into_rank(row.axis + 1)?;
        patch.add_const(format!("{name}.{what}"), value.into_arc_tensor())
    };
    let share = constant("share", (row.length as f32).recip())?;
    let epsilon = constant("epsilon", epsilon.cast_to_scalar::<f32>()?)?;
    let squares = patch.wire_node(format!("{name}.squares"), math::square(), &[x])?[0];
    let total = sum(patch, name, squares, row)?;
    let mean = patch.wire_node(format!("{name}.mean"), math::mul(), &[total, share])?[0];
    let mean = patch.wire_node(format!("{name}.positive"), math::add(), &[mean, epsilon])?;
    let factor = patch.wire_node(format!("{name}.factor"), math::rsqrt(), &mean)?[0];
    Ok(patch.wire_node(format!("{name}.normal"), math::mul(), &[x, factor])?[0])
}
