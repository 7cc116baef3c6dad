use anomalens_models::preset::{GuidanceInterval, Preset, Solver};
use anomalens_models::schedule::Timestep;

use super::*;
use crate::ddim::{ClassLabel, GradientScale, OnHost};
use crate::testing::*;

fn unit_images(n: usize) -> Vec<UnitImage> {
    images((n, 2, 4, 4)).outer_iter().map(|image| UnitImage::new("test", image.to_owned()).unwrap()).collect()
}

fn options(level: usize, scale: f64) -> Options {
    Options {
        noise_level: NoiseLevel::new(level),
        steps: Steps::Every,
        solver: Solver::Euler,
        guidance_interval: None,
        procedure: Procedure::Paper,
        scale: GradientScale::new(scale).unwrap(),
        healthy_class: ClassLabel::new(0),
        batch: 1,
        keep_trajectory: false,
    }
}

fn eps(x: f64, t: Timestep) -> f64 {
    (2.0 * x + 0.01 * t.get() as f64).sin()
}

fn pull(x: f64, _: Timestep) -> f64 {
    0.3 - x
}

fn run(images: &[UnitImage], options: &Options) -> Result<Translation, TranslateError> {
    let (mut net, mut guide) = (Fake::new(eps), Fake::new(pull));
    let mut stepper = OnHost::new(&mut net, Some(&mut guide));
    translate(&mut stepper, &linear1000(), images, options, &mut |_| ControlFlow::Continue(()))
}

#[test]
fn results_do_not_depend_on_the_batch() {
    let images = unit_images(5);
    let seeded = Procedure::Reference { clip: true, first_noise: FirstNoise::Seed { seed: 7, first: 0 } };
    for (procedure, solver) in [
        (Procedure::Paper, Solver::Euler),
        (Procedure::Paper, Solver::Ab2),
        (seeded, Solver::Euler),
        (Procedure::Ddpm { seed: 7 }, Solver::Euler),
    ] {
        let at = |batch| {
            let procedure = procedure.clone();
            let options = Options { batch, procedure, solver, keep_trajectory: true, ..options(6, 2.0) };
            Translation { timings: Timings::default(), ..run(&images, &options).unwrap() }
        };
        let alone = at(1);
        assert_eq!(alone.healthy.dim(), (5, 2, 4, 4));
        for batch in [2, 3, 5, 9] {
            assert_eq!(at(batch), alone, "batch {batch}");
        }
    }
}

#[test]
fn images_translated_part_by_part_are_those_translated_together() {
    let images = unit_images(5);
    let array = noise::standard_normal(3, 0, (5, 2, 4, 4));
    let reference = |first_noise| Procedure::Reference { clip: true, first_noise };
    for procedure in [
        Procedure::Paper,
        reference(FirstNoise::Seed { seed: 7, first: 0 }),
        reference(FirstNoise::Array(array)),
        Procedure::Ddpm { seed: 7 },
    ] {
        let seeded = procedure == reference(FirstNoise::Seed { seed: 7, first: 0 });
        let options = Options { batch: 2, procedure, ..options(6, 2.0) };
        let whole = run(&images, &options).unwrap();
        for range in [0..2, 2..4, 4..5] {
            let part = run(&images[range.clone()], &options.part(range.clone())).unwrap();
            assert_eq!(part.healthy, whole.healthy.slice(s![range.clone(), .., .., ..]), "{range:?}");
            assert_eq!(part.maps, whole.maps[range]);
        }
        // Told what all images are told, a part has the first images' noise.
        let wrong = run(&images[2..4], &options);
        assert!(!seeded || wrong.unwrap().healthy != whole.healthy.slice(s![2..4, .., .., ..]));
    }
}

#[test]
fn calls_are_counted_before_they_are_made() {
    let images = unit_images(3);
    for procedure in [
        Procedure::Paper,
        Procedure::Ddpm { seed: 7 },
        Procedure::Reference { clip: false, first_noise: FirstNoise::Seed { seed: 0, first: 0 } },
    ] {
        for (scale, within) in [(0.0, None), (2.0, None), (2.0, Some(3))] {
            let guidance_interval = within.map(|highest| GuidanceInterval::new(2, highest).unwrap());
            let options = Options { procedure: procedure.clone(), guidance_interval, ..options(6, scale) };
            let calls = options.calls(&linear1000()).unwrap();
            let found = run(&images, &options).unwrap().timings;
            assert_eq!(
                [3 * (calls.encode + calls.decode), 3 * calls.gradient],
                [found.unet_calls, found.gradient_calls],
                "{options:?}"
            );
        }
    }
}

#[test]
fn translation_holds_maps_states_and_counts() {
    let images = unit_images(3);
    let options = Options { batch: 2, keep_trajectory: true, ..options(4, 1.0) };
    let mut progress = Vec::new();
    let (mut net, mut guide) = (Fake::new(eps), Fake::new(pull));
    let mut stepper = OnHost::new(&mut net, Some(&mut guide));
    let result = translate(&mut stepper, &linear1000(), &images, &options, &mut |p| {
        progress.push(*p);
        ControlFlow::Continue(())
    })
    .unwrap();
    let states = result.trajectory.unwrap();
    assert_eq!(states.encode.dim(), (5, 3, 2, 4, 4));
    assert_eq!(states.encode_levels, [0, 1, 2, 3, 4].map(NoiseLevel::new));
    assert_eq!(states.decode_levels, [3, 2, 1, 0].map(NoiseLevel::new));
    assert_eq!(states.decode.index_axis(Axis(0), 3), result.healthy);
    for (i, image) in images.iter().enumerate() {
        assert_eq!(states.encode.slice(s![0, i, .., .., ..]), image.pixels());
        let expected =
            (&result.healthy.index_axis(Axis(0), i) - image.pixels()).mapv(f32::abs).sum_axis(Axis(0));
        assert_eq!(result.maps[i].values(), expected);
    }
    assert_eq!((result.timings.unet_calls, result.timings.gradient_calls), (16, 8));
    assert_eq!(progress.iter().map(|p| p.done).collect::<Vec<_>>(), (1..=16).collect::<Vec<_>>());
    assert!(progress.iter().all(|p| p.total == 16));
    assert_eq!((progress[3].leg, progress[4].leg), (Leg::Encode, Leg::Decode));
}

