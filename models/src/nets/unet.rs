//! The noise predictor: the reference's `UNetModel`.

use super::blocks::{self, Style, norm, silu, zero_conv};
use super::trunk::{Change, Trunk};
use crate::graph::{Builder, DType, Graph, GraphError, Init, NodeId, Primitive, Shape};
use crate::preset::{Heads, Preset};

/// The noise predictor ε(x, t, y) of a preset.
///
/// Inputs `x` `[N, C, H, W]`, `t` `[N]` (integer, 0..T) and, if class-conditional, `y` `[N]` (integer); output `out`
/// `[N, 2C, H, W]`: the first C channels are ε, the others interpolate the variance (Nichol and Dhariwal 2021,
/// Eq. 15) and are not used by DDIM. Where the preset learns no variance, `out` is ε alone, `[N, C, H, W]`.
///
/// Errors: [`GraphError`] where the preset contradicts itself, or has another method.
pub fn unet(preset: &Preset) -> Result<Graph, GraphError> {
    let guided = preset.guided()?;
    let config = &guided.unet;
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
    let trunk = Trunk {
        model_channels: config.model_channels,
        res_blocks: config.res_blocks,
        channel_mult: &config.channel_mult,
        attention_resolutions: &config.attention_resolutions,
        heads: config.heads,
        qkv_order: config.qkv_order,
        change: Change::new(config.resblock_updown, config.conv_resample),
        style: Style::new(b, config.conditioning, config.norm(), embedding)?,
    };

    let mut skips = trunk.down(b, x)?;
    let h = *skips.last().expect("the first convolution is always there");
    let h = trunk.middle(b, h)?;
    let h = up(b, h, &mut skips, &trunk, config.heads_up.unwrap_or(config.heads))?;
    let h = b.within("out.0", |b| norm(b, h, config.norm()))?;
    let h = b.within("out.1", |b| silu(b, h))?;
    let out = b.within("out.2", |b| zero_conv(b, h, guided.unet_out_channels(channels), 3))?;
    b.output("out", out);
    Ok(builder.finish())
}

/// The way up: each block takes the deepest value that is left of the way down.
fn up(
    b: &mut Builder,
    mut h: NodeId,
    skips: &mut Vec<NodeId>,
    trunk: &Trunk<'_>,
    heads: Heads,
) -> Result<NodeId, GraphError> {
    let mut index = 0;
    for (level, mult) in trunk.channel_mult.iter().enumerate().rev() {
        let width = mult.channels(trunk.model_channels);
        for i in 0..=trunk.res_blocks {
            let skip = skips.pop().expect("as many blocks go up as came down");
            h = b.within(&format!("output_blocks.{index}"), |b| {
                let joined = b.concat(&[h, skip], 1)?;
                let h = trunk.res_and_attention(b, joined, width, heads)?;
                if level > 0 && i == trunk.res_blocks {
                    let part = if trunk.has_attention(b, h) { "2" } else { "1" };
                    b.within(part, |b| trunk.upsample(b, h))
                } else {
                    Ok(h)
                }
            })?;
            index += 1;
        }
    }
    Ok(h)
}
