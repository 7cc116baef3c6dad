//! What the names and shapes of a network's tensors say of the way down, which both networks have.

use std::collections::BTreeSet;

use anomalens_models::preset::{Conditioning, Multiplier};
use anomalens_models::weights::Shapes;

use super::InferError;

/// Beyond this many channels no network was ever made: sizes that lie are refused before anything is built of them.
const MOST_CHANNELS: usize = 1 << 16;

/// The tensors of one network.
#[derive(Clone, Copy)]
pub(super) struct Tensors<'a> {
    /// `unet` or `classifier`.
    pub network: &'static str,
    pub shapes: &'a Shapes,
}

impl<'a> Tensors<'a> {
    pub(super) fn has(&self, name: &str) -> bool {
        self.shapes.contains_key(name)
    }

    /// The shape of a tensor that must be there and have so many axes.
    pub(super) fn axes<const N: usize>(&self, name: &str) -> Result<[usize; N], InferError> {
        let found = self.shapes.get(name);
        let shape = found.and_then(|shape| <[usize; N]>::try_from(shape.as_slice()).ok());
        match shape {
            Some(shape) if shape.iter().all(|d| (1..=MOST_CHANNELS).contains(d)) => Ok(shape),
            _ => {
                let found = found.map_or("nothing".to_owned(), |shape| format!("{shape:?}"));
                Err(self.foreign(name, found, format!("{N} axes of 1 to {MOST_CHANNELS}")))
            }
        }
    }

    /// The error for tensors that are none of this network's.
    pub(super) fn foreign(
        &self,
        place: impl Into<String>,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> InferError {
        InferError::Foreign {
            network: self.network,
            place: place.into(),
            found: found.into(),
            expected: expected.into(),
        }
    }

    /// One more than the highest number that stands behind `list`, e.g. `input_blocks`; 0 if none does.
    pub(super) fn count(&self, list: &str) -> usize {
        let number =
            |name: &String| name.strip_prefix(list)?.strip_prefix('.')?.split('.').next()?.parse().ok();
        self.shapes.keys().filter_map(number).map(|i: usize| i.saturating_add(1)).max().unwrap_or(0)
    }
}

/// What changes the resolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    ResBlock,
    Conv,
    Plain,
}

/// One block of the way down, behind the first convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Block {
    /// What it must be, if it can be nothing but a change of resolution.
    change: Option<Change>,
    width: usize,
    attention: bool,
}

/// Blocks at one resolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Level {
    pub width: usize,
    pub attention: bool,
}

/// The way down of a network.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Trunk {
    pub in_channels: usize,
    pub model_channels: usize,
    pub conditioning: Conditioning,
    pub levels: Vec<Level>,
    pub res_blocks: usize,
    pub resblock_updown: bool,
    pub conv_resample: bool,
    /// What shows what changes the resolution.
    pub change_seen: String,
    /// What shows where the levels end.
    pub split_from: String,
}

impl Trunk {
    /// By how much the last level is smaller than the image.
    pub(super) fn shrinks(&self) -> usize {
        1 << (self.levels.len() - 1)
    }

    pub(super) fn channel_mult(&self) -> Vec<Multiplier> {
        let factor = |level: &Level| Multiplier::from(level.width as f64 / self.model_channels as f64);
        self.levels.iter().map(factor).collect()
    }

    /// Sides, in pixels, of the levels that have attention.
    pub(super) fn attention_resolutions(&self, size: usize) -> Vec<usize> {
        let with = self.levels.iter().enumerate().filter(|(_, level)| level.attention);
        with.map(|(i, _)| size >> i).collect()
    }

    /// Channels that attention has anywhere; the middle block has always attention.
    pub(super) fn attention_widths(&self) -> BTreeSet<usize> {
        let last = self.levels.last().map(|level| level.width);
        self.levels.iter().filter(|level| level.attention).map(|level| level.width).chain(last).collect()
    }
}

