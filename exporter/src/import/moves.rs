//! The import of what moves values, and of what chooses among them.

use anomalens_models::graph::{Dim, NodeId, Primitive, Shape};
use ndarray::{ArrayD, Axis};

use super::ImportError;
use super::call::Call;
use super::known::Count;
use super::ops::{Values, same};

/// More parts than this are not taken out of a value one by one.
const MOST_PARTS: usize = 64;

pub(super) fn reshape(c: &mut Call<'_>) -> Values {
    let (x, target) = (c.operand(0)?, c.some_counts(1)?);
    if target.contains(&Count::Same(0)) {
        c.only("allowzero", 0, 0)?;
    }
    Ok(vec![c.reshape(x, &target)?])
}

/// The same elements in other dimensions.
fn shaped(c: &mut Call<'_>, x: NodeId, dims: Vec<Dim>) -> Values {
    let shape = Shape::from_dims(dims).ok_or_else(|| c.bad(0, "two open axes".into(), "one open axis"))?;
    Ok(vec![c.primitive(Primitive::Reshape { shape }, &[x])?])
}

pub(super) fn squeeze(c: &mut Call<'_>) -> Values {
    let x = c.operand(0)?;
    let shape = c.shape(x);
    let axes = match c.ints(1)? {
        Some(axes) => axes.iter().map(|&a| c.axis("axes", a, shape.rank())).collect::<Result<Vec<_>, _>>()?,
        None => (0..shape.rank()).filter(|&axis| shape.len(axis) == Some(1)).collect(),
    };
    if let Some(axis) = axes.iter().find(|&&axis| shape.len(axis) != Some(1)) {
        return Err(c.bad(1, format!("axis {axis} of {shape}"), "axes of length 1"));
    }
    let left = shape.dims().iter().enumerate().filter(|(axis, _)| !axes.contains(axis)).map(|(_, dim)| *dim);
    shaped(c, x, left.collect())
}

pub(super) fn unsqueeze(c: &mut Call<'_>) -> Values {
    let (x, axes) = (c.operand(0)?, c.some_ints(1)?);
    let shape = c.shape(x);
    let rank = shape.rank() + axes.len();
    let axes = axes.iter().map(|&a| c.axis("axes", a, rank)).collect::<Result<Vec<_>, _>>()?;
    let mut dims = shape.dims().iter().copied();
    let dim = |axis| if axes.contains(&axis) { Some(Dim::Len(1)) } else { dims.next() };
    let dims: Option<Vec<Dim>> = (0..rank).map(dim).collect();
    let dims = dims.ok_or_else(|| c.bad(1, format!("{axes:?}"), "each axis once"))?;
    shaped(c, x, dims)
}

/// Everything before an axis as one, and everything behind it.
pub(super) fn flatten(c: &mut Call<'_>) -> Values {
    let x = c.operand(0)?;
    let shape = c.shape(x);
    let axis = match c.int("axis", 1) {
        axis if axis == shape.rank() as i64 => shape.rank(),
        axis => c.axis("axis", axis, shape.rank())?,
    };
    let (before, behind) = shape.dims().split_at(axis);
    let dims = [before, behind].map(merged).into_iter().collect::<Option<Vec<_>>>();
    let dims = dims.ok_or_else(|| c.bad(0, shape.to_string(), "one open axis"))?;
    shaped(c, x, dims)
}

/// Several dimensions as one; `None` where more than one is open.
pub(super) fn merged(dims: &[Dim]) -> Option<Dim> {
    let shape = Shape::from_dims(dims.to_vec())?;
    let each = shape.sample_elements();
    Some(if shape.open().is_some() { Dim::times(each) } else { Dim::Len(each) })
}

pub(super) fn transpose(c: &mut Call<'_>) -> Values {
    let x = c.operand(0)?;
    let rank = c.shape(x).rank();
    let reversed = || (0..rank as i64).rev().collect();
    let perm = c.int_list("perm").unwrap_or_else(reversed);
    let perm = perm.iter().map(|&p| c.axis("perm", p, rank)).collect::<Result<Vec<_>, _>>()?;
    Ok(vec![c.primitive(Primitive::Transpose { perm }, &[x])?])
}

