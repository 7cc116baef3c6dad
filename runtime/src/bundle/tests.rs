use std::fs;

use anomalens_models::manifest::{FORMAT, FileEntry, Verification, WEIGHTS};

use super::*;
use crate::engine::{EngineChoice, EngineOptions};
use crate::testing::images;
use crate::testing::onnx::{write_classifier, write_network, write_unet, write_weights};
use crate::translate::{self, TranslateError, heal};
use anomalens_method::ddim::GradientScale;
use anomalens_method::translate::{self as method, Options};
use anomalens_models::image::UnitImage;
use anomalens_models::preset::VaeConfig;

pub(crate) fn manifest(preset: &Preset, gate: &str) -> Manifest {
    Manifest {
        training: Vec::new(),
        format: FORMAT,
        tool: "test".into(),
        preset: preset.clone(),
        provenance: "written by a test".into(),
        step_convention: "max(level - 1, 0)".into(),
        clamp: "none".into(),
        target: "portable".into(),
        precision: "f32".into(),
        verification: Verification { gate: gate.into(), ..Verification::default() },
        files: Default::default(),
    }
}

/// Four channels of 4 × 4 pixels.
fn preset() -> Preset {
    let mut preset = Preset::load("tiny").unwrap();
    preset.image.size = 4;
    preset
}

/// Writes the manifest, with the hash of every file that is there.
fn seal(folder: &Path, manifest: &mut Manifest) {
    for file in [UNET, CLASSIFIER_GRADIENT, NETWORK, WEIGHTS] {
        if folder.join(file).exists() {
            manifest.files.insert(file.into(), FileEntry::of(&folder.join(file)).unwrap());
        }
    }
    fs::write(folder.join(MANIFEST), manifest.to_json()).unwrap();
}

fn tract() -> Box<dyn Engine> {
    crate::engine::open(&EngineOptions { choice: EngineChoice::Tract, ..EngineOptions::default() }).unwrap()
}

/// A whole bundle in a temporary folder.
fn bundle() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_weights(folder.path(), 4);
    write_unet(&folder.path().join(UNET), 4, 4, true);
    write_classifier(&folder.path().join(CLASSIFIER_GRADIENT), 4, 4, false);
    seal(folder.path(), &mut manifest(&preset(), "quick"));
    folder
}

fn pair(bundle: &mut Bundle) -> &mut GuidedPair {
    bundle.guided().unwrap().1
}

/// A bundle of a network that makes images healthy in one pass.
fn one_pass() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_weights(folder.path(), 4);
    write_network(&folder.path().join(NETWORK), 4, 4, false);
    seal(folder.path(), &mut manifest(&vae(), "quick"));
    folder
}

/// The images of [`preset`], by an autoencoder.
fn vae() -> Preset {
    let config = VaeConfig { widths: vec![8, 8], latent_channels: 1 };
    Preset { method: Method::Vae(config), ..preset() }
}

fn refused(folder: &Path) -> OpenError {
    Bundle::open(folder, tract().as_ref(), false).map(drop).expect_err("this bundle must be refused")
}

#[test]
fn a_bundle_gives_eps_and_gradient() {
    let folder = bundle();
    let mut bundle = Bundle::open(folder.path(), tract().as_ref(), false).unwrap();
    let x = images((2, 4, 4, 4));
    let (t, y) = (Timestep::new(7), ClassLabel::new(1));
    let eps = pair(&mut bundle).unet.as_mut().unwrap().eps(&x, t, y).unwrap();
    let gradient = pair(&mut bundle).classifier.as_mut().unwrap().gradient(&x, t, y).unwrap();
    assert_eq!(eps.dim(), x.dim(), "the first C channels of the output");
    for ((n, c, h, w), x) in x.indexed_iter() {
        assert!((eps[[n, c, h, w]] - (x * (c + 1) as f32 + 17.0)).abs() < 1e-4);
        assert_eq!(gradient[[n, c, h, w]], 1.0 - x);
    }
    assert_eq!(bundle.hash, Manifest::bundle_hash(folder.path()).unwrap());
}

fn unit_images(n: usize) -> Vec<UnitImage> {
    images((n, 4, 4, 4)).outer_iter().map(|image| UnitImage::new("test", image.to_owned()).unwrap()).collect()
}

