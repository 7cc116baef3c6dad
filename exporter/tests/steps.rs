//! Steps as graphs: they are the networks and the update, and a bundle that has them translates as one that has not.

mod support;

use std::ops::ControlFlow;
use std::path::Path;

use anomalens_exporter::bundle::{Request, Source, write};
use anomalens_exporter::gate::{Gate, found_engines};
use anomalens_exporter::gradient::classifier_gradient;
use anomalens_exporter::lower::{Lowering, WeightsAt, lower};
use anomalens_exporter::onnx::ModelProto;
use anomalens_exporter::step::{PLAIN, Step};
use anomalens_exporter::target::Target;
use anomalens_exporter::verify::{self, Report, verify};
use anomalens_method::ddim::{ClassLabel, GradientScale, Guide, Networks, OnHost, Step as Numbers, Stepper};
use anomalens_method::translate::{Options, Steps as Visits};
use anomalens_models::graph::Graph;
use anomalens_models::image::UnitImage;
use anomalens_models::manifest::{ENCODE_STEP, FileEntry, GUIDED_STEP, MANIFEST, Manifest, WEIGHTS};
use anomalens_models::nets;
use anomalens_models::preset::{Preset, Solver};
use anomalens_models::schedule::{NoiseLevel, Timestep};
use anomalens_models::weights::{Precision, RandomWeights, Weights};
use anomalens_runtime::bundle::{Bundle, OnDevice, Steps};
use anomalens_runtime::engine::{self, Device, Engine, EngineChoice, EngineError, EngineOptions};
use anomalens_runtime::translate::translate;
use ndarray::{Array4, Axis, Slice, s};
use prost::Message;
use support::load;

/// A bundle of random weights.
fn bundle(preset: &Preset, target: Target, precision: Precision, output: &Path) -> Manifest {
    let source = |graph: &Graph| Some(Source::Random(RandomWeights::new(11, graph.params())));
    let request = Request {
        preset,
        unet: source(&nets::unet(preset).unwrap()),
        classifier: source(&nets::classifier(preset).unwrap()),
        network: None,
        output,
        target,
        precision,
        gate: Gate::Quick,
        held_out: None,
        note: None,
        card: None,
    };
    write(&request, &mut |_| ControlFlow::Continue(())).unwrap()
}

/// The same, portable, and with steps that any machine can run; `spoil` has the graphs before they are written.
fn portable(preset: &Preset, precision: Precision, folder: &Path, spoil: &dyn Fn(&str, &mut ModelProto)) {
    let mut manifest = bundle(preset, Target::Portable, precision, folder);
    let weights = Weights::open(&folder.join(WEIGHTS)).unwrap();
    let gradient = classifier_gradient(&nets::classifier(preset).unwrap()).unwrap();
    for step in [Step::encode(preset).unwrap(), Step::guided(preset, &gradient).unwrap()] {
        // What guides is f32 always.
        let precision = if step.file == GUIDED_STEP { Precision::F32 } else { precision };
        let lowering = Lowering {
            target: Target::Portable,
            precision,
            plain: PLAIN,
            weights: WeightsAt::Beside { file: WEIGHTS, locate: &|name| weights.location(name).ok() },
            metadata: &[],
        };
        let mut model = lower(&step.graph, &lowering).unwrap();
        spoil(step.file, &mut model);
        let path = folder.join(step.file);
        std::fs::write(&path, model.encode_to_vec()).unwrap();
        manifest.files.insert(step.file.to_owned(), FileEntry::of(&path).unwrap());
    }
    std::fs::write(folder.join(MANIFEST), manifest.to_json()).unwrap();
}

fn verified(folder: &Path) -> Report {
    let request = verify::Request { bundle: folder, gate: Gate::Quick, held_out: None, reference: None };
    let engines = found_engines(Device::Cpu, false).unwrap();
    verify(&request, engines, &mut |_| ControlFlow::Continue(())).unwrap()
}

/// ONNX Runtime, if there is one.
fn ort() -> Option<Box<dyn Engine>> {
    match engine::open(&EngineOptions { choice: EngineChoice::Ort, ..EngineOptions::default() }) {
        Ok(engine) => Some(engine),
        Err(why @ EngineError::LibraryNotFound { .. }) => {
            assert!(std::env::var_os("CI").is_none(), "CI must have ONNX Runtime");
            eprintln!("not tested: {why}");
            None
        }
        Err(why) => panic!("{why}"),
    }
}