/// Every way down that has these tensors: where residual blocks change the resolution, they look like the others, so
/// that there may be several. `levels`, where something else tells how many there are.
pub(super) fn trunks(tensors: Tensors<'_>, levels: Option<usize>) -> Result<Vec<Trunk>, InferError> {
    const FIRST: &str = "input_blocks.0.0.weight";
    let [first, in_channels, _, _] = tensors.axes::<4>(FIRST)?;
    let [embedding, model_channels] = tensors.axes::<2>("time_embed.0.weight")?;
    if embedding != 4 * model_channels {
        let expected = format!("[{}, {model_channels}]", 4 * model_channels);
        return Err(tensors.foreign(
            "time_embed.0.weight",
            format!("[{embedding}, {model_channels}]"),
            expected,
        ));
    }
    let blocks = blocks(tensors, first)?;
    let [width, _, _, _] = tensors.axes::<4>("middle_block.0.out_layers.3.weight")?;
    let [projected, _] = tensors.axes::<2>("middle_block.0.emb_layers.1.weight")?;
    let conditioning = if projected == width {
        Conditioning::Shift
    } else if projected == 2 * width {
        Conditioning::ScaleShift
    } else {
        let expected = format!("{width} or {} rows", 2 * width);
        return Err(tensors.foreign("middle_block.0.emb_layers.1.weight", projected.to_string(), expected));
    };
    let marked: BTreeSet<&str> = blocks.iter().filter_map(|b| b.change.map(name_of)).collect();
    let splits: Vec<Split> = if marked.len() > 1 {
        vec![]
    } else if marked.len() == 1 {
        by_marks(&blocks).into_iter().collect()
    } else {
        let counts = (1..=blocks.len()).filter(|n| (blocks.len() + 1).is_multiple_of(n + 1));
        let fits = |split: &Split| levels.is_none_or(|n| split.levels.len() == n);
        counts.filter_map(|n| by_count(&blocks, n)).filter(fits).collect()
    };
    if splits.is_empty() {
        let found = format!("{} blocks that form no levels", blocks.len());
        let expected = "levels of equally many residual blocks, each of one width, with attention at all of them or none";
        return Err(tensors.foreign("input_blocks", found, expected));
    }
    let trunk = |split: Split| Trunk {
        in_channels,
        model_channels,
        conditioning,
        res_blocks: split.res_blocks,
        resblock_updown: split.change == Change::ResBlock,
        conv_resample: split.change != Change::Plain,
        change_seen: split.seen(),
        split_from: format!("input_blocks: {} in {} levels", blocks.len() + 1, split.levels.len()),
        levels: split.levels,
    };
    Ok(splits.into_iter().map(trunk).collect())
}

fn name_of(change: Change) -> &'static str {
    match change {
        Change::ResBlock => "residual blocks",
        Change::Conv => "convolutions",
        Change::Plain => "means",
    }
}

/// The blocks behind the first convolution, whose channels are `first`.
fn blocks(tensors: Tensors<'_>, first: usize) -> Result<Vec<Block>, InferError> {
    let count = tensors.count("input_blocks");
    // A block without tensors never follows another.
    if count < 2 || count > 2 * tensors.shapes.len() {
        return Err(tensors.foreign(
            "input_blocks",
            format!("{count} blocks"),
            "a block for each number from 0",
        ));
    }
    let mut blocks: Vec<Block> = Vec::new();
    for i in 1..count {
        let before = blocks.last().map_or(first, |block| block.width);
        let at = |part: &str| format!("input_blocks.{i}.{part}");
        let block = if tensors.has(&at("0.in_layers.2.weight")) {
            let [width, ..] = tensors.axes::<4>(&at("0.in_layers.2.weight"))?;
            Block { change: None, width, attention: tensors.has(&at("1.qkv.weight")) }
        } else if tensors.has(&at("0.op.weight")) {
            let [width, ..] = tensors.axes::<4>(&at("0.op.weight"))?;
            Block { change: Some(Change::Conv), width, attention: false }
        } else {
            Block { change: Some(Change::Plain), width: before, attention: false }
        };
        blocks.push(block);
    }
    Ok(blocks)
}

