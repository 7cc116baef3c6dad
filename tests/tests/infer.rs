//! Presets inferred from names and shapes: every network of the family, and the paper's, infers to itself.

use anomalens_exporter::checkpoint::{Config, Origin};
use anomalens_exporter::infer::{Answers, InferError, Question, infer};
use anomalens_models::graph::ParamSpec;
use anomalens_models::nets;
use anomalens_models::preset::{
    ClassifierConfig, Guided, Heads, Norm, Pool, Preset, QkvOrder, ScheduleKind, UnetConfig,
};
use anomalens_models::weights::Shapes;
use anomalens_tests::family::{members, sizes};
use anomalens_tests::golden;

fn shapes(params: &[ParamSpec]) -> Shapes {
    params.iter().map(|p| (p.name.clone(), p.shape.clone())).collect()
}

fn unet_shapes(preset: &Preset) -> Shapes {
    shapes(nets::unet(preset).unwrap().params())
}

fn classifier_shapes(preset: &Preset) -> Shapes {
    shapes(nets::classifier(preset).unwrap().params())
}

fn networks(preset: &Preset) -> (&UnetConfig, &ClassifierConfig) {
    let Guided { unet, classifier, .. } = preset.guided().unwrap();
    (unet, classifier)
}

/// What somebody who knows the preset answers.
fn answers(preset: &Preset) -> Answers {
    let (unet, classifier) = networks(preset);
    Answers {
        image_size: Some(preset.image.size),
        channels: preset.image.channels.iter().map(|c| c.name.clone()).collect(),
        schedule: Some(ScheduleKind::Linear),
        timesteps: Some(1000),
        healthy_class: Some(0),
        heads: Some(unet.heads),
        heads_up: unet.heads_up,
        qkv_order: Some(unet.qkv_order),
        origin: Origin::GuidedDiffusion,
        norm_groups: None,
        norm_epsilon: None,
        classifier_heads: classifier.heads(),
        classifier_qkv_order: Some(classifier.qkv_order),
        classifier_res_blocks: None,
    }
}

fn open(result: Result<impl Sized, InferError>) -> Vec<Question> {
    match result {
        Err(InferError::Open(questions)) => questions,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("nothing was asked"),
    }
}

fn options(questions: &[Question]) -> Vec<&str> {
    questions.iter().map(|q| q.option).collect()
}

#[test]
fn every_network_of_the_family_infers_to_itself() {
    for member in members().into_iter().chain(sizes()) {
        let (preset, name) = (&member.preset, member.name);
        let answers = answers(preset);
        let (unet, classifier) = match member.network {
            "unet" => (Some(unet_shapes(preset)), None),
            _ => (None, Some(classifier_shapes(preset))),
        };
        let found = infer(name, unet.as_ref(), classifier.as_ref(), &answers);
        let found = found.unwrap_or_else(|e| panic!("{name}: {e}"));
        match member.network {
            "unet" => {
                assert_eq!(found.preset.guided().unwrap().unet, preset.guided().unwrap().unet, "{name}")
            }
            _ => assert_eq!(
                found.preset.guided().unwrap().classifier,
                preset.guided().unwrap().classifier,
                "{name}"
            ),
        }
        assert_eq!(found.preset.image, preset.image, "{name}");
        assert_eq!(found.preset, Preset::parse(name, &found.text).unwrap(), "{name}");
        // The other network in it can be built too.
        nets::unet(&found.preset).and(nets::classifier(&found.preset)).unwrap();
    }
}

#[test]
fn what_is_found_says_where() {
    let preset = Preset::load("tiny").unwrap();
    let (unet, classifier) = (unet_shapes(&preset), classifier_shapes(&preset));
    let answers = Answers { image_size: None, ..answers(&preset) };
    let found = infer("mine", Some(&unet), Some(&classifier), &answers).unwrap();
    assert_eq!(networks(&found.preset), networks(&preset));
    // t1, t1ce, … are known by their names.
    assert_eq!(found.preset.image, preset.image);
    for (key, value, from) in [
        ("image.size", "32", "out.2.positional_embedding"),
        ("unet.model_channels", "32", "time_embed.0.weight [128, 32]"),
        ("unet.resblock_updown", "false", "input_blocks.2.0.op.weight"),
        ("unet.heads", "{ channels = 16 }", "--heads"),
        ("unet.classes", "2", "label_emb.weight"),
        ("classifier.resblock_updown", "true", "input_blocks.2.0 is a residual block"),
        ("classifier.pool", "\"attention\"", "out.2.c_proj.weight"),
        ("schedule.timesteps", "1000", "--timesteps"),
    ] {
        let finding = found.findings.iter().find(|f| f.key == key).unwrap_or_else(|| panic!("{key}"));
        assert!(finding.value == value && finding.from.contains(from), "{finding:?}");
        assert!(found.text.contains(&finding.from), "{key}");
    }
}

