//! The one place where a method is chosen: a bundle, and what its networks are told, become something that makes maps of images.
//!
//! ```text
//! command line, manifest ──> Approach ──> Translator ──> Made: maps, and the healthy versions that they come from
//! ```
//!
//! `translate` and `evaluate` know no more of a method than what is said here.

mod made;
mod pace;

use std::ops::ControlFlow;
use std::path::Path;

use anomalens_method::ddim::{ClassLabel, GradientScale, Leg};
use anomalens_method::saliency;
use anomalens_method::translate::{self, FirstNoise, Options, Procedure, Progress, Steps, TranslateError};
use anomalens_models::fitness::Noised;
use anomalens_models::image::{AnomalyMap, ImageError, UnitImage};
use anomalens_models::manifest::{CLASSIFIER_GRADIENT, Manifest};
use anomalens_models::preset::{Method as PresetMethod, Preset, Solver};
use anomalens_models::schedule::Schedule;
use anomalens_runtime::bundle::{Bundle, OpenError};
use anomalens_runtime::engine::Engine;
use anomalens_runtime::fitness;
use anomalens_runtime::translate::{self as runtime, TranslateError as BundleError};
use anyhow::{Result, anyhow};
use ndarray::{Array2, Array3, Axis};

use crate::interrupt::{self, Interrupted};
pub use made::Made;
pub use pace::Pace;

/// A method that needs networks. They are in the order of tables, whose first column the others are compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// The paper's: there and back by guided DDIM.
    Ours,
    /// Its ablation: random noise, guided DDPM sampling.
    Ddpm,
    /// The classifier's gradient.
    Saliency,
    /// A variational autoencoder of healthy images.
    Vae,
    /// A Fixed-Point GAN.
    Fpgan,
}

impl Method {
    const ALL: [Self; 5] = [Self::Ours, Self::Ddpm, Self::Saliency, Self::Vae, Self::Fpgan];

    /// The name of its column in tables, of letters and digits.
    pub fn column(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Ddpm => "ddpm",
            Self::Saliency => "saliency",
            Self::Vae => "vae",
            Self::Fpgan => "fpgan",
        }
    }

    /// The method of a column.
    pub fn of_column(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.column() == name)
    }

    /// Whether its map comes from a healthy version of the image; else it has a map alone.
    pub fn heals(self) -> bool {
        match self {
            Self::Ours | Self::Ddpm | Self::Vae | Self::Fpgan => true,
            Self::Saliency => false,
        }
    }

    /// The map of an image [C, H, W], and the healthy version that it comes from, if it does, by what [`Made::kept`] holds of it.
    ///
    /// Errors: [`ImageError::Shape`].
    pub fn found(
        self,
        image: &Array3<f32>,
        kept: Array3<f32>,
    ) -> Result<(AnomalyMap, Option<Array3<f32>>), ImageError> {
        if self.heals() {
            Ok((AnomalyMap::between(image, &kept)?, Some(kept)))
        } else {
            Ok((AnomalyMap::from_values(kept.index_axis_move(Axis(0), 0)), None))
        }
    }

    /// What it does, in words.
    pub fn what(self) -> &'static str {
        match self {
            Self::Ours => "the paper's method: encoded by DDIM, decoded under the classifier's guidance",
            Self::Ddpm => {
                "the paper's ablation: noised at random, then DDPM sampling under the classifier's guidance"
            }
            Self::Saliency => {
                "comparison: the gradient of the classifier's log p(healthy) by the image, at noise level 0"
            }
            Self::Vae => {
                "comparison: what a variational autoencoder of healthy images gives back of the image"
            }
            Self::Fpgan => "comparison: the healthy version by the generator of a Fixed-Point GAN",
        }
    }
}

/// A method and everything that it is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Approach {
    /// To noise and back by the U-Net, pulled by the classifier.
    Guided(Options),
    /// The classifier's gradient.
    Saliency(saliency::Options),
    /// A network that makes images healthy in one pass.
    OnePass(OnePass),
}

/// What such a network is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OnePass {
    /// Whose network it is.
    pub method: Method,
    /// Images that it is given at once, at least 1.
    pub batch: usize,
}

impl OnePass {
    /// The one method of a bundle, if it is such a one.
    pub fn of(preset: &Preset, batch: usize) -> Option<Self> {
        let method = match preset.method {
            PresetMethod::Guided(_) => return None,
            PresetMethod::Vae(_) => Method::Vae,
            PresetMethod::FixedPointGan(_) => Method::Fpgan,
        };
        Some(Self { method, batch })
    }

    /// Why there is no use for the option of this name.
    pub fn refuses(self, option: &str) -> anyhow::Error {
        anyhow!(
            "{option} with a bundle of method {}: its network makes an image healthy in one pass, without noise, steps and \
             guidance, and of one class; leave {option} out, or choose a bundle of a U-Net and a classifier",
            self.method.column()
        )
    }
}