pub(super) fn concat(c: &mut Call<'_>) -> Values {
    let parts = (0..c.operands()).map(|i| c.operand(i)).collect::<Result<Vec<_>, _>>()?;
    let rank = parts.first().map_or(0, |&x| c.shape(x).rank());
    let axis = c.axis("axis", c.int("axis", 0), rank)?;
    if let &[part] = parts.as_slice() {
        return Ok(vec![part]);
    }
    Ok(vec![c.primitive(Primitive::Concat { axis }, &parts)?])
}

/// Parts of the lengths that are given, or of one length.
pub(super) fn split(c: &mut Call<'_>) -> Values {
    let x = c.operand(0)?;
    let shape = c.shape(x);
    let axis = c.axis("axis", c.int("axis", 0), shape.rank())?;
    let len = shape.len(axis).ok_or_else(|| c.unsupported("axis", "other axes than the batch"))?;
    let parts = c.outputs().max(1);
    let lengths = c.ints(1)?.unwrap_or_else(|| {
        let one = len.div_ceil(parts);
        (0..parts).map(|i| one.min(len.saturating_sub(i * one)) as i64).collect()
    });
    let wrong = format!("{lengths:?} for {shape}");
    if lengths.len() != parts {
        return Err(c.bad(1, wrong, "as many lengths as outputs"));
    }
    let mut start = 0;
    let mut values = Vec::with_capacity(parts);
    for length in lengths {
        let end = usize::try_from(length).ok().and_then(|length| length.checked_add(start));
        let end = end.filter(|end| *end <= len).ok_or_else(|| c.bad(1, wrong.clone(), "lengths that fit"))?;
        values.push(c.primitive(Primitive::Slice { axis, start, end, step: 1 }, &[x])?);
        start = end;
    }
    Ok(values)
}

pub(super) fn slice(c: &mut Call<'_>) -> Values {
    let mut x = c.operand(0)?;
    let (starts, ends) = (c.some_counts(1)?, c.some_counts(2)?);
    let axes = c.ints(3)?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = c.ints(4)?.unwrap_or_else(|| vec![1; starts.len()]);
    if steps.iter().any(|step| *step < 1) {
        return Err(c.bad(4, format!("steps {steps:?}"), "steps of at least 1"));
    }
    if [axes.len(), ends.len(), steps.len()] != [starts.len(); 3] {
        return Err(c.bad(1, format!("{} starts, {} ends", starts.len(), ends.len()), "one of each an axis"));
    }
    for (((start, end), axis), step) in starts.into_iter().zip(ends).zip(axes).zip(steps) {
        let shape = c.shape(x);
        let axis = c.axis("axes", axis, shape.rank())?;
        let all = match end {
            Count::Same(end) => end >= i64::from(i32::MAX),
            Count::Batch(each) => shape.dims()[axis].each() == Some(each),
        };
        if shape.open() == Some(axis) && start == Count::Same(0) && all && step == 1 {
            continue;
        }
        let (Some(len), Count::Same(start), Count::Same(end)) = (shape.len(axis), start, end) else {
            let found = format!("{start:?} to {end:?} of axis {axis} of {shape}");
            return Err(c.bad(1, found, "a part of other axes than the batch, the same at any batch"));
        };
        // Negative places count from the end, and what lies beyond it is cut.
        let at = |place: i64| {
            (if place < 0 { place.saturating_add(len as i64) } else { place }).clamp(0, len as i64) as usize
        };
        x = c.primitive(
            Primitive::Slice { axis, start: at(start), end: at(end), step: step as usize },
            &[x],
        )?;
    }
    Ok(vec![x])
}

pub(super) fn pad(c: &mut Call<'_>) -> Values {
    c.only_text("mode", "constant", "constant")?;
    let mut x = c.operand(0)?;
    let pads = c.some_ints(1)?;
    let value = c.number(2, 0.0)?;
    let rank = c.shape(x).rank();
    let axes = c.ints(3)?.unwrap_or_else(|| (0..rank as i64).collect());
    if pads.len() != 2 * axes.len() {
        return Err(c.bad(1, format!("{pads:?}"), "two numbers an axis"));
    }
    for (i, &axis) in axes.iter().enumerate() {
        let axis = c.axis("axes", axis, rank)?;
        // A negative border takes away.
        let border = |pad: i64| i16::try_from(pad).map(i64::from).ok();
        let (Some(before), Some(after)) = (border(pads[i]), border(pads[axes.len() + i])) else {
            return Err(c.bad(1, format!("{pads:?}"), "numbers from -32768 to 32767"));
        };
        let wide = |pad: i64| pad.max(0) as usize;
        if before.max(after) > 0 {
            let op = Primitive::Pad { axis, before: wide(before), after: wide(after), value };
            x = c.primitive(op, &[x])?;
        }
        if let (Some(len), true) = (c.shape(x).len(axis), before.min(after) < 0) {
            let end = len.saturating_sub(wide(-after));
            x = c.primitive(Primitive::Slice { axis, start: wide(-before), end, step: 1 }, &[x])?;
        }
    }
    Ok(vec![x])
}

