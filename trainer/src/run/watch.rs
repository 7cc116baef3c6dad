//! Held-out images, looked at every so many steps, and the best weights so far.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Cursor};

use image::{ImageFormat, RgbImage};
use serde_json::{Map, Value, json};

use super::folder::Folder;
use super::plot;
use crate::checkpoint::encode;
use crate::error::TrainError;
use crate::task::Figure;
use crate::validate::Validation;
use crate::weights::Named;

const SAMPLES: &str = "samples";
const BEST: &str = "best.safetensors";
const BEST_SCORES: &str = "best.json";

/// What is looked at, and when.
pub struct Watch {
    /// The held-out images and the other network.
    pub validation: Validation,
    /// Steps between two looks.
    pub every: usize,
    /// Whether the weights of the best look are kept.
    pub keep_best: bool,
}

impl Watch {
    /// Scores the weights of a step; keeps the picture, and the weights if none before were better.
    ///
    /// Errors: [`TrainError`]: of the validation, or [`TrainError::Io`].
    pub(super) fn look(
        &self,
        folder: &Folder,
        step: usize,
        weights: &Named,
    ) -> Result<Vec<Figure>, TrainError> {
        let scores = self.validation.score(weights)?;
        if let Some(picture) = &scores.picture {
            folder.fail(SAMPLES, fs::create_dir_all(folder.file(SAMPLES)))?;
            let picture = plot::titled(&format!("step {step}"), picture).map_err(io::Error::other);
            let picture = folder.fail(SAMPLES, picture)?;
            folder.write(&format!("{SAMPLES}/step-{step:07}.png"), &png(&picture))?;
        }
        if self.keep_best && scores.merit.is_finite() && best(folder)?.is_none_or(|best| scores.merit > best)
        {
            let tensors: Vec<_> = weights.iter().map(|(name, tensor)| (name.to_owned(), tensor)).collect();
            folder.write(BEST, &encode(&tensors, HashMap::new()))?;
            let mut told =
                Map::from_iter([("step".into(), json!(step)), ("merit".into(), json!(scores.merit))]);
            told.extend(scores.figures.iter().map(|figure| (figure.name.to_owned(), json!(figure.value))));
            folder.write(BEST_SCORES, format!("{:#}\n", Value::from(told)).as_bytes())?;
        }
        Ok(scores.figures)
    }
}

/// The merit of the best weights so far. After a start from an older checkpoint it may be one that is still to come:
/// it comes again.
fn best(folder: &Folder) -> Result<Option<f64>, TrainError> {
    let text = match fs::read_to_string(folder.file(BEST_SCORES)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => folder.fail(BEST_SCORES, other)?,
    };
    let told: Map<String, Value> = folder.fail(
        BEST_SCORES,
        serde_json::from_str(&text).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e)),
    )?;
    Ok(told.get("merit").and_then(Value::as_f64))
}

/// A picture as the bytes of a PNG file.
pub(super) fn png(picture: &RgbImage) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Png).expect("memory takes a picture of any size");
    bytes.into_inner()
}
