//! The engine that is tract: pure Rust, always there, on the processor.

mod dot;
mod norm;
mod sums;

use std::path::Path;
use std::sync::Arc;

use anomalens_models::graph::{DType, Tensor};
use anomalens_models::manifest::PORTABLE;
use anomalens_models::weights::Precision;
use ndarray::{ArrayD, Axis};
use tract_onnx::pb::{ValueInfoProto, tensor_shape_proto::dimension, type_proto};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::tract_linalg::multithread::{Executor, multithread_tract_scope};

use super::port::{check_finite, in_order};
use super::{Device, Engine, EngineError, EngineOptions, Port, Session};

/// The version of tract that is built in.
pub const TRACT_VERSION: &str = "0.23.9";

/// tract with its own threads.
pub(super) struct TractEngine {
    threads: usize,
    executor: Executor,
    /// Why `auto` took this engine; empty if it was asked for.
    note: String,
}

impl TractEngine {
    /// `instead_of` is why ONNX Runtime was passed over.
    ///
    /// Errors: [`EngineError::Device`] for anything but the processor.
    pub(super) fn open(
        options: &EngineOptions,
        instead_of: Option<&EngineError>,
    ) -> Result<Self, EngineError> {
        if options.device != Device::Cpu {
            return Err(EngineError::Device {
                engine: format!("tract {TRACT_VERSION}"),
                device: options.device,
                reason: "tract computes on the processor only".into(),
                way_out: "choose --engine ort, or --device cpu",
            });
        }
        let threads =
            options.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
        let executor = if threads == 1 { Executor::SingleThread } else { Executor::multithread(threads) };
        let note = match instead_of {
            None => String::new(),
            Some(EngineError::LibraryNotFound { .. }) => "; ONNX Runtime was not found".to_owned(),
            Some(why) => format!("; {why}"),
        };
        Ok(Self { threads, executor, note })
    }
}

impl Engine for TractEngine {
    fn describe(&self) -> String {
        format!("tract {TRACT_VERSION} (cpu, threads: {}{})", self.threads, self.note)
    }

    fn can_run(&self, target: &str, precision: &str) -> bool {
        // tract sums f16 in f16: ten times as far from f32, and a tiny network takes it minutes.
        target == PORTABLE && precision == Precision::F32.name()
    }

    fn load(&self, onnx: &Path) -> Result<Box<dyn Session>, EngineError> {
        Ok(Box::new(self.session(onnx)?))
    }
}

impl TractEngine {
    fn session(&self, onnx: &Path) -> Result<TractSession, EngineError> {
        let failed = |reason: String| EngineError::Model {
            engine: format!("tract {TRACT_VERSION}"),
            path: onnx.to_owned(),
            reason,
        };
        let words = |error: TractError| failed(format!("{error:#}"));
        let folder = match onnx.parent().map(Path::to_str) {
            Some(Some("")) | None => ".",
            Some(Some(folder)) => folder,
            Some(None) => return Err(failed("tract reads from folders with a UTF-8 name only".into())),
        };
        let reader = reader();
        let proto = reader.proto_model_for_path(onnx).map_err(words)?;
        let parsed = reader.parse(&proto, Some(folder)).map_err(words)?;
        if !parsed.unresolved_inputs.is_empty() {
            return Err(failed(format!("undefined inputs {}", parsed.unresolved_inputs.join(", "))));
        }
        let graph = proto.graph.as_ref().ok_or_else(|| failed("holds no graph".into()))?;
        let stored: Vec<_> = graph.initializer.iter().map(|i| i.name.as_str()).collect();
        Ok(TractSession {
            graph: super::graph_name(onnx),
            inputs: graph.input.iter().filter(|i| !stored.contains(&i.name.as_str())).map(port).collect(),
            outputs: graph.output.iter().map(port).collect(),
            executor: self.executor.clone(),
            model: parsed.model,
            compiled: None,
        })
    }
}

/// What reads ONNX files.
fn reader() -> tract_onnx::Onnx {
    // Intermediate shapes in the file speak of an open batch, which would contradict a concrete one.
    let mut reader = tract_onnx::onnx().with_ignore_value_info(true);
    norm::register(&mut reader);
    reader
}

fn port(info: &ValueInfoProto) -> Port {
    let tensor =
        info.r#type.as_ref().and_then(|t| t.value.as_ref()).map(|type_proto::Value::TensorType(t)| t);
    let dtype = tensor.and_then(|t| match t.elem_type {
        // TensorProto.DataType of the ONNX standard.
        1 => Some(DType::F32),
        7 => Some(DType::I64),
        _ => None,
    });
    let dims = tensor.and_then(|t| t.shape.as_ref()).map_or(Vec::new(), |shape| {
        let size = |value: &Option<dimension::Value>| match value {
            Some(dimension::Value::DimValue(size)) => usize::try_from(*size).ok(),
            Some(dimension::Value::DimParam(_)) | None => None,
        };
        shape.dim.iter().map(|d| size(&d.value)).collect()
    });
    Port { name: info.name.clone(), dtype, dims }
}

struct TractSession {
    graph: String,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    executor: Executor,
    model: InferenceModel,
    /// The shapes of the inputs last seen, and the model for these: tract is twice as fast where it knows them.
    compiled: Option<(Vec<Vec<usize>>, Arc<TypedRunnableModel>)>,
}

