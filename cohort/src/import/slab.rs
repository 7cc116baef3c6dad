//! Some slices of one subject, channel by channel: what volumes and slices of BRATS share.

use std::path::Path;

use anomalens_models::image::normalise::Normaliser;
use ndarray::{Array2, Array3, Array4, ArrayView2, s};
use serde_json::{Map, json};

use super::{Sink, refuse};
use crate::{CohortError, Item};

/// BRATS' contrasts, in the order of the preset `brats256`.
pub(super) const CHANNELS: [&str; 4] = crate::synthetic::parameters::CHANNELS;
/// The name of the segmentation.
pub(super) const SEGMENTATION: &str = "seg";

/// The chosen slices of a subject, normalised.
pub(super) struct Slab {
    subject: String,
    /// Each slice's number in its volume.
    slices: Vec<usize>,
    /// [slice, C, H, W] in [0, 1].
    images: Array4<f32>,
    masks: Vec<Array2<bool>>,
}

impl Slab {
    /// A slab whose channels are yet to come.
    pub fn new(subject: &str, slices: Vec<usize>, [h, w]: [usize; 2]) -> Self {
        let images = Array4::zeros((slices.len(), CHANNELS.len(), h, w));
        Self { subject: subject.to_owned(), slices, images, masks: Vec::new() }
    }

    /// Fills one channel: q is measured on `all` planes of the series, those at `chosen` are kept.
    ///
    /// Errors: [`CohortError::Normalise`].
    pub fn fill<'a>(
        &mut self,
        channel: usize,
        what: &Path,
        all: impl Iterator<Item = ArrayView2<'a, f32>>,
        chosen: impl Iterator<Item = ArrayView2<'a, f32>>,
        percentile: f64,
    ) -> Result<(), CohortError> {
        let normaliser = Normaliser::fit(&what.display().to_string(), all, percentile, 0.0)?;
        for (i, plane) in chosen.enumerate() {
            self.images.slice_mut(s![i, channel, .., ..]).assign(&normaliser.apply(plane));
        }
        Ok(())
    }

    /// Appends the next slice's segmentation: what is above 0 is tumour.
    ///
    /// Errors: [`CohortError::Import`] for a value that is not finite.
    pub fn segment(&mut self, file: &Path, plane: ArrayView2<'_, f32>) -> Result<(), CohortError> {
        if let Some(((row, column), v)) = plane.indexed_iter().find(|(_, v)| !v.is_finite()) {
            let found = format!("found {v} at row {row}, column {column} of the segmentation");
            return Err(refuse(file, found, "whole numbers, 0 outside the tumour"));
        }
        self.masks.push(plane.mapv(|v| v > 0.0));
        Ok(())
    }

    /// Appends the slices to the cohort: diseased if any pixel is tumour.
    ///
    /// Errors: those of [`Sink::push`].
    pub fn push(self, sink: &mut Sink) -> Result<(), CohortError> {
        let Self { subject, slices, images, masks } = self;
        for ((slice, image), mask) in slices.into_iter().zip(images.outer_iter()).zip(masks) {
            let tumour = mask.iter().filter(|&&m| m).count();
            let extra = if tumour > 0 {
                Map::from_iter([("source_lesion_pixels".into(), json!(tumour))])
            } else {
                Map::new()
            };
            let item = Item { subject: subject.clone(), slice, diseased: tumour > 0, extra };
            let image: Array3<f32> = image.to_owned();
            sink.push(item, &image, Some(&mask))?;
        }
        Ok(())
    }
}
