//! The networks of a preset: every switch of guided-diffusion's two architectures, and what is fixed in these but not
//! in networks that are otherwise the same.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

/// How the time embedding enters a residual block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Conditioning {
    /// h + e.
    Shift,
    /// GroupNorm(h) · (1 + scale) + shift.
    ScaleShift,
}

/// How attention channels are divided into heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Heads {
    /// A fixed number of heads.
    Count(usize),
    /// A fixed number of channels a head.
    Channels(usize),
}

impl Heads {
    /// The number of heads at so many channels; `None` where these do not divide evenly.
    pub fn at(self, channels: usize) -> Option<usize> {
        let divides = |n: usize| n > 0 && channels > 0 && channels.is_multiple_of(n);
        match self {
            Self::Count(n) => divides(n).then_some(n),
            Self::Channels(c) => divides(c).then(|| channels / c),
        }
    }
}

/// Order of the 3·C channels that the qkv projection gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QkvOrder {
    /// `[head][q, k, v]`: the reference's `QKVAttentionLegacy`.
    HeadFirst,
    /// `[q, k, v][head]`: the reference's `QKVAttention`, the "new" order.
    QkvFirst,
}

/// Channels of a level, in units of the network's `model_channels`. Mostly a whole number; the reference's networks
/// for 512 pixels begin with 0.5.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Deserialize)]
#[serde(from = "f64")]
pub struct Multiplier(f64);

impl Multiplier {
    /// The channels of the level: the product, rounded down as the reference does.
    pub fn channels(self, model_channels: usize) -> usize {
        // A factor that was itself a quotient, such as 1/3, must give the channels back that it was made of.
        const ROUNDING: f64 = 1e-9;
        (self.0 * model_channels as f64 * (1.0 + ROUNDING)) as usize
    }
}

impl From<f64> for Multiplier {
    fn from(factor: f64) -> Self {
        Self(factor)
    }
}

impl fmt::Display for Multiplier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Whole numbers are written as such, as they were before there were others.
impl Serialize for Multiplier {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.fract() == 0.0 && self.0 >= 0.0 {
            serializer.serialize_u64(self.0 as u64)
        } else {
            serializer.serialize_f64(self.0)
        }
    }
}

/// The group norms of a network, which are all alike.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Norm {
    /// Groups that the channels are divided into.
    pub groups: usize,
    /// Added to the variance.
    pub epsilon: f64,
}

impl Default for Norm {
    /// The reference's.
    fn default() -> Self {
        Self { groups: 32, epsilon: 1e-5 }
    }
}

/// How the classifier comes from the image of its last level to one value a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pool {
    /// Attention from the mean token to all positions: the reference's `attention`.
    #[default]
    Attention,
    /// The mean over all positions, then one layer: `adaptive`.
    Adaptive,
    /// The means of every block of the way down, then two layers with a ReLU: `spatial`.
    Spatial,
    /// The same with a group norm and a SiLU: `spatial_v2`.
    SpatialV2,
}

/// The noise predictor: every switch of the reference's `UNetModel`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnetConfig {
    /// What the channels of every level are multiples of.
    pub model_channels: usize,
    /// Residual blocks a level.
    pub res_blocks: usize,
    /// Channel multiplier of each level; its length is the number of levels.
    pub channel_mult: Vec<Multiplier>,
    /// Resolutions (in pixels) at which attention follows each residual block; empty for the middle block only.
    pub attention_resolutions: Vec<usize>,
    /// Attention heads.
    pub heads: Heads,
    /// Attention heads on the way up, where they are others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heads_up: Option<Heads>,
    /// Channel order of q, k and v.
    pub qkv_order: QkvOrder,
    /// How the embedding enters.
    pub conditioning: Conditioning,
    /// Residual blocks change the resolution, rather than a strided convolution or nearest + convolution.
    pub resblock_updown: bool,
    /// Convolutions change the resolution; if not, a mean over 2 × 2 and nearest alone. Where residual blocks do it, it
    /// has no meaning.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub conv_resample: bool,
    /// Number of classes of the label embedding; absent for an unconditional network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<usize>,
    /// Whether the network gives, beside ε, as many channels that interpolate the variance.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub learn_sigma: bool,
    /// Groups of every group norm.
    #[serde(default = "norm_groups", skip_serializing_if = "is_norm_groups")]
    pub norm_groups: usize,
    /// What every group norm adds to the variance.
    #[serde(default = "norm_epsilon", skip_serializing_if = "is_norm_epsilon")]
    pub norm_epsilon: f64,
}

