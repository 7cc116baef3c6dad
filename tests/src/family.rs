//! The family of guided-diffusion's networks: a table of small ones, each as the arguments of OpenAI's own classes and as a
//! preset of ours, written by hand beside each other.

use anomalens_models::preset::{
    ChannelSpec, ClassifierConfig, Conditioning, Guided, Heads, Multiplier, Pool, Preset, QkvOrder,
    UnetConfig,
};
use serde_json::{Value, json};

/// One network of the family.
pub struct Member {
    /// Its name, of both networks unique.
    pub name: &'static str,
    /// `unet` or `classifier`.
    pub network: &'static str,
    /// The arguments of `UNetModel` or `EncoderUNetModel`.
    pub arguments: Value,
    /// The same network as a preset; the other network in it has no meaning.
    pub preset: Preset,
    /// A preset that is wrong by one switch.
    pub wrong: Preset,
}

/// Image channels of every network but those that say otherwise.
const CHANNELS: usize = 2;

fn factors(factors: &[f64]) -> Vec<Multiplier> {
    factors.iter().map(|&factor| factor.into()).collect()
}

/// A preset for images of `size` pixels with so many channels.
fn preset(size: usize, channels: usize) -> Preset {
    let mut preset = Preset::load("tiny").unwrap();
    let channel =
        |i| ChannelSpec { name: format!("c{i}"), modality: vec![], any_of: vec![], none_of: vec![] };
    preset.image.size = size;
    preset.image.channels = (0..channels).map(channel).collect();
    preset.guided_mut().unwrap().unet = plain_unet();
    preset.guided_mut().unwrap().classifier = plain_classifier();
    preset
}

/// `UNetModel` with its own defaults, in 32 and 64 channels.
fn plain_unet() -> UnetConfig {
    UnetConfig {
        model_channels: 32,
        res_blocks: 1,
        channel_mult: factors(&[1.0, 2.0]),
        attention_resolutions: vec![16],
        heads: Heads::Count(1),
        heads_up: None,
        qkv_order: QkvOrder::HeadFirst,
        conditioning: Conditioning::Shift,
        resblock_updown: false,
        conv_resample: true,
        classes: None,
        learn_sigma: true,
        norm_groups: 32,
        norm_epsilon: 1e-5,
    }
}

/// `EncoderUNetModel` with its own defaults, in 32 and 64 channels.
fn plain_classifier() -> ClassifierConfig {
    ClassifierConfig {
        model_channels: 32,
        res_blocks: 1,
        channel_mult: factors(&[1.0, 2.0]),
        attention_resolutions: vec![16],
        head_channels: None,
        head_count: Some(1),
        qkv_order: QkvOrder::HeadFirst,
        conditioning: Conditioning::Shift,
        resblock_updown: false,
        conv_resample: true,
        pool: Pool::Adaptive,
        classes: 3,
        norm_groups: 32,
        norm_epsilon: 1e-5,
    }
}

/// The arguments that every network has, with others in their place.
fn arguments(out_channels: usize, others: Value) -> Value {
    let mut arguments = json!({
        "image_size": 32, "in_channels": CHANNELS, "out_channels": out_channels, "model_channels": 32,
        "num_res_blocks": 1, "attention_resolutions": [2], "channel_mult": [1, 2],
    });
    let all = arguments.as_object_mut().unwrap();
    all.extend(others.as_object().unwrap().clone());
    arguments
}

fn unet(name: &'static str, others: Value, change: fn(&mut UnetConfig), err: fn(&mut UnetConfig)) -> Member {
    let arguments = arguments(2 * CHANNELS, others);
    let number = |key: &str| arguments[key].as_u64().unwrap() as usize;
    let mut preset = preset(number("image_size"), number("in_channels"));
    change(&mut preset.guided_mut().unwrap().unet);
    let mut wrong = preset.clone();
    err(&mut wrong.guided_mut().unwrap().unet);
    Member { name, network: "unet", arguments, preset, wrong }
}

