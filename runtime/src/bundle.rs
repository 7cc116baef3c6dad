//! A bundle, opened: its manifest checked, its graphs loaded and compared with the manifest.

mod one_pass;
mod steps;

pub use one_pass::OnePass;
pub use steps::{OnDevice, Steps};

use std::path::{Path, PathBuf};

use anomalens_models::graph::{DType, Tensor};
use anomalens_models::manifest::{
    BundleError, CLASSIFIER_GRADIENT, MANIFEST, Manifest, NETWORK, ORT_CUDA, PORTABLE, UNET,
};
use anomalens_models::preset::{Guided, Method, MethodError, MethodName, Preset};
use anomalens_models::schedule::{Schedule, ScheduleError, Timestep};
use ndarray::{Array1, Array4, Axis, Ix4, s};

use crate::engine::{Engine, EngineError, Port, Session};
use anomalens_method::ddim::{ClassLabel, Guide, NetworkError, NoisePredictor};

/// A bundle that is ready to translate.
pub struct Bundle {
    /// Its folder.
    pub folder: PathBuf,
    /// SHA-256 of its manifest, which holds the hash of every other file: the bundle's name in reports.
    pub hash: String,
    /// What it says of itself.
    pub manifest: Manifest,
    /// Its networks, those of the method that its preset names.
    pub networks: Networks,
    /// What runs the graphs, in words.
    pub engine: String,
    /// The largest batch that there is memory for, once one was too large.
    pub(crate) largest_batch: Option<usize>,
    /// What a person should know, until it is said: see [`Bundle::notes`].
    pub(crate) notes: Vec<String>,
}

/// The networks of a bundle.
pub enum Networks {
    /// Those of guided diffusion, the paper's method.
    Guided(GuidedPair),
    /// The one of a method that makes images healthy in one pass.
    OnePass(OnePass),
}

/// A noise predictor and what guides it.
pub struct GuidedPair {
    /// The schedule that both were trained on.
    pub schedule: Schedule,
    /// The noise predictor; a bundle may lack it, but cannot translate then.
    pub unet: Option<Unet>,
    /// The noisy classifier's gradient; without it there is no guidance.
    pub classifier: Option<ClassifierGradient>,
    /// The graphs of steps whose images stay on the device, where the bundle has them and the engine keeps images there.
    pub steps: Option<Steps>,
}

/// Why a bundle could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The manifest or a file is missing, changed or newer than this program.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// A graph could not be loaded.
    #[error("bundle '{}': {source}", bundle.display())]
    Engine {
        /// The bundle's folder.
        bundle: PathBuf,
        /// The cause.
        source: EngineError,
    },
    /// The preset's schedule cannot be.
    #[error("bundle '{}': {MANIFEST}: preset.{source}", bundle.display())]
    Schedule {
        /// The bundle's folder.
        bundle: PathBuf,
        /// The cause.
        source: ScheduleError,
    },
    /// The bundle is of another method than the network that is wanted of it.
    #[error("bundle '{}': {MANIFEST}: {source}", bundle.display())]
    Method {
        /// The bundle's folder.
        bundle: PathBuf,
        /// The cause.
        source: MethodError,
    },
    /// A bundle without the one network that its method has.
    #[error("bundle '{}': {MANIFEST}: files: found no {NETWORK}, expected it by the preset's method {method}; write the bundle again with anomalens-export bundle", bundle.display())]
    NoNetwork {
        /// The bundle's folder.
        bundle: PathBuf,
        /// Its method.
        method: MethodName,
    },
    /// A graph that is not what the manifest describes.
    #[error("bundle '{}': {file}: {what} is {found}, expected {expected} by the preset in {MANIFEST}; a foreign graph: write the bundle again with anomalens-export bundle", bundle.display())]
    ForeignGraph {
        /// The bundle's folder.
        bundle: PathBuf,
        /// The graph.
        file: &'static str,
        /// E.g. `input x`.
        what: String,
        /// What the graph has.
        found: String,
        /// What the manifest wants.
        expected: String,
    },
    /// No parity gate has passed.
    #[error("bundle '{}': not verified (gate '{gate}'): {why}; on the machine that is to translate run `{command}`, or accept the bundle with --unverified", bundle.display())]
    Unverified {
        /// The bundle's folder.
        bundle: PathBuf,
        /// The gate that the manifest names.
        gate: String,
        /// What is not proved.
        why: String,
        /// What proves it.
        command: String,
    },
    /// Lowered for kernels, or in a precision, that the engine does not have.
    #[error("bundle '{}': it is for {target} in {precision}, which {engine} does not run; {}", bundle.display(), way_out(target))]
    Target {
        /// The bundle's folder.
        bundle: PathBuf,
        /// What its U-Net, or its one network, is lowered for.
        target: String,
        /// What that computes in.
        precision: String,
        /// The engine.
        engine: String,
    },
}

