//! Bundles that are no bundles, and what `inspect` says of good ones.

use std::fs;
use std::path::Path;

use anomalens_models::manifest::{FileEntry, Manifest};

use crate::support::{copy, golden, listing, run, tiny, translate, without_classifier};

/// Writes a manifest that agrees with the files as they are now.
fn seal(bundle: &Path) {
    let mut manifest = Manifest::read(bundle).unwrap();
    for (name, entry) in &mut manifest.files {
        *entry = FileEntry::of(&bundle.join(name)).unwrap();
    }
    fs::write(bundle.join("manifest.json"), manifest.to_json()).unwrap();
}

fn edit(bundle: &Path, from: &str, to: &str) {
    let path = bundle.join("manifest.json");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "no {from} in {text}");
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

#[test]
fn spoilt_bundles_are_refused() {
    type Spoil = fn(&Path);
    let cases: [(&str, Spoil, &[&str]); 7] = [
        (
            "no manifest",
            |b| fs::remove_file(b.join("manifest.json")).unwrap(),
            &["manifest.json: ", "anomalens-export bundle"],
        ),
        ("a missing key", |b| edit(b, "\"provenance\"", "\"origin\""), &["missing field `provenance`"]),
        (
            "newer",
            |b| edit(b, "\"format\": 1", "\"format\": 99"),
            &["format 99", "use the version that wrote it"],
        ),
        (
            "a wrong hash",
            |b| {
                let path = b.join("weights.safetensors");
                let mut bytes = fs::read(&path).unwrap();
                *bytes.last_mut().unwrap() ^= 1;
                fs::write(path, bytes).unwrap();
            },
            &["weights.safetensors: found", "sha256"],
        ),
        ("a missing file", |b| fs::remove_file(b.join("unet.onnx")).unwrap(), &["unet.onnx: "]),
        (
            "a foreign graph",
            |b| {
                fs::copy(b.join("classifier_gradient.onnx"), b.join("unet.onnx")).unwrap();
                seal(b);
            },
            &["unet.onnx: output out is missing", "foreign graph"],
        ),
        (
            "no graph at all",
            |b| {
                fs::write(b.join("unet.onnx"), b"no graph").unwrap();
                seal(b);
            },
            &["unet.onnx' cannot be loaded"],
        ),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (name, spoil, words) in cases {
        let bundle = copy(tiny());
        spoil(bundle.path());
        let run = translate(&golden("ddim/x0.npy"), bundle.path(), &folder.path().join("out"), &[]);
        println!("{name}: {}", run.stderr);
        run.expect(1, &[&["error: bundle '", bundle.path().to_str().unwrap()], words].concat());
        assert!(listing(folder.path()).is_empty(), "{name}");
    }
}

#[test]
fn without_a_classifier_nothing_guides() {
    let folder = tempfile::tempdir().unwrap();
    let (x, bundle, out) = (golden("ddim/x0.npy"), without_classifier(), folder.path().join("out"));
    let words = ["has no classifier: gradient scale 100, expected 0", "--scale 0"];
    translate(&x, bundle, &out, &["--unverified"]).expect(2, &words);
    translate(&x, bundle, &out, &["--scale", "100", "--unverified"]).expect(2, &words);
    assert!(listing(folder.path()).is_empty());
    translate(&x, bundle, &out, &["--scale", "0"]).expect(1, &["not verified (gate 'none')", "--unverified"]);
    assert!(listing(folder.path()).is_empty());
    translate(&x, bundle, &out, &["--scale", "0", "--unverified"])
        .expect(0, &["warning: the bundle has no classifier", "warning: the bundle is not verified"]);
    let report = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(report.contains("NOT verified") && report.contains("0 (no guidance)"));
}

#[test]
fn inspect_tells_what_a_bundle_holds() {
    let told = run(&[Path::new("inspect"), tiny()]);
    told.expect(
        0,
        &[
            "tiny: A network pair small enough",
            "random <weights>",
            "4 channel(s), 32 x 32",
            "linear, T = 1000",
            "--noise-level 50 --scale 100 --healthy-class 0 --steps every --solver euler",
            "flair        MR; description or protocol contains one of 'flair'",
            "gate 'quick': passed",
            "unet.onnx",
            "as written",
        ],
    );
    run(&[Path::new("inspect"), without_classifier()])
        .expect(1, &["no classifier gradient", "NOT verified", "translate wants --unverified"]);
    let bundle = copy(tiny());
    fs::write(bundle.path().join("MODEL_CARD.md"), "another").unwrap();
    run(&[Path::new("inspect"), bundle.path()]).expect(1, &["CHANGED: now 7 bytes", "translate refuses"]);
}

#[test]
fn inspect_tells_how_far_translations_are_from_those_of_f32() {
    let trajectory = |map_change: &str| {
        format!(
            r#""trajectory": {{"images": [0, 7], "sha256": "ab", "noise_level": 500, "steps": 50, "scale": 10.0,
            "engine": "ort 1", "against": "f32", "map_change": {map_change}, "map_limit": 0.01, "dice_with": "truth",
            "dice_change": 0.002, "dice_limit": 0.005}}, "checks": ["#
        )
    };
    let within = copy(tiny());
    edit(within.path(), r#""checks": ["#, &trajectory("0.001"));
    let told = "translations: 2 held-out images in 50 + 50 steps (L = 500, s = 10), by ort 1 against f32: anomaly map inside \
                the brain 0.100 % off, limit 1 %; Dice with truth 0.0020 off, limit 0.005";
    run(&[Path::new("inspect"), within.path()]).expect(0, &["gate 'quick': passed", told]);
    let over = copy(tiny());
    edit(over.path(), r#""checks": ["#, &trajectory("0.02"));
    run(&[Path::new("inspect"), over.path()]).expect(1, &["NOT verified", "2.000 % off"]);
    let wanting = copy(tiny());
    edit(wanting.path(), r#""gate": "quick""#, r#""gate": "none", "wanting": ["held-out images"]"#);
    run(&[Path::new("inspect"), wanting.path()]).expect(1, &["NOT verified", "wanting: held-out images"]);
}