/// The paper's networks, by the reference's own lists.
#[test]
fn golden_networks_infer_to_their_presets() {
    let Some(golden) = golden() else { return };
    let read = |network: &str, data: &str| -> Shapes {
        let text = std::fs::read_to_string(golden.join(format!("names/keys_{network}_{data}.txt"))).unwrap();
        let line = |line: &str| {
            let mut fields = line.split('\t');
            let (name, shape) = (fields.next().unwrap(), fields.next().unwrap());
            let shape = shape.trim_matches(['(', ')']).split(',').filter(|d| !d.trim().is_empty());
            (name.to_owned(), shape.map(|d| d.trim().parse().unwrap()).collect())
        };
        text.lines().map(line).collect()
    };
    for (name, data) in [("brats256", "brats"), ("chexpert256", "chexpert")] {
        let preset = Preset::load(name).unwrap();
        let (unet, classifier) = (read("unet", data), read("classifier", data));
        // The classifier's pool tells the image size.
        let answers = Answers { image_size: None, ..answers(&preset) };
        let found = infer(name, Some(&unet), Some(&classifier), &answers).unwrap().preset;
        assert_eq!(networks(&found), networks(&preset), "{name}");
        assert_eq!(
            (&found.image, found.guided().unwrap().schedule),
            (&preset.image, preset.guided().unwrap().schedule),
            "{name}"
        );

        let questions = open(infer(name, Some(&unet), Some(&classifier), &Answers::default()));
        let channels: &[&str] = if data == "brats" { &["--channels"] } else { &[] };
        let others = ["--schedule", "--timesteps", "--heads", "--qkv-order"];
        let last = ["--classifier-heads", "--classifier-qkv-order", "--healthy-class"];
        assert_eq!(options(&questions), [channels, &others, &last].concat(), "{name}");
    }
}

#[test]
fn questions_name_what_fits() {
    let mut preset = Preset::load("brats256").unwrap();
    let unet = unet_shapes(&preset);
    let questions = open(infer("u", Some(&unet), None, &Answers::default()));
    let expected = [
        "--image-size",
        "--channels",
        "--schedule",
        "--timesteps",
        "--heads",
        "--qkv-order",
        "--healthy-class",
    ];
    assert_eq!(options(&questions), expected);
    let question = |option: &str| questions.iter().find(|q| q.option == option).unwrap();
    let size = question("--image-size");
    assert_eq!(size.candidates, ["32", "64", "128", "256", "512"]);
    assert!(size.ask.contains("multiple of 32") && size.ask.contains("these levels at 256"), "{}", size.ask);
    let heads = &question("--heads").candidates;
    // Attention at 512 channels alone.
    for fits in ["count:1", "count:4", "channels:64", "channels:256"] {
        assert!(heads.iter().any(|c| c == fits), "{fits}: {heads:?}");
    }
    assert!(!heads.iter().any(|c| c == "count:3" || c == "channels:1024"), "{heads:?}");
    assert_eq!(question("--qkv-order").candidates, ["head-first", "qkv-first"]);
    assert_eq!(question("--healthy-class").candidates, ["0", "1"]);
    let message = InferError::Open(questions.clone()).to_string();
    assert!(expected.iter().all(|option| message.contains(option)), "{message}");

    // With one head the order has no meaning, and without classes no class is healthy.
    preset.guided_mut().unwrap().unet.classes = None;
    let one = Answers { heads: Some(Heads::Count(1)), ..Answers::default() };
    let questions = open(infer("u", Some(&unet_shapes(&preset)), None, &one));
    assert_eq!(options(&questions), ["--image-size", "--channels", "--schedule", "--timesteps"]);
}

