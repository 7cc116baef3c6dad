//! ONNX models whose external data lead elsewhere, or are not what they say: typed errors, nothing read outside the folder,
//! bounded memory.

use std::fs::File;
use std::path::Path;

use anomalens_exporter::import::{ImportError, Imported, import, import_file};
use anomalens_exporter::onnx::tensor_proto::{DataLocation, DataType};
use anomalens_exporter::onnx::tensor_shape_proto::{Dimension, dimension};
use anomalens_exporter::onnx::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto,
    TensorProto, TensorShapeProto, TypeProto, ValueInfoProto, type_proto,
};
use anomalens_models::graph::ParamSource;
use prost::Message;

const WEIGHTS: &str = "weights.bin";

fn external(dims: &[i64], entries: &[(&str, &str)]) -> TensorProto {
    let entry = |(key, value): &(&str, &str)| StringStringEntryProto {
        key: Some((*key).into()),
        value: Some((*value).into()),
    };
    TensorProto {
        name: Some("w".into()),
        dims: dims.to_vec(),
        data_type: Some(DataType::Float as i32),
        data_location: Some(DataLocation::External as i32),
        external_data: entries.iter().map(entry).collect(),
        ..TensorProto::default()
    }
}

/// `y = x + w`, x [N, 2].
fn model(initializer: Vec<TensorProto>, constants: Vec<NodeProto>) -> ModelProto {
    let add = NodeProto {
        input: vec!["x".into(), "w".into()],
        output: vec!["y".into()],
        op_type: Some("Add".into()),
        ..NodeProto::default()
    };
    let dim = |value| Dimension { value: Some(value), ..Dimension::default() };
    let shape = vec![dim(dimension::Value::DimParam("N".into())), dim(dimension::Value::DimValue(2))];
    let tensor = type_proto::Tensor {
        elem_type: Some(DataType::Float as i32),
        shape: Some(TensorShapeProto { dim: shape }),
    };
    let x = ValueInfoProto {
        name: Some("x".into()),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(tensor)),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    };
    ModelProto {
        opset_import: vec![OperatorSetIdProto { domain: None, version: Some(21) }],
        graph: Some(GraphProto {
            node: constants.into_iter().chain([add]).collect(),
            initializer,
            input: vec![x],
            output: vec![ValueInfoProto { name: Some("y".into()), ..ValueInfoProto::default() }],
            ..GraphProto::default()
        }),
        ..ModelProto::default()
    }
}

fn read(folder: &Path, dims: &[i64], entries: &[(&str, &str)]) -> Result<Imported, ImportError> {
    import(model(vec![external(dims, entries)], vec![]), folder)
}

fn write_weights(folder: &Path) {
    std::fs::write(folder.join(WEIGHTS), [1f32, 2.0].map(f32::to_le_bytes).concat()).unwrap();
}

#[test]
fn right_data_are_read() {
    let folder = tempfile::tempdir().unwrap();
    write_weights(folder.path());
    for entries in [
        &[("location", WEIGHTS)][..],
        &[("location", WEIGHTS), ("offset", "0"), ("length", "8"), ("checksum", "none")],
    ] {
        let imported = read(folder.path(), &[2], entries).unwrap();
        assert_eq!(imported.param("w").unwrap().as_slice().unwrap(), [1.0, 2.0]);
    }
    let imported = read(folder.path(), &[1], &[("location", WEIGHTS), ("offset", "4")]).unwrap();
    assert_eq!(imported.param("w").unwrap().as_slice().unwrap(), [2.0]);
}

#[test]
fn data_elsewhere_are_refused() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("model");
    std::fs::create_dir_all(folder.join("below")).unwrap();
    write_weights(place.path());
    write_weights(&folder.join("below"));
    let absolute = place.path().join(WEIGHTS);
    // All but the last three lead to a file of the right length.
    for location in [
        "../weights.bin",
        absolute.to_str().unwrap(),
        "below/weights.bin",
        "./below/weights.bin",
        "below/../../weights.bin",
        "..\\weights.bin",
        "c:weights.bin",
        "/etc/passwd",
        "weights.bin\0",
        "..",
        ".",
        "",
    ] {
        let error = read(&folder, &[2], &[("location", location)]).map(drop).unwrap_err();
        assert!(
            matches!(&error, ImportError::Tensor { tensor, .. } if tensor == "w"),
            "{location:?}: {error}"
        );
        assert!(error.to_string().contains("a plain file name beside the model"), "{location:?}: {error}");
    }
    let error = read(&folder, &[2], &[("location", "none.bin")]).map(drop).unwrap_err();
    assert!(matches!(&error, ImportError::Io { path, .. } if path.ends_with("none.bin")), "{error}");
    let error = read(&folder, &[2], &[("location", "below")]).map(drop).unwrap_err();
    assert!(error.to_string().contains("no file"), "{error}");
}

