//! The guided diffusion pair: the paper's method.

use serde::{Deserialize, Serialize};

use super::{ClassifierConfig, Fault, GuidanceInterval, Solver, UnetConfig};
use crate::schedule::Trajectory;

/// A U-Net, the noisy classifier that guides it, and what both were trained on.
#[derive(Debug, Clone, PartialEq)]
pub struct Guided {
    /// The diffusion process that the networks were trained on.
    pub schedule: ScheduleSpec,
    /// The noise predictor.
    pub unet: UnetConfig,
    /// The noisy classifier that guides it.
    pub classifier: ClassifierConfig,
    /// What `translate` does when it is told nothing else.
    pub translate: TranslateDefaults,
}

/// Noise schedule: kind and length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleSpec {
    /// Which sequence of β.
    pub kind: ScheduleKind,
    /// T, the number of diffusion steps.
    pub timesteps: usize,
}

/// The sequence of β.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScheduleKind {
    /// β from 1e-4 to 0.02, scaled by 1000/T (Ho et al. 2020).
    Linear,
    /// ᾱ a squared cosine (Nichol and Dhariwal 2021, Eq. 17), β at most 0.999.
    Cosine,
}

/// What `translate` does when it is told nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TranslateDefaults {
    /// L, the noise level to encode to, 1..=T.
    pub noise_level: usize,
    /// s, the gradient scale.
    pub scale: f64,
    /// Class index that means "healthy".
    pub healthy_class: usize,
    /// Steps a loop, 1..=L; absent: every level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<usize>,
    /// p of [`Trajectory::spaced`], within [`Trajectory::SPACING`]; 1, the default, makes equal steps. It has a
    /// meaning with `steps` only.
    #[serde(default = "equal_spacing", skip_serializing_if = "is_equal_spacing")]
    pub spacing: f64,
    /// How a loop goes from level to level.
    #[serde(default, skip_serializing_if = "Solver::is_euler")]
    pub solver: Solver,
    /// Where the classifier pulls; absent: at every level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guidance_interval: Option<GuidanceInterval>,
}

fn equal_spacing() -> f64 {
    1.0
}

fn is_equal_spacing(spacing: &f64) -> bool {
    *spacing == equal_spacing()
}

impl Guided {
    /// The channels that the noise predictor gives for images of so many: ε, and as many again where it learns the
    /// variance.
    pub fn unet_out_channels(&self, channels: usize) -> usize {
        channels * if self.unet.learn_sigma { 2 } else { 1 }
    }

    /// Checks every value, for images of `size` pixels.
    ///
    /// Errors: the first fault.
    pub(super) fn check(&self, size: usize) -> Result<(), Fault> {
        let (t, translate) = (self.schedule.timesteps, &self.translate);
        if t == 0 {
            return Err(Fault::new("schedule.timesteps", 0, "at least 1"));
        }
        let level = translate.noise_level;
        if level == 0 || level > t {
            return Err(Fault::new("translate.noise_level", level, format!("1..={t} (T)")));
        }
        if translate.healthy_class >= self.classifier.classes {
            let expected = format!("below classifier.classes = {}", self.classifier.classes);
            return Err(Fault::new("translate.healthy_class", translate.healthy_class, expected));
        }
        if let Some(steps) = translate.steps.filter(|n| !(1..=level).contains(n)) {
            let expected = format!("1..={level} (translate.noise_level)");
            return Err(Fault::new("translate.steps", steps, expected));
        }
        let (spacing, range) = (translate.spacing, Trajectory::SPACING);
        if !range.contains(&spacing) {
            let expected = format!("a number from {} to {}", range.start(), range.end());
            return Err(Fault::new("translate.spacing", spacing, expected));
        }
        if translate.steps.is_none() && !is_equal_spacing(&spacing) {
            return Err(Fault::new("translate.spacing", spacing, "translate.steps beside it"));
        }
        if let Some(found) = translate.guidance_interval.filter(|interval| interval.lowest() > level) {
            let expected = format!("levels that are visited, 1..={level} (translate.noise_level)");
            return Err(Fault::new("translate.guidance_interval", found, expected));
        }
        let networks = self.unet.check(size).map_err(|fault| ("unet", fault));
        let networks = networks.and_then(|()| self.classifier.check(size).map_err(|f| ("classifier", f)));
        networks
            .map_err(|(table, (key, found, expected))| Fault::new(format!("{table}.{key}"), found, expected))
    }
}