/// What to do about an engine that does not run a target.
fn way_out(target: &str) -> &'static str {
    match target {
        PORTABLE => "choose --engine ort, or write the bundle with --precision f32",
        ORT_CUDA => {
            "choose --engine ort --device cuda on a machine with a GPU, or write the bundle with --target portable"
        }
        _ => "use the version that wrote the bundle, or write it again with --target portable",
    }
}

/// The refusal of a bundle that no gate has passed.
fn unverified(folder: &Path, manifest: &Manifest) -> OpenError {
    let verification = &manifest.verification;
    let why = match verification.wanting.as_slice() {
        [] => "its graphs were never compared, between engines and with the network".to_owned(),
        wanting => format!("where it was compared there was wanting {}", wanting.join(", and ")),
    };
    let command = manifest.verify_command(folder);
    OpenError::Unverified { bundle: folder.to_owned(), gate: verification.gate.clone(), why, command }
}

impl Bundle {
    /// Opens a bundle: manifest, every file's hash, the graphs and their inputs and outputs. A bundle that no
    /// parity gate has passed is refused unless `allow_unverified`; one for another engine is refused always.
    ///
    /// Errors: [`OpenError`].
    pub fn open(folder: &Path, engine: &dyn Engine, allow_unverified: bool) -> Result<Self, OpenError> {
        let manifest = Manifest::read(folder)?;
        if !manifest.verification.passed() && !allow_unverified {
            return Err(unverified(folder, &manifest));
        }
        let runs = engine.can_run(&manifest.target, &manifest.precision);
        if !runs && (manifest.has(UNET) || manifest.preset.method.is_one_pass()) {
            let Manifest { target, precision, .. } = manifest;
            let (bundle, engine) = (folder.to_owned(), engine.describe());
            return Err(OpenError::Target { bundle, target, precision, engine });
        }
        if !manifest.sizes_fit(folder) {
            manifest.check_files(folder)?;
        }
        let (checked, networks) =
            at_once(|| manifest.check_files(folder), || Networks::load(folder, &manifest, engine));
        // A changed file is the cause of whatever its graphs are refused for.
        checked?;
        let networks = networks?;
        let steps = match &networks {
            Networks::Guided(GuidedPair { steps: Some(steps), .. }) => Some(steps.describe()),
            Networks::Guided(_) | Networks::OnePass(_) => None,
        };
        let notes: Vec<String> = steps.into_iter().collect();
        let engine = [&[engine.describe()], &notes[..]].concat().join(", ");
        Ok(Self {
            folder: folder.to_owned(),
            hash: Manifest::bundle_hash(folder)?,
            networks,
            manifest,
            engine,
            largest_batch: None,
            notes,
        })
    }

    /// What a person should know of how the networks run on this machine, each said once: whether steps are made in one
    /// graph, a CUDA graph that was refused, a batch that was too large for the memory.
    pub fn notes(&mut self) -> Vec<String> {
        let mut notes = std::mem::take(&mut self.notes);
        if let Networks::Guided(GuidedPair { steps: Some(steps), .. }) = &mut self.networks {
            notes.extend(steps.notes());
        }
        notes
    }
}

/// Two things, each in a thread: opening a bundle is work for as many cores as there are.
fn at_once<A: Send, B>(a: impl FnOnce() -> A + Send, b: impl FnOnce() -> B) -> (A, B) {
    std::thread::scope(|scope| {
        let a = scope.spawn(a);
        let b = b();
        (a.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), b)
    })
}

