//! Memory: a cohort may be larger, since images are read as they are needed, two batches ahead; a batch may not.
#![cfg(unix)]

mod support;

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;

use serde_json::json;
use support::{LABELS, Place, preset_text, run, write_cohort};

/// Channels and size: an image is 2 MB, and a network on it still small.
const CHANNELS: usize = 2048;
const SIZE: usize = 16;
const ITEMS: usize = 1000;
/// What the program may have of address space, libtorch's own included, KiB.
const CAP: u64 = 1_500_000;

/// Images of zeros, which take no room on the disk.
fn write_sparse(dir: &Path) -> u64 {
    fs::create_dir(dir).unwrap();
    let channels: Vec<String> = (0..CHANNELS).map(|i| format!("c{i}")).collect();
    let item = |i| json!({"subject": format!("s{i}"), "slice": 0, "diseased": i % 2 == 1});
    let items: Vec<_> = (0..ITEMS).map(item).collect();
    let text = json!({"format": 1, "kind": "test", "note": "zeros", "channels": channels, "size": SIZE,
        "percentile": 99.5, "items": items});
    fs::write(dir.join("cohort.json"), text.to_string()).unwrap();
    let header = format!(
        "{{'descr': '<f4', 'fortran_order': False, 'shape': ({ITEMS}, {CHANNELS}, {SIZE}, {SIZE}), }}\n"
    );
    let mut file = File::create(dir.join("images.npy")).unwrap();
    file.write_all(b"\x93NUMPY\x01\x00").unwrap();
    file.write_all(&(header.len() as u16).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    let length = 10 + header.len() as u64 + (4 * ITEMS * CHANNELS * SIZE * SIZE) as u64;
    file.set_len(length).unwrap();
    length
}

#[test]
fn a_cohort_larger_than_the_memory() {
    let place = tempfile::tempdir().unwrap();
    let length = write_sparse(&place.path().join("cohort"));
    assert!(length > CAP * 1024, "what is read whole must not fit: {length} bytes");
    let text = preset_text(SIZE, 32);
    let (before, after) = (text.find("[[image.channels]]").unwrap(), text.find("[schedule]").unwrap());
    let channels: String = (0..CHANNELS).map(|i| format!("[[image.channels]]\nname = \"c{i}\"\n")).collect();
    fs::write(place.path().join("wide.toml"), [&text[..before], &channels, &text[after..]].concat()).unwrap();

    let program = env!("CARGO_BIN_EXE_anomalens-train");
    let options =
        "--preset wide.toml --cohort cohort --iterations 8 --batch 2 --threads 1 --precision f32 -o run";
    let script = format!("ulimit -v {CAP}; exec '{program}' classifier {options}");
    let (code, text) = run(Command::new("sh").current_dir(place.path()).args(["-c", &script]));
    assert!(code == 0 && text.contains("complete: "), "{text}");
}

/// The message names parts of the batch that fit, and with them the same command does.
#[test]
fn a_batch_that_does_not_fit() {
    const IMAGES: &str = "64";
    let place = Place::new();
    // Attention over all pixels: 4 MB an image and a head, several times.
    write_cohort(&place.path("large"), 32, &LABELS);
    fs::write(place.path("large.toml"), preset_text(32, 32)).unwrap();
    let train = |more: &str| {
        let program = env!("CARGO_BIN_EXE_anomalens-train");
        let options = format!(
            "--preset large.toml --cohort large --iterations 1 --batch {IMAGES} --threads 1 --precision f32 -o run"
        );
        let script = format!("ulimit -v {CAP}; exec '{program}' ddpm {options} {more}");
        run(Command::new("sh").current_dir(place.path("")).args(["-c", &script]))
    };
    let (code, text) = train("");
    println!("{text}");
    assert!(code == 1 && !text.contains("panicked"), "exit code {code}: {text}");
    assert!(text.contains("step 1: out of memory with 64 images at a time"), "{text}");
    let parts = text.split("--accumulate ").nth(1).and_then(|rest| rest.split(',').next()).unwrap();
    assert!(parts.parse::<usize>().unwrap() > 1, "{text}");
    let (code, text) = train(&format!("--accumulate {parts}"));
    assert!(code == 0 && text.contains("complete: "), "{text}");
}
