//! The import of norms.

use anomalens_models::graph::{Composite, Dim, Primitive, Shape};

use super::call::Call;
use super::ops::Values;

/// The graph's primitive has neither scale nor shift: both are one more step each, unless they do nothing.
pub(super) fn instance(c: &mut Call<'_>) -> Values {
    let x = c.operand(0)?;
    let mut y = c.primitive(Primitive::InstanceNormalization { epsilon: c.float("epsilon", 1e-5) }, &[x])?;
    let shape = c.shape(x);
    let mut per_channel = vec![1; shape.rank() - 1];
    per_channel[0] = shape.len(1).unwrap_or(1);
    for (operand, neutral, op) in [(1, 1.0, Primitive::Mul), (2, 0.0, Primitive::Add)] {
        let values = c.floats(operand)?.unwrap_or_default();
        if values.iter().any(|v| *v != neutral) {
            let parameter = c.operand(operand)?;
            let shape = Shape::fixed(&per_channel);
            let parameter = c.primitive(Primitive::Reshape { shape }, &[parameter])?;
            y = c.primitive(op, &[y, parameter])?;
        }
    }
    Ok(vec![y])
}

/// With the stored mean and variance: (x − mean) · scale / √(variance + ε) + shift, of which all but x is known.
pub(super) fn batch(c: &mut Call<'_>) -> Values {
    c.only("training_mode", 0, 0)?;
    let [x, scale, shift, mean, variance] = [0, 1, 2, 3, 4].map(|i| c.operand(i));
    let (x, scale, shift, mean, variance) = (x?, scale?, shift?, mean?, variance?);
    let epsilon = f64::from(c.float("epsilon", 1e-5));
    let mut per_channel = vec![1; c.shape(x).rank().saturating_sub(1)];
    if let Some(channels) = per_channel.first_mut() {
        *channels = c.shape(x).len(1).unwrap_or(1);
    }
    let y = c.build(|b| {
        let epsilon = b.scalar(epsilon);
        let variance = b.add(variance, epsilon)?;
        let deviation = b.primitive(Primitive::Sqrt, &[variance])?;
        let factor = b.div(scale, deviation)?;
        let moved = b.mul(mean, factor)?;
        let offset = b.sub(shift, moved)?;
        let factor = b.reshape(factor, Shape::fixed(&per_channel))?;
        let offset = b.reshape(offset, Shape::fixed(&per_channel))?;
        let scaled = b.mul(x, factor)?;
        b.add(scaled, offset)
    })?;
    Ok(vec![y])
}

/// Over groups of channels. Scale and shift were one a group before opset 21, and are one a channel since.
pub(super) fn group(c: &mut Call<'_>) -> Values {
    let (x, mut parameters) = (c.operand(0)?, [c.operand(1)?, c.operand(2)?]);
    let groups = usize::try_from(c.int("num_groups", 0)).unwrap_or(0);
    let channels = c.shape(x).len(1).unwrap_or(0);
    if groups == 0 || !channels.is_multiple_of(groups) {
        return Err(c.unsupported("num_groups", &format!("what divides {channels} channels")));
    }
    if c.opset() < 21 {
        for parameter in &mut parameters {
            *parameter = c.build(|b| {
                let column = b.reshape(*parameter, Shape::fixed(&[groups, 1]))?;
                let shape = Shape::fixed(&[groups, channels / groups]);
                let each = b.primitive(Primitive::Expand { shape }, &[column])?;
                b.reshape(each, Shape::fixed(&[channels]))
            })?;
        }
    }
    let norm = Composite::GroupNorm { groups, epsilon: c.float("epsilon", 1e-5) };
    Ok(vec![c.build(|b| b.composite(norm, &[x, parameters[0], parameters[1]]))?])
}

/// Over the last axes, by the instance norm of all of them as one: `[N, …, D]` is `[N, P, D]` to it, `[P, N, D]` is `[PN, 1, D]`.
pub(super) fn layer(c: &mut Call<'_>) -> Values {
    let x = c.operand(0)?;
    let shape = c.shape(x);
    let axis = c.axis("axis", c.int("axis", -1), shape.rank())?;
    if shape.open().is_none_or(|open| open >= axis) {
        return Err(c.unsupported("axis", "axes behind the batch of a value [N, …]"));
    }
    let over: usize = (axis..shape.rank()).filter_map(|axis| shape.len(axis)).product();
    let rows = shape.sample_elements() / over.max(1);
    let flat = match shape.has_batch() {
        true => Shape::batch(&[rows, over]),
        false => Shape::fixed(&[0, 1, over]).with(0, Dim::times(rows)),
    };
    let norm = Primitive::InstanceNormalization { epsilon: c.float("epsilon", 1e-5) };
    let (scale, shift) = (c.operand(1)?, c.optional(2)?);
    let y = c.build(|b| {
        let flat = b.reshape(x, flat)?;
        let normal = b.primitive(norm, &[flat])?;
        let normal = b.reshape(normal, shape.clone())?;
        b.mul(normal, scale)
    })?;
    Ok(vec![match shift {
        Some(shift) => c.primitive(Primitive::Add, &[y, shift])?,
        None => y,
    }])
}
