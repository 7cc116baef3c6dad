//! ONNX models of our own graphs.

use std::fs::File;
use std::path::Path;

use anomalens_exporter::lower::{Lowering, WeightsAt, lower};
use anomalens_exporter::onnx::ModelProto;
use anomalens_exporter::target::Target;
use anomalens_models::graph::{Graph, ParamSource};
use anomalens_models::weights::{Precision, RandomWeights, Weights, WeightsWriter};

/// A graph with random weights, written into `folder`; returns the model.
pub fn written(graph: &Graph, weights: &RandomWeights, folder: &Path) -> ModelProto {
    let path = folder.join("w.safetensors");
    let mut writer = WeightsWriter::new(File::create(&path).unwrap(), graph.params().to_vec()).unwrap();
    for param in graph.params() {
        writer.write(&param.name, weights.param(&param.name).unwrap().as_slice().unwrap()).unwrap();
    }
    writer.finish().unwrap();
    let weights = Weights::open(&path).unwrap();
    let lowering = Lowering {
        target: Target::Portable,
        precision: Precision::F32,
        plain: &[],
        weights: WeightsAt::Beside { file: "w.safetensors", locate: &|name| weights.location(name).ok() },
        metadata: &[],
    };
    lower(graph, &lowering).unwrap()
}
