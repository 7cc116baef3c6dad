//! Synthetic chest radiographs, half of them with a pleural effusion.
//!
//! Every subject is a thorax of simple bodies in space: body, rib cage, heart, diaphragm, bones, vessels, things that
//! are bright and yet healthy. Rays add up what they meet, so whatever overlaps in a radiograph overlaps here. An
//! effusion is fluid in the place of lung. One radiograph a subject. A seed fixes every byte.

mod anatomy;
mod bones;
mod confounders;
mod effusion;
pub mod parameters;
mod plane;
mod render;
mod vessels;
mod view;

use std::num::NonZero;
use std::ops::ControlFlow;
use std::path::Path;

use anomalens_models::image::normalise::Normaliser;
use ndarray::{Array2, Axis};
use serde_json::{Map, json};

use self::effusion::Effusion;
use self::render::Patient;
use super::random::{Part, Stream};
use super::{Settings, produce};
use crate::{CohortError, CohortInfo, CohortWriter, Item, Sample};

pub use parameters::Parameters;

/// The kind of these cohorts, as cohort.json has it.
pub const KIND: &str = "synthetic-radiographs";

/// What must be said wherever results on them stand.
pub const NOTE: &str = "synthetic radiographs: all subjects are built of the same few bodies, so results say little \
                        about real anatomy; not for diagnostic use";

/// The channel's name.
pub const CHANNEL: &str = "cxr";

/// How often an effusion that covers too little is drawn anew.
const ATTEMPTS: usize = 20;

/// One radiograph, normalised and labelled.
#[derive(Debug, Clone, PartialEq)]
pub struct Radiograph {
    /// [H, W] in [0, 1].
    pub image: Array2<f32>,
    /// The same subject, exposure and noise without the effusion, [H, W] in [0, 1], normalised as `image` is.
    pub healthy: Array2<f32>,
    /// Where the effusion changed the image, [H, W].
    pub mask: Array2<bool>,
    /// Lungs, heart and mediastinum: what is evaluated, [H, W].
    pub field: Array2<bool>,
    /// Whether there is fluid on the right and on the left.
    pub sides: [bool; 2],
}

impl Radiograph {
    /// Makes subject `number` (from 1) of a seed at `size` pixels along an edge. Whether it has an effusion follows
    /// from a stream of its own: nothing else depends on it.
    ///
    /// Errors: [`CohortError::Normalise`]; [`CohortError::Setting`] for a size at which no effusion can be seen.
    pub fn make(set: &Parameters, seed: u64, number: u64, size: usize) -> Result<Self, CohortError> {
        let mut random = Stream::new(seed, number, Part::Lesions);
        let diseased = random.chance(set.diseased_share);
        let patient = Patient::draw(set, seed, number, size);
        let field = patient.cavity().mapv(|path| path > set.field_mm);
        let raw = patient.expose(None);
        let what = format!("subject {number}, {CHANNEL}");
        let normaliser = |raw: &Array2<f32>| Normaliser::fit(&what, [raw.view()], set.percentile, 0.0);
        if !diseased {
            let image = normaliser(&raw)?.apply(raw.view());
            let mask = Array2::default(image.dim());
            return Ok(Self { healthy: image.clone(), image, mask, field, sides: [false; 2] });
        }
        let least = least_pixels(set, size);
        for _ in 0..ATTEMPTS {
            let effusion = Effusion::draw(&mut random, &set.effusion, patient.thorax());
            let ill = patient.expose(Some(&effusion));
            let normaliser = normaliser(&ill)?;
            let [image, healthy] = [&ill, &raw].map(|raw| normaliser.apply(raw.view()));
            let mut mask = field.clone();
            for (at, inside) in mask.indexed_iter_mut() {
                *inside &= (image[at] - healthy[at]).abs() > set.mask_change;
            }
            if mask.iter().filter(|&&m| m).count() >= least {
                return Ok(Self { image, healthy, mask, field, sides: effusion.sides() });
            }
        }
        Err(CohortError::Setting {
            what: "the size",
            found: size.to_string(),
            expected: "one at which an effusion covers enough pixels; choose a larger one".into(),
        })
    }

    /// The label.
    pub fn diseased(&self) -> bool {
        self.sides != [false; 2]
    }

    /// Pixels in the mask.
    pub fn pixels(&self) -> usize {
        self.mask.iter().filter(|&&m| m).count()
    }

    /// Mean over the mask of |image − the same without effusion|; 0 without a mask.
    pub fn contrast(&self) -> f32 {
        let change = self.image.iter().zip(&self.healthy).zip(&self.mask).filter(|(_, m)| **m);
        let sum: f32 = change.map(|((a, b), _)| (a - b).abs()).sum();
        sum / self.pixels().max(1) as f32
    }

    fn sample(self, number: u64) -> Sample {
        let mut extra = Map::new();
        if self.diseased() {
            extra.insert("lesion_pixels".into(), json!(self.pixels()));
            extra.insert("lesion_contrast".into(), json!(self.contrast()));
            extra.insert("right".into(), json!(self.sides[0]));
            extra.insert("left".into(), json!(self.sides[1]));
        }
        let item = Item { subject: format!("s{number:04}"), slice: 0, diseased: self.diseased(), extra };
        let image = self.image.insert_axis(Axis(0));
        Sample { item, image, mask: Some(self.mask), brain: Some(self.field) }
    }
}

/// The least number of pixels that an effusion covers.
pub fn least_pixels(set: &Parameters, size: usize) -> usize {
    ((set.least_lesion_share * (size * size) as f32).round() as usize).max(3)
}

/// Makes a cohort of arrays: subject after subject, until there are enough of each class. `threads` changes nothing
/// but the time.
pub(super) fn write(
    dir: &Path,
    settings: &Settings,
    threads: NonZero<usize>,
    mut progress: impl FnMut(usize, usize) -> bool,
) -> Result<(), CohortError> {
    let set = Parameters::default();
    let info = CohortInfo {
        kind: KIND.into(),
        note: NOTE.into(),
        channels: vec![CHANNEL.into()],
        size: settings.size,
        percentile: set.percentile,
        generator: settings.generator(&set),
    };
    let mut writer = CohortWriter::create(dir, info)?;
    // Healthy, diseased.
    let mut wanted = [settings.slices.div_ceil(2), settings.slices / 2];
    let make = |number| (number, Radiograph::make(&set, settings.seed, number, settings.size));
    produce::in_order(settings.first, threads, make, |(number, made)| {
        let sample = made?.sample(number);
        let left = &mut wanted[usize::from(sample.item.diseased)];
        if *left > 0 {
            *left -= 1;
            writer.push(sample)?;
        }
        if !progress(writer.len(), settings.slices) {
            return Err(CohortError::Interrupted);
        }
        Ok(if wanted == [0, 0] { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    writer.finish()
}

#[cfg(test)]
mod tests;
