//! Operators of ONNX Runtime's own domain: images with the channels last, `[N, H, W, C]`.
//!
//! In the graph they are what they compute, on images with the channels first, between two transpositions.

use anomalens_models::graph::{Composite, NodeId, Primitive, Shape};

use super::ImportError;
use super::call::Call;
use super::images;
use super::ops::Values;

/// The domain of ONNX Runtime's own operators.
pub(super) const DOMAIN: &str = "com.microsoft";

/// `X` `[N, H, W, I]`, `W` `[O, k, k, I]`, `B` `[O]` → `[N, H', W', O]`.
pub(super) fn conv(c: &mut Call<'_>) -> Values {
    let (x, weight) = (image(c, 0)?, image(c, 1)?);
    let y = images::conv(c, x, weight)?;
    Ok(vec![c.channels_last(y[0])?])
}

/// `X` `[N, H, W, C]`, gamma `[C]`, beta `[C]` → `[N, H, W, C]`, normalised by groups and, if so said, through a SiLU.
pub(super) fn group_norm(c: &mut Call<'_>) -> Values {
    let x = image(c, 0)?;
    Ok(vec![normalised(c, x)?])
}

/// The same of `X` + `skip` (+ `bias` `[C]`), where skip is `[N, H, W, C]`, `[N, 1, 1, C]` or `[N, C]`; the second value
/// is the sum.
pub(super) fn skip_group_norm(c: &mut Call<'_>) -> Values {
    let x = image(c, 0)?;
    let channels = c.shape(x).len(1).unwrap_or(0);
    let skip = c.operand(3)?;
    let skip = match c.shape(skip).rank() {
        2 => c.primitive(Primitive::Reshape { shape: Shape::batch(&[channels, 1, 1]) }, &[skip])?,
        _ => image(c, 3)?,
    };
    let mut sum = c.primitive(Primitive::Add, &[x, skip])?;
    if let Some(bias) = c.optional(4)? {
        let shape = Shape::fixed(&[channels, 1, 1]);
        let bias = c.primitive(Primitive::Reshape { shape }, &[bias])?;
        sum = c.primitive(Primitive::Add, &[sum, bias])?;
    }
    if c.shape(sum) != c.shape(x) {
        return Err(c.bad(
            3,
            format!("a skip that makes {} of the image", c.shape(sum)),
            "the image's own shape",
        ));
    }
    Ok(vec![normalised(c, sum)?, c.channels_last(sum)?])
}

/// An operand `[N, H, W, C]` as `[N, C, H, W]`.
fn image(c: &mut Call<'_>, operand: usize) -> Result<NodeId, ImportError> {
    let x = c.operand(operand)?;
    match c.shape(x) {
        shape if shape.rank() == 4 => c.channels_first(x),
        shape => Err(c.bad(operand, shape.to_string(), "an image [N, H, W, C]")),
    }
}

fn normalised(c: &mut Call<'_>, x: NodeId) -> Result<NodeId, ImportError> {
    c.only("channels_last", 1, 1)?;
    let groups = usize::try_from(c.int("groups", 0)).unwrap_or(0);
    let (gamma, beta) = (c.operand(1)?, c.operand(2)?);
    let norm = Composite::GroupNorm { groups, epsilon: c.float("epsilon", 1e-5) };
    let mut y = c.build(|b| b.composite(norm, &[x, gamma, beta]))?;
    match c.int("activation", -1) {
        0 => (),
        1 => y = c.build(|b| b.composite(Composite::Silu, &[y]))?,
        _ => return Err(c.unsupported("activation", "0 (none) and 1 (SiLU)")),
    }
    c.channels_last(y)
}