/// The stand-in for a classifier that is not brought knows the classes of the U-Net.
#[test]
fn a_unet_alone_has_any_of_its_classes_healthy() {
    let mut preset = Preset::load("tiny").unwrap();
    preset.guided_mut().unwrap().unet.classes = Some(3);
    let unet = unet_shapes(&preset);
    let known = |class| Answers { healthy_class: Some(class), ..answers(&preset) };
    let found = infer("u", Some(&unet), None, &known(2)).unwrap().preset;
    assert_eq!(
        (found.guided().unwrap().translate.healthy_class, found.guided().unwrap().classifier.classes),
        (2, 3)
    );
    let error = infer("u", Some(&unet), None, &known(3)).unwrap_err();
    assert!(matches!(error, InferError::Answer { option: "--healthy-class", .. }), "{error}");
}

/// Residual blocks that change the resolution look like the others: only what lies around them tells them apart.
#[test]
fn levels_of_a_classifier_may_be_open() {
    let mut preset = Preset::load("tiny").unwrap();
    let c = &mut preset.guided_mut().unwrap().classifier;
    c.channel_mult = vec![1.0.into(), 1.0.into()];
    c.attention_resolutions = vec![];
    (c.head_channels, c.head_count, c.pool) = (None, Some(1), Pool::SpatialV2);
    let classifier = classifier_shapes(&preset);
    let known = answers(&preset);
    let questions = open(infer("c", None, Some(&classifier), &known));
    assert_eq!(options(&questions), ["--classifier-res-blocks"]);
    assert_eq!(questions[0].candidates, ["1", "3"]);
    let told = |n| Answers { classifier_res_blocks: Some(n), ..known.clone() };
    assert_eq!(
        infer("c", None, Some(&classifier), &told(1)).unwrap().preset.guided().unwrap().classifier,
        preset.guided().unwrap().classifier
    );
    let other =
        infer("c", None, Some(&classifier), &told(3)).unwrap().preset.guided().unwrap().classifier.clone();
    assert_eq!((other.res_blocks, other.channel_mult.len()), (3, 1));
    let error = infer("c", None, Some(&classifier), &told(2)).unwrap_err();
    assert!(matches!(&error, InferError::Answer { option: "--classifier-res-blocks", .. }), "{error}");

    // The attention pool knows the last level's side, so that the image size is enough.
    let c = &mut preset.guided_mut().unwrap().classifier;
    (c.head_channels, c.head_count, c.pool) = (Some(32), None, Pool::Attention);
    let classifier = classifier_shapes(&preset);
    let known = answers(&preset);
    assert_eq!(
        infer("c", None, Some(&classifier), &known).unwrap().preset.guided().unwrap().classifier,
        preset.guided().unwrap().classifier
    );
    let silent = Answers { image_size: None, ..known.clone() };
    assert_eq!(options(&open(infer("c", None, Some(&classifier), &silent))), ["--classifier-res-blocks"]);
    let error = infer("c", None, Some(&classifier), &Answers { image_size: Some(48), ..known }).unwrap_err();
    assert!(error.to_string().contains("--image-size: found 48"), "{error}");
}

#[test]
fn answers_that_do_not_fit_are_refused() {
    let preset = Preset::load("tiny").unwrap();
    let (unet, classifier) = (unet_shapes(&preset), classifier_shapes(&preset));
    let known = answers(&preset);
    type Change = fn(&mut Answers);
    let cases: [(&str, &str, Change); 8] = [
        ("--image-size", "64", |a| a.image_size = Some(64)),
        ("--channels", "a,b", |a| a.channels = vec!["a".into(), "b".into()]),
        ("--channels", "a,a,b,c", |a| a.channels = ["a", "a", "b", "c"].map(String::from).to_vec()),
        ("--timesteps", "0", |a| a.timesteps = Some(0)),
        ("--healthy-class", "2", |a| a.healthy_class = Some(2)),
        ("--heads", "count:3", |a| a.heads = Some(Heads::Count(3))),
        ("--heads-up", "channels:128", |a| a.heads_up = Some(Heads::Channels(128))),
        // The attention pool has no number of heads.
        ("--classifier-heads", "count:1", |a| a.classifier_heads = Some(Heads::Count(1))),
    ];
    for (wanted, value, change) in cases {
        let mut answers = known.clone();
        change(&mut answers);
        match infer("t", Some(&unet), Some(&classifier), &answers) {
            Err(InferError::Answer { option, found, .. }) => {
                assert_eq!((option, found.as_str()), (wanted, value))
            }
            other => panic!("{wanted} {value}: {other:?}"),
        }
    }
    assert_eq!(known.qkv_order, Some(QkvOrder::HeadFirst));
}

