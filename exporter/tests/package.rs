//! Bundles in the layouts of other programs, read by those programs' own readers.

mod support;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anomalens_exporter::onnx::{ModelProto, ValueInfoProto, tensor_shape_proto::dimension, type_proto};
use anomalens_method::translate::Options;
use anomalens_models::image::UnitImage;
use anomalens_models::manifest::{
    CLASSIFIER_GRADIENT, FileEntry, MANIFEST, MODEL_CARD, Manifest, UNET, WEIGHTS,
};
use anomalens_runtime::bundle::Bundle;
use anomalens_runtime::engine::{self, EngineChoice, EngineOptions};
use anomalens_runtime::translate::translate;
use ndarray::{Array2, Array3};
use ndarray_npy::{read_npy, write_npy};
use prost::Message;
use serde_json::{Value, json};
use support::{listing, program, python, python_with, run, tiny};

/// A bundle of the golden networks; without a classifier where `options` has none.
fn bundle(folder: &Path, classifier: bool, options: &[&str]) {
    let mut command = program();
    command.args(["bundle", "--preset", "tiny", "-o"]).arg(folder);
    command.arg("--unet").arg(tiny().join("unet/state_dict.pt"));
    if classifier {
        command.arg("--classifier").arg(tiny().join("classifier/state_dict.pt"));
    }
    let (code, text) = run(command.args(options));
    assert_eq!(code, 0, "{text}");
}

fn package(bundle: &Path, format: &str, output: &Path) -> (i32, String) {
    run(program().arg("package").arg(bundle).args(["--format", format, "-o"]).arg(output))
}

/// Every file below a folder, by its path in it.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path).iter().map(|file| path.join(file))),
            false => found.push(path.clone()),
        }
    }
    let mut found: Vec<_> = found.iter().map(|p| p.strip_prefix(folder).unwrap().to_owned()).collect();
    found.sort();
    found
}

#[test]
fn what_is_copied_is_what_the_manifest_says() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("bundle");
    bundle(&folder, true, &["--gate", "quick"]);
    let manifest = Manifest::read(&folder).unwrap();
    let hash = Manifest::bundle_hash(&folder).unwrap();
    for (format, copies) in [
        (
            "triton",
            &[
                ("tiny_unet/1/model.onnx", UNET),
                ("tiny_unet/1/weights.safetensors", WEIGHTS),
                ("tiny_unet/MODEL_CARD.md", MODEL_CARD),
                ("tiny_unet/manifest.json", MANIFEST),
                ("tiny_classifier_gradient/1/model.onnx", CLASSIFIER_GRADIENT),
                ("tiny_classifier_gradient/1/weights.safetensors", WEIGHTS),
                ("tiny_classifier_gradient/MODEL_CARD.md", MODEL_CARD),
                ("tiny_classifier_gradient/manifest.json", MANIFEST),
            ][..],
        ),
        (
            "monai",
            &[
                ("models/unet.onnx", UNET),
                ("models/classifier_gradient.onnx", CLASSIFIER_GRADIENT),
                ("models/weights.safetensors", WEIGHTS),
                ("docs/manifest.json", MANIFEST),
            ],
        ),
    ] {
        let output = place.path().join(format);
        let (code, text) = package(&folder, format, &output);
        assert_eq!(code, 0, "{format}: {text}");
        for (path, file) in copies {
            let found = FileEntry::of(&output.join(path)).unwrap();
            let expected = manifest.files.get(*file).map_or(&hash, |entry| &entry.sha256);
            assert_eq!(found.sha256, *expected, "{format}: {path}");
        }
        let written: &[&str] = match format {
            "triton" => &["tiny_unet/config.pbtxt", "tiny_classifier_gradient/config.pbtxt"],
            _ => &["LICENSE", "configs/inference.json", "configs/metadata.json", "docs/README.md"],
        };
        let mut expected: Vec<_> =
            copies.iter().map(|(path, _)| path).chain(written).map(PathBuf::from).collect();
        expected.sort();
        assert_eq!(files(&output), expected, "{format}");
        // A second time it would be written over something.
        let (code, text) = package(&folder, format, &output);
        assert!(code == 1 && text.contains("expected a new or an empty folder"), "{text}");
    }
}

