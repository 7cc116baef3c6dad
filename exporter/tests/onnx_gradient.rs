//! The gradient of an ONNX file: what is written, against the graph that the bundle's is made of; and what is refused.

mod support;

use std::path::{Path, PathBuf};

use anomalens_exporter::compare;
use anomalens_exporter::gradient::{Kind, classifier_gradient};
use anomalens_exporter::import::import_file;
use anomalens_exporter::onnx_gradient::{Request, write};
use anomalens_models::graph::reference::{self, Value};
use anomalens_models::graph::{Graph, ParamSource};
use anomalens_models::nets;
use anomalens_models::weights::RandomWeights;
use ndarray::ArrayD;
use prost::Message;
use support::load;
use support::onnx::written;

/// Both in f64; what is known beforehand, the embedding's frequencies and scales, is stored in f32.
const TOLERANCE: f64 = 1e-6;
const BATCH: usize = 3;

/// The tiny classifier as an ONNX file, its weights beside it.
fn model(folder: &Path, classifier: &Graph, weights: &RandomWeights) -> PathBuf {
    let path = folder.join("classifier.onnx");
    std::fs::write(&path, written(classifier, weights, folder).encode_to_vec()).unwrap();
    path
}

fn request<'a>(model: &'a Path, out: &'a Path) -> Request<'a> {
    Request { model, input: "x", output: "logits", kind: Kind::LogProb, class_input: "y", out }
}

/// Logits and gradient by the interpreter, of the class 1.
fn outputs(graph: &Graph, params: &dyn ParamSource) -> Vec<(String, ArrayD<f64>)> {
    let (_, x) = graph.inputs().find(|(name, _)| *name == "x").unwrap();
    let shape = graph.node(x).ty.shape.concrete(BATCH);
    let mut place = 0.0f64;
    let x = ArrayD::from_shape_simple_fn(shape, || {
        place += 1.0;
        (place * 12.9898).sin()
    });
    let t = Value::Int(ArrayD::from_elem(vec![BATCH], 400));
    let y = Value::Int(ArrayD::from_elem(vec![BATCH], 1));
    reference::run(graph, params, &[("x", Value::Float(x)), ("t", t), ("y", y)]).unwrap()
}

#[test]
fn the_file_computes_what_the_bundles_graph_computes() {
    let folder = tempfile::tempdir().unwrap();
    let classifier = nets::classifier(&load("tiny")).unwrap();
    let weights = RandomWeights::new(3, classifier.params());
    let model = model(folder.path(), &classifier, &weights);
    let expected = outputs(&classifier_gradient(&classifier).unwrap(), &weights);
    let apart = |kind: Kind| {
        let out = folder.path().join(format!("{kind}.onnx"));
        let report = write(&Request { kind, ..request(&model, &out) }).unwrap();
        assert_eq!(std::fs::metadata(&out).unwrap().len(), report.bytes as u64);
        let back = import_file(&out).unwrap();
        let found = outputs(&back.graph, &back);
        let off = |i: usize| {
            assert_eq!(found[i].0, expected[i].0);
            compare::difference(&found[i].1, &expected[i].1).unwrap().max_rel
        };
        (off(0), off(1))
    };
    let (logits, gradient) = apart(Kind::LogProb);
    assert!(logits <= TOLERANCE && gradient <= TOLERANCE, "{logits:.1e}, {gradient:.1e}");
    let (logits, gradient) = apart(Kind::Logit);
    assert!(logits <= TOLERANCE && gradient > 1e3 * TOLERANCE, "{logits:.1e}, {gradient:.1e}");
}

#[test]
fn what_has_no_gradient_is_named_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let classifier = nets::classifier(&load("tiny")).unwrap();
    let model = model(folder.path(), &classifier, &RandomWeights::new(3, classifier.params()));
    let (out, there) = (folder.path().join("gradient.onnx"), folder.path().join("there.onnx"));
    std::fs::write(&there, "mine").unwrap();
    let plain = request(&model, &out);
    let cases: [(&str, Request<'_>, &[&str]); 6] = [
        ("no input", Request { input: "image", ..plain }, &["'image'", "it has x"]),
        ("an integer", Request { input: "t", ..plain }, &["'t'", "floating-point", "it has x"]),
        ("no output", Request { output: "age", ..plain }, &["no output 'age'", "logits"]),
        ("a name twice", Request { class_input: "t", ..plain }, &["'t' already", "another name"]),
        ("no model", Request { model: Path::new("nowhere.onnx"), ..plain }, &["nowhere.onnx"]),
        ("a file there", Request { out: &there, ..plain }, &["there.onnx"]),
    ];
    for (case, request, parts) in cases {
        let error = write(&request).map(|report| report.bytes).expect_err(case).to_string();
        for part in parts {
            assert!(error.contains(part), "{case}, '{part}': {error}");
        }
        assert!(!out.exists(), "{case}");
    }
    assert_eq!(std::fs::read_to_string(&there).unwrap(), "mine");
}
