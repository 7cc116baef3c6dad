//! A preset: the complete definition of a pair of networks, without weights.
//!
//! Presets are TOML files. Those that ship with the crate are known by name ([`Preset::builtin_names`]);
//! any other is given by path. The bundle's manifest repeats the preset it was made from, so that a bundle
//! is complete by itself.

use std::path::Path;

use serde::{Deserialize, Serialize};

mod networks;
mod train;

use crate::schedule::Trajectory;

pub use networks::{ClassifierConfig, Conditioning, Heads, Multiplier, Norm, Pool, QkvOrder, UnetConfig};
pub use train::{Recipe, RecipeFault, Train};

/// The complete definition of a U-Net and a noisy classifier, without weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// Short name, e.g. `brats256`.
    pub name: String,
    /// One sentence for a person.
    pub description: String,
    /// What goes in and out.
    pub image: ImageSpec,
    /// The diffusion process that the networks were trained on.
    pub schedule: ScheduleSpec,
    /// The noise predictor.
    pub unet: UnetConfig,
    /// The noisy classifier that guides it.
    pub classifier: ClassifierConfig,
    /// What `translate` does when it is told nothing else.
    pub translate: TranslateDefaults,
    /// What `anomalens-train` does when it is told nothing else.
    #[serde(default, skip_serializing)]
    pub train: Train,
}

/// Image size, channels and how a raw image becomes a network input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageSpec {
    /// Height and width of the network's square input, in pixels.
    pub size: usize,
    /// Channels in network order.
    pub channels: Vec<ChannelSpec>,
    /// Normalisation percentile q of the non-zero pixels, in percent (0, 100]: `min(x, q) / q`.
    #[serde(default = "default_percentile")]
    pub percentile: f64,
}

/// One input channel and how its DICOM series is recognised.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelSpec {
    /// Name used by `--channel NAME=PATH`, e.g. `flair`.
    pub name: String,
    /// Modalities (0008,0060) that can fill this channel, e.g. `["MR"]`; empty accepts any.
    #[serde(default)]
    pub modality: Vec<String>,
    /// The channel takes a series whose description (0008,103E) or protocol (0018,1030) contains one of
    /// these words, without regard to case; empty accepts any.
    #[serde(default)]
    pub any_of: Vec<String>,
    /// … and none of these.
    #[serde(default)]
    pub none_of: Vec<String>,
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
}

fn equal_spacing() -> f64 {
    1.0
}

fn is_equal_spacing(spacing: &f64) -> bool {
    *spacing == equal_spacing()
}

fn default_percentile() -> f64 {
    99.5
}

/// Why a preset could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PresetError {
    /// Neither a built-in name nor a readable file.
    #[error(
        "preset '{found}': no such preset and no such file; built in are {known}; or give the path of a TOML file"
    )]
    Unknown {
        /// What was asked for.
        found: String,
        /// The built-in names.
        known: String,
    },
    /// The file could not be read.
    #[error("preset '{path}': {source}")]
    Io {
        /// The file.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
    /// Not TOML, or a key is missing, unknown or of the wrong type.
    #[error("preset '{name}': {source}")]
    Toml {
        /// Name or path.
        name: String,
        /// The cause, with line and column.
        source: Box<toml::de::Error>,
    },
    /// A value does not fit.
    #[error("preset '{name}': {what}: found {found}, expected {expected}")]
    Value {
        /// The preset.
        name: String,
        /// The key.
        what: String,
        /// The value found.
        found: String,
        /// What would be right.
        expected: String,
    },
}

const BUILTIN: [(&str, &str); 5] = [
    ("brats256", include_str!("../presets/brats256.toml")),
    ("chexpert256", include_str!("../presets/chexpert256.toml")),
    ("demo", include_str!("../presets/demo.toml")),
    ("demo-radiograph", include_str!("../presets/demo-radiograph.toml")),
    ("tiny", include_str!("../presets/tiny.toml")),
];

/// Largest side of an image: what is beyond it is a mistake, and would ask for more memory than there is.
const MOST_PIXELS: usize = 4096;

