//! The tables `[ddpm]`, `[classifier]`, `[vae]` and `[fpgan]`: options of `anomalens-train` by their names, with _ for -.

use std::path::PathBuf;
use std::str::FromStr;

use anomalens_models::preset::Recipe;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use toml::Value;

use crate::device::{DeviceChoice, PrecisionChoice};

/// What is given to one training beside what RUN.toml says elsewhere; what is absent is the preset's.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "each is the option of its name: see anomalens-train ddpm --help")]
pub struct Options {
    pub iterations: Option<usize>,
    pub batch: Option<usize>,
    pub accumulate: Option<usize>,
    pub learning_rate: Option<f64>,
    pub cosine: Option<f64>,
    pub ema: Option<OrNone<f64>>,
    pub clip_gradient: Option<OrNone<f64>>,
    pub max_level: Option<OrNone<usize>>,
    pub dropout: Option<f64>,
    pub flip: Option<bool>,
    pub start_from: Option<PathBuf>,
    /// Whether the classifier starts from the diffusion model of the same RUN.toml.
    pub start_from_ddpm: Option<bool>,
    #[serde(deserialize_with = "word")]
    pub device: Option<DeviceChoice>,
    #[serde(deserialize_with = "word")]
    pub precision: Option<PrecisionChoice>,
    pub threads: Option<i32>,
    pub log_every: Option<usize>,
    pub checkpoint_every: Option<usize>,
    pub keep: Option<usize>,
    pub keep_best: bool,
}

/// A number, or the word "none".
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OrNone<T>(pub Option<T>);

impl<'de, T: DeserializeOwned> Deserialize<'de> for OrNone<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        if value.as_str() == Some("none") {
            return Ok(Self(None));
        }
        let told = |_| serde::de::Error::custom(format!("found {value}, expected a number, or \"none\""));
        T::deserialize(value.clone()).map(|number| Self(Some(number))).map_err(told)
    }
}

/// A value that is written as on the command line.
fn word<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err = String>,
{
    let text = String::deserialize(deserializer)?;
    let told = |expected| serde::de::Error::custom(format!("found \"{text}\", {expected}"));
    text.parse().map(Some).map_err(told)
}

impl Options {
    /// The preset's recipe with these options before it.
    pub fn over(&self, preset: &Recipe) -> Recipe {
        Recipe {
            iterations: self.iterations.unwrap_or(preset.iterations),
            batch: self.batch.unwrap_or(preset.batch),
            learning_rate: self.learning_rate.unwrap_or(preset.learning_rate),
            cosine: self.cosine.unwrap_or(preset.cosine),
            ema: self.ema.map_or(preset.ema, |ema| ema.0),
            clip_gradient: self.clip_gradient.map_or(preset.clip_gradient, |norm| norm.0),
            max_level: self.max_level.map_or(preset.max_level, |level| level.0),
            dropout: self.dropout.unwrap_or(preset.dropout),
            flip: self.flip.unwrap_or(preset.flip),
            accumulate: self.accumulate.unwrap_or(preset.accumulate),
            start_from_ddpm: self.start_from_ddpm.unwrap_or(preset.start_from_ddpm),
        }
    }

    /// As words of the command line, without where to start from.
    pub fn words(&self) -> Vec<String> {
        let with_values = [
            ("--iterations", text(self.iterations)),
            ("--batch", text(self.batch)),
            ("--accumulate", text(self.accumulate)),
            ("--learning-rate", text(self.learning_rate)),
            ("--cosine", text(self.cosine)),
            ("--ema", or_none(self.ema)),
            ("--clip-gradient", or_none(self.clip_gradient)),
            ("--max-level", or_none(self.max_level)),
            ("--dropout", text(self.dropout)),
            ("--flip", text(self.flip)),
            ("--device", text(self.device)),
            ("--precision", text(self.precision)),
            ("--threads", text(self.threads)),
            ("--log-every", text(self.log_every)),
            ("--checkpoint-every", text(self.checkpoint_every)),
            ("--keep", text(self.keep)),
        ];
        let mut words = Vec::new();
        for (name, value) in with_values {
            words.extend(value.into_iter().flat_map(|value| [name.to_owned(), value]));
        }
        words.extend(self.keep_best.then(|| "--keep-best".to_owned()));
        words
    }
}

fn text<T: ToString>(value: Option<T>) -> Option<String> {
    value.map(|value| value.to_string())
}

fn or_none<T: ToString>(value: Option<OrNone<T>>) -> Option<String> {
    value.map(|OrNone(value)| value.map_or("none".to_owned(), |value| value.to_string()))
}
