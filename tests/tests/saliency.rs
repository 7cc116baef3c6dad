//! Saliency by every engine, against finite differences of log p(healthy | x) by the reference interpreter in f64.

use std::ops::ControlFlow;

use anomalens_method::ddim::ClassLabel;
use anomalens_method::saliency::Options;
use anomalens_models::graph::reference::{self, Value};
use anomalens_models::image::UnitImage;
use anomalens_models::nets;
use anomalens_models::preset::Preset;
use anomalens_runtime::bundle::Bundle;
use anomalens_runtime::translate::saliency;
use anomalens_tests::engines::{engines, write_bundle};
use anomalens_tests::{npy, params, tiny};
use ndarray::{ArrayD, Axis, Ix4, concatenate};

/// Half a step of the differences; what they leave out is of its square.
const STEP: f64 = 1e-4;
/// In units of the largest value: engines compute in f32.
const TOLERANCE: f64 = 1e-5;
/// Pixels that are looked at, (row, column).
const PIXELS: [(usize, usize); 4] = [(3, 5), (16, 16), (12, 20), (27, 9)];
const CHANNELS: usize = 4;

/// The sum over channels of |∂ log p(`class` | x, `t`) / ∂x| at each of [`PIXELS`].
fn differences(image: &ArrayD<f32>, t: i64, class: usize) -> Vec<f64> {
    let graph = nets::classifier(&Preset::load("tiny").unwrap()).unwrap();
    let weights = params(&tiny().join("classifier/state_dict.pt"), graph.params());
    // For each pixel and channel, the image moved up and moved down.
    let n = PIXELS.len() * CHANNELS * 2;
    let views = vec![image.view(); n];
    let mut x = concatenate(Axis(0), &views).unwrap().mapv(f64::from);
    for i in 0..n {
        let (row, column) = PIXELS[i / 2 / CHANNELS];
        x[[i, i / 2 % CHANNELS, row, column]] += if i % 2 == 0 { STEP } else { -STEP };
    }
    let inputs = [("x", Value::Float(x)), ("t", Value::Int(ArrayD::from_elem(vec![n], t)))];
    let (_, logits) = reference::run(&graph, &weights, &inputs).unwrap().remove(0);
    let log_p = logits.outer_iter().map(|logits| logits[[class]] - logits.mapv(f64::exp).sum().ln());
    let slopes: Vec<f64> =
        log_p.collect::<Vec<_>>().chunks(2).map(|pair| (pair[0] - pair[1]) / (2.0 * STEP)).collect();
    slopes.chunks(CHANNELS).map(|channels| channels.iter().map(|slope| slope.abs()).sum()).collect()
}

#[test]
fn maps_are_the_slope_of_the_classifiers_answer() {
    let folder = tempfile::tempdir().unwrap();
    let preset = Preset::load("tiny").unwrap();
    write_bundle(&preset, None, Some(&tiny().join("classifier/state_dict.pt")), folder.path());
    let x0 = npy(&tiny().join("ddim/x0.npy"));
    let image = x0.clone().into_dimensionality::<Ix4>().unwrap().index_axis_move(Axis(0), 0);
    let images = [UnitImage::new("x0", image).unwrap()];
    let expected = differences(&x0, 0, 0);
    // At another noise level; of the other class, whose slopes are the same but for p / (1 - p).
    let wrong = [differences(&x0, 300, 0), differences(&x0, 0, 1)];
    for engine in engines() {
        let mut bundle = Bundle::open(folder.path(), engine.as_ref(), true).unwrap();
        let options = Options { healthy_class: ClassLabel::new(0), batch: 1 };
        let found = saliency(&mut bundle, &images, &options, &mut |_, _| ControlFlow::Continue(())).unwrap();
        let map = found.maps[0].values();
        let largest = map.iter().fold(0.0f64, |most, v| most.max(f64::from(*v)));
        let distance = |expected: &[f64]| {
            let apart = PIXELS.iter().zip(expected).map(|(&at, v)| (f64::from(map[at]) - v).abs());
            apart.fold(0.0, f64::max) / largest
        };
        let (off, [level, class]) = (distance(&expected), wrong.each_ref().map(|wrong| distance(wrong)));
        println!("{}: {off:.1e}; wrong level {level:.1e}, class {class:.1e}", engine.describe());
        assert!(off <= TOLERANCE, "{}: {off:.1e}", engine.describe());
        assert!(level.min(class) > 1000.0 * TOLERANCE, "wrong ones would pass: {level:.1e}, {class:.1e}");
    }
}
