//! Engines: what runs an ONNX graph. ONNX Runtime (`ort`) where its library is found, `tract` everywhere.
//!
//! ```text
//! open(options) ──> Engine::load(unet.onnx) ──> Session::run([("x", [N, C, H, W]), ("t", [N])]) ──> [("out", …)]
//! ```
//!
//! Weights that a graph keeps outside (ONNX external data) are read from the folder that the graph lies in.

mod error;
mod library;
mod ort;
mod port;
mod provider;
mod steps;
mod tract;

pub use error::EngineError;
pub use library::{LIBRARY_VARIABLE, LOCAL_LIBRARY, LOCAL_OPENVINO, Library, OPENVINO_VARIABLE};
pub use port::Port;
pub use provider::Provider;
pub use steps::{StepNumbers, StepSession};
pub use tract::TRACT_VERSION;

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use anomalens_models::graph::Tensor;
use ndarray::ArrayD;

/// Which engine to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EngineChoice {
    /// ONNX Runtime where its library is found, else tract.
    #[default]
    Auto,
    /// ONNX Runtime.
    Ort,
    /// tract, in Rust, without any library.
    Tract,
}

/// Where to compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Device {
    /// The processor.
    #[default]
    Cpu,
    /// The CUDA GPU of this index; ONNX Runtime only.
    Cuda(usize),
}

/// How to compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EngineOptions {
    /// Which engine.
    pub choice: EngineChoice,
    /// Where.
    pub device: Device,
    /// By whose kernels; ONNX Runtime only.
    pub provider: Provider,
    /// Threads, at least 1; `None` for one a core.
    pub threads: Option<usize>,
    /// CUDA only: whether matrix products and convolutions may round their inputs to TF32 (10 bits of mantissa).
    pub tf32: bool,
}

/// Something that loads graphs, several at once if need be.
pub trait Engine: Send + Sync {
    /// Name, version and device, e.g. `ort 1.31.1 (cpu)`; for `auto` also why ONNX Runtime was not taken.
    fn describe(&self) -> String;

    /// Whether it runs a U-Net of this target and precision, as a manifest names them, in the way that was meant: by the
    /// kernels that it is lowered for, with sums of enough bits.
    fn can_run(&self, target: &str, precision: &str) -> bool;

    /// Loads an ONNX graph.
    ///
    /// Errors: [`EngineError::Model`]; [`EngineError::Device`]; [`EngineError::Provider`] for a graph that the provider does not take.
    fn load(&self, onnx: &Path) -> Result<Box<dyn Session>, EngineError>;

    /// Loads the graph of a step and, if steps are guided, that of the guidance, whose images stay where they are computed; `None`
    /// where the engine keeps none there.
    ///
    /// Errors: [`EngineError::Model`]; [`EngineError::Device`].
    fn load_steps(&self, _graphs: &[&Path]) -> Result<Option<Box<dyn StepSession>>, EngineError> {
        Ok(None)
    }
}

/// A loaded graph.
pub trait Session: Send {
    /// What goes in; dimensions that are `None` are open: the batch.
    fn inputs(&self) -> &[Port];

    /// What comes out.
    fn outputs(&self) -> &[Port];

    /// Computes every output, in the order of [`Session::outputs`]. `inputs` are named, in any order; dimensions that
    /// are open must agree among themselves.
    ///
    /// Errors: [`EngineError::Input`], [`EngineError::Run`], [`EngineError::NotFinite`].
    fn run(&mut self, inputs: &[(&str, Tensor)]) -> Result<Vec<(String, ArrayD<f32>)>, EngineError>;
}

