//! A study of many slices: a translation that was stopped or killed goes on to the same result, and memory is bounded.

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use dicom_dictionary_std::tags;
use dicom_object::open_file;
use ndarray::{Array4, ArrayD, IxDyn, s};
use ndarray_npy::write_npy;

use crate::dicom::{four, mr, save, tissue};
use crate::evaluate::ended_by;
use crate::support::{anomalens, listing, npy, run, tiny, told};

const SLICES: usize = 6;

/// Images that differ, [N, 4, 32, 32] in [0, 1]; image `failing`, if there is one, is none.
fn images(folder: &Path, seed: usize, failing: Option<usize>) -> PathBuf {
    let mut images = Array4::from_shape_fn((SLICES, 4, 32, 32), |(n, c, y, x)| {
        let inside = (y as f32 - 16.0).hypot(x as f32 - 16.0) < 8.0 + n as f32;
        if inside { 0.2 + ((x * 7 + y * 3 + 5 * n + c + seed) % 11) as f32 / 20.0 } else { 0.0 }
    });
    if let Some(failing) = failing {
        images.slice_mut(s![failing, .., .., ..]).fill(0.5);
    }
    let path = folder.join(format!("images-{seed}.npy"));
    write_npy(&path, &images).unwrap();
    path
}

fn command(input: &Path, out: &Path, more: &[&str]) -> Command {
    let mut command = anomalens();
    command.arg("translate").arg(input).arg("--bundle").arg(tiny()).arg("--out").arg(out);
    command.args(["--threads", "1"]).args(more);
    if !more.contains(&"--engine") {
        command.args(["--engine", "tract"]);
    }
    command
}

/// Where what is finished of `out` is kept.
fn partial(out: &Path) -> PathBuf {
    out.with_extension("partial")
}

/// A translation into `out` that a signal ends after its first batch.
#[cfg(unix)]
fn ended(signal: &str, command: &Command, out: &Path) -> (Option<i32>, String) {
    ended_by(signal, command, &partial(out).join("parts/ours-000000.json"), &out.join("report.html"))
}

/// Everything but the report, which holds the times that the work took, and the DICOM objects, which hold the date.
fn bytes(out: &Path) -> Vec<(String, Vec<u8>)> {
    let timed = |name: &String| name == "report.html" || name.ends_with(".dcm");
    let names = listing(out).into_iter().filter(|name| !timed(name));
    names.map(|name| (name.clone(), fs::read(out.join(name)).unwrap())).collect()
}

#[test]
#[cfg(unix)]
fn what_was_stopped_or_killed_goes_on_to_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let input = images(folder.path(), 0, Some(2));
    let noise = folder.path().join("noise.npy");
    write_npy(&noise, &ArrayD::from_shape_fn(IxDyn(&[SLICES, 4, 32, 32]), |i| (i[0] + i[2]) as f32 / 9.0))
        .unwrap();
    let reference = ["--schedule", "reference", "--noise-level", "12"];
    let cases: [(&str, &[&str], &[&str]); 3] = [
        ("-KILL", &["--batch", "2", "--noise-level", "12"], &[]),
        ("-INT", &reference, &["--seed", "7"]),
        ("-KILL", &reference, &["--first-noise", noise.to_str().unwrap(), "--batch", "2"]),
    ];
    for (case, (signal, more, also)) in cases.into_iter().enumerate() {
        let more = [more, also].concat();
        let [whole, out] = ["whole", "out"].map(|name| folder.path().join(format!("{name}-{case}")));
        // One slice is constant: a part of the batch fails.
        told(&mut command(&input, &whole, &more)).expect(3, &["5 of 6 slices translated"]);
        let (code, said) = ended(signal, &command(&input, &out, &more), &out);
        assert_eq!(code, if signal == "-INT" { Some(1) } else { None }, "{said}");
        assert!(!out.exists() && partial(&out).exists());
        if signal == "-INT" {
            let words = ["of 5 slices are kept in", "out-1.partial'; the same command goes on from there"];
            assert!(words.iter().all(|word| said.contains(word)), "{said}");
        }
        let again = told(&mut command(&input, &out, &more));
        again.expect(3, &["going on: ", "of 5 slices are done", "5 of 6 slices translated"]);
        assert!(bytes(&out) == bytes(&whole), "case {case}: other bytes than in one run");
        assert!(bytes(&out).len() == 3 + 5 && !partial(&out).exists(), "{:?}", listing(folder.path()));
    }
    // What was compared can differ: noise of another seed.
    let other = folder.path().join("other");
    let more = [&reference[..], &["--seed", "8"]].concat();
    told(&mut command(&input, &other, &more)).expect(3, &[]);
    assert!(bytes(&other) != bytes(&folder.path().join("whole-1")));
}

