//! The sampler on real networks against the golden trajectories: step by step from the saved x_t, and end to end, by
//! every engine.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anomalens_method::ddim::{
    ClassLabel, GradientScale, Images, NoisyImage, OnHost, Plan, Step, StepDone, Stepper, decode_guided,
    encode,
};
use anomalens_models::preset::Preset;
use anomalens_models::schedule::{NoiseLevel, Trajectory};
use anomalens_runtime::bundle::{Bundle, GuidedPair};
use anomalens_tests::engines::{engines, write_bundle};
use anomalens_tests::{golden, max_abs, npy, root, tiny};
use ndarray::{Array4, Array5, Axis, Ix4, Ix5, s};

const HEALTHY: ClassLabel = ClassLabel::new(0);
const GUIDED: f64 = 100.0;

/// One golden run: a plan, where it starts, and what the reference made of it.
struct Run {
    name: String,
    plan: Plan,
    start: Array4<f32>,
    first_noise: Option<Array4<f32>>,
    /// x after each encoding step.
    encoded: Array5<f32>,
    /// x after each decoding step, at s = 0 and at s = 100.
    decoded: [Array5<f32>; 2],
    tolerance: Tolerance,
}

#[derive(Clone, Copy)]
struct Tolerance {
    step: f64,
    end: f64,
}

/// Respaced steps are long: errors of the networks are divided by √ᾱ and pulled by the guide.
const DDIM10: Tolerance = Tolerance { step: 1e-4, end: 3e-3 };
/// Guidance moves a single step by 2e-5 here, and the end by 6e-5.
const FULL1000: Tolerance = Tolerance { step: 1e-6, end: 1e-5 };
/// The script computes x₀ and ε back and forth in f32, which costs it 4.6e-6 against its own f64.
const FULL1000_SCRIPT: Tolerance = Tolerance { step: 1e-5, end: 1e-5 };

fn states(path: &Path) -> Array5<f32> {
    npy(path).into_dimensionality::<Ix5>().unwrap()
}

fn images(path: &Path) -> Array4<f32> {
    npy(path).into_dimensionality::<Ix4>().unwrap()
}

/// Algorithm 1 to level index `l` of a respacing.
fn paper(pair: &GuidedPair, respacing: &str, l: usize) -> Plan {
    let level = NoiseLevel::new(l);
    let trajectory = match respacing {
        "full1000" => Trajectory::every(&pair.schedule, level),
        other => Trajectory::respaced(&pair.schedule, other.parse().unwrap(), level),
    };
    Plan::paper(&pair.schedule, &trajectory.unwrap()).unwrap()
}

fn tiny_runs(pair: &GuidedPair) -> Vec<Run> {
    let file = |name: String| tiny().join("ddim").join(name);
    let run = |respacing: &str, tolerance| Run {
        name: format!("tiny {respacing}"),
        plan: paper(pair, respacing, 4),
        start: images(&file("x0.npy".into())),
        first_noise: None,
        encoded: states(&file(format!("{respacing}_enc.npy"))).slice(s![1.., .., .., .., ..]).to_owned(),
        decoded: [0, 100].map(|s| states(&file(format!("{respacing}_dec_s{s}.npy")))),
        tolerance,
    };
    vec![run("ddim10", DDIM10), run("full1000", FULL1000)]
}

fn golden_runs(pair: &GuidedPair, folder: &Path) -> Vec<Run> {
    let file = |name: String| folder.join(name);
    let x0 = images(&file("x0.npy".into()));
    let mut runs = Vec::new();
    for (respacing, step, script) in [("ddim10", DDIM10, DDIM10), ("full1000", FULL1000, FULL1000_SCRIPT)] {
        runs.push(Run {
            name: format!("{respacing} paper"),
            plan: paper(pair, respacing, 6),
            start: x0.clone(),
            first_noise: None,
            encoded: states(&file(format!("{respacing}_paper_enc.npy")))
                .slice(s![1.., .., .., .., ..])
                .to_owned(),
            decoded: [0, 100].map(|s| states(&file(format!("{respacing}_paper_dec_s{s}.npy")))),
            tolerance: step,
        });
        for (clip, word) in [(true, "clip"), (false, "noclip")] {
            let spaced = (respacing != "full1000").then(|| respacing.parse().unwrap());
            runs.push(Run {
                name: format!("{respacing} script, {word}"),
                plan: Plan::reference(&pair.schedule, spaced, NoiseLevel::new(6), clip).unwrap(),
                start: x0.slice(s![..1, .., .., ..]).to_owned(),
                first_noise: Some(images(&file("script_noise.npy".into()))),
                encoded: states(&file(format!("{respacing}_script_enc_{word}.npy"))),
                decoded: [0, 100].map(|s| states(&file(format!("{respacing}_script_dec_{word}_s{s}.npy")))),
                tolerance: script,
            });
        }
    }
    runs
}

