//! What the parity gate found, as a manifest says it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::preset::Solver;

/// What the parity gate found when the bundle was written, or later by `verify`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Verification {
    /// `full`, `quick` or `none`; `none` marks the bundle unverified, even where some checks could be made.
    pub gate: String,
    /// Where `gate` is `none`: what a gate would have passed by and was not there, e.g. an engine; empty if none was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wanting: Vec<String>,
    /// Engines that took part, with their versions.
    pub engines: Vec<String>,
    /// What a reader should know, e.g. that ONNX Runtime was not found.
    pub note: String,
    /// One line a comparison.
    pub checks: Vec<ParityCheck>,
    /// How far translations are from those of f32; absent where the U-Net is portable f32 itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trajectory: Option<Trajectory>,
}

impl Verification {
    /// Whether some gate has passed.
    pub fn passed(&self) -> bool {
        self.gate != "none" && self.trajectory.as_ref().is_none_or(Trajectory::passed)
    }
}

/// One comparison of the parity gate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ParityCheck {
    /// File and output compared, e.g. `unet.onnx:out`.
    pub output: String,
    /// The two sides, e.g. `ort vs reference`.
    pub between: String,
    /// Batch size.
    pub batch: usize,
    /// Maximum absolute difference.
    pub max_abs: f64,
    /// The same over the maximum absolute value of the right-hand side.
    pub max_rel: f64,
    /// The tolerance on `max_abs`.
    pub tolerance: f64,
}

/// Held-out images, translated by the bundle and by the same networks in portable f32.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trajectory {
    /// Which images of the held-out array these are, from 0.
    pub images: Vec<usize>,
    /// SHA-256 of their pixels (f32, little-endian, one image after the other), lower-case hexadecimal.
    pub sha256: String,
    /// L.
    pub noise_level: usize,
    /// Steps of each loop.
    pub steps: usize,
    /// How they were made.
    #[serde(default, skip_serializing_if = "Solver::is_euler")]
    pub solver: Solver,
    /// s; 0 where the bundle has no classifier.
    pub scale: f64,
    /// What ran the bundle's U-Net.
    pub engine: String,
    /// What the f32 side was.
    pub against: String,
    /// Mean difference of the anomaly maps inside the brain (where some channel is not 0), in units of the mean map there.
    pub map_change: f64,
    /// The most that it may be.
    pub map_limit: f64,
    /// What Dice compares the two sides' Otsu masks with: `truth`; or `each other`, where no truth is at hand.
    pub dice_with: String,
    /// How much Dice changes, mean of the images: |difference|; with each other, what is missing to 1.
    pub dice_change: f64,
    /// The most that it may be.
    pub dice_limit: f64,
}

impl Trajectory {
    /// Whether both changes are within their limits.
    pub fn passed(&self) -> bool {
        self.map_change <= self.map_limit && self.dice_change <= self.dice_limit
    }
}

impl fmt::Display for Trajectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { images, noise_level, steps, solver, scale, engine, against, .. } = self;
        let by = if solver.is_euler() { String::new() } else { format!(" by {solver}") };
        let Self { map_change, map_limit, dice_with, dice_change, dice_limit, .. } = self;
        write!(
            f,
            "{} held-out images in {steps} + {steps} steps{by} (L = {noise_level}, s = {scale}), by {engine} against {against}: \
             anomaly map inside the brain {:.3} % off, limit {} %; Dice with {dice_with} {dice_change:.4} off, limit \
             {dice_limit}",
            images.len(),
            100.0 * map_change,
            100.0 * map_limit,
        )
    }
}