impl Networks {
    /// Loads the networks of a bundle.
    fn load(folder: &Path, manifest: &Manifest, engine: &dyn Engine) -> Result<Self, OpenError> {
        let (bundle, preset) = (folder.to_owned(), &manifest.preset);
        match &preset.method {
            Method::Guided(guided) => {
                let schedule = Schedule::new(&guided.schedule)
                    .map_err(|source| OpenError::Schedule { bundle, source })?;
                let (unet, classifier) = (manifest.has(UNET), manifest.has(CLASSIFIER_GRADIENT));
                let (unet, classifier) = at_once(
                    || unet.then(|| Unet::load(folder, preset, engine)).transpose(),
                    || classifier.then(|| ClassifierGradient::load(folder, preset, engine)).transpose(),
                );
                let steps = Steps::load(folder, manifest, engine)?;
                Ok(Self::Guided(GuidedPair { schedule, unet: unet?, classifier: classifier?, steps }))
            }
            Method::Vae(_) | Method::FixedPointGan(_) => {
                if !manifest.has(NETWORK) {
                    return Err(OpenError::NoNetwork { bundle, method: preset.method.name() });
                }
                Ok(Self::OnePass(OnePass::load(folder, preset, engine)?))
            }
        }
    }
}

/// The guided pair of the preset of the bundle in a folder.
fn guided<'a>(folder: &Path, preset: &'a Preset) -> Result<&'a Guided, OpenError> {
    preset.guided().map_err(|source| OpenError::Method { bundle: folder.to_owned(), source })
}

/// Loads a graph that must have these inputs and outputs.
fn load(
    folder: &Path,
    file: &'static str,
    engine: &dyn Engine,
    inputs: &[Port],
    outputs: &[Port],
) -> Result<Box<dyn Session>, OpenError> {
    let bundle = || folder.to_owned();
    let session =
        engine.load(&folder.join(file)).map_err(|source| OpenError::Engine { bundle: bundle(), source })?;
    let foreign =
        |(what, found, expected)| OpenError::ForeignGraph { bundle: bundle(), file, what, found, expected };
    compare("input", session.inputs(), inputs).map_err(foreign)?;
    compare("output", session.outputs(), outputs).map_err(foreign)?;
    Ok(session)
}

fn port(name: &str, dtype: DType, dims: &[Option<usize>]) -> Port {
    Port { name: name.to_owned(), dtype: Some(dtype), dims: dims.to_vec() }
}

fn image_port(name: &str, preset: &Preset, channels: usize) -> Port {
    let size = Some(preset.image.size);
    port(name, DType::F32, &[None, Some(channels), size, size])
}

fn inputs(preset: &Preset, labelled: bool) -> Vec<Port> {
    let mut ports = vec![image_port("x", preset, preset.channels()), port("t", DType::I64, &[None])];
    if labelled {
        ports.push(port("y", DType::I64, &[None]));
    }
    ports
}

/// The first difference between what a graph has and what it should have, in any order: (what, found, expected).
fn compare(what: &str, found: &[Port], expected: &[Port]) -> Result<(), (String, String, String)> {
    for want in expected {
        match found.iter().find(|port| port.name == want.name) {
            Some(have) if have == want => (),
            Some(have) => return Err((format!("{what} {}", want.name), have.to_string(), want.to_string())),
            None => return Err((format!("{what} {}", want.name), "missing".into(), want.to_string())),
        }
    }
    match found.iter().find(|port| !expected.iter().any(|want| want.name == port.name)) {
        Some(extra) => Err((format!("{what} {}", extra.name), extra.to_string(), "none of that name".into())),
        None => Ok(()),
    }
}

/// The U-Net of a bundle.
pub struct Unet {
    session: Box<dyn Session>,
    channels: usize,
    classes: Option<usize>,
}

