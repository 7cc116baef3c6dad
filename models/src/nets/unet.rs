//! The noise predictor: the reference's `UNetModel`.

use super::blocks::{self, Resample, Style, attention_block, conv, norm, res_block, silu, zero_conv};
use crate::graph::{Builder, DType, Graph, GraphError, Init, NodeId, Primitive, Shape};
use crate::preset::{Heads, Preset, QkvOrder, UnetConfig};

/// The noise predictor ε(x, t, y) of a preset.
///
/// Inputs `x` `[N, C, H, W]`, `t` `[N]` (integer, 0..T) and, if class-conditional, `y` `[N]` (integer); output `out`
/// `[N, 2C, H, W]`: the first C channels are ε, the others interpolate the variance (Nichol and Dhariwal 2021,
/// Eq. 15) and are not used by DDIM.
///
/// Errors: [`GraphError`] where the preset contradicts itself.
pub fn unet(preset: &Preset) -> Result<Graph, GraphError> {
    let config = &preset.unet;
    let (channels, size) = (preset.channels(), preset.image.size);
    let mut builder = Builder::new("unet");
    let b = &mut builder;
    let x = b.input("x", DType::F32, Shape::batch(&[channels, size, size]));
    let t = b.input("t", DType::I64, Shape::batch(&[]));

    let label = config.classes.map(|classes| (classes, b.input("y", DType::I64, Shape::batch(&[]))));

    let mut embedding = blocks::time_embedding(b, t, config.model_channels)?;
    if let Some((classes, y)) = label {
        embedding = b.within("label_emb", |b| {
            let table = b.param("weight", &[classes, 4 * config.model_channels], Init::Normal(1));
            let label = b.primitive(Primitive::Gather, &[table, y])?;
            b.add(embedding, label)
        })?;
    }
    let style = Style::new(b, config.conditioning, embedding)?;

    let mut skips = encoder(b, x, config, style)?;
    let h = *skips.last().expect("the first convolution is always there");
    let h = middle(b, h, config.heads, config.qkv_order, style)?;
    let h = decoder(b, h, &mut skips, config, style)?;
    let h = b.within("out.0", |b| norm(b, h))?;
    let h = b.within("out.1", |b| silu(b, h))?;
    let out = b.within("out.2", |b| zero_conv(b, h, 2 * channels))?;
    b.output("out", out);
    Ok(builder.finish())
}

/// The way down; every block's value is kept for the way up.
fn encoder(b: &mut Builder, x: NodeId, config: &UnetConfig, style: Style) -> Result<Vec<NodeId>, GraphError> {
    let first = config.model_channels * config.channel_mult[0];
    let mut h = b.within("input_blocks.0.0", |b| conv(b, x, first, 3, 1))?;
    let mut skips = vec![h];
    for (level, mult) in config.channel_mult.iter().enumerate() {
        let width = mult * config.model_channels;
        for _ in 0..config.res_blocks {
            let block = format!("input_blocks.{}", skips.len());
            h = b.within(&block, |b| res_and_attention(b, h, width, config, style))?;
            skips.push(h);
        }
        if level + 1 < config.channel_mult.len() {
            let block = format!("input_blocks.{}.0", skips.len());
            h = b.within(&block, |b| downsample(b, h, config.resblock_updown, style))?;
            skips.push(h);
        }
    }
    Ok(skips)
}

/// The way up: each block takes the deepest value that is left.
fn decoder(
    b: &mut Builder,
    mut h: NodeId,
    skips: &mut Vec<NodeId>,
    config: &UnetConfig,
    style: Style,
) -> Result<NodeId, GraphError> {
    let mut index = 0;
    for (level, mult) in config.channel_mult.iter().enumerate().rev() {
        let width = mult * config.model_channels;
        for i in 0..=config.res_blocks {
            let skip = skips.pop().expect("as many blocks go up as came down");
            h = b.within(&format!("output_blocks.{index}"), |b| {
                let joined = b.concat(&[h, skip], 1)?;
                let h = res_and_attention(b, joined, width, config, style)?;
                if level > 0 && i == config.res_blocks {
                    let part = if has_attention(b, h, config) { "2" } else { "1" };
                    b.within(part, |b| upsample(b, h, config.resblock_updown, style))
                } else {
                    Ok(h)
                }
            })?;
            index += 1;
        }
    }
    Ok(h)
}

fn res_and_attention(
    b: &mut Builder,
    x: NodeId,
    width: usize,
    config: &UnetConfig,
    style: Style,
) -> Result<NodeId, GraphError> {
    let h = b.within("0", |b| res_block(b, x, width, Resample::None, style))?;
    if has_attention(b, h, config) {
        b.within("1", |b| attention_block(b, h, config.heads, config.qkv_order))
    } else {
        Ok(h)
    }
}

fn has_attention(b: &Builder, x: NodeId, config: &UnetConfig) -> bool {
    b.shape(x).len(3).is_some_and(|side| config.attention_resolutions.contains(&side))
}

/// Residual block, attention, residual block at the lowest resolution.
pub(super) fn middle(
    b: &mut Builder,
    h: NodeId,
    heads: Heads,
    order: QkvOrder,
    style: Style,
) -> Result<NodeId, GraphError> {
    let width = blocks::channels(b, h);
    b.within("middle_block", |b| {
        let h = b.within("0", |b| res_block(b, h, width, Resample::None, style))?;
        let h = b.within("1", |b| attention_block(b, h, heads, order))?;
        b.within("2", |b| res_block(b, h, width, Resample::None, style))
    })
}

/// Half the resolution: a residual block with a 2 × 2 mean, or a convolution of stride 2.
pub(super) fn downsample(
    b: &mut Builder,
    x: NodeId,
    by_resblock: bool,
    style: Style,
) -> Result<NodeId, GraphError> {
    let width = blocks::channels(b, x);
    if by_resblock {
        res_block(b, x, width, Resample::Down, style)
    } else {
        b.within("op", |b| conv(b, x, width, 3, 2))
    }
}

/// Twice the resolution: a residual block with nearest-neighbour doubling, or doubling and a convolution.
fn upsample(b: &mut Builder, x: NodeId, by_resblock: bool, style: Style) -> Result<NodeId, GraphError> {
    let width = blocks::channels(b, x);
    if by_resblock {
        return res_block(b, x, width, Resample::Up, style);
    }
    let x = blocks::resampled(b, x, Resample::Up)?;
    b.within("conv", |b| conv(b, x, width, 3, 1))
}
