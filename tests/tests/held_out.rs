//! The gate on translations: what f16 makes of a trained network, on images that no training has seen.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anomalens_cohort::synthetic::{self, Format, Settings, Source};
use anomalens_exporter::bundle::{self, Request, Source as Parameters};
use anomalens_exporter::checkpoint::Checkpoint;
use anomalens_exporter::gate::{self, Gate, GateError, Outcome, Written, found_engines};
use anomalens_exporter::parts::Part;
use anomalens_exporter::target::Target;
use anomalens_exporter::verify::{self, Report, VerifyError};
use anomalens_models::held_out::HeldOut;
use anomalens_models::manifest::{BundleError, FileEntry, MANIFEST, Manifest, UNET, WEIGHTS};
use anomalens_models::preset::Preset;
use anomalens_models::weights::{Precision, Weights};
use anomalens_runtime::bundle::{Bundle, OpenError};
use anomalens_runtime::engine::{self, Device, EngineChoice, EngineOptions};
use anomalens_tests::root;
use half::f16;

/// Whether this machine runs f16 at all; said aloud where it does not.
fn has_onnx_runtime() -> bool {
    let options = EngineOptions { choice: EngineChoice::Ort, ..EngineOptions::default() };
    let found = engine::open(&options);
    if let Err(error) = &found {
        assert!(std::env::var_os("CI").is_none(), "CI must have ONNX Runtime: {error}");
        eprintln!("SKIPPED: {error}");
    }
    found.is_ok()
}

/// A cohort that no training has seen: another seed, and another brain.
fn cohort(folder: &Path, slices: usize) {
    let settings = Settings { slices, seed: 1000, size: 64, source: Source::Phantom, first: 1 };
    synthetic::write(folder, Format::Arrays, &settings, |_, _| true).unwrap();
}

fn demo() -> PathBuf {
    root().join("models/demo").join(WEIGHTS)
}

/// The demo's networks as a bundle in f16.
fn write(output: &Path) -> Manifest {
    let source = |key| Some(Parameters::Checkpoint(Checkpoint::open(&demo(), Some(key)).unwrap()));
    let request = Request {
        preset: &Preset::load("demo").unwrap(),
        unet: source("unet"),
        classifier: source("classifier"),
        network: None,
        output,
        target: Target::Portable,
        precision: Precision::F16,
        gate: Gate::Quick,
        held_out: None,
        note: None,
        card: None,
    };
    bundle::write(&request, &mut |_| ControlFlow::Continue(())).unwrap()
}

fn verify(bundle: &Path, held_out: Option<&Path>) -> Result<Report, VerifyError> {
    let request = verify::Request { bundle, gate: Gate::Quick, held_out, reference: None };
    verify::verify(&request, found_engines(Device::Cpu, false).unwrap(), &mut |_| ControlFlow::Continue(()))
}

#[test]
fn f16_passes_where_it_translates_as_f32_does() {
    if !has_onnx_runtime() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let (images, folder) = (place.path().join("cohort"), place.path().join("bundle"));
    cohort(&images, 8);
    let manifest = write(&folder);
    // Written without images, it is refused, and says what it needs.
    assert!(manifest.verification.checks.len() > 2 && manifest.verification.trajectory.is_none());
    let engine =
        engine::open(&EngineOptions { choice: EngineChoice::Ort, ..EngineOptions::default() }).unwrap();
    let error = Bundle::open(&folder, engine.as_ref(), false).map(drop).unwrap_err();
    assert!(matches!(&error, OpenError::Unverified { .. }), "{error}");
    assert!(error.to_string().contains("--held-out IMAGES"), "{error}");

    // Verified without them, it is not; with them, it is.
    let report = verify(&folder, None).unwrap();
    assert!(!report.passed() && report.failures.is_empty());
    assert!(!verify::record(&folder, &report).unwrap());
    let report = verify(&folder, Some(&images)).unwrap();
    assert!(report.passed() && verify::record(&folder, &report).unwrap());
    let manifest = Manifest::read(&folder).unwrap();
    let trajectory = manifest.verification.trajectory.as_ref().unwrap();
    println!("{trajectory}");
    assert_eq!((trajectory.images.len(), trajectory.steps, trajectory.noise_level), (4, 50, 500));
    assert_eq!((trajectory.scale, trajectory.dice_with.as_str()), (10.0, "truth"));
    assert!(trajectory.against.contains("the bundle's own weights"), "{}", trajectory.against);
    // f16 is not f32: a comparison of f32 with itself would find nothing.
    assert!(trajectory.map_change > 1e-5, "{trajectory}");
    assert!(Bundle::open(&folder, engine.as_ref(), false).is_ok());
}