impl Unet {
    /// Loads `unet.onnx` of a folder, which must be the U-Net of `preset`.
    ///
    /// Errors: [`OpenError::Method`], [`OpenError::Engine`], [`OpenError::ForeignGraph`].
    pub fn load(folder: &Path, preset: &Preset, engine: &dyn Engine) -> Result<Self, OpenError> {
        let guided = guided(folder, preset)?;
        let classes = guided.unet.classes;
        let out = image_port("out", preset, guided.unet_out_channels(preset.channels()));
        let session = load(folder, UNET, engine, &inputs(preset, classes.is_some()), &[out])?;
        Ok(Self { session, channels: preset.channels(), classes })
    }

    /// How many classes it knows, if it is told one.
    pub fn classes(&self) -> Option<usize> {
        self.classes
    }

    /// ε, and behind it what interpolates the variance if the network has learned it.
    fn out(&mut self, x: &Array4<f32>, t: Timestep, y: ClassLabel) -> Result<Array4<f32>, NetworkError> {
        let n = x.len_of(Axis(0));
        let mut inputs = vec![("x", Tensor::F32(x.clone().into_dyn())), ("t", repeated(n, t.get()))];
        if self.classes.is_some() {
            inputs.push(("y", repeated(n, y.get())));
        }
        Ok(image_output(self.session.run(&inputs).map_err(NetworkError::new)?, "out"))
    }
}

impl NoisePredictor for Unet {
    fn eps(&mut self, x: &Array4<f32>, t: Timestep, y: ClassLabel) -> Result<Array4<f32>, NetworkError> {
        Ok(self.out(x, t, y)?.slice(s![.., ..self.channels, .., ..]).to_owned())
    }

    fn eps_and_variance(
        &mut self,
        x: &Array4<f32>,
        t: Timestep,
        y: ClassLabel,
    ) -> Result<(Array4<f32>, Option<Array4<f32>>), NetworkError> {
        let out = self.out(x, t, y)?;
        let (eps, v) = out.view().split_at(Axis(1), self.channels);
        Ok((eps.to_owned(), (v.len_of(Axis(1)) > 0).then(|| v.to_owned())))
    }
}

/// The noisy classifier of a bundle, differentiated.
pub struct ClassifierGradient {
    session: Box<dyn Session>,
    classes: usize,
}

impl ClassifierGradient {
    /// Loads `classifier_gradient.onnx` of a folder, which must be that of `preset`.
    ///
    /// Errors: [`OpenError::Method`], [`OpenError::Engine`], [`OpenError::ForeignGraph`].
    pub fn load(folder: &Path, preset: &Preset, engine: &dyn Engine) -> Result<Self, OpenError> {
        let classes = guided(folder, preset)?.classifier.classes;
        let logits = port("logits", DType::F32, &[None, Some(classes)]);
        let outputs = [logits, image_port("gradient", preset, preset.channels())];
        let session = load(folder, CLASSIFIER_GRADIENT, engine, &inputs(preset, true), &outputs)?;
        Ok(Self { session, classes })
    }

    /// How many classes it tells apart.
    pub fn classes(&self) -> usize {
        self.classes
    }
}

impl Guide for ClassifierGradient {
    fn gradient(&mut self, x: &Array4<f32>, t: Timestep, y: ClassLabel) -> Result<Array4<f32>, NetworkError> {
        let n = x.len_of(Axis(0));
        let inputs = [
            ("x", Tensor::F32(x.clone().into_dyn())),
            ("t", repeated(n, t.get())),
            ("y", repeated(n, y.get())),
        ];
        Ok(image_output(self.session.run(&inputs).map_err(NetworkError::new)?, "gradient"))
    }
}

fn repeated(n: usize, value: usize) -> Tensor {
    Tensor::I64(
        Array1::from_elem(n, i64::try_from(value).expect("timesteps and classes are small")).into_dyn(),
    )
}

fn image_output(outputs: Vec<(String, ndarray::ArrayD<f32>)>, name: &str) -> Array4<f32> {
    let found = outputs.into_iter().find(|(output, _)| output == name);
    let (_, values) = found.expect("the outputs were compared with the preset when the bundle was opened");
    values.into_dimensionality::<Ix4>().expect("the output's rank was compared when the bundle was opened")
}

#[cfg(test)]
mod tests;
