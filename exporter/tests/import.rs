//! What is lowered comes back as it was, and what cannot come back says why.

mod support;

use std::path::Path;

use anomalens_exporter::compare;
use anomalens_exporter::gradient::classifier_gradient;
use anomalens_exporter::import::{import, import_file};
use anomalens_exporter::onnx::attribute_proto::AttributeType;
use anomalens_exporter::onnx::tensor_proto::{DataLocation, DataType};
use anomalens_exporter::onnx::tensor_shape_proto::dimension;
use anomalens_exporter::onnx::{
    AttributeProto, ModelProto, NodeProto, StringStringEntryProto, TensorProto, ValueInfoProto, type_proto,
};
use anomalens_models::graph::reference::{self, Value};
use anomalens_models::graph::{DType, Graph, ParamSource, Tensor};
use anomalens_models::nets;
use anomalens_models::preset::Method;
use anomalens_models::weights::RandomWeights;
use ndarray::{ArrayD, IxDyn};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use support::load;
use support::onnx::written;

/// The same operations on the same numbers in f64; only the order of sums differs, over some hundred layers.
const F64: f64 = 1e-10;
const BATCH: usize = 2;

fn inputs(graph: &Graph) -> Vec<(&str, Value)> {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let input = |(name, id): (_, _)| {
        let ty = &graph.node(id).ty;
        let shape = IxDyn(&ty.shape.concrete(BATCH));
        let value = match ty.dtype {
            DType::I64 => {
                Tensor::I64(ArrayD::from_shape_fn(shape, |i| if name == "t" { 400 * i[0] as i64 } else { 1 }))
            }
            DType::F32 => {
                Tensor::F32(ArrayD::from_shape_simple_fn(shape, || StandardNormal.sample(&mut rng)))
            }
        };
        (name, Value::from(value))
    };
    graph.inputs().map(input).collect()
}

/// The worst difference between two graphs' outputs, in units of the output's size.
fn apart(a: &Graph, a_params: &dyn ParamSource, b: &Graph, b_params: &dyn ParamSource) -> f64 {
    let (found, expected) =
        (reference::run(a, a_params, &inputs(a)).unwrap(), reference::run(b, b_params, &inputs(b)).unwrap());
    assert_eq!(found.len(), expected.len());
    let mut worst = 0.0f64;
    for ((name, found), (other, expected)) in found.iter().zip(&expected) {
        assert_eq!(name, other);
        worst = worst.max(compare::difference(found, expected).unwrap().max_rel);
    }
    worst
}

#[test]
fn what_is_lowered_comes_back() {
    for name in ["tiny", "golden_a", "golden_b", "demo-vae", "demo-fpgan"] {
        let preset = load(name);
        let graphs = match preset.method {
            Method::Guided(_) => {
                let classifier = nets::classifier(&preset).unwrap();
                vec![nets::unet(&preset).unwrap(), classifier_gradient(&classifier).unwrap()]
            }
            Method::Vae(_) => [nets::vae, nets::one_pass].map(|net| net(&preset).unwrap()).into(),
            Method::FixedPointGan(_) => {
                [nets::fixed_point_generator, nets::one_pass].map(|net| net(&preset).unwrap()).into()
            }
        };
        for graph in graphs {
            let folder = tempfile::tempdir().unwrap();
            let weights = RandomWeights::new(3, graph.params());
            let back = import(written(&graph, &weights, folder.path()), folder.path()).unwrap();
            let error = apart(&back.graph, &back, &graph, &weights);
            println!("{name}, {}: {error:.1e}", graph.name());
            assert!(error <= F64, "{name}, {}: {error:.1e}", graph.name());
            if name == "tiny" {
                // Other weights show.
                let other = RandomWeights::new(4, graph.params());
                assert!(apart(&back.graph, &back, &graph, &other) > 1e3 * F64, "{}", graph.name());
            }
        }
    }
}