#[test]
fn guidance_is_noticed() {
    let images = unit_images(1);
    let (with, without) =
        (run(&images, &options(50, 5.0)).unwrap(), run(&images, &options(50, 0.0)).unwrap());
    assert!(max_abs_difference(&with.healthy, &without.healthy) > 1e-3);
}

#[test]
fn first_noise_comes_from_its_seed_or_is_brought() {
    let images = unit_images(2);
    let at = |first_noise| {
        let procedure = Procedure::Reference { clip: false, first_noise };
        run(&images, &Options { procedure, ..options(5, 0.0) }).map(|t| t.healthy)
    };
    let seven = at(FirstNoise::Seed { seed: 7, first: 0 }).unwrap();
    assert_eq!(seven, at(FirstNoise::Seed { seed: 7, first: 0 }).unwrap());
    assert_ne!(seven, at(FirstNoise::Seed { seed: 8, first: 0 }).unwrap());
    let brought = noise::standard_normal(7, 0, (2, 2, 4, 4));
    assert_eq!(seven, at(FirstNoise::Array(brought.clone())).unwrap());
    assert_ne!(brought.index_axis(Axis(0), 0), brought.index_axis(Axis(0), 1));
    let error = at(FirstNoise::Array(brought.slice(s![..1, .., .., ..]).to_owned())).unwrap_err();
    assert!(matches!(error, TranslateError::Ddim(DdimError::Shape { what: "first noise", .. })), "{error}");
}

#[test]
fn seeded_noise_is_standard_normal() {
    let noise = noise::standard_normal(0, 0, (4, 1, 64, 64));
    let mean = f64::from(noise.sum()) / noise.len() as f64;
    let variance = noise.iter().map(|n| (f64::from(*n) - mean).powi(2)).sum::<f64>() / noise.len() as f64;
    // 16,384 samples: five standard errors of mean and variance.
    assert!(mean.abs() < 0.04 && (variance - 1.0).abs() < 0.06, "mean {mean}, variance {variance}");
}

#[test]
fn impossible_options_are_refused() {
    let images = unit_images(2);
    let refused = |options: Options| run(&images, &options).unwrap_err().to_string();
    let level = refused(options(1001, 0.0));
    assert!(
        level.contains("1001") && level.contains("1..=1000") && level.contains("--noise-level"),
        "{level}"
    );
    let batch = refused(Options { batch: 0, ..options(5, 0.0) });
    assert!(batch.contains("--batch"), "{batch}");
    let procedure = Procedure::Reference { clip: false, first_noise: FirstNoise::Seed { seed: 0, first: 0 } };
    let steps =
        refused(Options { procedure, steps: Steps::Spaced { n: 3, spacing: 1.0 }, ..options(5, 0.0) });
    assert!(steps.contains("--respacing"), "{steps}");
    assert!(matches!(run(&[], &options(5, 0.0)), Err(TranslateError::NoImages)));
    let mut mixed = unit_images(1);
    mixed.push(UnitImage::new("test", images_of_other_size()).unwrap());
    assert!(matches!(run(&mixed, &options(5, 0.0)), Err(TranslateError::ImageShape { index: 1, .. })));
}

fn images_of_other_size() -> ndarray::Array3<f32> {
    images((1, 2, 4, 6)).index_axis_move(Axis(0), 0)
}

#[test]
fn cancelling_stops_at_once() {
    let images = unit_images(3);
    let (mut net, mut calls) = (Fake::new(eps), 0);
    let mut stepper = OnHost::new(&mut net, None);
    let result = translate(&mut stepper, &linear1000(), &images, &options(5, 0.0), &mut |progress| {
        calls += 1;
        if progress.done == 12 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(
        matches!(result, Err(TranslateError::Ddim(DdimError::Cancelled { done: 2, total: 5 }))),
        "{result:?}"
    );
    assert_eq!((calls, net.calls.len()), (12, 12));
}

#[test]
fn defaults_are_the_presets() {
    let preset = Preset::load("tiny").unwrap();
    let defaults = Options::defaults(&preset).unwrap();
    assert_eq!(defaults, Options { scale: GradientScale::new(100.0).unwrap(), ..options(50, 0.0) });
    let defaults = Options::defaults(&Preset::load("demo").unwrap()).unwrap();
    assert_eq!(defaults.steps, Steps::Spaced { n: 25, spacing: 1.5 });
    assert_eq!(defaults.solver, Solver::Ab2);
    let plan = defaults.plan(&linear1000()).unwrap();
    let levels: Vec<_> = plan.encode()[..4].iter().map(|step| step.to.get()).collect();
    // round(500 (j/25)^1.5).
    assert_eq!((plan.encode().len(), levels), (25, vec![4, 11, 21, 32]));
}
