//! Whether what is there was made as the recipe says.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::error::FitError;
use super::plan::{Plan, Step, Work};
use crate::run::Start;

/// Compares a complete step with the recipe, by what the step wrote down about itself. A setting that it did not write
/// down is not compared. What is not complete is compared by its own program, when it goes on.
///
/// Errors: [`FitError::Other`], [`FitError::Io`].
pub(super) fn check(plan: &Plan, step: &Step) -> Result<(), FitError> {
    let (file, expected) = match &step.work {
        Work::Synthetic(synthetic) => (
            step.folder.join("cohort.json"),
            vec![
                ("slices", json!(synthetic.slices)),
                ("size", json!(plan.preset.image.size)),
                ("generator.seed", json!(synthetic.seed)),
                ("generator.anatomy", json!(synthetic.anatomy.name())),
            ],
        ),
        Work::Train { recipe, start, .. } => {
            let start = match start {
                Some(file) => json!(Start::open(file)?.fingerprint),
                None => Value::Null,
            };
            (
                step.begun.clone(),
                vec![
                    ("preset.name", json!(plan.preset.name)),
                    ("iterations", json!(recipe.iterations)),
                    ("batch", json!(recipe.batch)),
                    ("learning_rate", json!(recipe.learning_rate)),
                    ("cosine", json!(recipe.cosine)),
                    ("ema", json!(recipe.ema)),
                    ("clip_gradient", json!(recipe.clip_gradient)),
                    ("max_level", json!(recipe.max_level)),
                    // A run writes down what is off as null.
                    ("accumulate", json!((recipe.accumulate > 1).then_some(recipe.accumulate))),
                    ("dropout", json!((recipe.dropout > 0.0).then_some(recipe.dropout))),
                    ("flip", json!(recipe.flip)),
                    ("start_from", start),
                    ("seed", json!(plan.seed)),
                ],
            )
        }
        Work::Bundle | Work::Fitness | Work::Scores => return Ok(()),
    };
    let made = read(&file)?;
    for (key, expected) in expected {
        let items = made.get("items").and_then(Value::as_array);
        let found = match (key, items) {
            ("slices", Some(items)) => Some(json!(items.len())),
            _ => key.split('.').try_fold(&made, |value, key| value.get(key)).cloned(),
        };
        if let Some(found) = found.filter(|found| !same(found, &expected)) {
            return Err(FitError::Other {
                step: step.name,
                file,
                key: key.to_owned(),
                found: found.to_string(),
                expected: expected.to_string(),
            });
        }
    }
    Ok(())
}

fn read(file: &Path) -> Result<Value, FitError> {
    let text = fs::read_to_string(file);
    text.and_then(|text| Ok(serde_json::from_str(&text)?))
        .map_err(|source| FitError::Io { path: file.to_owned(), source })
}

/// A number that was read back may differ in its last digit.
fn same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => (a - b).abs() <= 1e-12 * a.abs().max(b.abs()),
        _ => a == b,
    }
}
