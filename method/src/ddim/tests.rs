use std::ops::ControlFlow;

use anomalens_models::preset::{GuidanceInterval, Solver};
use anomalens_models::schedule::{NoiseLevel, Respacing, Timestep, Trajectory};
use ndarray::{Array4, Array5, Axis};
use proptest::prelude::*;

use super::*;
use crate::testing::*;

const HEALTHY: ClassLabel = ClassLabel::new(0);
/// One f32 rounding a step of values below 2, and the f32 outputs of the fake networks: a few 1e-7 each.
const F32_STEPS: f64 = 1e-5;

fn go(_: &StepDone, _: &mut Images<'_>) -> Result<ControlFlow<()>, DdimError> {
    Ok(ControlFlow::Continue(()))
}

fn every(level: usize) -> Plan {
    let schedule = linear1000();
    Plan::paper(&schedule, &Trajectory::every(&schedule, NoiseLevel::new(level)).unwrap()).unwrap()
}

/// Encodes and decodes; returns both ends.
fn there_and_back<'a>(
    plan: &Plan,
    x: &Array4<f32>,
    net: &'a mut dyn NoisePredictor,
    guidance: Option<(&'a mut dyn Guide, f64)>,
) -> (Array4<f32>, Array4<f32>) {
    let scale = GradientScale::new(guidance.as_ref().map_or(0.0, |(_, scale)| *scale)).unwrap();
    let mut stepper = OnHost::new(net, guidance.map(|(guide, _)| guide));
    let noise = Array4::zeros(x.dim());
    let start = plan.start(x.clone(), plan.begins_with_noise().then(|| noise.view())).unwrap();
    let encoded = encode(plan, &mut stepper, HEALTHY, start, &mut go).unwrap();
    let top = encoded.pixels().clone();
    (top, decode_guided(plan, &mut stepper, scale, HEALTHY, encoded, &mut go).unwrap().into_pixels())
}

#[test]
fn encoding_follows_the_solution_of_the_ode() {
    let (x, l) = (images((2, 1, 4, 4)), NoiseLevel::new(500));
    let gaussian = Gaussian { mean: 0.4, deviation: 0.3, schedule: linear1000() };
    let mut net = Fake::new(|x, t| gaussian.eps(x, t));
    let (top, back) = there_and_back(&every(500), &x, &mut net, None);
    let expected = x.mapv(|x| gaussian.solution(f64::from(x), l) as f32);
    // Euler at 500 levels; x_L spreads over about 4.
    assert!(max_abs_difference(&top, &expected) < 0.02, "{}", max_abs_difference(&top, &expected));
    assert!(max_abs_difference(&back, &x) < 0.01, "{}", max_abs_difference(&back, &x));
    // The comparison must tell: a network that predicts nothing fails it.
    let (top, _) = there_and_back(&every(500), &x, &mut Fake::new(|_, _| 0.0), None);
    assert!(max_abs_difference(&top, &expected) > 0.1);
}

#[test]
fn more_steps_come_nearer_to_the_solution() {
    let (x, l) = (images((1, 1, 4, 4)), NoiseLevel::new(600));
    let gaussian = Gaussian { mean: 0.4, deviation: 0.3, schedule: linear1000() };
    let expected = x.mapv(|x| gaussian.solution(f64::from(x), l) as f32);
    let error = |n| {
        let trajectory = Trajectory::steps(&gaussian.schedule, l, n).unwrap();
        let plan = Plan::paper(&gaussian.schedule, &trajectory).unwrap();
        let (top, _) = there_and_back(&plan, &x, &mut Fake::new(|x, t| gaussian.eps(x, t)), None);
        max_abs_difference(&top, &expected)
    };
    let errors = [10, 30, 100, 600].map(error);
    assert!(errors.windows(2).all(|w| w[1] < w[0]), "{errors:?}");
}

