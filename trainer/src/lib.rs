//! The training companion: fits the diffusion model, the noisy classifier and the networks of the comparison methods on
//! libtorch.
//!
//! ```text
//! Preset ── nets::unet ──> Graph ── interpret ──> libtorch tensors ──┐
//! Cohort ── batch of step k ───────────────────────────────────────  losses ── Adam ── EMA ── checkpoint
//!                                                                        └─> ddpm.safetensors, stats.json
//! ```
//!
//! Everything random about step k is a function of the seed and of k, so that a run that was cut off goes on exactly.

pub mod adam;
pub mod batches;
pub mod checkpoint;
pub mod device;
pub mod dropout;
mod error;
pub mod fit;
pub mod guided;
pub mod interpret;
pub mod losses;
pub mod run;
pub mod samples;
pub mod task;
pub mod validate;
pub mod weights;

pub use error::TrainError;

/// Program and version, as written into every run and its result.
pub const TOOL: &str = concat!("anomalens-train ", env!("CARGO_PKG_VERSION"));