/// The last layer's f16 weights are all 5 % too large. (Of most others a factor would vanish in the norm behind them.)
#[test]
fn a_layer_that_is_slightly_wrong_does_not_pass() {
    if !has_onnx_runtime() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let (images, folder) = (place.path().join("cohort"), place.path().join("bundle"));
    cohort(&images, 2);
    write(&folder);
    scale_a_layer(&folder.join(WEIGHTS), "unet.out.2.weight", 1.05);
    let preset = Preset::load("demo").unwrap();
    let right = Weights::open(&demo()).unwrap();
    let parts =
        [Part::unet(&preset, Target::Portable, Precision::F16).unwrap(), Part::classifier(&preset).unwrap()];
    let params: Vec<_> = parts.iter().map(|part| right.part(part.prefix)).collect();
    let subjects: Vec<_> = parts.iter().zip(&params).map(|(part, params)| part.subject(params)).collect();
    let written = Written {
        folder: &folder,
        preset: &preset,
        subjects: &subjects,
        steps: &[],
        origin: "the checkpoint",
        held_out: Some(&HeldOut::read(&images, &preset).unwrap()),
    };
    let engines = found_engines(Device::Cpu, false).unwrap();
    let Outcome { verification, failures } =
        gate::examine(&written, Gate::Quick, engines, &mut |_| ControlFlow::Continue(())).unwrap();
    // Here nothing else sees it: at `quick` the interpreter has no part in a network of this size.
    assert!(failures.is_empty(), "{:?}", verification.checks);
    let trajectory = verification.trajectory.as_ref().unwrap();
    println!("{trajectory}");
    assert!(!verification.passed() && trajectory.map_change > trajectory.map_limit, "{trajectory}");
    // Where the bundle is written, the weights are read back, and the fault does not get so far.
    let error = gate::run(&written, Gate::Quick, &mut |_| ControlFlow::Continue(())).unwrap_err();
    assert!(matches!(&error, GateError::Parameter { .. }), "{error}");
}

#[test]
fn broken_weights_are_not_verified() {
    if !has_onnx_runtime() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("bundle");
    write(&folder);
    let weights = folder.join(WEIGHTS);
    let layer = "unet.middle_block.0.in_layers.2.weight";
    scale_a_layer(&weights, layer, 1.05);
    let error = verify(&folder, None).map(drop).unwrap_err();
    assert!(
        matches!(&error, VerifyError::Bundle(BundleError::Mismatch { file, .. }) if file == WEIGHTS),
        "{error}"
    );
    // With the hash of the broken file in the manifest, what is no number still shows.
    scale_a_layer(&weights, layer, f32::NAN);
    let mut manifest = Manifest::read(&folder).unwrap();
    manifest.files.insert(WEIGHTS.into(), FileEntry::of(&weights).unwrap());
    std::fs::write(folder.join(MANIFEST), manifest.to_json()).unwrap();
    let error = verify(&folder, None).map(drop).unwrap_err().to_string();
    assert!(error.contains(UNET) && error.contains("expected a finite number"), "{error}");
}

/// Multiplies the f16 weights of one layer in their file.
fn scale_a_layer(path: &Path, name: &str, factor: f32) {
    let weights = Weights::open(path).unwrap();
    assert_eq!(weights.dtype(name).unwrap(), "f16");
    let at = weights.location(name).unwrap();
    drop(weights);
    let mut bytes = std::fs::read(path).unwrap();
    for value in bytes[at.offset as usize..(at.offset + at.length) as usize].as_chunks_mut::<2>().0 {
        *value = f16::from_f32(f16::from_le_bytes(*value).to_f32() * factor).to_le_bytes();
    }
    std::fs::write(path, bytes).unwrap();
}
