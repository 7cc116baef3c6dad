//! `anomalens-export gradient` on classifiers of torchvision, against torch.autograd.
//!
//! `ANOMALENS_PYTHON_TORCH` names a Python that has torch, torchvision and onnx.

use std::path::Path;
use std::process::Command;

use anomalens_exporter::gradient::{GRADIENT, Kind};
use anomalens_exporter::onnx_gradient::{Report, Request, write};
use anomalens_models::graph::Tensor;
use anomalens_runtime::engine::{self, Engine, EngineChoice, EngineError, EngineOptions};
use anomalens_tests::{npy, npy_i64, oracle, root};
use ndarray::{ArrayD, Axis};
use serde_json::json;

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

#[test]
fn gradients_are_those_of_autograd() {
    let cases = [("resnet18", 64), ("mobilenet_v3_small", 64), ("efficientnet_b0", 64)];
    let list =
        cases.map(|(model, size)| json!({"name": model, "model": model, "size": size, "batches": BATCHES}));
    let Some(folder) = oracle("classifiers.py", &list) else { return };
    the_pages_python_runs(folder.path(), &folder.path().join("resnet18/model.onnx"));
    let mut failures = Vec::new();
    for (model, _) in cases {
        let folder = folder.path().join(model);
        for kind in Kind::ALL {
            let out = folder.join(format!("{kind}.onnx"));
            let Report { forward, gradient, .. } = write(&Request {
                model: &folder.join("model.onnx"),
                input: "x",
                output: "logits",
                kind,
                class_input: "class",
                out: &out,
            })
            .unwrap_or_else(|e| panic!("{model}: {e}"));
            assert!(gradient.macs as f64 <= COST * forward.macs as f64, "{model}: {}", gradient.macs);
            for (engine, batch) in engines().iter().flat_map(|e| BATCHES.map(|batch| (e, batch))) {
                let read = |name: &str| npy(&folder.join(format!("{name}{batch}.npy")));
                let y = npy_i64(&folder.join(format!("y{batch}.npy")));
                let class = (kind != Kind::Sum).then_some(&y);
                let [logits, found] = run(engine.as_ref(), &out, &read("x"), class);
                let expected = read(kind.name());
                let error = apart(&logits, &read("logits")).max(apart(&found, &expected));
                let name = format!("{model}, {kind}, {}, batch {batch}", engine.describe());
                println!("{name}: {error:.1e}");
                if error > TOLERANCE {
                    failures.push(format!("{name}: {error:.1e}"));
                }
                if let Some(y) = class {
                    let other = y.mapv(|class| (class + 1) % 10);
                    let [_, wrong] = run(engine.as_ref(), &out, &read("x"), Some(&other));
                    let error = apart(&wrong, &expected);
                    assert!(error > NOTICED * TOLERANCE, "{name}: another class passed with {error:.1e}");
                }
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}
