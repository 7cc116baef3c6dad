//! Steps on ONNX Runtime: images, slopes and numbers lie in tensors that are allocated once on the device and bound to the graphs.
//!
//! ```text
//! host: t, y, coefficients ──(when they change)──> device
//! device: x, previous ──> encode_step ──> x_next, eps ──(guided)──> guided_step ──> x_next, slope
//!         x <─ x_next;   previous <─ eps or slope, where it is wanted
//! ```
//!
//! On CUDA the kernels of a graph are recorded in the first step (a CUDA graph) and started by one call from the second on.
//! ONNX Runtime makes the step up to three times for it, so inputs and outputs must not share memory; and what was recorded
//! reads its small tables where they lay on the host, so a session records a single thing and makes no other run
//! meanwhile. Hence the copies behind each step rather than two recordings that take turns.

use std::path::{Path, PathBuf};

use anomalens_models::step::{
    C_PREVIOUS, COEFFICIENT_COUNT, COEFFICIENTS, EPS, PREVIOUS, SLOPE, T, T_CLASSIFIER, X, X_NEXT, Y,
};
use ndarray::{Array1, Array2, Array4, Axis, Ix4, Slice, concatenate};
use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::{IoBinding, RunOptions, Session as OrtRun};
use ort::value::Tensor;

use super::{OrtEngine, port};
use crate::engine::port::check_finite;
use crate::engine::steps::{StepNumbers, StepSession};
use crate::engine::{Device, Engine, EngineError, Port, graph_name};

/// Place of `encode_step.onnx` among the graphs.
const ENCODE: usize = 0;
/// Place of `guided_step.onnx`.
const GUIDED: usize = 1;
/// With these the first graph of a guided step moves nothing.
const STILL: [f32; COEFFICIENT_COUNT] = [0.0; COEFFICIENT_COUNT];

/// ONNX Runtime's key of a run option: the number of the recording that a run makes or repeats.
const RECORDING: &str = "gpu_graph_id";

/// Graphs of steps, and the images.
pub(super) struct OrtSteps {
    engine: OrtEngine,
    graphs: Vec<Graph>,
    resident: Option<Resident>,
    /// Recordings so far; each has a number of its own.
    recordings: usize,
    notes: Vec<String>,
}

/// One graph.
struct Graph {
    path: PathBuf,
    name: String,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    session: OrtRun,
    /// Whether its kernels are recorded.
    recorded: bool,
}

/// What lies on the device, for a batch of `capacity`.
struct Resident {
    images: usize,
    capacity: usize,
    x: Tensor<f32>,
    x_next: Tensor<f32>,
    /// The slope of a step that is not guided, or ε of one that is.
    eps: Tensor<f32>,
    /// The slope of a guided step.
    slope: Tensor<f32>,
    previous: Tensor<f32>,
    /// Of each graph.
    coefficients: [Tensor<f32>; 2],
    t: Tensor<i64>,
    t_classifier: Tensor<i64>,
    y: Tensor<i64>,
    /// The numbers of the last step, and the coefficients of each graph, as they are on the device.
    told: Option<(StepNumbers, [[f32; COEFFICIENT_COUNT]; 2])>,
    /// Of each graph that is recorded, once it has been used.
    bindings: Vec<Option<(IoBinding, RunOptions)>>,
}

impl OrtSteps {
    /// Loads the graphs; on CUDA they are to be recorded, unless ONNX Runtime refuses.
    ///
    /// Errors: [`EngineError::Model`], [`EngineError::Device`].
    pub(super) fn load(engine: &OrtEngine, graphs: &[&Path]) -> Result<Self, EngineError> {
        let on_gpu = engine.options.device != Device::Cpu;
        let mut steps = Self {
            engine: engine.clone(),
            graphs: Vec::new(),
            resident: None,
            recordings: 0,
            notes: Vec::new(),
        };
        for path in graphs {
            let graph = match Graph::load(engine, path, on_gpu) {
                Err(error) if on_gpu => {
                    let graph = Graph::load(engine, path, false)?;
                    steps.notes.push(unrecorded(&graph.name, &error));
                    graph
                }
                graph => graph?,
            };
            steps.graphs.push(graph);
        }
        Ok(steps)
    }

    /// Allocates for batches [N, C, H, W] of this shape.
    fn allocate(&self, shape: (usize, usize, usize, usize)) -> ort::Result<Resident> {
        let allocator = match self.engine.options.device {
            Device::Cpu => Allocator::default(),
            Device::Cuda(index) => {
                let index = i32::try_from(index).expect("the device was opened");
                let device = AllocationDevice::CUDA;
                let memory = MemoryInfo::new(device, index, AllocatorType::Device, MemoryType::Default)?;
                Allocator::new(&self.graphs[0].session, memory)?
            }
        };
        let capacity = shape.0;
        let image = || Tensor::<f32>::new(&allocator, [shape.0, shape.1, shape.2, shape.3]);
        let number = || Tensor::<i64>::new(&allocator, [capacity]);
        let coefficients = || Tensor::<f32>::new(&allocator, [capacity, COEFFICIENT_COUNT]);
        Ok(Resident {
            images: capacity,
            capacity,
            x: image()?,
            x_next: image()?,
            eps: image()?,
            slope: image()?,
            previous: image()?,
            coefficients: [coefficients()?, coefficients()?],
            t: number()?,
            t_classifier: number()?,
            y: number()?,
            told: None,
            bindings: self.graphs.iter().map(|_| None).collect(),
        })
    }