/// What stands beside a network of diffusers is not asked for, and nobody may say otherwise.
#[test]
fn what_diffusers_says_is_known() {
    let preset = Preset::load("tiny").unwrap();
    let (unet, classifier) = (unet_shapes(&preset), classifier_shapes(&preset));
    let norm = Norm { groups: 16, epsilon: 1e-6 };
    let config = Config { image_size: Some(32), heads: Heads::Channels(16), norm };
    let known = Answers {
        origin: Origin::Diffusers(config),
        image_size: None,
        heads: None,
        qkv_order: None,
        ..answers(&preset)
    };
    let found = infer("d", Some(&unet), None, &known).unwrap();
    let u = &found.preset.guided().unwrap().unet;
    assert_eq!((u.heads, u.qkv_order, u.norm()), (config.heads, QkvOrder::QkvFirst, norm));
    assert_eq!((found.preset.image.size, found.preset.guided().unwrap().classifier.norm()), (32, norm));
    assert_eq!(found.preset, Preset::parse("d", &found.text).unwrap());
    for from in ["sample_size", "attention_head_dim", "norm_num_groups", "norm_eps"] {
        assert!(found.text.contains(&format!("# {from} of config.json")), "{from}: {}", found.text);
    }
    assert!(found.text.contains("of diffusers' UNet2DModel"), "{}", found.text);

    type Change = fn(&mut Answers);
    let cases: [(&str, &str, Change); 5] = [
        ("--image-size", "64", |a| a.image_size = Some(64)),
        ("--heads", "count:2", |a| a.heads = Some(Heads::Count(2))),
        ("--qkv-order", "head-first", |a| a.qkv_order = Some(QkvOrder::HeadFirst)),
        ("--norm-groups", "32", |a| a.norm_groups = Some(32)),
        ("--norm-epsilon", "1e-5", |a| a.norm_epsilon = Some(1e-5)),
    ];
    for (wanted, value, change) in cases {
        let mut answers = known.clone();
        change(&mut answers);
        match infer("d", Some(&unet), None, &answers) {
            Err(InferError::Answer { option, found, .. }) => {
                assert_eq!((option, found.as_str()), (wanted, value))
            }
            other => panic!("{wanted} {value}: {other:?}"),
        }
    }
    // A guided-diffusion classifier beside it has its own norms, and must be of the same size.
    let found = infer("d", Some(&unet), Some(&classifier), &known).unwrap().preset;
    assert_eq!(
        (found.guided().unwrap().unet.norm(), found.guided().unwrap().classifier.norm()),
        (norm, Norm::default())
    );
    let other = Config { image_size: Some(64), ..config };
    let known = Answers { origin: Origin::Diffusers(other), ..known };
    let error = infer("d", Some(&unet), Some(&classifier), &known).unwrap_err();
    assert!(matches!(error, InferError::Apart { what: "image size", unet: 64, classifier: 32 }), "{error}");
}

/// The group norms of MONAI's networks are asked for; of guided-diffusion's they can be told.
#[test]
fn group_norms_are_asked_for_where_they_differ() {
    let preset = Preset::load("tiny").unwrap();
    let unet = unet_shapes(&preset);
    let monai = Answers { origin: Origin::Monai, qkv_order: None, ..answers(&preset) };
    let questions = open(infer("m", Some(&unet), None, &monai));
    assert_eq!(options(&questions), ["--norm-groups", "--norm-epsilon"]);
    assert_eq!(questions[0].candidates, ["1", "2", "4", "8", "16", "32"]);
    let told = Answers { norm_groups: Some(8), norm_epsilon: Some(1e-6), ..monai.clone() };
    let found = infer("m", Some(&unet), None, &told).unwrap();
    assert_eq!(found.preset.guided().unwrap().unet.norm(), Norm { groups: 8, epsilon: 1e-6 });
    assert!(found.text.contains("norm_epsilon = 1e-6"), "{}", found.text);
    let wrong = Answers { norm_groups: Some(24), ..told };
    let error = infer("m", Some(&unet), None, &wrong).unwrap_err();
    assert!(matches!(error, InferError::Answer { option: "--norm-groups", .. }), "{error}");
    let renamed = Answers { norm_epsilon: Some(1e-6), ..answers(&preset) };
    let found = infer("m", Some(&unet), None, &renamed).unwrap().preset;
    assert_eq!(found.guided().unwrap().unet.norm(), Norm { groups: 32, epsilon: 1e-6 });
}

