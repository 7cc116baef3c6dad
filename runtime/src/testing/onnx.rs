//! Small ONNX graphs, written as a bundle's are: opset 21, an open batch, weights beside the graph.

use std::path::Path;

use prost::Message;
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto,
    TensorProto, TensorShapeProto, TypeProto, ValueInfoProto,
    tensor_shape_proto::{Dimension, dimension},
    type_proto,
};

// TensorProto.DataType and AttributeProto.AttributeType of the ONNX standard.
const F32: i32 = 1;
const I64: i32 = 7;
const ATTRIBUTE_INT: i32 = 2;

/// What the graphs keep outside: one f32 a channel, after this many bytes that are something else.
const OFFSET: usize = 9;

fn port(name: &str, elem_type: i32, dims: &[Option<usize>]) -> ValueInfoProto {
    let value = |d: &Option<usize>| match d {
        Some(size) => dimension::Value::DimValue(*size as i64),
        None => dimension::Value::DimParam("N".into()),
    };
    let dim = dims.iter().map(|d| Dimension { value: Some(value(d)), ..Default::default() }).collect();
    let tensor = type_proto::Tensor { elem_type, shape: Some(TensorShapeProto { dim }) };
    let r#type = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() };
    ValueInfoProto { name: name.into(), r#type: Some(r#type), ..Default::default() }
}

fn node(op: &str, inputs: &[&str], output: &str, attribute: Option<(&str, i64)>) -> NodeProto {
    let attribute = attribute.map(|(name, i)| AttributeProto {
        name: name.into(),
        r#type: ATTRIBUTE_INT,
        i,
        ..Default::default()
    });
    NodeProto {
        op_type: op.into(),
        name: output.into(),
        input: inputs.iter().map(|i| (*i).into()).collect(),
        output: vec![output.into()],
        attribute: attribute.into_iter().collect(),
        ..Default::default()
    }
}

fn ints(name: &str, values: &[i64]) -> TensorProto {
    let raw_data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    TensorProto {
        name: name.into(),
        dims: vec![values.len() as i64],
        data_type: I64,
        raw_data,
        ..Default::default()
    }
}

fn floats(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    let raw_data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    TensorProto { name: name.into(), dims: dims.to_vec(), data_type: F32, raw_data, ..Default::default() }
}

/// Weights [1, C, 1, 1] that lie in `weights.safetensors`.
fn outside(channels: usize) -> TensorProto {
    let entry = |key: &str, value: String| StringStringEntryProto { key: key.into(), value };
    TensorProto {
        name: "weight".into(),
        dims: vec![1, channels as i64, 1, 1],
        data_type: F32,
        data_location: Some(1),
        external_data: vec![
            entry("location", "weights.safetensors".into()),
            entry("offset", OFFSET.to_string()),
            entry("length", (4 * channels).to_string()),
        ],
        ..Default::default()
    }
}

fn write(path: &Path, graph: GraphProto) {
    let model = ModelProto {
        ir_version: 10,
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 21 }],
        graph: Some(graph),
        ..Default::default()
    };
    std::fs::write(path, model.encode_to_vec()).unwrap();
}

/// Writes weights 1, 2, …, C beside the graphs.
pub(crate) fn write_weights(folder: &Path, channels: usize) {
    let mut bytes = vec![0xff; OFFSET];
    bytes.extend((1..=channels).flat_map(|c| (c as f32).to_le_bytes()));
    std::fs::write(folder.join("weights.safetensors"), bytes).unwrap();
}