    fn put(&mut self, x: &Array4<f32>) -> ort::Result<()> {
        let images = x.len_of(Axis(0));
        let sample: Vec<i64> = x.shape()[1..].iter().map(|&len| len as i64).collect();
        let fits = |r: &Resident| r.capacity >= images && r.x.shape()[1..] == sample[..];
        if !self.resident.as_ref().is_some_and(fits) {
            // What there was is freed first.
            self.resident = None;
            self.resident = Some(self.allocate(x.dim())?);
        }
        let resident = self.resident.as_mut().expect("allocated by the lines above");
        resident.images = images;
        let mut parts = vec![x.view()];
        let last = x.slice_axis(Axis(0), Slice::from(images - 1..));
        parts.extend((images..resident.capacity).map(|_| last.view()));
        let full = concatenate(Axis(0), &parts).expect("one shape an image");
        // Numbers, even where a coefficient of 0 stands before them.
        Tensor::from_array(Array4::<f32>::zeros(full.dim()))?.copy_into(&mut resident.previous)?;
        Tensor::from_array(full)?.copy_into(&mut resident.x)
    }

    /// Tells the device the numbers of a step.
    fn tell(&mut self, numbers: &StepNumbers) -> ort::Result<()> {
        self.resident.as_mut().ok_or_else(no_images)?.tell(numbers)
    }

    /// Runs a graph, and records it if that is wanted.
    fn run(&mut self, graph: usize) -> ort::Result<()> {
        let resident = self.resident.as_mut().ok_or_else(no_images)?;
        let Graph { session, inputs, outputs, recorded, .. } = &mut self.graphs[graph];
        let (binding, options) = match resident.bindings[graph].take() {
            Some(bound) => bound,
            None => {
                let mut options = RunOptions::new()?;
                if *recorded {
                    self.recordings += 1;
                    options.set(RECORDING, self.recordings.to_string())?;
                }
                (resident.bind(graph, session, inputs, outputs)?, options)
            }
        };
        session.run_binding_with_options(&binding, &options)?;
        // What a node on the processor takes is copied when it is bound, so only where there is none may a binding be kept.
        resident.bindings[graph] = recorded.then_some((binding, options));
        Ok(())
    }

    /// The same; where a recording fails, once more without.
    fn make(&mut self, graph: usize) -> Result<(), EngineError> {
        let Err(error) = self.run(graph) else { return Ok(()) };
        let Graph { name, path, recorded, .. } = &self.graphs[graph];
        let why = EngineError::failed(self.engine.describe(), name.clone(), error.message());
        if !recorded || matches!(why, EngineError::OutOfMemory { .. }) {
            self.resident = None;
            return Err(why);
        }
        // The inputs are as they were.
        self.notes.push(unrecorded(name, &why));
        let path = path.clone();
        if let Some(resident) = &mut self.resident {
            resident.bindings[graph] = None;
        }
        let refused = std::mem::replace(&mut self.graphs[graph], Graph::load(&self.engine, &path, false)?);
        // A session that is dropped while CUDA still takes it to be recording ends the process (microsoft/onnxruntime pull request
        // 32081): better its memory is lost.
        std::mem::forget(refused);
        self.run(graph).map_err(|error| self.failed(graph, &error))
    }

    /// What was made is the image now.
    fn advance(&mut self) -> ort::Result<()> {
        let resident = self.resident.as_mut().ok_or_else(no_images)?;
        resident.x_next.copy_into(&mut resident.x)
    }

    /// The error of something that went wrong; what is on the device counts no more.
    fn failed(&mut self, graph: usize, error: &ort::Error) -> EngineError {
        self.resident = None;
        EngineError::failed(self.engine.describe(), self.graphs[graph].name.clone(), error.message())
    }
}

impl StepSession for OrtSteps {
    fn ports(&self) -> Vec<(&[Port], &[Port])> {
        self.graphs.iter().map(|graph| (&graph.inputs[..], &graph.outputs[..])).collect()
    }

    fn begin(&mut self, x: &Array4<f32>) -> Result<(), EngineError> {
        self.put(x).map_err(|error| self.failed(0, &error))
    }

    fn step(&mut self, numbers: &StepNumbers) -> Result<(), EngineError> {
        let last = if numbers.guided { GUIDED } else { ENCODE };
        self.tell(numbers).map_err(|error| self.failed(last, &error))?;
        self.make(ENCODE)?;
        if numbers.guided {
            self.make(GUIDED)?;
        }
        self.advance().map_err(|error| self.failed(last, &error))
    }

