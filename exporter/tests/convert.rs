//! `convert`: bits stay as they are, memory is one tensor, and nothing is overwritten or left behind.

mod support;

use std::io::Read;
use std::path::{Path, PathBuf};

use anomalens_exporter::checkpoint::Checkpoint;
use anomalens_models::weights::{Element, TensorSpec, TensorWriter};
use support::{Tensor, Value, dict, listing, program, run, tiny, write_pt};

fn convert(input: &Path, output: &Path, options: &[&str]) -> (i32, String) {
    run(program().arg("convert").args([input, output]).args(options))
}

/// Tensors of every type, of bytes that count up; floating-point numbers among them are finite.
fn every_type(path: &Path) -> Vec<(TensorSpec, Vec<u8>)> {
    let spec = |element: Element| TensorSpec { name: format!("a.{element}"), element, shape: vec![2, 1, 3] };
    let data = |spec: &TensorSpec| match spec.element {
        Element::Bool => vec![1, 0, 0, 1, 1, 0],
        _ => (0..spec.bytes()).map(|byte| (17 * byte % 61) as u8).collect(),
    };
    let tensors: Vec<_> =
        Element::ALL.map(spec).into_iter().map(|spec| (spec.clone(), data(&spec))).collect();
    let specs = tensors.iter().map(|(spec, _)| spec.clone()).collect();
    let mut writer = TensorWriter::new(std::fs::File::create(path).unwrap(), specs).unwrap();
    for (spec, data) in &tensors {
        writer.write(&spec.name, data).unwrap();
    }
    writer.finish().unwrap();
    tensors
}

#[test]
fn every_bit_stays() {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name);
    let tensors = every_type(&path("in.safetensors"));
    for (from, to) in [("in.safetensors", "a.pt"), ("a.pt", "b.pth"), ("b.pth", "out.safetensors")] {
        let (code, text) = convert(&path(from), &path(to), &[]);
        assert!(code == 0 && text.contains("10 tensors, 198 bytes"), "{to}: {text}");
        let read = Checkpoint::open(&path(to), None).unwrap();
        let mut specs = read.tensors().unwrap();
        specs.sort_by_key(|spec| spec.element);
        assert_eq!(specs, tensors.iter().map(|(spec, _)| spec.clone()).collect::<Vec<_>>(), "{to}");
        for (spec, data) in &tensors {
            assert_eq!(*read.bytes(&spec.name).unwrap(), **data, "{to}: {}", spec.name);
        }
    }
    // A second reader of the zip, and where PyTorch wants its data.
    let mut zip = zip::ZipArchive::new(std::fs::File::open(path("a.pt")).unwrap()).unwrap();
    for number in 0..zip.len() {
        let mut entry = zip.by_index(number).unwrap();
        assert_eq!(entry.data_start().unwrap() % 64, 0);
        entry.read_to_end(&mut Vec::new()).unwrap();
    }
    // The same tensors give the same file.
    let (code, _) = convert(&path("out.safetensors"), &path("again.pt"), &[]);
    assert_eq!((code, std::fs::read(path("again.pt")).unwrap()), (0, std::fs::read(path("a.pt")).unwrap()));
}

#[test]
fn f32_is_made_of_every_floating_point_type() {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name);
    every_type(&path("in.safetensors"));
    let (code, text) =
        convert(&path("in.safetensors"), &path("out.safetensors"), &["--dtype", "f32", "--strip", "a."]);
    assert_eq!(code, 0, "{text}");
    for line in
        ["1 tensors of f64: rounded to f32", "1 tensors of f16: widened", "1 tensors of bf16: widened"]
    {
        assert!(text.contains(line), "{line}: {text}");
    }
    let (before, after) =
        ["in.safetensors", "out.safetensors"].map(|name| Checkpoint::open(&path(name), None).unwrap()).into();
    for tensor in after.tensors().unwrap() {
        let name = format!("a.{}", tensor.name);
        let element = before.tensors().unwrap().into_iter().find(|t| t.name == name).unwrap().element;
        match element.is_float() {
            true => {
                assert_eq!(tensor.element, Element::F32, "{name}");
                assert_eq!(after.read_f32(&tensor.name).unwrap(), before.read_f32(&name).unwrap(), "{name}");
            }
            false => assert_eq!(tensor.element, element, "{name}"),
        }
    }
}

