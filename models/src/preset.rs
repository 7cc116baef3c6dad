//! A preset: the complete definition of a method's networks, without weights.
//!
//! | `method` | tables | networks |
//! |---|---|---|
//! | absent, or `guided` | `[schedule]`, `[unet]`, `[classifier]`, `[translate]` | a U-Net and a noisy classifier |
//! | `vae` | `[vae]` | a variational autoencoder |
//! | `fixed-point-gan` | `[fixed_point_gan]` | a generator, and the critic that trains it |
//!
//! Presets are TOML files. Those that ship with the crate are known by name ([`Preset::builtin_names`]);
//! any other is given by path. The bundle's manifest repeats the preset it was made from, so that a bundle
//! is complete by itself.

use std::path::Path;

use serde::{Deserialize, Serialize};

mod guided;
mod method;
mod networks;
mod one_pass;
mod raw;
mod solver;
mod train;

pub use guided::{Guided, ScheduleKind, ScheduleSpec, TranslateDefaults};
pub use method::{Method, MethodError, MethodName};
pub use networks::{ClassifierConfig, Conditioning, Heads, Multiplier, Norm, Pool, QkvOrder, UnetConfig};
pub use one_pass::{FixedPointGanConfig, VaeConfig};
pub use solver::{GuidanceInterval, NotThat, Solver};
pub use train::{Recipe, RecipeFault, Train};

/// The complete definition of a method's networks, without weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "raw::Raw", into = "raw::Raw")]
pub struct Preset {
    /// Short name, e.g. `brats256`.
    pub name: String,
    /// One sentence for a person.
    pub description: String,
    /// What goes in and out.
    pub image: ImageSpec,
    /// The method, with its networks.
    pub method: Method,
    /// What `anomalens-train` does when it is told nothing else.
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

const BUILTIN: [(&str, &str); 9] = [
    ("brats256", include_str!("../presets/brats256.toml")),
    ("chexpert256", include_str!("../presets/chexpert256.toml")),
    ("demo", include_str!("../presets/demo.toml")),
    ("demo-fpgan", include_str!("../presets/demo-fpgan.toml")),
    ("demo-radiograph", include_str!("../presets/demo-radiograph.toml")),
    ("demo-radiograph-fpgan", include_str!("../presets/demo-radiograph-fpgan.toml")),
    ("demo-radiograph-vae", include_str!("../presets/demo-radiograph-vae.toml")),
    ("demo-vae", include_str!("../presets/demo-vae.toml")),
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

    /// The guided diffusion pair.
    ///
    /// Errors: [`MethodError`] where the preset has another method.
    pub fn guided(&self) -> Result<&Guided, MethodError> {
        match &self.method {
            Method::Guided(guided) => Ok(guided),
            Method::Vae(_) | Method::FixedPointGan(_) => Err(self.other_than(MethodName::Guided.as_str())),
        }
    }

    /// The same, to change it.
    ///
    /// Errors: [`MethodError`] where the preset has another method.
    pub fn guided_mut(&mut self) -> Result<&mut Guided, MethodError> {
        let error = self.other_than(MethodName::Guided.as_str());
        match &mut self.method {
            Method::Guided(guided) => Ok(guided),
            Method::Vae(_) | Method::FixedPointGan(_) => Err(error),
        }
    }

    /// The variational autoencoder.
    ///
    /// Errors: [`MethodError`] where the preset has another method.
    pub fn vae(&self) -> Result<&VaeConfig, MethodError> {
        match &self.method {
            Method::Vae(vae) => Ok(vae),
            Method::Guided(_) | Method::FixedPointGan(_) => Err(self.other_than(MethodName::Vae.as_str())),
        }
    }

    /// Generator and critic of the Fixed-Point GAN.
    ///
    /// Errors: [`MethodError`] where the preset has another method.
    pub fn fixed_point_gan(&self) -> Result<&FixedPointGanConfig, MethodError> {
        match &self.method {
            Method::FixedPointGan(gan) => Ok(gan),
            Method::Guided(_) | Method::Vae(_) => Err(self.other_than(MethodName::FixedPointGan.as_str())),
        }
    }

    pub(crate) fn other_than(&self, expected: &'static str) -> MethodError {
        MethodError { preset: self.name.clone(), found: self.method.name(), expected }
    }

    /// Checks every value; `name` only serves the error message.
    ///
    /// Errors: [`PresetError::Value`].
    pub(crate) fn check(&self, name: &str) -> Result<(), PresetError> {
        self.faults().map_err(|Fault { what, found, expected }| PresetError::Value {
            name: name.to_owned(),
            what,
            found,
            expected,
        })
    }

    fn faults(&self) -> Result<(), Fault> {
        let size = self.image.size;
        if self.channels() == 0 {
            return Err(Fault::new("image.channels", "none", "at least one"));
        }
        if !(1..=MOST_PIXELS).contains(&size) {
            return Err(Fault::new("image.size", size, format!("1..={MOST_PIXELS} pixels")));
        }
        if !(self.image.percentile > 0.0 && self.image.percentile <= 100.0) {
            return Err(Fault::new("image.percentile", self.image.percentile, "in (0, 100]"));
        }
        match &self.method {
            Method::Guided(guided) => {
                guided.check(size)?;
                self.train.check_guided(guided.schedule.timesteps)
            }
            Method::Vae(vae) => {
                vae.check(size)?;
                self.train.vae.check(None).map_err(|fault| Fault::within("train.vae", fault))
            }
            Method::FixedPointGan(gan) => {
                gan.check(size)?;
                self.train.fpgan.check(None).map_err(|fault| Fault::within("train.fpgan", fault))
            }
        }
    }
}

/// A key, what it holds, and what would be right.
#[derive(Debug)]
struct Fault {
    what: String,
    found: String,
    expected: String,
}

impl Fault {
    fn new(what: impl Into<String>, found: impl ToString, expected: impl Into<String>) -> Self {
        Self { what: what.into(), found: found.to_string(), expected: expected.into() }
    }

    fn within(table: &str, RecipeFault { key, found, expected }: RecipeFault) -> Self {
        Self { what: format!("{table}.{key}"), found, expected }
    }
}

#[cfg(test)]
mod tests;
