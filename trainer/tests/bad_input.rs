//! Bad input: exit code, what the message says, and that nothing is lost.

mod support;

use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use support::{
    CHANNELS, LABELS, Place, SIZE, checkpoints, half_written, is_sound, last_good, listing, preset_text, run,
    start, write_cohort,
};

/// A run of four steps with a checkpoint after each.
const FOUR: [&str; 6] = ["--iterations", "4", "--checkpoint-every", "1", "--log-every", "1"];

/// What went otherwise than it should: the exit code, a part of the message, or the state of the run's folder.
fn faults(case: &str, place: &Place, command: &mut Command, code: i32, parts: &[&str]) -> Vec<String> {
    let (found, text) = run(command);
    let mut faults = Vec::new();
    if found != code {
        faults.push(format!("{case}: exit code {found}, expected {code}: {text}"));
    }
    for part in parts.iter().filter(|part| !text.contains(**part)) {
        faults.push(format!("{case}: no '{part}' in: {text}"));
    }
    if text.contains("panicked") {
        faults.push(format!("{case}: {text}"));
    }
    let half = half_written(&place.path("run"));
    if !half.is_empty() {
        faults.push(format!("{case}: left {half:?}"));
    }
    faults
}

fn report(faults: &[String]) {
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn complete(command: &mut Command) {
    let (code, text) = run(command);
    assert!(code == 0 && text.contains("complete: "), "{text}");
}

fn replace_cohort(place: &Place, size: usize, labels: &[bool]) {
    fs::remove_dir_all(place.path("cohort")).unwrap();
    write_cohort(&place.path("cohort"), size, labels);
}

/// Writes a value at one pixel of images.npy, which no writer of cohorts would.
fn poke(place: &Place, item: usize, [c, h, w]: [usize; 3], value: f32) {
    let path = place.path("cohort/images.npy");
    let pixels = LABELS.len() * CHANNELS * SIZE * SIZE;
    let data = fs::metadata(&path).unwrap().len() - 4 * pixels as u64;
    let index = ((item * CHANNELS + c) * SIZE + h) * SIZE + w;
    let mut file = OpenOptions::new().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(data + 4 * index as u64)).unwrap();
    file.write_all(&value.to_le_bytes()).unwrap();
}

#[test]
fn cohorts_and_presets_that_cannot_be_trained_on() {
    type Change = fn(&Place);
    let cases: [(&str, Change, &[&str]); 7] = [
        (
            "no diseased image",
            |place| replace_cohort(place, SIZE, &[false; 4]),
            &["no diseased images among 4", "expected both classes", "add images"],
        ),
        (
            "no healthy image",
            |place| replace_cohort(place, SIZE, &[true; 3]),
            &["no healthy images among 3", "expected both classes", "add images"],
        ),
        (
            "images of another size",
            |place| {
                write_cohort(&place.path("large"), 16, &LABELS);
                fs::copy(place.path("large/images.npy"), place.path("cohort/images.npy")).unwrap();
            },
            &["images.npy", "[7, 2, 16, 16]", "[7, 2, 8, 8]", "write the cohort anew"],
        ),
        (
            "truncated images",
            |place| {
                let path = place.path("cohort/images.npy");
                let file = OpenOptions::new().write(true).open(&path).unwrap();
                file.set_len(file.metadata().unwrap().len() - 10).unwrap();
            },
            &["images.npy", "bytes, expected", "cut short", "write the cohort anew"],
        ),
        (
            "no cohort",
            |place| fs::remove_dir_all(place.path("cohort")).unwrap(),
            &["cohort.json", "No such file", "check the path"],
        ),
        (
            "a preset of other channels",
            |place| {
                let text = preset_text(SIZE, 32).replace("name = \"c1\"", "name = \"d1\"");
                fs::write(place.path("small.toml"), text).unwrap();
            },
            &["channels: found c0, c1, expected c0, d1 by preset 'small'", "choose another preset"],
        ),
        (
            "a preset of another size",
            |place| fs::write(place.path("small.toml"), preset_text(16, 32)).unwrap(),
            &["image size: found 8, expected 16 by preset 'small'", "choose another preset"],
        ),
    ];
    let mut found = Vec::new();
    for network in ["ddpm", "classifier"] {
        for (case, change, parts) in &cases {
            let place = Place::new();
            change(&place);
            let case = format!("{network}, {case}");
            found.extend(faults(&case, &place, &mut place.train(network, "run", &FOUR), 1, parts));
            if !listing(&place.path("run")).is_empty() {
                found.push(format!("{case}: a run was begun: {:?}", listing(&place.path("run"))));
            }
        }
    }
    report(&found);
}