fn classifier(
    name: &'static str,
    others: Value,
    change: fn(&mut ClassifierConfig),
    err: fn(&mut ClassifierConfig),
) -> Member {
    let arguments = arguments(3, others);
    let number = |key: &str| arguments[key].as_u64().unwrap() as usize;
    let mut preset = preset(number("image_size"), number("in_channels"));
    change(&mut preset.guided_mut().unwrap().classifier);
    let mut wrong = preset.clone();
    err(&mut wrong.guided_mut().unwrap().classifier);
    Member { name, network: "classifier", arguments, preset, wrong }
}

/// Networks to be computed. Every switch is in one of them at least, and is what is wrong in another.
pub fn members() -> Vec<Member> {
    vec![
        unet("plain", json!({}), |_| (), |u| u.heads = Heads::Count(2)),
        unet(
            "one-channel-four-heads",
            json!({"in_channels": 1, "out_channels": 2, "num_heads": 4}),
            |u| u.heads = Heads::Count(4),
            |u| u.qkv_order = QkvOrder::QkvFirst,
        ),
        unet(
            "new-order",
            json!({"num_head_channels": 16, "use_new_attention_order": true}),
            |u| (u.heads, u.qkv_order) = (Heads::Channels(16), QkvOrder::QkvFirst),
            |u| u.qkv_order = QkvOrder::HeadFirst,
        ),
        unet(
            "other-heads-up",
            json!({"num_heads": 2, "num_heads_upsample": 4}),
            |u| (u.heads, u.heads_up) = (Heads::Count(2), Some(Heads::Count(4))),
            |u| u.heads_up = None,
        ),
        unet(
            "resblocks-scale-classes",
            json!({"resblock_updown": true, "use_scale_shift_norm": true, "num_classes": 3}),
            |u| {
                u.resblock_updown = true;
                u.conditioning = Conditioning::ScaleShift;
                u.classes = Some(3);
            },
            |u| u.conditioning = Conditioning::Shift,
        ),
        unet(
            "no-convolutions",
            json!({"conv_resample": false, "channel_mult": [1, 2, 2], "attention_resolutions": [4], "num_res_blocks": 2}),
            |u| {
                u.conv_resample = false;
                u.channel_mult = factors(&[1.0, 2.0, 2.0]);
                u.attention_resolutions = vec![8];
                u.res_blocks = 2;
            },
            |u| u.conv_resample = true,
        ),
        unet(
            "no-variance",
            json!({"in_channels": 3, "out_channels": 3, "num_head_channels": 32, "attention_resolutions": [1, 2]}),
            |u| {
                u.learn_sigma = false;
                u.heads = Heads::Channels(32);
                u.attention_resolutions = vec![32, 16];
            },
            |u| u.attention_resolutions = vec![16],
        ),
        unet(
            "half",
            json!({"model_channels": 64, "channel_mult": [0.5, 1], "num_heads": 2}),
            |u| {
                u.model_channels = 64;
                u.channel_mult = factors(&[0.5, 1.0]);
                u.heads = Heads::Count(2);
            },
            |u| u.channel_mult = factors(&[1.0, 1.0]),
        ),
        unet(
            "size-64",
            json!({"image_size": 64, "channel_mult": [1, 2, 3, 4], "attention_resolutions": [4, 8], "num_heads": 4,
                   "resblock_updown": true}),
            |u| {
                u.channel_mult = factors(&[1.0, 2.0, 3.0, 4.0]);
                u.attention_resolutions = vec![16, 8];
                u.heads = Heads::Count(4);
                u.resblock_updown = true;
            },
            |u| u.resblock_updown = false,
        ),
        classifier(
            "attention",
            json!({"pool": "attention", "num_head_channels": 16, "resblock_updown": true, "use_scale_shift_norm": true}),
            |c| {
                c.pool = Pool::Attention;
                (c.head_channels, c.head_count) = (Some(16), None);
                c.resblock_updown = true;
                c.conditioning = Conditioning::ScaleShift;
            },
            |c| c.qkv_order = QkvOrder::QkvFirst,
        ),
        classifier(
            "adaptive",
            json!({"num_heads": 2}),
            |c| c.head_count = Some(2),
            |c| c.head_count = Some(4),
        ),
        classifier(
            "spatial",
            json!({"pool": "spatial", "in_channels": 1, "num_heads": 2, "num_res_blocks": 2, "out_channels": 2}),
            |c| {
                c.pool = Pool::Spatial;
                c.head_count = Some(2);
                c.res_blocks = 2;
                c.classes = 2;
            },
            |c| c.qkv_order = QkvOrder::QkvFirst,
        ),
        classifier(
            "spatial-v2",
            json!({"pool": "spatial_v2", "conv_resample": false, "num_head_channels": 32, "use_new_attention_order": true}),
            |c| {
                c.pool = Pool::SpatialV2;
                c.conv_resample = false;
                (c.head_channels, c.head_count) = (Some(32), None);
                c.qkv_order = QkvOrder::QkvFirst;
            },
            |c| c.qkv_order = QkvOrder::HeadFirst,
        ),
        classifier(
            "wrong-pool",
            json!({"pool": "spatial", "resblock_updown": true, "attention_resolutions": [1, 2]}),
            |c| {
                c.pool = Pool::Spatial;
                c.resblock_updown = true;
                c.attention_resolutions = vec![32, 16];
            },
            |c| c.pool = Pool::SpatialV2,
        ),
    ]
}

