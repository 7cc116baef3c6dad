//! The networks learn what little there is to learn, and the losses are libtorch's own.

mod support;

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use anomalens_cohort::Cohort;
use anomalens_models::nets;
use anomalens_models::preset::{Preset, Recipe};
use anomalens_trainer::batches::{Batches, noise};
use anomalens_trainer::checkpoint::State;
use anomalens_trainer::interpret::{self, Precision};
use anomalens_trainer::losses::cross_entropy;
use anomalens_trainer::run::{Ended, Settings, train};
use anomalens_trainer::task::{GuidedTask, Network};
use anomalens_trainer::weights::tensor;
use serde_json::{Map, Value};
use support::{LABELS, Place};
use tch::{Device, Kind, Reduction, Tensor};

/// Enough for networks of 100 thousand parameters to know seven images.
const STEPS: usize = 100;

fn settings(place: &Place, network: Network, learning_rate: f64) -> Settings {
    let preset = Preset::load(&place.path("small.toml").display().to_string()).unwrap();
    let recipe =
        Recipe { iterations: STEPS, batch: 7, learning_rate, ema: None, ..preset.train.ddpm.clone() };
    Settings {
        network,
        preset,
        recipe,
        start_from: None,
        seed: 0,
        precision: Precision::F32,
        log_every: STEPS / 10,
        checkpoint_every: STEPS,
        keep: 2,
        machine: Vec::new(),
    }
}

