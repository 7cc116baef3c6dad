//! The reference interpreter, and the gradient graph, against the golden vectors.

use std::path::Path;

use anomalens_exporter::gradient::classifier_gradient;
use anomalens_models::graph::reference::{self, Value};
use anomalens_models::graph::{Graph, Tensor};
use anomalens_models::nets;
use anomalens_models::preset::Preset;
use anomalens_tests::{golden, max_abs, npy, npy_i64, params, root, tiny};

/// Outputs and logits: the golden vectors are f32, up to 3.4e-6 from f64.
const OUTPUT: f64 = 2e-5;
/// Gradient, absolute; it is itself about 1e-3.
const GRADIENT: f64 = 1e-6;

fn run(graph: &Graph, checkpoint: &Path, folder: &Path) -> Vec<(String, ndarray::ArrayD<f64>)> {
    let file = |name: &str| folder.join(name);
    let mut inputs = vec![
        ("x", Value::from(Tensor::F32(npy(&file("x.npy"))))),
        ("t", Value::from(Tensor::I64(npy_i64(&file("t.npy"))))),
    ];
    if file("y.npy").exists() {
        inputs.push(("y", Value::from(Tensor::I64(npy_i64(&file("y.npy"))))));
    }
    reference::run(graph, &params(checkpoint, graph.params()), &inputs).unwrap()
}

fn unet(preset: &str, folder: &Path) {
    let graph = nets::unet(&Preset::load(preset).unwrap()).unwrap();
    let out = run(&graph, &folder.join("state_dict.pt"), folder);
    let error = max_abs(&out[0].1, &npy(&folder.join("out.npy")));
    println!("{}: {error:.1e}", folder.display());
    assert!(error <= OUTPUT, "{}: {error:.1e}", folder.display());
}

fn classifier(preset: &str, folder: &Path) {
    let graph = classifier_gradient(&nets::classifier(&Preset::load(preset).unwrap()).unwrap()).unwrap();
    let out = run(&graph, &folder.join("state_dict.pt"), folder);
    let logits = max_abs(&out[0].1, &npy(&folder.join("logits.npy")));
    let gradient = max_abs(&out[1].1, &npy(&folder.join("grad.npy")));
    println!("{}: logits {logits:.1e}, gradient {gradient:.1e}", folder.display());
    assert!(logits <= OUTPUT && gradient <= GRADIENT, "{}: {logits:.1e}, {gradient:.1e}", folder.display());
}

#[test]
fn tiny_networks() {
    unet("tiny", &tiny().join("unet"));
    classifier("tiny", &tiny().join("classifier"));
}

#[test]
fn golden_networks() {
    let Some(golden) = golden() else { return };
    let preset = |name: &str| root().join(format!("tests/presets/{name}.toml")).display().to_string();
    unet(&preset("golden_a"), &golden.join("unet_a"));
    unet(&preset("golden_b"), &golden.join("unet_b"));
    classifier(&preset("golden_a"), &golden.join("classifier_a"));
}
