//! Bundles whose network makes images healthy in one pass: the same commands, without levels and steps.

use std::fs;
use std::path::Path;

use ndarray::{ArrayD, Axis};
use serde_json::Value;

use crate::evaluate::{Table, cohort, command, undisturbed};
use crate::support::{anomalens, golden, listing, max_abs, npy, one_pass, run, tiny, told, translate_by, x0};

/// Two engines, of a network of a few layers.
const ENGINES: f32 = 1e-5;

#[test]
fn images_are_translated_by_both_engines() {
    let folder = tempfile::tempdir().unwrap();
    for (preset, method) in [("tiny_vae", "vae"), ("tiny_fpgan", "fpgan")] {
        let healed = |engine: &str| -> ArrayD<f32> {
            let out = folder.path().join(format!("{preset}-{engine}"));
            translate_by(&golden("ddim/x0.npy"), one_pass(preset), &out, &["--engine", engine])
                .expect(0, &[&*format!("method {method}, in one pass"), "not for diagnostic use"]);
            let files = ["0001-picture.png", "healthy.npy", "map.npy", "mask.npy", "report.html"];
            assert_eq!(listing(&out), files);
            let (healthy, map) = (npy(&out.join("healthy.npy")), npy(&out.join("map.npy")));
            let sum = (&x0() - &healthy).mapv(f32::abs).sum_axis(Axis(1));
            assert!(max_abs(&sum, &map) < 1e-6, "{preset}, {engine}");
            let report = fs::read_to_string(out.join("report.html")).unwrap();
            assert!(report.contains(method) && report.contains("1 network"), "{report}");
            assert!(!report.contains("noise level") && !report.contains("no classifier"), "{report}");
            healthy
        };
        let (ort, tract) = (healed("ort"), healed("tract"));
        let off = max_abs(&ort, &tract);
        assert!(off <= ENGINES && max_abs(&ort, &x0()) > 100.0 * ENGINES, "{preset}: {off:.1e}");
    }
}

#[test]
fn options_of_guided_diffusion_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let npz = folder.path().join("steps.npz");
    for options in [
        &["--noise-level", "2"][..],
        &["--steps", "2"],
        &["--steps", "2", "--spacing", "2"],
        &["--noise-level", "2", "--respacing", "ddim10"],
        &["--schedule", "paper"],
        &["--clip"],
        &["--seed", "1"],
        &["--scale", "1"],
        &["--healthy-class", "0"],
        &["--method", "ddim"],
        &["--method", "saliency"],
        &["--trajectory", npz.to_str().unwrap()],
    ] {
        let (option, vae) = (options[0], one_pass("tiny_vae"));
        translate_by(&golden("ddim/x0.npy"), vae, &out, options).expect(2, &[option, "method vae", "leave"]);
        assert!(listing(folder.path()).is_empty(), "{option}");
    }
}

#[test]
fn they_are_columns_beside_the_papers_method() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let bundles = ["tiny_fpgan", "tiny_vae"].map(|name| one_pass(name).to_str().unwrap());
    let more = ["--batch", "2", "--bundle", bundles[0], "--bundle", bundles[1]];
    told(&mut command(cohort(), tiny(), &out, &more))
        .expect(0, &["vae: bundle tiny-vae", "method fpgan, in one pass", "over ours in", "vae: comparison"]);
    let summary: Value =
        serde_json::from_str(&fs::read_to_string(out.join("summary.json")).unwrap()).unwrap();
    let names = |list: &str, key: &str| -> Vec<String> {
        let items = summary[list].as_array().unwrap().iter();
        items.map(|item| item[key].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("methods", "name"), ["ours", "vae", "fpgan", "threshold", "intensity"]);
    assert_eq!(names("networks", "method"), ["ours", "vae", "fpgan"]);
    assert_eq!(names("networks", "bundle"), ["tiny", "tiny-vae", "tiny-fpgan"]);
    let (many, alone) =
        (Table::read(&out.join("results.csv")), Table::read(&undisturbed().join("results.csv")));
    for row in 0..many.rows.len() {
        assert_eq!(many.field(row, "ours_dice"), alone.field(row, "ours_dice"));
    }

    // What is kept of each is what translate makes of one of the images, and the other's is not.
    let images = cohort().join("images.npy");
    let translated = ["vae", "fpgan"].map(|method| {
        let healthy = folder.path().join(method);
        translate_by(&images, one_pass(&format!("tiny_{method}")), &healthy, &["--engine", "tract"])
            .expect(0, &[]);
        npy(&healthy.join("healthy.npy"))
    });
    for (which, method) in ["vae", "fpgan"].into_iter().enumerate() {
        let kept = npy(&out.join(format!("parts/{method}-000000.npy")));
        assert_eq!(kept.shape(), [2, 4, 32, 32]);
        for kept in kept.outer_iter() {
            let nearest = |of: &ArrayD<f32>| {
                of.outer_iter().map(|image| max_abs(&image, &kept)).fold(f32::INFINITY, f32::min)
            };
            assert!(nearest(&translated[which]) <= ENGINES, "{method}");
            assert!(nearest(&translated[1 - which]) > 100.0 * ENGINES, "{method}");
        }
    }
}

#[test]
fn alone_they_take_no_options_of_guided_diffusion() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let evaluate = |more: &[&str]| {
        let mut command = anomalens();
        command
            .arg("evaluate")
            .arg(cohort())
            .arg("--bundle")
            .arg(one_pass("tiny_vae"))
            .arg("--out")
            .arg(&out);
        told(command.args(["--engine", "tract", "--limit", "2"]).args(more))
    };
    for option in ["--noise-level", "--steps", "--spacing", "--scale"] {
        evaluate(&[option, "2"]).expect(2, &[option, "leave it out"]);
    }
    evaluate(&["--method", "ddpm"]).expect(2, &["--method", "method vae", "leave --method out"]);
    assert!(listing(folder.path()).is_empty());
    evaluate(&[]).expect(0, &["over vae in"]);
}

#[test]
fn inspect_tells_the_method() {
    let told = run(&[Path::new("inspect"), one_pass("tiny_fpgan")]);
    told.expect(0, &["method       fixed-point-gan", "network.onnx", "4 channel(s), 32 x 32", "as written"]);
    for word in ["schedule", "steps", "--noise-level", "U-Net"] {
        assert!(!told.stdout.contains(word), "{word}: {told:?}");
    }
    run(&[Path::new("inspect"), tiny()]).expect(0, &["method       guided"]);
}
