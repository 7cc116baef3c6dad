//! What the tests of this crate share.
#![allow(dead_code, reason = "each test binary uses its own part")]

pub mod onnx;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use anomalens_models::preset::Preset;
use zip::write::SimpleFileOptions;

/// What a checkpoint is made of.
#[derive(Clone)]
pub enum Value {
    Tensor(Tensor),
    Dict(Vec<(String, Value)>),
    Int(i32),
}

/// A view into a storage, as `torch.save` describes it.
#[derive(Clone)]
pub struct Tensor {
    pub class: &'static str,
    pub storage: usize,
    pub offset: i32,
    pub shape: Vec<i32>,
    pub strides: Vec<i32>,
}

impl Tensor {
    /// A contiguous f32 tensor that has a storage to itself.
    pub fn new(storage: usize, shape: &[usize]) -> Self {
        let shape: Vec<i32> = shape.iter().map(|&n| n as i32).collect();
        let mut strides = vec![1; shape.len()];
        for i in (1..shape.len()).rev() {
            strides[i - 1] = strides[i] * shape[i];
        }
        Self { class: "FloatStorage", storage, offset: 0, shape, strides }
    }
}

pub fn dict<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Dict(entries.map(|(key, value)| (key.to_owned(), value)).into())
}

/// Writes a zip as `torch.save` does: `data.pkl` and one entry a storage.
pub fn write_pt(path: &Path, value: &Value, storages: &[Vec<f32>]) {
    let bytes = |storage: &Vec<f32>| storage.iter().flat_map(|v| v.to_le_bytes()).collect();
    write_pt_bytes(path, value, &storages.iter().map(bytes).collect::<Vec<_>>());
}

/// The same, of storages of any type.
pub fn write_pt_bytes(path: &Path, value: &Value, storages: &[Vec<u8>]) {
    let mut pickle = vec![0x80, 2];
    pickle_value(&mut pickle, value, storages);
    pickle.push(b'.');
    write_pickle(path, &pickle, storages);
}

/// The same, of any pickle.
pub fn write_pickle(path: &Path, pickle: &[u8], storages: &[Vec<u8>]) {
    let numbers: Vec<String> = (0..storages.len()).map(|i| format!("archive/data/{i}")).collect();
    let storages = numbers.iter().zip(storages).map(|(name, data)| (name.as_str(), data.as_slice()));
    let entries: Vec<(&str, &[u8])> = [("archive/data.pkl", pickle)].into_iter().chain(storages).collect();
    write_zip(path, &entries);
}

/// A zip of entries that are stored as they are.
pub fn write_zip(path: &Path, entries: &[(&str, &[u8])]) {
    let mut zip = zip::ZipWriter::new(File::create(path).unwrap());
    let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, data) in entries {
        zip.start_file(*name, stored).unwrap();
        zip.write_all(data).unwrap();
    }
    zip.finish().unwrap();
}

pub const ORDERED_DICT: &[u8] = b"ccollections\nOrderedDict\n)R";

fn pickle_value(out: &mut Vec<u8>, value: &Value, storages: &[Vec<u8>]) {
    match value {
        Value::Int(n) => int(out, *n),
        Value::Dict(entries) => {
            out.extend(ORDERED_DICT);
            out.push(b'(');
            for (key, value) in entries {
                text(out, key);
                pickle_value(out, value, storages);
            }
            out.push(b'u');
        }
        Value::Tensor(tensor) => pickle_tensor(out, tensor, storages),
    }
}

/// What `torch.save` writes for a tensor.
pub fn pickle_tensor(out: &mut Vec<u8>, tensor: &Tensor, storages: &[Vec<u8>]) {
    let size = match tensor.class {
        "DoubleStorage" | "LongStorage" => 8,
        "HalfStorage" | "BFloat16Storage" => 2,
        _ => 4,
    };
    out.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
    text(out, "storage");
    out.extend(format!("ctorch\n{}\n", tensor.class).as_bytes());
    text(out, &tensor.storage.to_string());
    text(out, "cpu");
    int(out, storages.get(tensor.storage).map_or(0, |bytes| bytes.len() as i32 / size));
    out.extend(b"tQ");
    int(out, tensor.offset);
    for tuple in [&tensor.shape, &tensor.strides] {
        out.push(b'(');
        tuple.iter().for_each(|&n| int(out, n));
        out.push(b't');
    }
    out.push(0x89);
    out.extend(ORDERED_DICT);
    out.extend(b"tR");
}

/// Text, as a pickle has it.
pub fn text(out: &mut Vec<u8>, text: &str) {
    out.push(b'X');
    out.extend((text.len() as u32).to_le_bytes());
    out.extend(text.as_bytes());
}

fn int(out: &mut Vec<u8>, n: i32) {
    out.push(b'J');
    out.extend(n.to_le_bytes());
}

/// The committed reference vectors.
pub fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/tiny")
}

/// The whole set of reference vectors; `None`, said aloud, where it is not at hand.
pub fn golden() -> Option<PathBuf> {
    let found = std::env::var_os("ANOMALENS_GOLDEN").map(PathBuf::from);
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "CI must set ANOMALENS_GOLDEN");
        eprintln!("SKIPPED: ANOMALENS_GOLDEN does not say where the whole set of reference vectors is");
    }
    found
}

/// The Python that has torch and guided-diffusion; `None`, said aloud, where it is not at hand.
pub fn python_with_torch() -> Option<PathBuf> {
    let found = std::env::var_os("ANOMALENS_PYTHON_TORCH").map(PathBuf::from);
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "CI must set ANOMALENS_PYTHON_TORCH");
        eprintln!(
            "SKIPPED: ANOMALENS_PYTHON_TORCH is not set: it names a Python with torch and guided-diffusion-sdk"
        );
    }
    found
}

/// The Python of [`python_with_torch`], if it has this module too.
pub fn python_with(module: &str) -> Option<PathBuf> {
    let python = python_with_torch()?;
    let found =
        std::process::Command::new(&python).args(["-c", &format!("import {module}")]).output().unwrap();
    if !found.status.success() {
        assert!(std::env::var_os("CI").is_none(), "CI must have the Python module {module}");
        eprintln!("SKIPPED: the Python that ANOMALENS_PYTHON_TORCH names has no {module}");
        return None;
    }
    Some(python)
}

/// Runs a Python script with arguments; its output.
pub fn python(python: &Path, script: &str, arguments: &[&Path]) -> String {
    let output = std::process::Command::new(python).args(["-c", script]).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// A preset of the tests, by path.
pub fn preset(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/presets").join(name)
}

/// A preset of the tests, or a built-in one, by name.
pub fn load(name: &str) -> Preset {
    let path = preset(&format!("{name}.toml"));
    Preset::load(if path.exists() { path.to_str().unwrap() } else { name }).unwrap()
}

/// The program.
pub fn program() -> assert_cmd::Command {
    assert_cmd::Command::cargo_bin("anomalens-export").unwrap()
}

/// Runs the program: exit code, and both outputs together.
pub fn run(command: &mut assert_cmd::Command) -> (i32, String) {
    let output = command.output().unwrap();
    let text =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (output.status.code().expect("not ended by a signal"), text)
}

/// Everything in a folder, hidden things too.
pub fn listing(folder: &Path) -> Vec<String> {
    let name = |e: std::io::Result<std::fs::DirEntry>| e.unwrap().file_name().to_string_lossy().into_owned();
    let mut names: Vec<String> = std::fs::read_dir(folder).unwrap().map(name).collect();
    names.sort();
    names
}
