//! Images that are unlike what a bundle was trained on: warned of, or refused.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use anomalens_exporter::fitness::{FitnessError, Request, measure};
use anomalens_models::manifest::Manifest;
use anomalens_runtime::engine::{self, EngineOptions};
use ndarray::{Array4, Axis, Ix4, s};
use ndarray_npy::write_npy;

use crate::support::{copy, golden, listing, one_pass, run, tiny, translate, x0};

/// The golden image, brighter and darker; gives one of these.
fn cohort(folder: &Path, images: usize) -> Array4<f32> {
    let x = x0().into_dimensionality::<Ix4>().unwrap();
    let mut all = Array4::zeros((images, 4, 32, 32));
    for (i, mut image) in all.axis_iter_mut(Axis(0)).enumerate() {
        let wave = |v: f32, at: usize| v * (0.9 + 0.1 * ((i * 7 + at) as f32).sin());
        let varied = x
            .index_axis(Axis(0), 0)
            .indexed_iter()
            .map(|((c, h, w), &v)| wave(v, c * 5 + h / 8 + w / 8))
            .collect();
        image.assign(&ndarray::Array3::from_shape_vec((4, 32, 32), varied).unwrap());
    }
    write_npy(folder.join("images.npy"), &all).unwrap();
    all.slice(s![4..5, .., .., ..]).to_owned()
}

fn measured(bundle: &Path, cohort: &Path) -> Result<(), FitnessError> {
    let engine = engine::open(&EngineOptions::default()).unwrap();
    let request = Request { bundle, cohort, split: None, images: 40 };
    measure(&request, engine.as_ref(), &mut |_| ControlFlow::Continue(())).map(drop)
}

#[test]
fn what_is_unlike_the_cohort_is_warned_of_or_refused() {
    let place = tempfile::tempdir().unwrap();
    let out = |name: &str| place.path().join(name);
    fs::create_dir(out("cohort")).unwrap();
    let one = cohort(&out("cohort"), 60);
    let like = out("like.npy");
    write_npy(&like, &one).unwrap();
    for bundle in [tiny(), one_pass("tiny_vae")] {
        let bundle = copy(bundle);
        let before = Manifest::bundle_hash(bundle.path()).unwrap();
        let level: &[&str] =
            if before == Manifest::bundle_hash(tiny()).unwrap() { &["--noise-level", "2"] } else { &[] };
        let go = |input: &Path, name: &str, more: &[&str]| {
            let _ = fs::remove_dir_all(out(name));
            crate::support::translate_by(input, bundle.path(), &out(name), &[level, more].concat())
        };
        // An older bundle: nothing is known.
        let unknown = "does not say what its training cohort looks like";
        go(&like, "unknown", &[]).expect(0, &["warning: bundle", unknown]);
        assert!(fs::read_to_string(out("unknown/report.html")).unwrap().contains("not known"));
        go(&like, "none", &["--strict"])
            .expect(1, &[unknown, "anomalens-export fitness", "leave --strict out"]);
        assert!(!out("none").exists());

        measured(bundle.path(), &out("cohort")).unwrap();
        assert_ne!(Manifest::bundle_hash(bundle.path()).unwrap(), before);
        Manifest::read(bundle.path()).unwrap().check_files(bundle.path()).unwrap();
        let told = go(&like, "same", &["--strict"]);
        told.expect(0, &[]);
        assert!(!told.stderr.contains("unlike"), "{told:?}");

        let turned = one.slice(s![.., .., ..;-1, ..]).to_owned();
        write_npy(out("turned.npy"), &turned).unwrap();
        let words = ["1 of 1 slice(s) are unlike what the bundle was trained on", "slice 1 (turned.npy[0])"];
        go(&out("turned.npy"), "turned", &[]).expect(0, &["warning: ", words[0], words[1]]);
        let report = fs::read_to_string(out("turned/report.html")).unwrap();
        assert!(report.contains(words[0]) && report.contains("unlike training (limit 1)"));
        go(&out("turned.npy"), "none", &["--strict"])
            .expect(1, &["error: ", words[0], "--strict refuses it"]);
        assert!(!out("none").exists());

        // Measured again, it takes the place of what was there.
        measured(bundle.path(), &out("cohort")).unwrap();
        assert_eq!(listing(bundle.path()).iter().filter(|name| name.contains("fitness")).count(), 1);
    }
}

#[test]
fn a_cohort_that_is_none_and_a_file_that_is_spoilt() {
    let place = tempfile::tempdir().unwrap();
    let bundle = copy(tiny());
    let before = Manifest::bundle_hash(bundle.path()).unwrap();
    cohort(place.path(), 7);
    let error = measured(bundle.path(), place.path()).unwrap_err().to_string();
    assert!(error.contains("found 7 images, expected at least 8"), "{error}");
    assert_eq!(Manifest::bundle_hash(bundle.path()).unwrap(), before);

    cohort(place.path(), 20);
    measured(bundle.path(), place.path()).unwrap();
    let path = bundle.path().join("fitness.json");
    let text = fs::read_to_string(&path).unwrap();
    let out = place.path().join("out");
    for (case, from, to, words) in [
        ("changed", "\"filled\"", "\"Filled\"", "fitness.json: found"),
        ("another statistic", "\"filled\"", "\"full\"", "fitness.json: look.expected: found"),
        ("another format", "\"format\":1", "\"format\":2", "fitness.json: format: found 2, expected 1"),
        ("no JSON", "{", "", "measure it again with anomalens-export fitness"),
        ("a level that is none", "\"levels\":[", "\"levels\":[0,", "noise.noised.levels: found 0"),
    ] {
        assert!(text.contains(from), "{case}");
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
        if case != "changed" {
            let mut manifest = Manifest::read(bundle.path()).unwrap();
            let entry = anomalens_models::manifest::FileEntry::of(&path).unwrap();
            manifest.files.insert("fitness.json".into(), entry);
            manifest.replace(bundle.path()).unwrap();
        }
        let told = translate(&golden("ddim/x0.npy"), bundle.path(), &out, &[]);
        println!("{case}: {}", told.stderr);
        told.expect(1, &["error: bundle '", words]);
        assert!(!out.exists());
    }
    run(&[Path::new("inspect"), bundle.path()]).expect(0, &["fitness.json"]);
}
