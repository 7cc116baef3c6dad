//! The classifier's four ways from images of features to logits `[N, K]`; each is the reference's module `out`.

use super::blocks::{self, linear, norm, pointwise, silu, zero_conv};
use crate::graph::{Builder, Composite, GraphError, Init, NodeId, Primitive, Shape};
use crate::preset::{Heads, Norm, QkvOrder};

/// Width of the hidden layer of both spatial pools.
const HIDDEN: usize = 2048;

/// `[N, C, H, W]` → `[N, K]` by attention from the mean token to all positions.
pub(super) fn attention(
    b: &mut Builder,
    h: NodeId,
    heads: Heads,
    classes: usize,
    by: Norm,
) -> Result<NodeId, GraphError> {
    let h = b.within("out.0", |b| norm(b, h, by))?;
    let h = b.within("out.1", |b| silu(b, h))?;
    b.within("out.2", |b| attention_pool(b, h, heads, classes))
}

/// `[N, C, H, W]` → `[N, K]` by the mean over all positions.
pub(super) fn adaptive(b: &mut Builder, h: NodeId, classes: usize, by: Norm) -> Result<NodeId, GraphError> {
    let h = b.within("out.0", |b| norm(b, h, by))?;
    let h = b.within("out.1", |b| silu(b, h))?;
    let h = b.within("out.2", |b| b.mean(h, &[2, 3]))?;
    let logits = b.within("out.3", |b| zero_conv(b, h, classes, 1))?;
    b.within("out.4", |b| b.reshape(logits, Shape::batch(&[classes])))
}

/// Images of every resolution → `[N, K]`: the means of all their channels, one behind the other, through two layers.
/// Between these stands a ReLU, or the group norm that is given and a SiLU.
pub(super) fn spatial(
    b: &mut Builder,
    values: &[NodeId],
    between: Option<Norm>,
    classes: usize,
) -> Result<NodeId, GraphError> {
    let features = b.within("out", |b| {
        let means = values.iter().map(|&value| {
            let channels = blocks::channels(b, value);
            let mean = b.mean(value, &[2, 3])?;
            b.reshape(mean, Shape::batch(&[channels]))
        });
        let means = means.collect::<Result<Vec<_>, GraphError>>()?;
        b.concat(&means, 1)
    })?;
    let h = b.within("out.0", |b| linear(b, features, HIDDEN))?;
    if let Some(by) = between {
        let h = b.within("out.1", |b| norm(b, h, by))?;
        let h = b.within("out.2", |b| silu(b, h))?;
        b.within("out.3", |b| linear(b, h, classes))
    } else {
        let h = b.within("out.1", |b| b.primitive(Primitive::Relu, &[h]))?;
        b.within("out.2", |b| linear(b, h, classes))
    }
}

/// `[N, C, H, W]` → logits `[N, K]`: attention from the mean token to all positions (Radford et al. 2021, Sec. 2.4).
fn attention_pool(b: &mut Builder, x: NodeId, heads: Heads, classes: usize) -> Result<NodeId, GraphError> {
    let channels = blocks::channels(b, x);
    let positions = b.shape(x).sample_elements() / channels;
    // Declared first, as in the reference's state dict.
    let positional = b.param("positional_embedding", &[channels, positions + 1], Init::Normal(channels));
    let sequence = b.reshape(x, Shape::batch(&[channels, positions]))?;
    let mean = b.mean(sequence, &[2])?;
    let tokens = b.concat(&[mean, sequence], 2)?;
    let tokens = b.add(tokens, positional)?;
    let qkv = b.within("qkv_proj", |b| pointwise(b, tokens, 3 * channels))?;
    let [q, k, v] = blocks::split_heads(b, qkv, heads, QkvOrder::QkvFirst)?;
    // Only the mean token's answer is used, so only its query is asked.
    let q = b.slice(q, 3, 0, 1)?;
    let h = b.composite(Composite::Attention, &[q, k, v])?;
    let h = b.reshape(h, Shape::batch(&[channels, 1]))?;
    let logits = b.within("c_proj", |b| pointwise(b, h, classes))?;
    b.reshape(logits, Shape::batch(&[classes]))
}