pub(super) fn expand(c: &mut Call<'_>) -> Values {
    let (mut x, target) = (c.operand(0)?, c.some_counts(1)?);
    let dim = |count: &Count| match *count {
        Count::Same(len) => usize::try_from(len).ok().map(Dim::Len),
        Count::Batch(each) => Some(Dim::times(each)),
    };
    let shape = target.iter().map(dim).collect::<Option<Vec<_>>>().and_then(Shape::from_dims);
    let from = c.shape(x);
    let to = shape.and_then(|shape| from.broadcast(&shape));
    let to = to.ok_or_else(|| c.bad(1, format!("{target:?} for {from}"), "a shape that it expands to"))?;
    if from.rank() < to.rank() {
        let dims = vec![Dim::Len(1); to.rank() - from.rank()].into_iter().chain(from.dims().iter().copied());
        x = shaped(c, x, dims.collect())?[0];
    }
    if let (Some(axis), None) = (to.open(), from.open()) {
        let each = to.dims()[axis].each().unwrap_or(1);
        x = c.for_each_sample(x, axis, each)?;
    }
    Ok(vec![if c.shape(x) == to { x } else { c.primitive(Primitive::Expand { shape: to }, &[x])? }])
}

/// Elements of an axis by known places; or, by the classes of a batch, rows of a table.
pub(super) fn gather(c: &mut Call<'_>) -> Values {
    let Some(index) = c.known(1)? else {
        c.only("axis", 0, 0)?;
        return same(c, Primitive::Gather, 2);
    };
    let x = c.dims(0)?;
    let axis = c.axis("axis", c.int("axis", 0), x.len())?;
    let indices =
        index.dims().ok_or_else(|| c.bad(1, "indices of a changing shape".into(), "a fixed shape"))?;
    let dims: Vec<Dim> = x[..axis].iter().chain(&indices).chain(&x[axis + 1..]).copied().collect();
    if index.counts_up(x[axis]) {
        let x = c.operand(0)?;
        return shaped(c, x, dims);
    }
    let (Some(index), Dim::Len(len)) = (index.fixed(), x[axis]) else {
        return Err(c.bad(1, "indices of samples".into(), "the same indices at any batch, of another axis"));
    };
    let place = |&i: &f64| usize::try_from(if i < 0.0 { i as i64 + len as i64 } else { i as i64 }).ok();
    let places: Option<Vec<usize>> = index.iter().map(|i| place(i).filter(|p| *p < len)).collect();
    let places = places.ok_or_else(|| c.bad(1, "an index beyond the axis".into(), "indices of the axis"))?;
    let taken = match c.is_stored(0) {
        true => {
            let stored = c.array(0)?.expect("it is stored").select(Axis(axis), &places);
            let (shape, values) = (stored.shape().to_vec(), stored.iter().copied().collect());
            c.build(|b| b.constant(&shape, values))?
        }
        false => {
            let x = c.operand(0)?;
            taken(c, x, axis, &places)?
        }
    };
    shaped(c, taken, dims)
}

/// These places of an axis, by slices with a step.
fn taken(c: &mut Call<'_>, x: NodeId, axis: usize, places: &[usize]) -> Result<NodeId, ImportError> {
    let mut parts = Vec::new();
    let mut rest = places;
    while let &[start, ..] = rest {
        let step = rest.get(1).and_then(|next| next.checked_sub(start)).unwrap_or(1).max(1);
        let long = rest.iter().enumerate().take_while(|&(i, &place)| place == start + i * step).count();
        let end = start + (long - 1) * step + 1;
        parts.push(c.primitive(Primitive::Slice { axis, start, end, step }, &[x])?);
        rest = &rest[long..];
    }
    match parts.as_slice() {
        [] => Err(c.bad(1, "no index".into(), "at least one index")),
        &[part] => Ok(part),
        parts if parts.len() <= MOST_PARTS => c.primitive(Primitive::Concat { axis }, parts),
        parts => Err(c.bad(1, format!("indices in {} runs", parts.len()), "indices in 64 runs at most")),
    }
}