impl Approach {
    /// Which method this is.
    pub fn method(&self) -> Method {
        match self {
            Self::Guided(Options { procedure: Procedure::Ddpm { .. }, .. }) => Method::Ddpm,
            Self::Guided(_) => Method::Ours,
            Self::Saliency(_) => Method::Saliency,
            Self::OnePass(options) => options.method,
        }
    }

    /// Images that networks are given at once.
    pub fn batch(&self) -> usize {
        match self {
            Self::Guided(options) => options.batch,
            Self::Saliency(options) => options.batch,
            Self::OnePass(options) => options.batch,
        }
    }

    /// Whether it fits a bundle, which messages call `bundle`.
    ///
    /// Errors: each is the fault of the command line.
    pub fn check(&self, bundle: &Path, manifest: &Manifest) -> Result<()> {
        let bundle = bundle.display().to_string();
        let classifier = manifest.has(CLASSIFIER_GRADIENT);
        match self {
            Self::Guided(options) => {
                let networks = manifest.preset.guided()?;
                options.plan(&Schedule::new(&networks.schedule)?)?;
                batch(options.batch)?;
                let classes = networks.unet.classes.unwrap_or(networks.classifier.classes);
                translate::check_class(options.healthy_class, [classes])?;
                if !classifier && options.scale > GradientScale::NONE {
                    return Err(BundleError::NoClassifier { bundle, found: options.scale.get() }.into());
                }
            }
            Self::Saliency(options) => {
                batch(options.batch)?;
                translate::check_class(
                    options.healthy_class,
                    [manifest.preset.guided()?.classifier.classes],
                )?;
                if !classifier {
                    return Err(BundleError::NoGradient { bundle }.into());
                }
            }
            Self::OnePass(options) => batch(options.batch)?,
        }
        Ok(())
    }