#[test]
fn a_step_is_the_networks_and_the_update() {
    for precision in Precision::ALL {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("bundle");
        portable(&load("tiny"), precision, &folder, &|_, _| ());
        let report = verified(&folder);
        let steps: Vec<_> = report.checks.iter().filter(|c| c.output.contains("_step")).collect();
        for check in &steps {
            println!(
                "{} {} batch {}: {:.1e} of {:.1e}",
                check.output, check.between, check.batch, check.max_abs, check.tolerance
            );
        }
        assert!(report.failures.is_empty(), "{}", precision.name());
        // Where there is ONNX Runtime, some in a row, too.
        let rows = steps.iter().filter(|c| c.between.ends_with("in a row vs by hand")).count();
        assert_eq!(rows, usize::from(ort().is_some()));
        for file in [ENCODE_STEP, GUIDED_STEP] {
            for output in ["x_next", "slope"] {
                let name = format!("{file}:{output}");
                assert!(steps.iter().any(|c| c.output == name && c.batch == 3), "{name} of {steps:?}");
            }
        }
    }
}

#[test]
fn a_wrong_coefficient_does_not_pass() {
    let place = tempfile::tempdir().unwrap();
    // Each slice of the coefficients takes another place.
    for (case, (from, to)) in [("0,1", (0, 2)), ("1,2", (1, 0)), ("2,3", (2, 1)), ("3,4", (3, 2))] {
        let folder = place.path().join(case);
        portable(&load("tiny"), Precision::F32, &folder, &|file, model| {
            let graph = model.graph.as_mut().unwrap();
            let slices =
                graph.node.iter_mut().filter(|n| n.op_type() == "Slice" && n.name().starts_with("update/"));
            let place = |i: i64| format!("const/i64[{i}]");
            let mut found = slices.filter(|n| n.input[1] == place(from) && n.input[2] == place(from + 1));
            if file == GUIDED_STEP {
                // The first of them may be that of ε, which takes as many channels from 0.
                let node = found.next_back().expect("a slice of the coefficients");
                (node.input[1], node.input[2]) = (place(to), place(to + 1));
            }
        });
        let report = verified(&folder);
        let wrong: Vec<_> = report.failures.iter().map(|(check, _)| check.output.as_str()).collect();
        assert!(wrong.iter().all(|output| output.starts_with(GUIDED_STEP)), "{case}: {wrong:?}");
        assert!(wrong.iter().any(|output| output.ends_with("x_next")), "{case}: {wrong:?}");
    }
}

#[test]
fn for_cuda_steps_are_part_of_the_bundle() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("bundle");
    let manifest = bundle(&load("tiny"), Target::OrtCuda, Precision::F16, &folder);
    for file in [ENCODE_STEP, GUIDED_STEP] {
        assert!(manifest.has(file), "{file}");
        let model = ModelProto::decode(std::fs::read(folder.join(file)).unwrap().as_slice()).unwrap();
        let graph = model.graph.unwrap();
        // The classifier is portable f32, the U-Net is not.
        let of = |scope: &str, op: &str| {
            graph.node.iter().filter(|n| n.name().starts_with(scope) && n.op_type() == op).count()
        };
        let guided = file == GUIDED_STEP;
        assert_eq!((of("unet.", "NhwcConv") > 0, of("unet.", "Conv")), (!guided, 0));
        assert_eq!((of("classifier.", "NhwcConv"), of("classifier.", "Conv") > 0), (0, guided));
        let weight = |name: &str| graph.initializer.iter().find(|t| t.name() == name).map(|t| t.data_type());
        assert_eq!(weight("unet.input_blocks.0.0.weight"), (!guided).then_some(10), "f16");
        assert_eq!(weight("classifier.input_blocks.0.0.weight"), guided.then_some(1), "f32");
    }
    // What is for kernels that this machine lacks is imported back.
    let checks = &manifest.verification.checks;
    for output in [
        "encode_step.onnx:x_next",
        "encode_step.onnx:slope",
        "guided_step.onnx:x_next",
        "guided_step.onnx:slope",
    ] {
        let compared = checks.iter().filter(|c| c.output == output).map(|c| c.between.as_str());
        assert_eq!(compared.collect::<Vec<_>>(), ["imported back vs reference"], "{output}");
    }
    assert!(
        !bundle(&load("tiny"), Target::Portable, Precision::F32, &place.path().join("portable"))
            .has(ENCODE_STEP)
    );
}

/// Images that look random.
fn images(n: usize) -> Array4<f32> {
    let mut state = 1u32;
    Array4::from_shape_simple_fn((n, 4, 32, 32), || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1u32 << 24) as f32
    })
}

/// Steps upwards and downwards, guided or not, of both solvers.
fn numbers() -> Vec<(Numbers, GradientScale)> {
    let alpha_bars = [0.999, 0.99, 0.95, 0.9, 0.95, 0.99];
    let step = |i: usize| Numbers {
        from_alpha_bar: alpha_bars[i],
        to_alpha_bar: alpha_bars[i + 1],
        previous_alpha_bar: (i == 2 || i == 4).then(|| alpha_bars[i - 1]),
        to: NoiseLevel::new(i + 1),
        unet: Timestep::new(10 * i),
        classifier: Timestep::new(i),
        guided: true,
        clip: false,
    };
    // The random classifier's gradients are small.
    let scales = [0.0, 0.0, 0.0, 1e4, 1e4].map(|s| GradientScale::new(s).unwrap());
    (0..5).map(step).zip(scales).collect()
}