/// Blocks as levels.
struct Split {
    levels: Vec<Level>,
    res_blocks: usize,
    change: Change,
}

impl Split {
    /// The first block between two levels, in words.
    fn seen(&self) -> String {
        let between = self.res_blocks + 1;
        match self.change {
            _ if self.levels.len() == 1 => "one level: nothing changes the resolution".into(),
            Change::ResBlock => format!("input_blocks.{between}.0 is a residual block"),
            Change::Conv => format!("input_blocks.{between}.0.op.weight"),
            Change::Plain => format!("input_blocks.{between} has no tensors"),
        }
    }
}

/// Levels that end where a block can be nothing but a change of resolution.
fn by_marks(blocks: &[Block]) -> Option<Split> {
    let res_blocks = blocks.iter().position(|block| block.change.is_some())?;
    by_count(blocks, res_blocks)
}

/// Levels of `n` residual blocks each, and one more block between two of them; `None` if the blocks are no such levels.
fn by_count(blocks: &[Block], n: usize) -> Option<Split> {
    let mut levels = Vec::new();
    let mut changes = Vec::new();
    if n == 0 || !(blocks.len() + 1).is_multiple_of(n + 1) {
        return None;
    }
    for level in blocks.chunks(n + 1) {
        let (same, between) = level.split_at(n);
        let &Block { width, attention, .. } = same.first()?;
        if same.iter().any(|b| b.change.is_some() || (b.width, b.attention) != (width, attention)) {
            return None;
        }
        if let [between] = between {
            if between.width != width || between.attention {
                return None;
            }
            changes.push(between.change.unwrap_or(Change::ResBlock));
        }
        levels.push(Level { width, attention });
    }
    let change = changes.first().copied().unwrap_or(Change::Conv);
    let one = changes.iter().all(|&other| other == change);
    // 2^15 pixels, halved to one.
    (one && levels.len() <= 16).then_some(Split { levels, res_blocks: n, change })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(change: Option<Change>, width: usize, attention: bool) -> Block {
        Block { change, width, attention }
    }

    #[test]
    fn levels_are_recognised_by_what_cannot_be_otherwise() {
        let r = |width| block(None, width, false);
        let a = |width| block(None, width, true);
        let conv = |width| block(Some(Change::Conv), width, false);
        struct Case {
            name: &'static str,
            blocks: Vec<Block>,
            res_blocks: Vec<usize>,
        }
        let cases = [
            Case { name: "marked", blocks: vec![r(32), r(32), conv(32), r(64), r(64)], res_blocks: vec![2] },
            Case {
                name: "widths tell",
                blocks: vec![r(32), r(32), r(32), r(64), r(64)],
                res_blocks: vec![2],
            },
            Case { name: "attention tells", blocks: vec![a(32), r(32), a(32)], res_blocks: vec![1] },
            Case { name: "nothing tells", blocks: vec![r(32), r(32), r(32)], res_blocks: vec![1, 3] },
            Case {
                name: "a level too short",
                blocks: vec![r(32), r(32), conv(32), r(64)],
                res_blocks: vec![],
            },
            Case {
                name: "a width within a level",
                blocks: vec![r(32), r(64), conv(64), r(64), r(64)],
                res_blocks: vec![],
            },
        ];
        for Case { name, blocks, res_blocks } in cases {
            let found: Vec<usize> = match by_marks(&blocks) {
                Some(split) => vec![split.res_blocks],
                None => {
                    (1..=blocks.len()).filter_map(|n| by_count(&blocks, n)).map(|s| s.res_blocks).collect()
                }
            };
            assert_eq!(found, res_blocks, "{name}");
        }
    }
}