/// A network that cannot be is refused before the run has a folder.
#[test]
fn a_network_whose_channels_do_not_divide() {
    let place = Place::new();
    fs::write(place.path("small.toml"), preset_text(SIZE, 48)).unwrap();
    let parts = ["graph 'unet', at 'input_blocks.1.0.in_layers.0'", "48 channels in 32 groups"];
    report(&faults("48 channels in 32 groups", &place, &mut place.train("ddpm", "run", &FOUR), 1, &parts));
    assert!(!place.path("run").exists());
}

#[test]
fn an_image_that_is_none() {
    let mut found = Vec::new();
    // Each seed meets the image in another step.
    for (seed, value) in [("1", f32::NAN), ("2", f32::INFINITY), ("3", -0.5), ("4", f32::NAN)] {
        let place = Place::new();
        poke(&place, 3, [1, 2, 5], value);
        let mut options = FOUR.to_vec();
        options.extend(["--seed", seed]);
        let mut train = place.train("ddpm", "run", &options);
        let case = format!("{value} with seed {seed}");
        let pixel = format!("pixel [channel 1, row 2, column 5] is {value}, expected a number from 0 to 1");
        let parts = ["step ", "item 3 (s0003, slice 0)", &pixel, "the last good checkpoint is "];
        found.extend(faults(&case, &place, &mut train, 1, &parts));
        let kept = last_good(&place.path("run"));
        println!("{case}: last good {kept}");
        found.extend(faults(&case, &place, &mut train, 1, &[&format!("checkpoint is {kept}")]));
        found.extend(unsound(&case, &place.path("run")));
    }
    report(&found);
}

/// Checkpoints that cannot be read or hold other numbers than finite ones.
fn unsound(case: &str, run: &Path) -> Vec<String> {
    let bad = checkpoints(run).into_iter().filter(|path| !is_sound(path));
    bad.map(|path| format!("{case}: {} is not sound", path.display())).collect()
}

#[test]
fn a_run_of_other_settings() {
    let place = Place::new();
    complete(&mut place.train("ddpm", "run", &FOUR));
    fs::write(place.path("wide.toml"), preset_text(SIZE, 64)).unwrap();
    let wide = place.path("wide.toml").display().to_string();
    let mut found = Vec::new();
    for (network, options, parts) in [
        ("classifier", &["--ema", "0.9999"][..], &["network: found \"ddpm\"", "expected \"classifier\""][..]),
        ("ddpm", &["--preset", &wide], &["preset.unet.model_channels: found 32", "expected 64"]),
        ("ddpm", &["--batch", "3"], &["batch: found 2", "expected 3"]),
        ("ddpm", &["--iterations", "5"], &["iterations: found 4", "expected 5"]),
        ("ddpm", &["--learning-rate", "0.5"], &["learning_rate: found 0.0001", "expected 0.5"]),
        ("ddpm", &["--cosine", "0.5"], &["cosine: found 0.0", "expected 0.5"]),
        ("ddpm", &["--ema", "none"], &["ema: found 0.9999", "expected null"]),
        ("ddpm", &["--clip-gradient", "1"], &["clip_gradient: found null", "expected 1.0"]),
        ("ddpm", &["--seed", "7"], &["seed: found 0", "expected 7"]),
    ] {
        let mut all = FOUR.to_vec();
        all.extend(options);
        let mut parts = parts.to_vec();
        parts.extend(["run '", "run.json", "choose another folder with --output"]);
        let mut train = place.train(network, "run", &all);
        found.extend(faults(&format!("{network} {options:?}"), &place, &mut train, 1, &parts));
    }
    found.extend(unsound("other settings", &place.path("run")));
    report(&found);
    // The run's own settings still find it whole; how often it tells and saves is not part of them.
    complete(&mut place.train("ddpm", "run", &["--iterations", "4", "--log-every", "3"]));

    // The images are part of it.
    replace_cohort(&place, SIZE, &[false, true]);
    let parts = ["has changed since the last checkpoint", "fingerprint", "bring the images back"];
    report(&faults("another cohort", &place, &mut place.train("ddpm", "run", &FOUR), 1, &parts));
    replace_cohort(&place, SIZE, &LABELS);
    complete(&mut place.train("ddpm", "run", &FOUR));

    // A file that is no JSON.
    fs::write(place.path("run/run.json"), "{").unwrap();
    let parts = ["run.json", "checkpoints stay"];
    report(&faults("run.json", &place, &mut place.train("ddpm", "run", &FOUR), 1, &parts));
}