/// A model of one node `y = op(x, …)`, x `[N, 4, 8, 8]` and w of 4 × 4 × 3 × 3 ones stored.
fn one_node(op: &str, input: &[&str], attribute: Vec<AttributeProto>) -> ModelProto {
    let graph = nets::unet(&load("tiny")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut model = written(&graph, &RandomWeights::new(3, graph.params()), folder.path());
    let proto = model.graph.as_mut().unwrap();
    proto.input.truncate(1);
    let ones = 1f32.to_le_bytes().repeat(4 * 4 * 9);
    proto.initializer = vec![TensorProto {
        name: Some("w".into()),
        dims: vec![4, 4, 3, 3],
        data_type: Some(DataType::Float as i32),
        raw_data: Some(ones),
        ..TensorProto::default()
    }];
    let name = |name: &&str| (*name).to_owned();
    proto.node = vec![NodeProto {
        input: input.iter().map(name).collect(),
        output: vec!["y".into()],
        name: Some("block.1/thing".into()),
        op_type: Some(op.into()),
        attribute,
        ..NodeProto::default()
    }];
    proto.output = vec![ValueInfoProto { name: Some("y".into()), ..ValueInfoProto::default() }];
    model
}

fn ints(name: &str, ints: &[i64]) -> AttributeProto {
    AttributeProto {
        name: Some(name.into()),
        ints: ints.to_vec(),
        r#type: Some(AttributeType::Ints as i32),
        ..AttributeProto::default()
    }
}

#[test]
fn what_is_not_supported_is_named() {
    let conv = |attribute| one_node("Conv", &["x", "w"], vec![attribute]);
    let mut old = one_node("Sqrt", &["x"], vec![]);
    old.opset_import[0].version = Some(9);
    let mut fixed = one_node("Sqrt", &["x"], vec![]);
    let input = &mut fixed.graph.as_mut().unwrap().input[0];
    let Some(type_proto::Value::TensorType(tensor)) = &mut input.r#type.as_mut().unwrap().value else {
        panic!()
    };
    tensor.shape.as_mut().unwrap().dim[0].value = Some(dimension::Value::DimValue(1));
    let mut outside = one_node("Conv", &["x", "w"], vec![]);
    let stored = &mut outside.graph.as_mut().unwrap().initializer[0];
    stored.data_location = Some(DataLocation::External as i32);
    stored.external_data =
        vec![StringStringEntryProto { key: Some("location".into()), value: Some("../weights".into()) }];
    let mut short = one_node("Conv", &["x", "w"], vec![]);
    short.graph.as_mut().unwrap().initializer[0].raw_data = Some(vec![0; 7]);
    let cases: [(&str, ModelProto, &[&str]); 12] = [
        ("operator", one_node("LSTM", &["x"], vec![]), &["'block.1/thing'", "LSTM", "MatMul", "NhwcConv"]),
        ("one step", conv(ints("strides", &[2])), &["Conv", "strides", "[2]", "2 numbers"]),
        ("no step", conv(ints("strides", &[1, 0])), &["Conv", "strides", "[1, 0]", "at least 1"]),
        ("backwards", conv(ints("pads", &[-1, 0, 0, 0])), &["Conv", "pads", "[-1, 0, 0, 0]", "0 to 65535"]),
        ("unknown attribute", conv(ints("twist", &[1])), &["Conv", "twist", "kernel_shape"]),
        ("no operand", one_node("Conv", &["x"], vec![]), &["operand 1", "found nothing"]),
        ("unknown operand", one_node("Sqrt", &["z"], vec![]), &["operand 0", "'z'", "earlier node"]),
        (
            "computed shape",
            one_node("Reshape", &["x", "x"], vec![]),
            &["operand 1", "'x'", "stored, or computed of shapes"],
        ),
        ("old", old, &["opset", "found 9", "13 to 21"]),
        ("one sample", fixed, &["input 'x'", "length 1", "dynamic batch"]),
        ("path", outside, &["tensor 'w'", "'../weights'", "beside the model"]),
        ("cut short", short, &["tensor 'w'", "7 bytes", "576 bytes"]),
    ];
    for (case, model, parts) in cases {
        let error = import(model, Path::new("")).map(|i| i.graph).expect_err(case).to_string();
        for part in parts {
            assert!(error.contains(part), "{case}, '{part}': {error}");
        }
    }
    let error = import_file(Path::new("nowhere.onnx")).map(|i| i.graph).unwrap_err().to_string();
    assert!(error.contains("nowhere.onnx"), "{error}");
}
