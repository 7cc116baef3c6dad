//! Scores, thresholds and equalised intensities against scikit-learn and scikit-image, on random values with ties and on
//! masks that are empty or full.

use std::io::Write;
use std::process::{Command, Stdio};

use anomalens_method::baseline::Equaliser;
use anomalens_method::metrics::{Pool, Ranking, Region, dice, ranking};
use anomalens_method::otsu;
use anomalens_models::image::AnomalyMap;
use ndarray::Array2;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde_json::{Value, json};

/// Reads a list of cases, and answers each; null: there is no such number.
const ANSWER: &str = r#"
import json, sys, warnings
import numpy as np
from skimage.exposure import equalize_hist
from skimage.filters import threshold_otsu
from sklearn.metrics import average_precision_score, f1_score, precision_recall_curve, roc_auc_score
warnings.simplefilter("ignore")

def answer(case):
    scores = np.array(case["scores"], np.float32)
    truth = np.array(case["truth"], bool)
    threshold = threshold_otsu(scores)
    mask = scores > threshold
    both = truth.any() and not truth.all()
    precision, recall, _ = precision_recall_curve(truth, scores)
    volume = scores - scores.min()
    return {
        "threshold": float(threshold),
        "dice": f1_score(truth, mask, zero_division=1.0),
        "auroc": roc_auc_score(truth, scores) if both else None,
        "auprc": average_precision_score(truth, scores) if truth.any() else None,
        "best_dice": float(np.nanmax(2 * precision * recall / (precision + recall))) if truth.any() else None,
        "equalised": equalize_hist(volume, nbins=256, mask=volume > 0).tolist() if (volume > 0).any() else None,
    }

json.dump([answer(case) for case in json.load(sys.stdin)], sys.stdout)
"#;

struct Case {
    name: String,
    scores: Vec<f32>,
    truth: Vec<bool>,
}

/// A number in [0, 1).
fn unit(generator: &mut ChaCha20Rng) -> f32 {
    (generator.next_u32() >> 8) as f32 / (1u32 << 24) as f32
}

/// Scores that are all different, tied by twos or threes, or one of a few values; truths from none to all.
fn cases() -> Vec<Case> {
    let mut generator = ChaCha20Rng::seed_from_u64(11);
    let mut cases = Vec::new();
    for pixels in [2, 17, 300, 4096] {
        for values in [3.0f32, 150.0, 1e7] {
            for part in [0.0f32, 0.02, 0.4, 1.0] {
                let scores: Vec<f32> =
                    (0..pixels).map(|_| (unit(&mut generator) * values).floor() / values * 3.0).collect();
                // More often where the score is high.
                let truth = |score: &f32| match part {
                    1.0 => true,
                    part => unit(&mut generator) < part * (0.3 + 0.4 * score),
                };
                let truth = scores.iter().map(truth).collect();
                let name = format!("{pixels} pixels of {values} values, {part} of them marked");
                cases.push(Case { name, scores, truth });
            }
        }
    }
    cases
}

fn answers(python: &str, cases: &[Case]) -> Vec<Value> {
    let asked: Vec<Value> =
        cases.iter().map(|case| json!({ "scores": case.scores, "truth": case.truth })).collect();
    let mut program = Command::new(python);
    let program = program.args(["-c", ANSWER]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = program.spawn().unwrap();
    child.stdin.take().unwrap().write_all(json!(asked).to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{python} fails, see above");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The distance of what was found from the answer; infinite where one of them is no number.
fn off(found: Option<f64>, answer: &Value) -> f64 {
    match (found, answer.as_f64()) {
        (Some(found), Some(answer)) => (found - answer).abs(),
        (None, None) => 0.0,
        _ => f64::INFINITY,
    }
}

#[test]
fn scikit_learn_and_scikit_image_say_the_same() {
    /// Sums of some thousand terms in f64, in another order.
    const F64: f64 = 1e-12;
    /// skimage computes in f32 what lies between two bins.
    const F32: f64 = 1e-6;
    let python = std::env::var("ANOMALENS_PYTHON").unwrap_or_else(|_| "python3".into());
    let has = Command::new(&python).args(["-c", "import sklearn, skimage"]).output();
    if !has.is_ok_and(|output| output.status.success()) {
        assert!(
            std::env::var_os("CI").is_none(),
            "CI must have the Python packages scikit-learn and scikit-image"
        );
        eprintln!(
            "SKIPPED: {python} has no scikit-learn and scikit-image; ANOMALENS_PYTHON names a Python that has"
        );
        return;
    }
    let cases = cases();
    let (mut wrong, mut ties_won) = (Vec::new(), [false; 2]);
    for (case, answer) in cases.iter().zip(answers(&python, &cases)) {
        let (scores, truth) = (&case.scores, &case.truth);
        let map = AnomalyMap::from_values(Array2::from_shape_vec((1, scores.len()), scores.clone()).unwrap());
        let (threshold, mask) = otsu::mask(&map).unwrap();
        let mask: Vec<bool> = mask.into_iter().collect();
        let inside = vec![true; scores.len()];
        let mut pool = Pool::default();
        pool.push(scores, truth, &inside).unwrap();
        let pooled = pool.rank().curve(Region::Inside, 1, |_| Some(0)).ranking();
        let one = ranking(scores, truth).unwrap();
        let mut compare = |what: &str, found: Option<f64>, answer: &Value, tolerance: f64| {
            let right = off(found, answer) <= tolerance;
            if !right {
                wrong.push(format!("{}: {what} {found:?}, expected {answer}", case.name));
            }
        };
        // Both are in f32, whose steps are much larger.
        compare("Otsu's threshold", Some(threshold.into()), &answer["threshold"], F64);
        compare("Dice", dice(&mask, truth).ok(), &answer["dice"], F64);
        for (route, Ranking { auroc, auprc, best_dice, .. }) in [("", one), ("pooled ", pooled)] {
            compare(&format!("{route}AUROC"), auroc, &answer["auroc"], F64);
            compare(&format!("{route}AUPRC"), auprc, &answer["auprc"], F64);
            compare(&format!("{route}best Dice"), best_dice, &answer["best_dice"], F64);
        }
        // A wrong version, in which pixels of the truth win their ties, must fail somewhere.
        let raise = |(score, truth): (&f32, &bool)| if *truth { score.next_up() } else { *score };
        let raised: Vec<f32> = scores.iter().zip(truth).map(raise).collect();
        let wrong_one = ranking(&raised, truth).unwrap();
        ties_won[0] |= off(wrong_one.auroc, &answer["auroc"]) > F64;
        ties_won[1] |= off(wrong_one.auprc, &answer["auprc"]) > F64;
        let low = scores.iter().copied().fold(f32::INFINITY, f32::min);
        let volume: Vec<f32> = scores.iter().map(|v| v - low).filter(|v| *v > 0.0).collect();
        let equaliser = Equaliser::new(&volume);
        if volume.iter().all(|v| *v == volume[0]) {
            // skimage takes a constant to where rounding puts it.
            continue;
        }
        for (value, answer) in scores.iter().zip(answer["equalised"].as_array().into_iter().flatten()) {
            // Where the value is 0 the mask is not set, and skimage's number is not used.
            let value = value - low;
            if value > 0.0 {
                compare("equalised", Some(equaliser.apply(value).into()), answer, F32);
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong[..wrong.len().min(20)].join("\n"));
    assert_eq!(ties_won, [true, true], "a ranking that wins its ties passes");
}
