//! The noisy classifier: the reference's `EncoderUNetModel`.

use super::blocks::{self, Style};
use super::pool;
use super::trunk::{Change, Trunk};
use crate::graph::{Builder, DType, Graph, GraphError, Primitive, Shape};
use crate::preset::{Pool, Preset};

/// The noisy classifier C(x, t) of a preset.
///
/// Inputs `x` `[N, C, H, W]` and `t` `[N]` (integer, 0..T); outputs `logits` and `log_probs`, both `[N, K]`.
///
/// Errors: [`GraphError`] where the preset contradicts itself, or has another method.
pub fn classifier(preset: &Preset) -> Result<Graph, GraphError> {
    let config = &preset.guided()?.classifier;
    let size = preset.image.size;
    let mut builder = Builder::new("classifier");
    let b = &mut builder;
    let heads = config.heads().ok_or_else(|| GraphError::Config {
        graph: b.graph().name().to_owned(),
        what: "heads",
        found: format!("head_channels {:?}, head_count {:?}", config.head_channels, config.head_count),
        expected: "one of the two".to_owned(),
    })?;
    let x = b.input("x", DType::F32, Shape::batch(&[preset.channels(), size, size]));
    let t = b.input("t", DType::I64, Shape::batch(&[]));

    let embedding = blocks::time_embedding(b, t, config.model_channels)?;
    let trunk = Trunk {
        model_channels: config.model_channels,
        res_blocks: config.res_blocks,
        channel_mult: &config.channel_mult,
        attention_resolutions: &config.attention_resolutions,
        heads,
        qkv_order: config.qkv_order,
        change: Change::new(config.resblock_updown, config.conv_resample),
        style: Style::new(b, config.conditioning, config.norm(), embedding)?,
    };
    let mut values = trunk.down(b, x)?;
    let h = trunk.middle(b, *values.last().expect("the first convolution is always there"))?;
    let logits = match config.pool {
        Pool::Attention => pool::attention(b, h, heads, config.classes, config.norm())?,
        Pool::Adaptive => pool::adaptive(b, h, config.classes, config.norm())?,
        Pool::Spatial | Pool::SpatialV2 => {
            values.push(h);
            let between = (config.pool == Pool::SpatialV2).then(|| config.norm());
            pool::spatial(b, &values, between, config.classes)?
        }
    };
    let log_probs = b.within("out", |b| b.primitive(Primitive::LogSoftmax { axis: 1 }, &[logits]))?;
    b.output("logits", logits);
    b.output("log_probs", log_probs);
    Ok(builder.finish())
}
