//! Bad input at the command line: exit code, what the message says, and that nothing is left behind.

mod support;

use std::path::{Path, PathBuf};

use anomalens_exporter::checkpoint::Checkpoint;
use anomalens_models::nets;
use anomalens_models::preset::Preset;
use support::{Tensor, Value, listing, program, run, tiny, write_pt};

/// The tiny U-Net's tensors and storages, as a `.pt` is written of them.
fn tiny_unet() -> (Vec<(String, Value)>, Vec<Vec<f32>>) {
    let checkpoint = Checkpoint::open(&tiny().join("unet/state_dict.pt"), None).unwrap();
    let graph = nets::unet(&Preset::load("tiny").unwrap()).unwrap();
    let tensor = |(i, p): (usize, &anomalens_models::graph::ParamSpec)| {
        let values = checkpoint.read(&p.name).unwrap().into_raw_vec_and_offset().0;
        ((p.name.clone(), Value::Tensor(Tensor::new(i, &p.shape))), values)
    };
    graph.params().iter().enumerate().map(tensor).unzip()
}

fn bundle(unet: &Path, output: &Path, options: &[&str]) -> (i32, String) {
    let mut command = program();
    command.args(["bundle", "--preset", "tiny", "--unet"]).arg(unet);
    run(command.arg("-o").arg(output).args(options))
}

