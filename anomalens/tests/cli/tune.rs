//! `tune`: what is found is kept, taken where nothing else is said, and left where it does not fit.

use std::fs;
use std::path::{Path, PathBuf};

use ndarray::{Array3, Array4, Axis, Ix3};
use ndarray_npy::write_npy;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::evaluate::cohort;
use crate::support::{Run, anomalens, golden, listing, max_abs, npy, one_pass, run, tiny, told, translate};

/// The program with a folder of configuration of its own.
struct Person {
    config: TempDir,
    out: TempDir,
}

impl Person {
    fn new() -> Self {
        Self { config: tempfile::tempdir().unwrap(), out: tempfile::tempdir().unwrap() }
    }

    fn run(&self, args: &[&str]) -> Run {
        told(anomalens().env("XDG_CONFIG_HOME", self.config.path()).args(args))
    }

    /// Tunes for a bundle.
    fn tune(&self, bundle: &Path, more: &[&str]) -> Run {
        self.run(&[&["tune", bundle.to_str().unwrap()], more].concat())
    }

    /// Translates by the tiny networks, each time into another folder.
    fn translate(&self, more: &[&str]) -> Run {
        let out = self.out.path().join(listing(self.out.path()).len().to_string());
        let (input, bundle) = (golden("ddim/x0.npy"), tiny().to_str().unwrap());
        let words = ["translate", input.to_str().unwrap(), "--bundle", bundle, "--noise-level", "2"];
        self.run(&[&words, &["--out", out.to_str().unwrap()][..], more].concat())
    }

    /// The one file that is kept.
    fn kept(&self) -> PathBuf {
        let folder = self.config.path().join("anomalens/tuned");
        let names = listing(&folder);
        assert_eq!(names.len(), 1, "{names:?}");
        folder.join(&names[0])
    }

    fn read(&self) -> Value {
        serde_json::from_str(&fs::read_to_string(self.kept()).unwrap()).unwrap()
    }

    fn change(&self, change: impl FnOnce(&mut Value)) {
        let mut kept = self.read();
        change(&mut kept);
        fs::write(self.kept(), kept.to_string()).unwrap();
    }
}