#[test]
#[cfg(unix)]
fn links_and_pipes_are_refused() {
    use std::os::unix::fs::symlink;
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("model");
    std::fs::create_dir(&folder).unwrap();
    write_weights(place.path());
    symlink("../weights.bin", folder.join("out.bin")).unwrap();
    symlink("/dev/zero", folder.join("zero.bin")).unwrap();
    symlink("loop.bin", folder.join("loop.bin")).unwrap();
    let made = std::process::Command::new("mkfifo").arg(folder.join("pipe.bin")).status().unwrap();
    assert!(made.success());
    for (location, kind) in
        [("out.bin", "a link"), ("zero.bin", "a link"), ("loop.bin", "a link"), ("pipe.bin", "no file")]
    {
        let error = read(&folder, &[2], &[("location", location)]).map(drop).unwrap_err();
        assert!(matches!(&error, ImportError::Tensor { .. }), "{location}: {error}");
        assert!(error.to_string().contains(kind), "{location}: {error}");
    }
    // A folder that is a link is the person's own doing.
    write_weights(&folder);
    symlink(&folder, place.path().join("linked")).unwrap();
    assert!(read(&place.path().join("linked"), &[2], &[("location", WEIGHTS)]).is_ok());
}

#[test]
fn numbers_that_lie_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    write_weights(folder.path());
    let most = u64::MAX.to_string();
    type Case<'a> = (&'a [i64], &'a [(&'a str, &'a str)], &'a str);
    let cases: [Case<'_>; 14] = [
        (&[2], &[("length", "4")], "8 bytes within the file"),
        (&[2], &[("length", "9")], "8 bytes within the file"),
        (&[2], &[("length", "-8")], "at length '-8'"),
        (&[2], &[("length", "8 ")], "at length '8 '"),
        (&[2], &[("length", &most)], "8 bytes within the file"),
        (&[2], &[("offset", "1")], "in a file of 8"),
        (&[2], &[("offset", &most)], "in a file of 8"),
        (&[2], &[("offset", "18446744073709551608")], "in a file of 8"),
        (&[2], &[("offset", "99999999999999999999")], "at offset '99999999999999999999'"),
        (&[3], &[], "12 bytes within the file"),
        (&[1 << 40], &[], "in a file of 8"),
        (&[1 << 31, 1 << 31, 4], &[], "as many elements as a memory can hold"),
        (&[0, 1 << 40, 1 << 40], &[("length", "0")], "as many elements as a memory can hold"),
        (&[-1], &[], "no negative length"),
    ];
    for (dims, numbers, expected) in cases {
        let entries = [&[("location", WEIGHTS)], numbers].concat();
        let error = read(folder.path(), dims, &entries).map(drop).unwrap_err();
        assert!(matches!(&error, ImportError::Tensor { .. }), "{dims:?} {numbers:?}: {error}");
        assert!(error.to_string().contains(expected), "{dims:?} {numbers:?}: {error}");
    }
}

/// A constant's data stand in the model, or it would be read from wherever the program was started.
#[test]
fn a_constant_has_no_data_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let here = File::open("Cargo.toml").unwrap().metadata().unwrap().len();
    let tensor = external(&[(here / 4) as i64], &[("location", "Cargo.toml")]);
    let value = AttributeProto { name: Some("value".into()), t: Some(tensor), ..AttributeProto::default() };
    let constant = NodeProto {
        output: vec!["w".into()],
        op_type: Some("Constant".into()),
        attribute: vec![value],
        ..NodeProto::default()
    };
    let error = import(model(vec![], vec![constant]), folder.path()).map(drop).unwrap_err();
    assert!(error.to_string().contains("found external data, expected data in the model itself"), "{error}");
}

/// A tensor of 1 TiB in a file that is as long and holds nothing: a model is imported without a look at its values.
#[test]
fn a_huge_tensor_takes_no_memory() {
    let folder = tempfile::tempdir().unwrap();
    let length = 1u64 << 40;
    File::create(folder.path().join(WEIGHTS)).unwrap().set_len(length).unwrap();
    let mut model = model(vec![external(&[(length / 4) as i64], &[("location", WEIGHTS)])], vec![]);
    let path = folder.path().join("model.onnx");
    std::fs::write(&path, model.encode_to_vec()).unwrap();
    let error = import_file(&path).map(drop).unwrap_err();
    assert!(matches!(&error, ImportError::Graph { .. }), "{error}");
    // Not taken by any node, it is no fault.
    let node = &mut model.graph.as_mut().unwrap().node[0];
    (node.input, node.op_type) = (vec!["x".into()], Some("Sqrt".into()));
    std::fs::write(&path, model.encode_to_vec()).unwrap();
    assert!(import_file(&path).is_ok());
}
