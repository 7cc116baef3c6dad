//! Several methods: each by `translate`, and all of them columns of one evaluation.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::evaluate::{Table, cohort, command, evaluate, undisturbed};
use crate::support::{
    Run, anomalens, golden, listing, max_abs, npy, one_channel, tiny, told, translate, without_classifier,
};

const ALL: [&str; 2] = ["--method", "saliency,ddpm,ddim"];

fn summary(out: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(out.join("summary.json")).unwrap()).unwrap()
}

/// All methods, two slices at once.
fn all(out: &Path, more: &[&str]) -> Run {
    evaluate(out, &[&ALL[..], &["--batch", "2"], more].concat())
}

fn same_results(a: &Path, b: &Path) {
    for name in ["results.csv", "volumes.csv", "summary.json"] {
        assert_eq!(fs::read(a.join(name)).unwrap(), fs::read(b.join(name)).unwrap(), "{name}");
    }
}

#[test]
fn every_method_is_a_column() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    all(&out, &[]).expect(
        0,
        &[
            "ours: bundle tiny, ",
            "ddpm: bundle tiny, ",
            "DDPM sampling, noise from seed 0",
            "saliency: comparison: the gradient",
            "saliency: 0.",
            "over ours in",
        ],
    );
    let summary = summary(&out);
    let names = |list: &Value, key: &str| -> Vec<String> {
        list.as_array().unwrap().iter().map(|item| item[key].as_str().unwrap().to_owned()).collect()
    };
    // Whatever the order in which they were named.
    assert_eq!(names(&summary["methods"], "name"), ["ours", "ddpm", "saliency", "threshold", "intensity"]);
    assert_eq!(names(&summary["networks"], "method"), ["ours", "ddpm", "saliency"]);
    let settings = |place: usize, name: &str| summary["networks"][place]["settings"][name].clone();
    assert_eq!((settings(1, "noise level"), settings(2, "gradient scale")), ("2".into(), Value::Null));
    // What belongs to one method is not said of all.
    assert_eq!(summary["settings"].as_object().unwrap().len(), ["cohort", "engine", "batch"].len());
    // One line of verdict for each that is compared with the first, and of seconds for each of networks.
    let verdict = summary["verdict"].as_array().unwrap();
    assert_eq!(verdict.len(), 4);
    let timings: Value =
        serde_json::from_str(&fs::read_to_string(out.join("timings.json")).unwrap()).unwrap();
    assert_eq!(timings["seconds_a_slice"].as_object().unwrap().len(), 3);
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    for words in ["ddpm: noise level", "saliency: time", "<th class=\"n\">saliency</th>"] {
        assert!(page.contains(words), "no {words}");
    }
    assert!(!page.contains("saliency: gradient scale"));

    // The paper's method scores as it does alone, and the others otherwise.
    let (many, alone) =
        (Table::read(&out.join("results.csv")), Table::read(&undisturbed().join("results.csv")));
    for row in 0..many.rows.len() {
        for field in ["ours_mean_region", "ours_dice", "threshold_auroc"] {
            assert_eq!(many.field(row, field), alone.field(row, field), "{field}");
        }
        let level = |method: &str| many.field(row, &format!("{method}_mean_region")).to_owned();
        assert!(level("ours") != level("ddpm") && level("ours") != level("saliency"), "row {row}");
    }
    // Healthy versions are kept, or the map where there is none.
    let kept = |name: &str| npy(&out.join("parts").join(name)).shape().to_vec();
    assert_eq!(
        (kept("ddpm-000000.npy"), kept("saliency-000000.npy")),
        (vec![2, 4, 32, 32], vec![2, 1, 32, 32])
    );
}

#[test]
fn a_method_more_goes_on_and_parts_make_the_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let whole = path("whole");
    all(&whole, &[]).expect(0, &[]);
    // Begun without the others.
    let grown = path("grown");
    evaluate(&grown, &["--batch", "2"]).expect(0, &["of which 0 are done"]);
    all(&grown, &[])
        .expect(0, &["ours: bundle tiny", "6 slices are done", "ddpm: bundle tiny", "0 slices are done"]);
    same_results(&whole, &grown);
    // With one less its parts would lose their settings.
    evaluate(&grown, &["--batch", "2"])
        .expect(1, &["ddpm: bundle", "now it is absent", "choose another --out"]);
    all(&grown, &["--scale", "3"]).expect(1, &["ours: gradient scale 100, now it is 3"]);

    let part = |number: usize| {
        let out = path(&format!("part-{number}"));
        all(&out, &["--shard", &format!("{number}/2")]).expect(0, &["anomalens merge"]);
        out
    };
    let merge =
        |parts: &[PathBuf], out: &Path| told(anomalens().arg("merge").args(parts).arg("--out").arg(out));
    let parts = [part(2), part(1)];
    merge(&parts, &path("merged")).expect(0, &["merged: 6 slices of 2 parts"]);
    same_results(&whole, &path("merged"));
    let fewer = path("fewer");
    evaluate(&fewer, &["--batch", "2", "--shard", "2/2"]).expect(0, &[]);
    merge(&[parts[1].clone(), fewer], &path("mixed")).expect(1, &["fewer", "ddpm: bundle absent, expected"]);
}

