//! `anomalens-export gradient` on classifiers of torchvision, and others, as both of PyTorch's exporters write them, against torch.autograd.
//!
//! `ANOMALENS_PYTHON_TORCH` names a Python that has torch, torchvision, monai, onnx and onnxscript.

use std::path::Path;
use std::process::Command;

use anomalens_exporter::gradient::{GRADIENT, Kind};
use anomalens_exporter::onnx_gradient::{Report, Request, write};
use anomalens_models::graph::Tensor;
use anomalens_runtime::engine::{self, Engine, EngineChoice, EngineError, EngineOptions};
use anomalens_tests::{npy, npy_i64, oracle, root};
use ndarray::{ArrayD, Axis};
use serde_json::json;
use tempfile::TempDir;

/// In units of the largest value: f32 on both sides, through some dozens of layers.
const TOLERANCE: f64 = 1e-4;
/// The gradient of another class is at least so many tolerances away.
const NOTICED: f64 = 100.0;
const BATCHES: [usize; 2] = [1, 3];
/// The gradient of a convolutional network with respect to its image costs as much as the network, its own pass not counted.
const COST: f64 = 2.2;

/// ONNX Runtime and tract; neither may be missing in CI.
fn engines() -> Vec<Box<dyn Engine>> {
    let open = |choice| match engine::open(&EngineOptions { choice, ..EngineOptions::default() }) {
        Ok(engine) => Some(engine),
        Err(EngineError::LibraryNotFound { .. }) if std::env::var_os("CI").is_none() => None,
        Err(error) => panic!("{error}"),
    };
    [EngineChoice::Ort, EngineChoice::Tract].into_iter().filter_map(open).collect()
}

/// max |a − b| / max |b|.
fn apart(a: &ArrayD<f32>, b: &ArrayD<f32>) -> f64 {
    assert_eq!(a.shape(), b.shape());
    let largest = b.iter().fold(0.0f64, |most, v| most.max(f64::from(*v).abs()));
    let worst = a.iter().zip(b).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max);
    worst / largest
}

/// The outputs of a graph: what was differentiated, and the gradient.
fn run(engine: &dyn Engine, graph: &Path, x: &ArrayD<f32>, y: Option<&ArrayD<i64>>) -> [ArrayD<f32>; 2] {
    let mut session = engine.load(graph).unwrap();
    let mut inputs = vec![("x", Tensor::F32(x.clone()))];
    inputs.extend(y.map(|y| ("class", Tensor::I64(y.clone()))));
    let mut outputs = session.run(&inputs).unwrap();
    assert_eq!(outputs.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["logits", GRADIENT]);
    let gradient = outputs.remove(1).1;
    [outputs.remove(0).1, gradient]
}