impl Preset {
    /// The names of the presets that ship with the crate.
    pub fn builtin_names() -> Vec<&'static str> {
        BUILTIN.iter().map(|(name, _)| *name).collect()
    }

    /// A built-in preset by name, or a TOML file by path.
    ///
    /// Errors: [`PresetError`].
    pub fn load(name_or_path: &str) -> Result<Self, PresetError> {
        if let Some((name, text)) = BUILTIN.iter().find(|(name, _)| *name == name_or_path) {
            return Self::parse(name, text);
        }
        let path = Path::new(name_or_path);
        if !path.is_file() {
            return Err(PresetError::Unknown {
                found: name_or_path.to_owned(),
                known: Self::builtin_names().join(", "),
            });
        }
        let text = std::fs::read_to_string(path)
            .map_err(|source| PresetError::Io { path: name_or_path.to_owned(), source })?;
        Self::parse(name_or_path, &text)
    }

    /// Parses TOML and checks every value; `name` only serves the error message.
    ///
    /// Errors: [`PresetError::Toml`], [`PresetError::Value`].
    pub fn parse(name: &str, text: &str) -> Result<Self, PresetError> {
        let preset: Self = toml::from_str(text)
            .map_err(|e| PresetError::Toml { name: name.to_owned(), source: Box::new(e) })?;
        preset.check(name)?;
        Ok(preset)
    }

    /// The number of image channels.
    pub fn channels(&self) -> usize {
        self.image.channels.len()
    }

    /// The channels that the noise predictor gives: ε, and as many again where it learns the variance.
    pub fn unet_out_channels(&self) -> usize {
        self.channels() * if self.unet.learn_sigma { 2 } else { 1 }
    }

    /// Checks every value; `name` only serves the error message.
    ///
    /// Errors: [`PresetError::Value`].
    pub(crate) fn check(&self, name: &str) -> Result<(), PresetError> {
        let fail = |what: &str, found: String, expected: String| {
            Err(PresetError::Value { name: name.to_owned(), what: what.to_owned(), found, expected })
        };
        let (size, t) = (self.image.size, self.schedule.timesteps);
        if self.channels() == 0 {
            return fail("image.channels", "none".into(), "at least one".into());
        }
        if !(1..=MOST_PIXELS).contains(&size) {
            return fail("image.size", size.to_string(), format!("1..={MOST_PIXELS} pixels"));
        }
        if !(self.image.percentile > 0.0 && self.image.percentile <= 100.0) {
            return fail("image.percentile", self.image.percentile.to_string(), "in (0, 100]".into());
        }
        if t == 0 {
            return fail("schedule.timesteps", "0".into(), "at least 1".into());
        }
        let level = self.translate.noise_level;
        if level == 0 || level > t {
            return fail("translate.noise_level", level.to_string(), format!("1..={t} (T)"));
        }
        if self.translate.healthy_class >= self.classifier.classes {
            return fail(
                "translate.healthy_class",
                self.translate.healthy_class.to_string(),
                format!("below classifier.classes = {}", self.classifier.classes),
            );
        }
        if let Some(steps) = self.translate.steps.filter(|n| !(1..=level).contains(n)) {
            return fail(
                "translate.steps",
                steps.to_string(),
                format!("1..={level} (translate.noise_level)"),
            );
        }
        let (spacing, range) = (self.translate.spacing, Trajectory::SPACING);
        if !range.contains(&spacing) {
            let expected = format!("a number from {} to {}", range.start(), range.end());
            return fail("translate.spacing", spacing.to_string(), expected);
        }
        if self.translate.steps.is_none() && !is_equal_spacing(&spacing) {
            return fail("translate.spacing", spacing.to_string(), "translate.steps beside it".into());
        }
        let networks = self.unet.check(size).map_err(|fault| ("unet", fault));
        let networks = networks.and_then(|()| self.classifier.check(size).map_err(|f| ("classifier", f)));
        if let Err((table, (key, found, expected))) = networks {
            return fail(&format!("{table}.{key}"), found, expected);
        }
        for (table, recipe) in
            [("train.ddpm", &self.train.ddpm), ("train.classifier", &self.train.classifier)]
        {
            if let Err(RecipeFault { key, found, expected }) = recipe.check(t) {
                return fail(&format!("{table}.{key}"), found, expected);
            }
        }
        if self.train.ddpm.start_from_ddpm {
            return fail(
                "train.ddpm.start_from_ddpm",
                "true".into(),
                "false: only a classifier starts so".into(),
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
