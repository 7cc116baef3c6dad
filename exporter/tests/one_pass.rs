//! Bundles of networks that make images healthy in one pass: what is written, what it computes, what is refused.

mod support;

use std::ops::ControlFlow;
use std::path::Path;

use anomalens_exporter::onnx::{ModelProto, tensor_proto};
use anomalens_exporter::parts::Part;
use anomalens_method::heal::Healed;
use anomalens_models::graph::reference::{self, Value};
use anomalens_models::graph::{Graph, Tensor};
use anomalens_models::image::UnitImage;
use anomalens_models::manifest::{FileEntry, Manifest, NETWORK, WEIGHTS};
use anomalens_models::nets;
use anomalens_models::weights::{RandomWeights, WeightsWriter};
use anomalens_runtime::bundle::Bundle;
use anomalens_runtime::engine::{self, EngineChoice, EngineOptions};
use anomalens_runtime::translate::heal;
use ndarray::{Array3, Array4, ArrayD, stack};
use ndarray_npy::WriteNpyExt;
use prost::Message;
use support::{listing, load, preset, program, run, tiny};

const PRESETS: [&str; 2] = ["tiny_vae", "tiny_fpgan"];

/// What [`anomalens_exporter::compare`] allows f32.
const F32: f64 = 1e-5;

fn bundle(name: &str, output: &Path, options: &[&str]) -> (i32, String) {
    let mut command = program();
    command.args(["bundle", "--preset"]).arg(preset(&format!("{name}.toml"))).arg("-o").arg(output);
    run(command.args(options))
}

/// The network of a preset as it is trained.
fn trained(name: &str) -> Graph {
    Part::one_pass(&load(name)).unwrap().graph
}

/// Images [C, 32, 32] with values in [0, 1] that look random and are always the same.
fn images(n: usize) -> Vec<UnitImage> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1u32 << 24) as f32
    };
    let mut image = |_| UnitImage::new("test", Array3::from_shape_simple_fn((4, 32, 32), &mut next)).unwrap();
    (0..n).map(&mut image).collect()
}

fn stacked(images: &[UnitImage]) -> Array4<f32> {
    stack(ndarray::Axis(0), &images.iter().map(|image| image.pixels().view()).collect::<Vec<_>>()).unwrap()
}

fn healed(bundle: &Path, images: &[UnitImage]) -> Healed {
    let tract = EngineOptions { choice: EngineChoice::Tract, ..EngineOptions::default() };
    let engine = engine::open(&tract).unwrap();
    let mut bundle = Bundle::open(bundle, &*engine, false).unwrap();
    heal(&mut bundle, images, 2, &mut |_, _| ControlFlow::Continue(())).unwrap()
}

fn max_abs(found: &Array4<f32>, expected: &ArrayD<f64>) -> f64 {
    assert_eq!(found.shape(), expected.shape());
    found.iter().zip(expected).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max)
}

#[test]
fn a_bundle_is_written_and_verified() {
    for name in PRESETS {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("bundle");
        let (code, text) = bundle(name, &folder, &["--random-weights", "7"]);
        assert_eq!(code, 0, "{name}: {text}");
        assert_eq!(listing(&folder), ["MODEL_CARD.md", "manifest.json", NETWORK, WEIGHTS], "{name}");
        let manifest = Manifest::read(&folder).unwrap();
        manifest.check_files(&folder).unwrap();
        assert!(manifest.verification.passed() && manifest.preset.method == load(name).method);
        assert_eq!((manifest.step_convention.as_str(), manifest.clamp.as_str()), ("none", "none"));
        for side in ["tract", "reference"] {
            let checks = manifest.verification.checks.iter();
            let compared = checks.filter(|c| c.output == "network.onnx:healthy" && c.between.contains(side));
            let batches: Vec<_> = compared.map(|check| check.batch).collect();
            assert!(batches.contains(&1) && batches.contains(&3), "{name}, {side}: {text}");
        }
        let card = std::fs::read_to_string(folder.join("MODEL_CARD.md")).unwrap();
        let params = trained(name).param_count();
        for words in [
            &*format!("`{NETWORK}`: the {}, {params} parameters", trained(name).name()),
            "compared with",
            "not for diagnostic use",
        ] {
            assert!(card.contains(words), "{name}: no '{words}' in {card}");
        }
        assert!(!card.contains("noise") && !card.contains("classifier"), "{name}: {card}");
        let (code, text) = run(program().arg("verify").arg(&folder));
        assert!(code == 0 && text.contains("network.onnx:healthy"), "{name}: {text}");
    }
}

