//! The networks learn what little there is to learn, and the losses are libtorch's own.

mod support;

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use anomalens_cohort::Cohort;
use anomalens_models::preset::{Preset, Recipe};
use anomalens_trainer::batches::{Batches, noise};
use anomalens_trainer::checkpoint::State;
use anomalens_trainer::interpret::Precision;
use anomalens_trainer::losses::cross_entropy;
use anomalens_trainer::run::{Ended, Settings, train};
use anomalens_trainer::task::{Network, Task};
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

#[test]
fn a_classifier_tells_two_classes_apart_at_low_noise() {
    let place = Place::new();
    let settings = settings(&place, Network::Classifier, 1e-3);
    let run = place.path("run");
    fit(&place, &settings, &run);
    let task = Task::new(Network::Classifier, &settings.preset, Device::Cpu).unwrap();
    let state = State::latest(&run.join("checkpoints"), task.graph(), false, Device::Cpu).unwrap().unwrap();
    let cohort = Cohort::open(&place.path("cohort")).unwrap();
    let mut batch = Batches::new(&cohort, LABELS.len(), false, 5).at(0, Device::Cpu).unwrap();
    let t = Tensor::from_slice(&[0i64, 10, 20, 30, 40, 50, 60]);
    let (_, noise) = noise(&batch.images, task.timesteps(), 5, 0);
    let figures = |batch: &_| {
        let loss = task.loss(&state.model, batch, &t, task.timesteps(), &noise, Precision::F32).unwrap();
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
