//! The parts that both networks are made of (Dhariwal and Nichol 2021, Sec. 3), named as in the reference.

use crate::graph::{Builder, Composite, GraphError, Init, NodeId, Primitive, Shape, Window};
use crate::preset::{Conditioning, Heads, Norm, QkvOrder};

/// How a block changes the resolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resample {
    None,
    Up,
    Down,
}

/// What all residual blocks of a network share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    pub conditioning: Conditioning,
    pub norm: Norm,
    /// SiLU of the embedding [N, E], which every block projects with its own weights.
    pub embedding: NodeId,
}

impl Style {
    /// The blocks all begin with the same SiLU of the embedding: it is computed once.
    pub(super) fn new(
        b: &mut Builder,
        conditioning: Conditioning,
        norm: Norm,
        embedding: NodeId,
    ) -> Result<Self, GraphError> {
        let embedding = b.within("emb", |b| silu(b, embedding))?;
        Ok(Self { conditioning, norm, embedding })
    }
}

/// Convolution with bias, `[N, I, H, W]` → `[N, out, H', W']`; parameters `weight` and `bias`.
pub(super) fn conv(
    b: &mut Builder,
    x: NodeId,
    out: usize,
    kernel: usize,
    stride: usize,
) -> Result<NodeId, GraphError> {
    let init = Init::FanIn(channels(b, x) * kernel * kernel);
    conv_from(b, x, out, kernel, stride, init)
}

/// Convolution that training starts at zero: the last of a residual branch or of the network.
pub(super) fn zero_conv(b: &mut Builder, x: NodeId, out: usize, kernel: usize) -> Result<NodeId, GraphError> {
    conv_from(b, x, out, kernel, 1, Init::Zeros)
}

fn conv_from(
    b: &mut Builder,
    x: NodeId,
    out: usize,
    kernel: usize,
    stride: usize,
    init: Init,
) -> Result<NodeId, GraphError> {
    let channels = channels(b, x);
    let weight = b.param("weight", &[out, channels, kernel, kernel], init);
    let bias = b.param("bias", &[out], init);
    let pad = same(kernel);
    b.primitive(Primitive::Conv { window: Window::square(stride, pad), groups: 1 }, &[x, weight, bias])
}

/// The zeros around an image with which a convolution keeps its size, or halves it at stride 2.
pub(super) fn same(kernel: usize) -> usize {
    (kernel - 1) / 2
}

/// Convolution without bias; parameter `weight`.
pub(super) fn bare_conv(
    b: &mut Builder,
    x: NodeId,
    out: usize,
    kernel: usize,
    stride: usize,
    pad: usize,
) -> Result<NodeId, GraphError> {
    let channels = channels(b, x);
    let init = Init::FanIn(channels * kernel * kernel);
    let weight = b.param("weight", &[out, channels, kernel, kernel], init);
    let bias = b.vector(vec![0.0; out]);
    b.primitive(Primitive::Conv { window: Window::square(stride, pad), groups: 1 }, &[x, weight, bias])
}

/// Linear layer, `[N, I]` → `[N, out]`; parameters `weight` and `bias`.
pub(super) fn linear(b: &mut Builder, x: NodeId, out: usize) -> Result<NodeId, GraphError> {
    let channels = channels(b, x);
    let weight = b.param("weight", &[out, channels], Init::FanIn(channels));
    let bias = b.param("bias", &[out], Init::FanIn(channels));
    b.primitive(Primitive::Gemm, &[x, weight, bias])
}

/// Convolution of a sequence with kernel 1, `[N, I, L]` → `[N, out, L]`; parameters `weight` `[out, I, 1]` and `bias`.
pub(super) fn pointwise(b: &mut Builder, x: NodeId, out: usize) -> Result<NodeId, GraphError> {
    let init = Init::FanIn(channels(b, x));
    pointwise_from(b, x, out, init)
}

/// [`pointwise`] that training starts from `init`.
fn pointwise_from(b: &mut Builder, x: NodeId, out: usize, init: Init) -> Result<NodeId, GraphError> {
    let channels = channels(b, x);
    let weight = b.param("weight", &[out, channels, 1], init);
    let bias = b.param("bias", &[out], init);
    let weight = b.reshape(weight, Shape::fixed(&[out, channels]))?;
    let bias = b.reshape(bias, Shape::fixed(&[out, 1]))?;
    let y = b.matmul(weight, x)?;
    b.add(y, bias)
}

/// Group normalisation with parameters `weight` and `bias`.
pub(super) fn norm(b: &mut Builder, x: NodeId, norm: Norm) -> Result<NodeId, GraphError> {
    let channels = channels(b, x);
    let gamma = b.param("weight", &[channels], Init::Ones);
    let beta = b.param("bias", &[channels], Init::Zeros);
    let Norm { groups, epsilon } = norm;
    b.composite(Composite::GroupNorm { groups, epsilon: epsilon as f32 }, &[x, gamma, beta])
}

/// x · sigmoid(x).
pub(super) fn silu(b: &mut Builder, x: NodeId) -> Result<NodeId, GraphError> {
    b.composite(Composite::Silu, &[x])
}

