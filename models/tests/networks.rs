//! The networks against what the paper and the reference say of them.

use anomalens_models::graph::Graph;
use anomalens_models::graph::describe::describe;
use anomalens_models::graph::reference::{self, Value};
use anomalens_models::nets;
use anomalens_models::preset::Preset;
use anomalens_models::weights::RandomWeights;
use ndarray::ArrayD;

/// Parameters of each network. Source: Sec. 3 of the paper for BRATS (113,681,160 and 5,452,962); the reference's own
/// count for the others.
#[test]
fn parameter_counts_equal_the_reference() {
    struct Case {
        preset: &'static str,
        unet: usize,
        classifier: usize,
    }
    let cases = [
        Case { preset: "brats256", unet: 113_681_160, classifier: 5_452_962 },
        Case { preset: "chexpert256", unet: 113_670_786, classifier: 5_452_098 },
        Case { preset: "tiny", unet: 704_488, classifier: 393_890 },
    ];
    for case in cases {
        let preset = Preset::load(case.preset).unwrap();
        let found =
            (nets::unet(&preset).unwrap().param_count(), nets::classifier(&preset).unwrap().param_count());
        assert_eq!(found, (case.unet, case.classifier), "{}", case.preset);
    }
    let mut unconditional = Preset::load("brats256").unwrap();
    unconditional.guided_mut().unwrap().unet.classes = None;
    assert_eq!(nets::unet(&unconditional).unwrap().param_count(), 113_680_136); // counted on the reference
}

/// 249 GMAC: counted on the reference at batch 1, 256 x 256, four channels.
#[test]
fn multiply_adds_equal_the_reference() {
    let preset = Preset::load("brats256").unwrap();
    let unet = describe(&nets::unet(&preset).unwrap());
    assert_eq!((unet.macs as f64 / 1e9).round(), 249.0, "{}", unet.macs);
    assert_eq!(unet.layers.iter().map(|l| l.params).sum::<usize>(), unet.params);
}

/// Every state-dict key and shape of the paper's networks, where the golden set is at hand.
#[test]
fn parameter_names_and_shapes_equal_the_reference() {
    let Ok(golden) = std::env::var("ANOMALENS_GOLDEN") else {
        assert!(std::env::var("CI").is_err(), "ANOMALENS_GOLDEN must be set in CI");
        eprintln!("skipped: ANOMALENS_GOLDEN is not set");
        return;
    };
    for (preset, data) in [("brats256", "brats"), ("chexpert256", "chexpert")] {
        let preset = Preset::load(preset).unwrap();
        let graphs =
            [("unet", nets::unet(&preset).unwrap()), ("classifier", nets::classifier(&preset).unwrap())];
        for (network, graph) in graphs {
            let text = std::fs::read_to_string(format!("{golden}/names/keys_{network}_{data}.txt")).unwrap();
            let mut expected: Vec<String> =
                text.lines().map(|line| line.split('\t').take(2).collect::<Vec<_>>().join(" ")).collect();
            let mut found: Vec<String> = graph
                .params()
                .iter()
                .map(|p| {
                    let dims: Vec<String> = p.shape.iter().map(ToString::to_string).collect();
                    let comma = if dims.len() == 1 { "," } else { "" };
                    format!("{} ({}{comma})", p.name, dims.join(", "))
                })
                .collect();
            expected.sort();
            found.sort();
            assert_eq!(found, expected, "{network} {data}");
        }
    }
}

/// A preset of 128 x 128 pixels in three channels with these tables.
fn published(method: &str, table: &str) -> Preset {
    let text = format!(
        "name = 'p'\ndescription = 'd'\nmethod = '{method}'\n[image]\nsize = 128\n[[image.channels]]\nname = 'r'\n\
         [[image.channels]]\nname = 'g'\n[[image.channels]]\nname = 'b'\n{table}"
    );
    Preset::parse("p", &text).unwrap()
}

/// StarGAN's networks at 128 pixels with five domains, whose every layer Choi et al. 2018, Tables 4 and 5, list.
#[test]
fn fixed_point_gan_has_the_published_layers() {
    let preset = published(
        "fixed-point-gan",
        "[fixed_point_gan]\ngenerator_channels = 64\ngenerator_blocks = 6\ncritic_channels = 64\ncritic_levels = 6\n\
         classes = 5\nhealthy_class = 0\n",
    );
    let generator = nets::fixed_point_generator(&preset).unwrap();
    let norm = |width: usize| 2 * width;
    let published = (3 + 5) * 64 * 49
        + norm(64)
        + 64 * 128 * 16
        + norm(128)
        + 128 * 256 * 16
        + norm(256)
        + 6 * 2 * (256 * 256 * 9 + norm(256))
        + 256 * 128 * 16
        + norm(128)
        + 128 * 64 * 16
        + norm(64)
        + 64 * 3 * 49;
    assert_eq!(published, 8_430_528); // what the published program prints for its generator
    assert_eq!(generator.param_count(), published);
    let shapes: Vec<(&str, &[usize])> =
        generator.params().iter().map(|p| (p.name.as_str(), p.shape.as_slice())).collect();
    for (name, shape) in [
        ("main.0.weight", &[64, 8, 7, 7][..]),
        ("main.1.bias", &[64]),
        ("main.3.weight", &[128, 64, 4, 4]),
        ("main.9.main.0.weight", &[256, 256, 3, 3]),
        ("main.14.main.4.weight", &[256]),
        ("main.15.weight", &[256, 128, 4, 4]),
        ("main.18.weight", &[128, 64, 4, 4]),
        ("main.21.weight", &[3, 64, 7, 7]),
    ] {
        assert!(shapes.contains(&(name, shape)), "{name} {shape:?}: {shapes:?}");
    }
    let critic = nets::fixed_point_critic(&preset).unwrap();
    let layers: usize = [3, 64, 128, 256, 512, 1024, 2048].windows(2).map(|w| w[0] * w[1] * 16 + w[1]).sum();
    assert_eq!(critic.param_count(), layers + 2048 * 9 + 5 * 2048 * 2 * 2);
    let healthy = nets::one_pass(&preset).unwrap();
    assert_eq!(healthy.params(), generator.params());
}

