//! The noisy classifier: the reference's `EncoderUNetModel` with attention pooling.

use super::blocks::{self, Resample, Style, attention_block, conv, norm, pointwise, res_block, silu};
use crate::graph::{Builder, Composite, DType, Graph, GraphError, Init, NodeId, Primitive, Shape};
use crate::preset::{ClassifierConfig, Heads, Preset, QkvOrder};

/// The noisy classifier C(x, t) of a preset.
///
/// Inputs `x` `[N, C, H, W]` and `t` `[N]` (integer, 0..T); outputs `logits` and `log_probs`, both `[N, K]`.
///
/// Errors: [`GraphError`] where the preset contradicts itself.
pub fn classifier(preset: &Preset) -> Result<Graph, GraphError> {
    let config = &preset.classifier;
    let size = preset.image.size;
    let mut builder = Builder::new("classifier");
    let b = &mut builder;
    let x = b.input("x", DType::F32, Shape::batch(&[preset.channels(), size, size]));
    let t = b.input("t", DType::I64, Shape::batch(&[]));

    let embedding = blocks::time_embedding(b, t, config.model_channels)?;
    let style = Style::new(b, config.conditioning, embedding)?;
    let h = encoder(b, x, config, style)?;
    let h = b.within("out.0", |b| norm(b, h))?;
    let h = b.within("out.1", |b| silu(b, h))?;
    let logits = b.within("out.2", |b| attention_pool(b, h, config.head_channels, config.classes))?;
    let log_probs = b.within("out", |b| b.primitive(Primitive::LogSoftmax { axis: 1 }, &[logits]))?;
    b.output("logits", logits);
    b.output("log_probs", log_probs);
    Ok(builder.finish())
}

fn encoder(
    b: &mut Builder,
    x: NodeId,
    config: &ClassifierConfig,
    style: Style,
) -> Result<NodeId, GraphError> {
    let heads = Heads::Channels(config.head_channels);
    let first = config.model_channels * config.channel_mult[0];
    let mut h = b.within("input_blocks.0.0", |b| conv(b, x, first, 3, 1))?;
    let mut index = 1;
    for (level, mult) in config.channel_mult.iter().enumerate() {
        let width = mult * config.model_channels;
        for _ in 0..config.res_blocks {
            h = b.within(&format!("input_blocks.{index}.0"), |b| {
                res_block(b, h, width, Resample::None, style)
            })?;
            if config.attention_resolutions.contains(&side(b, h)) {
                h = b.within(&format!("input_blocks.{index}.1"), |b| {
                    attention_block(b, h, heads, config.qkv_order)
                })?;
            }
            index += 1;
        }
        if level + 1 < config.channel_mult.len() {
            h = b.within(&format!("input_blocks.{index}.0"), |b| {
                super::unet::downsample(b, h, config.resblock_updown, style)
            })?;
            index += 1;
        }
    }
    super::unet::middle(b, h, heads, config.qkv_order, style)
}

/// `[N, C, H, W]` → logits `[N, K]`: attention from the mean token to all positions (Radford et al. 2021, Sec. 2.4).
fn attention_pool(
    b: &mut Builder,
    x: NodeId,
    head_channels: usize,
    classes: usize,
) -> Result<NodeId, GraphError> {
    let channels = blocks::channels(b, x);
    let positions = b.shape(x).sample_elements() / channels;
    // Declared first, as in the reference's state dict.
    let positional = b.param("positional_embedding", &[channels, positions + 1], Init::Normal(channels));
    let sequence = b.reshape(x, Shape::batch(&[channels, positions]))?;
    let mean = b.mean(sequence, &[2])?;
    let tokens = b.concat(&[mean, sequence], 2)?;
    let tokens = b.add(tokens, positional)?;
    let qkv = b.within("qkv_proj", |b| pointwise(b, tokens, 3 * channels))?;
    let [q, k, v] = blocks::split_heads(b, qkv, Heads::Channels(head_channels), QkvOrder::QkvFirst)?;
    // Only the mean token's answer is used, so only its query is asked.
    let q = b.slice(q, 3, 0, 1)?;
    let h = b.composite(Composite::Attention, &[q, k, v])?;
    let h = b.reshape(h, Shape::batch(&[channels, 1]))?;
    let logits = b.within("c_proj", |b| pointwise(b, h, classes))?;
    b.reshape(logits, Shape::batch(&[classes]))
}

fn side(b: &Builder, x: NodeId) -> usize {
    b.shape(x).len(3).expect("[N, C, H, W]")
}
