//! The import of norms.

use anomalens_models::graph::{Primitive, Shape};

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

/// Over the last axes, by the instance norm of all of them as one: `[N, …, D]` is `[N, P, D]` to it.
pub(super) fn layer(c: &mut Call<'_>) -> Values {
    let x = c.operand(0)?;
    let shape = c.shape(x);
    let axis = c.axis("axis", c.int("axis", -1), shape.rank())?;
    if axis == 0 || !shape.has_batch() {
        return Err(c.unsupported("axis", "axes behind the batch of a value [N, …]"));
    }
    let over: usize = (axis..shape.rank()).filter_map(|axis| shape.len(axis)).product();
    let flat = Shape::batch(&[shape.sample_elements() / over.max(1), over]);
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
