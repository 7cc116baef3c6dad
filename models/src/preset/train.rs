//! How the networks of a preset are trained where nobody says otherwise: the tables `[train.ddpm]` and
//! `[train.classifier]`.

use serde::Deserialize;

/// The recipes of both networks. A table that is absent is the paper's.
///
/// They are defaults of a training, and no part of what the networks are: wherever a preset is written down again (a
/// run, a bundle), they are left out.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Train {
    /// Of the noise predictor.
    #[serde(default = "Recipe::paper_ddpm")]
    pub ddpm: Recipe,
    /// Of the noisy classifier.
    #[serde(default = "Recipe::paper_classifier")]
    pub classifier: Recipe,
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
        Self { ddpm: Recipe::paper_ddpm(), classifier: Recipe::paper_classifier() }
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

    /// Checks every value against its range; `timesteps` is T.
    ///
    /// Errors: the first [`RecipeFault`].
    pub fn check(&self, timesteps: usize) -> Result<(), RecipeFault> {
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
        if let Some(level) = self.max_level.filter(|level| !(1..=timesteps).contains(level)) {
            let expected = format!("from 1 to schedule.timesteps = {timesteps}");
            return fault("max_level", level.to_string(), &expected);
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return fault("dropout", self.dropout.to_string(), "in [0, 1)");
        }
        if !(1..=self.batch).contains(&self.accumulate) {
            let expected = format!("from 1 to batch = {}", self.batch);
            return fault("accumulate", self.accumulate.to_string(), &expected);
        }
        Ok(())
    }
}