/// Algorithm 1 as it is printed, line by line, in f64 and with nothing shared.
#[test]
fn both_legs_equal_algorithm_1_as_printed() {
    let (l, s) = (60, 7.0);
    let schedule = linear1000();
    let ab = |t: usize| schedule.alpha_bar(NoiseLevel::new(t)).unwrap();
    let eps = |x: f64, t: Timestep| (3.0 * x + 0.01 * t.get() as f64).sin();
    let gradient = |x: f64, t: Timestep| (x - 0.005 * t.get() as f64).cos();
    let at = |t: usize| Timestep::new(t.saturating_sub(1));
    let x = images((2, 2, 3, 3));
    let (mut top, mut healthy) = (x.clone(), x.clone());
    for (x, (top, healthy)) in x.iter().zip(top.iter_mut().zip(healthy.iter_mut())) {
        let mut x_t = f64::from(*x);
        for t in 0..l {
            let change = ((1.0 / ab(t)).sqrt() - (1.0 / ab(t + 1)).sqrt()) * x_t
                + ((1.0 / ab(t + 1) - 1.0).sqrt() - (1.0 / ab(t) - 1.0).sqrt()) * eps(x_t, at(t));
            x_t += ab(t + 1).sqrt() * change;
        }
        *top = x_t as f32;
        for t in (1..=l).rev() {
            let e = eps(x_t, at(t)) - s * (1.0 - ab(t)).sqrt() * gradient(x_t, at(t));
            let x_0 = (x_t - (1.0 - ab(t)).sqrt() * e) / ab(t).sqrt();
            x_t = ab(t - 1).sqrt() * x_0 + (1.0 - ab(t - 1)).sqrt() * e;
        }
        *healthy = x_t as f32;
    }
    let mut guide = Fake::new(gradient);
    let guidance = Some((&mut guide as &mut dyn Guide, s));
    let (found_top, found_healthy) = there_and_back(&every(l), &x, &mut Fake::new(eps), guidance);
    assert!(max_abs_difference(&found_top, &top) < F32_STEPS);
    assert!(max_abs_difference(&found_healthy, &healthy) < F32_STEPS);
    // Without guidance the same comparison must fail.
    let (_, unguided) = there_and_back(&every(l), &x, &mut Fake::new(eps), None);
    assert!(max_abs_difference(&unguided, &healthy) > 100.0 * F32_STEPS);
}

#[test]
fn both_networks_are_given_the_index_of_the_level_and_the_healthy_class() {
    let schedule = linear1000();
    let trajectory = Trajectory::respaced(&schedule, Respacing::new(10), NoiseLevel::new(3)).unwrap();
    let plan = Plan::paper(&schedule, &trajectory).unwrap();
    let (mut net, mut guide) = (Fake::new(|x, _| x), Fake::new(|x, _| x));
    let class = ClassLabel::new(1);
    let start = plan.start(images((1, 1, 2, 2)), None).unwrap();
    let mut stepper = OnHost::new(&mut net, Some(&mut guide));
    let encoded = encode(&plan, &mut stepper, class, start, &mut go).unwrap();
    decode_guided(&plan, &mut stepper, GradientScale::new(1.0).unwrap(), class, encoded, &mut go).unwrap();
    // Levels 0, 1, 101 upwards; 201, 101, 1 downwards.
    assert_eq!(net.calls, [0, 0, 100, 200, 100, 0].map(|t| (t, 1)));
    assert_eq!(guide.calls, [200, 100, 0].map(|t| (t, 1)));
}

#[test]
fn scale_zero_asks_no_guide() {
    let mut guide = Fake::new(|_, _| f64::NAN);
    let x = images((1, 1, 2, 2));
    let (_, back) = there_and_back(&every(5), &x, &mut Fake::new(|x, _| x), Some((&mut guide, 0.0)));
    assert!(back.iter().all(|v| v.is_finite()));
    assert_eq!(guide.calls, []);
}