/// The networks that guided-diffusion itself makes for each image size, too large to be computed here: their tensors'
/// names and shapes alone are compared.
pub fn sizes() -> Vec<Member> {
    let levels = |size: u64| match size {
        64 => json!([1, 2, 3, 4]),
        128 => json!([1, 1, 2, 3, 4]),
        256 => json!([1, 1, 2, 2, 4, 4]),
        _ => json!([0.5, 1, 1, 2, 2, 4, 4]),
    };
    let mut members = Vec::new();
    for (size, names) in [
        (64, ["unet-64", "classifier-64"]),
        (128, ["unet-128", "classifier-128"]),
        (256, ["unet-256", "classifier-256"]),
        (512, ["unet-512", "classifier-512"]),
    ] {
        let (mult, at) = (levels(size), json!([size / 32, size / 16, size / 8]));
        let own: Vec<Multiplier> =
            mult.as_array().unwrap().iter().map(|f| f.as_f64().unwrap().into()).collect();
        let shared = json!({"image_size": size, "channel_mult": mult, "attention_resolutions": at, "model_channels": 128,
            "num_res_blocks": 2, "resblock_updown": true, "use_scale_shift_norm": true, "num_head_channels": 64,
            "in_channels": 3, "out_channels": 6});
        let mut unet = unet(names[0], shared.clone(), |_| (), |_| ());
        let mut classifier = classifier(names[1], shared, |_| (), |_| ());
        classifier.arguments["pool"] = json!("attention");
        for member in [&mut unet, &mut classifier] {
            let Guided { unet: u, classifier: c, .. } = member.preset.guided_mut().unwrap();
            (u.model_channels, c.model_channels) = (128, 128);
            (u.res_blocks, c.res_blocks) = (2, 2);
            (u.channel_mult, c.channel_mult) = (own.clone(), own.clone());
            (u.attention_resolutions, c.attention_resolutions) = (vec![32, 16, 8], vec![32, 16, 8]);
            (u.heads, c.head_channels, c.head_count) = (Heads::Channels(64), Some(64), None);
            (u.conditioning, c.conditioning) = (Conditioning::ScaleShift, Conditioning::ScaleShift);
            (u.resblock_updown, c.resblock_updown) = (true, true);
            (c.pool, c.classes) = (Pool::Attention, 6);
        }
        members.extend([unet, classifier]);
    }
    members
}
