//! The cotangents of pooling and of strided slices: what a window gave goes back to where it was taken.

use std::collections::BTreeMap;

use anomalens_models::graph::{Builder, Dim, GraphError, NodeId, Primitive, Shape, Window};

/// A part that is put back: where it begins, and the part.
type Part = (usize, NodeId);

/// Of the greatest of each window: the first of those that are equal to it gets all, as in PyTorch. `left` is the cotangent
/// that no place has got yet; a place takes what is left where it is not below the greatest.
pub(super) fn max(
    b: &mut Builder,
    [x, y, g]: [NodeId; 3],
    kernel: [usize; 2],
    window: &Window,
) -> Result<NodeId, GraphError> {
    let mut padded = x;
    for direction in 0..2 {
        let [before, after] = window.border(direction);
        if before + after > 0 {
            let pad = Primitive::Pad { axis: 2 + direction, before, after, value: f32::MIN };
            padded = b.primitive(pad, &[padded])?;
        }
    }
    let mut left = g;
    let mut rows = Vec::new();
    for row in 0..kernel[0] {
        let strip = seen(b, padded, y, 0, row, window)?;
        let mut cols = Vec::new();
        for col in 0..kernel[1] {
            let value = seen(b, strip, y, 1, col, window)?;
            let below = b.sub(y, value)?;
            let below = b.primitive(Primitive::Sign, &[below])?;
            let rest = b.mul(left, below)?;
            cols.push((col * window.dilations[1], b.sub(left, rest)?));
            left = rest;
        }
        rows.push((row * window.dilations[0], put_back(b, &cols, x, 1, window)?));
    }
    put_back(b, &rows, x, 0, window)
}

/// Of the mean of each window: every place gets the same share.
pub(super) fn average(
    b: &mut Builder,
    [x, g]: [NodeId; 2],
    kernel: [usize; 2],
    window: &Window,
) -> Result<NodeId, GraphError> {
    let mut total = b.scale(g, 1.0 / (kernel[0] * kernel[1]) as f64)?;
    for direction in [1, 0] {
        let places = 0..kernel[direction];
        let parts: Vec<Part> = places.map(|place| (place * window.dilations[direction], total)).collect();
        total = put_back(b, &parts, x, direction, window)?;
    }
    Ok(total)
}

/// What one place of a window sees along a direction of a padded image, for each output.
fn seen(
    b: &mut Builder,
    padded: NodeId,
    y: NodeId,
    direction: usize,
    place: usize,
    window: &Window,
) -> Result<NodeId, GraphError> {
    let (axis, step) = (2 + direction, window.strides[direction]);
    let start = place * window.dilations[direction];
    let end = start + (len(b, y, axis) - 1) * step + 1;
    b.primitive(Primitive::Slice { axis, start, end, step }, &[padded])
}

/// The sum of what each place of a window gives back along a direction of the image `x`, whose border gets nothing.
fn put_back(
    b: &mut Builder,
    parts: &[Part],
    x: NodeId,
    direction: usize,
    window: &Window,
) -> Result<NodeId, GraphError> {
    let axis = 2 + direction;
    let ([before, after], side) = (window.border(direction), len(b, x, axis));
    let total = place(b, parts, axis, window.strides[direction], before + side + after)?;
    if before + after == 0 { Ok(total) } else { b.slice(total, axis, before, before + side) }
}

/// The value of length `side` along `axis` that holds element i of each part at its start + `step` · i, and the sum where parts
/// meet: the adjoint of slices with a step.
///
/// Parts whose starts differ by whole steps lie on one comb and are added as they are; combs are interleaved by a new axis of
/// length `step` behind `axis`. So nothing is multiplied by zeros, and only padding, sums and reshaping are wanted of an engine.
pub(super) fn place(
    b: &mut Builder,
    parts: &[Part],
    axis: usize,
    step: usize,
    side: usize,
) -> Result<NodeId, GraphError> {
    let teeth = side.div_ceil(step);
    let mut combs: BTreeMap<usize, NodeId> = BTreeMap::new();
    for &(start, part) in parts {
        let (before, long) = (start / step, len(b, part, axis));
        let whole = pad(b, part, axis, before, teeth - before - long)?;
        let sum = match combs.get(&(start % step)) {
            Some(&sum) => b.add(sum, whole)?,
            None => whole,
        };
        combs.insert(start % step, sum);
    }
    if step == 1 {
        return Ok(combs[&0]);
    }
    let count = combs.len();
    let mut woven = Vec::with_capacity(count);
    let mut filled = 0;
    for (i, (&tooth, &comb)) in combs.iter().enumerate() {
        let mut dims = b.shape(comb).dims().to_vec();
        dims.insert(axis + 1, Dim::Len(1));
        let comb = b.reshape(comb, fixed(dims))?;
        // Places between two steps that no part reaches stay zero.
        let after = if i + 1 == count { step - tooth - 1 } else { 0 };
        woven.push(pad(b, comb, axis + 1, tooth - filled, after)?);
        filled = tooth + 1;
    }
    let total = if count > 1 { b.concat(&woven, axis + 1)? } else { woven[0] };
    let mut dims = b.shape(total).dims().to_vec();
    dims.remove(axis + 1);
    dims[axis] = Dim::Len(teeth * step);
    let total = b.reshape(total, fixed(dims))?;
    if teeth * step > side { b.slice(total, axis, 0, side) } else { Ok(total) }
}

/// The shape of these dimensions, of which only the first can be the batch: no axis before it is ever added.
fn fixed(dims: Vec<Dim>) -> Shape {
    Shape::from_dims(dims).expect("the axis is not the batch")
}

fn pad(b: &mut Builder, x: NodeId, axis: usize, before: usize, after: usize) -> Result<NodeId, GraphError> {
    if before + after == 0 { Ok(x) } else { b.pad(x, axis, before, after) }
}

fn len(b: &Builder, x: NodeId, axis: usize) -> usize {
    b.shape(x).len(axis).expect("not the batch")
}