/// The indices that the published script logged, by the golden vectors' meta.json (L = 6).
#[test]
fn reference_indices_are_those_of_the_published_script() {
    struct Case {
        run: &'static str,
        respacing: Option<Respacing>,
        unet: [usize; 10],
        classifier: [usize; 5],
        levels: [usize; 10],
    }
    let cases = [
        Case {
            run: "ddim10",
            respacing: Some(Respacing::new(10)),
            unet: [100, 200, 300, 400, 500, 400, 300, 200, 100, 0],
            classifier: [4, 3, 2, 1, 0],
            levels: [201, 301, 401, 501, 601, 301, 201, 101, 1, 0],
        },
        Case {
            run: "full1000",
            respacing: None,
            unet: [1, 2, 3, 4, 5, 4, 3, 2, 1, 0],
            classifier: [4, 3, 2, 1, 0],
            levels: [3, 4, 5, 6, 7, 4, 3, 2, 1, 0],
        },
    ];
    let meta = golden("ddim_a/meta.json").map(|path| {
        serde_json::from_str::<serde_json::Value>(&std::fs::read_to_string(path).unwrap()).unwrap()
    });
    for case in cases {
        let schedule = linear1000();
        let plan = Plan::reference(&schedule, case.respacing, NoiseLevel::new(6), false).unwrap();
        let steps: Vec<_> = plan.encode().iter().chain(plan.decode()).collect();
        assert_eq!(steps.iter().map(|s| s.unet.get()).collect::<Vec<_>>(), case.unet, "{}", case.run);
        let classifier: Vec<_> = plan.decode().iter().map(|s| s.classifier.get()).collect();
        assert_eq!(classifier, case.classifier, "{}", case.run);
        // Index k stands at the level of kept step k; encoding leads one index up, decoding one down.
        assert_eq!(steps.iter().map(|s| s.to.get()).collect::<Vec<_>>(), case.levels, "{}", case.run);
        for step in &steps {
            let expected = schedule.alpha_bar(step.unet.level()).unwrap();
            assert_eq!(step.from_alpha_bar, expected, "{}: index {}", case.run, step.unet);
            assert_eq!(step.to_alpha_bar, schedule.alpha_bar(step.to).unwrap(), "{}", case.run);
        }
        if let Some(meta) = &meta {
            let logged = &meta["runs"][case.run]["script_dec_noclip_s100"]["indices"];
            assert_eq!(logged["net_t"], serde_json::json!(case.unet), "{}", case.run);
            assert_eq!(logged["cls_t"], serde_json::json!(case.classifier), "{}", case.run);
            let alpha_bars = meta["runs"][case.run]["alphas_cumprod_head"].as_array().unwrap();
            for (k, step) in plan.encode().iter().enumerate() {
                let difference = step.from_alpha_bar - alpha_bars[k + 1].as_f64().unwrap();
                assert!(difference.abs() <= 1e-12, "{}: encode step {k}", case.run);
            }
        }
    }
}

#[test]
fn reference_at_the_last_level_ends_in_pure_noise() {
    let schedule = linear1000();
    let plan = Plan::reference(&schedule, Some(Respacing::new(10)), NoiseLevel::new(10), false).unwrap();
    let last = plan.encode().last().unwrap();
    // alphas_cumprod_next[-1] of the script is 0.
    assert_eq!((last.unet.get(), last.to_alpha_bar, last.to.get()), (900, 0.0, 1000));
    assert_eq!(plan.decode()[0].unet.get(), 800);
    assert_eq!((plan.encode().len(), plan.decode().len()), (9, 9));
}

/// Steps between these σ, the number of each as the networks' index.
fn steps_between(sigmas: &[f64]) -> Vec<Step> {
    let alpha_bar = |sigma: f64| 1.0 / (1.0 + sigma * sigma);
    let step = |(i, pair): (usize, &[f64])| Step {
        from_alpha_bar: alpha_bar(pair[0]),
        to_alpha_bar: alpha_bar(pair[1]),
        previous_alpha_bar: (i > 0).then(|| alpha_bar(sigmas[i - 1])),
        to: NoiseLevel::new(i + 1),
        unet: Timestep::new(i),
        classifier: Timestep::new(i),
        guided: false,
        clip: false,
    };
    sigmas.windows(2).enumerate().map(step).collect()
}