#[test]
fn checkpoints_that_are_none_of_this_run() {
    let place = Place::new();
    complete(&mut place.train("ddpm", "run", &FOUR));
    complete(&mut place.train("ddpm", "without", &[&FOUR[..], &["--ema", "none"]].concat()));
    fs::write(place.path("wide.toml"), preset_text(SIZE, 64)).unwrap();
    let wide = place.path("wide.toml").display().to_string();
    complete(&mut place.train("ddpm", "wide", &[&FOUR[..], &["--preset", &wide]].concat()));

    let result = place.path("run/ddpm.safetensors");
    let expected = fs::read(&result).unwrap();
    let newest = place.path("run/checkpoints/step-0000004.safetensors");
    let before = place.path("run/checkpoints/step-0000003.safetensors");
    let whole = fs::read(&newest).unwrap();
    let other = |run: &str| fs::read(place.path(run).join("checkpoints/step-0000004.safetensors")).unwrap();
    let mut found = Vec::new();
    for (case, bytes, part) in [
        ("truncated", whole[..whole.len() - 1].to_vec(), "expected a whole safetensors file"),
        ("empty", Vec::new(), "expected a whole safetensors file"),
        ("no safetensors", vec![b'x'; 1000], "expected a whole safetensors file"),
        ("of another network", other("wide"), "as the preset's network has"),
        ("without an average", other("without"), "ema."),
    ] {
        fs::remove_file(&result).unwrap();
        fs::write(&newest, bytes).unwrap();
        let way_out = format!("remove the file to go on from '{}'", before.display());
        let parts = ["checkpoint '", newest.to_str().unwrap(), part, &way_out];
        found.extend(faults(case, &place, &mut place.train("ddpm", "run", &FOUR), 1, &parts));
        // The way out is one, and leads to the same bytes.
        fs::remove_file(&newest).unwrap();
        complete(&mut place.train("ddpm", "run", &FOUR));
        if fs::read(&result).unwrap() != expected {
            found.push(format!("{case}: other weights after going on from the checkpoint before"));
        }
    }
    fs::remove_file(&before).unwrap();
    fs::write(&newest, "").unwrap();
    let parts = ["to go on from the first step"];
    found.extend(faults("the only one", &place, &mut place.train("ddpm", "run", &FOUR), 1, &parts));
    report(&found);
}

#[test]
fn training_that_comes_apart() {
    let mut found = Vec::new();
    for network in ["ddpm", "classifier"] {
        for rate in ["1e4", "1e25", "1e37", "1e38", "1e300"] {
            let place = Place::new();
            let options = ["--iterations", "30", "--checkpoint-every", "1", "--learning-rate", rate];
            let case = format!("{network}, rate {rate}");
            let mut train = place.train(network, "run", &options);
            let (code, text) = run(&mut train);
            println!("{case}: {text}");
            let run_folder = place.path("run");
            if !text.contains("--learning-rate: found") {
                let parts = ["training has come apart", "a lower --learning-rate", "another --output"];
                let kept = format!("the last good checkpoint is {}", last_good(&run_folder));
                found.extend(faults(&case, &place, &mut train, 1, &[&parts[..], &[&kept]].concat()));
            }
            if code == 0 {
                found.push(format!("{case}: exit code 0"));
            }
            found.extend(unsound(&case, &run_folder));
            if run_folder.join(format!("{network}.safetensors")).exists() {
                found.push(format!("{case}: weights were written"));
            }
        }
    }
    report(&found);
}

