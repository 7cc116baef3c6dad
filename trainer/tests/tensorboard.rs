//! TensorBoard's own reader finds in a run's events what stands in its metrics.jsonl.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Map, Value};
use support::{Place, run};

/// Prints what TensorBoard would show of a run: {name: [[step, value], …]}.
const READ: &str = "
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1])
events.Reload()
print(json.dumps({name: [[e.step, e.value] for e in events.Scalars(name)] for name in events.Tags()['scalars']}))
";

type Curves = BTreeMap<String, Vec<(u64, f32)>>;

fn shown(python: &str, folder: &Path) -> Curves {
    let output = Command::new(python).args(["-c", READ]).arg(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn written(folder: &Path) -> Curves {
    let mut curves = Curves::new();
    for line in fs::read_to_string(folder.join("metrics.jsonl")).unwrap().lines() {
        let line: Map<String, Value> = serde_json::from_str(line).unwrap();
        let step = line["step"].as_u64().unwrap();
        for (name, value) in line.iter().filter(|(name, _)| *name != "step") {
            curves.entry(name.clone()).or_default().push((step, value.as_f64().unwrap() as f32));
        }
    }
    curves
}

#[test]
fn tensorboard_shows_the_metrics() {
    let python = std::env::var("TENSORBOARD_PYTHON").unwrap_or_else(|_| "python3".into());
    let has = Command::new(&python).args(["-c", "import tensorboard"]).output();
    if !has.is_ok_and(|output| output.status.success()) {
        assert!(std::env::var_os("CI").is_none(), "CI must have the Python package tensorboard");
        eprintln!("SKIPPED: {python} has no tensorboard; TENSORBOARD_PYTHON names a Python that has");
        return;
    }
    let place = Place::new();
    let folder = place.path("run");
    let options = ["--iterations", "9", "--log-every", "2", "--checkpoint-every", "4", "--keep", "9"];
    let train = || {
        let (code, text) = run(&mut place.train("classifier", "run", &options));
        assert!(code == 0 && text.contains("complete: "), "{text}");
    };
    train();
    let first = shown(&python, &folder);
    assert_eq!(first, written(&folder));
    assert_eq!(first["cross_entropy"].iter().map(|(step, _)| *step).collect::<Vec<_>>(), [2, 4, 6, 8, 9]);

    // From step 4 on again: the steps made twice are shown once, by their second figures.
    for name in ["checkpoints/step-0000008.safetensors", "checkpoints/step-0000009.safetensors"] {
        fs::remove_file(folder.join(name)).unwrap();
    }
    train();
    let again = shown(&python, &folder);
    assert_eq!(again, written(&folder));
    // The clock's figure tells the two apart, and so would the comparison.
    assert_ne!(again["images_per_second"], first["images_per_second"]);
}