/// Timestep `[N]` → embedding `[N, 4 · model_channels]`; parameters `time_embed.{0,2}`.
pub(super) fn time_embedding(
    b: &mut Builder,
    t: NodeId,
    model_channels: usize,
) -> Result<NodeId, GraphError> {
    b.within("time_embed", |b| {
        let e = b.composite(Composite::TimestepEmbedding { dim: model_channels }, &[t])?;
        let e = b.within("0", |b| linear(b, e, 4 * model_channels))?;
        let e = silu(b, e)?;
        b.within("2", |b| linear(b, e, 4 * model_channels))
    })
}

/// Residual block `[N, I, H, W]` → `[N, out, H', W']`.
pub(super) fn res_block(
    b: &mut Builder,
    x: NodeId,
    out: usize,
    resample: Resample,
    style: Style,
) -> Result<NodeId, GraphError> {
    let channels_in = channels(b, x);
    let h = b.within("in_layers.0", |b| norm(b, x, style.norm))?;
    let h = silu(b, h)?;
    let (x, h) = (resampled(b, x, resample)?, resampled(b, h, resample)?);
    let h = b.within("in_layers.2", |b| conv(b, h, out, 3, 1))?;

    let width = match style.conditioning {
        Conditioning::Shift => out,
        Conditioning::ScaleShift => 2 * out,
    };
    let e = b.within("emb_layers.1", |b| linear(b, style.embedding, width))?;
    let e = b.reshape(e, Shape::batch(&[width, 1, 1]))?;
    let h = match style.conditioning {
        Conditioning::Shift => {
            let h = b.add(h, e)?;
            b.within("out_layers.0", |b| norm(b, h, style.norm))?
        }
        Conditioning::ScaleShift => {
            let h = b.within("out_layers.0", |b| norm(b, h, style.norm))?;
            let (scale, shift) = (b.slice(e, 1, 0, out)?, b.slice(e, 1, out, 2 * out)?);
            let one = b.scalar(1.0);
            let scale = b.add(scale, one)?;
            let h = b.mul(h, scale)?;
            b.add(h, shift)?
        }
    };
    let h = silu(b, h)?;
    let h = b.within("out_layers.3", |b| zero_conv(b, h, out, 3))?;
    let skip = if out == channels_in { x } else { b.within("skip_connection", |b| conv(b, x, out, 1, 1))? };
    b.add(skip, h)
}

/// Self-attention with a residual, `[N, C, H, W]` → `[N, C, H, W]`.
pub(super) fn attention_block(
    b: &mut Builder,
    x: NodeId,
    heads: Heads,
    order: QkvOrder,
    norm: Norm,
) -> Result<NodeId, GraphError> {
    let shape = b.shape(x).clone();
    let channels = channels(b, x);
    let positions = shape.sample_elements() / channels;
    let sequence = b.reshape(x, Shape::batch(&[channels, positions]))?;
    let h = b.within("norm", |b| self::norm(b, sequence, norm))?;
    let qkv = b.within("qkv", |b| pointwise(b, h, 3 * channels))?;
    let [q, k, v] = split_heads(b, qkv, heads, order)?;
    let h = b.composite(Composite::Attention, &[q, k, v])?;
    let h = b.reshape(h, Shape::batch(&[channels, positions]))?;
    let h = b.within("proj_out", |b| pointwise_from(b, h, channels, Init::Zeros))?;
    let y = b.add(sequence, h)?;
    b.reshape(y, shape)
}

/// `[N, 3C, L]` → q, k and v, each `[N, heads, C / heads, L]`.
pub(super) fn split_heads(
    b: &mut Builder,
    qkv: NodeId,
    heads: Heads,
    order: QkvOrder,
) -> Result<[NodeId; 3], GraphError> {
    let channels = channels(b, qkv) / 3;
    let length = b.shape(qkv).sample_elements() / (3 * channels);
    let Some(count) = heads.at(channels) else {
        let found = match heads {
            Heads::Count(n) => format!("{n} heads at {channels} channels"),
            Heads::Channels(c) => format!("heads of {c} channels at {channels} channels"),
        };
        return Err(GraphError::Config {
            graph: b.graph().name().to_owned(),
            what: "heads",
            found,
            expected: "at least one head, and channels that divide evenly".to_owned(),
        });
    };
    let width = channels / count;
    let each = Shape::batch(&[count, width, length]);
    match order {
        QkvOrder::HeadFirst => {
            let all = b.reshape(qkv, Shape::batch(&[count, 3 * width, length]))?;
            let mut part = |i: usize| b.slice(all, 2, i * width, (i + 1) * width);
            Ok([part(0)?, part(1)?, part(2)?])
        }
        QkvOrder::QkvFirst => {
            let mut part = |i: usize| {
                let one = b.slice(qkv, 1, i * channels, (i + 1) * channels)?;
                b.reshape(one, each.clone())
            };
            Ok([part(0)?, part(1)?, part(2)?])
        }
    }
}

/// Nearest-neighbour doubling, 2 × 2 mean, or nothing.
pub(super) fn resampled(b: &mut Builder, x: NodeId, resample: Resample) -> Result<NodeId, GraphError> {
    match resample {
        Resample::None => Ok(x),
        Resample::Up => b.primitive(Primitive::Resize { factor: 2 }, &[x]),
        Resample::Down => {
            b.primitive(Primitive::AveragePool { kernel: [2; 2], window: Window::blocks([2; 2]) }, &[x])
        }
    }
}

/// Length of the channel axis.
pub(super) fn channels(b: &Builder, x: NodeId) -> usize {
    b.shape(x).len(1).expect("values of these networks are [N, C, …]")
}
