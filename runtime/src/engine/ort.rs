//! The engine that is ONNX Runtime, loaded when it is first wanted.

mod openvino;
mod steps;

use std::path::{Path, PathBuf};

use anomalens_models::graph::{DType, Tensor};
use anomalens_models::manifest::{ORT_CUDA, PORTABLE};
use anomalens_models::weights::Precision;
use ndarray::ArrayD;
use ort::ep;
use ort::session::builder::SessionBuilder;
use ort::session::{Session as OrtRun, SessionInputValue};
use ort::value::{Outlet, TensorElementType, TensorRef, ValueType};
use tract_onnx::pb::GraphProto;
use tract_onnx::prelude::Framework;

use super::port::{check_finite, in_order};
use super::{
    Device, Engine, EngineError, EngineOptions, Library, Port, Provider, Session, StepSession, library,
};
use steps::OrtSteps;

const CUDA_WAY_OUT: &str = "fetch the GPU build of ONNX Runtime with `make deps DEVICE=cuda` and check the driver with nvidia-smi, or choose --device cpu";

/// ONNX Runtime on one device.
#[derive(Clone)]
pub(super) struct OrtEngine {
    library: Library,
    options: EngineOptions,
    /// Where traces go.
    traces: Option<PathBuf>,
}

/// How a session computes.
#[derive(Debug, Clone, Copy, Default)]
struct How {
    /// By whose kernels.
    provider: Provider,
    /// On CUDA: its kernels are recorded, to be started by one call.
    recorded: bool,
    /// On CUDA: its products are of f16. ONNX Runtime keeps every convolution off the tensor cores, those of f16 too, unless it is allowed
    /// TF32, which changes nothing of f16.
    half: bool,
}

impl OrtEngine {
    /// Loads the library and tries the device and the provider.
    ///
    /// Errors: those of the library; [`EngineError::Device`], [`EngineError::Provider`] where it is missing or fails.
    pub(super) fn open(options: &EngineOptions) -> Result<Self, EngineError> {
        let engine = Self { library: library::load(options.provider)?, options: *options, traces: None };
        engine.builder(How { provider: options.provider, ..How::default() })?;
        Ok(engine)
    }

    /// The same, with a trace of every session in a folder.
    pub(super) fn profiled(self, traces: PathBuf) -> Self {
        Self { traces: Some(traces), ..self }
    }

    /// A session builder with the device's provider registered: it alone, so that nothing is chosen silently.
    fn builder(&self, how: How) -> Result<SessionBuilder, EngineError> {
        let failed = |reason: String| match self.options.provider {
            Provider::OpenVino | Provider::OpenVinoBf16 => {
                library::no_openvino(self.describe(), self.options.provider, reason)
            }
            Provider::Default => EngineError::Device {
                engine: self.describe(),
                device: self.options.device,
                reason,
                way_out: match self.options.device {
                    Device::Cpu => "choose --engine tract",
                    Device::Cuda(_) => CUDA_WAY_OUT,
                },
            },
        };
        let provider = match self.options.device {
            Device::Cpu if how.provider.is_openvino() => {
                openvino::provider(how.provider, self.options.threads)
            }
            // Without an arena, memory goes back to the system after each node, and comes page by page for the next.
            Device::Cpu => ep::CPU::default().with_arena_allocator(true).build(),
            Device::Cuda(index) => ep::CUDA::default()
                .with_device_id(
                    i32::try_from(index).map_err(|_| failed(format!("no GPU has the index {index}")))?,
                )
                .with_tf32(self.options.tf32 || how.half)
                .with_cuda_graph(how.recorded)
                .build(),
        };
        let mut builder =
            OrtRun::builder(library::environment()?).map_err(|error| failed(error.message().to_owned()))?;
        if let Some(threads) = self.options.threads {
            builder =
                builder.with_intra_threads(threads).map_err(|error| failed(error.message().to_owned()))?;
        }
        // A pattern lays all values of a call into one more piece of memory, beside what the arena keeps of the first call.
        if self.options.device == Device::Cpu {
            builder =
                builder.with_memory_pattern(false).map_err(|error| failed(error.message().to_owned()))?;
        }
        // Each session has threads of its own, which wait for its next call in a busy loop. A guided step calls two sessions in
        // turns, and the loops of the one take the cores from the other.
        builder = builder
            .with_config_entry("session.force_spinning_stop", "1")
            .map_err(|error| failed(error.message().to_owned()))?;
        if how.provider.is_openvino() {
            builder = builder
                .with_config_entry(openvino::ALONE.0, openvino::ALONE.1)
                .map_err(|error| failed(error.message().to_owned()))?;
        }
        builder
            .with_execution_providers([provider.error_on_failure()])
            .map_err(|error| failed(error.message().to_owned()))
    }
}

impl OrtEngine {
    /// A graph, loaded.
    ///
    /// Errors: [`EngineError::Model`], [`EngineError::Device`], [`EngineError::Provider`].
    fn session(&self, onnx: &Path, recorded: bool) -> Result<OrtRun, EngineError> {
        let half = self.options.device != Device::Cpu && graph(onnx).is_some_and(|graph| is_half(&graph));
        let provider = match self.options.provider {
            provider if provider.is_openvino() && openvino::leaves(onnx) => Provider::Default,
            provider => provider,
        };
        let by = |provider| self.commit(onnx, How { provider, recorded, half });
        match by(provider) {
            // Whether the graph is at fault, or the provider that does not take it.
            Err(EngineError::Model { engine, reason, .. })
                if provider.is_openvino() && by(Provider::Default).is_ok() =>
            {
                Err(openvino::refused(engine, provider, onnx, &reason))
            }
            done => done,
        }
    }

