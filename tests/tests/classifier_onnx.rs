//! A classifier that comes as ONNX guides as the same one from a checkpoint does.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anomalens_exporter::bundle::{self, Request, Source};
use anomalens_exporter::checkpoint::Checkpoint;
use anomalens_exporter::gate::{Gate, found_engines};
use anomalens_exporter::guide::{OnnxGuide, Ports};
use anomalens_exporter::lower::{Lowering, WeightsAt, lower};
use anomalens_exporter::target::Target;
use anomalens_exporter::verify;
use anomalens_method::ddim::{ClassLabel, GradientScale, OnHost, Plan, decode_guided, encode};
use anomalens_models::nets;
use anomalens_models::preset::Preset;
use anomalens_models::schedule::{NoiseLevel, Trajectory};
use anomalens_models::weights::Precision;
use anomalens_runtime::bundle::Bundle;
use anomalens_runtime::engine::{self, Device, EngineChoice, EngineOptions};
use anomalens_tests::{max_abs, npy, tiny};
use ndarray::{Array4, Ix4};
use prost::Message;

/// The same classifier, differentiated and folded in another order, in f32; guidance moves the end by 6e-5 of 1.
const SAME: f64 = 1e-6;
const HEALTHY: ClassLabel = ClassLabel::new(0);

/// The tiny classifier as a person brings it.
fn model(folder: &Path, preset: &Preset) -> PathBuf {
    let graph = nets::classifier(preset).unwrap();
    let checkpoint = classifier();
    let lowering = Lowering {
        target: Target::Portable,
        precision: Precision::F32,
        plain: &[],
        weights: WeightsAt::Inside(&checkpoint),
        metadata: &[],
    };
    let path = folder.join("classifier.onnx");
    std::fs::write(&path, lower(&graph, &lowering).unwrap().encode_to_vec()).unwrap();
    path
}

fn classifier() -> Checkpoint {
    Checkpoint::open(&tiny().join("classifier/state_dict.pt"), None).unwrap()
}

fn write(preset: &Preset, classifier: Source, gate: Gate, output: &Path) {
    let unet = Checkpoint::open(&tiny().join("unet/state_dict.pt"), None).unwrap();
    let request = Request {
        preset,
        unet: Some(Source::Checkpoint(unet)),
        classifier: Some(classifier),
        network: None,
        output,
        target: Target::Portable,
        precision: Precision::F32,
        gate,
        held_out: None,
        note: None,
        card: None,
    };
    bundle::write(&request, &mut |_| ControlFlow::Continue(())).unwrap();
}

/// Algorithm 1 in five steps each way.
fn translated(folder: &Path, scale: f64) -> Array4<f32> {
    let options = EngineOptions { choice: EngineChoice::Tract, ..EngineOptions::default() };
    let mut bundle = Bundle::open(folder, engine::open(&options).unwrap().as_ref(), true).unwrap();
    let pair = bundle.guided().unwrap().1;
    let trajectory =
        Trajectory::respaced(&pair.schedule, "ddim10".parse().unwrap(), NoiseLevel::new(4)).unwrap();
    let plan = Plan::paper(&pair.schedule, &trajectory).unwrap();
    let (unet, guide) = (pair.unet.as_mut().unwrap(), pair.classifier.as_mut().unwrap());
    let mut stepper = OnHost::new(unet, Some(guide));
    let x = npy(&tiny().join("ddim/x0.npy")).into_dimensionality::<Ix4>().unwrap();
    let (start, scale) = (plan.start(x, None).unwrap(), GradientScale::new(scale).unwrap());
    let go = || Ok(ControlFlow::Continue(()));
    let top = encode(&plan, &mut stepper, HEALTHY, start, &mut |_, _| go()).unwrap();
    decode_guided(&plan, &mut stepper, scale, HEALTHY, top, &mut |_, _| go()).unwrap().into_pixels()
}

#[test]
fn it_guides_as_the_same_classifier_from_a_checkpoint() {
    let place = tempfile::tempdir().unwrap();
    let preset = Preset::load("tiny").unwrap();
    let [plain, brought] = ["plain", "brought"].map(|name| place.path().join(name));
    write(&preset, Source::Checkpoint(classifier()), Gate::None, &plain);
    let ports = Ports { x: "x", t: "t", logits: "logits" };
    let guide = OnnxGuide::read(&model(place.path(), &preset), &ports, &preset).unwrap();
    write(&preset, Source::Onnx(guide), Gate::Quick, &brought);
    let [expected, found] = [&plain, &brought].map(|folder| translated(folder, 100.0));
    let (apart, unguided) = (max_abs(&found, &expected), max_abs(&translated(&brought, 0.0), &expected));
    println!("{apart:.1e}; without guidance {unguided:.1e}");
    assert!(apart <= SAME, "{apart:.1e}");
    assert!(unguided > 10.0 * SAME, "no guidance passed with {unguided:.1e}");
    // What a bundle says of itself suffices to compare its graphs again.
    let request = verify::Request { bundle: &brought, reference: None, gate: Gate::Quick, held_out: None };
    let engines = found_engines(Device::Cpu, false).unwrap();
    let report = verify::verify(&request, engines, &mut |_| ControlFlow::Continue(())).unwrap();
    assert!(report.passed(), "{:?}", report.failures);
}

#[test]
fn what_does_not_fit_is_named() {
    let place = tempfile::tempdir().unwrap();
    let preset = Preset::load("tiny").unwrap();
    let model = model(place.path(), &preset);
    let mut classes = preset.clone();
    classes.guided_mut().unwrap().classifier.classes = 3;
    let mut larger = preset.clone();
    larger.image.size = 64;
    let ports = Ports { x: "x", t: "t", logits: "logits" };
    let cases: [(&str, Ports<'_>, &Preset, &[&str]); 5] = [
        ("no image", Ports { x: "x_t", ..ports }, &preset, &["no 'x_t'", "'x', 't'", "--classifier-x"]),
        ("no time", Ports { t: "sigma", ..ports }, &preset, &["no 'sigma'", "--classifier-t"]),
        ("no logits", Ports { logits: "scores", ..ports }, &preset, &["'scores'", "logits"]),
        ("classes", ports, &classes, &["output 'logits'", "[N, 2]", "[N, 3]", "classifier.classes"]),
        ("size", ports, &larger, &["input 'x'", "[N, 4, 32, 32]", "[N, 4, 64, 64]"]),
    ];
    for (case, ports, preset, parts) in cases {
        let error = OnnxGuide::read(&model, &ports, preset).map(|_| ()).expect_err(case).to_string();
        for part in parts {
            assert!(error.contains(part), "{case}, '{part}': {error}");
        }
    }
}