/// The size of one checkpoint and the bytes of the result, by a run that nothing disturbs.
fn undisturbed(place: &Place) -> (u64, Vec<u8>) {
    complete(&mut place.train("ddpm", "whole", &FOUR));
    let checkpoint = checkpoints(&place.path("whole")).pop().unwrap();
    (fs::metadata(checkpoint).unwrap().len(), fs::read(place.path("whole/ddpm.safetensors")).unwrap())
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk() {
    let place = Place::new();
    let (checkpoint, expected) = undisturbed(&place);
    let run_folder = place.path("run");
    fs::create_dir(&run_folder).unwrap();
    let mount = |program: &str, options: &[&str]| {
        Command::new(program).args(options).arg(&run_folder).status().is_ok_and(|s| s.success())
    };
    // Room for two checkpoints, and not for a third beside them.
    let size = format!("size={}k", checkpoint * 5 / 2 / 1024);
    if !mount("mount", &["-t", "tmpfs", "-o", &size, "tmpfs"]) {
        assert!(std::env::var_os("CI").is_none(), "CI must be able to mount a tmpfs");
        eprintln!("SKIPPED a_full_disk: only root can mount a tmpfs");
        return;
    }
    let parts = ["No space left", "step-0000003", "nothing half-written is left", "free space"];
    let mut found = faults("full", &place, &mut place.train("ddpm", "run", &FOUR), 1, &parts);
    let kept = format!("checkpoint is {}", place.path("run/checkpoints/step-0000002.safetensors").display());
    found.extend(faults("full again", &place, &mut place.train("ddpm", "run", &FOUR), 1, &[&kept]));
    found.extend(unsound("full", &run_folder));
    // With room made, the run goes on to the same bytes.
    let made = mount("mount", &["-o", &format!("remount,size={}k", checkpoint * 5 / 1024)]);
    let (code, text) = run(&mut place.train("ddpm", "run", &FOUR));
    let bytes = fs::read(run_folder.join("ddpm.safetensors")).unwrap_or_default();
    assert!(mount("umount", &[]));
    report(&found);
    assert!(made && code == 0, "{text}");
    assert!(bytes == expected, "other weights after the disk was full");
}

/// The same without being root: a limit on the size of files, which a quota may be too.
#[test]
#[cfg(unix)]
fn a_file_that_may_not_grow() {
    let place = Place::new();
    let (checkpoint, expected) = undisturbed(&place);
    let train = place.train("ddpm", "run", &FOUR);
    let mut limited = Command::new("sh");
    // POSIX counts in blocks of 512 bytes; the signal would end the program where the error is wanted.
    let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$@\"", checkpoint / 2 / 512);
    limited.args(["-c", &script, "sh"]).arg(train.get_program()).args(train.get_args());
    let parts = ["step-0000001", "nothing half-written is left", "the last good checkpoint is none yet"];
    report(&faults("limited", &place, &mut limited, 1, &parts));
    complete(&mut place.train("ddpm", "run", &FOUR));
    assert!(fs::read(place.path("run/ddpm.safetensors")).unwrap() == expected, "other weights afterwards");
}