/// x = y sqrt(ᾱ) after steps between σ of 0 and 3, where one is three times as long as the next; `change` is done to each step
/// before it is made. The data are N(0.4, 0.3²), of which the solution is known: y - 0.4 grows as sqrt(0.3² + σ²).
fn error_of_steps(n: usize, change: impl Fn(&mut Step)) -> f64 {
    let (mean, deviation) = (0.4, 0.3f64);
    let long = |j: usize| if j.is_multiple_of(2) { 3.0 } else { 1.0 };
    let sigmas: Vec<f64> =
        (0..=n).map(|i| 3.0 * (0..i).map(long).sum::<f64>() / (0..n).map(long).sum::<f64>()).collect();
    let x = images((1, 1, 4, 4));
    let spread = |sigma: f64| deviation.hypot(sigma);
    let mut net = Fake::new(|x, t| {
        let sigma = sigmas[t.get()];
        sigma * (x * (1.0 + sigma * sigma).sqrt() - mean) / spread(sigma).powi(2)
    });
    let mut stepper = OnHost::new(&mut net, None);
    stepper.begin(x.clone()).unwrap();
    for mut step in steps_between(&sigmas) {
        change(&mut step);
        stepper.step(&step, GradientScale::NONE, HEALTHY).unwrap();
    }
    let end = 10.0f64.sqrt();
    let expected = x.mapv(|x| ((mean + (f64::from(x) - mean) * spread(3.0) / deviation) / end) as f32);
    max_abs_difference(&stepper.images().unwrap(), &expected)
}

#[test]
fn twice_the_steps_halve_eulers_error_and_quarter_that_of_ab2() {
    let orders = |change: fn(&mut Step)| {
        let errors = [40, 80, 160, 320].map(|n| error_of_steps(n, change));
        [0, 1, 2].map(|i| (errors[i] / errors[i + 1]).log2())
    };
    let (euler, ab2) = (orders(|step| step.previous_alpha_bar = None), orders(|_| ()));
    assert!(euler.iter().all(|order| (0.85..1.15).contains(order)), "Euler: {euler:?}");
    assert!(ab2.iter().all(|order| (1.7..2.3).contains(order)), "AB2: {ab2:?}");
    assert!(error_of_steps(320, |_| ()) < 0.2 * error_of_steps(320, |step| step.previous_alpha_bar = None));
    // With the coefficients of equal steps, 3/2 and -1/2, the same steps are of first order.
    let equal = orders(|step| {
        let sigma = |alpha_bar: f64| ((1.0 - alpha_bar) / alpha_bar).sqrt();
        let (from, to) = (sigma(step.from_alpha_bar), sigma(step.to_alpha_bar));
        let before = from - (to - from);
        step.previous_alpha_bar = step.previous_alpha_bar.map(|_| 1.0 / (1.0 + before * before));
    });
    assert!(equal[1..].iter().all(|order| *order < 1.5), "wrong coefficients: {equal:?}");
}

