//! Networks by the names of another package, as a person brings them: `preset`, `bundle` and `convert` take them; what no
//! preset describes is refused.

mod support;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use anomalens_exporter::checkpoint::{Checkpoint, CheckpointError, Config, Family};
use anomalens_models::preset::{Heads, Norm};
use anomalens_models::weights::{Element, TensorSpec, TensorWriter};
use support::{listing, program, run, tiny};

/// The blocks of the tiny U-Net, and what they are called in a `DiffusionModelUNet` of two levels.
const BLOCKS: [(&str, &str); 20] = [
    ("input_blocks.0.0", "conv_in.conv"),
    ("time_embed.0", "time_embed.0"),
    ("time_embed.2", "time_embed.2"),
    ("label_emb", "class_embedding"),
    ("input_blocks.1.0", "down_blocks.0.resnets.0"),
    ("input_blocks.2.0.op", "down_blocks.0.downsampler.op.conv"),
    ("input_blocks.3.0", "down_blocks.1.resnets.0"),
    ("input_blocks.3.1", "down_blocks.1.attentions.0"),
    ("middle_block.0", "middle_block.resnet_1"),
    ("middle_block.1", "middle_block.attention"),
    ("middle_block.2", "middle_block.resnet_2"),
    ("output_blocks.0.0", "up_blocks.0.resnets.0"),
    ("output_blocks.0.1", "up_blocks.0.attentions.0"),
    ("output_blocks.1.0", "up_blocks.0.resnets.1"),
    ("output_blocks.1.1", "up_blocks.0.attentions.1"),
    ("output_blocks.1.2.conv", "up_blocks.0.upsampler.postconv.conv"),
    ("output_blocks.2.0", "up_blocks.1.resnets.0"),
    ("output_blocks.3.0", "up_blocks.1.resnets.1"),
    ("out.0", "out.0"),
    ("out.2", "out.2.conv"),
];
const LAYERS: [(&str, &str); 8] = [
    (".in_layers.0", ".norm1"),
    (".in_layers.2", ".conv1.conv"),
    (".emb_layers.1", ".time_emb_proj"),
    (".out_layers.0", ".norm2"),
    (".out_layers.3", ".conv2.conv"),
    (".skip_connection", ".skip_connection.conv"),
    (".proj_out", ".attn.out_proj"),
    (".norm", ".norm"),
];
/// Channels of a head of the tiny U-Net.
const HEAD: usize = 16;

type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// The tiny U-Net by the names of MONAI: its q, k and v, which stand head by head there, in three layers.
fn monai() -> Tensors {
    let checkpoint = Checkpoint::open(&tiny().join("unet/state_dict.pt"), None).unwrap();
    let mut tensors = Tensors::new();
    for (name, shape) in checkpoint.shapes() {
        let values = checkpoint.read_f32(&name).unwrap();
        let (block, other) = BLOCKS
            .iter()
            .filter(|(block, _)| name.strip_prefix(block).is_some_and(|rest| rest.starts_with('.')))
            .max_by_key(|(block, _)| block.len())
            .unwrap_or_else(|| panic!("{name}"));
        let rest = &name[block.len()..];
        if let Some(part) = rest.strip_prefix(".qkv.") {
            let row = values.len() / shape[0];
            let layers = ["to_q", "to_k", "to_v"];
            for (i, layer) in layers.into_iter().enumerate() {
                let rows = (0..shape[0]).filter(|r| r / HEAD % 3 == i);
                let own: Vec<f32> = rows.flat_map(|r| values[r * row..(r + 1) * row].to_vec()).collect();
                let shape = if part == "bias" { vec![shape[0] / 3] } else { vec![shape[0] / 3, shape[1]] };
                tensors.insert(format!("{other}.attn.{layer}.{part}"), (shape, own));
            }
            continue;
        }
        let named = LAYERS.iter().find_map(|(from, to)| Some(format!("{to}{}", rest.strip_prefix(from)?)));
        let shape = if rest == ".proj_out.weight" { shape[..2].to_vec() } else { shape };
        tensors.insert(format!("{other}{}", named.unwrap_or(rest.to_owned())), (shape, values));
    }
    tensors
}

fn save(path: &Path, tensors: &Tensors) {
    save_but(path, tensors, "");
}