/// `out = cat[x * weight + t + 10 y, x]`, y only if `labelled`.
pub(crate) fn write_unet(path: &Path, channels: usize, size: usize, labelled: bool) {
    let (c, s) = (Some(channels), Some(size));
    let mut nodes = vec![
        node("Cast", &["t"], "t_f32", Some(("to", i64::from(F32)))),
        node("Reshape", &["t_f32", "column"], "t_column", None),
        node("Mul", &["x", "weight"], "weighted", None),
        node("Add", &["weighted", "t_column"], "timed", None),
    ];
    let mut input = vec![port("x", F32, &[None, c, s, s]), port("t", I64, &[None])];
    if labelled {
        input.push(port("y", I64, &[None]));
        nodes.extend([
            node("Cast", &["y"], "y_f32", Some(("to", i64::from(F32)))),
            node("Reshape", &["y_f32", "column"], "y_column", None),
            node("Mul", &["y_column", "ten"], "y_ten", None),
            node("Add", &["timed", "y_ten"], "eps", None),
        ]);
    } else {
        nodes.push(node("Identity", &["timed"], "eps", None));
    }
    nodes.push(node("Concat", &["eps", "x"], "out", Some(("axis", 1))));
    write(
        path,
        GraphProto {
            name: "unet".into(),
            node: nodes,
            initializer: vec![
                outside(channels),
                ints("column", &[-1, 1, 1, 1]),
                floats("ten", &[1], &[10.0]),
            ],
            input,
            output: vec![port("out", F32, &[None, Some(2 * channels), s, s])],
            // As a real graph has them: with the batch open.
            value_info: vec![port("weighted", F32, &[None, c, s, s])],
            ..Default::default()
        },
    );
}

/// `logits = cat[t, y]`, `gradient = y - x`; with `nan`, the gradient is the root of a negative number.
pub(crate) fn write_classifier(path: &Path, channels: usize, size: usize, nan: bool) {
    let (c, s) = (Some(channels), Some(size));
    let mut node_list = vec![
        node("Cast", &["t"], "t_f32", Some(("to", i64::from(F32)))),
        node("Cast", &["y"], "y_f32", Some(("to", i64::from(F32)))),
        node("Reshape", &["t_f32", "pair"], "t_pair", None),
        node("Reshape", &["y_f32", "pair"], "y_pair", None),
        node("Concat", &["t_pair", "y_pair"], "logits", Some(("axis", 1))),
        node("Reshape", &["y_f32", "column"], "y_column", None),
        node("Sub", &["y_column", "x"], "difference", None),
    ];
    if nan {
        node_list.push(node("Sub", &["difference", "ten"], "negative", None));
        node_list.push(node("Sqrt", &["negative"], "gradient", None));
    } else {
        node_list.push(node("Identity", &["difference"], "gradient", None));
    }
    write(
        path,
        GraphProto {
            name: "classifier_gradient".into(),
            node: node_list,
            initializer: vec![
                ints("pair", &[-1, 1]),
                ints("column", &[-1, 1, 1, 1]),
                floats("ten", &[1], &[10.0]),
            ],
            input: vec![port("x", F32, &[None, c, s, s]), port("t", I64, &[None]), port("y", I64, &[None])],
            output: vec![port("logits", F32, &[None, Some(2)]), port("gradient", F32, &[None, c, s, s])],
            ..Default::default()
        },
    );
}

/// `healthy = x * weight`, and y more if `labelled`.
pub(crate) fn write_network(path: &Path, channels: usize, size: usize, labelled: bool) {
    let (c, s) = (Some(channels), Some(size));
    let mut nodes = vec![node("Mul", &["x", "weight"], "weighted", None)];
    let mut input = vec![port("x", F32, &[None, c, s, s])];
    if labelled {
        input.push(port("y", I64, &[None]));
        nodes.extend([
            node("Cast", &["y"], "y_f32", Some(("to", i64::from(F32)))),
            node("Reshape", &["y_f32", "column"], "y_column", None),
            node("Add", &["weighted", "y_column"], "healthy", None),
        ]);
    } else {
        nodes.push(node("Identity", &["weighted"], "healthy", None));
    }
    write(
        path,
        GraphProto {
            name: "network".into(),
            node: nodes,
            initializer: vec![outside(channels), ints("column", &[-1, 1, 1, 1])],
            input,
            output: vec![port("healthy", F32, &[None, c, s, s])],
            ..Default::default()
        },
    );
}