#[test]
fn other_tensors_are_refused() {
    let preset = Preset::load("tiny").unwrap();
    let (unet, classifier) = (unet_shapes(&preset), classifier_shapes(&preset));
    type Change = fn(&mut Shapes);
    let cases: [(&str, &str, Change); 11] = [
        ("nothing", "", Shapes::clear),
        ("other names", "", |s| {
            s.clear();
            s.insert("conv1.weight".into(), vec![64, 3, 7, 7]);
        }),
        ("one is missing", "output_blocks.1.0.in_layers.0.bias", |s| {
            s.remove("output_blocks.1.0.in_layers.0.bias");
        }),
        ("one too many", "betas", |s| {
            s.insert("betas".into(), vec![1000]);
        }),
        ("another shape", "output_blocks.1.0.in_layers.2.weight", |s| {
            s.insert("output_blocks.1.0.in_layers.2.weight".into(), vec![64, 64, 3, 3]);
        }),
        ("a scalar", "input_blocks.0.0.weight", |s| {
            s.insert("input_blocks.0.0.weight".into(), vec![]);
        }),
        ("sizes that lie", "time_embed.0.weight", |s| {
            s.insert("time_embed.0.weight".into(), vec![4 << 40, 1 << 40]);
        }),
        ("a block far away", "input_blocks", |s| {
            s.insert("input_blocks.18446744073709551615.0.op.weight".into(), vec![32, 32, 3, 3]);
        }),
        ("levels of different lengths", "input_blocks", |s| {
            s.retain(|name, _| !name.starts_with("input_blocks.3."));
        }),
        ("an odd output", "out.2.weight", |s| {
            s.insert("out.2.weight".into(), vec![5, 32, 3, 3]);
        }),
        ("an odd embedding", "time_embed.0.weight", |s| {
            s.insert("time_embed.0.weight".into(), vec![100, 32]);
        }),
    ];
    // Nothing is asked of tensors that are none.
    for (case, name, change) in cases {
        let mut other = unet.clone();
        change(&mut other);
        match infer("t", Some(&other), None, &Answers::default()) {
            Err(InferError::Foreign { network: "unet", place, .. }) => {
                assert!(place.contains(name), "{case}: {place}")
            }
            other => panic!("{case}: {other:?}"),
        }
    }
    let swapped = infer("t", Some(&classifier), None, &Answers::default()).unwrap_err().to_string();
    assert!(swapped.contains("a classifier has none"), "{swapped}");
    let swapped = infer("t", None, Some(&unet), &Answers::default()).unwrap_err().to_string();
    assert!(swapped.contains("this is a U-Net"), "{swapped}");
    assert!(matches!(infer("t", None, None, &Answers::default()), Err(InferError::Nothing)));

    let chest = unet_shapes(&Preset::load("chexpert256").unwrap());
    let error = infer("t", Some(&chest), Some(&classifier), &Answers::default()).unwrap_err();
    assert!(matches!(error, InferError::Apart { unet: 1, classifier: 4, .. }), "{error}");
    let mut pool = classifier.clone();
    pool.insert("out.2.positional_embedding".into(), vec![64, 256]);
    let error = infer("t", None, Some(&pool), &Answers::default()).unwrap_err();
    assert!(error.to_string().contains("one more than a square"), "{error}");
    // The U-Net halves a side five times; a pool of one pixel knows the side that the classifier's levels leave.
    let deep = unet_shapes(&Preset::load("brats256").unwrap());
    let mut pool = classifier.clone();
    let width = pool["out.2.positional_embedding"][0];
    pool.insert("out.2.positional_embedding".into(), vec![width, 2]);
    let error = infer("t", Some(&deep), Some(&pool), &Answers::default()).unwrap_err();
    assert!(matches!(error, InferError::Size { least: 32, size } if size < 32), "{error}");
    assert!(error.to_string().contains("expected a multiple of 32"), "{error}");
}