#[test]
fn coefficients_are_exact_where_the_method_is() {
    for clean_to_noise in [true, false] {
        let mut sigmas = vec![0.0, 0.02, 0.5, 0.6, 3.4];
        if !clean_to_noise {
            sigmas.reverse();
        }
        for (i, step) in steps_between(&sigmas).iter().enumerate() {
            let (a, b) = (step.from_alpha_bar, step.to_alpha_bar);
            let euler = Step { previous_alpha_bar: None, ..*step };
            let (x, e) = (0.7, -1.3);
            let found = euler.coefficients().apply(x, e, 0.0);
            assert!((found - euler.as_printed(x, e)).abs() < 1e-13, "step {i}: {found}");
            // A slope 2 - 3 σ takes y from y_0 to y_0 + 2 (σ_1 - σ_0) - 3 (σ_1² - σ_0²) / 2.
            let slope = |sigma: f64| 2.0 - 3.0 * sigma;
            let (from, to) = (sigmas[i], sigmas[i + 1]);
            let y = 0.8 + 2.0 * (to - from) - 1.5 * (to * to - from * from);
            let before = if i > 0 { slope(sigmas[i - 1]) } else { 0.0 };
            let found = step.coefficients().apply(0.8 * a.sqrt(), slope(from), before);
            let apart = (found - y * b.sqrt()).abs();
            // The first step is Euler's, to which a slope is constant.
            assert!(if i > 0 { apart < 1e-12 } else { apart > 1e-6 }, "step {i}: {apart:.1e}");
        }
    }
}

#[test]
fn a_leg_goes_on_with_the_slope_before_where_that_is_smooth() {
    let schedule = linear1000();
    let trajectory = Trajectory::steps(&schedule, NoiseLevel::new(50), 5).unwrap();
    let plan = Plan::paper(&schedule, &trajectory).unwrap();
    let interval = Some(GuidanceInterval::new(20, 40).unwrap());
    let by = |solver, interval| plan.clone().by(solver, interval);
    assert_eq!(by(Solver::Euler, None), plan);
    let multistep = |steps: &[Step]| steps.iter().map(|s| s.previous_alpha_bar.is_some()).collect::<Vec<_>>();
    let ab2 = by(Solver::Ab2, interval);
    assert_eq!(multistep(ab2.encode()), [false, true, true, true, true]);
    // From levels 50, 40, 30, 20, 10.
    assert_eq!(multistep(ab2.decode()), [false, false, true, true, false]);
    let guided = |plan: &Plan| plan.decode().iter().map(|step| step.guided).collect::<Vec<_>>();
    assert_eq!(guided(&ab2), [false, true, true, true, false]);
    assert_eq!(guided(&by(Solver::Ab2, None)), [true; 5]);
    let expected = schedule.alpha_bar(NoiseLevel::new(40)).unwrap();
    assert_eq!(ab2.decode()[2].previous_alpha_bar, Some(expected));

    // The classifier is asked within the interval only, and what it says there is used.
    let x = images((1, 1, 4, 4));
    let (mut net, mut guide) = (Fake::new(|x, _| x), Fake::new(|x, _| 0.3 - x));
    let within = there_and_back(&by(Solver::Euler, interval), &x, &mut net, Some((&mut guide, 5.0))).1;
    assert_eq!(guide.calls, [39, 29, 19].map(|t| (t, 0)));
    let everywhere = there_and_back(&plan, &x, &mut net, Some((&mut guide, 5.0))).1;
    let nowhere = there_and_back(&plan, &x, &mut net, None).1;
    assert!(max_abs_difference(&within, &everywhere) > 1e-3);
    assert!(max_abs_difference(&within, &nowhere) > 1e-3);
}

