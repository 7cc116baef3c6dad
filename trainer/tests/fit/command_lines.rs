//! What a RUN.toml comes to: the command lines of the steps.

use std::path::Path;
use std::process::Command;

use crate::support::{Place, run};
use crate::{LEAST, WHOLE, plan, starting};

#[test]
fn the_command_lines() {
    let place = Place::new();
    let [whole, least, more] = [
        (WHOLE, &[][..]),
        (LEAST, &[]),
        (
            LEAST,
            &[
                "seed=3",
                "ddpm.device=cuda:1",
                "ddpm.precision=f32",
                "ddpm.flip=false",
                "ddpm.threads=2",
                "ddpm.max_level=none",
                "ddpm.keep=3",
                "classifier.start_from_ddpm=false",
                "classifier.keep_best=true",
                "classifier.checkpoint_every=10",
                "validation.path={COHORT}",
                "validation.split=validation",
                "test.path={COHORT}",
                "test.split=test",
            ],
        ),
    ]
    .map(|(text, sets)| {
        let cohort = place.path("cohort").display().to_string();
        let sets: Vec<String> = sets.iter().map(|set| set.replace("{COHORT}", &cohort)).collect();
        let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
        let steps = plan(text, &place, &sets).unwrap().steps;
        let line = |step: &anomalens_trainer::fit::Step| {
            let line = step.command(&Path::new("bin").join(step.program));
            line.replace(place.path("out").to_str().unwrap(), "OUT").replace(&cohort, "COHORT")
        };
        steps.iter().map(line).collect::<Vec<_>>()
    });
    let expected = [
        "bin/anomalens-cohort synthetic -o OUT/cohort --anatomy mni152 --slices 30 --size 64 --seed 1",
        "bin/anomalens-cohort synthetic -o OUT/validation --anatomy mni152 --slices 4 --size 64 --seed 500",
        "bin/anomalens-cohort synthetic -o OUT/test --anatomy mni152 --slices 8 --size 64 --seed 1000",
        "bin/anomalens-train ddpm --preset demo --cohort OUT/cohort -o OUT/ddpm --seed 7 --iterations 12 \
         --learning-rate 0.0003",
        "bin/anomalens-train classifier --preset demo --cohort OUT/cohort -o OUT/classifier --seed 7 --ema none \
         --clip-gradient 1 --start-from OUT/ddpm/ddpm.safetensors --validation OUT/validation \
         --partner OUT/ddpm/ddpm.safetensors --validation-images 16 --validate-every 250",
        "bin/anomalens-export bundle --preset demo --unet OUT/ddpm/ddpm.safetensors \
         --classifier OUT/classifier/classifier.safetensors -o OUT/bundle --gate quick --note 'it'\\''s a test' \
         --card card.md",
        "bin/anomalens-export fitness OUT/bundle --cohort OUT/cohort",
        "bin/anomalens evaluate OUT/test --bundle OUT/bundle --out OUT/scores",
    ];
    assert_eq!(whole, expected);
    let bundle = "bin/anomalens-export bundle --preset tiny --unet OUT/ddpm/ddpm.safetensors \
                  --classifier OUT/classifier/classifier.safetensors -o OUT/bundle --gate full";
    let fitness = "bin/anomalens-export fitness OUT/bundle --cohort COHORT --split train";
    let expected = [
        "bin/anomalens-train ddpm --preset tiny --cohort COHORT --split train -o OUT/ddpm --seed 0",
        "bin/anomalens-train classifier --preset tiny --cohort COHORT --split train -o OUT/classifier --seed 0",
        bundle,
        fitness,
    ];
    assert_eq!(least, expected);
    let expected = [
        "bin/anomalens-train ddpm --preset tiny --cohort COHORT --split train -o OUT/ddpm --seed 3 --max-level none \
         --flip false --device cuda:1 --precision f32 --threads 2 --keep 3",
        "bin/anomalens-train classifier --preset tiny --cohort COHORT --split train -o OUT/classifier --seed 3 \
         --checkpoint-every 10 --keep-best --start-from none --validation COHORT --validation-split validation \
         --partner OUT/ddpm/ddpm.safetensors",
        bundle,
        fitness,
        "bin/anomalens evaluate COHORT --split test --bundle OUT/bundle --out OUT/scores",
    ];
    assert_eq!(more, expected);
}

/// One network: one training, which translates held-out images by itself.
#[test]
fn the_command_lines_of_a_one_pass_method() {
    let place = Place::new();
    let cohort = place.path("cohort").display().to_string();
    for (preset, network) in [("demo-vae", "vae"), ("demo-fpgan", "fpgan")] {
        let preset_is = format!("preset={preset}");
        let iterations = format!("{network}.iterations=5");
        let path = format!("validation.path={cohort}");
        let sets = [preset_is.as_str(), &iterations, &path, "validation.every=2"];
        let steps = plan(LEAST, &place, &sets).unwrap().steps;
        let line = |step: &anomalens_trainer::fit::Step| {
            let line = step.command(&Path::new("bin").join(step.program));
            line.replace(place.path("out").to_str().unwrap(), "OUT").replace(&cohort, "COHORT")
        };
        let expected = [
            format!(
                "bin/anomalens-train {network} --preset {preset} --cohort COHORT --split train -o OUT/{network} --seed 0 \
                 --iterations 5 --validation COHORT --validate-every 2"
            ),
            format!(
                "bin/anomalens-export bundle --preset {preset} --network OUT/{network}/{network}.safetensors \
                 -o OUT/bundle --gate full"
            ),
            "bin/anomalens-export fitness OUT/bundle --cohort COHORT --split train".to_owned(),
        ];
        assert_eq!(steps.iter().map(line).collect::<Vec<_>>(), expected);
        let error = plan(LEAST, &place, &[&preset_is, "ddpm.iterations=5"]).unwrap_err();
        let text = error.to_string();
        assert!(error.is_usage() && text.contains("ddpm: found a table, with preset"), "{text}");
        assert!(text.contains(&format!("expected options of {network} alone")), "{text}");
    }
}