#[test]
#[cfg(unix)]
fn uids_and_pixels_of_dicom_objects_are_those_of_one_run() {
    let folder = tempfile::tempdir().unwrap();
    let study = folder.path().join("study");
    fs::create_dir(&study).unwrap();
    for z in 0..4 {
        save(&study, &format!("{z}.dcm"), mr(z, |row, column| tissue(row, column + z)));
    }
    let channels = four(&study);
    let more: Vec<&str> =
        channels.iter().map(String::as_str).chain(["--method", "ddpm", "--noise-level", "20"]).collect();
    let [whole, out] = ["whole", "out"].map(|name| folder.path().join(name));
    // A folder that is there, as a mount point is, keeps what is finished inside.
    fs::create_dir(&out).unwrap();
    told(&mut command(&study, &whole, &more)).expect(0, &["4 of 4 slices"]);
    let part = out.join("out.partial/parts/ddpm-000000.json");
    let (code, said) = ended_by("-KILL", &command(&study, &out, &more), &part, &out.join("report.html"));
    assert_eq!(code, None, "{said}");
    assert_eq!(listing(&out), ["out.partial"]);
    told(&mut command(&study, &out, &more)).expect(0, &["going on: ", "4 of 4 slices"]);
    assert_eq!(listing(&out), listing(&whole));
    let mut objects = 0;
    for name in listing(&whole).into_iter().filter(|name| name.ends_with(".dcm")) {
        let [one, other] = [&whole, &out].map(|folder| open_file(folder.join(&name)).unwrap());
        for tag in [tags::SOP_INSTANCE_UID, tags::SERIES_INSTANCE_UID, tags::PIXEL_DATA] {
            assert_eq!(one.element(tag).unwrap(), other.element(tag).unwrap(), "{name} {tag}");
        }
        objects += 1;
    }
    assert!(objects >= 4 * 4 && bytes(&out) == bytes(&whole));
}

#[test]
#[cfg(unix)]
fn what_is_kept_is_taken_over_by_the_same_command_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (input, other) = (images(folder.path(), 0, None), images(folder.path(), 1, None));
    let out = folder.path().join("out");
    let more = ["--noise-level", "24"];
    let (_, said) = ended("-KILL", &command(&input, &out, &more), &out);
    let kept = listing(&partial(&out).join("parts"));
    assert!(kept.contains(&"ours-000000.npy".to_owned()), "{said}");
    let steps = folder.path().join("steps.npz");
    let cases: [(&Path, &[&str], &str); 6] = [
        (&other, &[], "input "),
        (&input, &["--noise-level", "25"], "noise level 24, now it is 25"),
        (&input, &["--batch", "2"], "batch 1, now it is 2"),
        (&input, &["--engine", "ort"], "now it is ort"),
        (&input, &["--scale", "3"], "gradient scale 100, now it is 3"),
        (&input, &["--trajectory", steps.to_str().unwrap()], "trajectory not kept, now it is kept"),
    ];
    for (input, changed, words) in cases {
        let refused = told(&mut command(
            input,
            &out,
            &if changed.contains(&"--noise-level") { changed.to_vec() } else { [&more, changed].concat() },
        ));
        refused.expect(1, &["out.partial': holds an unfinished translation with", words, "choose another"]);
        assert!(partial(&out).join("parts/ours-000000.npy").exists() && !steps.exists(), "{words}");
    }
    // Once it has been removed, anyone may begin.
    fs::remove_dir_all(partial(&out)).unwrap();
    told(&mut command(&other, &out, &["--noise-level", "1"])).expect(0, &["6 of 6 slices"]);
    assert!(!partial(&out).exists());
}

