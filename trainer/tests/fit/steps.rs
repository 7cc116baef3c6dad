//! What is done of a plan: how far each step is, and in which order they are done.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use anomalens_trainer::fit::{FitError, Plan, Programs, State, carry_out};

use crate::support::{Place, run};
use crate::{WHOLE, plan, starting};

/// Makes a file of this age in seconds, and its folder.
fn make(path: &Path, age: u64) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let file = File::create(path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
}

#[test]
fn how_far_a_step_is() {
    use State::{Complete, Open, Stale};
    let mut found = Vec::new();
    for (case, files, step, expected) in [
        ("nothing", &[][..], "bundle", Open),
        ("a network begun", &[("ddpm/run.json", 9)], "ddpm", Open),
        ("a network", &[("ddpm/run.json", 9), ("ddpm/ddpm.safetensors", 1)], "ddpm", Complete),
        ("images", &[("cohort/cohort.json", 9)], "cohort", Complete),
        ("a bundle", &[DDPM, CLASSIFIER, CARD, ("bundle/manifest.json", 3)], "bundle", Complete),
        ("an older bundle", &[DDPM, CLASSIFIER, CARD, ("bundle/manifest.json", 7)], "bundle", Stale),
        ("a bundle, no classifier", &[DDPM, CARD, ("bundle/manifest.json", 3)], "bundle", Stale),
        ("a bundle of unknown fitness", &[DDPM, CLASSIFIER, CARD, BUNDLE], "fitness", Open),
        (
            "a measured bundle",
            &[DDPM, CLASSIFIER, CARD, ("bundle/fitness.json", 5), BUNDLE],
            "fitness",
            Complete,
        ),
        ("scores begun", &[TEST, BUNDLE, ("scores/parts/settings.json", 2)], "scores", Open),
        (
            "scores begun by an older bundle",
            &[TEST, BUNDLE, ("scores/parts/settings.json", 5)],
            "scores",
            Stale,
        ),
        (
            "scores",
            &[TEST, BUNDLE, ("scores/parts/settings.json", 2), ("scores/sheet.png", 1)],
            "scores",
            Complete,
        ),
        (
            "older scores",
            &[TEST, BUNDLE, ("scores/parts/settings.json", 9), ("scores/sheet.png", 8)],
            "scores",
            Stale,
        ),
    ] {
        let place = Place::new();
        for (name, age) in files {
            make(&place.path("out").join(name), *age);
        }
        let card = format!("bundle.card={}", place.path("out/card.md").display());
        let plan = plan(WHOLE, &place, &[&card]).unwrap();
        let state = plan.steps.iter().find(|s| s.name == step).unwrap().state();
        if state != expected {
            found.push(format!("{case}: found {state:?}, expected {expected:?}"));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
const DDPM: (&str, u64) = ("ddpm/ddpm.safetensors", 8);
const CLASSIFIER: (&str, u64) = ("classifier/classifier.safetensors", 6);
const CARD: (&str, u64) = ("card.md", 9);
const TEST: (&str, u64) = ("test/cohort.json", 9);
const BUNDLE: (&str, u64) = ("bundle/manifest.json", 4);

/// Stands in for every program: writes down how it was called, and leaves what the real one would.
const STAND_IN: &str = r#"#!/bin/sh
name=$(basename "$0")
here=$(dirname "$0")
echo "$name $1" >>"$here/log"
if [ -e "$here/fails" ] && [ "$(cat "$here/fails")" = "$name" ]; then exit 7; fi
if [ -e "$here/idle" ] && [ "$(cat "$here/idle")" = "$name" ]; then exit 0; fi
verb=$1
if [ "$verb" = fitness ]; then
    echo >"$2/fitness.json" && echo >"$2/manifest.json"
    exit
fi
while [ $# -gt 0 ]; do
    case $1 in
    -o | --out) out=$2 ;;
    esac
    shift
done
case $name in
anomalens-export) mkdir "$out" || exit 9 ;;
*) mkdir -p "$out/parts" ;;
esac
case $name in
anomalens-cohort) echo '{"items": [1, 2, 3], "generator": {"seed": 1}}' >"$out/cohort.json" ;;
anomalens-train)
    echo '{"iterations": 12, "batch": 16, "learning_rate": 0.0003, "seed": 7}' >"$out/run.json"
    [ -e "$here/stopped" ] || echo "$verb" >"$out/$verb.safetensors"
    ;;