/// Opens an engine. A process has one library of ONNX Runtime: where several engines are opened, the first one's
/// [`EngineOptions::provider`] says which, and the provider of a later one must be in it.
///
/// Errors: [`EngineError::LibraryNotFound`], [`EngineError::Library`], [`EngineError::LibraryTooOld`],
/// [`EngineError::Device`], [`EngineError::Provider`], [`EngineError::Threads`].
pub fn open(options: &EngineOptions) -> Result<Box<dyn Engine>, EngineError> {
    check(options)?;
    match options.choice {
        EngineChoice::Ort => Ok(Box::new(ort::OrtEngine::open(options)?)),
        EngineChoice::Tract => Ok(Box::new(tract::TractEngine::open(options, None)?)),
        EngineChoice::Auto => match ort::OrtEngine::open(options) {
            Ok(engine) => Ok(Box::new(engine)),
            // Who names a GPU, a provider or a library wants that one: only a library that nobody named may be passed over.
            Err(why)
                if options.device == Device::Cpu
                    && options.provider == Provider::Default
                    && !library::named_by_a_person() =>
            {
                Ok(Box::new(tract::TractEngine::open(options, Some(&why))?))
            }
            Err(why) => Err(why),
        },
    }
}

/// Opens an engine that writes what each node of a graph takes: one trace a graph, in the folder `traces`, when its session ends.
///
/// Errors: those of [`open`]; [`EngineError::Profile`] for tract, which writes none.
pub fn open_profiled(options: &EngineOptions, traces: &Path) -> Result<Box<dyn Engine>, EngineError> {
    check(options)?;
    match options.choice {
        EngineChoice::Tract => Err(EngineError::Profile),
        EngineChoice::Ort | EngineChoice::Auto => {
            Ok(Box::new(ort::OrtEngine::open(options)?.profiled(traces.to_owned())))
        }
    }
}

/// Errors: [`EngineError::Threads`], [`EngineError::Provider`].
fn check(options: &EngineOptions) -> Result<(), EngineError> {
    if options.threads == Some(0) {
        return Err(EngineError::Threads);
    }
    Provider::check(options)
}

/// What this machine offers, for `doctor`. The errors say what to do.
#[derive(Debug)]
pub struct Probe {
    /// ONNX Runtime's library, or why there is none.
    pub ort: Result<Library, EngineError>,
    /// Whether the first CUDA GPU can be used; for want of a library, the same error as `ort`.
    pub cuda: Result<(), EngineError>,
    /// tract's version; it is built in.
    pub tract: &'static str,
}

/// Looks for usable engines and devices.
pub fn probe() -> Probe {
    let cuda =
        EngineOptions { choice: EngineChoice::Ort, device: Device::Cuda(0), ..EngineOptions::default() };
    Probe {
        ort: library::load(Provider::Default),
        cuda: ort::OrtEngine::open(&cuda).map(drop),
        tract: TRACT_VERSION,
    }
}

/// The file name of a graph, for messages.
fn graph_name(onnx: &Path) -> String {
    onnx.file_name().unwrap_or(onnx.as_os_str()).to_string_lossy().into_owned()
}

impl fmt::Display for EngineChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Ort => "ort",
            Self::Tract => "tract",
        })
    }
}

impl FromStr for EngineChoice {
    type Err = EngineError;

    fn from_str(text: &str) -> Result<Self, EngineError> {
        match text {
            "auto" => Ok(Self::Auto),
            "ort" => Ok(Self::Ort),
            "tract" => Ok(Self::Tract),
            _ => Err(EngineError::Name {
                what: "engine",
                found: text.to_owned(),
                expected: "auto, ort or tract",
            }),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl FromStr for Device {
    type Err = EngineError;

    fn from_str(text: &str) -> Result<Self, EngineError> {
        let index = match text {
            "cpu" => return Ok(Self::Cpu),
            "cuda" => Some(0),
            _ => text.strip_prefix("cuda:").and_then(|index| index.parse().ok()),
        };
        let error = || EngineError::Name {
            what: "device",
            found: text.to_owned(),
            expected: "cpu, cuda or cuda:N (the N-th GPU, from 0)",
        };
        index.map(Self::Cuda).ok_or_else(error)
    }
}

#[cfg(test)]
mod tests;