#[test]
#[cfg(unix)]
fn every_x_t_is_made_in_one_piece() {
    use ndarray_npy::NpzReader;
    let folder = tempfile::tempdir().unwrap();
    let (input, out) = (images(folder.path(), 0, None), folder.path().join("out"));
    let steps = folder.path().join("steps.npz");
    let more = ["--noise-level", "4", "--batch", "4", "--trajectory", steps.to_str().unwrap()];
    told(&mut command(&input, &out, &more)).expect(0, &["6 of 6 slices"]);
    let mut npz = NpzReader::new(fs::File::open(&steps).unwrap()).unwrap();
    let decode: ArrayD<f32> = npz.by_name("decode").unwrap();
    assert_eq!(decode.shape(), [4, SLICES, 4, 32, 32]);
    assert_eq!(decode.slice(s![3, .., .., .., ..]).into_dyn(), npy(&out.join("healthy.npy")));
    // The same without them, batch by batch.
    let parts = folder.path().join("parts");
    told(&mut command(&input, &parts, &more[..4])).expect(0, &["6 of 6 slices"]);
    assert!(bytes(&parts) == bytes(&out));
    assert_eq!(listing(folder.path()), ["images-0.npy", "out", "parts", "steps.npz"]);
}

#[test]
fn the_time_is_told_before_the_work() {
    let folder = tempfile::tempdir().unwrap();
    let input = images(folder.path(), 0, None);
    let told = |name: &str, more: &[&str]| told(&mut command(&input, &folder.path().join(name), more));
    let long = told("long", &["--noise-level", "4"]);
    long.expect(0, &["time: about ", " for 6 slices"]);
    assert!(long.stderr.find("time: about").unwrap() < long.stderr.find("48/48 steps (100 %)").unwrap());
    // Where there is little to do, nothing is measured.
    let short = told("short", &["--method", "saliency"]);
    assert!(!short.stderr.contains("time: about"), "{short:?}");
    run(&["translate", "--help"]).expect(0, &["OUT.partial"]);
}

/// The largest memory, in bytes, that a command has had.
#[cfg(target_os = "linux")]
fn peak(command: &Command) -> usize {
    use std::process::Stdio;
    let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_anomalens"));
    program.args(command.get_args()).stderr(Stdio::null()).stdout(Stdio::null());
    let mut child = program.spawn().unwrap();
    let mut most = 0;
    loop {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        if let Some(kib) = line.and_then(|line| line.trim().strip_suffix(" kB")) {
            most = kib.trim().parse::<usize>().unwrap() * 1024;
        }
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success());
            return most;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

#[test]
#[cfg(target_os = "linux")]
fn memory_grows_with_slices_by_what_is_stated() {
    const SIDE: usize = 160;
    const NETWORKS: usize = 32;
    /// docs/translate.md: what is known of each slice, C = 4.
    const STATED: usize =
        8 * 4 * SIDE * SIDE + 4 * 4 * NETWORKS * NETWORKS + 5 * SIDE * SIDE + 4 * 4 * SIDE * SIDE;
    /// What the allocator rounds.
    const SLACK: usize = 4 << 20;
    /// The report shows 20 pictures at most: they are in memory both times.
    const FEW: usize = 20;
    const MANY: usize = 36;
    let folder = tempfile::tempdir().unwrap();
    let used = |slices: usize| {
        let images = Array4::from_shape_fn((slices, 4, SIDE, SIDE), |(n, c, y, x)| {
            ((x * 7 + y * 3 + 5 * n + c) % 11) as f32 / 11.0
        });
        let (path, out) = (folder.path().join("x.npy"), folder.path().join(format!("out-{slices}")));
        write_npy(&path, &images).unwrap();
        peak(&command(&path, &out, &["--noise-level", "1", "--scale", "0"]))
    };
    let (one, few, many) = (used(1), used(FEW), used(MANY));
    let grown = many.saturating_sub(few);
    let (n, each) = (MANY - FEW, grown / (MANY - FEW));
    println!("{few} bytes with {FEW} slices, {many} with {MANY}: {each} a slice, {STATED} stated");
    assert!(grown <= n * STATED + SLACK, "{each} a slice");
    // Beside one slice, what cannot but be in memory is seen: the images, once.
    assert!(many - one >= (MANY - 1) * 4 * 4 * SIDE * SIDE, "{one} bytes with one");
}
