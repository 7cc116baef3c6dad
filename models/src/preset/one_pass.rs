//! The networks of the comparison methods: each makes the healthy version of an image in one pass.

use serde::{Deserialize, Serialize};

use super::Fault;
use super::networks::MOST_CHANNELS;

/// A variational autoencoder: [`crate::nets::vae`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaeConfig {
    /// Channels at each resolution, the image's first; each further one has half as many pixels a side. Multiples of
    /// [`VaeConfig::GROUPS`].
    pub widths: Vec<usize>,
    /// Channels of the latent image, which is as small as the last resolution.
    pub latent_channels: usize,
}

/// Generator and critic of a Fixed-Point GAN: [`crate::nets::fixed_point_generator`],
/// [`crate::nets::fixed_point_critic`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FixedPointGanConfig {
    /// Channels of the generator's first level; two further ones have twice as many each.
    pub generator_channels: usize,
    /// Residual blocks of the generator at its lowest resolution.
    pub generator_blocks: usize,
    /// Channels of the critic's first level; each further one has twice as many.
    pub critic_channels: usize,
    /// Halvings of the resolution in the critic, at least 1.
    pub critic_levels: usize,
    /// Number of domains, at least 2.
    pub classes: usize,
    /// The domain that means "healthy".
    pub healthy_class: usize,
}

impl VaeConfig {
    /// Groups of every group norm.
    pub const GROUPS: usize = 4;

    /// Checks every value, for images of `size` pixels.
    ///
    /// Errors: the first fault.
    pub(super) fn check(&self, size: usize) -> Result<(), Fault> {
        let levels = self.widths.len().saturating_sub(1);
        let whole = self.widths.iter().all(|width| width.is_multiple_of(Self::GROUPS));
        if levels == 0 || !whole {
            let expected = format!("at least two multiples of {}, the groups of every norm", Self::GROUPS);
            return Err(Fault::new("vae.widths", format!("{:?}", self.widths), expected));
        }
        check_halvings("vae.widths", levels, size)?;
        for &width in &self.widths {
            check_width("vae.widths", width, 0)?;
        }
        check_width("vae.latent_channels", self.latent_channels, 0)
    }
}

impl FixedPointGanConfig {
    /// Halvings of the resolution in the generator.
    pub(crate) const GENERATOR_LEVELS: usize = 2;

    /// Checks every value, for images of `size` pixels.
    ///
    /// Errors: the first fault.
    pub(super) fn check(&self, size: usize) -> Result<(), Fault> {
        let halvings = 1 << Self::GENERATOR_LEVELS;
        if !size.is_multiple_of(halvings) {
            return Err(Fault::new(
                "image.size",
                size,
                format!("a multiple of {halvings} for the generator"),
            ));
        }
        check_halvings("fixed_point_gan.critic_levels", self.critic_levels, size)?;
        let (generator, critic) = (self.generator_channels, self.critic_channels);
        check_width("fixed_point_gan.generator_channels", generator, Self::GENERATOR_LEVELS)?;
        check_width("fixed_point_gan.critic_channels", critic, self.critic_levels)?;
        if self.classes < 2 {
            return Err(Fault::new(
                "fixed_point_gan.classes",
                self.classes,
                "at least 2: from one to another",
            ));
        }
        if self.healthy_class >= self.classes {
            let expected = format!("below fixed_point_gan.classes = {}", self.classes);
            return Err(Fault::new("fixed_point_gan.healthy_class", self.healthy_class, expected));
        }
        Ok(())
    }
}

fn check_halvings(key: &str, levels: usize, size: usize) -> Result<(), Fault> {
    let halvings = 1usize << levels.min(32);
    if levels == 0 || !size.is_multiple_of(halvings) {
        let expected = format!("at least 1, and image.size = {size} to halve so often");
        return Err(Fault::new(key, format!("{levels} halvings"), expected));
    }
    Ok(())
}

/// `doublings` is small: the resolution halves as often.
fn check_width(key: &str, channels: usize, doublings: usize) -> Result<(), Fault> {
    let most = MOST_CHANNELS >> doublings;
    if !(1..=most).contains(&channels) {
        return Err(Fault::new(key, channels, format!("1..={most}")));
    }
    Ok(())
}
