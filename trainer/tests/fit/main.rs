//! `anomalens-train fit`: what a RUN.toml comes to, and what is done of it. The programs of the steps are stand-ins here;
//! `.ci/run` runs the real ones.
#![cfg(unix)]

mod command_lines;
mod steps;
#[path = "../support/mod.rs"]
mod support;

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anomalens_trainer::fit::{FitError, Plan, RunFile};
use support::Place;

/// A program that is being written cannot be started, and a started one holds for a moment what others are writing.
static STARTING: Mutex<()> = Mutex::new(());

fn starting() -> MutexGuard<'static, ()> {
    STARTING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Synthetic images for everything, in `{OUT}`.
const WHOLE: &str = r#"
preset = "demo"
output = "{OUT}"
seed = 7
[cohort]
synthetic = { anatomy = "mni152", slices = 30, seed = 1 }
[validation]
synthetic = { anatomy = "mni152", slices = 4, seed = 500 }
images = 16
every = 250
[test]
synthetic = { anatomy = "mni152", slices = 8, seed = 1000 }
[ddpm]
iterations = 12
learning_rate = 3e-4
[classifier]
ema = "none"
clip_gradient = 1
start_from_ddpm = true
[bundle]
gate = "quick"
note = "it's a test"
card = "card.md"
"#;

/// Images that are there, and nothing else; no words of its own on the recipe.
const LEAST: &str = r#"
preset = "tiny"
output = "{OUT}"
cohort = { path = "{COHORT}", split = "train" }
"#;

fn plan(text: &str, place: &Place, sets: &[&str]) -> Result<Plan, FitError> {
    let text = text
        .replace("{OUT}", place.path("out").to_str().unwrap())
        .replace("{COHORT}", place.path("cohort").to_str().unwrap());
    let sets: Vec<String> = sets.iter().map(|&set| set.to_owned()).collect();
    let file = Path::new("RUN.toml");
    Plan::new(file, &RunFile::parse(file, &text, &sets)?)
}
