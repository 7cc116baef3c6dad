use std::ops::ControlFlow;

use anomalens_models::fitness::Noised;
use anomalens_models::image::UnitImage;
use ndarray::{Array3, stack};

use super::*;
use crate::ddpm;
use crate::testing::{Fake, images, linear1000};

/// What is done to the pixels of an image, [C, H, W].
type Change = fn(&Array3<f32>) -> Array3<f32>;

const CHANNELS: [&str; 2] = ["a", "b"];

/// Bodies on an empty ground, brighter at the top, each of another size, slant and brightness: [2, 32, 32].
fn bodies(n: usize, first: usize) -> Vec<Array3<f32>> {
    let drawn = images((first + n, 1, 1, 6));
    let body = |parameters: ndarray::ArrayView3<'_, f32>| {
        let p: Vec<f32> = parameters.iter().copied().collect();
        let grain = grain(p[5]);
        Array3::from_shape_fn((2, 32, 32), |(c, i, j)| {
            let (y, x) = ((i as f32 - 15.5) / 16.0, (j as f32 - 15.5) / 16.0);
            let radius = (y / (0.75 + 0.15 * p[0])).powi(2) + (x / (0.6 + 0.1 * p[1])).powi(2);
            if radius > 1.0 {
                return 0.0;
            }
            let light = 0.45 + 0.1 * p[2] - (0.2 + 0.1 * p[3]) * y + 0.1 * p[4] * c as f32;
            (light + 0.05 * grain[[c, i, j]]).clamp(0.01, 1.0)
        })
    };
    drawn.outer_iter().skip(first).map(body).collect()
}

/// Noise in [0, 1), another for each shift.
fn grain(shift: f32) -> Array3<f32> {
    images((1, 2, 32, 32)).index_axis_move(Axis(0), 0).mapv(|v| (v + shift).fract())
}

fn sketch(pixels: &Array3<f32>) -> Sketch {
    Sketch::of(&UnitImage::new("test", pixels.clone()).unwrap())
}

fn sketches(of: &[Array3<f32>]) -> Vec<Sketch> {
    of.iter().map(sketch).collect()
}

fn fitness(look: Look) -> Fitness {
    Fitness::new("test", "bodies".into(), look, None)
}

/// The share of images that are told to be unlike the cohort, after `change`.
fn unlike(fitness: &Fitness, of: &[Array3<f32>], change: impl Fn(&Array3<f32>) -> Array3<f32>) -> f64 {
    let judged = of.iter().map(|image| judge(fitness, &sketch(&change(image)), None));
    judged.filter(|judgement| !judgement.fits()).count() as f64 / of.len() as f64
}

#[test]
fn what_is_unlike_the_cohort_is_told_from_what_is_like_it() {
    let fitness = fitness(look(&sketches(&bodies(400, 0)), &CHANNELS).unwrap());
    let held_out = bodies(100, 400);
    let like: [(&str, Change); 2] =
        [("as it is", |x| x.clone()), ("left to right", |x| x.slice(s![.., .., ..;-1]).to_owned())];
    let other: [(&str, Change); 7] = [
        ("upside down", |x| x.slice(s![.., ..;-1, ..]).to_owned()),
        ("turned", |x| x.clone().permuted_axes([0, 2, 1]).as_standard_layout().into_owned()),
        ("inverted", |x| x.mapv(|v| 1.0 - v)),
        ("inverted inside", |x| x.mapv(|v| if v > 0.0 { 1.0 - v } else { v })),
        ("half as bright", |x| x.mapv(|v| v / 2.0)),
        ("channels swapped, one darker", |x| x.slice(s![..;-1, .., ..]).mapv(|v| v * 0.8)),
        ("noise", |x| grain(x[[0, 16, 16]])),
    ];
    for (case, change) in like {
        let share = unlike(&fitness, &held_out, change);
        assert!(share <= 0.05, "{case}: {share}");
    }
    for (case, change) in other {
        let share = unlike(&fitness, &held_out, change);
        assert!(share >= 0.95, "{case}: {share}");
    }
    // Statistics of another cohort, of the same images upside down, take the held-out images for strange.
    let turned: Vec<_> = bodies(400, 0).iter().map(|x| x.slice(s![.., ..;-1, ..]).to_owned()).collect();
    let wrong = Fitness::new("test", "turned".into(), look(&sketches(&turned), &CHANNELS).unwrap(), None);
    assert!(unlike(&wrong, &held_out, Clone::clone) > 0.95);
}

