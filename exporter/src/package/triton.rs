//! A model repository of Triton Inference Server: one model a graph, for its ONNX Runtime backend.
//!
//! ```text
//! NAME_unet/config.pbtxt                    what goes in and out, in protobuf's text format
//!           1/model.onnx                    version 1: the graph
//!             weights.safetensors           what it points into
//!           manifest.json, MODEL_CARD.md    of the bundle; the server reads neither
//! NAME_classifier_gradient/…
//! ```
//!
//! A server wants each model complete in its own folder, so the weights are there once a model.

use std::fmt::Write;

use anomalens_models::graph::DType;
use anomalens_models::manifest::{MODEL_CARD, PORTABLE, UNET};
use anomalens_runtime::engine::Port;

use super::{Package, PackageError};
use crate::import::ports;

/// Samples that the server puts into one batch at most. The graphs set no bound; memory does, at the paper's size.
const MAX_BATCH: usize = 8;

pub(super) fn write(package: &Package<'_>) -> Result<(), PackageError> {
    for file in package.graphs() {
        let model = format!("{}_{}", package.name(), file.trim_end_matches(".onnx"));
        package.make(&format!("{model}/1"))?;
        package.copy(file, &format!("{model}/1/model.onnx"))?;
        package.copy_weights(&format!("{model}/1"))?;
        package.copy(MODEL_CARD, &format!("{model}/{MODEL_CARD}"))?;
        package.copy_manifest(&model)?;
        package.write(&format!("{model}/config.pbtxt"), &config(package, file, &model)?)?;
    }
    Ok(())
}

/// The model's configuration. `model_config.proto` of Triton says what its fields mean.
fn config(package: &Package<'_>, file: &'static str, model: &str) -> Result<String, PackageError> {
    let manifest = &package.manifest;
    let (inputs, outputs) = ports(&package.bundle.join(file))?;
    let tensors = |ports: &[Port]| -> Result<String, PackageError> {
        let texts = ports.iter().map(|port| {
            let wrong = || PackageError::Port {
                bundle: package.bundle.display().to_string(),
                file,
                port: port.name.clone(),
                found: port.to_string(),
            };
            tensor(port).ok_or_else(wrong)
        });
        Ok(texts.collect::<Result<Vec<_>, _>>()?.join(",\n"))
    };
    let mut text = format!(
        "# {} of bundle {}, by {}. The first dimension of every tensor is the batch.\n\
         name: \"{model}\"\n\
         backend: \"onnxruntime\"\n\
         max_batch_size: {MAX_BATCH}\n\
         input [\n{}\n]\n\
         output [\n{}\n]\n\
         dynamic_batching {{ }}\n",
        file,
        package.hash,
        manifest.tool,
        tensors(&inputs)?,
        tensors(&outputs)?,
    );
    if file == UNET && manifest.target != PORTABLE {
        let _ = writeln!(text, "# Lowered for {}: no processor runs it.", manifest.target);
        text.push_str("instance_group [ { kind: KIND_GPU } ]\n");
    }
    Ok(text)
}

/// A tensor without its batch; `None` for one that is not of the kind that the graphs have.
fn tensor(port: &Port) -> Option<String> {
    let dtype = match port.dtype? {
        DType::F32 => "TYPE_FP32",
        DType::I64 => "TYPE_INT64",
    };
    let (None, dims) = port.dims.split_first().map(|(batch, dims)| (*batch, dims))? else { return None };
    let dims: Vec<String> = dims.iter().map(|dim| dim.map(|d| d.to_string())).collect::<Option<_>>()?;
    // The server knows no tensor without dimensions: one number a sample comes as [batch, 1], and is given on as [batch].
    let shape = match dims.as_slice() {
        [] => "dims: [ 1 ]\n    reshape { shape: [ ] }".to_owned(),
        dims => format!("dims: [ {} ]", dims.join(", ")),
    };
    Some(format!("  {{\n    name: \"{}\"\n    data_type: {dtype}\n    {shape}\n  }}", port.name))
}
