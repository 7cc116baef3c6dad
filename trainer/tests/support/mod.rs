//! What the tests of this crate share: a cohort and a preset so small that a step takes milliseconds, and the program.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use anomalens_cohort::{CohortInfo, CohortWriter, Item, Sample};
use ndarray::Array3;
use safetensors::SafeTensors;
use serde_json::{Map, Value};

/// Height and width of the images.
pub const SIZE: usize = 8;
/// Their channels.
pub const CHANNELS: usize = 2;

/// The networks of these tests, as a preset of `size` and with U-Nets of `width` channels.
pub fn preset_text(size: usize, width: usize) -> String {
    let channel =
        |i| format!("[[image.channels]]\nname = \"c{i}\"\nmodality = [\"MR\"]\nany_of = [\"c{i}\"]\n");
    let channels: String = (0..CHANNELS).map(channel).collect();
    format!(
        r#"name = "small"
description = "A network pair for tests"

[image]
size = {size}

{channels}
[schedule]
kind = "linear"
timesteps = 1000

[unet]
model_channels = {width}
res_blocks = 1
channel_mult = [1]
attention_resolutions = [{size}]
heads = {{ channels = 32 }}
qkv_order = "head-first"
conditioning = "shift"
resblock_updown = false
classes = 2

[classifier]
model_channels = {width}
res_blocks = 1
channel_mult = [1]
attention_resolutions = [{size}]
head_channels = 32
qkv_order = "head-first"
conditioning = "scale-shift"
resblock_updown = true
classes = 2

[translate]
noise_level = 50
scale = 100.0
healthy_class = 0
"#
    )
}

/// A preset of a one-pass method for images of the tests' size.
pub fn one_pass_text(network: &str) -> String {
    let (method, table) = match network {
        "vae" => ("vae", "[vae]\nwidths = [8, 16, 16]\nlatent_channels = 4\n"),
        _ => (
            "fixed-point-gan",
            "[fixed_point_gan]\ngenerator_channels = 8\ngenerator_blocks = 1\ncritic_channels = 8\ncritic_levels = 2\n\
             classes = 2\nhealthy_class = 0\n",
        ),
    };
    let text = preset_text(SIZE, 32);
    let (head, image) = text[..text.find("[schedule]").unwrap()].split_once("[image]").unwrap();
    format!("{head}method = \"{method}\"\n[image]{image}{table}")
}

/// The preset that a network is trained by in these tests.
fn preset_file(network: &str) -> String {
    match network {
        "vae" | "fpgan" => format!("{network}.toml"),
        _ => "small.toml".into(),
    }
}

/// What a cohort of these tests says about itself.
fn info(size: usize) -> CohortInfo {
    CohortInfo {
        kind: "test".into(),
        note: "two squares; not for diagnostic use".into(),
        channels: (0..CHANNELS).map(|i| format!("c{i}")).collect(),
        size,
        percentile: 99.5,
        generator: Value::Null,
    }
}

/// Item `i`: dark, or with a bright square if diseased, and a little different from every other.
fn sample(size: usize, i: usize, diseased: bool) -> Sample {
    let image = Array3::from_shape_fn((CHANNELS, size, size), |(c, h, w)| {
        let inside = (2..6).contains(&h) && (2..6).contains(&w);
        let base = if diseased && inside { 0.9 } else { 0.2 };
        base + 0.01 * ((7 * i + 3 * h + 5 * w + c) % 9) as f32
    });
    let item = Item { subject: format!("s{i:04}"), slice: 0, diseased, extra: Map::new() };
    Sample { item, image, mask: None, brain: None }
}

/// Writes items of a size, one a label: true for diseased.
pub fn write_cohort(dir: &Path, size: usize, labels: &[bool]) {
    let mut writer = CohortWriter::create(dir, info(size)).unwrap();
    labels.iter().enumerate().for_each(|(i, &diseased)| writer.push(sample(size, i, diseased)).unwrap());
    writer.finish().unwrap();
}

/// Seven items of both classes, not a multiple of the batch: epochs end within one.
pub const LABELS: [bool; 7] = [false, true, false, true, false, true, false];

/// A folder with `cohort` and the presets, gone at the end.
pub struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        write_cohort(&place.path("cohort"), SIZE, &LABELS);
        fs::write(place.path("small.toml"), preset_text(SIZE, 32)).unwrap();
        for network in ["vae", "fpgan"] {
            fs::write(place.path(&preset_file(network)), one_pass_text(network)).unwrap();
        }
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `anomalens-train network` on the cohort into `run`; of options that stand twice in `more`, or there and in the
    /// usual ones, the last counts.
    pub fn train(&self, network: &str, run: &str, more: &[&str]) -> Command {
        let preset = self.path(&preset_file(network)).display().to_string();
        let mut options = vec!["--preset", &preset, "--batch", "2", "--threads", "1"];
        options.extend(more);
        let pairs = options.as_chunks::<2>().0;
        let mut command = Command::new(env!("CARGO_BIN_EXE_anomalens-train"));
        command.arg(network).arg("--cohort").arg(self.path("cohort")).arg("-o").arg(self.path(run));
        for (i, [name, value]) in pairs.iter().enumerate() {
            if pairs[i + 1..].iter().all(|[later, _]| later != name) {
                command.args([name, value]);
            }
        }
        command.stdin(Stdio::null());
        command
    }
}

/// Exit code and what was written on both outputs.
pub fn run(command: &mut Command) -> (i32, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = [stderr, stdout].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (status.code().unwrap_or_else(|| panic!("killed: {text}")), text)
}

/// Starts a command and forgets what it says.
pub fn start(command: &mut Command) -> Child {
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Path of the last checkpoint as messages name it.
pub fn last_good(run: &Path) -> String {
    checkpoints(run).pop().map_or("none yet".into(), |path| path.display().to_string())
}

/// Names of files and folders, sorted; empty where there is no such folder.
pub fn listing(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|e| e.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The checkpoints of a run, oldest first.
pub fn checkpoints(run: &Path) -> Vec<PathBuf> {
    let folder = run.join("checkpoints");
    listing(&folder).into_iter().filter(|n| n.starts_with("step-")).map(|n| folder.join(n)).collect()
}

/// Files of a run that are no whole ones.
pub fn half_written(run: &Path) -> Vec<String> {
    let mut names = listing(run);
    names.extend(listing(&run.join("checkpoints")));
    names.retain(|name| name.starts_with(".partial-"));
    names
}

/// Every number of a safetensors file by tensor, or why it cannot be read.
pub fn numbers(path: &Path) -> Result<Vec<(String, Vec<f32>)>, String> {
    let bytes = fs::read(path).map_err(|e| e.to_string())?;
    let file = SafeTensors::deserialize(&bytes).map_err(|e| e.to_string())?;
    let values = |data: &[u8]| data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    Ok(file.iter().map(|(name, view)| (name.to_owned(), values(view.data()))).collect())
}

/// Whether a safetensors file can be read and holds finite numbers alone.
pub fn is_sound(path: &Path) -> bool {
    numbers(path).is_ok_and(|tensors| {
        !tensors.is_empty() && tensors.iter().all(|(_, values)| values.iter().all(|v| v.is_finite()))
    })
}