/// The noisy classifier: every switch of the reference's `EncoderUNetModel`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassifierConfig {
    /// What the channels of every level are multiples of.
    pub model_channels: usize,
    /// Residual blocks a level.
    pub res_blocks: usize,
    /// Channel multiplier of each level.
    pub channel_mult: Vec<Multiplier>,
    /// Resolutions (in pixels) at which attention follows each residual block.
    pub attention_resolutions: Vec<usize>,
    /// Channels of an attention head, in the blocks and in the pool; or else `head_count`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_channels: Option<usize>,
    /// Number of attention heads, where each has not a fixed number of channels. Not with attention pooling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_count: Option<usize>,
    /// Channel order of q, k and v in the blocks (the pool is always [`QkvOrder::QkvFirst`]).
    pub qkv_order: QkvOrder,
    /// How the embedding enters.
    pub conditioning: Conditioning,
    /// Residual blocks change the resolution.
    pub resblock_updown: bool,
    /// A convolution changes the resolution; if not, a mean over 2 × 2. Where residual blocks do it, it has no meaning.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub conv_resample: bool,
    /// From the last level to the classes.
    #[serde(default, skip_serializing_if = "is_attention")]
    pub pool: Pool,
    /// Number of classes.
    pub classes: usize,
    /// Groups of every group norm.
    #[serde(default = "norm_groups", skip_serializing_if = "is_norm_groups")]
    pub norm_groups: usize,
    /// What every group norm adds to the variance.
    #[serde(default = "norm_epsilon", skip_serializing_if = "is_norm_epsilon")]
    pub norm_epsilon: f64,
}

fn yes() -> bool {
    true
}

fn is_yes(value: &bool) -> bool {
    *value
}

fn norm_groups() -> usize {
    Norm::default().groups
}

fn is_norm_groups(groups: &usize) -> bool {
    *groups == norm_groups()
}

fn norm_epsilon() -> f64 {
    Norm::default().epsilon
}

fn is_norm_epsilon(epsilon: &f64) -> bool {
    *epsilon == norm_epsilon()
}

fn is_attention(pool: &Pool) -> bool {
    *pool == Pool::default()
}

/// A key of the network's table, what it holds, and what would be right.
type Fault = (&'static str, String, String);

impl UnetConfig {
    /// Its group norms.
    pub fn norm(&self) -> Norm {
        Norm { groups: self.norm_groups, epsilon: self.norm_epsilon }
    }

    /// Checks what can be seen without building the network, for images of `size` pixels.
    ///
    /// Errors: the first fault.
    pub(super) fn check(&self, size: usize) -> Result<(), Fault> {
        check_levels(&self.channel_mult, self.model_channels, size)?;
        check_norm(self.norm())?;
        if self.classes == Some(0) {
            return Err(("classes", "0".into(), "at least 1, or no such key".into()));
        }
        check_resample(self.resblock_updown, self.conv_resample)
    }
}

impl ClassifierConfig {
    /// The attention heads; `None` where they are given in both ways or in neither.
    pub fn heads(&self) -> Option<Heads> {
        match (self.head_channels, self.head_count) {
            (Some(channels), None) => Some(Heads::Channels(channels)),
            (None, Some(count)) => Some(Heads::Count(count)),
            _ => None,
        }
    }

    /// Its group norms.
    pub fn norm(&self) -> Norm {
        Norm { groups: self.norm_groups, epsilon: self.norm_epsilon }
    }

    /// Checks what can be seen without building the network, for images of `size` pixels.
    ///
    /// Errors: the first fault.
    pub(super) fn check(&self, size: usize) -> Result<(), Fault> {
        check_levels(&self.channel_mult, self.model_channels, size)?;
        check_norm(self.norm())?;
        check_resample(self.resblock_updown, self.conv_resample)?;
        if self.heads().is_none() {
            let found = if self.head_count.is_some() { "head_count beside it" } else { "nothing" };
            return Err(("head_channels", found.into(), "either it or head_count".into()));
        }
        match (self.pool, self.head_count) {
            (Pool::Attention, Some(count)) => Err((
                "head_count",
                count.to_string(),
                "head_channels in its place: the attention pool has heads of a fixed width".into(),
            )),
            _ => Ok(()),
        }
    }
}

/// Largest number that a group norm may add to the variance: beyond it, it would no longer normalise.
const MOST_EPSILON: f64 = 0.1;
/// Most channels of a level: what is beyond them is a mistake.
pub(super) const MOST_CHANNELS: usize = 1 << 16;

fn check_levels(mult: &[Multiplier], model_channels: usize, size: usize) -> Result<(), Fault> {
    let halvings = 1usize << mult.len().saturating_sub(1).min(32);
    let some = |m: &Multiplier| m.0.is_finite() && (1..=MOST_CHANNELS).contains(&m.channels(model_channels));
    if mult.is_empty() || !mult.iter().all(some) || size == 0 || !size.is_multiple_of(halvings) {
        let factors: Vec<String> = mult.iter().map(ToString::to_string).collect();
        return Err((
            "channel_mult",
            format!("[{}] at image.size = {size}", factors.join(", ")),
            format!(
                "positive factors, at most {MOST_CHANNELS} channels, and a size that halves evenly at each level"
            ),
        ));
    }
    Ok(())
}

fn check_norm(norm: Norm) -> Result<(), Fault> {
    if norm.groups == 0 {
        return Err(("norm_groups", "0".into(), "at least 1".into()));
    }
    // Networks compute in f32, where what is smaller is nothing.
    if !(f64::from(f32::MIN_POSITIVE)..=MOST_EPSILON).contains(&norm.epsilon) {
        return Err(("norm_epsilon", norm.epsilon.to_string(), format!("above 0, at most {MOST_EPSILON}")));
    }
    Ok(())
}

fn check_resample(resblock_updown: bool, conv_resample: bool) -> Result<(), Fault> {
    if resblock_updown && !conv_resample {
        let expected = "true: residual blocks change the resolution (resblock_updown)";
        return Err(("conv_resample", "false".into(), expected.into()));
    }
    Ok(())
}
