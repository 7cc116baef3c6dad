//! The networks of the methods: each one function from a preset to a [`Graph`].
//!
//! Parameter names are the reference's state-dict keys, so that its checkpoints fit as they are. Both networks of the
//! guided pair are made of the same blocks: residual blocks that a timestep embedding conditions, and self-attention. The
//! networks of the comparison methods, [`vae()`] and [`fixed_point_generator`], are used in another form than they are
//! trained in: [`one_pass`].

mod blocks;
mod classifier;
mod fixed_point_gan;
mod pool;
mod trunk;
mod unet;
mod vae;

use crate::graph::{Graph, GraphError};
use crate::preset::{Method, Preset};

pub use classifier::classifier;
pub use fixed_point_gan::{fixed_point_critic, fixed_point_generator};
pub use unet::unet;
pub use vae::vae;

/// The methods of which one network is used.
const ONE_PASS: &str = "vae or fixed-point-gan";

/// The network of a one-pass method as it is used.
///
/// Input `x` `[N, C, H, W]` in [0, 1]; output `healthy` `[N, C, H, W]`, its healthy version. Its parameters are among
/// those of the trained network ([`trained_one_pass`]), by the same names.
///
/// Errors: [`GraphError`] where the preset has no such method.
pub fn one_pass(preset: &Preset) -> Result<Graph, GraphError> {
    match preset.method {
        Method::Guided(_) => Err(preset.other_than(ONE_PASS).into()),
        Method::Vae(_) => vae::healthy(preset),
        Method::FixedPointGan(_) => fixed_point_gan::healthy(preset),
    }
}

/// The network whose weights a training of a one-pass method leaves: [`vae()`] or [`fixed_point_generator`].
///
/// Errors: [`GraphError`] where the preset has no such method.
pub fn trained_one_pass(preset: &Preset) -> Result<Graph, GraphError> {
    match preset.method {
        Method::Guided(_) => Err(preset.other_than(ONE_PASS).into()),
        Method::Vae(_) => vae(preset),
        Method::FixedPointGan(_) => fixed_point_generator(preset),
    }
}