#[test]
fn a_vaes_healthy_version_is_what_it_makes_of_the_mean() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("bundle");
    assert_eq!(bundle("tiny_vae", &folder, &["--random-weights", "7", "--gate", "quick"]).0, 0);
    let (images, graph) = (images(3), trained("tiny_vae"));
    let found = healed(&folder, &images).healthy;
    let weights = RandomWeights::new(7, graph.params());
    let with_noise = |noise: f32| {
        let (_, id) = graph.inputs().find(|(name, _)| *name == "noise").unwrap();
        let noise = ArrayD::from_elem(graph.node(id).ty.shape.concrete(3), noise);
        let x = Tensor::F32(stacked(&images).into_dyn());
        let inputs = [("x", Value::from(x)), ("noise", Value::from(Tensor::F32(noise)))];
        let outputs = reference::run(&graph, &weights, &inputs).unwrap();
        outputs.into_iter().find(|(name, _)| name == "reconstruction").unwrap().1
    };
    let off = max_abs(&found, &with_noise(0.0));
    assert!(off <= F32, "{off:.1e}");
    let sampled = max_abs(&found, &with_noise(1.0));
    assert!(sampled > 100.0 * F32, "a sampled code would pass: {sampled:.1e}");
}

#[test]
fn a_gans_healthy_version_is_of_the_healthy_domain() {
    let place = tempfile::tempdir().unwrap();
    let (images, graph) = (images(3), trained("tiny_fpgan"));
    let weights = RandomWeights::new(7, graph.params());
    let of_domain = |class: i64| {
        let y = Tensor::I64(ArrayD::from_elem(vec![3], class));
        // It is trained on [-1, 1].
        let x = Tensor::F32(stacked(&images).mapv(|v| 2.0 * v - 1.0).into_dyn());
        let outputs =
            reference::run(&graph, &weights, &[("x", Value::from(x)), ("y", Value::from(y))]).unwrap();
        outputs.into_iter().next().unwrap().1.mapv(|v| (v + 1.0) / 2.0)
    };
    for healthy in [0, 1] {
        let text = std::fs::read_to_string(preset("tiny_fpgan.toml")).unwrap();
        let path = place.path().join(format!("{healthy}.toml"));
        let from = "healthy_class = 0";
        assert!(text.contains(from));
        std::fs::write(&path, text.replace(from, &format!("healthy_class = {healthy}"))).unwrap();
        let folder = place.path().join(healthy.to_string());
        let mut command = program();
        command.args(["bundle", "--random-weights", "7", "--gate", "quick", "--preset"]).arg(path);
        let (code, text) = run(command.arg("-o").arg(&folder));
        assert_eq!(code, 0, "{text}");
        let found = healed(&folder, &images).healthy;
        let off = max_abs(&found, &of_domain(healthy));
        assert!(off <= F32, "{healthy}: {off:.1e}");
        let other = max_abs(&found, &of_domain(1 - healthy));
        assert!(other > 100.0 * F32, "{healthy}: the other domain would pass: {other:.1e}");
    }
}

/// A checkpoint of random weights, as `anomalens-train` writes one.
fn checkpoint(graph: &Graph, path: &Path) {
    let file = std::fs::File::create(path).unwrap();
    let mut writer = WeightsWriter::new(file, graph.params().to_vec()).unwrap();
    let weights = RandomWeights::new(9, graph.params());
    for param in graph.params() {
        let values = anomalens_models::graph::ParamSource::param(&weights, &param.name).unwrap();
        writer.write(&param.name, values.as_standard_layout().as_slice().unwrap()).unwrap();
    }
    writer.finish().unwrap();
}

#[test]
fn checkpoints_are_taken_and_converted() {
    for name in PRESETS {
        let place = tempfile::tempdir().unwrap();
        let [weights, pt, first, second] =
            ["network.safetensors", "network.pt", "first", "second"].map(|file| place.path().join(file));
        checkpoint(&trained(name), &weights);
        let (code, text) = run(program().arg("convert").arg(&weights).arg(&pt));
        assert_eq!(code, 0, "{text}");
        let made = |from: &Path, key: &[&str], output: &Path| {
            let network = [&["--gate", "none", "--network", from.to_str().unwrap()], key].concat();
            let (code, text) = bundle(name, output, &network);
            assert_eq!(code, 0, "{name}: {text}");
            std::fs::read(output.join(WEIGHTS)).unwrap()
        };
        let bytes = made(&pt, &[], &first);
        assert!(bytes == made(&first.join(WEIGHTS), &["--network-key", "network"], &second), "{name}");
    }
}