    /// Everything that changes the result, in a fixed order: it goes into reports, and into the UIDs of the results.
    pub fn describe(&self) -> Vec<(String, String)> {
        let rows: Vec<(&str, String)> = match self {
            Self::Guided(options) => [
                ("noise level", options.noise_level.to_string()),
                ("steps", steps(options.steps)),
                ("schedule", procedure(&options.procedure)),
            ]
            .into_iter()
            .chain(path(options))
            .chain([
                (
                    "gradient scale",
                    match options.scale {
                        GradientScale::NONE => "0 (no guidance)".to_owned(),
                        scale => scale.get().to_string(),
                    },
                ),
                ("healthy class", class(options.healthy_class)),
            ])
            .collect(),
            Self::Saliency(options) => vec![
                ("method", "saliency, the absolute gradient of log p(healthy)".to_owned()),
                ("noise level", format!("{} (the image itself)", saliency::LEVEL)),
                ("healthy class", class(options.healthy_class)),
            ],
            Self::OnePass(options) => vec![("method", format!("{}, in one pass", options.method.column()))],
        };
        rows.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

fn batch(found: usize) -> Result<(), TranslateError> {
    if found == 0 { Err(TranslateError::NoBatch) } else { Ok(()) }
}

fn class(label: ClassLabel) -> String {
    label.get().to_string()
}

fn steps(steps: Steps) -> String {
    match steps {
        Steps::Every => "every level".to_owned(),
        Steps::Spaced { n, spacing: 1.0 } => format!("{n} a loop"),
        Steps::Spaced { n, spacing } => format!("{n} a loop, at the levels L (j/{n})^{spacing}"),
        Steps::Respaced(respacing) => respacing.to_string(),
    }
}

/// What is not as in Algorithm 1 between the levels.
pub fn path(options: &Options) -> impl Iterator<Item = (&'static str, String)> {
    let solver = match options.solver {
        Solver::Euler => None,
        Solver::Ab2 => Some(("solver", "ab2 (Adams-Bashforth, second order)".to_owned())),
    };
    let interval = options
        .guidance_interval
        .map(|i| ("guidance interval", format!("noise levels {} to {}", i.lowest(), i.highest())));
    solver.into_iter().chain(interval)
}

fn procedure(procedure: &Procedure) -> String {
    match procedure {
        Procedure::Paper => "paper (Algorithm 1)".to_owned(),
        Procedure::Ddpm { seed } => format!("DDPM sampling, noise from seed {seed}"),
        Procedure::Reference { clip, first_noise } => {
            let clip = if *clip { "clipped" } else { "not clipped" };
            let noise = match first_noise {
                FirstNoise::Seed { seed, .. } => format!("noise from seed {seed}"),
                FirstNoise::Array(_) => "noise from a file".to_owned(),
            };
            format!("reference (published script), {clip}, {noise}")
        }
    }
}

/// The networks of a bundle, and what they are told.
pub struct Translator {
    bundle: Bundle,
    approach: Approach,
}

impl Translator {
    /// Opens a bundle, which `approach` must fit: see [`Approach::check`].
    ///
    /// Errors: [`OpenError`].
    pub fn open(
        folder: &Path,
        engine: &dyn Engine,
        unverified: bool,
        approach: Approach,
    ) -> Result<Self, OpenError> {
        let mut bundle = Bundle::open(folder, engine, unverified)?;
        tell(&mut bundle);
        Ok(Self { bundle, approach })
    }

    /// Of a bundle that is open, which `approach` must fit: see [`Approach::check`].
    pub fn new(bundle: Bundle, approach: Approach) -> Self {
        Self { bundle, approach }
    }

    /// The error of the U-Net's noise prediction on images, [N, levels]; `None` where the bundle has none. `on_step` as for
    /// [`Translator::run`].
    ///
    /// Errors: [`Interrupted`]; those of the network.
    pub fn noise_errors(
        &mut self,
        images: &[UnitImage],
        noised: &Noised,
        batch: usize,
        on_step: &mut dyn FnMut(&str, usize, usize),
    ) -> Result<Option<Array2<f64>>> {
        let errors = fitness::noise_errors(&mut self.bundle, images, noised, batch, &mut |done, total| {
            on_step("fit for the model", done, total);
            go_on()
        });
        match errors {
            Err(error) if error.cancelled() => Err(Interrupted.into()),
            errors => Ok(errors?),
        }
    }

    /// The method.
    pub fn method(&self) -> Method {
        self.approach.method()
    }

    /// What runs the graphs, in words.
    pub fn engine(&self) -> &str {
        &self.bundle.engine
    }

    /// Makes the maps of images of the network's size. `on_step` is told where the work is, and how many steps of how many are done.
    ///
    /// Errors: [`Interrupted`], if a person has stopped the program; those of the method.
    pub fn run(&mut self, images: &[UnitImage], on_step: &mut dyn FnMut(&str, usize, usize)) -> Result<Made> {
        run(&mut self.bundle, &self.approach, images, on_step)
    }

    /// The same for the images from number `first` on of those that the approach is for, to whose noise
    /// [`Translator::check_noise`] has been said.
    ///
    /// Errors: as [`Translator::run`].
    pub fn run_from(
        &mut self,
        first: usize,
        images: &[UnitImage],
        on_step: &mut dyn FnMut(&str, usize, usize),
    ) -> Result<Made> {
        let part = match &self.approach {
            Approach::Guided(options) => Approach::Guided(options.part(first..first + images.len())),
            whole @ (Approach::Saliency(_) | Approach::OnePass(_)) => whole.clone(),
        };
        run(&mut self.bundle, &part, images, on_step)
    }

    /// Whether the noise that was brought, if it was, is for these images, which are all.
    ///
    /// Errors: [`TranslateError::Ddim`].
    pub fn check_noise(&self, images: &[UnitImage]) -> Result<(), TranslateError> {
        match (&self.approach, images.first()) {
            (Approach::Guided(options), Some(first)) => {
                let shape: Vec<usize> =
                    [images.len()].iter().chain(first.pixels().shape()).copied().collect();
                options.check_noise(&shape)
            }
            _ => Ok(()),
        }
    }

    /// Images that networks are given at once.
    pub fn batch(&self) -> usize {
        self.approach.batch()
    }

    /// How often each network is called for some batches, and which; none where the bundle is of another method.
    pub fn calls(&mut self, batches: usize) -> Vec<(usize, &'static str)> {
        match &self.approach {
            Approach::Guided(options) => {
                let Ok((_, pair)) = self.bundle.guided() else { return vec![] };
                let Ok(calls) = options.calls(&pair.schedule) else { return vec![] };
                let gradient = if pair.classifier.is_some() { calls.gradient } else { 0 };
                vec![(batches * (calls.encode + calls.decode), "U-Net"), (batches * gradient, "gradient")]
            }
            Approach::Saliency(_) => vec![(batches, "gradient")],
            Approach::OnePass(_) => vec![(batches, "network")],
        }
    }
}

fn run(
    bundle: &mut Bundle,
    approach: &Approach,
    images: &[UnitImage],
    on_step: &mut dyn FnMut(&str, usize, usize),
) -> Result<Made> {
    let made = match approach {
        Approach::Guided(options) => runtime::translate(bundle, images, options, &mut |step| {
            on_step(&place(step), step.done, step.total);
            go_on()
        })
        .map(Made::from),
        Approach::Saliency(options) => runtime::saliency(bundle, images, options, &mut |done, total| {
            on_step("saliency", done, total);
            go_on()
        })
        .map(Made::from),
        Approach::OnePass(options) => runtime::heal(bundle, images, options.batch, &mut |done, total| {
            on_step("one pass", done, total);
            go_on()
        })
        .map(Made::from),
    };
    tell(bundle);
    match made {
        Err(error) if error.cancelled() => Err(Interrupted.into()),
        made => Ok(made?),
    }
}

/// Says what a person should know of how the networks run here.
fn tell(bundle: &mut Bundle) {
    for note in bundle.notes() {
        eprintln!("note: {note}");
    }
}

/// Where a step was made.
fn place(step: &Progress) -> String {
    let leg = match step.leg {
        Leg::Encode => "encode",
        Leg::Decode => "decode",
    };
    format!("{leg} level {}", step.level)
}

fn go_on() -> ControlFlow<()> {
    if interrupt::check().is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}
