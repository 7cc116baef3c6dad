//! What a person decides about a run.

use std::f64::consts::PI;
use std::fs;
use std::path::{Path, PathBuf};

use anomalens_cohort::Cohort;
use anomalens_models::preset::{Preset, Recipe, RecipeFault};
use sha2::{Digest, Sha256};

use crate::error::TrainError;
use crate::interpret::Precision;
use crate::task::{Diet, Network};

/// What a person decides about a run. But for the last four and `recipe.accumulate` it belongs to the run's identity: a run goes on only with
/// the same.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Which network.
    pub network: Network,
    /// Its definition.
    pub preset: Preset,
    /// How it is trained.
    pub recipe: Recipe,
    /// Weights of another network that training starts from, wherever a name and a shape agree: a classifier of the
    /// U-Net's widths starts from the trunk of a DDPM. None for fresh parameters alone.
    pub start_from: Option<Start>,
    /// Seed of the first parameters, the order of images and the noise.
    pub seed: u64,
    /// Numbers that products are computed in.
    pub precision: Precision,
    /// Steps between two lines of metrics.
    pub log_every: usize,
    /// Steps between two checkpoints.
    pub checkpoint_every: usize,
    /// Checkpoints that stay, the last ones.
    pub keep: usize,
    /// Where training runs and how, in words for the run's `config.toml`.
    pub machine: Vec<(&'static str, String)>,
}

/// Weights that a network starts from.
#[derive(Debug, Clone, PartialEq)]
pub struct Start {
    /// A safetensors file.
    pub file: PathBuf,
    /// Its SHA-256, in hex.
    pub fingerprint: String,
}

impl Start {
    /// Reads the file once, for its fingerprint.
    ///
    /// Errors: [`TrainError::Io`].
    pub fn open(file: &Path) -> Result<Self, TrainError> {
        let bytes = fs::read(file).map_err(|source| TrainError::Io {
            path: file.to_owned(),
            source,
            kept: "expected the weights that --start-from names; nothing was begun".into(),
        })?;
        let fingerprint = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { file: file.to_owned(), fingerprint })
    }
}

impl Settings {
    /// The learning rate of step `step`, from 0: constant, then half a cosine down to 0.
    pub fn rate(&self, step: usize) -> f64 {
        let Recipe { iterations, learning_rate, cosine, .. } = self.recipe;
        let fall = cosine * iterations as f64;
        let into = step as f64 - (iterations as f64 - fall);
        if fall <= 0.0 || into <= 0.0 {
            return learning_rate;
        }
        learning_rate * 0.5 * (1.0 + (PI * into / fall).cos())
    }

    /// Each setting by name, as text: what `run.json` holds and a second start is compared with.
    pub(super) fn entries(&self) -> Vec<(&'static str, serde_json::Value)> {
        let preset = serde_json::to_value(&self.preset).expect("no map with non-string keys");
        let recipe = &self.recipe;
        vec![
            ("network", self.network.name().into()),
            ("preset", preset),
            ("iterations", recipe.iterations.into()),
            ("batch", recipe.batch.into()),
            ("learning_rate", recipe.learning_rate.into()),
            ("cosine", recipe.cosine.into()),
            ("ema", recipe.ema.into()),
            ("clip_gradient", recipe.clip_gradient.into()),
            ("max_level", recipe.max_level.into()),
            ("start_from", self.start_from.as_ref().map(|start| start.fingerprint.clone()).into()),
            ("flip", recipe.flip.into()),
            // Null where it is off, as in runs from before it was there.
            ("dropout", (recipe.dropout > 0.0).then_some(recipe.dropout).into()),
            ("seed", self.seed.into()),
            ("bf16", (self.precision == Precision::Bf16).into()),
            ("tf32", (self.precision == Precision::Tf32).then_some(true).into()),
        ]
    }

    /// Checks every number, and that the cohort is one for the preset.
    ///
    /// Errors: [`TrainError::Method`], [`TrainError::Option`], [`TrainError::Unfit`], [`TrainError::EmptyClass`].
    pub(super) fn check(&self, cohort: &Cohort) -> Result<(), TrainError> {
        for (what, found) in [
            ("--log-every", self.log_every),
            ("--checkpoint-every", self.checkpoint_every),
            ("--keep", self.keep),
        ] {
            if found == 0 {
                let (what, expected) = (what.to_owned(), "at least 1".to_owned());
                return Err(TrainError::Option { what, found: "0".into(), expected });
            }
        }
        self.recipe.check(self.network.timesteps(&self.preset)?).map_err(
            |RecipeFault { key, found, expected }| TrainError::Option {
                what: format!("--{}", key.replace('_', "-")),
                found,
                expected,
            },
        )?;
        self.check_cohort(cohort)
    }

    fn check_cohort(&self, cohort: &Cohort) -> Result<(), TrainError> {
        let preset = &self.preset;
        check_fit(preset, cohort)?;
        let counts = cohort.counts();
        let empty = match self.network.diet(preset)? {
            Diet::Any => None,
            Diet::Both | Diet::Healthy if counts.healthy == 0 => Some("healthy"),
            Diet::Both if counts.diseased == 0 => Some("diseased"),
            Diet::Both | Diet::Healthy => None,
        };
        match empty {
            Some(class) => {
                let found = counts.healthy + counts.diseased;
                Err(TrainError::EmptyClass { cohort: cohort.dir().to_owned(), class, found })
            }
            None => Ok(()),
        }
    }
}

/// Whether a cohort's images are what a preset's networks take.
///
/// Errors: [`TrainError::Unfit`].
pub(crate) fn check_fit(preset: &Preset, cohort: &Cohort) -> Result<(), TrainError> {
    let channels: Vec<&str> = preset.image.channels.iter().map(|c| c.name.as_str()).collect();
    for (what, found, expected) in [
        ("channels", cohort.channels().join(", "), channels.join(", ")),
        ("image size", cohort.size().to_string(), preset.image.size.to_string()),
        ("percentile", cohort.percentile().to_string(), preset.image.percentile.to_string()),
    ] {
        if found != expected {
            let (cohort, preset) = (cohort.dir().to_owned(), preset.name.clone());
            return Err(TrainError::Unfit { cohort, preset, what, found, expected });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_constant_and_then_falls_to_zero() {
        let preset = Preset::load("tiny").unwrap();
        let paper = Recipe { iterations: 100, learning_rate: 2.0, ..preset.train.ddpm.clone() };
        let settings = |cosine| Settings {
            network: Network::Ddpm,
            preset: preset.clone(),
            recipe: Recipe { cosine, ..paper.clone() },
            start_from: None,
            seed: 0,
            precision: Precision::F32,
            log_every: 1,
            checkpoint_every: 1,
            keep: 1,
            machine: Vec::new(),
        };
        for (cosine, step, expected) in
            [(0.0, 99, 2.0), (0.4, 60, 2.0), (0.4, 80, 1.0), (0.4, 100, 0.0), (1.0, 0, 2.0), (1.0, 50, 1.0)]
        {
            let rate = settings(cosine).rate(step);
            assert!((rate - expected).abs() < 1e-12, "cosine {cosine}, step {step}: {rate}");
        }
    }
}