/// The Python of docs/gradient.md does what it says, beside the files that it names.
fn the_pages_python_runs(folder: &Path, model: &Path) {
    let page = std::fs::read_to_string(root().join("docs/gradient.md")).unwrap();
    let snippet = page.split("```python\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let gradient = folder.join("classifier_gradient.onnx");
    let request = Request {
        model,
        input: "x",
        output: "logits",
        kind: Kind::LogProb,
        class_input: "y",
        out: &gradient,
    };
    write(&request).unwrap();
    let x = npy(&model.with_file_name("x3.npy"));
    std::fs::copy(model.with_file_name("x3.npy"), folder.join("x.npy")).unwrap();
    let python = std::env::var("ANOMALENS_PYTHON_TORCH").unwrap();
    let output = Command::new(python).args(["-c", snippet]).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found = npy(&folder.join("saliency.npy"));
    let engine = engines().pop().unwrap();
    let class = ArrayD::zeros(vec![3]);
    let inputs = [("x", Tensor::F32(x)), ("y", Tensor::I64(class))];
    let outputs = engine.load(&gradient).unwrap().run(&inputs).unwrap();
    let expected = outputs[1].1.mapv(f32::abs).sum_axis(Axis(1));
    assert!(apart(&found, &expected) <= TOLERANCE);
}

/// A network, and which of PyTorch's exporters writes it.
struct Case {
    model: &'static str,
    size: usize,
    exporter: &'static str,
    kinds: &'static [Kind],
    options: serde_json::Value,
}

impl Case {
    fn new(model: &'static str, size: usize, exporter: &'static str) -> Self {
        Self { model, size, exporter, kinds: &[Kind::LogProb], options: json!({}) }
    }

    fn name(&self) -> String {
        format!("{}-{}", self.model, self.exporter)
    }
}

/// What is over tolerance, of every case by every engine at every batch.
fn failures(folder: &Path, cases: &[Case]) -> Vec<String> {
    let mut failures = Vec::new();
    for case in cases {
        let folder = folder.join(case.name());
        for &kind in case.kinds {
            let out = folder.join(format!("{kind}.onnx"));
            let model = case.name();
            let Report { forward, gradient, .. } = write(&Request {
                model: &folder.join("model.onnx"),
                input: "x",
                output: "logits",
                kind,
                class_input: "class",
                out: &out,
            })
            .unwrap_or_else(|e| panic!("{model}: {e}"));
            // A product of two values of the image, as attention has, costs twice as much backwards.
            let cost = if case.model == "Moves" { 3.0 } else { COST };
            assert!(gradient.macs as f64 <= cost * forward.macs as f64, "{model}: {}", gradient.macs);
            for (engine, batch) in engines().iter().flat_map(|e| BATCHES.map(|batch| (e, batch))) {
                let read = |name: &str| npy(&folder.join(format!("{name}{batch}.npy")));
                let y = npy_i64(&folder.join(format!("y{batch}.npy")));
                let class = (kind != Kind::Sum).then_some(&y);
                let [logits, found] = run(engine.as_ref(), &out, &read("x"), class);
                let expected = read(kind.name());
                let error = apart(&logits, &read("logits")).max(apart(&found, &expected));
                let name = format!("{model}, {kind}, {}, batch {batch}", engine.describe());
                println!("{name}: {error:.1e}");
                if error.is_nan() || error > TOLERANCE {
                    failures.push(format!("{name}: {error:.1e}"));
                }
                if let Some(y) = class {
                    let other = y.mapv(|class| (class + 1) % 10);
                    let [_, wrong] = run(engine.as_ref(), &out, &read("x"), Some(&other));
                    let error = apart(&wrong, &expected);
                    assert!(error > NOTICED * TOLERANCE, "{name}: another class passed with {error:.1e}");
                }
            }
            std::fs::remove_file(&out).unwrap();
        }
    }
    failures
}

fn autograd(cases: &[Case]) -> Option<TempDir> {
    let list: Vec<_> = cases
        .iter()
        .map(|case| {
            let kinds: Vec<&str> = case.kinds.iter().map(|kind| kind.name()).collect();
            let Case { model, size, exporter, options, .. } = case;
            json!({
                "name": case.name(), "model": model, "size": size, "exporter": exporter, "options": options,
                "batches": BATCHES, "kinds": kinds,
            })
        })
        .collect();
    oracle("classifiers.py", &list)
}

#[test]
fn gradients_are_those_of_autograd() {
    let mut cases = vec![
        Case { kinds: &Kind::ALL, ..Case::new("resnet18", 64, "trace") },
        Case::new("Curves", 33, "trace"),
        Case::new("Curves", 33, "export"),
        Case::new("Moves", 15, "trace"),
        Case::new("Moves", 15, "export"),
    ];
    let networks =
        ["densenet121", "efficientnet_b0", "mobilenet_v3_small", "convnext_tiny", "monai.DenseNet121"];
    cases.extend(networks.map(|model| Case::new(model, 64, "trace")));
    // vit_b_16 with 2 of its 12 layers.
    let options = json!({
        "image_size": 64, "patch_size": 16, "num_layers": 2, "num_heads": 12, "hidden_dim": 768, "mlp_dim": 3072,
    });
    cases.extend(
        ["trace", "export"]
            .map(|exporter| Case { options: options.clone(), ..Case::new("vit_b_16", 64, exporter) }),
    );
    let Some(folder) = autograd(&cases) else { return };
    the_pages_python_runs(folder.path(), &folder.path().join("resnet18-trace/model.onnx"));
    let failures = failures(folder.path(), &cases);
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
#[ignore = "PyTorch's newer exporter takes minutes for each of these"]
fn gradients_of_every_network_by_the_newer_exporter_are_those_of_autograd() {
    let networks = [
        "resnet18",
        "densenet121",
        "efficientnet_b0",
        "mobilenet_v3_small",
        "convnext_tiny",
        "monai.DenseNet121",
    ];
    let mut cases: Vec<Case> = networks.map(|model| Case::new(model, 64, "export")).into();
    let options = json!({
        "image_size": 64, "patch_size": 16, "num_layers": 12, "num_heads": 12, "hidden_dim": 768, "mlp_dim": 3072,
    });
    cases.extend(
        ["trace", "export"]
            .map(|exporter| Case { options: options.clone(), ..Case::new("vit_b_16", 64, exporter) }),
    );
    let Some(folder) = autograd(&cases) else { return };
    let failures = failures(folder.path(), &cases);
    assert!(failures.is_empty(), "{failures:#?}");
}