/// Makes each step from the state that the reference saved before it; returns the worst difference from the state that
/// it saved after it.
fn teacher_forced(
    pair: &mut GuidedPair,
    scale: f64,
    steps: &[Step],
    before: &Array4<f32>,
    saved: &Array5<f32>,
) -> f64 {
    assert_eq!(steps.len(), saved.len_of(Axis(0)));
    let (unet, guide) = (pair.unet.as_mut().unwrap(), pair.classifier.as_mut().unwrap());
    let mut stepper = OnHost::new(unet, Some(guide));
    let mut worst = 0.0f64;
    let mut x = before.clone();
    for (step, expected) in steps.iter().zip(saved.outer_iter()) {
        stepper.begin(x).unwrap();
        stepper.step(step, GradientScale::new(scale).unwrap(), HEALTHY).unwrap();
        worst = worst.max(max_abs(&stepper.images().unwrap(), &expected));
        x = expected.to_owned();
    }
    worst
}

fn end_to_end(pair: &mut GuidedPair, run: &Run, scale: f64) -> Array4<f32> {
    let (unet, guide) = (pair.unet.as_mut().unwrap(), pair.classifier.as_mut().unwrap());
    let go = &mut |_: &StepDone, _: &mut Images<'_>| Ok(ControlFlow::Continue(()));
    let mut stepper = OnHost::new(unet, Some(guide));
    let start = run.plan.start(run.start.clone(), run.first_noise.as_ref().map(|n| n.view())).unwrap();
    let top: NoisyImage = encode(&run.plan, &mut stepper, HEALTHY, start, go).unwrap();
    let scale = GradientScale::new(scale).unwrap();
    decode_guided(&run.plan, &mut stepper, scale, HEALTHY, top, go).unwrap().into_pixels()
}

fn check(engine: &str, pair: &mut GuidedPair, run: &Run) {
    let Run { name, plan, tolerance, .. } = run;
    let start = plan.start(run.start.clone(), run.first_noise.as_ref().map(|n| n.view())).unwrap();
    let up = teacher_forced(pair, 0.0, plan.encode(), start.pixels(), &run.encoded);
    let top = run.encoded.index_axis(Axis(0), run.encoded.len_of(Axis(0)) - 1).to_owned();
    let [s0, s100] = [0, 1].map(|i| &run.decoded[i]);
    let down =
        [(0.0, s0), (GUIDED, s100)].map(|(s, saved)| teacher_forced(pair, s, plan.decode(), &top, saved));
    // The unguided step must not pass for the guided one.
    let missed = teacher_forced(pair, 0.0, plan.decode(), &top, s100);
    let last = |saved: &Array5<f32>| saved.index_axis(Axis(0), saved.len_of(Axis(0)) - 1).to_owned();
    let unguided = end_to_end(pair, run, 0.0);
    let end = [max_abs(&unguided, &last(s0)), max_abs(&end_to_end(pair, run, GUIDED), &last(s100))];
    let missed_end = max_abs(&unguided, &last(s100));
    println!(
        "{engine}, {name}: step up {up:.1e}, down {:.1e} (s=0) {:.1e} (s=100), end {:.1e} {:.1e}; without guidance {missed:.1e} {missed_end:.1e}",
        down[0], down[1], end[0], end[1]
    );
    for (what, found, bound) in [
        ("encoding step", up, tolerance.step),
        ("decoding step, s = 0", down[0], tolerance.step),
        ("decoding step, s = 100", down[1], tolerance.step),
        ("end, s = 0", end[0], tolerance.end),
        ("end, s = 100", end[1], tolerance.end),
    ] {
        assert!(found <= bound, "{engine}, {name}: {what}: {found:.1e}, tolerance {bound:.0e}");
    }
    assert!(missed > tolerance.step, "{engine}, {name}: steps without guidance passed with {missed:.1e}");
    assert!(
        missed_end > tolerance.end,
        "{engine}, {name}: an end without guidance passed with {missed_end:.1e}"
    );
}

fn open_each(folder: &Path, mut f: impl FnMut(&str, &mut GuidedPair)) {
    for engine in engines() {
        f(&engine.describe(), Bundle::open(folder, &*engine, true).unwrap().guided().unwrap().1);
    }
}

#[test]
fn tiny_trajectories() {
    let temp = tempfile::tempdir().unwrap();
    let bundle = temp.path().join("tiny");
    let checkpoint = |part: &str| tiny().join(part).join("state_dict.pt");
    let (unet, classifier) = (checkpoint("unet"), checkpoint("classifier"));
    write_bundle(&Preset::load("tiny").unwrap(), Some(&unet), Some(&classifier), &bundle);
    open_each(&bundle, |engine, pair| tiny_runs(pair).iter().for_each(|run| check(engine, pair, run)));
}

#[test]
fn golden_trajectories() {
    let Some(golden) = golden() else { return };
    let temp = tempfile::tempdir().unwrap();
    let bundle: PathBuf = temp.path().join("a");
    let preset = Preset::load(root().join("tests/presets/golden_a.toml").to_str().unwrap()).unwrap();
    let checkpoint = |part: &str| golden.join(part).join("state_dict.pt");
    write_bundle(&preset, Some(&checkpoint("unet_a")), Some(&checkpoint("classifier_a")), &bundle);
    open_each(&bundle, |engine, pair| {
        golden_runs(pair, &golden.join("ddim_a")).iter().for_each(|run| check(engine, pair, run));
    });
}
