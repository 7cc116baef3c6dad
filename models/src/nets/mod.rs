//! The networks of the method: each one function from a preset to a [`Graph`](crate::graph::Graph).
//!
//! Parameter names are the reference's state-dict keys, so that its checkpoints fit as they are. Both networks are made
//! of the same blocks: residual blocks that a timestep embedding conditions, and self-attention.

mod blocks;
mod classifier;
mod pool;
mod trunk;
mod unet;

pub use classifier::classifier;
pub use unet::unet;
