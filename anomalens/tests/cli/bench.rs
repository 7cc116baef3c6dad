//! `bench`: every run of a network is timed, and no figure stands without what it is of.

use std::fs;

use serde_json::Value;

use crate::support::{golden, listing, one_pass, run, tiny};

#[test]
fn every_choice_is_timed_in_every_round() {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("figures.json");
    let (bundle, json) = (tiny().to_str().unwrap(), json.to_str().unwrap());
    let options =
        ["--engine", "ort,tract", "--batch", "1,3", "--steps", "2", "--rounds", "2", "--json", json];
    let found = run(&[&["bench", bundle], &options[..]].concat());
    found.expect(0, &["network ms", "gradient ms", "ort 1.", "tract 0.", "load before", "measurements: 8/8"]);
    let report: Value = serde_json::from_str(&fs::read_to_string(json).unwrap()).unwrap();
    let choices = report["choices"].as_array().unwrap();
    assert_eq!(choices.len(), 4, "{report:#}");
    for choice in choices {
        let bursts = choice["bursts"].as_array().unwrap();
        assert_eq!(bursts.len(), 2, "{choice:#}");
        for burst in bursts {
            let graphs = burst["graph_milliseconds"].as_object().unwrap();
            let times = |name: &str| {
                graphs[name].as_array().unwrap().iter().map(|t| t.as_f64().unwrap()).collect::<Vec<_>>()
            };
            // Two steps up, and two down with a gradient each; what warms up is not counted.
            assert_eq!((times("unet").len(), times("classifier_gradient").len()), (4, 2), "{burst:#}");
            let networks: f64 = graphs.keys().flat_map(|name| times(name)).sum();
            let whole = 1e3 * burst["translation_seconds"].as_f64().unwrap();
            assert!(networks > 0.0 && networks < whole, "{networks} of {whole} ms");
            assert!(burst["peak_bytes"].as_f64().unwrap() > 1e6, "{burst:#}");
            assert_eq!(burst["settings"]["steps"], "2 a loop");
        }
    }
}

#[test]
fn a_network_of_one_pass_is_called_once() {
    let bundle = one_pass("tiny_vae").to_str().unwrap();
    let burst = run(&["bench", bundle, "--engine", "tract", "--burst"]);
    burst.expect(0, &[]);
    let burst: Value = serde_json::from_str(&burst.stdout).unwrap();
    assert_eq!(burst["graph_milliseconds"]["network"].as_array().unwrap().len(), 1, "{burst:#}");
    run(&["bench", bundle, "--steps", "3"]).expect(2, &["--steps with a bundle of method vae"]);
}

#[test]
fn a_profile_says_where_the_time_goes() {
    let folder = tempfile::tempdir().unwrap();
    let (bundle, traces) = (tiny().to_str().unwrap(), folder.path().join("traces"));
    let profile = |engine: &str| {
        run(&["bench", bundle, "--steps", "2", "--engine", engine, "--profile", traces.to_str().unwrap()])
    };
    profile("tract").expect(1, &["tract writes no trace", "--engine ort"]);
    profile("ort")
        .expect(0, &[" x  Conv (CPUExecutionProvider)", " x  InstanceNormalization", "ui.perfetto.dev"]);
    let names = listing(&traces);
    assert!(
        names.len() == 2 && names[0].starts_with("classifier_gradient_") && names[1].starts_with("unet_")
    );
    profile("ort").expect(2, &["found files, expected a new or an empty folder"]);
}

#[test]
fn what_cannot_be_timed_is_said_once() {
    let bundle = tiny().to_str().unwrap();
    run(&["bench", bundle, "--rounds", "0"]).expect(2, &["--rounds 0, expected at least 1"]);
    run(&["bench", bundle, "--batch", "0"]).expect(2, &["batch 0, expected at least 1"]);
    run(&["bench", bundle, "--batch", "1,2", "--profile", "x"])
        .expect(2, &["--profile with several choices"]);
    run(&["bench", golden("unet").to_str().unwrap()]).expect(1, &["manifest.json"]);
}