fn walked(stepper: &mut dyn Stepper, x: Array4<f32>) -> Array4<f32> {
    stepper.begin(x).unwrap();
    for (step, scale) in numbers() {
        stepper.step(&step, scale, ClassLabel::new(1)).unwrap();
    }
    stepper.images().unwrap()
}

fn apart(a: &Array4<f32>, b: &Array4<f32>) -> f32 {
    assert_eq!(a.dim(), b.dim());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn on_the_device_is_as_on_the_host() {
    let Some(engine) = ort() else { return };
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("bundle");
    portable(&load("tiny"), Precision::F32, &folder, &|_, _| ());
    let mut bundle = Bundle::open(&folder, &*engine, true).unwrap();
    assert!(bundle.engine.ends_with("steps on the device"), "{}", bundle.engine);
    let pair = bundle.guided().unwrap().1;
    let guide = |pair: &mut anomalens_runtime::bundle::GuidedPair, on_device: bool, x: Array4<f32>| {
        let net = pair.unet.as_mut().unwrap();
        let guide = pair.classifier.as_mut().map(|guide| guide as &mut dyn Guide);
        match on_device {
            false => walked(&mut OnHost::new(net, guide), x),
            true => walked(&mut OnDevice::new(pair.steps.as_mut().unwrap(), Networks { net, guide }), x),
        }
    };
    let x = images(3);
    let expected = guide(pair, false, x.clone());
    let found = guide(pair, true, x.clone());
    let largest = expected.iter().fold(0.0f32, |max, v| max.max(v.abs()));
    println!("apart {:.1e} of {largest}", apart(&found, &expected));
    assert!(apart(&expected, &x) > 0.1, "the steps change something");
    // Five steps, each rounded once in f64 there and some times in f32 here.
    assert!(apart(&found, &expected) < 1e-5 * largest.max(1.0), "{}", apart(&found, &expected));
    // Fewer images are filled up to the batch that was prepared, and are what they are in a full one, bit by bit.
    for n in [1, 2] {
        let rest = guide(pair, true, x.slice(s![..n, .., .., ..]).to_owned());
        assert_eq!(rest, found.slice_axis(Axis(0), Slice::from(..n)).to_owned());
    }
    // A larger batch is prepared anew.
    let more = guide(pair, true, images(4));
    assert!(apart(&more.slice_axis(Axis(0), Slice::from(..3)).to_owned(), &found) < 1e-5 * largest.max(1.0));
}

#[test]
fn translations_are_those_of_the_networks() {
    let Some(engine) = ort() else { return };
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("bundle");
    let preset = load("tiny");
    portable(&preset, Precision::F32, &folder, &|_, _| ());
    let units: Vec<_> =
        images(3).outer_iter().map(|image| UnitImage::new("test", image.to_owned()).unwrap()).collect();
    let options = |solver| Options {
        noise_level: NoiseLevel::new(200),
        solver,
        // Steps without the classifier are made by another graph than those with it.
        guidance_interval: Some("50:150".parse().unwrap()),
        steps: Visits::Spaced { n: 6, spacing: 1.0 },
        scale: GradientScale::new(1e3).unwrap(),
        batch: 2,
        ..Options::defaults(&preset).unwrap()
    };
    let made = |bundle: &mut Bundle, solver| {
        translate(bundle, &units, &options(solver), &mut |_| ControlFlow::Continue(())).unwrap().healthy
    };
    let mut bundle = Bundle::open(&folder, &*engine, true).unwrap();
    let found = [Solver::Euler, Solver::Ab2].map(|solver| made(&mut bundle, solver));
    assert!(bundle.guided().unwrap().1.steps.take().is_some());
    let expected = [Solver::Euler, Solver::Ab2].map(|solver| made(&mut bundle, solver));
    for (found, expected) in found.iter().zip(&expected) {
        let largest = expected.iter().fold(0.0f32, |max, v| max.max(v.abs()));
        println!("apart {:.1e} of {largest}", apart(found, expected));
        assert!(apart(found, expected) < 1e-4 * largest.max(1.0), "{}", apart(found, expected));
    }
    assert!(apart(&expected[0], &expected[1]) > 1e-3, "the solvers differ");
    // A step that is not the preset's is refused.
    std::fs::copy(folder.join(ENCODE_STEP), folder.join(GUIDED_STEP)).unwrap();
    let mut manifest = Manifest::read(&folder).unwrap();
    manifest.files.insert(GUIDED_STEP.to_owned(), FileEntry::of(&folder.join(GUIDED_STEP)).unwrap());
    assert!(
        Steps::load(&folder, &manifest, &*engine)
            .is_err_and(|e| e.to_string().contains("input eps is missing"))
    );
}
