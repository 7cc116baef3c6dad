//! The method on the networks of a bundle.

use std::ops::ControlFlow;

use anomalens_method::ddim::{
    ClassLabel, DdimError, GradientScale, Guide, Networks as Both, OnHost, Stepper,
};
use anomalens_method::heal::{self, Healed};
use anomalens_method::saliency::{self, Saliency};
use anomalens_method::translate::{self, Options, Procedure, Progress, Translation};
use anomalens_models::image::UnitImage;
use anomalens_models::preset::{MethodName, Preset};
use anomalens_models::schedule::Schedule;

use crate::bundle::{Bundle, GuidedPair, Networks, OnDevice, OnePass, Unet};
use crate::engine::EngineError;

/// Why images could not be translated by a bundle.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TranslateError {
    /// The method failed, or its options cannot be.
    #[error(transparent)]
    Method(#[from] translate::TranslateError),
    /// A bundle of a method of one pass.
    #[error(
        "bundle '{bundle}': found method {found}, which makes images healthy in one pass, expected the pair of guided diffusion; choose another bundle"
    )]
    NotGuided {
        /// The bundle's folder.
        bundle: String,
        /// Its method.
        found: MethodName,
    },
    /// A bundle of guided diffusion.
    #[error(
        "bundle '{bundle}': found the pair of guided diffusion, expected a method that makes images healthy in one pass; choose another bundle"
    )]
    NotOnePass {
        /// The bundle's folder.
        bundle: String,
    },
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

    /// Whether there was not enough memory for the batch.
    pub fn out_of_memory(&self) -> bool {
        let Self::Method(translate::TranslateError::Ddim(DdimError::Network(error))) = self else {
            return false;
        };
        matches!(error.cause().downcast_ref(), Some(EngineError::OutOfMemory { .. }))
    }
}

/// Translates images to the healthy class of a bundle, `options.batch` at a time; half as many where there is no memory for
/// them, and so on, which [`Bundle::notes`] says. `on_step` is called after every step of every batch;
/// [`ControlFlow::Break`] cancels.
///
/// Errors: [`TranslateError`].
pub fn translate(
    bundle: &mut Bundle,
    images: &[UnitImage],
    options: &Options,
    on_step: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
) -> Result<Translation, TranslateError> {
    let mut options = options.clone();
    loop {
        options.batch = bundle.largest_batch.map_or(options.batch, |largest| options.batch.min(largest));
        let tried = options.batch.min(images.len());
        match translate_by(bundle, images, &options, on_step) {
            Err(error) if error.out_of_memory() && tried > 1 => {
                let half = tried / 2;
                bundle.largest_batch = Some(half);
                bundle.notes.push(format!("no memory for a batch of {tried}: going on by {half} ({error})"));
            }
            done => return done,
        }
    }
}

/// The same at this batch.
///
/// Errors: [`TranslateError`].
fn translate_by(
    bundle: &mut Bundle,
    images: &[UnitImage],
    options: &Options,
    on_step: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
) -> Result<Translation, TranslateError> {
    let (mut stepper, schedule) = stepper(bundle, images, options)?;
    Ok(translate::translate(&mut *stepper, schedule, images, options, on_step)?)
}

/// What makes the steps that these options ask for of a bundle, and its networks' schedule: steps on the device, where the bundle
/// has them, or the networks by turns.
///
/// Errors: [`TranslateError`].
pub fn stepper<'a>(
    bundle: &'a mut Bundle,
    images: &[UnitImage],
    options: &Options,
) -> Result<(Box<dyn Stepper + 'a>, &'a Schedule), TranslateError> {
    // What clips does so between the networks and the update, and DDPM has an update of its own.
    let whole = match options.procedure {
        Procedure::Paper => true,
        Procedure::Reference { clip, .. } => !clip,
        Procedure::Ddpm { .. } => false,
    };
    stepper_of(bundle, images, options.healthy_class, options.scale, whole)
}

/// What makes the steps of a bundle that translates these images to a class, and the schedule that its networks were trained on;
/// without a guide where the bundle has none and the scale wants none. Steps on the device are taken if `whole` ones will do.
///
/// Errors: [`TranslateError`].
pub(crate) fn stepper_of<'a>(
    bundle: &'a mut Bundle,
    images: &[UnitImage],
    healthy_class: ClassLabel,
    scale: GradientScale,
    whole: bool,
) -> Result<(Box<dyn Stepper + 'a>, &'a Schedule), TranslateError> {
    let name = bundle.folder.display().to_string();
    let (preset, pair) = bundle.guided()?;
    translate::check_images(preset, images)?;
    let classes = [pair.unet.as_ref().and_then(Unet::classes), pair.classifier.as_ref().map(|c| c.classes())];
    translate::check_class(healthy_class, classes.into_iter().flatten())?;
    let guide: Option<&mut dyn Guide> = match &mut pair.classifier {
        Some(classifier) => Some(classifier),
        None if scale == GradientScale::NONE => None,
        None => return Err(TranslateError::NoClassifier { bundle: name, found: scale.get() }),
    };
    let net = pair.unet.as_mut().ok_or(TranslateError::NoUnet { bundle: name })?;
    let stepper: Box<dyn Stepper + 'a> = match &mut pair.steps {
        Some(steps) if whole => Box::new(OnDevice::new(steps, Both { net, guide })),
        Some(_) | None => Box::new(OnHost::new(net, guide)),
    };
    Ok((stepper, &pair.schedule))
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
    let name = bundle.folder.display().to_string();
    let (preset, pair) = bundle.guided()?;
    let guide = pair.classifier.as_mut().ok_or(TranslateError::NoGradient { bundle: name })?;
    translate::check_images(preset, images)?;
    translate::check_class(options.healthy_class, [guide.classes()])?;
    Ok(saliency::saliency(guide, images, options, on_batch)?)
}

/// Makes images healthy in one pass, `batch` at a time. `on_batch` as [`heal::heal`] has it.
///
/// Errors: [`TranslateError`].
pub fn heal(
    bundle: &mut Bundle,
    images: &[UnitImage],
    batch: usize,
    on_batch: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
) -> Result<Healed, TranslateError> {
    let (preset, net) = bundle.one_pass()?;
    translate::check_images(preset, images)?;
    Ok(heal::heal(net, images, batch, on_batch)?)
}

impl Bundle {
    /// Its preset and its guided pair.
    ///
    /// Errors: [`TranslateError::NotGuided`].
    pub fn guided(&mut self) -> Result<(&Preset, &mut GuidedPair), TranslateError> {
        let preset = &self.manifest.preset;
        match &mut self.networks {
            Networks::Guided(pair) => Ok((preset, pair)),
            Networks::OnePass(_) => Err(TranslateError::NotGuided {
                bundle: self.folder.display().to_string(),
                found: preset.method.name(),
            }),
        }
    }

    /// Its preset and its network that makes images healthy in one pass.
    ///
    /// Errors: [`TranslateError::NotOnePass`].
    pub fn one_pass(&mut self) -> Result<(&Preset, &mut OnePass), TranslateError> {
        match &mut self.networks {
            Networks::OnePass(net) => Ok((&self.manifest.preset, net)),
            Networks::Guided(_) => {
                Err(TranslateError::NotOnePass { bundle: self.folder.display().to_string() })
            }
        }
    }
}
