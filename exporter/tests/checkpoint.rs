//! Checkpoints that people bring: what is read, and what is refused with which words.

mod support;

use anomalens_exporter::checkpoint::{Checkpoint, CheckpointError};
use anomalens_models::graph::{Init, ParamSpec};
use anomalens_models::nets;
use anomalens_models::preset::Preset;
use anomalens_models::weights::WeightsWriter;
use support::{Tensor, Value, dict, write_pt};

fn specs(specs: &[(&str, &[usize])]) -> Vec<ParamSpec> {
    specs
        .iter()
        .map(|(name, shape)| ParamSpec { name: (*name).into(), shape: shape.to_vec(), init: Init::Zeros })
        .collect()
}

#[test]
fn the_references_checkpoints_have_exactly_the_keys_of_the_graphs() {
    let preset = Preset::load("tiny").unwrap();
    // golden/README.md
    for (network, graph, count) in [
        ("unet", nets::unet(&preset).unwrap(), 704_488),
        ("classifier", nets::classifier(&preset).unwrap(), 393_890),
    ] {
        let path = support::tiny().join(network).join("state_dict.pt");
        let checkpoint = Checkpoint::open(&path, None).unwrap();
        checkpoint.check(network, graph.params()).unwrap();
        let (mut values, mut zero) = (0, 0);
        for param in graph.params() {
            let tensor = checkpoint.read(&param.name).unwrap();
            assert_eq!(tensor.shape(), param.shape, "{}", param.name);
            values += tensor.len();
            zero += tensor.iter().filter(|v| **v == 0.0).count();
        }
        assert_eq!(values, count, "{network}");
        assert!(
            zero < count / 1000,
            "{network}: the vectors have random weights in every layer, {zero} are zero"
        );
    }
}

#[test]
fn both_networks_differ_and_say_how() {
    let preset = Preset::load("tiny").unwrap();
    let path = support::tiny().join("classifier/state_dict.pt");
    let error = Checkpoint::open(&path, None)
        .unwrap()
        .check("unet of preset 'tiny'", nets::unet(&preset).unwrap().params())
        .unwrap_err();
    let text = error.to_string();
    for part in
        ["classifier/state_dict.pt", "unet of preset 'tiny'", "missing (", "extra (", "choose the preset"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn nested_strided_and_shared_tensors_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nested.pt");
    let storage: Vec<f32> = (0..12).map(|v| v as f32).collect();
    // The second half of the storage, transposed.
    let strided = Tensor { offset: 6, strides: vec![1, 3], shape: vec![3, 2], ..Tensor::new(0, &[3, 2]) };
    let model = dict([
        ("a", Value::Tensor(Tensor::new(0, &[2, 3]))),
        ("b", Value::Tensor(strided)),
        ("c", Value::Tensor(Tensor::new(1, &[]))),
    ]);
    let optimiser = dict([("step", Value::Tensor(Tensor { class: "IntStorage", ..Tensor::new(1, &[]) }))]);
    write_pt(
        &path,
        &dict([("epoch", Value::Int(3)), ("model", model), ("opt", optimiser)]),
        &[storage, vec![7.0]],
    );
    let params = specs(&[("a", &[2, 3]), ("b", &[3, 2]), ("c", &[])]);

    let checkpoint = Checkpoint::open(&path, Some("model")).unwrap();
    checkpoint.check("net", &params).unwrap();
    let read = |name| checkpoint.read(name).unwrap().into_raw_vec_and_offset().0;
    assert_eq!(read("a"), [0., 1., 2., 3., 4., 5.]);
    assert_eq!(read("b"), [6., 9., 7., 10., 8., 11.]);
    assert_eq!(read("c"), [7.]);

    let text = Checkpoint::open(&path, None).unwrap().check("net", &params).unwrap_err().to_string();
    assert!(text.contains("stands under the key 'model'"), "{text}");
    let found = Checkpoint::open(&path, None).unwrap().place("--key", "net", &params).unwrap();
    found.check("net", &params).unwrap();
    assert_eq!(found.found(), Some("model"));
    let text = Checkpoint::open(&path, Some("ema")).err().unwrap().to_string();
    assert!(text.contains("no tensors under the key 'ema'; found model, opt"), "{text}");
    let text =
        Checkpoint::open(&path, Some("opt")).unwrap().check("net", &specs(&[("step", &[])])).unwrap_err();
    assert!(text.to_string().contains("'opt.step' is i32, expected f32, f16"), "{text}");
}

#[test]
fn of_raw_and_averaged_weights_a_key_chooses_be_it_the_top() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("both.pt");
    let layers = ["input_blocks.0.0.weight", "time_embed.0.weight"];
    let network = |storage| layers.map(|name| (name, Value::Tensor(Tensor::new(storage, &[1]))));
    let [first, second] = network(0);
    write_pt(&path, &dict([first, second, ("ema", dict(network(1)))]), &[vec![1.0], vec![2.0]]);
    let params = specs(&layers.map(|name| (name, [1].as_slice())));
    let open = |key| Checkpoint::open(&path, key).unwrap();
    for found in [open(None).place("--key", "net", &params), open(None).one_network("--key")] {
        let text = found.err().map(|e| e.to_string()).unwrap_or_default();
        assert!(text.contains("'ema'") && text.contains("'' (the top)"), "{text}");
        assert!(text.contains("expected one; choose by --key"), "{text}");
    }
    for (key, value) in [("", 1.0), ("ema", 2.0)] {
        for found in [open(Some(key)).place("--key", "net", &params), open(Some(key)).one_network("--key")] {
            let found = found.unwrap();
            found.check("net", &params).unwrap();
            assert_eq!(found.read_f32(layers[0]).unwrap(), [value], "'{key}'");
            assert_eq!(found.tensors().unwrap().len(), 2, "'{key}'");
            assert_eq!(found.found(), None);
        }
    }
}

