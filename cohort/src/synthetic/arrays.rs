//! Synthetic brains as a cohort of arrays.

use std::ops::ControlFlow;
use std::path::Path;

use anomalens_models::image::normalise::Normaliser;
use ndarray::{Array2, Array3, Axis, s};
use serde_json::{Map, json};

use super::parameters::{CHANNELS, Parameters};
use super::subject::Subject;
use super::{KIND, NOTE, Settings, produce};
use crate::{CohortError, CohortInfo, CohortWriter, Item, Sample};

/// A pixel belongs to the mask from this share of lesion on.
const MASK_SHARE: f32 = 0.5;
/// A slice with a pixel above this share, but no mask large enough, is neither healthy nor diseased.
const CLEAN_SHARE: f32 = 0.1;
/// Subjects in a row that may give nothing: then the settings cannot be met.
const BARREN: usize = 200;

/// A subject's slice, normalised and labelled.
pub(super) struct Labelled {
    pub image: Array3<f32>,
    pub mask: Array2<bool>,
    pub brain: Array2<bool>,
    /// `None` if neither.
    pub diseased: Option<bool>,
    /// Mean over the mask of the sum over channels of |image − same anatomy without lesion|.
    pub contrast: f32,
}

impl Labelled {
    /// Pixels in the mask.
    pub fn pixels(&self) -> usize {
        self.mask.iter().filter(|&&m| m).count()
    }
}

/// Normalises a subject's slab and labels its slices.
///
/// Errors: [`CohortError::Normalise`].
pub(super) fn label(subject: &Subject, set: &Parameters) -> Result<Vec<Labelled>, CohortError> {
    let normalisers = CHANNELS
        .iter()
        .enumerate()
        .map(|(c, name)| {
            let what = format!("subject {}, {name}", subject.number);
            let planes = subject.slices.iter().map(|slice| slice.image.index_axis(Axis(0), c));
            Normaliser::fit(&what, planes, set.percentile, 0.0)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let apply = |raw: &Array3<f32>| {
        let mut image = Array3::zeros(raw.dim());
        for (c, normaliser) in normalisers.iter().enumerate() {
            image.slice_mut(s![c, .., ..]).assign(&normaliser.apply(raw.index_axis(Axis(0), c)));
        }
        image
    };
    Ok(subject
        .slices
        .iter()
        .map(|raw| {
            let (image, healthy) = (apply(&raw.image), apply(&raw.healthy));
            let mask = raw.lesion.mapv(|share| share >= MASK_SHARE);
            let pixels = mask.iter().filter(|&&m| m).count();
            let least = ((set.least_lesion_share * mask.len() as f32).round() as usize).max(3);
            let any = raw.lesion.iter().any(|&share| share > CLEAN_SHARE);
            let diseased = match pixels {
                0 if !any => Some(false),
                n if n >= least => Some(true),
                _ => None,
            };
            let change = (&image - &healthy).mapv(f32::abs).sum_axis(Axis(0));
            let sum: f32 = change.iter().zip(&mask).filter(|(_, m)| **m).map(|(v, _)| v).sum();
            let contrast = if pixels > 0 { sum / pixels as f32 } else { 0.0 };
            Labelled { image, mask, brain: raw.brain.clone(), diseased, contrast }
        })
        .collect())
}

/// Makes a cohort of arrays: subject after subject, until there are enough slices of each class.
pub(super) fn write(
    dir: &Path,
    settings: &Settings,
    set: &Parameters,
    mut progress: impl FnMut(usize, usize) -> bool,
) -> Result<(), CohortError> {
    let info = CohortInfo {
        kind: KIND.into(),
        note: NOTE.into(),
        channels: CHANNELS.map(str::to_owned).to_vec(),
        size: settings.size,
        percentile: set.percentile,
        generator: settings.generator(set),
    };
    // First, so that a bad place is known before anything is computed.
    let mut writer = CohortWriter::create(dir, info)?;
    // Healthy, diseased.
    let mut wanted = [settings.slices.div_ceil(2), settings.slices / 2];
    let mut barren = 0;
    produce::subjects(settings, set, |subject| {
        let before = writer.len();
        for (slice, labelled) in label(&subject, set)?.into_iter().enumerate() {
            let Some(diseased) = labelled.diseased else { continue };
            let left = &mut wanted[usize::from(diseased)];
            if *left > 0 {
                *left -= 1;
                writer.push(sample(&subject, slice, diseased, labelled))?;
            }
        }
        if !progress(writer.len(), settings.slices) {
            return Err(CohortError::Interrupted);
        }
        barren = if writer.len() > before { 0 } else { barren + 1 };
        match () {
            () if wanted == [0, 0] => Ok(ControlFlow::Break(())),
            () if barren == BARREN => Err(CohortError::Setting {
                what: "the size",
                found: settings.size.to_string(),
                expected: "one at which both classes appear; choose a larger one".into(),
            }),
            () => Ok(ControlFlow::Continue(())),
        }
    })?;
    writer.finish()
}

fn sample(subject: &Subject, slice: usize, diseased: bool, labelled: Labelled) -> Sample {
    let mut extra = Map::new();
    if diseased {
        extra.insert("lesion_pixels".into(), json!(labelled.pixels()));
        extra.insert("lesion_contrast".into(), json!(labelled.contrast));
        extra.insert("iso_flair".into(), json!(subject.iso_flair));
    }
    let item = Item { subject: subject.name(), slice, diseased, extra };
    Sample { item, image: labelled.image, mask: Some(labelled.mask), brain: Some(labelled.brain) }
}