#[test]
fn what_is_not_verified_or_damaged_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let (folder, output) = (place.path().join("bundle"), place.path().join("out"));
    bundle(&folder, true, &["--gate", "none"]);
    for format in ["triton", "monai"] {
        let (code, text) = package(&folder, format, &output);
        let command = format!("`anomalens-export verify {}`", folder.display());
        assert!(
            code == 1 && text.contains("not verified (gate 'none')") && text.contains(&command),
            "{text}"
        );
    }
    std::fs::remove_dir_all(&folder).unwrap();
    bundle(&folder, true, &["--gate", "quick"]);
    for file in [UNET, WEIGHTS, CLASSIFIER_GRADIENT, MODEL_CARD] {
        let whole = std::fs::read(folder.join(file)).unwrap();
        let mut bytes = whole.clone();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(folder.join(file), bytes).unwrap();
        for format in ["triton", "monai"] {
            let (code, text) = package(&folder, format, &output);
            assert!(code == 1 && text.contains(&format!("{file}: found")), "{format}, {file}: {text}");
        }
        std::fs::write(folder.join(file), whole).unwrap();
    }
    assert_eq!(listing(place.path()), ["bundle"]);
}

/// Prints a config.pbtxt as JSON, every field of it, by Triton's own definition.
const READ_CONFIG: &str = "
import sys
from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2
config = text_format.Parse(open(sys.argv[1]).read(), model_config_pb2.ModelConfig())
print(json_format.MessageToJson(config, preserving_proto_field_name=True))
";

/// What Triton must be told of a tensor: all but the first dimension, which is the batch.
fn expected_tensor(info: &ValueInfoProto) -> Value {
    let Some(type_proto::Value::TensorType(tensor)) = &info.r#type.as_ref().unwrap().value else { panic!() };
    let dims = &tensor.shape.as_ref().unwrap().dim;
    assert!(matches!(dims[0].value, Some(dimension::Value::DimParam(_))));
    // 64-bit numbers are strings in protobuf's JSON.
    let dims: Vec<String> = dims[1..]
        .iter()
        .map(|dim| match dim.value {
            Some(dimension::Value::DimValue(len)) => len.to_string(),
            _ => panic!("{}: {dims:?}", info.name()),
        })
        .collect();
    let dtype = if tensor.elem_type() == 1 { "TYPE_FP32" } else { "TYPE_INT64" };
    match dims.is_empty() {
        true => json!({"name": info.name(), "data_type": dtype, "dims": ["1"], "reshape": {}}),
        false => json!({"name": info.name(), "data_type": dtype, "dims": dims}),
    }
}

#[test]
fn triton_reads_what_the_graphs_are() {
    let Some(interpreter) = python_with("tritonclient.grpc.model_config_pb2") else { return };
    let place = tempfile::tempdir().unwrap();
    let (folder, output) = (place.path().join("bundle"), place.path().join("repository"));
    bundle(&folder, true, &["--gate", "quick"]);
    assert_eq!(package(&folder, "triton", &output).0, 0);
    for (model, ports) in [("tiny_unet", 3 + 1), ("tiny_classifier_gradient", 3 + 2)] {
        let config = output.join(model).join("config.pbtxt");
        let found: Value = serde_json::from_str(&python(&interpreter, READ_CONFIG, &[&config])).unwrap();
        let onnx = std::fs::read(output.join(model).join("1/model.onnx")).unwrap();
        let graph = ModelProto::decode(onnx.as_slice()).unwrap().graph.unwrap();
        let tensors = |infos: &[ValueInfoProto]| infos.iter().map(expected_tensor).collect::<Vec<_>>();
        let expected = json!({
            "name": model,
            "backend": "onnxruntime",
            "max_batch_size": 8,
            "input": tensors(&graph.input),
            "output": tensors(&graph.output),
            "dynamic_batching": {},
        });
        assert_eq!(found, expected);
        assert_eq!(graph.input.len() + graph.output.len(), ports);
    }
    // What is not Triton's is seen.
    let config = output.join("tiny_unet/config.pbtxt");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("max_batch_size", "max_batch")).unwrap();
    let refused =
        std::process::Command::new(&interpreter).args(["-c", READ_CONFIG]).arg(&config).output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("max_batch"));
}

