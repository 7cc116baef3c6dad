//! The networks of MONAI and diffusers against these packages themselves: each is built by its package with random numbers in
//! every layer, saved as the package saves it, and becomes a preset and a bundle here, without a word of its names.
//!
//! `ANOMALENS_PYTHON_TORCH` names a Python that has torch, monai, einops and diffusers.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anomalens_exporter::bundle::{Request, Source, write};
use anomalens_exporter::checkpoint::Checkpoint;
use anomalens_exporter::gate::Gate;
use anomalens_exporter::infer::{Answers, infer};
use anomalens_exporter::target::Target;
use anomalens_models::graph::reference::{Value, run};
use anomalens_models::manifest::UNET;
use anomalens_models::nets;
use anomalens_models::preset::{Heads, Preset, ScheduleKind};
use anomalens_models::weights::Precision;
use anomalens_tests::engines::engines;
use anomalens_tests::{inputs, max_abs, npy, oracle, params};
use ndarray::{ArrayD, Axis, Slice, concatenate};
use serde_json::json;

/// Outputs, whose values are of order 1: the packages compute them in f32, which is a few 1e-6 from f64.
const OUTPUT: f64 = 1e-5;
/// A wrong map is at least so many tolerances away.
const NOTICED: f64 = 10.0;

/// Height and width of all images.
const SIZE: usize = 8;

type Params = HashMap<String, ArrayD<f32>>;

/// What would be wrong.
enum Wrong {
    Preset(fn(&mut Preset)),
    Map(fn(&mut Params)),
}

struct Case {
    name: &'static str,
    package: &'static str,
    /// How it is saved, as `package_networks.py` has it.
    saved: &'static str,
    /// By how much image and first bias are smaller than numbers of order 1.
    scale: f64,
    arguments: serde_json::Value,
    /// Of a network of MONAI, what must be said.
    answers: Answers,
    wrong: Wrong,
}

/// q and k the other way round.
fn swap_q_and_k(params: &mut Params) {
    let qkv = params.iter_mut().filter(|(name, _)| name.contains(".qkv."));
    for (_, value) in qkv {
        let part = |i: usize| {
            let third = value.len_of(Axis(0)) / 3;
            value.slice_axis(Axis(0), Slice::from(i * third..(i + 1) * third))
        };
        *value = concatenate(Axis(0), &[part(1), part(0), part(2)]).unwrap();
    }
}

/// The two residual blocks of the first level the other way round.
fn swap_blocks(params: &mut Params) {
    let names: Vec<String> =
        params.keys().filter(|name| name.starts_with("input_blocks.1.0.")).cloned().collect();
    assert!(!names.is_empty());
    for name in names {
        let other = name.replacen("input_blocks.1.", "input_blocks.2.", 1);
        let (one, two) = (params[&name].clone(), params[&other].clone());
        assert_eq!(one.shape(), two.shape(), "{name}");
        params.extend([(name, two), (other, one)]);
    }
}

fn cases() -> Vec<Case> {
    let monai = |groups, epsilon, head_channels| Answers {
        heads: Some(Heads::Channels(head_channels)),
        norm_groups: Some(groups),
        norm_epsilon: Some(epsilon),
        image_size: Some(SIZE),
        ..Answers::default()
    };
    let diffusers = Answers::default;
    vec![
        Case {
            name: "monai, as it is by default",
            package: "monai",
            saved: "plain",
            scale: 0.02,
            arguments: json!({"in_channels": 1, "out_channels": 1, "num_res_blocks": 1, "channels": [32, 64],
                "attention_levels": [false, true], "num_head_channels": 16}),
            answers: monai(32, 1e-6, 16),
            wrong: Wrong::Preset(|p| p.guided_mut().unwrap().unet.norm_epsilon = 1e-5),
        },
        Case {
            name: "monai, classes, variance, residual blocks between levels, one layer for q, k and v",
            package: "monai",
            saved: "nested",
            scale: 1.0,
            arguments: json!({"in_channels": 2, "out_channels": 4, "num_res_blocks": 2, "channels": [32, 64, 64],
                "attention_levels": [false, true, false], "num_head_channels": 32, "resblock_updown": true,
                "num_class_embeds": 3, "use_combined_linear": true}),
            answers: monai(32, 1e-6, 32),
            wrong: Wrong::Map(swap_q_and_k),
        },
        Case {
            name: "monai, eight groups",
            package: "monai",
            saved: "plain",
            scale: 1.0,
            arguments: json!({"in_channels": 1, "out_channels": 2, "num_res_blocks": 1, "channels": [16, 24],
                "attention_levels": [true, true], "num_head_channels": 8, "norm_num_groups": 8, "norm_eps": 1e-4}),
            answers: monai(8, 1e-4, 8),
            wrong: Wrong::Preset(|p| p.guided_mut().unwrap().unet.norm_groups = 4),
        },
        Case {
            name: "monai, by the names of MONAI Generative",
            package: "monai",
            saved: "generative",
            scale: 1.0,
            arguments: json!({"in_channels": 3, "out_channels": 3, "num_res_blocks": 2, "channels": [32, 64],
                "attention_levels": [false, true], "num_head_channels": 64}),
            answers: monai(32, 1e-6, 64),
            wrong: Wrong::Map(swap_blocks),
        },
        Case {
            name: "diffusers, as it is by default",
            package: "diffusers",
            saved: "safetensors",
            scale: 1.0,
            arguments: json!({"in_channels": 2, "out_channels": 2, "layers_per_block": 1, "block_out_channels": [32, 64],
                "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
                "up_block_types": ["AttnUpBlock2D", "UpBlock2D"]}),
            answers: diffusers(),
            wrong: Wrong::Map(swap_q_and_k),
        },
        Case {
            name: "diffusers, ADM's residual blocks, scale and shift, classes, variance",
            package: "diffusers",
            saved: "bin",
            scale: 1.0,
            arguments: json!({"in_channels": 1, "out_channels": 2, "layers_per_block": 2,
                "block_out_channels": [32, 64, 64], "attention_head_dim": 32, "num_class_embeds": 2,
                "down_block_types": ["ResnetDownsampleBlock2D", "AttnDownBlock2D", "ResnetDownsampleBlock2D"],
                "up_block_types": ["ResnetUpsampleBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D"],
                "downsample_type": "resnet", "upsample_type": "resnet", "resnet_time_scale_shift": "scale_shift",
                "attn_norm_num_groups": 32}),
            answers: diffusers(),
            wrong: Wrong::Preset(|p| p.guided_mut().unwrap().unet.heads = Heads::Channels(16)),
        },
        Case {
            name: "diffusers, four groups, one head",
            package: "diffusers",
            saved: "safetensors",
            scale: 0.02,
            arguments: json!({"in_channels": 1, "out_channels": 1, "layers_per_block": 1, "block_out_channels": [16, 20],
                "attention_head_dim": null, "norm_num_groups": 4, "norm_eps": 1e-6,
                "down_block_types": ["AttnDownBlock2D", "DownBlock2D"],
                "up_block_types": ["UpBlock2D", "AttnUpBlock2D"]}),
            answers: diffusers(),
            wrong: Wrong::Preset(|p| p.guided_mut().unwrap().unet.norm_epsilon = 1e-5),
        },
        Case {
            name: "diffusers, attention by its names before 0.15",
            package: "diffusers",
            saved: "old",
            scale: 1.0,
            arguments: json!({"in_channels": 2, "out_channels": 2, "layers_per_block": 2, "block_out_channels": [32, 64],
                "attention_head_dim": 16, "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
                "up_block_types": ["AttnUpBlock2D", "UpBlock2D"]}),
            answers: diffusers(),
            wrong: Wrong::Map(swap_blocks),
        },
    ]
}

