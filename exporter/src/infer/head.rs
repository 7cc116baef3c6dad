//! What is left of a network behind its way down: classes, variance, pool; and the network's table of the preset.

use anomalens_models::preset::{Conditioning, Heads, Pool, QkvOrder};

use super::ask::Attention;
use super::origin::Norms;
use super::trunk::{Tensors, Trunk, trunks};
use super::{Finding, InferError};

const LABELS: &str = "label_emb.weight";
const POSITIONS: &str = "out.2.positional_embedding";

/// A U-Net as far as its tensors tell, and its attention as far as a person told.
#[derive(Debug, Clone)]
pub(super) struct Unet {
    pub trunk: Trunk,
    pub classes: Option<usize>,
    pub learn_sigma: bool,
    pub attention: Attention,
    pub norms: Option<Norms>,
}

/// A classifier as far as its tensors tell, and its attention as far as a person told.
#[derive(Debug, Clone)]
pub(super) struct Classifier {
    pub trunk: Trunk,
    pub pool: Pool,
    pub classes: usize,
    /// Height and width of its images, where the pool tells.
    pub size: Option<usize>,
    /// The tensor that shows pool and classes.
    pub pool_seen: &'static str,
    pub attention: Attention,
    pub norms: Option<Norms>,
}

/// Reads a U-Net.
pub(super) fn unet(tensors: Tensors<'_>) -> Result<Unet, InferError> {
    let up = tensors.count("output_blocks");
    if up == 0 {
        return Err(tensors.foreign(
            "output_blocks",
            "nothing",
            "the blocks of the way up; a classifier has none",
        ));
    }
    let resized =
        |j: &usize| [1, 2].iter().any(|i| tensors.has(&format!("output_blocks.{j}.{i}.in_layers.0.weight")));
    let levels = 1 + (0..up.min(tensors.shapes.len())).filter(resized).count();
    // The way up tells how many levels there are, so that one way down is left.
    let trunk = trunks(tensors, Some(levels))?.swap_remove(0);
    let classes =
        tensors.has(LABELS).then(|| tensors.axes::<2>(LABELS)).transpose()?.map(|[classes, _]| classes);
    let [out, ..] = tensors.axes::<4>("out.2.weight")?;
    let learn_sigma = out == 2 * trunk.in_channels;
    if !learn_sigma && out != trunk.in_channels {
        let expected =
            format!("{0} channels, or {1} with the variance", trunk.in_channels, 2 * trunk.in_channels);
        return Err(tensors.foreign("out.2.weight", format!("{out} channels"), expected));
    }
    Ok(Unet { trunk, classes, learn_sigma, attention: Attention::one_head(), norms: None })
}

/// Reads a classifier: several, where the tensors do not tell its levels; never none.
pub(super) fn classifiers(tensors: Tensors<'_>) -> Result<Vec<Classifier>, InferError> {
    if tensors.has("output_blocks.0.0.in_layers.0.weight") {
        return Err(tensors.foreign("output_blocks", "a way up", "none: this is a U-Net"));
    }
    let rank = |name: &str| tensors.shapes.get(name).map(Vec::len);
    let (pool, seen) = match (rank(POSITIONS), rank("out.0.weight"), rank("out.3.weight")) {
        (Some(_), _, _) => (Pool::Attention, "out.2.c_proj.weight"),
        (None, Some(1), Some(4)) => (Pool::Adaptive, "out.3.weight"),
        (None, Some(2), None) => (Pool::Spatial, "out.2.weight"),
        (None, Some(2), Some(2)) => (Pool::SpatialV2, "out.3.weight"),
        _ => {
            let expected = "one of the pools attention, adaptive, spatial and spatial_v2";
            return Err(tensors.foreign("out", "another head", expected));
        }
    };
    let classes = match pool {
        Pool::Attention => tensors.axes::<3>(seen)?[0],
        Pool::Adaptive => tensors.axes::<4>(seen)?[0],
        Pool::Spatial | Pool::SpatialV2 => tensors.axes::<2>(seen)?[0],
    };
    // The mean token, then one a pixel of the last level.
    let positions = (pool == Pool::Attention).then(|| tensors.axes::<2>(POSITIONS)).transpose()?;
    let side = positions.map(|[_, tokens]| (tokens - 1).isqrt());
    if let (Some([_, tokens]), Some(side)) = (positions, side)
        && (side == 0 || side * side + 1 != tokens)
    {
        return Err(tensors.foreign(POSITIONS, format!("{tokens} tokens"), "one more than a square"));
    }
    let classifier = |trunk: Trunk| Classifier {
        pool,
        classes,
        size: side.map(|side| side * trunk.shrinks()),
        pool_seen: seen,
        attention: Attention::one_head(),
        norms: None,
        trunk,
    };
    Ok(trunks(tensors, None)?.into_iter().map(classifier).collect())
}