/// By hand: convolutions with bias, and two parameters a channel of every norm.
#[test]
fn vae_has_the_layers_of_its_preset() {
    let preset = published("vae", "[vae]\nwidths = [16, 32, 64]\nlatent_channels = 8\n");
    let conv = |from: usize, to: usize| 9 * from * to + to + 2 * to;
    let point = |from: usize, to: usize| from * to + to;
    let down = |from: usize, to: usize| conv(from, from) + conv(from, to) + conv(from, to);
    let up = |from: usize, to: usize| conv(from, to) + conv(to, to) + conv(from, to);
    let used = conv(3, 16)
        + down(16, 32)
        + down(32, 64)
        + point(64, 8)
        + conv(8, 64)
        + up(64, 32)
        + up(32, 16)
        + 9 * 16 * 3
        + 3;
    let healthy = nets::one_pass(&preset).unwrap();
    assert_eq!(healthy.param_count(), used);
    let trained = nets::vae(&preset).unwrap();
    assert_eq!(trained.param_count(), used + point(64, 8));
    assert!(healthy.params().iter().all(|param| trained.params().contains(param)));
    let inputs: Vec<String> =
        trained.inputs().map(|(name, id)| format!("{name} {}", trained.node(id).ty.shape)).collect();
    assert_eq!(inputs, ["x [N, 3, 128, 128]", "noise [N, 8, 32, 32]"]);
}

fn tiny_one_pass(method: &str, table: &str) -> Preset {
    let text = format!(
        "name = 'p'\ndescription = 'd'\nmethod = '{method}'\n[image]\nsize = 8\n[[image.channels]]\nname = 'a'\n\
         [[image.channels]]\nname = 'b'\n{table}"
    );
    Preset::parse("p", &text).unwrap()
}

fn run(graph: &Graph, weights: &RandomWeights, inputs: &[(&str, Value)]) -> Vec<ArrayD<f64>> {
    reference::run(graph, weights, inputs).unwrap().into_iter().map(|(_, value)| value).collect()
}

fn ramp(shape: &[usize]) -> ArrayD<f64> {
    let count: usize = shape.iter().product();
    let values = (0..count).map(|i| (i as f64 * 0.37).sin().abs()).collect();
    ArrayD::from_shape_vec(shape, values).unwrap()
}

/// What is used equals what is trained: the autoencoder without noise, the generator with the healthy code.
#[test]
fn networks_in_use_equal_the_trained_ones() {
    let preset = tiny_one_pass("vae", "[vae]\nwidths = [4, 8]\nlatent_channels = 3\n");
    let (trained, used) = (nets::vae(&preset).unwrap(), nets::one_pass(&preset).unwrap());
    let weights = RandomWeights::new(1, trained.params());
    let x = ramp(&[2, 2, 8, 8]);
    let healthy = run(&used, &weights, &[("x", Value::Float(x.clone()))]).remove(0);
    let with = |noise: ArrayD<f64>| {
        run(&trained, &weights, &[("x", Value::Float(x.clone())), ("noise", Value::Float(noise))]).remove(0)
    };
    let apart = |a: &ArrayD<f64>, b: &ArrayD<f64>| (a - b).mapv(f64::abs).fold(0.0, |m: f64, &v| m.max(v));
    assert!(apart(&with(ArrayD::zeros(vec![2, 3, 4, 4])), &healthy) < 1e-12);
    assert!(apart(&with(ramp(&[2, 3, 4, 4])), &healthy) > 1e-3);

    let preset = tiny_one_pass(
        "fixed-point-gan",
        "[fixed_point_gan]\ngenerator_channels = 4\ngenerator_blocks = 1\ncritic_channels = 4\ncritic_levels = 2\n\
         classes = 3\nhealthy_class = 1\n",
    );
    let (trained, used) = (nets::fixed_point_generator(&preset).unwrap(), nets::one_pass(&preset).unwrap());
    let weights = RandomWeights::new(1, trained.params());
    let healthy = run(&used, &weights, &[("x", Value::Float(x.clone()))]).remove(0);
    let to = |class: i64| {
        let y = Value::Int(ArrayD::from_elem(vec![2], class));
        let signed = x.mapv(|v| 2.0 * v - 1.0);
        run(&trained, &weights, &[("x", Value::Float(signed)), ("y", y)]).remove(0).mapv(|v| 0.5 * (v + 1.0))
    };
    assert!(apart(&to(1), &healthy) < 1e-12);
    assert!(apart(&to(0), &healthy) > 1e-3 && apart(&to(2), &healthy) > 1e-3);
    assert!(healthy.iter().all(|&v| (0.0..=1.0).contains(&v)));
}

#[test]
fn networks_of_another_method_are_refused() {
    let guided = Preset::load("tiny").unwrap();
    for graph in [nets::vae(&guided), nets::fixed_point_critic(&guided), nets::one_pass(&guided)] {
        let error = graph.unwrap_err().to_string();
        assert!(error.contains("preset 'tiny': method: found guided, expected"), "{error}");
    }
}
