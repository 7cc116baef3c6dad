//! Engines that run a bundle's graphs, and the translation of images by them.
//!
//! ```text
//! engine::open ──> Engine ── Bundle::open(folder) ──> U-Net (NoisePredictor), classifier gradient (Guide)
//!                                                        │
//! UnitImage [C, H, W] ────────────> translate: anomalens_method over these networks ────────────> AnomalyMap
//! ```
//!
//! `sweep` does it for many noise levels and gradient scales, encoding once.
//! A bundle of a comparison method has one network (`Healer`) in place of both.
//!
//! This crate sees neither DICOM nor torch: images come in as [`anomalens_models::image::UnitImage`].

pub mod bundle;
pub mod engine;
pub mod fitness;
pub mod sweep;
pub mod translate;

#[cfg(test)]
mod testing;
