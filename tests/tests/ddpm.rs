//! DDPM sampling against OpenAI's own sampler, on networks that are the same functions on both sides.
//!
//! `ANOMALENS_PYTHON_TORCH` names a Python that has torch and guided-diffusion-sdk.

use std::ops::ControlFlow;
use std::process::Command;

use anomalens_method::ddim::{
    ClassLabel, GradientScale, Guide, NetworkError, Networks, NoisePredictor, NoisyImage, Plan,
};
use anomalens_method::ddpm;
use anomalens_models::preset::{ScheduleKind, ScheduleSpec};
use anomalens_models::schedule::{NoiseLevel, Schedule, Timestep, Trajectory};
use anomalens_tests::{max_abs, npy, root};
use ndarray::{Array4, Axis, Ix4};
use serde_json::json;

/// In units of a case's largest value, 1 at least: PyTorch computes states, and the schedule's coefficients, in f32.
const STATE: f64 = 1e-5;

/// The functions of `tests/oracle/ddpm.py`; `learned`: whether the variance is one of them.
struct Network {
    learned: bool,
}

impl NoisePredictor for Network {
    fn eps(&mut self, x: &Array4<f32>, t: Timestep, _: ClassLabel) -> Result<Array4<f32>, NetworkError> {
        Ok(x.mapv(|x| 0.4 * x + 0.5 * (0.01 * t.get() as f32).cos()))
    }

    fn eps_and_variance(
        &mut self,
        x: &Array4<f32>,
        t: Timestep,
        y: ClassLabel,
    ) -> Result<(Array4<f32>, Option<Array4<f32>>), NetworkError> {
        let v = self.learned.then(|| x.mapv(|x| (2.0 * x + 0.02 * t.get() as f32).sin()));
        Ok((self.eps(x, t, y)?, v))
    }
}

impl Guide for Network {
    fn gradient(&mut self, x: &Array4<f32>, t: Timestep, _: ClassLabel) -> Result<Array4<f32>, NetworkError> {
        Ok(x.mapv(|x| 0.3 - x + 0.001 * t.get() as f32))
    }
}

struct Case {
    name: &'static str,
    levels: (usize, usize, f64),
    learned: bool,
    scale: f64,
}

const CASES: [Case; 4] = [
    Case { name: "every", levels: (6, 6, 1.0), learned: true, scale: 2.0 },
    Case { name: "spaced", levels: (500, 7, 2.0), learned: true, scale: 2.0 },
    Case { name: "fixed", levels: (500, 7, 1.0), learned: false, scale: 0.5 },
    Case { name: "unguided", levels: (1000, 5, 1.0), learned: true, scale: 0.0 },
];

#[test]
fn every_state_is_that_of_openais_sampler() {
    let Ok(python) = std::env::var("ANOMALENS_PYTHON_TORCH") else {
        assert!(std::env::var_os("CI").is_none(), "CI must set ANOMALENS_PYTHON_TORCH");
        eprintln!("skipped: ANOMALENS_PYTHON_TORCH is not set");
        return;
    };
    let schedule = Schedule::new(&ScheduleSpec { kind: ScheduleKind::Linear, timesteps: 1000 }).unwrap();
    let trajectory = |case: &Case| {
        let (top, n, spacing) = case.levels;
        Trajectory::spaced(&schedule, NoiseLevel::new(top), n, spacing).unwrap()
    };
    let levels = |case: &Case| -> Vec<usize> {
        trajectory(case).levels().iter().skip(1).map(|level| level.get()).collect()
    };
    let cases: Vec<_> = CASES
        .iter()
        .map(|case| {
            json!({"name": case.name, "levels": levels(case), "learned": case.learned, "scale": case.scale})
        })
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("cases.json");
    std::fs::write(&list, serde_json::to_vec(&cases).unwrap()).unwrap();
    let script = root().join("tests/oracle/ddpm.py");
    let output = Command::new(python).arg("-B").arg(script).arg(&list).arg(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    for case in &CASES {
        let array = |name: &str| npy(&folder.path().join(case.name).join(format!("{name}.npy")));
        let batch =
            |array: ndarray::ArrayViewD<'_, f32>| array.to_owned().into_dimensionality::<Ix4>().unwrap();
        let (images, noise, expected) = (batch(array("images").view()), array("noise"), array("states"));
        let plan = Plan::paper(&schedule, &trajectory(case)).unwrap();
        // With the learned variance, and with β in its place: that it is used must show.
        for learned in [case.learned, false] {
            let mut used = 0;
            let mut draw = |_| {
                used += 1;
                batch(noise.index_axis(Axis(0), used - 1))
            };
            let noised = ddpm::noised(&schedule, plan.top_level(), &images, &draw(images.dim())).unwrap();
            let mut states = vec![noised.pixels().clone()];
            let (mut net, mut guide) = (Network { learned }, Network { learned });
            let networks = Networks { net: &mut net, guide: Some(&mut guide) };
            let mut keep = |image: &NoisyImage| states.push(image.pixels().clone());
            ddpm::decode(
                &plan,
                networks,
                GradientScale::new(case.scale).unwrap(),
                ClassLabel::new(0),
                noised,
                &mut draw,
                &mut |_, images| {
                    keep(&images()?);
                    Ok(ControlFlow::Continue(()))
                },
            )
            .unwrap();
            assert_eq!(
                (used, states.len()),
                (plan.decode().len(), expected.len_of(Axis(0))),
                "{}",
                case.name
            );
            let apart = states
                .iter()
                .zip(expected.outer_iter())
                .map(|(found, expected)| max_abs(&found.clone().into_dyn(), &expected.to_owned()))
                .fold(0.0, f64::max);
            let largest = expected.iter().fold(1.0f64, |most, v| most.max(f64::from(v.abs())));
            let apart = apart / largest;
            if learned == case.learned {
                assert!(apart < STATE, "{}: {apart:.1e}", case.name);
            } else {
                assert!(apart > 10.0 * STATE, "{}: β in place of what was learned: {apart:.1e}", case.name);
            }
        }
    }
}