#[test]
fn what_is_found_is_taken_where_nothing_else_is_said() {
    let person = Person::new();
    let found = person.tune(tiny(), &["--steps", "2", "--held-out", cohort().to_str().unwrap()]);
    found.expect(0, &["--engine ort --batch 1: 0.", "--engine tract --batch 1: 0.", "is taken from now on"]);
    let kept = person.read();
    let tried = kept["tried"].as_array().unwrap();
    let of = |words: &Value| tried.iter().find(|tried| tried["choice"] == *words).unwrap();
    let seconds = |tried: &Value| tried["seconds_a_slice"].as_f64();
    // None that passed, or need not be compared, is faster.
    assert_eq!(seconds(of(&kept["choice"])), kept["seconds_a_slice"].as_f64());
    let faster = tried.iter().filter(|tried| seconds(tried) < seconds(&kept));
    for tried in faster {
        assert!(tried["verdict"].as_str().unwrap().starts_with("REFUSED"), "{tried:#}");
    }
    person.translate(&[]).expect(0, &["tuned: --engine", "s a slice"]);

    // Whatever was fastest here, now it is tract, two at once.
    let tract = of(&json!(["--engine", "tract", "--batch", "1"]));
    person.change(|kept| {
        kept["choice"] = json!(["--engine", "tract", "--batch", "2"]);
        kept["engine"] = tract["engine"].clone();
    });
    let words = ["tuned: --engine tract --batch 2 (`anomalens tune` of 20", "engine: tract", "1 of 1 slices"];
    person.translate(&[]).expect(0, &words);
    let report = fs::read_to_string(person.out.path().join("1/report.html")).unwrap();
    assert!(report.contains("tuned: --engine tract --batch 2"), "{report}");
    let inspected = person.run(&["inspect", tiny().to_str().unwrap()]);
    inspected.expect(0, &["tuned        --engine tract --batch 2"]);
    // One option of a person's counts for all of it.
    for option in [["--engine", "auto"], ["--device", "cpu"], ["--threads", "1"], ["--batch", "1"]] {
        let by_hand = person.translate(&option);
        by_hand.expect(0, &["engine: ort"]);
        assert!(!by_hand.stderr.contains("tuned"), "{by_hand:?}");
    }
    // A cohort is worked through by the same.
    let (bundle, out) = (tiny().to_str().unwrap(), person.out.path().join("scores"));
    let cohort = cohort().to_str().unwrap();
    let words = ["evaluate", cohort, "--bundle", bundle, "--noise-level", "2", "--limit", "2", "--out"];
    let scored = person.run(&[&words, &[out.to_str().unwrap()][..]].concat());
    scored.expect(0, &["tuned: --engine tract --batch 2", "engine: tract"]);
    let out = person.out.path().join("grid");
    let words =
        ["sweep", cohort, "--bundle", bundle, "--levels", "2", "--scales", "1", "--limit", "2", "--out"];
    person.run(&[&words, &[out.to_str().unwrap()][..]].concat()).expect(0, &["tuned: ", "engine: tract"]);
    // Another bundle has another file.
    let other = one_pass("tiny_vae").to_str().unwrap();
    assert!(!person.run(&["inspect", other]).stdout.contains("tuned"));

    person.tune(tiny(), &["--forget"]).expect(0, &["is removed"]);
    person.tune(tiny(), &["--forget"]).expect(0, &["nothing is kept"]);
    person.translate(&[]).expect(0, &["(--engine auto: ONNX Runtime's library was found"]);
}

#[test]
fn what_does_not_fit_is_left_and_what_is_damaged_is_told() {
    let person = Person::new();
    let found = person.tune(one_pass("tiny_vae"), &[]);
    found.expect(0, &["is taken from now on"]);
    // The networks of one pass and those of two are the same to it.
    let bundle = one_pass("tiny_vae").to_str().unwrap();
    let (input, out) = (golden("ddim/x0.npy"), person.out.path());
    let translate = |name: &str| {
        let out = out.join(name);
        let words = ["translate", input.to_str().unwrap(), "--bundle", bundle, "--out"];
        person.run(&[&words, &[out.to_str().unwrap()][..]].concat())
    };
    translate("taken").expect(0, &["tuned: --engine"]);
    for (key, value, words) in [
        ("tool", json!("anomalens 0.0.0"), "it was found with the program 'anomalens 0.0.0', this is"),
        ("engine", json!("ort 0.0.0 (cpu)"), "it was found with the engine 'ort 0.0.0 (cpu)', this is"),
    ] {
        let before = person.read();
        person.change(|kept| kept[key] = value);
        let run = translate(key);
        run.expect(0, &[words, "is not taken", "anomalens tune", "--engine auto"]);
        person.change(|kept| *kept = before);
    }
    // An engine that is gone is no reason to stop.
    person.change(|kept| kept["choice"] = json!(["--engine", "tract", "--device", "cuda", "--batch", "1"]));
    translate("gone").expect(0, &["is not taken: tract", "--engine auto"]);

    fs::write(person.kept(), "{").unwrap();
    let words = ["tuned choice '", "run `anomalens tune BUNDLE` again"];
    translate("damaged").expect(1, &words);
    person.run(&["inspect", bundle]).expect(0, &words);
    // Who says what is to be taken is not troubled by it, and the next finding mends it.
    let by_hand = out.join("by-hand");
    let words = ["translate", input.to_str().unwrap(), "--bundle", bundle, "--engine", "ort", "--out"];
    person
        .run(&[&words, &[by_hand.to_str().unwrap()][..]].concat())
        .expect(0, &["asked for by --engine ort"]);
    person.tune(one_pass("tiny_vae"), &[]).expect(0, &[]);
    translate("mended").expect(0, &["tuned: --engine"]);
}