#[test]
fn safetensors_is_known_by_its_content() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("misnamed.pt");
    let params = specs(&[("unet.a", &[2])]);
    let file = std::fs::File::create(&path).unwrap();
    let mut writer = WeightsWriter::new(file, params).unwrap();
    writer.write("unet.a", &[1.0, 2.0]).unwrap();
    writer.finish().unwrap();
    let checkpoint = Checkpoint::open(&path, Some("unet")).unwrap();
    checkpoint.check("net", &specs(&[("a", &[2])])).unwrap();
    assert_eq!(checkpoint.read("a").unwrap().into_raw_vec_and_offset().0, [1.0, 2.0]);
}

#[test]
fn bad_files_are_refused_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.pt");
    let right = folder.path().join("right.pt");
    write_pt(&right, &dict([("a", Value::Tensor(Tensor::new(0, &[2])))]), &[vec![1.0, 2.0]]);
    let right = std::fs::read(right).unwrap();
    let cases: [(&str, Vec<u8>, &str); 6] = [
        ("legacy", b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.".to_vec(), "torch.save(torch.load("),
        ("cut short", right[..right.len() - 30].to_vec(), "copy or save it again"),
        ("another zip", std::fs::read(zip_without_pickle(folder.path())).unwrap(), "no data.pkl"),
        ("empty", vec![], "an empty file"),
        ("text", b"hello, world".to_vec(), "expected a .pt (zip) or .safetensors"),
        ("safetensors cut short", b"\x10\0\0\0\0\0\0\0{\"a\"".to_vec(), "safetensors"),
    ];
    for (case, bytes, expected) in cases {
        std::fs::write(&path, bytes).unwrap();
        let text = Checkpoint::open(&path, None).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(text.contains(expected) && text.contains("bad.pt"), "{case}: {text}");
    }
    assert!(matches!(
        Checkpoint::open(&folder.path().join("none.pt"), None),
        Err(CheckpointError::Io { .. })
    ));
}

fn zip_without_pickle(folder: &std::path::Path) -> std::path::PathBuf {
    let path = folder.join("other.zip");
    let mut zip = zip::ZipWriter::new(std::fs::File::create(&path).unwrap());
    zip.start_file("word/document.xml", zip::write::SimpleFileOptions::default()).unwrap();
    zip.finish().unwrap();
    path
}

#[test]
fn a_flipped_bit_and_a_wild_view_are_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.pt");
    let model = |tensor| dict([("a", Value::Tensor(tensor))]);
    write_pt(&path, &model(Tensor::new(0, &[2])), &[vec![1234.5, 2.0]]);
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(4).position(|w| w == 1234.5f32.to_le_bytes()).unwrap();
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let text = Checkpoint::open(&path, None).unwrap().read("a").unwrap_err().to_string();
    assert!(text.to_lowercase().contains("checksum"), "{text}");

    for (case, tensor) in [
        ("beyond the storage", Tensor { offset: 1, ..Tensor::new(0, &[2]) }),
        ("far beyond", Tensor { offset: i32::MAX, ..Tensor::new(0, &[2]) }),
        ("no such storage", Tensor { storage: 5, ..Tensor::new(0, &[2]) }),
        ("a larger type", Tensor { class: "DoubleStorage", ..Tensor::new(0, &[2]) }),
    ] {
        write_pt(&path, &model(tensor), &[vec![1.0, 2.0]]);
        let result = Checkpoint::open(&path, None).unwrap().read("a");
        assert!(matches!(result, Err(CheckpointError::Damaged { .. })), "{case}: {result:?}");
    }
}