anomalens-export) echo >"$out/manifest.json" ;;
anomalens) echo >"$out/parts/settings.json" && echo >"$out/sheet.png" ;;
esac
"#;

/// Stand-ins for the programs, in a folder.
struct StandIns(PathBuf);

impl StandIns {
    fn new(place: &Place) -> Self {
        let folder = place.path("bin");
        fs::create_dir(&folder).unwrap();
        for name in ["anomalens-cohort", "anomalens-train", "anomalens-export", "anomalens"] {
            fs::write(folder.join(name), STAND_IN).unwrap();
            fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self(folder)
    }

    /// What was called since the last look.
    fn log(&self) -> Vec<String> {
        let text = fs::read_to_string(self.0.join("log")).unwrap_or_default();
        let _ = fs::remove_file(self.0.join("log"));
        text.lines().map(str::to_owned).collect()
    }

    fn follow(&self, plan: &Plan) -> Result<(), FitError> {
        carry_out(plan, &Programs::of(&self.0), &AtomicBool::new(false))
    }
}

/// One test, so that no program is written while another is started.
#[test]
fn steps_are_done_once_and_in_order() {
    let _starting = starting();
    let place = Place::new();
    let programs = StandIns::new(&place);
    fs::write(place.path("card.md"), "").unwrap();
    let card = format!("bundle.card={}", place.path("card.md").display());
    // The stand-in's cohorts are all alike.
    let alike = [
        card.as_str(),
        "classifier={}",
        "classifier.iterations=12",
        "classifier.batch=16",
        "cohort.synthetic.slices=3",
        "validation.synthetic={anatomy=\"mni152\", slices=3, seed=1}",
        "test.synthetic={anatomy=\"mni152\", slices=3, seed=1}",
    ];
    let plan_with = |more: &[&str]| plan(WHOLE, &place, &[&alike, more].concat()).unwrap();
    let whole = plan_with(&[]);
    let out = |name: &str| place.path("out").join(name);
    let all = [
        "anomalens-cohort synthetic",
        "anomalens-cohort synthetic",
        "anomalens-cohort synthetic",
        "anomalens-train ddpm",
        "anomalens-train classifier",
        "anomalens-export bundle",
        "anomalens-export fitness",
        "anomalens evaluate",
    ];

    // A program that is not there is told before anything is begun.
    fs::rename(programs.0.join("anomalens"), programs.0.join("away")).unwrap();
    let error = programs.follow(&whole).unwrap_err().to_string();
    assert!(
        error.contains("bin/anomalens': found no such program") && error.contains("make train"),
        "{error}"
    );
    fs::rename(programs.0.join("away"), programs.0.join("anomalens")).unwrap();
    assert_eq!(programs.log(), Vec::<String>::new());

    // One that fails: which step, how, by what.
    fs::write(programs.0.join("fails"), "anomalens-export").unwrap();
    let error = programs.follow(&whole).unwrap_err();
    assert!(!error.is_usage());
    let error = error.to_string();
    for part in ["bundle: exit status: 7 of `", "/anomalens-export bundle --preset demo", "are kept"] {
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(programs.log(), all[..6]);
    fs::write(programs.0.join("fails"), "").unwrap();

    // One that ends well and leaves nothing.
    fs::write(programs.0.join("idle"), "anomalens-export").unwrap();
    let error = programs.follow(&whole).unwrap_err().to_string();
    assert!(
        error.contains("bundle: found no '") && error.contains("bundle/manifest.json' after `"),
        "{error}"
    );
    assert_eq!(programs.log(), all[5..6]);
    fs::write(programs.0.join("idle"), "").unwrap();

    // What is complete is left alone.
    programs.follow(&whole).unwrap();
    assert_eq!(programs.log(), all[5..]);
    programs.follow(&whole).unwrap();
    assert_eq!(programs.log(), Vec::<String>::new());

    // A training that was told to stop ends well without a result.
    fs::remove_dir_all(out("ddpm")).unwrap();
    fs::write(programs.0.join("stopped"), "").unwrap();
    let error = programs.follow(&whole).unwrap_err().to_string();
    assert_eq!(error, "stopped in step ddpm; the same command goes on from here");
    fs::remove_file(programs.0.join("stopped")).unwrap();
    assert_eq!(programs.log(), all[3..4]);

    // A network that is newer: its bundle is made anew, and so are the scores.
    std::thread::sleep(Duration::from_millis(20));
    programs.follow(&whole).unwrap();
    assert_eq!(programs.log(), [all[3], all[5], all[6], all[7]]);

    // Told to stop before a step begins.
    let stop = AtomicBool::new(true);
    let error = carry_out(&whole, &Programs::of(&programs.0), &stop).unwrap_err().to_string();
    assert_eq!(error, "stopped in step cohort; the same command goes on from here");

    // What is there must be as the recipe says.
    for (set, parts) in [
        ("cohort.synthetic.slices=4", ["cohort: '", "cohort.json': slices: found 3, expected 4"]),
        ("test.synthetic.seed=2", ["test: '", "generator.seed: found 1, expected 2"]),
        ("ddpm.iterations=13", ["ddpm: '", "run.json': iterations: found 12, expected 13"]),
        ("classifier.learning_rate=1e-4", ["classifier: '", "learning_rate: found 0.0003, expected 0.0001"]),
        ("seed=8", ["ddpm: '", "seed: found 7, expected 8"]),
    ] {
        let error = programs.follow(&plan_with(&[set])).unwrap_err().to_string();
        let way_out = "to make it anew, or choose another output";
        for part in parts.into_iter().chain([way_out]) {
            assert!(error.contains(part), "{set}: expected '{part}' in '{error}'");
        }
    }
    assert_eq!(programs.log(), Vec::<String>::new());
}

#[test]
fn the_program_tells_its_plan() {
    let _starting = starting();
    let place = Place::new();
    // The real one among stand-ins: it looks for the others beside itself.
    let programs = StandIns::new(&place);
    let program = programs.0.join("anomalens-train");
    fs::remove_file(&program).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_anomalens-train"), &program).unwrap();
    let preset = place.path("small.toml").display().to_string();
    let text = format!(
        "preset = \"{preset}\"\noutput = \"{}\"\ncohort = {{ path = \"{}\" }}\n\
         [ddpm]\niterations = 4\nbatch = 2\nthreads = 1\nprecision = \"f32\"\n\
         [classifier]\niterations = 4\nbatch = 2\nthreads = 1\n",
        place.path("out").display(),
        place.path("cohort").display()
    );
    fs::write(place.path("RUN.toml"), text).unwrap();
    let fit = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        run(command.arg("fit").arg(place.path("RUN.toml")).args(arguments))
    };
    let (code, told) = fit(&["--dry-run"]);
    assert_eq!(code, 0, "{told}");
    for part in [
        "4 steps; nothing is done now",
        "1. ddpm: to be done\n",
        "bin/anomalens-train ddpm --preset ",
        "parameters: ",
        "for 2 images at once",
        "moments and average",
        "= 4 steps of 2 images at ",
        "measured now on cpu in f32",
        "are estimates",
    ] {
        assert!(told.contains(part), "expected '{part}' in\n{told}");
    }
    assert!(!place.path("out").exists());

    let (code, told) = fit(&[]);
    assert_eq!(code, 0, "{told}");
    for part in ["fit: 1 of 4, ddpm\n", "fit: complete: "] {
        assert!(told.contains(part), "expected '{part}' in\n{told}");
    }
    assert!(place.path("out/classifier/classifier.safetensors").exists());
    let (code, told) = fit(&[]);
    let left = told.lines().filter(|line| line.ends_with(" is there")).count();
    assert_eq!((code, left), (0, 4), "{told}");
    // Not begun anew with other settings; a wrong file is one of usage.
    let (code, told) = fit(&["--set", "ddpm.batch=3"]);
    assert!(code == 1 && told.contains("batch: found 2, expected 3"), "{told}");
    let (code, told) = fit(&["--set", "ddpm.batch=0"]);
    assert!(code == 2 && told.contains("ddpm.batch: found 0"), "{told}");
}
