//! The way down and the middle, which both networks have: from the image to the lowest resolution.

use super::blocks::{self, Resample, Style, attention_block, conv, res_block};
use crate::graph::{Builder, GraphError, NodeId};
use crate::preset::{Heads, Multiplier, QkvOrder};

/// How the resolution changes from level to level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Within a residual block.
    ResBlock,
    /// By a convolution: of stride 2, or after doubling.
    Conv,
    /// By the 2 × 2 mean or by doubling alone.
    Plain,
}

impl Change {
    /// From the reference's two switches.
    pub(super) fn new(resblock_updown: bool, conv_resample: bool) -> Self {
        match (resblock_updown, conv_resample) {
            (true, _) => Self::ResBlock,
            (false, true) => Self::Conv,
            (false, false) => Self::Plain,
        }
    }
}

/// What the two networks of a preset have in common, in one form.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trunk<'a> {
    pub model_channels: usize,
    pub res_blocks: usize,
    pub channel_mult: &'a [Multiplier],
    pub attention_resolutions: &'a [usize],
    pub heads: Heads,
    pub qkv_order: QkvOrder,
    pub change: Change,
    pub style: Style,
}

impl Trunk<'_> {
    /// The way down: the first convolution, then the residual blocks of each level and what leads to the next. Returns
    /// the value of every block, `input_blocks.0` first.
    pub(super) fn down(&self, b: &mut Builder, x: NodeId) -> Result<Vec<NodeId>, GraphError> {
        let first = self.channel_mult[0].channels(self.model_channels);
        let mut h = b.within("input_blocks.0.0", |b| conv(b, x, first, 3, 1))?;
        let mut values = vec![h];
        for (level, mult) in self.channel_mult.iter().enumerate() {
            let width = mult.channels(self.model_channels);
            for _ in 0..self.res_blocks {
                let block = format!("input_blocks.{}", values.len());
                h = b.within(&block, |b| self.res_and_attention(b, h, width, self.heads))?;
                values.push(h);
            }
            if level + 1 < self.channel_mult.len() {
                let block = format!("input_blocks.{}.0", values.len());
                h = b.within(&block, |b| self.downsample(b, h))?;
                values.push(h);
            }
        }
        Ok(values)
    }

    /// Residual block, attention, residual block at the lowest resolution.
    pub(super) fn middle(&self, b: &mut Builder, h: NodeId) -> Result<NodeId, GraphError> {
        let width = blocks::channels(b, h);
        b.within("middle_block", |b| {
            let h = b.within("0", |b| res_block(b, h, width, Resample::None, self.style))?;
            let h = b.within("1", |b| attention_block(b, h, self.heads, self.qkv_order, self.style.norm))?;
            b.within("2", |b| res_block(b, h, width, Resample::None, self.style))
        })
    }

    /// One block of a level.
    pub(super) fn res_and_attention(
        &self,
        b: &mut Builder,
        x: NodeId,
        width: usize,
        heads: Heads,
    ) -> Result<NodeId, GraphError> {
        let h = b.within("0", |b| res_block(b, x, width, Resample::None, self.style))?;
        if self.has_attention(b, h) {
            b.within("1", |b| attention_block(b, h, heads, self.qkv_order, self.style.norm))
        } else {
            Ok(h)
        }
    }

    /// Whether attention follows the residual blocks at the resolution of a value.
    pub(super) fn has_attention(&self, b: &Builder, x: NodeId) -> bool {
        b.shape(x).len(3).is_some_and(|side| self.attention_resolutions.contains(&side))
    }

    /// Half the resolution.
    fn downsample(&self, b: &mut Builder, x: NodeId) -> Result<NodeId, GraphError> {
        let width = blocks::channels(b, x);
        match self.change {
            Change::ResBlock => res_block(b, x, width, Resample::Down, self.style),
            Change::Conv => b.within("op", |b| conv(b, x, width, 3, 2)),
            Change::Plain => blocks::resampled(b, x, Resample::Down),
        }
    }

    /// Twice the resolution.
    pub(super) fn upsample(&self, b: &mut Builder, x: NodeId) -> Result<NodeId, GraphError> {
        let width = blocks::channels(b, x);
        match self.change {
            Change::ResBlock => res_block(b, x, width, Resample::Up, self.style),
            Change::Conv => {
                let x = blocks::resampled(b, x, Resample::Up)?;
                b.within("conv", |b| conv(b, x, width, 3, 1))
            }
            Change::Plain => blocks::resampled(b, x, Resample::Up),
        }
    }
}