/// `out` = SiLU(weight · group norm of `x` + 0, −1, …, 1 − C), the norm as lowering writes it; if `tapped`, the norm is 2 x̂ + 1
/// rather than x̂, and goes out as `normal` [N, groups, …], too.
pub(crate) fn write_group_norm(path: &Path, channels: usize, size: usize, groups: usize, tapped: bool) {
    let (dims, length) = ([None, Some(channels), Some(size), Some(size)], channels / groups * size * size);
    let shift: Vec<f32> = (0..channels).map(|c| -(c as f32)).collect();
    let (by, plus) = if tapped { (2.0, 1.0) } else { (1.0, 0.0) };
    let mut output = vec![port("out", F32, &dims)];
    if tapped {
        output.push(port("normal", F32, &[None, Some(groups), Some(length)]));
    }
    write(
        path,
        GraphProto {
            name: "group_norm".into(),
            node: vec![
                node("Reshape", &["x", "grouped_shape"], "grouped", None),
                node("InstanceNormalization", &["grouped", "by", "plus"], "normal", None),
                node("Reshape", &["normal", "image_shape"], "image", None),
                node("Mul", &["image", "weight"], "scaled", None),
                node("Add", &["scaled", "shift"], "shifted", None),
                node("Sigmoid", &["shifted"], "gate", None),
                node("Mul", &["shifted", "gate"], "out", None),
            ],
            initializer: vec![
                outside(channels),
                ints("grouped_shape", &[0, groups as i64, length as i64]),
                ints("image_shape", &[0, channels as i64, size as i64, size as i64]),
                floats("by", &[groups as i64], &vec![by; groups]),
                floats("plus", &[groups as i64], &vec![plus; groups]),
                floats("shift", &[channels as i64, 1, 1], &shift),
            ],
            input: vec![port("x", F32, &dims)],
            output,
            ..Default::default()
        },
    );
}

/// `out` = `x` [N, 1, length], each sample normalised over its values.
pub(crate) fn write_norm(path: &Path, length: usize) {
    let dims = [None, Some(1), Some(length)];
    write(
        path,
        GraphProto {
            name: "norm".into(),
            node: vec![node("InstanceNormalization", &["x", "one", "zero"], "out", None)],
            initializer: vec![floats("one", &[1], &[1.0]), floats("zero", &[1], &[0.0])],
            input: vec![port("x", F32, &dims)],
            output: vec![port("out", F32, &dims)],
            ..Default::default()
        },
    );
}

/// `out` [N] = the determinants of `x` [N, 2, 2].
pub(crate) fn write_determinant(path: &Path) {
    write(
        path,
        GraphProto {
            name: "determinant".into(),
            node: vec![node("Det", &["x"], "out", None)],
            input: vec![port("x", F32, &[None, Some(2), Some(2)])],
            output: vec![port("out", F32, &[None])],
            ..Default::default()
        },
    );
}

/// `out` [N, C, 1, columns] = `x` [N, C, length] as rows times `z` [N, C, length · columns] as matrices.
pub(crate) fn write_products(path: &Path, channels: usize, length: usize, columns: usize) {
    let [c, l, k] = [channels, length, columns].map(|n| n as i64);
    write(
        path,
        GraphProto {
            name: "products".into(),
            node: vec![
                node("Reshape", &["x", "rows"], "row", None),
                node("Reshape", &["z", "matrices"], "matrix", None),
                node("MatMul", &["row", "matrix"], "out", None),
            ],
            initializer: vec![ints("rows", &[0, c, 1, l]), ints("matrices", &[0, c, l, k])],
            input: vec![
                port("x", F32, &[None, Some(channels), Some(length)]),
                port("z", F32, &[None, Some(channels), Some(length * columns)]),
            ],
            output: vec![port("out", F32, &[None, Some(channels), Some(1), Some(columns)])],
            ..Default::default()
        },
    );
}
