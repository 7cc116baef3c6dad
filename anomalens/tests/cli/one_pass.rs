//! Bundles whose network makes images healthy in one pass: the same commands, without levels and steps.

use std::fs;
use std::path::Path;

use ndarray::{ArrayD, Axis};

use crate::support::{golden, listing, max_abs, npy, one_pass, run, tiny, translate_by, x0};

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
fn inspect_tells_the_method() {
    let told = run(&[Path::new("inspect"), one_pass("tiny_fpgan")]);
    told.expect(0, &["method       fixed-point-gan", "network.onnx", "4 channel(s), 32 x 32", "as written"]);
    for word in ["schedule", "steps", "--noise-level", "U-Net"] {
        assert!(!told.stdout.contains(word), "{word}: {told:?}");
    }
    run(&[Path::new("inspect"), tiny()]).expect(0, &["method       guided"]);
}