    /// The same, computed in this way.
    ///
    /// Errors: [`EngineError::Model`], [`EngineError::Device`], [`EngineError::Provider`].
    fn commit(&self, onnx: &Path, how: How) -> Result<OrtRun, EngineError> {
        let failed = |reason: &str| EngineError::Model {
            engine: self.describe(),
            path: onnx.to_owned(),
            reason: reason.to_owned(),
        };
        let mut builder = self.builder(how)?;
        if let Some(traces) = &self.traces {
            let file = traces.join(onnx.file_stem().unwrap_or(onnx.as_os_str()));
            builder = builder.with_profiling(file).map_err(|error| failed(error.message()))?;
        }
        builder.commit_from_file(onnx).map_err(|error| failed(error.message()))
    }
}

/// What a file says of its graph; `None` where it cannot be read, which is said when it is loaded.
fn graph(onnx: &Path) -> Option<GraphProto> {
    tract_onnx::onnx().proto_model_for_path(onnx).ok().and_then(|model| model.graph)
}

/// Whether a graph has parameters in f16.
fn is_half(graph: &GraphProto) -> bool {
    // TensorProto.DataType of the ONNX standard.
    const FLOAT16: i32 = 10;
    graph.initializer.iter().any(|tensor| tensor.data_type == FLOAT16)
}

impl Engine for OrtEngine {
    fn describe(&self) -> String {
        let tf32 = if self.options.tf32 && self.options.device != Device::Cpu { ", tf32" } else { "" };
        let provider = match self.options.provider {
            Provider::Default => "",
            Provider::OpenVino => ", openvino in f32",
            Provider::OpenVinoBf16 => ", openvino in bf16, gradients in f32",
        };
        format!("ort {} ({}{tf32}{provider})", self.library.version, self.options.device)
    }

    fn can_run(&self, target: &str, precision: &str) -> bool {
        let device = target == PORTABLE || (target == ORT_CUDA && self.options.device != Device::Cpu);
        device && Precision::by_name(precision).is_some()
    }

    fn load(&self, onnx: &Path) -> Result<Box<dyn Session>, EngineError> {
        let session = self.session(onnx, false)?;
        Ok(Box::new(OrtSession {
            engine: self.describe(),
            graph: super::graph_name(onnx),
            inputs: session.inputs().iter().map(port).collect(),
            outputs: session.outputs().iter().map(port).collect(),
            session,
        }))
    }

    fn load_steps(&self, graphs: &[&Path]) -> Result<Option<Box<dyn StepSession>>, EngineError> {
        // A guided step has a gradient inside, which is not OpenVINO's to compute.
        if self.options.provider.is_openvino() {
            return Ok(None);
        }
        Ok(Some(Box::new(OrtSteps::load(self, graphs)?)))
    }
}

fn port(outlet: &Outlet) -> Port {
    let (dtype, dims) = match outlet.dtype() {
        ValueType::Tensor { ty, shape, .. } => {
            let dtype = match ty {
                TensorElementType::Float32 => Some(DType::F32),
                TensorElementType::Int64 => Some(DType::I64),
                _ => None,
            };
            (dtype, shape.iter().map(|d| usize::try_from(*d).ok()).collect())
        }
        _ => (None, Vec::new()),
    };
    Port { name: outlet.name().to_owned(), dtype, dims }
}

struct OrtSession {
    engine: String,
    graph: String,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    session: OrtRun,
}

impl Session for OrtSession {
    fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    fn run(&mut self, inputs: &[(&str, Tensor)]) -> Result<Vec<(String, ArrayD<f32>)>, EngineError> {
        let ordered = in_order(&self.graph, &self.inputs, inputs)?;
        let failed =
            |error: ort::Error| EngineError::failed(self.engine.clone(), self.graph.clone(), error.message());
        // ONNX Runtime reads the arrays where they lie, if they are contiguous.
        let contiguous: Vec<_> = ordered.into_iter().map(contiguous).collect();
        let mut values: Vec<(&str, SessionInputValue<'_>)> = Vec::with_capacity(contiguous.len());
        for (port, tensor) in self.inputs.iter().zip(&contiguous) {
            let value = match tensor.as_ref() {
                Tensor::F32(a) => TensorRef::from_array_view(a).map_err(failed)?.into(),
                Tensor::I64(a) => TensorRef::from_array_view(a).map_err(failed)?.into(),
            };
            values.push((&port.name, value));
        }
        let results = self.session.run(values).map_err(failed)?;
        let mut outputs = Vec::with_capacity(self.outputs.len());
        for port in &self.outputs {
            let values = results[port.name.as_str()].try_extract_array::<f32>().map_err(failed)?.into_owned();
            check_finite(&self.graph, &port.name, &values)?;
            outputs.push((port.name.clone(), values));
        }
        Ok(outputs)
    }
}

fn contiguous(tensor: &Tensor) -> std::borrow::Cow<'_, Tensor> {
    use std::borrow::Cow;
    let standard = match tensor {
        Tensor::F32(a) => a.is_standard_layout(),
        Tensor::I64(a) => a.is_standard_layout(),
    };
    if standard {
        return Cow::Borrowed(tensor);
    }
    Cow::Owned(match tensor {
        Tensor::F32(a) => Tensor::F32(a.as_standard_layout().into_owned()),
        Tensor::I64(a) => Tensor::I64(a.as_standard_layout().into_owned()),
    })
}