#[test]
fn what_cannot_be_done_is_said_and_leaves_nothing() {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name);
    let unet = tiny().join("unet/state_dict.pt");
    std::fs::write(path("mine.pt"), "mine").unwrap();
    let first = |key: &'static str, name: &str| (key, dict([(name, Value::Tensor(Tensor::new(0, &[1])))]));
    let network = || {
        let layers = ["input_blocks.0.0.weight", "time_embed.0.weight"];
        dict(layers.map(|name| (name, Value::Tensor(Tensor::new(0, &[1])))))
    };
    write_pt(&path("two.pt"), &dict([("ema", network()), ("model", network())]), &[vec![1.0]]);
    write_pt(&path("other.pt"), &dict([first("net", "a"), first("opt", "b")]), &[vec![1.0]]);
    // Two names, 64 MiB to each, of one number.
    let repeated = || Value::Tensor(Tensor { strides: vec![0, 0], ..Tensor::new(0, &[1 << 12, 1 << 12]) });
    write_pt(&path("repeated.pt"), &dict([("a", repeated()), ("b", repeated())]), &[vec![1.0]]);
    write_pt(&path("nan.pt"), &dict([("a", Value::Tensor(Tensor::new(0, &[2])))]), &[vec![1.0, f32::NAN]]);
    let before = listing(place.path());
    type Case<'a> = (&'a str, PathBuf, &'a str, &'a [&'a str], i32, &'a str);
    let cases: [Case<'_>; 11] = [
        ("there already", unet.clone(), "mine.pt", &[], 1, "found something of that name"),
        ("no format", unet.clone(), "out.onnx", &[], 2, "expected it to end with .pt, .pth or .safetensors"),
        ("no folder", unet.clone(), "none/out.pt", &[], 1, "none/out.pt"),
        ("no file", path("none.pt"), "out.pt", &[], 1, "none.pt"),
        (
            "two networks",
            path("two.pt"),
            "out.pt",
            &[],
            1,
            "under the keys 'ema', 'model', expected one; choose by --key",
        ),
        (
            "no such key",
            path("two.pt"),
            "out.pt",
            &["--key", "net"],
            1,
            "no tensors under the key 'net'; found ema, model",
        ),
        ("not in all names", path("other.pt"), "out.pt", &["--strip", "net."], 1, "found tensor 'opt.b'"),
        (
            "a whole name",
            path("other.pt"),
            "out.pt",
            &["--key", "net", "--strip", "a"],
            1,
            "found tensor 'a'",
        ),
        (
            "repeated",
            path("repeated.pt"),
            "out.pt",
            &[],
            1,
            "found 134217728 bytes of tensors, expected at most 67",
        ),
        ("not a number", path("nan.pt"), "out.safetensors", &[], 1, "'a' holds NaN at [1]"),
        ("another type", unet, "out.pt", &["--dtype", "f16"], 2, "possible values: f32"),
    ];
    for (case, input, output, options, exit, expected) in cases {
        let (code, text) = convert(&input, &path(output), options);
        assert!(code == exit && text.contains(expected), "{case}: {code} {text}");
        assert_eq!(listing(place.path()), before, "{case}");
    }
    assert_eq!(std::fs::read(path("mine.pt")).unwrap(), b"mine");
    // The key chooses; without a network, everything is taken.
    let (code, text) = convert(&path("two.pt"), &path("one.pt"), &["--key", "ema"]);
    assert!(code == 0 && text.contains("2 tensors that stand elsewhere"), "{text}");
    let (code, text) = convert(&path("other.pt"), &path("all.safetensors"), &[]);
    assert!(code == 0 && !text.contains("left out"), "{text}");
    let all = Checkpoint::open(&path("all.safetensors"), None).unwrap();
    assert_eq!(
        all.tensors().unwrap().iter().map(|t| t.name.as_str()).collect::<Vec<_>>(),
        ["net.a", "opt.b"]
    );
}

/// A safetensors file of zeros that takes no room on the disk: `count` tensors of `length` numbers.
fn zeros(path: &Path, element: Element, count: usize, length: usize) {
    let spec = |n: usize| TensorSpec { name: format!("t{n:03}"), element, shape: vec![length] };
    let mut head = Vec::new();
    // What is announced and not written is an error; the header is there by then.
    let writer = TensorWriter::new(&mut head, (0..count).map(spec).collect()).unwrap();
    drop(writer);
    let length = head.len() + count * length * element.bytes();
    std::fs::write(path, head).unwrap();
    std::fs::File::options().write(true).open(path).unwrap().set_len(length as u64).unwrap();
}

/// 128 MiB by the program itself, which may have 48 MiB of its own; what needs more than a tensor's worth fails.
#[test]
#[cfg(target_os = "linux")]
fn one_tensor_is_in_memory() {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name);
    zeros(&path("f32.safetensors"), Element::F32, 32, 1 << 20);
    zeros(&path("f16.safetensors"), Element::F16, 32, 1 << 20);
    zeros(&path("large.safetensors"), Element::F16, 1, 1 << 25);
    for (input, output, fits) in [
        ("f32.safetensors", "f32.pt", true),
        ("f16.safetensors", "f16.pt", true),
        ("f32.pt", "back.safetensors", true),
        ("large.safetensors", "large.pt", false),
    ] {
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", "ulimit -d 49152; exec \"$0\" convert \"$1\" \"$2\" --dtype f32"]);
        shell.arg(assert_cmd::cargo::cargo_bin("anomalens-export")).args([path(input), path(output)]);
        let ended = shell.output().unwrap();
        assert_eq!(ended.status.success(), fits, "{output}: {}", String::from_utf8_lossy(&ended.stderr));
    }
}

/// Ctrl-C while tensors are written: nothing is left.
#[test]
#[cfg(unix)]
fn ctrl_c() {
    let place = tempfile::tempdir().unwrap();
    let input = place.path().join("in.safetensors");
    zeros(&input, Element::F32, 256, 1 << 22);
    let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin("anomalens-export"))
        .arg("convert")
        .args([&input, &place.path().join("out.pt")])
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    while listing(place.path()).len() < 2 {
        assert!(child.try_wait().unwrap().is_none(), "ended before it was stopped");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let kill = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert_eq!(listing(place.path()), ["in.safetensors"]);
}