/// Checks metadata.json, runs inference.json by MONAI, and prints what its specification wants to be there.
const RUN_MONAI: &str = "
import json, sys
import monai.bundle
from monai.bundle.utils import DEFAULT_METADATA
root, image, output = sys.argv[1:]
config, meta = root + '/configs/inference.json', root + '/configs/metadata.json'
paths = {'bundle_root': root, 'image_file': image, 'output_dir': output}
workflow = monai.bundle.ConfigWorkflow(config_file=config, meta_file=meta, workflow_type=None, **paths)
workflow.initialize()
metadata = workflow.parser['_meta_']
missing = set(DEFAULT_METADATA) - set(metadata) | set(workflow.check_properties())
wanted = {'type', 'format', 'modality', 'num_channels', 'spatial_shape', 'dtype', 'value_range', 'is_patch_data', 'channel_def'}
for tensors in metadata['network_data_format'].values():
    for tensor in tensors.values():
        missing |= wanted - set(tensor)
print(json.dumps(sorted(missing)))
monai.bundle.run(config_file=config, meta_file=meta, **paths)
";

/// MONAI's expressions and ONNX Runtime of Python against the method and the engines of Rust: f32 networks, a hundred steps
/// or fewer. Without guidance the map differs by 26 times as much.
const MAP: f32 = 1e-4;

#[test]
fn monai_translates_as_the_runtime_does() {
    let Some(interpreter) = python_with("onnxruntime, monai.bundle") else { return };
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("bundle");
    // Words that MONAI would evaluate, and fail.
    bundle(&folder, true, &["--gate", "quick", "--note", "$1 / 0"]);
    let manifest = Manifest::read(&folder).unwrap();
    let size = manifest.preset.image.size;
    let pixels = Array3::from_shape_fn((4, size, size), |(c, h, w)| ((c + 2 * h + 3 * w) % 17) as f32 / 16.0);
    let image = place.path().join("image.npy");
    write_npy(&image, &pixels).unwrap();

    let engine =
        engine::open(&EngineOptions { choice: EngineChoice::Auto, ..EngineOptions::default() }).unwrap();
    let expected = |scale: Option<f64>| {
        let mut bundle = Bundle::open(&folder, engine.as_ref(), false).unwrap();
        let mut options = Options::defaults(&manifest.preset).unwrap();
        if let Some(scale) = scale {
            options.scale = anomalens_method::ddim::GradientScale::new(scale).unwrap();
        }
        let images = [UnitImage::new("test", pixels.clone()).unwrap()];
        let done = translate(&mut bundle, &images, &options, &mut |_| ControlFlow::Continue(())).unwrap();
        done.maps[0].values().clone()
    };
    let (guided, free) = (expected(None), expected(Some(0.0)));
    let apart = |a: &Array2<f32>, b: &Array2<f32>| (a - b).iter().fold(0.0f32, |max, v| max.max(v.abs()));
    assert!(apart(&guided, &free) > 10.0 * MAP, "{}", apart(&guided, &free));

    let (monai, output) = (place.path().join("monai"), place.path().join("eval"));
    assert_eq!(package(&folder, "monai", &monai).0, 0);
    let printed = python(&interpreter, RUN_MONAI, &[&monai, &image, &output]);
    assert!(printed.lines().any(|line| line == "[]"), "missing: {printed}");
    let map: Array2<f32> = read_npy(output.join("anomaly_map.npy")).unwrap();
    println!("{:.1e} of {:.1e}", apart(&map, &guided), apart(&guided, &(&guided * 0.0)));
    assert!(apart(&map, &guided) <= MAP, "{}", apart(&map, &guided));
    let healthy: Array3<f32> = read_npy(output.join("healthy.npy")).unwrap();
    assert_eq!(healthy.dim(), pixels.dim());

    // Without a classifier nothing guides.
    let (alone, monai, output) =
        (place.path().join("alone"), place.path().join("monai-alone"), place.path().join("eval-alone"));
    bundle(&alone, false, &["--gate", "quick"]);
    assert_eq!(package(&alone, "monai", &monai).0, 0);
    python(&interpreter, RUN_MONAI, &[&monai, &image, &output]);
    let map: Array2<f32> = read_npy(output.join("anomaly_map.npy")).unwrap();
    assert!(apart(&map, &free) <= MAP, "{}", apart(&map, &free));
}
