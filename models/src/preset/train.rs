//! How the networks of a preset are trained where nobody says otherwise: the tables `[train.ddpm]` and
//! `[train.classifier]`, `[train.vae]`, or `[train.fpgan]`.

use serde::Deserialize;

use super::Fault;

/// The recipes of all networks, of which a preset has those of its method. A table that is absent is the paper's.
///
/// They are defaults of a training, and no part of what the networks are: wherever a preset is written down again (a
/// run, a bundle), they are left out.
#[derive(Debug, Clone, PartialEq)]
pub struct Train {
    /// Of the noise predictor.
    pub ddpm: Recipe,
    /// Of the noisy classifier.
    pub classifier: Recipe,
    /// Of the variational autoencoder.
    pub vae: Recipe,
    /// Of the Fixed-Point GAN.
    pub fpgan: Recipe,
}

/// The tables as they are written; a preset may have those of its own method.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTrain {
    pub ddpm: Option<Recipe>,
    pub classifier: Option<Recipe>,
    pub vae: Option<Recipe>,
    pub fpgan: Option<Recipe>,
}

impl From<RawTrain> for Train {
    fn from(raw: RawTrain) -> Self {
        Self {
            ddpm: raw.ddpm.unwrap_or_else(Recipe::paper_ddpm),
            classifier: raw.classifier.unwrap_or_else(Recipe::paper_classifier),
            vae: raw.vae.unwrap_or_else(Recipe::paper_vae),
            fpgan: raw.fpgan.unwrap_or_else(Recipe::paper_fpgan),
        }
    }
}

/// How one network is trained.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Steps, at least 1.
    pub iterations: usize,
    /// Images a step, at least 1.
    pub batch: usize,
    /// Adam's learning rate, above 0.
    pub learning_rate: f64,
    /// Share of the steps, at the end, over which the rate falls to 0 along half a cosine; in [0, 1].
    #[serde(default)]
    pub cosine: f64,
    /// Rate of the parameters' average, in [0, 1); none for no average.
    #[serde(default)]
    pub ema: Option<f64>,
    /// Largest norm of the gradient, above 0; none for any.
    #[serde(default)]
    pub clip_gradient: Option<f64>,
    /// Highest noise level that is trained on, 1..=T; none for T. A classifier that guides from level L meets no
    /// higher.
    #[serde(default)]
    pub max_level: Option<usize>,
    /// Share of the values that are dropped before the last convolution of each residual block, in [0, 1).
    #[serde(default)]
    pub dropout: f64,
    /// Whether half of the images are mirrored, left to right.
    #[serde(default)]
    pub flip: bool,
    /// Parts that a step's images are computed in, one after the other, 1..=batch.
    #[serde(default = "one")]
    pub accumulate: usize,
    /// Whether training starts from the trunk of a trained DDPM; the classifier's alone.
    #[serde(default)]
    pub start_from_ddpm: bool,
}

fn one() -> usize {
    1
}

/// A value that no training can have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipeFault {
    /// The key of the recipe.
    pub key: &'static str,
    /// Its value.
    pub found: String,
    /// What would be right.
    pub expected: String,
}

impl Default for Train {
    fn default() -> Self {
        RawTrain::default().into()
    }
}

impl Train {
    /// Checks the recipes of the guided pair; `timesteps` is T.
    ///
    /// Errors: the first fault.
    pub(super) fn check_guided(&self, timesteps: usize) -> Result<(), Fault> {
        for (table, recipe) in [("train.ddpm", &self.ddpm), ("train.classifier", &self.classifier)] {
            recipe.check(Some(timesteps)).map_err(|fault| Fault::within(table, fault))?;
        }
        if self.ddpm.start_from_ddpm {
            let expected = "false: only a classifier starts so";
            return Err(Fault::new("train.ddpm.start_from_ddpm", true, expected));
        }
        Ok(())
    }
}

impl Recipe {
    /// The paper's, Sec. 3: 50,000 steps, batch 10, Adam at 1e-4; the average is that of its code.
    pub fn paper_ddpm() -> Self {
        Self {
            iterations: 50_000,
            batch: 10,
            learning_rate: 1e-4,
            cosine: 0.0,
            ema: Some(0.9999),
            clip_gradient: None,
            max_level: None,
            dropout: 0.0,
            flip: false,
            accumulate: 1,
            start_from_ddpm: false,
        }
    }

    /// The paper's, Sec. 3: 20,000 steps, batch 10, Adam at 1e-4, no average.
    pub fn paper_classifier() -> Self {
        Self { iterations: 20_000, ema: None, ..Self::paper_ddpm() }
    }

    /// A one-pass network's of the paper, Sec. 3: batch 10, Adam at 1e-4.
    fn paper_one_pass(iterations: usize) -> Self {
        Self { iterations, ema: None, ..Self::paper_ddpm() }
    }

    /// The variational autoencoder's: batch and rate of the paper's Sec. 3; the steps are ours, since it names epochs.
    pub fn paper_vae() -> Self {
        Self::paper_one_pass(50_000)
    }

    /// The Fixed-Point GAN's: batch and rate of the paper's Sec. 3; the steps are ours, since it names epochs.
    pub fn paper_fpgan() -> Self {
        Self::paper_one_pass(50_000)
    }

    /// Checks every value against its range; `timesteps` is T, none for a network that knows no noise levels.
    ///
    /// Errors: the first [`RecipeFault`].
    pub fn check(&self, timesteps: Option<usize>) -> Result<(), RecipeFault> {
        let fault =
            |key, found: String, expected: &str| Err(RecipeFault { key, found, expected: expected.into() });
        for (key, found) in [("iterations", self.iterations), ("batch", self.batch)] {
            if found == 0 {
                return fault(key, "0".into(), "at least 1");
            }
        }
        if !(self.learning_rate > 0.0 && self.learning_rate.is_finite()) {
            return fault("learning_rate", self.learning_rate.to_string(), "a positive number");
        }
        if !(0.0..=1.0).contains(&self.cosine) {
            return fault("cosine", self.cosine.to_string(), "in [0, 1]");
        }
        if let Some(rate) = self.ema.filter(|rate| !(0.0..1.0).contains(rate)) {
            return fault("ema", rate.to_string(), "in [0, 1), or none");
        }
        if let Some(most) = self.clip_gradient.filter(|most| !(*most > 0.0 && most.is_finite())) {
            return fault("clip_gradient", most.to_string(), "a positive number");
        }
        match (self.max_level, timesteps) {
            (Some(level), Some(timesteps)) if !(1..=timesteps).contains(&level) => {
                let expected = format!("from 1 to schedule.timesteps = {timesteps}");
                return fault("max_level", level.to_string(), &expected);
            }
            (Some(level), None) => {
                return fault("max_level", level.to_string(), "none: the network knows no noise levels");
            }
            _ => (),
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return fault("dropout", self.dropout.to_string(), "in [0, 1)");
        }
        if timesteps.is_none() && self.dropout > 0.0 {
            return fault("dropout", self.dropout.to_string(), "0: the network drops nothing");
        }
        if timesteps.is_none() && self.start_from_ddpm {
            return fault("start_from_ddpm", "true".into(), "false: only a classifier starts so");
        }
        if !(1..=self.batch).contains(&self.accumulate) {
            let expected = format!("from 1 to batch = {}", self.batch);
            return fault("accumulate", self.accumulate.to_string(), &expected);
        }
        Ok(())
    }
}
