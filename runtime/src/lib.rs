//! Translates images to their healthy version: engines that run a bundle's graphs, the guided DDIM sampler of
//! Algorithm 1 (Wolleb et al., MICCAI 2022), and the anomaly map.
//!
//! ```text
//! engine::open ──> Engine ── Bundle::open(folder) ──> U-Net (NoisePredictor), classifier gradient (Guide)
//!                                                        │
//! UnitImage [C, H, W] ──> translate: ddim::encode ──> ddim::decode_guided ──> healthy version ──> AnomalyMap
//!                                                                                                    │
//!                                                                                     otsu::mask <───┘
//! ```
//!
//! This crate sees neither DICOM nor torch: images come in as [`anomalens_models::image::UnitImage`].

pub mod bundle;
pub mod ddim;
pub mod engine;
pub mod metrics;
pub mod otsu;
pub mod translate;

#[cfg(test)]
mod testing;
