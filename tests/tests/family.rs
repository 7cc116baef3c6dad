//! Every architecture of guided-diffusion against OpenAI's own package of it: each network is built by both, from one
//! state dict with random numbers in every layer.
//!
//! `ANOMALENS_PYTHON_TORCH` names a Python that has torch and guided-diffusion-sdk.

use std::collections::BTreeMap;
use std::path::Path;

use anomalens_exporter::gradient::classifier_gradient;
use anomalens_models::graph::reference::{Value, run};
use anomalens_models::graph::{Graph, ParamSpec};
use anomalens_models::manifest::{CLASSIFIER_GRADIENT, UNET};
use anomalens_models::nets;
use anomalens_models::preset::Preset;
use anomalens_models::weights::check_keys;
use anomalens_tests::engines::{engines, write_bundle};
use anomalens_tests::family::{Member, members, sizes};
use anomalens_tests::{inputs, max_abs, npy, oracle, params};
use ndarray::ArrayD;
use serde_json::json;
use tempfile::TempDir;

/// Outputs and logits, whose values are of order 1: PyTorch computes them in f32, which is a few 1e-6 from f64.
const OUTPUT: f64 = 1e-5;
/// Gradients, in units of their largest value, which is about 1e-2: f32 again, and fewer terms than an output has.
const GRADIENT: f64 = 1e-4;
/// A wrong switch is at least so many tolerances away.
const NOTICED: f64 = 10.0;

/// What OpenAI's networks have and compute, a folder for each; none without a Python for it.
fn reference(members: &[Member], compute: bool) -> Option<TempDir> {
    let case = |m: &Member| json!({"name": m.name, "network": m.network, "arguments": m.arguments, "compute": compute});
    oracle("reference_networks.py", &members.iter().map(case).collect::<Vec<_>>())
}

/// A member's network, as it is trained.
fn graph(member: &Member, preset: &Preset) -> Graph {
    match member.network {
        "unet" => nets::unet(preset).unwrap(),
        _ => nets::classifier(preset).unwrap(),
    }
}

/// How far outputs are from those of the folder, in units of the tolerance.
fn distance(outputs: &[(String, ArrayD<f32>)], folder: &Path) -> f64 {
    let apart = |(name, found): &(String, ArrayD<f32>)| {
        let file = if name == "gradient" { "grad" } else { name };
        let expected = npy(&folder.join(format!("{file}.npy")));
        let largest = expected.iter().fold(0.0f64, |most, v| most.max(f64::from(v.abs())));
        let tolerance = if name == "gradient" { GRADIENT * largest } else { OUTPUT };
        max_abs(found, &expected) / tolerance
    };
    // A NaN must not be lost in a maximum.
    outputs.iter().map(apart).fold(0.0, |most, d| if d.is_nan() || d > most { d } else { most })
}

/// How far the network of a wrong preset is from the folder's, in units of the tolerance; infinitely, where the
/// checkpoint is refused.
fn distance_of_wrong(member: &Member, folder: &Path) -> f64 {
    let network = graph(member, &member.wrong);
    if check_keys("", "", &shapes(folder), network.params()).is_err() {
        return f64::INFINITY;
    }
    let network = match member.network {
        "unet" => network,
        _ => classifier_gradient(&network).unwrap(),
    };
    let weights = params(&folder.join("state_dict.pt"), network.params());
    let inputs: Vec<(&str, Value)> = inputs(folder).into_iter().map(|(n, v)| (n, v.into())).collect();
    let outputs = run(&network, &weights, &inputs).unwrap();
    let outputs: Vec<_> = outputs.into_iter().map(|(name, v)| (name, v.mapv(|v| v as f32))).collect();
    distance(&outputs, folder)
}

fn shapes(folder: &Path) -> BTreeMap<String, Vec<usize>> {
    serde_json::from_slice(&std::fs::read(folder.join("shapes.json")).unwrap()).unwrap()
}

#[test]
fn every_switch_computes_what_openais_networks_compute() {
    let members = members();
    let Some(oracle) = reference(&members, true) else { return };
    let mut failures = Vec::new();
    for member in &members {
        let folder = oracle.path().join(member.name);
        let checkpoint = folder.join("state_dict.pt");
        let bundle = folder.join("bundle");
        let file = if member.network == "unet" {
            write_bundle(&member.preset, Some(&checkpoint), None, &bundle);
            UNET
        } else {
            write_bundle(&member.preset, None, Some(&checkpoint), &bundle);
            CLASSIFIER_GRADIENT
        };
        for engine in engines() {
            let mut session = engine.load(&bundle.join(file)).unwrap();
            let outputs = session.run(&inputs(&folder)).unwrap();
            let apart = distance(&outputs, &folder);
            println!(
                "{} {}, {}: {apart:.2} of the tolerance",
                member.network,
                member.name,
                engine.describe()
            );
            if apart.is_nan() || apart > 1.0 {
                failures.push(format!("{}, {}: {apart:.1} tolerances", member.name, engine.describe()));
            }
        }
        let wrong = distance_of_wrong(member, &folder);
        println!("{} {}, wrong: {wrong:.0} tolerances", member.network, member.name);
        if wrong < NOTICED {
            failures.push(format!("{}: a wrong switch is only {wrong:.1} tolerances away", member.name));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

/// From 64 to 512 pixels, as guided-diffusion itself chooses the levels.
#[test]
fn every_size_has_openais_names_and_shapes() {
    let members = sizes();
    let Some(oracle) = reference(&members, false) else { return };
    for member in &members {
        let found = shapes(&oracle.path().join(member.name));
        let params: Vec<ParamSpec> = graph(member, &member.preset).params().to_vec();
        check_keys(member.name, member.network, &found, &params).unwrap();
        println!("{}: {} tensors", member.name, found.len());
    }
}