#[test]
fn a_bundle_of_one_pass_makes_images_healthy() {
    let folder = one_pass();
    let mut bundle = Bundle::open(folder.path(), tract().as_ref(), false).unwrap();
    let images = unit_images(3);
    let healed = heal(&mut bundle, &images, 2, &mut |_, _| std::ops::ControlFlow::Continue(())).unwrap();
    // The weights are 1, 2, 3, 4: the map is the sum over channels of (weight - 1) x.
    for (i, image) in images.iter().enumerate() {
        for ((c, h, w), x) in image.pixels().indexed_iter() {
            assert!((healed.healthy[[i, c, h, w]] - x * (c + 1) as f32).abs() < 1e-6);
        }
        for ((h, w), found) in healed.maps[i].values().indexed_iter() {
            let expected: f32 = (0..4).map(|c| c as f32 * image.pixels()[[c, h, w]]).sum();
            assert!((found - expected).abs() < 1e-5);
        }
    }
}

#[test]
fn methods_are_not_mixed_up() {
    let (guided, healer) = (bundle(), one_pass());
    let images = unit_images(1);
    let mut bundle = Bundle::open(healer.path(), tract().as_ref(), false).unwrap();
    let options = Options::defaults(&preset()).unwrap();
    let go_on = std::ops::ControlFlow::Continue(());
    let error = translate::translate(&mut bundle, &images, &options, &mut |_| go_on).unwrap_err();
    assert!(matches!(&error, TranslateError::NotGuided { found: MethodName::Vae, .. }), "{error}");
    let mut bundle = Bundle::open(guided.path(), tract().as_ref(), false).unwrap();
    let error = heal(&mut bundle, &images, 1, &mut |_, _| go_on).unwrap_err();
    assert!(matches!(&error, TranslateError::NotOnePass { .. }), "{error}");

    // The files of the one, by the manifest of the other.
    seal(guided.path(), &mut manifest(&vae(), "quick"));
    let error = refused(guided.path());
    assert!(matches!(&error, OpenError::NoNetwork { method: MethodName::Vae, .. }), "{error}");
    // A network that must be told something else, or takes other images.
    for (channels, labelled, difference) in [(4, true, "input y"), (3, false, "input x")] {
        write_network(&healer.path().join(NETWORK), channels, 4, labelled);
        write_weights(healer.path(), channels);
        seal(healer.path(), &mut manifest(&vae(), "quick"));
        match refused(healer.path()) {
            OpenError::ForeignGraph { file, what, .. } => assert_eq!((file, &*what), (NETWORK, difference)),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn an_unconditional_unet_is_given_no_label() {
    let folder = tempfile::tempdir().unwrap();
    write_weights(folder.path(), 4);
    write_unet(&folder.path().join(UNET), 4, 4, false);
    let mut preset = preset();
    preset.guided_mut().unwrap().unet.classes = None;
    seal(folder.path(), &mut manifest(&preset, "quick"));
    let mut bundle = Bundle::open(folder.path(), tract().as_ref(), false).unwrap();
    let x = images((1, 4, 4, 4));
    let pair = pair(&mut bundle);
    pair.unet.as_mut().unwrap().eps(&x, Timestep::new(0), ClassLabel::new(1)).unwrap();
    assert!(pair.classifier.is_none());
}

#[test]
fn the_channels_of_the_variance_are_the_presets() {
    let folder = bundle();
    let mut fixed = preset();
    fixed.guided_mut().unwrap().unet.learn_sigma = false;
    seal(folder.path(), &mut manifest(&fixed, "quick"));
    let error = refused(folder.path());
    let OpenError::ForeignGraph { what, found, expected, .. } = &error else { panic!("{error}") };
    assert_eq!(what, "output out");
    assert!(found.contains('8') && expected.contains("4, 4, 4"), "{error}");
}

#[test]
fn changed_and_missing_files_are_refused() {
    let folder = bundle();
    let weights = folder.path().join(WEIGHTS);
    let mut bytes = fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&weights, bytes).unwrap();
    let error = refused(folder.path());
    assert!(
        matches!(&error, OpenError::Bundle(BundleError::Mismatch { file, .. }) if file == WEIGHTS),
        "{error}"
    );
    fs::remove_file(&weights).unwrap();
    let error = refused(folder.path());
    assert!(matches!(&error, OpenError::Bundle(BundleError::Io { file, .. }) if file == WEIGHTS), "{error}");
    fs::remove_file(folder.path().join(MANIFEST)).unwrap();
    let error = refused(folder.path());
    assert!(matches!(&error, OpenError::Bundle(BundleError::Io { file, .. }) if file == MANIFEST), "{error}");
}

#[test]
fn a_missing_key_is_named() {
    let folder = bundle();
    let path = folder.path().join(MANIFEST);
    let mut json: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    json["preset"].as_object_mut().unwrap().remove("schedule");
    fs::write(&path, json.to_string()).unwrap();
    let error = refused(folder.path()).to_string();
    assert!(error.contains("missing field `schedule`"), "{error}");
}

#[test]
fn foreign_graphs_are_refused() {
    type Change = fn(&Path);
    let cases: [(Change, &str, &str); 4] = [
        (|folder| write_unet(&folder.join(UNET), 3, 4, true), UNET, "input x"),
        (|folder| write_unet(&folder.join(UNET), 4, 4, false), UNET, "input y"),
        (
            |folder| write_unet(&folder.join(CLASSIFIER_GRADIENT), 4, 4, true),
            CLASSIFIER_GRADIENT,
            "output logits",
        ),
        (|folder| write_classifier(&folder.join(UNET), 4, 4, false), UNET, "output out"),
    ];
    for (change, graph, difference) in cases {
        let folder = bundle();
        change(folder.path());
        // Sealed again, so that only the graph's inputs and outputs tell.
        write_weights(folder.path(), 4);
        seal(folder.path(), &mut manifest(&preset(), "quick"));
        match refused(folder.path()) {
            OpenError::ForeignGraph { file, what, .. } => {
                assert_eq!((file, what.as_str()), (graph, difference))
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn an_unverified_bundle_must_be_accepted() {
    let folder = bundle();
    seal(folder.path(), &mut manifest(&preset(), "none"));
    let error = refused(folder.path()).to_string();
    let command = format!("`anomalens-export verify {}`", folder.path().display());
    assert!(error.contains("--unverified") && error.contains(&command), "{error}");
    assert!(error.contains("never compared"), "{error}");
    assert!(Bundle::open(folder.path(), tract().as_ref(), true).is_ok());
}

#[test]
fn a_bundle_that_could_not_be_verified_says_what_was_wanting() {
    for (target, precision, options) in [
        ("ort-cuda", "f32", " --device cuda --held-out IMAGES"),
        ("portable", "f16", " --held-out IMAGES"),
        ("portable", "f32", ""),
    ] {
        let folder = bundle();
        let mut manifest = manifest(&preset(), "none");
        (manifest.target, manifest.precision) = (target.into(), precision.into());
        manifest.verification.wanting = vec!["an engine".into(), "held-out images".into()];
        seal(folder.path(), &mut manifest);
        let error = refused(folder.path());
        assert!(matches!(&error, OpenError::Unverified { .. }), "{error}");
        let error = error.to_string();
        let command = format!("`anomalens-export verify {}{options}`", folder.path().display());
        assert!(
            error.contains("wanting an engine, and held-out images") && error.contains(&command),
            "{error}"
        );
    }
}

#[test]
fn a_bundle_for_another_engine_says_which() {
    for (target, precision, way_out) in [
        ("ort-cuda", "f32", "--engine ort --device cuda"),
        ("ort-cuda", "f16", "--engine ort --device cuda"),
        ("portable", "f16", "--engine ort,"),
        ("another", "f32", "the version that wrote"),
        ("portable", "f8", "--precision f32"),
    ] {
        let mut engines = vec![tract()];
        // ONNX Runtime on the processor runs portable f16.
        if (target, precision) != ("portable", "f16") {
            let options = EngineOptions { choice: EngineChoice::Ort, ..EngineOptions::default() };
            engines.extend(crate::engine::open(&options));
        }
        for (engine, gate) in engines.iter().flat_map(|engine| [(engine, "full"), (engine, "none")]) {
            let folder = bundle();
            let mut manifest = manifest(&preset(), gate);
            (manifest.target, manifest.precision) = (target.into(), precision.into());
            seal(folder.path(), &mut manifest);
            // Its graphs would be loaded: what is wrong is known before the engine stumbles over it, or does not.
            let error = Bundle::open(folder.path(), engine.as_ref(), gate == "none").map(drop).unwrap_err();
            assert!(matches!(&error, OpenError::Target { .. }), "{error}");
            let error = error.to_string();
            for part in [format!("for {target} in {precision}").as_str(), way_out, engine.describe().as_str()]
            {
                assert!(error.contains(part), "{part}: {error}");
            }
        }
    }
}

#[test]
fn onnx_runtime_runs_portable_f16_on_the_processor() {
    let options = EngineOptions { choice: EngineChoice::Ort, ..EngineOptions::default() };
    let Ok(engine) = crate::engine::open(&options) else {
        assert!(std::env::var_os("CI").is_none(), "CI must have ONNX Runtime");
        return eprintln!("SKIPPED: without ONNX Runtime");
    };
    let folder = bundle();
    let mut manifest = manifest(&preset(), "full");
    manifest.precision = "f16".into();
    seal(folder.path(), &mut manifest);
    assert!(Bundle::open(folder.path(), engine.as_ref(), false).is_ok());
}

#[test]
fn translation_wants_the_parts_that_it_uses() {
    let images = unit_images(1);
    let run = |folder: &Path, change: fn(&mut Options)| {
        let mut bundle = Bundle::open(folder, tract().as_ref(), false).unwrap();
        let mut options = Options::defaults(&bundle.manifest.preset).unwrap();
        options.noise_level = anomalens_models::schedule::NoiseLevel::new(2);
        change(&mut options);
        translate::translate(&mut bundle, &images, &options, &mut |_| std::ops::ControlFlow::Continue(()))
    };
    let folder = bundle();
    assert!(run(folder.path(), |_| ()).is_ok());
    let error = run(folder.path(), |o| o.healthy_class = ClassLabel::new(2)).unwrap_err();
    assert!(
        matches!(
            error,
            TranslateError::Method(method::TranslateError::HealthyClass { found: 2, classes: 2 })
        ),
        "{error}"
    );

    fs::remove_file(folder.path().join(CLASSIFIER_GRADIENT)).unwrap();
    seal(folder.path(), &mut manifest(&preset(), "quick"));
    let error = run(folder.path(), |_| ()).unwrap_err();
    assert!(error.to_string().contains("--scale 0"), "{error}");
    assert!(run(folder.path(), |o| o.scale = GradientScale::NONE).is_ok());

    fs::remove_file(folder.path().join(UNET)).unwrap();
    seal(folder.path(), &mut manifest(&preset(), "quick"));
    let error = run(folder.path(), |o| o.scale = GradientScale::NONE).unwrap_err();
    assert!(matches!(error, TranslateError::NoUnet { .. }), "{error}");
}

/// tract with memory for so many images.
struct Small(Box<dyn Engine>, usize);

struct SmallSession(Box<dyn Session>, usize);

impl Engine for Small {
    fn describe(&self) -> String {
        self.0.describe()
    }

    fn can_run(&self, target: &str, precision: &str) -> bool {
        self.0.can_run(target, precision)
    }

    fn load(&self, onnx: &Path) -> Result<Box<dyn Session>, EngineError> {
        Ok(Box::new(SmallSession(self.0.load(onnx)?, self.1)))
    }
}

impl Session for SmallSession {
    fn inputs(&self) -> &[Port] {
        self.0.inputs()
    }

    fn outputs(&self) -> &[Port] {
        self.0.outputs()
    }

    fn run(&mut self, inputs: &[(&str, Tensor)]) -> Result<Vec<(String, ndarray::ArrayD<f32>)>, EngineError> {
        if inputs.iter().any(|(_, value)| value.shape()[0] > self.1) {
            let (engine, graph) = ("small".into(), "unet.onnx".into());
            return Err(EngineError::OutOfMemory { engine, graph, reason: "a test wants it so".into() });
        }
        self.0.run(inputs)
    }
}

#[test]
fn a_batch_that_is_too_large_is_halved() {
    let folder = bundle();
    let images = unit_images(7);
    let options = Options {
        noise_level: anomalens_models::schedule::NoiseLevel::new(3),
        scale: GradientScale::new(1.0).unwrap(),
        batch: 7,
        ..Options::defaults(&preset()).unwrap()
    };
    let made = |memory: usize| {
        let mut bundle = Bundle::open(folder.path(), &Small(tract(), memory), false).unwrap();
        let mut translate = || {
            translate::translate(&mut bundle, &images, &options, &mut |_| std::ops::ControlFlow::Continue(()))
        };
        let made = translate().map(|made| made.healthy);
        // What was found out is kept.
        let again = translate().map(|made| made.healthy);
        assert_eq!(made.as_ref().ok(), again.as_ref().ok());
        (made, bundle.notes())
    };
    let (whole, notes) = made(7);
    assert!(notes.is_empty(), "{notes:?}");
    let (halved, notes) = made(2);
    assert_eq!(halved.unwrap(), whole.unwrap());
    let starts: Vec<_> = notes.iter().map(|n| n.split(" (").next().unwrap()).collect();
    assert_eq!(
        starts,
        ["no memory for a batch of 7: going on by 3", "no memory for a batch of 3: going on by 1"]
    );
    let (none, _) = made(0);
    assert!(none.is_err_and(|error| error.out_of_memory()));
}