/// The same, with f64 for one.
fn save_but(path: &Path, tensors: &Tensors, wide: &str) {
    let spec = |(name, (shape, _)): (&String, &(Vec<usize>, Vec<f32>))| TensorSpec {
        name: name.clone(),
        element: if name == wide { Element::F64 } else { Element::F32 },
        shape: shape.clone(),
    };
    let file = File::create(path).unwrap();
    let mut writer = TensorWriter::new(file, tensors.iter().map(spec).collect()).unwrap();
    for (name, (_, values)) in tensors {
        let bytes: Vec<u8> = match name == wide {
            true => values.iter().flat_map(|&v| f64::from(v).to_le_bytes()).collect(),
            false => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        };
        writer.write(name, &bytes).unwrap();
    }
    writer.finish().unwrap();
}

/// The tiny network by MONAI's names computes what OpenAI's does.
#[test]
fn a_network_by_other_names_becomes_the_same_bundle() {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name);
    save(&path("monai.safetensors"), &monai());
    let preset = |options: &[&str]| {
        let mut command = program();
        command.args(["preset", "--unet"]).arg(path("monai.safetensors")).arg("-o").arg(path("mine.toml"));
        run(command
            .args(["--schedule", "linear", "--timesteps", "1000", "--healthy-class", "0"])
            .args(options))
    };
    let (code, text) = preset(&[]);
    assert_eq!(code, 1, "{text}");
    for option in ["--image-size", "--channels", "--heads", "--norm-groups", "--norm-epsilon"] {
        assert!(text.contains(&format!("\n  {option} ")), "{option}: {text}");
    }
    assert!(!text.contains("--qkv-order") && text.contains("of MONAI's DiffusionModelUNet"), "{text}");
    // The golden outputs are OpenAI's, whose group norms add 1e-5.
    let answers = ["--image-size", "32", "--channels", "t1,t1ce,t2,flair", "--heads", "channels:16"];
    let norms = ["--norm-groups", "32", "--norm-epsilon", "1e-5"];
    let (code, text) = preset(&[&answers[..], &norms, &["--qkv-order", "head-first"]].concat());
    let expected = "--qkv-order: found head-first, expected qkv-first, or no answer: always so in MONAI's";
    assert!(code == 1 && text.contains(expected), "{text}");
    let (code, text) = preset(&[&answers[..], &norms].concat());
    assert_eq!(code, 0, "{text}");

    let bundle = |output: &str| {
        let mut command = program();
        command.args(["bundle", "--gate", "quick", "--preset"]).arg(path("mine.toml"));
        run(command.arg("--unet").arg(path("monai.safetensors")).arg("-o").arg(path(output)))
    };
    let (code, text) = bundle("bundle");
    assert!(code == 0 && text.contains("of MONAI's DiffusionModelUNet"), "{text}");
    // The golden classifier is not in it: its outputs are not looked for.
    let reference = path("reference");
    std::fs::create_dir(&reference).unwrap();
    std::fs::create_dir(reference.join("unet")).unwrap();
    for file in listing(&tiny().join("unet")).iter().filter(|name| name.ends_with(".npy")) {
        std::fs::copy(tiny().join("unet").join(file), reference.join("unet").join(file)).unwrap();
    }
    let (code, text) = run(program().arg("verify").arg(path("bundle")).arg("--reference").arg(&reference));
    assert_eq!(code, 0, "{text}");
}

#[test]
fn convert_writes_guided_diffusions_names() {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name);
    save(&path("monai.safetensors"), &monai());
    let (code, text) = run(program().arg("convert").args([path("monai.safetensors"), path("own.pt")]));
    assert!(code == 0 && text.contains("of MONAI's DiffusionModelUNet"), "{text}");
    let (own, tiny) = (path("own.pt"), tiny().join("unet/state_dict.pt"));
    let (own, tiny) = (Checkpoint::open(&own, None).unwrap(), Checkpoint::open(&tiny, None).unwrap());
    assert_eq!((own.shapes(), own.family()), (tiny.shapes(), Family::GuidedDiffusion));
    for name in own.shapes().keys().filter(|name| !name.contains(".qkv.")) {
        assert_eq!(own.read_f32(name).unwrap(), tiny.read_f32(name).unwrap(), "{name}");
    }
    // Row 0 of k is behind all of q here, and behind the first head's there.
    let name = "middle_block.1.qkv.bias";
    let (own, tiny) = (own.read_f32(name).unwrap(), tiny.read_f32(name).unwrap());
    assert_eq!((own[0], own[64], own[128]), (tiny[0], tiny[HEAD], tiny[2 * HEAD]));
}