#[test]
fn what_a_run_file_cannot_say() {
    let place = Place::new();
    let mut found = Vec::new();
    for (text, set, parts) in [
        ("preset = ", "", &["'RUN.toml'", "line 1"][..]),
        ("", "", &["'RUN.toml': missing field `preset`"]),
        ("preset = \"tiny\"\noutput = \"x\"", "", &["missing field `cohort`"]),
        (LEAST, "networks=tiny", &["unknown field `networks`, expected one of `preset`"]),
        (LEAST, "ddpm.steps=1", &["ddpm: unknown field `steps`, expected one of `iterations`"]),
        (
            LEAST,
            "classifier.batch=many",
            &["classifier.batch: invalid type: string \"many\", expected usize"],
        ),
        (LEAST, "ddpm.batch=-1", &["ddpm.batch: invalid value: integer `-1`, expected usize"]),
        (
            LEAST,
            "vae.batch=4",
            &["vae: found a table", "method guided", "options of ddpm and classifier alone"],
        ),
        (LEAST, "ddpm.batch=0", &["ddpm.batch: found 0, expected at least 1"]),
        (LEAST, "ddpm.ema=2", &["ddpm.ema: found 2, expected in [0, 1)"]),
        (LEAST, "ddpm.ema=often", &["ddpm.ema: found \"often\", expected a number, or \"none\""]),
        (LEAST, "ddpm.device=gpu", &["ddpm.device: found \"gpu\", expected cpu, cuda or cuda:N"]),
        (LEAST, "ddpm.precision=f16", &["ddpm.precision: found \"f16\", expected auto, f32, tf32 or bf16"]),
        (LEAST, "ddpm.start_from_ddpm=true", &["ddpm.start_from_ddpm: found true, expected false"]),
        (LEAST, "bundle.gate=slow", &["bundle.gate: unknown variant `slow`, expected one of `full`"]),
        (LEAST, "test.split=test", &["test: found neither path nor synthetic, expected one of them"]),
        (
            LEAST,
            "test.path=nowhere",
            &["test.path: found 'nowhere', where no cohort.json is, expected the folder"],
        ),
        (WHOLE, "cohort.path=x", &["cohort: found both path and synthetic, expected one of them"]),
        (WHOLE, "cohort.split=x", &["cohort: found split beside synthetic, expected it beside path alone"]),
        (WHOLE, "cohort.synthetic.anatomy=heart", &["cohort.synthetic.anatomy: unknown variant `heart`"]),
        (
            WHOLE,
            "cohort.synthetic.slices=2.5",
            &["cohort.synthetic.slices: invalid type: floating point `2.5`"],
        ),
        (WHOLE, "classifier.start_from=x", &["classifier.start_from: found 'x' beside start_from_ddpm"]),
        (WHOLE, "preset=none.toml", &["preset 'none.toml': no such preset"]),
        (WHOLE, "seed", &["--set seed: expected KEY=VALUE", "found no '='"]),
        (WHOLE, "ddpm.=1", &["--set ddpm.=1", "found 'ddpm.' as the key"]),
        (WHOLE, ".ddpm=1", &["found '.ddpm' as the key"]),
        (WHOLE, "seed.ddpm=1", &["found integer in seed, no table"]),
    ] {
        let sets = if set.is_empty() { vec![] } else { vec![set] };
        match plan(text, &place, &sets) {
            Ok(_) => found.push(format!("{set}: taken")),
            Err(error) => {
                let text = error.to_string();
                if !error.is_usage() {
                    found.push(format!("{set}: {text}: not told as one of usage"));
                }
                let missing = parts.iter().filter(|part| !text.contains(**part));
                found.extend(missing.map(|part| format!("{set}: expected '{part}' in '{text}'")));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn every_option_of_training_has_a_key() {
    let _starting = starting();
    let mut help = Command::new(env!("CARGO_BIN_EXE_anomalens-train"));
    let (_, text) = run(help.args(["ddpm", "--help"]));
    // Those that stand elsewhere in RUN.toml, or are none of training's.
    let elsewhere = ["preset", "cohort", "split", "output", "seed", "partner", "validate_every", "help"];
    let text = text.split("Examples:").next().unwrap_or_default();
    let options = text.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    let keys: Vec<String> = options
        .filter_map(|line| line.split("--").nth(1)?.split([' ', '.', '[']).next())
        .map(|name| name.replace('-', "_"))
        .filter(|key| !elsewhere.contains(&key.as_str()) && !key.starts_with("validation"))
        .collect();
    assert!(keys.iter().any(|key| key == "learning_rate"), "{text}");
    let place = Place::new();
    for key in keys {
        // A table is what no option is: where the key is known, its type is found wrong.
        let error = plan(LEAST, &place, &[&format!("ddpm.{key}.x=1")]).unwrap_err().to_string();
        assert!(!error.contains("unknown field"), "{error}");
    }
}
