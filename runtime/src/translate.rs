//! The method on the networks of a bundle.

use std::ops::ControlFlow;

use anomalens_method::ddim::{DdimError, GradientScale, Guide};
use anomalens_method::saliency::{self, Saliency};
use anomalens_method::translate::{self, Options, Progress, Translation};
use anomalens_models::image::UnitImage;
use anomalens_models::preset::{Guided, Preset};

use crate::bundle::Bundle;

/// Why images could not be translated by a bundle.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TranslateError {
    /// The method failed, or its options cannot be.
    #[error(transparent)]
    Method(#[from] translate::TranslateError),
    /// No noise predictor.
    #[error(
        "bundle '{bundle}' has no U-Net, expected unet.onnx; write the bundle again with anomalens-export bundle --unet"
    )]
    NoUnet {
        /// The bundle's folder.
        bundle: String,
    },
    /// Saliency without a classifier.
    #[error(
        "bundle '{bundle}' has no classifier, whose gradient saliency is; write the bundle again with anomalens-export bundle --classifier"
    )]
    NoGradient {
        /// The bundle's folder.
        bundle: String,
    },
    /// Guidance without a classifier.
    #[error(
        "bundle '{bundle}' has no classifier: gradient scale {found}, expected 0; translate with --scale 0, or write the bundle again with anomalens-export bundle --classifier"
    )]
    NoClassifier {
        /// The bundle's folder.
        bundle: String,
        /// s.
        found: f64,
    },
}

impl TranslateError {
    /// Whether the callback said stop.
    pub fn cancelled(&self) -> bool {
        matches!(self, Self::Method(error) if error.cancelled())
    }
}

/// Translates images to the healthy class of a bundle, `options.batch` at a time. `on_step` is called after every
/// step of every batch; [`ControlFlow::Break`] cancels.
///
/// Errors: [`TranslateError`].
pub fn translate(
    bundle: &mut Bundle,
    images: &[UnitImage],
    options: &Options,
    on_step: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
) -> Result<Translation, TranslateError> {
    let name = || bundle.folder.display().to_string();
    let preset = &bundle.manifest.preset;
    let guided = guided(preset)?;
    let classifier = bundle.classifier.as_ref().map(|_| guided.classifier.classes);
    translate::check_images(preset, images)?;
    translate::check_class(options.healthy_class, guided.unet.classes.into_iter().chain(classifier))?;
    let guide: Option<&mut dyn Guide> = match &mut bundle.classifier {
        Some(classifier) => Some(classifier),
        None if options.scale == GradientScale::NONE => None,
        None => return Err(TranslateError::NoClassifier { bundle: name(), found: options.scale.get() }),
    };
    let net = bundle.unet.as_mut().ok_or_else(|| TranslateError::NoUnet { bundle: name() })?;
    Ok(translate::translate(net, guide, &bundle.schedule, images, options, on_step)?)
}

/// The saliency of images, `options.batch` at a time, by the classifier of a bundle; its U-Net may be missing. `on_batch` as
/// [`saliency::saliency`] has it.
///
/// Errors: [`TranslateError`].
pub fn saliency(
    bundle: &mut Bundle,
    images: &[UnitImage],
    options: &saliency::Options,
    on_batch: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
) -> Result<Saliency, TranslateError> {
    let name = || bundle.folder.display().to_string();
    let preset = &bundle.manifest.preset;
    let guide = bundle.classifier.as_mut().ok_or_else(|| TranslateError::NoGradient { bundle: name() })?;
    translate::check_images(preset, images)?;
    translate::check_class(options.healthy_class, [guided(preset)?.classifier.classes])?;
    Ok(saliency::saliency(guide, images, options, on_batch)?)
}

fn guided(preset: &Preset) -> Result<&Guided, translate::TranslateError> {
    Ok(preset.guided().map_err(DdimError::from)?)
}