#[test]
fn what_no_preset_describes_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let other = |name: &str, change: fn(&mut Tensors)| -> PathBuf {
        let mut tensors = monai();
        change(&mut tensors);
        let path = place.path().join(format!("{name}.safetensors"));
        save(&path, &tensors);
        path
    };
    fn rename(tensors: &mut Tensors, from: &str, to: &str) {
        let names: Vec<String> = tensors.keys().filter(|name| name.starts_with(from)).cloned().collect();
        assert!(!names.is_empty(), "{from}");
        for name in names {
            let tensor = tensors.remove(&name).unwrap();
            tensors.insert(name.replacen(from, to, 1), tensor);
        }
    }
    type Change = fn(&mut Tensors);
    let cases: [(&str, Change, &str); 11] = [
        (
            "cross-attention",
            |t| {
                rename(
                    t,
                    "down_blocks.1.attentions.0.attn",
                    "down_blocks.1.attentions.0.transformer_blocks.0.attn1",
                )
            },
            "down_blocks.1.attentions.0.transformer_blocks.0.attn1.out_proj.bias of MONAI's DiffusionModelUNet: found \
             cross-attention, expected self-attention alone",
        ),
        (
            "volumes",
            |t| t.get_mut("conv_in.conv.weight").unwrap().0.insert(2, 1),
            "conv_in.conv.weight of MONAI's DiffusionModelUNet: found [32, 4, 1, 3, 3], expected 4 axes",
        ),
        (
            "an encoder",
            |t| t.retain(|name, _| !name.starts_with("up_blocks")),
            "up_blocks of MONAI's DiffusionModelUNet: found 0 levels, expected 2",
        ),
        (
            "levels of different lengths",
            |t| rename(t, "down_blocks.1.resnets.0", "down_blocks.1.resnets.1"),
            "down_blocks.1.resnets of MONAI's DiffusionModelUNet: found 0 residual blocks, expected 1",
        ),
        (
            "attention on one way alone",
            |t| t.retain(|name, _| !name.starts_with("down_blocks.1.attentions")),
            "up_blocks.0 of MONAI's DiffusionModelUNet: found attention, expected no attention, as in down_blocks.1",
        ),
        (
            "attention without its projection",
            |t| t.retain(|name, _| !name.starts_with("middle_block.attention.attn.out_proj")),
            "middle_block.attention.attn.out_proj.weight of MONAI's DiffusionModelUNet: found nothing, expected a tensor",
        ),
        (
            "two ways between levels",
            |t| rename(t, "up_blocks.0.upsampler.postconv", "up_blocks.0.upsampler.norm1"),
            "up_blocks.0.upsampler of MONAI's DiffusionModelUNet: found a residual block, expected a convolution, as \
             down_blocks.0.downsampler is",
        ),
        (
            "something more",
            |t| {
                t.insert("down_blocks.0.extra.weight".into(), (vec![1], vec![0.0]));
            },
            "down_blocks.0.extra.weight of MONAI's DiffusionModelUNet: found a tensor, expected none of this name",
        ),
        (
            "k of another width",
            |t| {
                t.insert(
                    "middle_block.attention.attn.to_k.weight".into(),
                    (vec![32, 64], vec![0.0; 32 * 64]),
                );
            },
            "middle_block.attention.attn.to_k.weight of MONAI's DiffusionModelUNet: found [32, 64], expected 2 axes",
        ),
        (
            "a block far away",
            |t| rename(t, "down_blocks.1.", "down_blocks.18446744073709551615."),
            "up_blocks of MONAI's DiffusionModelUNet: found 2 levels, expected 1",
        ),
        (
            "the beginning of another package's",
            |t| {
                t.clear();
                for name in ["conv_in.weight", "time_embedding.linear_1.weight"] {
                    t.insert(name.into(), (vec![1, 1, 1, 1], vec![0.0]));
                }
            },
            "conv_in.bias of diffusers' UNet2DModel: found nothing, expected a tensor",
        ),
    ];
    for (case, change, expected) in cases {
        let path = other(case, change);
        let error = Checkpoint::open(&path, None).unwrap().origin().unwrap_err();
        assert!(matches!(error, CheckpointError::Unmappable { .. }), "{case}: {error}");
        assert!(error.to_string().contains(expected), "{case}: {error}");
        for command in ["preset", "bundle"] {
            let mut program = program();
            program.args([command, "--unet"]).arg(&path).arg("-o").arg(place.path().join("out"));
            let (code, text) = run(program.args((command == "bundle").then_some("--preset=tiny")));
            assert!(code == 1 && text.contains(expected), "{case}, {command}: {text}");
        }
        // It is a checkpoint still, whose tensors stay as they are.
        let copy = place.path().join("copy.safetensors");
        let (code, text) = run(program().arg("convert").arg(&path).arg(&copy));
        assert!(code == 0 && !text.contains("DiffusionModelUNet"), "{case}: {text}");
        std::fs::remove_file(copy).unwrap();
    }
}

