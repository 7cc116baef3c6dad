//! The methods that a preset can hold the networks of.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{FixedPointGanConfig, Guided, VaeConfig};

/// A method, with its networks.
#[expect(
    clippy::large_enum_variant,
    reason = "a program holds a few presets; a box would be in every reader's way"
)]
#[derive(Debug, Clone, PartialEq)]
pub enum Method {
    /// The paper's: encoded to noise, decoded under the guidance of a classifier.
    Guided(Guided),
    /// A variational autoencoder of healthy images, which a lesion does not pass.
    Vae(VaeConfig),
    /// A Fixed-Point GAN, which turns an image into its healthy version.
    FixedPointGan(FixedPointGanConfig),
}

impl Method {
    /// Its name.
    pub fn name(&self) -> MethodName {
        match self {
            Self::Guided(_) => MethodName::Guided,
            Self::Vae(_) => MethodName::Vae,
            Self::FixedPointGan(_) => MethodName::FixedPointGan,
        }
    }

    /// Whether one network makes an image's healthy version in one pass.
    pub fn is_one_pass(&self) -> bool {
        match self {
            Self::Guided(_) => false,
            Self::Vae(_) | Self::FixedPointGan(_) => true,
        }
    }
}

/// A method's name, as presets and manifests have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MethodName {
    /// [`Method::Guided`]; not written down, since presets are older than their methods.
    #[default]
    Guided,
    /// [`Method::Vae`].
    Vae,
    /// [`Method::FixedPointGan`].
    FixedPointGan,
}

impl MethodName {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Guided => "guided",
            Self::Vae => "vae",
            Self::FixedPointGan => "fixed-point-gan",
        }
    }
}

impl fmt::Display for MethodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A preset of one method where the networks of another are needed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "preset '{preset}': method: found {found}, expected {expected}; give a preset, or a bundle, of that method"
)]
pub struct MethodError {
    /// The preset.
    pub preset: String,
    /// Its method.
    pub found: MethodName,
    /// The method, or methods, that are needed.
    pub expected: &'static str,
}
