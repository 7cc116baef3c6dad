//! `anomalens-export preset`, as a person uses it: the questions, the answers, the file, the bundle.

mod support;

use std::path::Path;

use anomalens_models::preset::Preset;
use support::{Tensor, Value, dict, listing, program, run, tiny, write_pt};

const ANSWERS: [&str; 16] = [
    "--channels",
    "t1,t1ce,t2,flair",
    "--schedule",
    "linear",
    "--timesteps",
    "1000",
    "--heads",
    "channels:16",
    "--qkv-order",
    "head-first",
    "--classifier-heads",
    "channels:64",
    "--healthy-class",
    "0",
    "--image-size",
    "32",
];

fn preset(output: &Path, options: &[&str]) -> (i32, String) {
    let mut command = program();
    command.arg("preset").arg("--unet").arg(tiny().join("unet/state_dict.pt"));
    command.arg("--classifier").arg(tiny().join("classifier/state_dict.pt"));
    run(command.arg("-o").arg(output).args(options))
}

#[test]
fn a_checkpoint_becomes_a_preset_and_a_bundle() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("mine.toml");
    // The classifier's pool tells the size, and its heads of 64 are one at 64 channels: the order is the same.
    let (code, text) = preset(&file, &[]);
    assert_eq!(code, 1, "{text}");
    for option in ["--channels", "--schedule", "--timesteps", "--heads", "--qkv-order", "--healthy-class"] {
        assert!(text.contains(&format!("\n  {option} ")), "{option}: {text}");
    }
    assert!(!text.contains("--image-size"), "{text}");
    assert!(listing(place.path()).is_empty());

    let (code, text) = preset(&file, &ANSWERS);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("unet.model_channels") && text.contains("time_embed.0.weight [128, 32]"), "{text}");
    assert_eq!(listing(place.path()), ["mine.toml"]);
    let (mine, tiny_preset) =
        (Preset::load(&file.display().to_string()).unwrap(), Preset::load("tiny").unwrap());
    let (pair, tiny_pair) = (mine.guided().unwrap(), tiny_preset.guided().unwrap());
    assert_eq!((&pair.unet, &pair.classifier), (&tiny_pair.unet, &tiny_pair.classifier));
    assert_eq!((&mine.image, pair.schedule), (&tiny_preset.image, tiny_pair.schedule));

    let mut command = program();
    command.arg("bundle").arg("--preset").arg(&file);
    command.arg("--unet").arg(tiny().join("unet/state_dict.pt"));
    command.arg("--classifier").arg(tiny().join("classifier/state_dict.pt"));
    let bundle = place.path().join("bundle");
    let (code, text) = run(command.args(["--gate", "quick", "-o"]).arg(&bundle));
    assert_eq!(code, 0, "{text}");
    let (code, text) = run(program().arg("verify").arg(&bundle).arg("--reference").arg(tiny()));
    assert_eq!(code, 0, "{text}");

    // What is there stays.
    let (code, text) = preset(&file, &ANSWERS);
    assert!(code == 1 && text.contains("found something of that name"), "{text}");
}

#[test]
fn wrong_usage_and_wrong_answers() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("mine.toml");
    let (code, text) = run(program().args(["preset", "-o"]).arg(&file));
    assert!(code == 2 && text.contains("--unet"), "{text}");
    for (option, value) in [("--heads", "16"), ("--qkv-order", "legacy"), ("--schedule", "sqrt")] {
        let (code, text) = preset(&file, &[option, value]);
        assert!(code == 2 && text.contains("expected"), "{option}: {text}");
    }
    let (code, text) = preset(&file, &["--heads", "count:3"]);
    assert!(
        code == 1 && text.contains("--heads: found count:3, expected what fits the tensors: count:1"),
        "{text}"
    );
    let (code, text) = run(program()
        .args(["preset", "--unet"])
        .arg(tiny().join("classifier/state_dict.pt"))
        .arg("-o")
        .arg(&file));
    assert!(code == 1 && text.contains("a classifier has none"), "{text}");
    for (option, value, wanted) in [
        ("--heads", "count:1", "--unet"),
        ("--qkv-order", "head-first", "--unet"),
        ("--classifier-heads", "count:1", "--classifier"),
        ("--classifier-qkv-order", "head-first", "--classifier"),
        ("--classifier-res-blocks", "2", "--classifier"),
    ] {
        let (other, checkpoint) = if wanted == "--unet" {
            ("--classifier", tiny().join("classifier/state_dict.pt"))
        } else {
            ("--unet", tiny().join("unet/state_dict.pt"))
        };
        let mut command = program();
        command.args(["preset", option, value, other]).arg(checkpoint).arg("-o").arg(&file);
        let (code, text) = run(&mut command);
        assert!(code == 2 && text.contains(&format!("{wanted} <FILE>")), "{option}: {text}");
    }
    let (code, text) = preset(&place.path().join("no/such/folder.toml"), &ANSWERS);
    assert!(code == 1 && text.contains("no/such"), "{text}");
    assert!(listing(place.path()).is_empty());
}

#[test]
fn of_several_networks_one_is_chosen() {
    let place = tempfile::tempdir().unwrap();
    let (file, two) = (place.path().join("mine.toml"), place.path().join("two.pt"));
    let network = || {
        let layers = ["input_blocks.0.0.weight", "time_embed.0.weight"];
        dict(layers.map(|name| (name, Value::Tensor(Tensor::new(0, &[1])))))
    };
    write_pt(&two, &dict([("ema", network()), ("model", network())]), &[vec![1.0]]);
    for option in ["--unet", "--classifier"] {
        let preset = |options: &[&str]| {
            run(program().args(["preset", option]).arg(&two).args(options).arg("-o").arg(&file))
        };
        let (code, text) = preset(&[]);
        let expected =
            format!("found a network under the keys 'ema', 'model', expected one; choose by {option}-key");
        assert!(code == 1 && text.contains(&expected), "{text}");
        // The one that was chosen is looked at; it has no more than two layers.
        let (code, text) = preset(&[&format!("{option}-key"), "ema"]);
        assert!(code == 1 && text.contains("these are not the tensors of a"), "{text}");
    }
    assert_eq!(listing(place.path()), ["two.pt"]);
}