/// The file that the package wrote.
fn file(folder: &Path) -> PathBuf {
    let names = ["model.pt", "diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin"];
    names.map(|name| folder.join(name)).into_iter().find(|path| path.exists()).unwrap()
}

/// The preset, as `anomalens-export preset` makes it.
fn preset(case: &Case, checkpoint: &Checkpoint) -> Preset {
    let channels = case.arguments["in_channels"].as_u64().unwrap();
    let answers = Answers {
        origin: checkpoint.origin().unwrap(),
        channels: (0..channels).map(|i| format!("c{i}")).collect(),
        schedule: Some(ScheduleKind::Linear),
        timesteps: Some(1000),
        healthy_class: Some(0),
        ..case.answers.clone()
    };
    infer(case.name, Some(&checkpoint.shapes()), None, &answers)
        .unwrap_or_else(|e| panic!("{}: {e}", case.name))
        .preset
}

fn bundle(preset: &Preset, checkpoint: Checkpoint, output: &Path) {
    let request = Request {
        preset,
        unet: Some(Source::Checkpoint(checkpoint)),
        classifier: None,
        network: None,
        output,
        target: Target::Portable,
        precision: Precision::F32,
        gate: Gate::Quick,
        note: None,
        card: None,
        held_out: None,
    };
    write(&request, &mut |_| ControlFlow::Continue(())).unwrap();
}

/// How far the package's outputs are from the reference interpreter's, of a preset or a map that is wrong.
fn distance_of_wrong(case: &Case, preset: &Preset, folder: &Path) -> f64 {
    let mut preset = preset.clone();
    if let Wrong::Preset(err) = case.wrong {
        err(&mut preset);
    }
    let network = nets::unet(&preset).unwrap();
    let mut params = params(&file(folder), network.params());
    if let Wrong::Map(err) = case.wrong {
        err(&mut params);
    }
    let inputs: Vec<(&str, Value)> = inputs(folder).into_iter().map(|(n, v)| (n, v.into())).collect();
    let outputs = run(&network, &params, &inputs).unwrap();
    max_abs(&outputs[0].1, &npy(&folder.join("out.npy"))) / OUTPUT
}

#[test]
fn bundles_compute_what_the_packages_compute() {
    let cases = cases();
    let listed = |(number, case): (usize, &Case)| {
        json!({"name": number.to_string(), "package": case.package, "size": SIZE, "arguments": case.arguments,
               "as": case.saved, "scale": case.scale})
    };
    let Some(oracle) =
        oracle("package_networks.py", &cases.iter().enumerate().map(listed).collect::<Vec<_>>())
    else {
        return;
    };
    let mut failures = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let folder = oracle.path().join(number.to_string());
        let checkpoint = Checkpoint::open(&file(&folder), None).unwrap();
        let preset = preset(case, &checkpoint);
        let place = folder.join("bundle");
        bundle(&preset, checkpoint, &place);
        let expected = npy(&folder.join("out.npy"));
        for engine in engines() {
            let mut session = engine.load(&place.join(UNET)).unwrap();
            let outputs = session.run(&inputs(&folder)).unwrap();
            let apart = max_abs(&outputs[0].1, &expected) / OUTPUT;
            println!("{}, {}: {apart:.2} of the tolerance", case.name, engine.describe());
            if apart.is_nan() || apart > 1.0 {
                failures.push(format!("{}, {}: {apart:.1} tolerances", case.name, engine.describe()));
            }
        }
        let wrong = distance_of_wrong(case, &preset, &folder);
        println!("{}, wrong: {wrong:.0} tolerances", case.name);
        if wrong.is_nan() || wrong < NOTICED {
            failures.push(format!("{}: a wrong one is only {wrong:.1} tolerances away", case.name));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}