#[test]
fn checkpoints() {
    let place = tempfile::tempdir().unwrap();
    let (entries, storages) = tiny_unet();
    let output = place.path().join("out");
    let with = |change: fn(&mut Vec<(String, Value)>)| {
        let mut entries = entries.clone();
        change(&mut entries);
        Value::Dict(entries)
    };
    let mut not_a_number = storages.clone();
    not_a_number[3][17] = f32::NAN;
    type Case<'a> = (&'a str, Value, &'a [Vec<f32>], &'a [&'a str]);
    let cases: [Case<'_>; 5] = [
        ("missing", with(|e| drop(e.remove(5))), &storages, &["1 missing (", "choose the preset"]),
        (
            "extra",
            with(|e| e.push(("ema.decay".into(), Value::Tensor(Tensor::new(0, &[]))))),
            &storages,
            &["1 extra (ema.decay)"],
        ),
        (
            "shape",
            with(|e| e[1].1 = Value::Tensor(Tensor::new(1, &[2, 64]))),
            &storages,
            &["1 wrongly shaped (time_embed.0.bias is [2, 64], expected [128])"],
        ),
        (
            "two networks",
            Value::Dict(["ema", "model"].map(|key| (key.into(), Value::Dict(entries.clone()))).into()),
            &storages,
            &["found unet under the keys 'ema', 'model', expected one; choose by --unet-key"],
        ),
        (
            "not a number",
            with(|_| ()),
            &not_a_number,
            &["'time_embed.2.bias' holds NaN at [17], expected finite"],
        ),
    ];
    for (case, value, storages, expected) in cases {
        let path = place.path().join("bad.pt");
        write_pt(&path, &value, storages);
        let (code, text) = bundle(&path, &output, &[]);
        assert_eq!(code, 1, "{case}: {text}");
        for part in expected {
            assert!(text.contains(part), "{case}, {part}: {text}");
        }
        assert_eq!(listing(place.path()), ["bad.pt"], "{case}");
    }
    // The network's place is found and said, or chosen.
    let nested = |keys: &[&str]| {
        let under = |inner: Value, key: &&str| Value::Dict(vec![((*key).to_owned(), inner)]);
        keys.iter().rev().fold(Value::Dict(entries.clone()), under)
    };
    let two = Value::Dict(vec![("ema".into(), nested(&["module"])), ("model".into(), nested(&[]))]);
    let cases: [(&str, Value, &[&str], Option<&str>); 4] = [
        ("top", nested(&[]), &[], None),
        ("nested", nested(&["state_dict", "module"]), &[], Some("state_dict.module")),
        ("key", two.clone(), &["--unet-key", "ema"], Some("module")),
        ("whole key", two, &["--unet-key", "model"], None),
    ];
    for (case, value, options, found) in cases {
        let path = place.path().join("right.pt");
        let output = place.path().join(case);
        write_pt(&path, &value, &storages);
        let (code, text) = bundle(&path, &output, &[options, &["--gate", "quick"]].concat());
        assert_eq!(code, 0, "{case}: {text}");
        let said = found
            .map(|key| text.contains(&format!("note: unet of '{}': found under '{key}'", path.display())));
        assert_ne!(said, Some(false), "{case}: {text}");
        assert_eq!(found.is_some(), text.contains("found under"), "{case}: {text}");
    }
    let (code, text) =
        run(program().arg("verify").arg(place.path().join("key")).arg("--reference").arg(tiny()));
    assert_eq!(code, 0, "{text}");
}

#[test]
fn not_a_zip() {
    let place = tempfile::tempdir().unwrap();
    let legacy = place.path().join("old.pt");
    std::fs::write(&legacy, b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.").unwrap();
    let (code, text) = bundle(&legacy, &place.path().join("out"), &[]);
    assert!(
        code == 1 && text.contains("old format of torch.save") && text.contains("weights_only=True"),
        "{text}"
    );
    assert_eq!(listing(place.path()), ["old.pt"]);
}

#[test]
fn output_folders() {
    let place = tempfile::tempdir().unwrap();
    let right = tiny().join("unet/state_dict.pt");
    let full = place.path().join("full");
    std::fs::create_dir(&full).unwrap();
    std::fs::write(full.join("mine.txt"), "mine").unwrap();
    let cases: [(PathBuf, &str); 3] = [
        (full.clone(), "found mine.txt in it, expected a new or an empty folder"),
        (full.join("mine.txt"), "found a file"),
        // Not even root can make a folder there.
        (PathBuf::from("/proc/anomalens-out"), "/proc/anomalens-out"),
    ];
    for (output, expected) in cases {
        let (code, text) = bundle(&right, &output, &[]);
        assert!(code == 1 && text.contains(expected), "{}: {text}", output.display());
        assert_eq!((listing(place.path()), listing(&full)), (vec!["full".into()], vec!["mine.txt".into()]));
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk() {
    let place = tempfile::tempdir().unwrap();
    let mount = |program: &str, options: &[&str]| {
        std::process::Command::new(program)
            .args(options)
            .arg(place.path())
            .status()
            .is_ok_and(|s| s.success())
    };
    if !mount("mount", &["-t", "tmpfs", "-o", "size=64k", "tmpfs"]) {
        assert!(std::env::var_os("CI").is_none(), "CI must be able to mount a tmpfs");
        eprintln!("SKIPPED a_full_disk: only root can mount a tmpfs");
        return;
    }
    let (code, text) = bundle(&tiny().join("unet/state_dict.pt"), &place.path().join("out"), &[]);
    let left = listing(place.path());
    assert!(mount("umount", &[]));
    assert!(code == 1 && text.contains("disk full") && text.contains("out/weights.safetensors"), "{text}");
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn wrong_usage_is_exit_code_2() {
    for arguments in [
        &["bundle", "--preset", "tiny", "-o", "out"][..],
        &["bundle", "--preset", "tiny", "--unet", "u.pt"],
        &["bundle", "--preset", "tiny", "--unet", "u.pt", "-o", "out", "--gate", "some"],
        &["bundle", "--preset", "tiny", "--unet", "u.pt", "--random-weights", "1", "-o", "out"],
        &["verify", "bundle", "--gate", "none"],
        &["verify", "bundle", "--reference", "r", "--engine", "torch"],
        &["verify", "bundle", "--provider", "bf16"],
        &["verify", "bundle", "--provider", "openvino", "--engine", "ort"],
        &["unknown"],
    ] {
        let (code, text) = run(program().args(arguments));
        assert_eq!(code, 2, "{arguments:?}: {text}");
    }
    assert_eq!(run(program().arg("--help")).0, 0);
}

#[test]
fn presets_and_references() {
    let place = tempfile::tempdir().unwrap();
    let (code, text) = run(program().args(["describe", "--preset", "nothing"]));
    assert!(code == 1 && text.contains("built in are brats256"), "{text}");

    let output = place.path().join("out");
    let (code, text) = bundle(&tiny().join("unet/state_dict.pt"), &output, &["--gate", "none"]);
    assert_eq!(code, 0, "{text}");
    let verify =
        |reference: &Path| run(program().arg("verify").arg(&output).arg("--reference").arg(reference));
    let (code, text) = verify(place.path());
    assert!(code == 1 && text.contains("found no folder for a graph of the bundle (unet.onnx)"), "{text}");

    let reference = place.path().join("reference/unet");
    std::fs::create_dir_all(&reference).unwrap();
    for file in ["x.npy", "t.npy", "y.npy", "out.npy"] {
        std::fs::copy(tiny().join("unet").join(file), reference.join(file)).unwrap();
    }
    let reference = place.path().join("reference");
    assert_eq!(verify(&reference).0, 0);
    for (file, by, expected) in [
        ("y.npy", None, "y.npy"),
        ("t.npy", Some("x.npy"), "expected an .npy array of i64"),
        ("out.npy", Some("x.npy"), "shape [2, 4, 32, 32]"),
    ] {
        let path = reference.join("unet").join(file);
        match by {
            None => std::fs::remove_file(&path).unwrap(),
            Some(by) => drop(std::fs::copy(tiny().join("unet").join(by), &path).unwrap()),
        }
        let (code, text) = verify(&reference);
        assert!(code == 1 && text.contains(expected), "{file}: {text}");
        std::fs::copy(tiny().join("unet").join(file), &path).unwrap();
    }

    // A bundle that was changed after it was written.
    let graph = output.join("unet.onnx");
    let mut bytes = std::fs::read(&graph).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&graph, bytes).unwrap();
    let (code, text) = verify(&reference);
    assert!(code == 1 && text.contains("unet.onnx") && text.contains("sha256"), "{text}");
}

/// Ctrl-C while the weights are written: nothing is left.
#[test]
#[cfg(unix)]
fn ctrl_c() {
    let place = tempfile::tempdir().unwrap();
    let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin("anomalens-export"))
        .args(["bundle", "--preset", "brats256", "--random-weights", "1", "-o"])
        .arg(place.path().join("out"))
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    while listing(place.path()).is_empty() {
        assert!(child.try_wait().unwrap().is_none(), "ended before it was stopped");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let kill = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert!(listing(place.path()).is_empty(), "{:?}", listing(place.path()));
}