    fn images(&mut self) -> Result<Array4<f32>, EngineError> {
        let fetch = |resident: &Option<Resident>| -> ort::Result<Array4<f32>> {
            let resident = resident.as_ref().ok_or_else(no_images)?;
            let x = resident.x.to(AllocationDevice::CPU, 0)?;
            let x = x.try_extract_array::<f32>()?;
            let x = x.slice_axis(Axis(0), Slice::from(..resident.images)).to_owned();
            Ok(x.into_dimensionality::<Ix4>().expect("images have four axes"))
        };
        let x = fetch(&self.resident).map_err(|error| self.failed(0, &error))?;
        let graph = self.graphs.last().map_or("", |graph| &graph.name);
        let x = x.into_dyn();
        check_finite(graph, X_NEXT, &x)?;
        Ok(x.into_dimensionality::<Ix4>().expect("images have four axes"))
    }

    fn describe(&self) -> String {
        let recorded = self.graphs.iter().filter(|graph| graph.recorded).count();
        match recorded {
            0 => "steps on the device".to_owned(),
            _ if recorded == self.graphs.len() => "steps on the device, CUDA graphs".to_owned(),
            _ => format!("steps on the device, {recorded} of {} graphs as CUDA graphs", self.graphs.len()),
        }
    }

    fn notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }
}

impl Graph {
    fn load(engine: &OrtEngine, path: &Path, recorded: bool) -> Result<Self, EngineError> {
        let session = engine.session(path, recorded)?;
        Ok(Self {
            path: path.to_owned(),
            name: graph_name(path),
            inputs: session.inputs().iter().map(port).collect(),
            outputs: session.outputs().iter().map(port).collect(),
            session,
            recorded,
        })
    }
}

impl Resident {
    /// Brings the numbers that have changed to the device, and the last slope where it is wanted.
    fn tell(&mut self, numbers: &StepNumbers) -> ort::Result<()> {
        let told = self.told.take();
        let capacity = self.capacity;
        let differs =
            |of: fn(&StepNumbers) -> i64| told.as_ref().is_none_or(|(told, _)| of(told) != of(numbers));
        for (to, of) in [
            (&mut self.t, (|n| n.t) as fn(&StepNumbers) -> i64),
            (&mut self.t_classifier, |n| n.t_classifier),
            (&mut self.y, |n| n.y),
        ] {
            if differs(of) {
                Tensor::from_array(Array1::from_elem(capacity, of(numbers)))?.copy_into(to)?;
            }
        }
        // Those of a graph that does not run stay what they are.
        let before = told.map(|(_, coefficients)| coefficients);
        let guided = before.map_or(STILL, |before| before[GUIDED]);
        let coefficients = match numbers.guided {
            true => [STILL, numbers.coefficients],
            false => [numbers.coefficients, guided],
        };
        for (graph, to) in self.coefficients.iter_mut().enumerate() {
            let row = coefficients[graph];
            if before.is_none_or(|before| before[graph] != row) {
                let rows = Array2::from_shape_fn((capacity, COEFFICIENT_COUNT), |(_, place)| row[place]);
                Tensor::from_array(rows)?.copy_into(to)?;
            }
        }
        if let (Some((last, _)), true) = (told, numbers.coefficients[C_PREVIOUS] != 0.0) {
            let slope = if last.guided { &self.slope } else { &self.eps };
            slope.copy_into(&mut self.previous)?;
        }
        self.told = Some((*numbers, coefficients));
        Ok(())
    }

    /// What a graph takes and gives, by name.
    fn bind(
        &mut self,
        graph: usize,
        session: &OrtRun,
        inputs: &[Port],
        outputs: &[Port],
    ) -> ort::Result<IoBinding> {
        let mut binding = session.create_binding()?;
        for Port { name, .. } in inputs {
            match name.as_str() {
                X => binding.bind_input(name, &self.x)?,
                PREVIOUS => binding.bind_input(name, &self.previous)?,
                COEFFICIENTS => binding.bind_input(name, &self.coefficients[graph])?,
                EPS => binding.bind_input(name, &self.eps)?,
                T => binding.bind_input(name, &self.t)?,
                T_CLASSIFIER => binding.bind_input(name, &self.t_classifier)?,
                Y => binding.bind_input(name, &self.y)?,
                other => return Err(ort::Error::new(format!("no step has an input '{other}'"))),
            }
        }
        for Port { name, .. } in outputs {
            match name.as_str() {
                X_NEXT => binding.bind_output(name, &mut self.x_next)?,
                SLOPE if graph == ENCODE => binding.bind_output(name, &mut self.eps)?,
                SLOPE => binding.bind_output(name, &mut self.slope)?,
                other => return Err(ort::Error::new(format!("no step has an output '{other}'"))),
            }
        }
        Ok(binding)
    }
}

fn no_images() -> ort::Error {
    ort::Error::new("a step before any images were put there")
}

fn unrecorded(graph: &str, why: &EngineError) -> String {
    format!("{graph}: going on without a CUDA graph, each kernel started by itself: {why}")
}