#[test]
fn choices_are_compared_by_what_translate_makes() {
    let folder = tempfile::tempdir().unwrap();
    let images = Array4::from_shape_fn((3, 4, 32, 32), |(i, c, y, x)| {
        let inside = (y as f32 - 16.0).hypot(x as f32 - 16.0) < 12.0;
        if inside { 0.3 + 0.1 * c as f32 + 0.01 * ((x * (i + 2) + y) % 7) as f32 } else { 0.0 }
    });
    write_npy(folder.path().join("images.npy"), &images).unwrap();
    let maps = folder.path().join("maps.npy");
    let options = ["--engine", "tract", "--batch", "2", "--steps", "2"];
    let mut attempt = vec!["tune-attempt", tiny().to_str().unwrap(), "--maps", maps.to_str().unwrap()];
    attempt.extend(["--held-out", folder.path().to_str().unwrap()]);
    let printed = run(&[&attempt[..], &options].concat());
    printed.expect(0, &["\"engine\":\"tract", "\"seconds\":"]);
    let found: Array3<f32> = npy(&maps).into_dimensionality::<Ix3>().unwrap();
    let out = folder.path().join("out");
    let words = ["--noise-level", "50"];
    let input = folder.path().join("images.npy");
    translate(&input, tiny(), &out, &[&options[..], &words].concat()).expect(0, &[]);
    let expected = npy(&out.join("map.npy"));
    assert_eq!(max_abs(&found, &expected), 0.0);
    let other = expected.index_axis(Axis(0), 0).to_owned();
    assert!(max_abs(&found.index_axis(Axis(0), 1).to_owned(), &other) > 1e-3, "one image is like another");
}

#[test]
fn what_cannot_be_tuned_is_said() {
    let person = Person::new();
    let nowhere = person.out.path().to_str().unwrap();
    person.tune(tiny(), &["--held-out", nowhere]).expect(1, &["images.npy", "anomalens-cohort"]);
    person.tune(tiny(), &["--spacing", "2", "--steps", "every"]).expect(2, &["nothing to space"]);
    person.tune(one_pass("tiny_vae"), &["--steps", "3"]).expect(2, &["--steps with a bundle of method vae"]);
    person.tune(tiny(), &["--forget", "--unverified"]).expect(2, &["cannot be used with"]);
    person.tune(Path::new(nowhere), &[]).expect(1, &["manifest.json"]);
    let unverified = crate::support::without_classifier();
    person.tune(unverified, &[]).expect(1, &["nothing here runs this bundle", "not verified"]);
    assert!(listing(person.config.path()).is_empty());
    person.run(&["tune", "--help"]).expect(0, &["Examples:", "--forget", "Exit codes"]);
    assert!(!person.run(&["--help"]).stdout.contains("tune-attempt"));
}

#[test]
#[cfg(unix)]
fn an_interrupt_leaves_what_was_found_before() {
    use std::io::{BufRead, BufReader, Read};
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    let person = Person::new();
    person.tune(tiny(), &["--steps", "2"]).expect(0, &[]);
    let before = person.read();
    let mut child = Command::new(env!("CARGO_BIN_EXE_anomalens"))
        .env("XDG_CONFIG_HOME", person.config.path())
        .arg("tune")
        .arg(tiny())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("--engine ort --batch 1: ") {
        line.clear();
        assert!(stderr.read_line(&mut line).unwrap() > 0, "it ended before it began");
    }
    let sent = Instant::now();
    let kill = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    assert!(kill.unwrap().success());
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{rest}");
    assert!(rest.contains("error: interrupted: nothing was written"), "{rest}");
    assert!(sent.elapsed() < Duration::from_secs(10), "the measurement is ended, too");
    assert_eq!(person.read(), before);
}