#[test]
fn reference_clips_x0_before_guidance_and_not_after() {
    // By hand, a = 0.25, b = 0.64, x = 1.5, eps = 0: x0 = 3, clipped to 1, eps' = (1.5 - 0.5) / sqrt(0.75).
    let step = Step {
        from_alpha_bar: 0.25,
        to_alpha_bar: 0.64,
        previous_alpha_bar: None,
        to: NoiseLevel::new(1),
        unet: Timestep::new(0),
        classifier: Timestep::new(0),
        guided: true,
        clip: true,
    };
    let x = Array4::from_elem((1, 1, 1, 1), 1.5);
    let made = |step: Step, pull: f64| {
        let (mut nothing, mut guide) = (Fake::new(|_, _| 0.0), Fake::new(|_, _| 1.0));
        let mut stepper = OnHost::new(&mut nothing, Some(&mut guide));
        stepper.begin(x.clone()).unwrap();
        stepper.step(&step, GradientScale::new(pull).unwrap(), HEALTHY).unwrap();
        stepper.images().unwrap()[[0, 0, 0, 0]]
    };
    let eps = 1.0 / 0.75f64.sqrt();
    let found = made(step, 0.0);
    assert!((f64::from(found) - (0.8 + 0.6 * eps)).abs() < 1e-6, "{found}");
    // Guidance moves x0 past 1 again, and it stays there: s sqrt(1 - a) grad = 2 sqrt(0.75) off eps.
    let guided = eps - 2.0 * 0.75f64.sqrt();
    let x0 = (1.5 - 0.75f64.sqrt() * guided) / 0.5;
    assert!(x0 > 1.0);
    let found = made(step, 2.0);
    assert!((f64::from(found) - (0.8 * x0 + 0.6 * guided)).abs() < 1e-6, "{found}");
    // Without clip nothing is clamped.
    let found = made(Step { clip: false, ..step }, 0.0);
    assert!((f64::from(found) - 0.8 * 3.0).abs() < 1e-6, "{found}");
}

#[test]
fn reference_begins_with_the_noise_of_level_1() {
    let Some(folder) = golden("ddim_a") else { return };
    let noise = read_npy(folder.join("script_noise.npy"));
    let x0 = read_npy(folder.join("x0.npy")).slice_axis(Axis(0), (0..1).into()).to_owned();
    for (run, respacing) in [("ddim10", Some(Respacing::new(10))), ("full1000", None)] {
        let plan = Plan::reference(&linear1000(), respacing, NoiseLevel::new(6), true).unwrap();
        let start = plan.start(x0.clone(), Some(noise.view())).unwrap();
        let expected = read_npy(folder.join(format!("{run}_script_x_noisy.npy")));
        assert_eq!(start.level(), NoiseLevel::new(1));
        // One f32 rounding of a product and a sum.
        assert!(max_abs_difference(start.pixels(), &expected) < 2e-7, "{run}");
        assert!(max_abs_difference(&x0, &expected) > 1e-3, "{run}: without noise it must fail");
    }
}

#[test]
fn misuse_is_refused() {
    let (plan, x) = (every(3), images((1, 1, 2, 2)));
    let mut net = Fake::new(|x, _| x);
    let reference = |l| Plan::reference(&linear1000(), None, NoiseLevel::new(l), false);
    for l in [0, 1, 1001] {
        let result = reference(l);
        assert!(matches!(result, Err(DdimError::ReferenceLevel { found, most: 1000 }) if found == l), "{l}");
    }
    let error = plan.start(x.clone(), Some(x.view())).unwrap_err();
    assert!(matches!(error, DdimError::FirstNoise { expected: "none", .. }), "{error}");
    let noised = reference(3).unwrap();
    let error = noised.start(x.clone(), None).unwrap_err();
    assert!(matches!(error, DdimError::FirstNoise { found: "none", .. }), "{error}");
    let error = noised.start(x.clone(), Some(images((1, 1, 2, 3)).view())).unwrap_err();
    assert!(matches!(error, DdimError::Shape { what: "first noise", .. }), "{error}");
    let clean = plan.start(x, None).unwrap();
    let mut stepper = OnHost::new(&mut net, None);
    let error = decode_guided(&plan, &mut stepper, GradientScale::NONE, HEALTHY, clean, &mut go).unwrap_err();
    let expected_level = NoiseLevel::new(3);
    assert!(
        matches!(error, DdimError::Level { found: NoiseLevel::CLEAN, expected } if expected == expected_level),
        "{error}"
    );
    for scale in [-1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(GradientScale::new(scale), Err(DdimError::Scale { .. })), "{scale}");
    }
}