impl Unet {
    /// A network of the same levels, in the place of one that was not brought.
    pub(super) fn stand_in(trunk: &Trunk) -> Self {
        Self {
            trunk: trunk.clone(),
            classes: None,
            learn_sigma: true,
            attention: Attention::one_head(),
            norms: None,
        }
    }

    /// The table `[unet]`.
    pub(super) fn findings(&self, size: usize) -> Vec<Finding> {
        let Self { trunk, attention, .. } = self;
        let mut lines = trunk_findings("unet", trunk, size);
        lines.push(Finding::new("unet.heads", heads(attention.heads.value), &attention.heads.from));
        if let Some(up) = attention.heads_up {
            lines.push(Finding::new("unet.heads_up", heads(up), "--heads-up"));
        }
        lines.push(order("unet", attention));
        if let Some(classes) = self.classes {
            lines.push(Finding::new("unet.classes", classes, format!("{LABELS} [{classes}, …]")));
        }
        let out = trunk.in_channels * if self.learn_sigma { 2 } else { 1 };
        let from = format!("out.2.weight [{out}, …] for {} channels", trunk.in_channels);
        lines.push(Finding::new("unet.learn_sigma", self.learn_sigma, from));
        lines.extend(self.norms.iter().flat_map(|norms| norms.findings("unet")));
        lines
    }
}

impl Classifier {
    /// A network of the same levels, in the place of one that was not brought. It tells as many classes apart as the
    /// U-Net knows, if that knows any: the healthy class is one of both. Its group norms fit the same channels.
    pub(super) fn stand_in(trunk: &Trunk, classes: Option<usize>, norms: Option<Norms>) -> Self {
        Self {
            trunk: trunk.clone(),
            pool: Pool::Adaptive,
            classes: classes.unwrap_or(2),
            size: None,
            pool_seen: "",
            attention: Attention::one_head(),
            norms,
        }
    }

    /// The table `[classifier]`.
    pub(super) fn findings(&self, size: usize) -> Vec<Finding> {
        let Self { trunk, attention, pool_seen, .. } = self;
        let mut lines = trunk_findings("classifier", trunk, size);
        let (key, heads) = match attention.heads.value {
            Heads::Channels(channels) => ("classifier.head_channels", channels),
            Heads::Count(count) => ("classifier.head_count", count),
        };
        lines.push(Finding::new(key, heads, &attention.heads.from));
        lines.push(order("classifier", attention));
        let pool = match self.pool {
            Pool::Attention => "attention",
            Pool::Adaptive => "adaptive",
            Pool::Spatial => "spatial",
            Pool::SpatialV2 => "spatial_v2",
        };
        lines.push(Finding::new("classifier.pool", format!("\"{pool}\""), *pool_seen));
        lines.push(Finding::new(
            "classifier.classes",
            self.classes,
            format!("{pool_seen} [{}, …]", self.classes),
        ));
        lines.extend(self.norms.iter().flat_map(|norms| norms.findings("classifier")));
        lines
    }
}

/// What both tables have.
fn trunk_findings(table: &str, trunk: &Trunk, size: usize) -> Vec<Finding> {
    let line = |key: &str, value: String, from: &str| Finding::new(format!("{table}.{key}"), value, from);
    let m = trunk.model_channels;
    let mult: Vec<String> = trunk.channel_mult().iter().map(ToString::to_string).collect();
    let conditioning = match trunk.conditioning {
        Conditioning::Shift => "\"shift\"",
        Conditioning::ScaleShift => "\"scale-shift\"",
    };
    let mut lines = vec![
        line("model_channels", m.to_string(), &format!("time_embed.0.weight [{}, {m}]", 4 * m)),
        line("res_blocks", trunk.res_blocks.to_string(), &trunk.split_from),
        line("channel_mult", format!("[{}]", mult.join(", ")), "input_blocks.*.0.in_layers.2.weight"),
        line(
            "attention_resolutions",
            format!("{:?}", trunk.attention_resolutions(size)),
            "input_blocks.*.1.qkv.weight",
        ),
        line("conditioning", conditioning.to_owned(), "middle_block.0.emb_layers.1.weight"),
        line("resblock_updown", trunk.resblock_updown.to_string(), &trunk.change_seen),
    ];
    if !trunk.resblock_updown {
        lines.push(line("conv_resample", trunk.conv_resample.to_string(), &trunk.change_seen));
    }
    lines
}

fn heads(heads: Heads) -> String {
    match heads {
        Heads::Count(n) => format!("{{ count = {n} }}"),
        Heads::Channels(c) => format!("{{ channels = {c} }}"),
    }
}

fn order(table: &str, attention: &Attention) -> Finding {
    let value = match attention.order.value {
        QkvOrder::HeadFirst => "\"head-first\"",
        QkvOrder::QkvFirst => "\"qkv-first\"",
    };
    Finding::new(format!("{table}.qkv_order"), value, &attention.order.from)
}
