//! The method of the paper (Wolleb et al., MICCAI 2022) over any two networks: the guided DDIM sampler of Algorithm 1,
//! the anomaly map, its threshold, and the scores that say how well it finds what is marked.
//!
//! ```text
//! UnitImage [C, H, W] ──> translate: ddim::encode ──> ddim::decode_guided ──> healthy version ──> AnomalyMap
//!                            NoisePredictor              NoisePredictor, Guide                       │
//!                                                                         metrics <── otsu::mask <───┘
//! ```
//!
//! What the paper compares with stands beside it. [`ddpm`] takes the place of [`ddim`]; [`saliency`] needs the classifier alone;
//! [`heal`] is for networks that give the healthy version in one pass. [`baseline`] needs no network: what a network finds must be
//! more than that. [`skull_strip`] finds the brain in a head for networks that have seen brains alone.
//!
//! [`fitness`] says beforehand whether an image is like those that the networks were trained on; [`agreement`] afterwards, whether
//! networks that round otherwise have found the same.
//!
//! Who computes the networks is not known here: the runtime does it by engines, the trainer by libtorch.

pub mod agreement;
pub mod baseline;
pub mod ddim;
pub mod ddpm;
pub mod fitness;
pub mod heal;
mod histogram;
pub mod metrics;
mod morphology;
pub mod otsu;
pub mod saliency;
pub mod skull_strip;
pub mod sweep;
pub mod translate;

#[cfg(test)]
mod testing;