/// Errors name the tensors of the file, not what is made of them.
#[test]
fn what_is_wrong_with_a_part_is_said_of_the_part() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("monai.safetensors");
    let part = "middle_block.attention.attn.to_k.bias";
    save_but(&path, &monai(), part);
    let text =
        Checkpoint::open(&path, None).unwrap().bytes("middle_block.1.qkv.bias").unwrap_err().to_string();
    let expected = format!("'{part}' is f64, expected f32 as 'middle_block.attention.attn.to_q.bias' is");
    assert!(text.contains(&expected), "{text}");

    let mut tensors = monai();
    tensors.get_mut(part).unwrap().1[3] = f32::NAN;
    save(&path, &tensors);
    let checkpoint = Checkpoint::open(&path, None).unwrap();
    for error in
        [checkpoint.bytes("middle_block.1.qkv.bias").err(), checkpoint.read("middle_block.1.qkv.bias").err()]
    {
        let text = error.unwrap().to_string();
        assert!(text.contains(&format!("'{part}' holds NaN at [3]")), "{text}");
    }
}

/// What diffusers writes beside a network that has these keys.
fn config(text: &str) -> Result<Config, CheckpointError> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), text).unwrap();
    Config::beside(&folder.path().join("diffusion_pytorch_model.safetensors"))
}

#[test]
fn what_diffusers_does_not_say_is_as_in_its_signature() {
    let plain = Config { image_size: None, heads: Heads::Channels(8), norm: Norm::default() };
    assert_eq!(config("{}").unwrap(), plain);
    let other = config(
        r#"{"_class_name": "UNet2DModel", "sample_size": [64, 64], "attention_head_dim": null, "norm_num_groups": 8,
            "norm_eps": 1e-06, "attn_norm_num_groups": 8, "mid_block_scale_factor": 1.0}"#,
    );
    let norm = Norm { groups: 8, epsilon: 1e-6 };
    assert_eq!(other.unwrap(), Config { image_size: Some(64), heads: Heads::Count(1), norm });
}

#[test]
fn what_diffusers_says_and_no_preset_is_refused() {
    for (text, key, found) in [
        ("[]", "the file", "no object"),
        ("{", "the file", "EOF"),
        (r#"{"downsample_padding": 0}"#, "downsample_padding", "0, expected 1"),
        (r#"{"flip_sin_to_cos": false}"#, "flip_sin_to_cos", "false, expected true"),
        (r#"{"freq_shift": 1}"#, "freq_shift", "1, expected 0"),
        (r#"{"act_fn": "relu"}"#, "act_fn", "\"relu\", expected \"silu\" or \"swish\""),
        (r#"{"mid_block_scale_factor": 1.5}"#, "mid_block_scale_factor", "1.5"),
        (r#"{"time_embedding_type": "fourier"}"#, "time_embedding_type", "fourier"),
        (r#"{"center_input_sample": true}"#, "center_input_sample", "true"),
        (r#"{"_class_name": "UNet2DConditionModel"}"#, "_class_name", "UNet2DConditionModel"),
        (
            r#"{"down_block_types": ["DownBlock2D", "SkipDownBlock2D"]}"#,
            "down_block_types",
            "\"SkipDownBlock2D\"",
        ),
        (r#"{"up_block_types": ["KUpBlock2D"]}"#, "up_block_types", "expected UpBlock2D, AttnUpBlock2D"),
        (r#"{"attn_norm_num_groups": 4}"#, "attn_norm_num_groups", "4, expected 32"),
        (r#"{"sample_size": [64, 32]}"#, "sample_size", "[64,32], expected a square"),
        (r#"{"sample_size": -1}"#, "sample_size", "-1, expected a positive number"),
        (r#"{"norm_eps": "small"}"#, "norm_eps", "\"small\", expected a number"),
    ] {
        let message = config(text).unwrap_err().to_string();
        assert!(message.contains(&format!("{key}: found")) && message.contains(found), "{text}: {message}");
    }
    let error = Config::beside(Path::new("no/such/model.bin")).unwrap_err();
    assert!(error.to_string().contains("found no config.json beside it"), "{error}");
}