#[test]
fn a_method_alone_is_compared_with_the_baselines() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let mut saliency = anomalens();
    saliency.arg("evaluate").arg(cohort()).arg("--bundle").arg(tiny()).arg("--out").arg(&out);
    saliency.args(["--engine", "tract", "--method", "saliency"]);
    told(&mut saliency).expect(0, &["over saliency in", "*: better than saliency"]);
    assert_eq!(summary(&out)["methods"][0]["name"], "saliency");
}

#[test]
fn what_does_not_go_together_is_usage() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let other = tiny().to_str().unwrap();
    for (more, words) in [
        (&["--method", "saliency"][..], &["--noise-level: none of the methods takes it"][..]),
        (&["--method", "gan"], &["[possible values: ddim, ddpm, saliency]"]),
        (&["--bundle", other], &["both are run as ours", "one bundle for each method"]),
    ] {
        evaluate(&out, more).expect(2, words);
    }
    let radiographs = one_channel().to_str().unwrap();
    evaluate(&out, &["--bundle", radiographs]).expect(2, &["both are run as ours"]);
    told(&mut command(cohort(), without_classifier(), &out, &["--method", "saliency,ddim", "--scale", "0"]))
        .expect(2, &["has no classifier, whose gradient saliency is"]);
    assert!(listing(folder.path()).is_empty());
}

fn saliency(input: &Path, bundle: &Path, out: &Path, more: &[&str]) -> Run {
    let mut command = anomalens();
    command.arg("translate").arg(input).arg("--bundle").arg(bundle).arg("--out").arg(out);
    told(command.args(["--method", "saliency"]).args(more))
}

#[test]
fn translate_gives_saliency_without_a_healthy_version() {
    /// Between engines, of values near 1e-3.
    const TOLERANCE: f32 = 1e-6;
    let folder = tempfile::tempdir().unwrap();
    let x0 = golden("ddim/x0.npy");
    let map = |engine: &str| {
        let out = folder.path().join(engine);
        saliency(&x0, tiny(), &out, &["--engine", engine])
            .expect(0, &["warning: saliency makes no healthy version", "method saliency"]);
        let files = ["0001-picture.png", "map.npy", "mask.npy", "report.html"];
        assert_eq!(listing(&out), files);
        let report = fs::read_to_string(out.join("report.html")).unwrap();
        assert!(
            report.contains("saliency makes no healthy version") && report.contains("1 gradient"),
            "{report}"
        );
        npy(&out.join("map.npy"))
    };
    let (ort, tract) = (map("ort"), map("tract"));
    assert_eq!(ort.shape(), [1, 32, 32]);
    assert!(max_abs(&ort, &tract) < TOLERANCE);
    let other = folder.path().join("other");
    saliency(&x0, tiny(), &other, &["--healthy-class", "1"]).expect(0, &[]);
    assert!(max_abs(&ort, &npy(&other.join("map.npy"))) > 10.0 * TOLERANCE);
    // The picture is of input, map and mask: smaller than that of a translation.
    let whole = folder.path().join("whole");
    translate(&x0, tiny(), &whole, &[]).expect(0, &[]);
    let height = |out: &Path| image::open(out.join("0001-picture.png")).unwrap().height();
    assert!(height(&other) < height(&whole));
}

#[test]
fn translate_refuses_what_saliency_does_not_know() {
    let folder = tempfile::tempdir().unwrap();
    let (x0, out) = (golden("ddim/x0.npy"), folder.path().join("out"));
    for option in [
        &["--noise-level", "2"][..],
        &["--steps", "every"],
        &["--spacing", "2"],
        &["--solver", "ab2"],
        &["--exact"],
        &["--schedule", "paper"],
        &["--clip"],
        &["--seed", "1"],
        &["--scale", "0"],
        &["--trajectory", "x.npz"],
    ] {
        let words = format!("{} with --method saliency", option[0]);
        saliency(&x0, tiny(), &out, option).expect(2, &[&words, "--method ddim"]);
    }
    saliency(&x0, tiny(), &out, &["--healthy-class", "2"]).expect(2, &["healthy class 2, expected 0..=1"]);
    saliency(&x0, without_classifier(), &out, &["--unverified"])
        .expect(2, &["has no classifier, whose gradient"]);
    assert!(!out.exists());
}