#[test]
fn two_programs_on_one_run() {
    let place = Place::new();
    let options = ["--iterations", "1000000", "--checkpoint-every", "1"];
    let mut first = start(&mut place.train("ddpm", "run", &options));
    let begun = Instant::now();
    while checkpoints(&place.path("run")).is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(300), "no checkpoint in five minutes");
        std::thread::sleep(Duration::from_millis(5));
    }
    let (code, text) = run(&mut place.train("ddpm", "run", &options));
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(
        code == 1 && text.contains("another anomalens-train at work") && text.contains("--output"),
        "{text}"
    );
    // The dead one holds nothing, and what it was writing is swept away at the next start.
    fs::write(place.path("run/checkpoints/.partial-dead"), "half").unwrap();
    fs::write(place.path("run/.partial-dead"), "half").unwrap();
    let mut next = place.train("ddpm", "run", &["--iterations", "3"]);
    let (code, text) = run(&mut next);
    assert!(code == 1 && text.contains("iterations: found 1000000"), "{text}");
    let mut next = start(&mut place.train("ddpm", "run", &options));
    let begun = Instant::now();
    while half_written(&place.path("run")).iter().any(|name| name.ends_with("dead")) {
        assert!(begun.elapsed() < Duration::from_secs(300), "{:?}", half_written(&place.path("run")));
        std::thread::sleep(Duration::from_millis(5));
    }
    next.kill().unwrap();
    next.wait().unwrap();
}

#[test]
fn no_gpu() {
    let place = Place::new();
    let mut train = place.train("ddpm", "run", &[&FOUR[..], &["--device", "cuda"]].concat());
    train.env("ANOMALENS_LIBTORCH_CUDA", place.path("nothing"));
    let parts = ["--device cuda: found", "libtorch_cuda.so", "make deps-torch DEVICE=cuda", "--device cpu"];
    report(&faults("no GPU", &place, &mut train, 1, &parts));
    assert_eq!(listing(&place.path("run")), Vec::<String>::new());
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let place = Place::new();
    let mut found = Vec::new();
    let text = |path: PathBuf| path.display().to_string();
    let (small, cohort, out) =
        (text(place.path("small.toml")), text(place.path("cohort")), text(place.path("run")));
    for (option, value, part) in [
        ("--preset", "nothing", "built in are"),
        ("--preset", &text(place.path("cohort/cohort.json")), "TOML"),
        ("--iterations", "0", "--iterations: found 0, expected at least 1"),
        ("--batch", "0", "--batch: found 0, expected at least 1"),
        ("--learning-rate", "0", "--learning-rate: found 0, expected a positive number"),
        ("--learning-rate", "nan", "--learning-rate: found NaN"),
        ("--cosine", "2", "--cosine: found 2, expected in [0, 1]"),
        ("--ema", "2", "--ema: found 2, expected in [0, 1), or none"),
        ("--ema", "some", "expected a number, or none"),
        ("--clip-gradient", "0", "--clip-gradient: found 0, expected a positive number"),
        ("--log-every", "0", "--log-every: found 0, expected at least 1"),
        ("--checkpoint-every", "0", "--checkpoint-every: found 0, expected at least 1"),
        ("--threads", "0", "--threads: found 0, expected 1 to"),
        ("--threads", "999999", "--threads: found 999999, expected 1 to"),
        ("--device", "gpu", "expected cpu, cuda or cuda:N"),
        ("--precision", "f16", "expected auto, f32, tf32 or bf16"),
        ("--precision", "tf32", "found tf32 on the processor, expected f32 or bf16 there, or --device cuda"),
        ("--unknown", "1", "--unknown"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_anomalens-train"));
        command.arg("ddpm");
        for (name, usual) in [
            ("--preset", &small),
            ("--cohort", &cohort),
            ("--output", &out),
            ("--iterations", &"1".to_owned()),
        ] {
            if name != option {
                command.args([name, usual]);
            }
        }
        command.args([option, value]);
        found.extend(faults(&format!("{option} {value}"), &place, &mut command, 2, &[part]));
        if place.path("run").exists() {
            found.push(format!("{option} {value}: a run was begun"));
        }
    }
    report(&found);
    for (arguments, code) in [(&["unknown"][..], 2), (&[], 2), (&["ddpm"], 2), (&["--help"], 0)] {
        let (found, text) = run(Command::new(env!("CARGO_BIN_EXE_anomalens-train")).args(arguments));
        assert_eq!(found, code, "{arguments:?}: {text}");
    }
}
