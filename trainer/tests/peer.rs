//! The plain PyTorch step that the trainer's speed is measured against (bench/peers) computes what the trainer does:
//! output, loss and every gradient, on the trainer's own weights, handed over as a safetensors file.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use anomalens_models::graph::ParamSource;
use anomalens_models::preset::Preset;
use anomalens_models::weights::RandomWeights;
use anomalens_trainer::batches::Batch;
use anomalens_trainer::checkpoint::encode;
use anomalens_trainer::interpret::{self, Precision};
use anomalens_trainer::losses::Diffusion;
use anomalens_trainer::task::{GuidedTask, Network, Task};
use anomalens_trainer::weights::{Named, tensor};
use serde_json::{Map, Value};
use tch::{Device, Kind, Tensor};

/// Outputs of order 1 by two ways through one library, in f32.
const OUTPUT: f64 = 2e-5;
/// The bound and the gradient, of the largest value: sums over 16 thousand pixels.
const RELATIVE: f64 = 1e-4;

#[test]
fn the_peer_computes_what_the_trainer_does() {
    let Some(python) = std::env::var_os("ANOMALENS_PYTHON_TORCH") else {
        assert!(std::env::var_os("CI").is_none(), "CI must have a Python with torch");
        eprintln!("SKIPPED: ANOMALENS_PYTHON_TORCH is not set; it names a Python with torch 2.11 and numpy");
        return;
    };
    let preset = Preset::load("demo").unwrap();
    let task = GuidedTask::new(Network::Ddpm, &preset, Device::Cpu).unwrap();
    // Random in every layer: a fresh network's output is zero.
    let random = RandomWeights::new(1, task.graph().params());
    let weight = |name: &str| tensor(&random.param(name).unwrap()).set_requires_grad(true);
    let params = task.graph().params().iter().map(|p| (p.name.clone(), weight(&p.name))).collect();
    let params = Named::new(params);

    tch::manual_seed(1);
    let options = (Kind::Float, Device::Cpu);
    let batch =
        Batch { images: Tensor::rand([3, 4, 64, 64], options), labels: Tensor::from_slice(&[0i64, 1, 1]) };
    let noise = batch.images.randn_like();
    // The bound's first step is another term than the others.
    let t = Tensor::from_slice(&[0i64, 1, 700]);
    let schedule = anomalens_models::schedule::Schedule::new(&preset.guided().unwrap().schedule).unwrap();
    let x_t = Diffusion::new(&schedule, Device::Cpu).noised(&batch.images, &t, &noise);
    let inputs = [("x", &x_t), ("t", &t), ("y", &batch.labels)];
    let out = interpret::run(task.graph(), &params, &inputs, Precision::F32).unwrap().remove(0);
    let loss = task.loss_at(&params, &batch, &t, &noise, Precision::F32).unwrap();
    loss.total.backward();

    let place = tempfile::tempdir().unwrap();
    let write = |name: &str, tensors: &[(String, &Tensor)]| {
        std::fs::write(place.path().join(name), encode(tensors, HashMap::new())).unwrap();
    };
    let figures: Vec<Tensor> = loss.figures.iter().map(|f| Tensor::from(f.value as f32)).collect();
    let gradients: Vec<_> = params.iter().map(|(name, p)| (format!("grad.{name}"), p.grad())).collect();
    let mut case: Vec<(String, &Tensor)> =
        [("x0", &batch.images), ("noise", &noise), ("t", &t), ("y", &batch.labels), ("out", &out)]
            .map(|(name, tensor)| (name.to_owned(), tensor))
            .into();
    case.extend(loss.figures.iter().zip(&figures).map(|(f, tensor)| (f.name.to_owned(), tensor)));
    case.extend(gradients.iter().map(|(name, tensor)| (name.clone(), tensor)));
    write("case.safetensors", &case);
    write("model.safetensors", &params.iter().map(|(name, p)| (name.to_owned(), p)).collect::<Vec<_>>());

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bench/peers/train.py");
    let output = Command::new(python).arg(script).arg("check").arg(place.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    println!("peer: {}", text.trim());
    let found: Map<String, Value> = serde_json::from_str(&text).unwrap();
    let found = |name: &str| found[name].as_f64().unwrap();
    assert_eq!(found("parameters"), 1_115_944.0, "the demo's U-Net, docs of models/presets/demo.toml");
    for (name, most) in [("output", OUTPUT), ("mse", OUTPUT), ("bound", RELATIVE), ("gradient", RELATIVE)] {
        assert!(found(name) <= most, "{name}: {:.1e}", found(name));
    }
    // The comparer notices a timestep that is off by one.
    assert!(found("output_of_another_timestep") > OUTPUT, "a wrong timestep passes");
}
