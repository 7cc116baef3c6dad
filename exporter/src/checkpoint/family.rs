//! Whose network a checkpoint holds, and what other packages call the layers of guided-diffusion's.

use std::fmt;

/// Whose network a checkpoint holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Names and layout of guided-diffusion's `UNetModel` or `EncoderUNetModel`, which are this project's too.
    GuidedDiffusion,
    /// MONAI's `DiffusionModelUNet`.
    Monai,
    /// diffusers' `UNet2DModel`.
    Diffusers,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GuidedDiffusion => "guided-diffusion's networks",
            Self::Monai => "MONAI's DiffusionModelUNet",
            Self::Diffusers => "diffusers' UNet2DModel",
        })
    }
}

/// What a package calls its layers. Both count blocks by level, `down_blocks.LEVEL.resnets.BLOCK`; what is called the same
/// in both stands in `map.rs`.
pub struct FamilyNames {
    pub family: Family,
    /// Tensors that such a network always has, and no other of these.
    pub first: [&'static str; 2],
    /// What every name of such a network begins with.
    pub roots: &'static [&'static str],
    /// What follows the name of each convolution.
    pub conv: &'static str,
    /// The two layers of the timestep's embedding.
    pub time: [&'static str; 2],
    /// Of a residual block: the convolution beside it.
    pub shortcut: &'static str,
    /// Residual block, attention, residual block.
    pub middle: [&'static str; 3],
    /// Of attention: its group norm.
    pub norm: &'static str,
    /// Of attention: its layers, under each of the names that they have had.
    pub attention: &'static [AttentionNames],
    /// Of a level: what leads down, and the convolution in that.
    pub down: [&'static str; 2],
    /// Of a level: what leads up, and the names that the convolution in that has had.
    pub up: (&'static str, &'static [&'static str]),
    /// The last group norm and convolution.
    pub out: [&'static str; 2],
}

/// The layers of attention.
pub struct AttentionNames {
    /// Those of q, k and v, or the one of all three.
    pub qkv: &'static [&'static str],
    pub projection: &'static str,
}

impl FamilyNames {
    pub const ALL: [&'static Self; 2] = [&MONAI, &DIFFUSERS];
}

/// MONAI 1.4 and later; the names that only MONAI Generative had come last.
static MONAI: FamilyNames = FamilyNames {
    family: Family::Monai,
    first: ["conv_in.conv.weight", "time_embed.0.weight"],
    roots: &["conv_in", "time_embed", "class_embedding", "down_blocks", "middle_block", "up_blocks", "out"],
    conv: ".conv",
    time: ["time_embed.0", "time_embed.2"],
    shortcut: "skip_connection",
    middle: ["middle_block.resnet_1", "middle_block.attention", "middle_block.resnet_2"],
    norm: "norm",
    attention: &[
        AttentionNames { qkv: &["attn.to_q", "attn.to_k", "attn.to_v"], projection: "attn.out_proj" },
        AttentionNames { qkv: &["attn.qkv"], projection: "attn.out_proj" },
        AttentionNames { qkv: &["to_q", "to_k", "to_v"], projection: "proj_attn" },
    ],
    down: ["downsampler", "op"],
    up: ("upsampler", &["postconv", "conv"]),
    out: ["out.0", "out.2"],
};

/// The names of attention before diffusers 0.15 come last.
static DIFFUSERS: FamilyNames = FamilyNames {
    family: Family::Diffusers,
    first: ["conv_in.weight", "time_embedding.linear_1.weight"],
    roots: &[
        "conv_in",
        "time_proj",
        "time_embedding",
        "class_embedding",
        "down_blocks",
        "mid_block",
        "up_blocks",
        "conv_norm_out",
        "conv_out",
    ],
    conv: "",
    time: ["time_embedding.linear_1", "time_embedding.linear_2"],
    shortcut: "conv_shortcut",
    middle: ["mid_block.resnets.0", "mid_block.attentions.0", "mid_block.resnets.1"],
    norm: "group_norm",
    attention: &[
        AttentionNames { qkv: &["to_q", "to_k", "to_v"], projection: "to_out.0" },
        AttentionNames { qkv: &["query", "key", "value"], projection: "proj_attn" },
    ],
    down: ["downsamplers.0", "conv"],
    up: ("upsamplers.0", &["conv"]),
    out: ["conv_norm_out", "conv_out"],
};