#[test]
fn a_judgement_names_the_statistic_that_is_furthest_out() {
    let fitness = fitness(look(&sketches(&bodies(200, 0)), &CHANNELS).unwrap());
    let image = &bodies(1, 200)[0];
    // Rows that are brighter and darker in turn leave the cells' means as they are.
    let mut striped = image.clone();
    striped.indexed_iter_mut().filter(|(_, v)| **v > 0.15).for_each(|((_, i, _), v)| {
        *v = if i % 2 == 0 { *v - 0.1 } else { *v + 0.1 }.clamp(0.01, 1.0);
    });
    let striped = judge(&fitness, &sketch(&striped), None);
    assert!(striped.statistic.ends_with("detail") && striped.meaning().contains("noise"), "{striped:?}");
    assert!(striped.found > striped.expected[1] && striped.distance > 1.0, "{striped:?}");
    // The discriminants say which way up an image is.
    let upside_down = image.slice(s![.., ..;-1, ..]).to_owned();
    let on_its_side = image.clone().permuted_axes([0, 2, 1]).as_standard_layout().into_owned();
    let scores = |image: &Array3<f32>| sketch(image).statistics(&fitness.look).split_off(8);
    assert!(scores(image).iter().all(|&score| score > 0.5), "{:?}", scores(image));
    assert!(scores(&upside_down)[0] < -0.5, "{:?}", scores(&upside_down));
    assert!(scores(&on_its_side)[1] < -0.5, "{:?}", scores(&on_its_side));
    // At the limit the distance is 1, to either side.
    let expected = &fitness.look.expected;
    for end in [0, 1] {
        let values: Vec<_> = expected
            .ranges
            .iter()
            .map(|range| {
                let [below, above] = ways(range);
                range.median + if end == 0 { -expected.limit * below } else { expected.limit * above }
            })
            .collect();
        assert!((furthest(expected, &values).distance - 1.0).abs() < 1e-9);
    }
}

#[test]
fn a_few_odd_images_do_not_widen_the_ranges() {
    let clean = look(&sketches(&bodies(800, 0)), &CHANNELS).unwrap();
    let mut spoilt = bodies(800, 0);
    spoilt[101] = spoilt[101].mapv(|v| 1.0 - v);
    let spoilt = look(&sketches(&spoilt), &CHANNELS).unwrap();
    for (clean, spoilt) in clean.expected.ranges.iter().zip(&spoilt.expected.ranges) {
        let (low, high) = (spoilt.low - clean.low, spoilt.high - clean.high);
        let way = clean.high - clean.low;
        assert!(low.abs() <= 0.2 * way && high.abs() <= 0.2 * way, "{clean:?} {spoilt:?}");
    }
    assert_eq!(look(&sketches(&bodies(7, 0)), &CHANNELS), Err(TooFew { found: 7 }));
}

#[test]
fn quantiles_are_numpys() {
    // np.quantile([1, 2, 3, 4, 10], p), numpy 2.4.
    let sorted = [1.0, 2.0, 3.0, 4.0, 10.0];
    for (p, expected) in [(0.0, 1.0), (0.005, 1.02), (0.5, 3.0), (0.995, 9.88), (1.0, 10.0)] {
        assert!((quantile(&sorted, p) - expected).abs() < 1e-12, "{p}");
    }
}

#[test]
fn the_noise_error_is_that_of_the_noise_that_was_added() {
    let pictures: Vec<_> =
        bodies(3, 0).into_iter().map(|pixels| UnitImage::new("test", pixels).unwrap()).collect();
    let noising = Noised { levels: levels(500), seed: 3, class: 1 };
    assert_eq!(noising.levels, [25, 100, 500]);
    let run = |batch| {
        // It takes a tenth of what it is given for the noise.
        let mut net = Fake::new(|x, _| x / 10.0);
        let mut go_on = |_, _| ControlFlow::Continue(());
        let errors = noise_errors(&mut net, &linear1000(), &pictures, &noising, batch, &mut go_on).unwrap();
        (errors, net.calls)
    };
    let (errors, calls) = run(2);
    assert_eq!(calls, [(24, 1), (99, 1), (499, 1), (24, 1), (99, 1), (499, 1)]);
    let views: Vec<_> = pictures.iter().map(|image| image.pixels().view()).collect();
    let all = stack(Axis(0), &views).unwrap();
    let mut noise = ddpm::Noise::new(3, &all);
    for (column, level) in [25, 100, 500].into_iter().enumerate() {
        let drawn = noise.draw(all.dim());
        let alpha_bar = linear1000().alpha_bar(anomalens_models::schedule::NoiseLevel::new(level)).unwrap();
        for i in 0..3 {
            let pairs = all.index_axis(Axis(0), i).into_iter().zip(drawn.index_axis(Axis(0), i));
            let squares = pairs.map(|(&x, &n)| {
                let (x, n) = (f64::from(x), f64::from(n));
                ((alpha_bar.sqrt() * x + (1.0 - alpha_bar).sqrt() * n) / 10.0 - n).powi(2)
            });
            let expected = squares.sum::<f64>() / (2.0 * 32.0 * 32.0);
            assert!(
                (errors[[i, column]] - expected).abs() < 1e-6,
                "{level}, {i}: {} {expected}",
                errors[[i, column]]
            );
        }
    }
    // An image's noise is its own, whatever it is in a batch with.
    assert_eq!(run(1).0, errors);
    let fit = super::noise(noising, &ndarray::concatenate![Axis(0), errors, errors, errors]).unwrap();
    let far = furthest(&fit.expected, &[2.0, 2.0, 2.0]);
    assert!(far.statistic.starts_with("noise error at level ") && far.distance > 1.0, "{far:?}");
    assert_eq!(levels(3), [1, 3]);
}