#[test]
fn what_does_not_go_together_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let other = place.path().join("other.safetensors");
    checkpoint(&nets::unet(&load("tiny")).unwrap(), &other);
    let (other, unet) = (other.to_str().unwrap(), tiny().join("unet/state_dict.pt"));
    let unet = unet.to_str().unwrap();
    let output = place.path().join("out");
    for name in PRESETS {
        let random = ["--random-weights", "7"];
        for (options, words) in [
            (&["--network", other][..], &["its keys are not those of", "missing"][..]),
            (&["--unet", unet], &["--unet: preset", "expected guided"]),
            (&[random[0], random[1], "--precision", "f16"], &["--precision f16", "portable"]),
            (&[random[0], random[1], "--target", "ort-cuda"], &["--target ort-cuda", "portable"]),
        ] {
            let (code, text) = bundle(name, &output, options);
            assert!(code == 1 && words.iter().all(|w| text.contains(w)), "{name}, {options:?}: {text}");
            assert!(!output.exists());
        }
    }
    let mut command = program();
    command.args(["bundle", "--preset", "tiny", "--network", other, "-o"]).arg(&output);
    let (code, text) = run(&mut command);
    assert!(
        code == 1 && text.contains("--network: preset 'tiny'") && text.contains("found guided"),
        "{text}"
    );
    assert!(!output.exists());
}

#[test]
fn triton_takes_it_and_monai_is_not_offered() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("bundle");
    assert_eq!(bundle("tiny_vae", &folder, &["--random-weights", "7", "--gate", "quick"]).0, 0);
    let package = |format: &str| {
        let output = place.path().join(format);
        let told = run(program().arg("package").arg(&folder).args(["--format", format, "-o"]).arg(&output));
        (told, output)
    };
    let ((code, text), output) = package("triton");
    assert_eq!(code, 0, "{text}");
    assert_eq!(listing(&output), ["tiny-vae_network"]);
    let config = std::fs::read_to_string(output.join("tiny-vae_network/config.pbtxt")).unwrap();
    assert!(config.contains("name: \"healthy\"") && config.contains("dims: [ 4, 32, 32 ]"), "{config}");
    let ((code, text), output) = package("monai");
    assert!(code == 1 && text.contains("vae") && text.contains("--format triton"), "{text}");
    assert!(!output.exists());
}

#[test]
fn verify_tells_another_graph_and_compares_what_is_brought() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("bundle");
    assert_eq!(bundle("tiny_fpgan", &folder, &["--random-weights", "7", "--gate", "quick"]).0, 0);
    let images = images(2);
    let mut healthy = healed(&folder, &images).healthy;
    let brought = place.path().join("brought/network");
    std::fs::create_dir_all(&brought).unwrap();
    let write = |name: &str, array: &Array4<f32>| {
        array.write_npy(std::fs::File::create(brought.join(name)).unwrap()).unwrap();
    };
    write("x.npy", &stacked(&images));
    let verify = |more: &[&str]| run(program().arg("verify").arg(&folder).args(more));
    let reference = brought.parent().unwrap().to_str().unwrap();
    for (change, expected) in [(0.0, 0), (1e-3, 1)] {
        healthy[[1, 0, 0, 0]] += change;
        write("healthy.npy", &healthy);
        let (code, text) = verify(&["--gate", "none", "--reference", reference]);
        assert!(code == expected && text.contains("vs brought"), "{change}: {text}");
    }

    // The last layer's weights are zeros of its own; the manifest has its right hash.
    let mut model = ModelProto::decode(&*std::fs::read(folder.join(NETWORK)).unwrap()).unwrap();
    let initializers = &mut model.graph.as_mut().unwrap().initializer;
    let tensor = initializers.iter_mut().rfind(|tensor| !tensor.external_data.is_empty()).unwrap();
    tensor.external_data.clear();
    tensor.data_location = Some(tensor_proto::DataLocation::Default as i32);
    tensor.raw_data = Some(vec![0; 4 * tensor.dims.iter().product::<i64>() as usize]);
    std::fs::write(folder.join(NETWORK), model.encode_to_vec()).unwrap();
    let mut manifest = Manifest::read(&folder).unwrap();
    manifest.files.insert(NETWORK.into(), FileEntry::of(&folder.join(NETWORK)).unwrap());
    std::fs::write(folder.join("manifest.json"), manifest.to_json()).unwrap();
    let (code, text) = verify(&[]);
    assert!(code == 1 && text.contains("OVER network.onnx:healthy"), "{text}");
}

#[test]
fn describe_prints_the_network() {
    for name in PRESETS {
        let (code, text) = run(program().args(["describe", "--preset"]).arg(preset(&format!("{name}.toml"))));
        assert!(code == 0 && text.contains(trained(name).name()), "{text}");
    }
}