/// 1 where one value is greater than another, and 0 elsewhere.
fn greater(c: &mut Call<'_>, a: NodeId, b: NodeId) -> Result<NodeId, ImportError> {
    let difference = c.primitive(Primitive::Sub, &[a, b])?;
    let sign = c.primitive(Primitive::Sign, &[difference])?;
    c.primitive(Primitive::Relu, &[sign])
}

/// A comparison, as 1 and 0.
pub(super) fn compare(c: &mut Call<'_>) -> Values {
    let (a, b) = (c.operand(0)?, c.operand(1)?);
    Ok(vec![match c.op_type() {
        "Greater" => greater(c, a, b)?,
        "Less" => greater(c, b, a)?,
        "GreaterOrEqual" => {
            let less = greater(c, b, a)?;
            not(c, less)?
        }
        "LessOrEqual" => {
            let more = greater(c, a, b)?;
            not(c, more)?
        }
        _ => {
            let difference = c.primitive(Primitive::Sub, &[a, b])?;
            let sign = c.primitive(Primitive::Sign, &[difference])?;
            let differ = c.primitive(Primitive::Abs, &[sign])?;
            not(c, differ)?
        }
    }])
}

fn not(c: &mut Call<'_>, truth: NodeId) -> Result<NodeId, ImportError> {
    c.build(|b| {
        let one = b.scalar(1.0);
        b.sub(one, truth)
    })
}

/// And, or, not, of 1 and 0.
pub(super) fn logic(c: &mut Call<'_>) -> Values {
    let a = c.operand(0)?;
    Ok(vec![match c.op_type() {
        "Not" => not(c, a)?,
        "And" => same(c, Primitive::Mul, 2)?[0],
        _ => {
            let b = c.operand(1)?;
            let (neither, other) = (not(c, a)?, not(c, b)?);
            let neither = c.primitive(Primitive::Mul, &[neither, other])?;
            not(c, neither)?
        }
    }])
}

/// One of two values: where the truth is computed, both must be finite; where it is known, only what is taken.
pub(super) fn choose(c: &mut Call<'_>) -> Values {
    let known = c.known(0)?.and_then(|truth| truth.fixed().cloned());
    let (yes, no) = match &known {
        Some(truth) => (mask(c, truth)?, mask(c, &truth.mapv(|v| 1.0 - v))?),
        None => {
            let truth = c.operand(0)?;
            (truth, not(c, truth)?)
        }
    };
    let mut parts = Vec::new();
    for (operand, taken) in [(1, yes), (2, no)] {
        let number =
            c.known(operand)?.and_then(|known| known.fixed().filter(|v| v.len() == 1)?.first().copied());
        parts.push(match (number, &known) {
            (Some(number), Some(truth)) => {
                let wanted = if operand == 1 { 1.0 } else { 0.0 };
                mask(c, &truth.mapv(|v| if v == wanted { number } else { 0.0 }))?
            }
            _ => {
                let value = c.operand(operand)?;
                c.primitive(Primitive::Mul, &[value, taken])?
            }
        });
    }
    Ok(vec![c.primitive(Primitive::Add, &parts)?])
}

fn mask(c: &mut Call<'_>, values: &ArrayD<f64>) -> Result<NodeId, ImportError> {
    let (shape, values) = (values.shape().to_vec(), values.iter().map(|&v| v as f32).collect());
    c.build(|b| b.constant(&shape, values))
}

/// The greater, or the lesser, of values: (a + b ± |a − b|) / 2, so that equal ones share the gradient, as in PyTorch.
pub(super) fn extreme(c: &mut Call<'_>, sign: f64) -> Values {
    let mut best = c.operand(0)?;
    for operand in 1..c.operands() {
        let other = c.operand(operand)?;
        best = c.build(|b| {
            let difference = b.sub(best, other)?;
            let apart = b.primitive(Primitive::Abs, &[difference])?;
            let apart = b.scale(apart, 0.5 * sign)?;
            let sum = b.add(best, other)?;
            let middle = b.scale(sum, 0.5)?;
            b.add(middle, apart)
        })?;
    }
    Ok(vec![best])
}

/// Known numbers alone: an array of them was evaluated before the table was asked.
pub(super) fn only_known(c: &mut Call<'_>) -> Values {
    let found = "a value that the network computes".to_owned();
    Err(c.bad(0, found, "numbers that are stored, or computed of shapes"))
}
