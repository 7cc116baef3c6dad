//! The command line: usage, help, doctor.

use std::path::Path;

use crate::support::{anomalens, golden, listing, run, tiny, told, translate};

#[test]
fn wrong_usage_is_exit_code_2() {
    let cases: [(&[&str], &str); 32] = [
        (&["--noise-level", "1001"], "noise level 1001, expected 1..=1000"),
        (&["--noise-level", "0"], "noise level 0 is the clean image"),
        (&["--noise-level", "11", "--respacing", "ddim10"], "expected 1..=10"),
        (&["--noise-level", "4", "--steps", "5"], "5 steps to noise level 4"),
        (&["--noise-level", "4", "--respacing", "ddim300"], "no integer stride"),
        (&["--noise-level", "4", "--respacing", "ten"], "expected ddimN"),
        (&["--noise-level", "4", "--respacing", "ddim10", "--steps", "2"], "cannot be used with"),
        (&["--noise-level", "4", "--schedule", "reference", "--steps", "2"], "published script knows none"),
        (&["--noise-level", "4", "--schedule", "reference", "--spacing", "2"], "published script knows none"),
        (&["--noise-level", "4", "--steps", "some"], "expected a number of steps, or every"),
        (
            &["--noise-level", "4", "--steps", "2", "--spacing", "0.5"],
            "spacing 0.5, expected a number from 1 to 4",
        ),
        (&["--noise-level", "4", "--steps", "2", "--spacing", "nan"], "spacing NaN, expected"),
        (&["--noise-level", "4", "--steps", "every", "--spacing", "2"], "nothing to space"),
        (&["--noise-level", "4", "--spacing", "2"], "expected --steps N beside it"),
        (&["--solver", "heun"], "found 'heun', expected euler or ab2"),
        (&["--solver", "ab2", "--schedule", "reference"], "--solver with --schedule reference"),
        (&["--exact", "--schedule", "reference"], "--exact with --schedule reference"),
        (&["--solver", "ab2", "--method", "ddpm"], "--solver ab2 with --method ddpm"),
        (&["--guidance-interval", "9:8"], "LO at most HI"),
        (&["--exact", "--steps", "2"], "cannot be used with"),
        (&["--exact", "--solver", "euler"], "cannot be used with"),
        (&["--exact", "--noise-level", "4", "--respacing", "ddim10"], "cannot be used with"),
        (&["--noise-level", "1", "--schedule", "reference"], "expected 2..="),
        (&["--clip"], "--clip with --schedule paper"),
        (&["--method", "ddpm", "--schedule", "reference"], "--schedule reference with --method ddpm"),
        (&["--seed", "1"], "--seed with --schedule paper"),
        (&["--scale", "-1"], "unexpected argument"),
        (&["--scale=-1"], "gradient scale -1, expected a finite number"),
        (&["--healthy-class", "2"], "healthy class 2, expected 0..=1"),
        (&["--batch", "0"], "batch 0, expected at least 1"),
        (&["--engine", "torch"], "engine 'torch', expected auto, ort or tract"),
        (&["--channel", "flair=x.dcm"], "is an array"),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (more, words) in cases {
        translate(&golden("ddim/x0.npy"), tiny(), &folder.path().join("out"), more)
            .expect(2, &["error: ", words]);
        assert!(listing(folder.path()).is_empty(), "{more:?}");
    }
    run::<&str>(&[]).expect(2, &["Usage: anomalens"]);
    run(&["translate"]).expect(2, &["--bundle <DIR>"]);
}

#[test]
fn engines_are_named_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let x = golden("ddim/x0.npy");
    let by = |name: &str, more: &[&str]| translate(&x, tiny(), &folder.path().join(name), more);
    by("tract", &["--engine", "tract", "--threads", "1"])
        .expect(0, &["engine: tract", "threads: 1", "asked for by --engine tract"]);
    by("auto", &[]).expect(0, &["engine: ort", "library was found"]);
    by("none", &["--threads", "0"]).expect(1, &["0 threads, expected at least 1"]);
    by("gpu", &["--engine", "tract", "--device", "cuda"]).expect(1, &["device cuda:0 cannot be used"]);
    by("openvino", &["--engine", "tract", "--provider", "openvino"])
        .expect(1, &["tract: provider openvino cannot be used", "--engine ort"]);
    by("word", &["--provider", "bf16"]).expect(2, &["expected default, openvino or openvino-bf16"]);
    // Nothing stands in for it, neither other kernels nor tract.
    let mut openvino = anomalens();
    openvino.env("ANOMALENS_OPENVINO", "/nowhere/openvino.so").arg("translate").arg(&x);
    openvino
        .arg("--bundle")
        .arg(tiny())
        .args(["--provider", "openvino", "--out"])
        .arg(folder.path().join("none"));
    told(&mut openvino)
        .expect(1, &["/nowhere/openvino.so (named by ANOMALENS_OPENVINO)", "make deps PROVIDER=openvino"]);
    let mut elsewhere = anomalens();
    elsewhere.env("ORT_DYLIB_PATH", "/nowhere/libonnxruntime.so").arg("translate").arg(&x);
    elsewhere.arg("--bundle").arg(tiny()).arg("--out").arg(folder.path().join("elsewhere"));
    told(&mut elsewhere).expect(1, &["/nowhere/libonnxruntime.so (named by ORT_DYLIB_PATH)", "make deps"]);
    assert_eq!(listing(folder.path()), ["auto", "tract"]);
}

#[test]
fn help_shows_examples_and_exit_codes() {
    run(&["translate", "--help"]).expect(0, &["Examples:", "--channel t1=t1.dcm", "Exit codes", "ddimN"]);
    run(&["inspect", "--help"]).expect(0, &["Examples:"]);
    run(&["--help"]).expect(0, &["Not for diagnostic use", "doctor"]);
    run(&["--version"]).expect(0, &["anomalens 0."]);
}

#[test]
fn doctor_finds_an_engine() {
    run(&["doctor"])
        .expect(0, &["engine tract           usable", "device cpu             usable", "engine auto"]);
    told(anomalens().arg("doctor").env("ORT_DYLIB_PATH", "/nowhere"))
        .expect(0, &["engine ort             NOT usable", "ORT_DYLIB_PATH is '/nowhere'"]);
    told(anomalens().arg("doctor").env("ANOMALENS_OPENVINO", "/no/openvino.so")).expect(
        0,
        &[
            "provider openvino      NOT usable",
            "/no/openvino.so (named by ANOMALENS_OPENVINO)",
            "make deps PROVIDER=openvino",
            "ANOMALENS_OPENVINO is '/no/openvino.so'",
        ],
    );
}

#[test]
fn what_is_not_there_is_said() {
    let nowhere = Path::new("/nowhere/at/all");
    run(&[Path::new("inspect"), nowhere]).expect(1, &["error: /nowhere/at/all"]);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    translate(nowhere, tiny(), &out, &[]).expect(1, &["/nowhere/at/all", "check the path"]);
    translate(&golden("ddim/x0.npy"), nowhere, &out, &[]).expect(1, &["bundle '/nowhere/at/all'"]);
    assert!(listing(folder.path()).is_empty());
}
