//! What a person decides about a run.

use std::f64::consts::PI;
use std::fs;
use std::path::{Path, PathBuf};

use anomalens_cohort::Cohort;
use anomalens_models::preset::Preset;
use sha2::{Digest, Sha256};

use crate::error::TrainError;
use crate::interpret::Precision;
use crate::task::Network;

/// What a person decides about a run. All of it belongs to the run's identity: a run goes on only with the same.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Which network.
    pub network: Network,
    /// Its definition.
    pub preset: Preset,
    /// Steps.
    pub iterations: usize,
    /// Images a step.
    pub batch: usize,
    /// Adam's learning rate.
    pub learning_rate: f64,
    /// Share of the steps, at the end, over which the rate falls to 0 along half a cosine; in [0, 1].
    pub cosine: f64,
    /// Rate of the parameters' average, in [0, 1); none for no average.
    pub ema: Option<f64>,
    /// Largest norm of the gradient; none for any.
    pub clip_gradient: Option<f64>,
    /// Highest noise level that is trained on, 1..=T; none for T. A classifier that guides from level L meets no higher.
    pub max_level: Option<usize>,
    /// Weights of another network that training starts from, wherever a name and a shape agree: a classifier of the
    /// U-Net's widths starts from the trunk of a DDPM. None for fresh parameters alone.
    pub start_from: Option<Start>,
    /// Whether half of the images are mirrored, left to right.
    pub flip: bool,
    /// Seed of the first parameters, the order of images and the noise.
    pub seed: u64,
    /// Whether products are bfloat16.
    pub bf16: bool,
    /// Steps between two lines of metrics.
    pub log_every: usize,
    /// Steps between two checkpoints.
    pub checkpoint_every: usize,
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
    /// The precision of products.
    pub fn precision(&self) -> Precision {
        if self.bf16 { Precision::Bf16 } else { Precision::F32 }
    }

    /// The learning rate of step `step`, from 0: constant, then half a cosine down to 0.
    pub fn rate(&self, step: usize) -> f64 {
        let fall = self.cosine * self.iterations as f64;
        let into = step as f64 - (self.iterations as f64 - fall);
        if fall <= 0.0 || into <= 0.0 {
            return self.learning_rate;
        }
        self.learning_rate * 0.5 * (1.0 + (PI * into / fall).cos())
    }

    /// Each setting by name, as text: what `run.json` holds and a second start is compared with.
    pub(super) fn entries(&self) -> Vec<(&'static str, serde_json::Value)> {
        let preset = serde_json::to_value(&self.preset).expect("no map with non-string keys");
        vec![
            ("network", self.network.name().into()),
            ("preset", preset),
            ("iterations", self.iterations.into()),
            ("batch", self.batch.into()),
            ("learning_rate", self.learning_rate.into()),
            ("cosine", self.cosine.into()),
            ("ema", self.ema.into()),
            ("clip_gradient", self.clip_gradient.into()),
            ("max_level", self.max_level.into()),
            ("start_from", self.start_from.as_ref().map(|start| start.fingerprint.clone()).into()),
            ("flip", self.flip.into()),
            ("seed", self.seed.into()),
            ("bf16", self.bf16.into()),
        ]
    }

    /// Checks every number, and that the cohort is one for the preset.
    ///
    /// Errors: [`TrainError::Option`], [`TrainError::Unfit`], [`TrainError::EmptyClass`].
    pub(super) fn check(&self, cohort: &Cohort) -> Result<(), TrainError> {
        let option = |what, found: String, expected| Err(TrainError::Option { what, found, expected });
        for (what, found) in [
            ("--iterations", self.iterations),
            ("--batch", self.batch),
            ("--log-every", self.log_every),
            ("--checkpoint-every", self.checkpoint_every),
        ] {
            if found == 0 {
                return option(what, "0".into(), "at least 1");
            }
        }
        if !(self.learning_rate > 0.0 && self.learning_rate.is_finite()) {
            return option("--learning-rate", self.learning_rate.to_string(), "a positive number");
        }
        if !(0.0..=1.0).contains(&self.cosine) {
            return option("--cosine", self.cosine.to_string(), "in [0, 1]");
        }
        if let Some(rate) = self.ema.filter(|rate| !(0.0..1.0).contains(rate)) {
            return option("--ema", rate.to_string(), "in [0, 1), or 'none'");
        }
        if let Some(most) = self.clip_gradient.filter(|most| most.is_nan() || *most <= 0.0) {
            return option("--clip-gradient", most.to_string(), "a positive number");
        }
        let t = self.preset.schedule.timesteps;
        if let Some(level) = self.max_level.filter(|level| !(1..=t).contains(level)) {
            return option("--max-level", level.to_string(), "from 1 to the preset's schedule.timesteps");
        }
        self.check_cohort(cohort)
    }

    fn check_cohort(&self, cohort: &Cohort) -> Result<(), TrainError> {
        let preset = &self.preset;
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
        let counts = cohort.counts();
        let both = self.network == Network::Classifier || preset.unet.classes.is_some();
        for (class, count) in [("healthy", counts.healthy), ("diseased", counts.diseased)] {
            if both && count == 0 {
                let found = counts.healthy + counts.diseased;
                return Err(TrainError::EmptyClass { cohort: cohort.dir().to_owned(), class, found });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_constant_and_then_falls_to_zero() {
        let settings = |cosine| Settings {
            network: Network::Ddpm,
            preset: Preset::load("tiny").unwrap(),
            iterations: 100,
            batch: 1,
            learning_rate: 2.0,
            cosine,
            ema: None,
            clip_gradient: None,
            max_level: None,
            start_from: None,
            flip: false,
            seed: 0,
            bf16: false,
            log_every: 1,
            checkpoint_every: 1,
        };
        for (cosine, step, expected) in
            [(0.0, 99, 2.0), (0.4, 60, 2.0), (0.4, 80, 1.0), (0.4, 100, 0.0), (1.0, 0, 2.0), (1.0, 50, 1.0)]
        {
            let rate = settings(cosine).rate(step);
            assert!((rate - expected).abs() < 1e-12, "cosine {cosine}, step {step}: {rate}");
        }
    }
}