impl TractSession {
    fn compiled(&mut self, inputs: &[&Tensor]) -> TractResult<Arc<TypedRunnableModel>> {
        let shapes: Vec<_> = inputs.iter().map(|tensor| tensor.shape().to_vec()).collect();
        if let Some((_, plan)) = self.compiled.as_ref().filter(|(known, _)| *known == shapes) {
            return Ok(plan.clone());
        }
        let facts = inputs.iter().map(|tensor| (datum_type(tensor), tensor.shape()));
        let plan = optimised(self.model.clone(), facts)?.into_runnable()?;
        self.compiled = Some((shapes, plan.clone()));
        Ok(plan)
    }

    /// Image by image, where each output has the batch: of several at once, tract takes longer for each, for what it computes no
    /// longer fits into the processor's caches, and every size of batch would want a plan of its own.
    fn compute_each(&mut self, inputs: &[&Tensor]) -> TractResult<Vec<ArrayD<f32>>> {
        let from: Vec<_> = self.inputs.iter().map(Port::batch_axis).collect();
        let to: Option<Vec<_>> = self.outputs.iter().map(Port::batch_axis).collect();
        let images = inputs.iter().zip(&from).find_map(|(tensor, axis)| Some(tensor.shape()[(*axis)?]));
        let (Some(to), Some(images @ 2..)) = (to, images) else { return self.compute(inputs) };
        let mut parts = Vec::with_capacity(images);
        for image in 0..images {
            let one = |(tensor, axis): (&&Tensor, &Option<usize>)| match axis {
                Some(axis) => one_of(tensor, *axis, image),
                None => (*tensor).clone(),
            };
            let one: Vec<Tensor> = inputs.iter().zip(&from).map(one).collect();
            parts.push(self.compute(&one.iter().collect::<Vec<_>>())?);
        }
        let whole = |(output, axis): (usize, &usize)| {
            let parts: Vec<_> = parts.iter().map(|part| part[output].view()).collect();
            Ok(ndarray::concatenate(Axis(*axis), &parts)?)
        };
        to.iter().enumerate().map(whole).collect()
    }

    fn compute(&mut self, inputs: &[&Tensor]) -> TractResult<Vec<ArrayD<f32>>> {
        let plan = self.compiled(inputs)?;
        on_threads(&self.executor, || {
            let results = plan.run(inputs.iter().map(|tensor| value(tensor)).collect())?;
            results.iter().map(|result| Ok(result.to_plain_array_view::<f32>()?.into_owned())).collect()
        })
    }
}

/// Runs `f` on tract's threads, and where it divides its work, among these.
fn on_threads<R: Send>(executor: &Executor, f: impl FnOnce() -> R + Send) -> R {
    let divided = || multithread_tract_scope(executor.clone(), f);
    match executor {
        // From a thread of the pool, which takes part: from outside, each operator would wake the pool and wait for it.
        Executor::MultiThread(pool) => pool.install(divided),
        Executor::SingleThread | Executor::RayonGlobal => divided(),
    }
}

/// The model for inputs of these types and shapes, as it is run.
fn optimised<'a>(
    mut model: InferenceModel,
    inputs: impl Iterator<Item = (DatumType, &'a [usize])>,
) -> TractResult<TypedModel> {
    for (i, (datum_type, shape)) in inputs.enumerate() {
        model.set_input_fact(i, InferenceFact::dt_shape(datum_type, shape))?;
    }
    let mut model = model.into_typed()?.into_decluttered()?;
    norm::absorb(&mut model)?;
    dot::take_rows(&mut model)?;
    let mut model = model.into_optimized()?;
    sums::divide_long_sums(&mut model)?;
    Ok(model)
}

/// One image of a batch, as a batch.
fn one_of(tensor: &Tensor, axis: usize, image: usize) -> Tensor {
    let slice = ndarray::Slice::from(image..image + 1);
    match tensor {
        Tensor::F32(a) => Tensor::F32(a.slice_axis(Axis(axis), slice).to_owned()),
        Tensor::I64(a) => Tensor::I64(a.slice_axis(Axis(axis), slice).to_owned()),
    }
}

fn datum_type(tensor: &Tensor) -> DatumType {
    match tensor.dtype() {
        DType::F32 => f32::datum_type(),
        DType::I64 => i64::datum_type(),
    }
}

fn value(tensor: &Tensor) -> TValue {
    match tensor {
        Tensor::F32(a) => tract_onnx::prelude::Tensor::from(a.clone()).into_tvalue(),
        Tensor::I64(a) => tract_onnx::prelude::Tensor::from(a.clone()).into_tvalue(),
    }
}

impl Session for TractSession {
    fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    fn run(&mut self, inputs: &[(&str, Tensor)]) -> Result<Vec<(String, ArrayD<f32>)>, EngineError> {
        let ordered = in_order(&self.graph, &self.inputs, inputs)?;
        let results = self.compute_each(&ordered).map_err(|error| EngineError::Run {
            engine: format!("tract {TRACT_VERSION}"),
            graph: self.graph.clone(),
            reason: format!("{error:#}"),
        })?;
        let mut outputs = Vec::with_capacity(results.len());
        for (port, values) in self.outputs.iter().zip(results) {
            check_finite(&self.graph, &port.name, &values)?;
            outputs.push((port.name.clone(), values));
        }
        Ok(outputs)
    }
}

#[cfg(test)]
mod tests;
