//! What the tests share: bundles of the committed tiny networks, and the program, run.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anomalens_exporter::bundle::{Request, Source, write};
use anomalens_exporter::checkpoint::Checkpoint;
use anomalens_exporter::gate::Gate;
use anomalens_exporter::target::Target;
use anomalens_models::graph::Graph;
use anomalens_models::nets;
use anomalens_models::preset::Preset;
use anomalens_models::weights::{Precision, RandomWeights};
use assert_cmd::Command;
use ndarray::ArrayD;
use tempfile::TempDir;

/// The committed golden vectors.
pub fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/tiny").join(name)
}

/// A bundle of the tiny networks that has passed the quick gate.
pub fn tiny() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    FOLDER.get_or_init(|| make("tiny", true, Gate::Quick)).path()
}

/// One without a classifier, which no gate has passed.
pub fn without_classifier() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    FOLDER.get_or_init(|| make("tiny", false, Gate::None)).path()
}

/// One for radiographs, of random weights.
pub fn one_channel() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let preset = preset("golden_b");
    FOLDER
        .get_or_init(|| {
            let [unet, classifier] = [nets::unet, nets::classifier].map(|of| random(of(&preset).unwrap()));
            bundle(&preset, [Some(unet), Some(classifier), None], Gate::Quick)
        })
        .path()
}

/// One whose network makes images healthy in one pass: `tiny_vae` or `tiny_fpgan`, of random weights.
pub fn one_pass(name: &str) -> &'static Path {
    static FOLDERS: [OnceLock<TempDir>; 2] = [const { OnceLock::new() }; 2];
    let preset = preset(name);
    FOLDERS[usize::from(name == "tiny_vae")]
        .get_or_init(|| {
            let network = random(nets::trained_one_pass(&preset).unwrap());
            bundle(&preset, [None, None, Some(network)], Gate::Quick)
        })
        .path()
}

fn random(graph: Graph) -> Source {
    Source::Random(RandomWeights::new(7, graph.params()))
}

/// A preset of the tests.
fn preset(name: &str) -> Preset {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/presets/{name}.toml"));
    Preset::load(path.to_str().unwrap()).unwrap()
}

fn make(preset: &str, classifier: bool, gate: Gate) -> TempDir {
    let source = |part: &str| {
        let path = golden(part).join("state_dict.pt");
        Source::Checkpoint(Checkpoint::open(&path, None).unwrap())
    };
    let preset = Preset::load(preset).unwrap();
    bundle(&preset, [Some(source("unet")), classifier.then(|| source("classifier")), None], gate)
}

fn bundle(preset: &Preset, [unet, classifier, network]: [Option<Source>; 3], gate: Gate) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let request = Request {
        preset,
        unet,
        classifier,
        network,
        output: folder.path(),
        target: Target::Portable,
        precision: Precision::F32,
        gate,
        held_out: None,
        note: Some("random <weights>"),
        card: None,
    };
    write(&request, &mut |_| std::ops::ControlFlow::Continue(())).unwrap();
    folder
}

/// A copy of a bundle, to be spoilt.
pub fn copy(bundle: &Path) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(bundle).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    folder
}

/// What a run of the program gave.
#[derive(Debug)]
pub struct Run {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    /// Fails unless the exit code is `code` and every one of `words` was said.
    #[track_caller]
    pub fn expect(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        for word in words {
            assert!(self.stderr.contains(word) || self.stdout.contains(word), "no '{word}' in {self:#?}");
        }
        assert!(!self.stderr.contains("panicked"), "{self:#?}");
    }
}

/// The program, which nobody has tuned: a person's own findings are not looked at.
pub fn anomalens() -> Command {
    static UNTUNED: OnceLock<TempDir> = OnceLock::new();
    let folder = UNTUNED.get_or_init(|| tempfile::tempdir().unwrap());
    let mut program = Command::new(env!("CARGO_BIN_EXE_anomalens"));
    program.env("XDG_CONFIG_HOME", folder.path());
    program
}

/// Runs the program.
pub fn run<S: AsRef<std::ffi::OsStr>>(args: &[S]) -> Run {
    told(anomalens().args(args))
}

/// Runs a command, and takes what it says.
pub fn told(command: &mut Command) -> Run {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Run { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// A translation of `input` by `bundle` into `out`, short: few steps unless `more` says otherwise.
pub fn translate(input: &Path, bundle: &Path, out: &Path, more: &[&str]) -> Run {
    let level: &[&str] = if more.contains(&"--noise-level") { &[] } else { &["--noise-level", "2"] };
    translate_by(input, bundle, out, &[level, more].concat())
}

/// A translation with these options alone.
pub fn translate_by(input: &Path, bundle: &Path, out: &Path, more: &[&str]) -> Run {
    let mut command = anomalens();
    command.arg("translate").arg(input).arg("--bundle").arg(bundle).arg("--out").arg(out);
    told(command.args(more))
}

/// The golden input image, [1, 4, 32, 32] in [0, 1].
pub fn x0() -> ArrayD<f32> {
    npy(&golden("ddim/x0.npy"))
}

/// An array from a file.
pub fn npy(path: &Path) -> ArrayD<f32> {
    ndarray_npy::read_npy(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The names in a folder, sorted; hidden ones, too.
pub fn listing(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The maximum absolute difference; not a number counts as infinite.
pub fn max_abs<'a>(
    found: impl IntoIterator<Item = &'a f32>,
    expected: impl IntoIterator<Item = &'a f32>,
) -> f32 {
    let differences = found.into_iter().zip(expected).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, |most, d| if d.is_nan() { f32::INFINITY } else { most.max(d) })
}