#[test]
fn a_network_of_another_shape_is_refused() {
    struct Wide;
    impl NoisePredictor for Wide {
        fn eps(&mut self, x: &Array4<f32>, _: Timestep, _: ClassLabel) -> Result<Array4<f32>, NetworkError> {
            let (n, c, h, w) = x.dim();
            Ok(Array4::zeros((n, 2 * c, h, w)))
        }
    }
    let plan = every(3);
    let start = plan.start(images((1, 2, 2, 2)), None).unwrap();
    let error = encode(&plan, &mut OnHost::new(&mut Wide, None), HEALTHY, start, &mut go).unwrap_err();
    assert!(matches!(error, DdimError::Shape { what: "noise prediction", .. }), "{error}");
}

#[test]
fn the_callback_sees_every_step_and_can_cancel() {
    let plan = every(4);
    let start = plan.start(images((1, 1, 2, 2)), None).unwrap();
    let mut seen = Vec::new();
    let mut net = Fake::new(|x, _| x);
    let mut stepper = OnHost::new(&mut net, None);
    let result = encode(&plan, &mut stepper, HEALTHY, start, &mut |step, images| {
        assert_eq!(images()?.level(), step.level);
        seen.push((step.leg, step.done, step.total, step.level.get()));
        Ok(if step.done == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    });
    assert_eq!(seen, [1, 2, 3].map(|i| (Leg::Encode, i, 4, i)));
    assert!(matches!(result, Err(DdimError::Cancelled { done: 3, total: 4 })));
    assert_eq!(net.calls.len(), 3);
}

proptest! {
    /// A network that always predicts the same noise is inverted exactly, whatever the levels.
    #[test]
    fn constant_noise_is_undone(l in 1usize..=1000, part in 0.0f64..1.0, noise in -2.0f64..2.0) {
        let schedule = linear1000();
        let n = (1 + ((l - 1) as f64 * part) as usize).min(50);
        let trajectory = Trajectory::steps(&schedule, NoiseLevel::new(l), n).unwrap();
        let plan = Plan::paper(&schedule, &trajectory).unwrap();
        let x = images((1, 1, 2, 2));
        let (top, back) = there_and_back(&plan, &x, &mut Fake::new(|_, _| noise), None);
        let ab = schedule.alpha_bar(NoiseLevel::new(l)).unwrap();
        let expected = x.mapv(|x| (ab.sqrt() * f64::from(x) + (1.0 - ab).sqrt() * noise) as f32);
        prop_assert!(max_abs_difference(&top, &expected) < F32_STEPS);
        // Decoding divides what was rounded at level L by sqrt(alpha_bar).
        prop_assert!(max_abs_difference(&back, &x) < F32_STEPS / ab.sqrt());
    }
}

#[test]
fn golden_anomaly_maps_are_sums_over_channels() {
    use anomalens_models::image::AnomalyMap;
    let Some(folder) = golden("ddim_a") else { return };
    let x0 = read_npy(folder.join("x0.npy"));
    for run in ["ddim10_paper_dec_s0", "ddim10_paper_dec_s100", "full1000_paper_dec_s100"] {
        let decoded: Array5<f32> = ndarray_npy::read_npy(folder.join(format!("{run}.npy"))).unwrap();
        let last = decoded.index_axis(Axis(0), decoded.len_of(Axis(0)) - 1);
        let expected: ndarray::Array3<f32> =
            ndarray_npy::read_npy(folder.join(format!("{run}_anomaly_map.npy"))).unwrap();
        for (i, expected) in expected.outer_iter().enumerate() {
            let map = AnomalyMap::between(
                &x0.index_axis(Axis(0), i).to_owned(),
                &last.index_axis(Axis(0), i).to_owned(),
            );
            let worst = (map.unwrap().values() - &expected).iter().fold(0.0f32, |m, d| m.max(d.abs()));
            // A sum of four f32 values below 7.
            assert!(worst < 2e-6, "{run}: image {i}: {worst:e}");
        }
    }
}
