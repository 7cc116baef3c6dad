//! The engines that every whole-chain test runs on: ONNX Runtime, tract, and the f64 reference interpreter.

use std::path::Path;

use anomalens_exporter::bundle::Source;
use anomalens_exporter::bundle::{self, Request};
use anomalens_exporter::checkpoint::Checkpoint;
use anomalens_exporter::gate::Gate;
use anomalens_exporter::gradient::classifier_gradient;
use anomalens_exporter::target::Target;
use anomalens_models::graph::{DType, Dim, Graph, Shape, Tensor, reference};
use anomalens_models::manifest::{MANIFEST, Manifest, UNET, WEIGHTS};
use anomalens_models::nets;
use anomalens_models::preset::Preset;
use anomalens_models::weights::{CLASSIFIER_PREFIX, Part, Precision, UNET_PREFIX, Weights};
use anomalens_runtime::engine::{self, Engine, EngineChoice, EngineError, EngineOptions, Port, Session};
use ndarray::ArrayD;

/// ONNX Runtime, tract and the reference interpreter. ONNX Runtime must not be missing in CI.
pub fn engines() -> Vec<Box<dyn Engine>> {
    let mut engines: Vec<Box<dyn Engine>> = Vec::new();
    for choice in [EngineChoice::Ort, EngineChoice::Tract] {
        match engine::open(&EngineOptions { choice, ..EngineOptions::default() }) {
            Ok(engine) => engines.push(engine),
            Err(e) => {
                assert!(std::env::var("CI").is_err(), "CI must have every engine: {e}");
                eprintln!("skipped: {e}");
            }
        }
    }
    engines.push(Box::new(ReferenceEngine));
    engines
}

/// Writes a bundle of golden checkpoints, without the gate: the tests compare by themselves.
pub fn write_bundle(preset: &Preset, unet: Option<&Path>, classifier: Option<&Path>, output: &Path) {
    let open = |path: &Path| Source::Checkpoint(Checkpoint::open(path, None).unwrap());
    let (unet, classifier) = (unet.map(open), classifier.map(open));
    let request = Request {
        preset,
        unet,
        classifier,
        network: None,
        output,
        target: Target::Portable,
        precision: Precision::F32,
        gate: Gate::None,
        held_out: None,
        note: Some("golden vectors"),
        card: None,
    };
    bundle::write(&request, &mut |_| std::ops::ControlFlow::Continue(())).unwrap();
}

/// The reference interpreter as an engine: it reads the preset and the weights that stand beside the ONNX file, and
/// never looks into that.
struct ReferenceEngine;

struct ReferenceSession {
    graph: Graph,
    weights: Weights,
    prefix: &'static str,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
}

impl Engine for ReferenceEngine {
    fn describe(&self) -> String {
        "reference interpreter (f64)".to_owned()
    }

    fn can_run(&self, _: &str, _: &str) -> bool {
        true
    }

    fn load(&self, onnx: &Path) -> Result<Box<dyn Session>, EngineError> {
        let folder = onnx.parent().unwrap();
        assert!(folder.join(MANIFEST).exists());
        let preset = Manifest::read(folder).unwrap().preset;
        let (graph, prefix) = if onnx.ends_with(UNET) {
            (nets::unet(&preset).unwrap(), UNET_PREFIX)
        } else {
            (classifier_gradient(&nets::classifier(&preset).unwrap()).unwrap(), CLASSIFIER_PREFIX)
        };
        let weights = Weights::open(&folder.join(WEIGHTS)).unwrap();
        let port = |name: &str, dtype: DType, shape: &Shape| Port {
            name: name.to_owned(),
            dtype: Some(dtype),
            dims: shape.dims().iter().map(|d| if let Dim::Len(l) = d { Some(*l) } else { None }).collect(),
        };
        let of = |(name, id)| {
            let ty = &graph.node(id).ty;
            port(name, ty.dtype, &ty.shape)
        };
        let inputs = graph.inputs().map(of).collect();
        let outputs = graph.outputs().iter().map(|(name, id)| of((name.as_str(), *id))).collect();
        Ok(Box::new(ReferenceSession { inputs, outputs, graph, weights, prefix }))
    }
}

impl Session for ReferenceSession {
    fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    fn run(&mut self, inputs: &[(&str, Tensor)]) -> Result<Vec<(String, ArrayD<f32>)>, EngineError> {
        let inputs: Vec<_> =
            inputs.iter().map(|(name, t)| (*name, reference::Value::from(t.clone()))).collect();
        let part: Part<'_> = self.weights.part(self.prefix);
        let outputs = reference::run(&self.graph, &part, &inputs).unwrap();
        Ok(outputs.into_iter().map(|(name, value)| (name, value.mapv(|v| v as f32))).collect())
    }
}