fn fit(place: &Place, settings: &Settings, run: &Path) -> Vec<Map<String, Value>> {
    tch::set_num_threads(1);
    let cohort = Cohort::open(&place.path("cohort")).unwrap();
    let ended = train(settings, &cohort, run, Device::Cpu, None, &mut |_| ControlFlow::Continue(())).unwrap();
    assert!(matches!(ended, Ended::Complete(_)), "{ended:?}");
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_noise_predictor_learns() {
    let place = Place::new();
    // With no learning rate to speak of it does not, and that is noticed.
    for (rate, learns) in [(2e-3, true), (1e-12, false)] {
        let run = place.path(&format!("run-{learns}"));
        let lines = fit(&place, &settings(&place, Network::Ddpm, rate), &run);
        let mse = |line: &Map<String, Value>| line["mse"].as_f64().unwrap();
        let (first, last) = (mse(&lines[0]), mse(lines.last().unwrap()));
        println!("rate {rate}: mse {first:.3}, then {last:.3}");
        assert_eq!(last < 0.5, learns, "rate {rate}: mse {first:.3}, then {last:.3}");
        // An untrained one predicts 0, and the noise has a variance of 1.
        assert!(learns || (first - 1.0).abs() < 0.1, "untrained: mse {first:.3}");
    }
}

#[test]
fn without_variances_the_squared_error_alone_is_learned() {
    let place = Place::new();
    let mut settings = settings(&place, Network::Ddpm, 2e-3);
    settings.preset.guided_mut().unwrap().unet.learn_sigma = false;
    let lines = fit(&place, &settings, &place.path("run"));
    let mse = |line: &Map<String, Value>| line["mse"].as_f64().unwrap();
    let (first, last) = (mse(&lines[0]), mse(lines.last().unwrap()));
    assert!(last < 0.5 && last < first, "mse {first:.3}, then {last:.3}");
    assert!(lines.iter().all(|line| !line.contains_key("bound")), "a bound of variances that are not there");
}

/// A preset of a one-pass method, and its settings.
fn one_pass(place: &Place, network: Network, learning_rate: f64, iterations: usize) -> Settings {
    let file = place.path(&format!("{}.toml", network.name()));
    let preset = Preset::load(&file.display().to_string()).unwrap();
    let usual = network.recipe(&preset.train).clone();
    let recipe = Recipe { iterations, batch: 7, learning_rate, ..usual };
    let (log_every, checkpoint_every) = (iterations / 10, iterations);
    Settings { network, preset, recipe, log_every, checkpoint_every, ..settings(place, Network::Ddpm, 1.0) }
}

/// The healthy versions of all images by a run's weights, [N, C, H, W], and the images.
fn healthy(place: &Place, settings: &Settings, run: &Path) -> (Tensor, Tensor) {
    let task = settings.network.task(&settings.preset, &settings.recipe, Device::Cpu).unwrap();
    let folder = run.join("checkpoints");
    let state = State::latest(&folder, task.as_ref(), false, Device::Cpu).unwrap().unwrap();
    let cohort = Cohort::open(&place.path("cohort")).unwrap();
    let images = (0..cohort.len()).map(|item| tensor(&cohort.image(item).unwrap().into_dyn()));
    let images = Tensor::stack(&images.collect::<Vec<_>>(), 0);
    let graph = nets::one_pass(&settings.preset).unwrap();
    let inputs = [("x", &images)];
    let out = tch::no_grad(|| interpret::run(&graph, &state.model, &inputs, Precision::F32).unwrap());
    (out[0].shallow_clone(), images)
}

/// Mean brightness of the square that makes an image diseased, over images of one class.
fn square(images: &Tensor, diseased: bool) -> f64 {
    let of_class = (0i64..).zip(LABELS).filter(|(_, label)| *label == diseased).map(|(i, _)| i);
    let chosen = images.index_select(0, &Tensor::from_slice(&of_class.collect::<Vec<_>>()));
    chosen.narrow(2, 2, 4).narrow(3, 2, 4).mean(Kind::Float).double_value(&[])
}

/// It has seen healthy images alone, and so it gives healthy images back.
#[test]
fn an_autoencoder_learns_healthy_images() {
    let place = Place::new();
    for (rate, learns) in [(5e-3, true), (1e-12, false)] {
        let run = place.path(&format!("run-{learns}"));
        let settings = one_pass(&place, Network::Vae, rate, 300);
        let lines = fit(&place, &settings, &run);
        let mse = |line: &Map<String, Value>| line["reconstruction_mse"].as_f64().unwrap();
        let (first, last) = (mse(&lines[0]), mse(lines.last().unwrap()));
        let (healthy, images) = healthy(&place, &settings, &run);
        let (before, after) = (square(&images, true), square(&healthy, true));
        let told =
            format!("rate {rate}: mse {first:.4}, then {last:.4}; the square {before:.2}, then {after:.2}");
        println!("{told}");
        assert_eq!(last < 2e-3 && (after - 0.24).abs() < 0.15, learns, "{told}");
        let stats = fs::read_to_string(run.join("stats.json")).unwrap();
        let stats: Value = serde_json::from_str(&stats).unwrap();
        assert_eq!(stats["training"]["cohort"]["diseased"], 0, "it has seen none");
        assert_eq!(stats["training"].get("max_level"), None);
    }
}

/// It makes the square of a diseased image dark, and leaves a healthy image as it is.
#[test]
fn a_gan_learns_to_heal() {
    let place = Place::new();
    for (rate, steps, learns) in [(2e-3, 1000, true), (1e-12, 50, false)] {
        let run = place.path(&format!("run-{learns}"));
        let settings = one_pass(&place, Network::FixedPointGan, rate, steps);
        let lines = fit(&place, &settings, &run);
        let (healthy, images) = healthy(&place, &settings, &run);
        let (ill, well) = (square(&healthy, true), square(&healthy, false));
        let kept = (square(&images, false) - well).abs();
        let identity = |line: &Map<String, Value>| line["identity"].as_f64().unwrap();
        let (first, last) = (identity(&lines[0]), identity(lines.last().unwrap()));
        let told = format!(
            "rate {rate}: squares of the diseased {:.2}, then {ill:.2}; of the healthy changed by {kept:.2}; identity \
             {first:.3}, then {last:.3}",
            square(&images, true)
        );
        println!("{told}");
        assert_eq!(ill < 0.5 && kept < 0.1 && last < 0.5 * first, learns, "{told}");
        // The critic is no part of the result.
        let names = support::numbers(&run.join("fpgan.safetensors")).unwrap();
        let expected = nets::fixed_point_generator(&settings.preset).unwrap().params().len();
        assert!(names.len() == expected && names.iter().all(|(name, _)| !name.starts_with("critic.")));
    }
}

#[test]
fn a_classifier_tells_two_classes_apart_at_low_noise() {
    let place = Place::new();
    let settings = settings(&place, Network::Classifier, 1e-3);
    let run = place.path("run");
    fit(&place, &settings, &run);
    let task = GuidedTask::new(Network::Classifier, &settings.preset, Device::Cpu).unwrap();
    let state = State::latest(&run.join("checkpoints"), &task, false, Device::Cpu).unwrap().unwrap();
    let cohort = Cohort::open(&place.path("cohort")).unwrap();
    let mut batch = Batches::new(&cohort, LABELS.len(), false, 5).at(0, Device::Cpu).unwrap();
    let t = Tensor::from_slice(&[0i64, 10, 20, 30, 40, 50, 60]);
    let (_, noise) = noise(&batch.images, task.timesteps(), 5, 0);
    let figures = |batch: &_| {
        let loss = task.loss_at(&state.model, batch, &t, &noise, Precision::F32).unwrap();
        println!("{:?}", loss.figures);
        loss.figures.iter().map(|figure| figure.value).collect::<Vec<_>>()
    };
    let [entropy, accuracy, ..] = figures(&batch)[..] else { panic!("two figures at least") };
    assert!(accuracy == 1.0 && entropy < 0.3, "cross-entropy {entropy:.3}, accuracy {accuracy}");
    // Of labels the other way round it gets none right.
    batch.labels = 1 - &batch.labels;
    let [entropy, accuracy, ..] = figures(&batch)[..] else { panic!("two figures at least") };
    assert!(accuracy == 0.0 && entropy > 1.0, "cross-entropy {entropy:.3}, accuracy {accuracy}");
}

#[test]
fn the_cross_entropy_is_libtorchs() {
    /// Two ways through one logarithm, in f32.
    const TOLERANCE: f64 = 1e-6;
    tch::manual_seed(1);
    let logits = Tensor::randn([16, 3], (Kind::Float, Device::Cpu)) * 5.0;
    let labels = Tensor::randint(3, [16], (Kind::Int64, Device::Cpu));
    let theirs =
        |labels: &Tensor| logits.cross_entropy_loss(labels, None::<Tensor>, Reduction::None, -100, 0.0);
    let ours = cross_entropy(&logits, &labels);
    assert_eq!(ours.size(), [16]);
    let error = |theirs: &Tensor| (&ours - theirs).abs().max().double_value(&[]);
    assert!(error(&theirs(&labels)) <= TOLERANCE, "{:.1e}", error(&theirs(&labels)));
    // Other labels are noticed.
    assert!(error(&theirs(&(labels + 1).remainder(3))) > 0.1);
}
