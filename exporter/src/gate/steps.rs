//! The graphs of steps, against those of the networks alone on the same engine and the update made in f64.
//!
//! Coefficients are random, one of each an image, and the gradient's is as large as makes the pull as large as the image:
//! networks with random weights have gradients that would else be lost beside it.
//!
//! Then some steps in a row, once with the images where the engine keeps them, on CUDA by a recording of the kernels, and once
//! with everything brought there and back by hand.

use std::path::{Path, PathBuf};

use anomalens_models::graph::Tensor;
use anomalens_models::manifest::{CLASSIFIER_GRADIENT, GUIDED_STEP, ParityCheck, UNET};
use anomalens_models::step::{
    C_GRADIENT, C_PREVIOUS, C_SLOPE, C_X, COEFFICIENT_COUNT, COEFFICIENTS, EPS, PREVIOUS, SLOPE, T,
    T_CLASSIFIER, X, X_NEXT, Y,
};
use anomalens_runtime::engine::{Engine, StepNumbers};
use ndarray::{Array1, Array2, ArrayD, Axis, Slice};

use super::sides::{Outputs, Side, compare_outputs, draw, first_row, run_engine};
use super::{BATCH, GateError, Subject, short_name};
use crate::compare::{self, Difference};

/// Adds what was found to `checks`, and what is over its tolerance to `failures`.
///
/// Errors: [`GateError::Engine`], [`GateError::Output`].
pub(super) fn compare(
    folder: &Path,
    step: &Subject<'_>,
    engine: &dyn Engine,
    checks: &mut Vec<ParityCheck>,
    failures: &mut Vec<(ParityCheck, Difference)>,
) -> Result<(), GateError> {
    let mut inputs = draw(step);
    let apart = |file: &str, t: &str, inputs: &[(String, Tensor)]| {
        let mut session = engine.load(&folder.join(file))?;
        let names: Vec<String> = session.inputs().iter().map(|port| port.name.clone()).collect();
        let given: Vec<(&str, Tensor)> = names
            .iter()
            .map(|name| (name.as_str(), input(inputs, if name == T { t } else { name }).clone()))
            .collect();
        Ok::<_, GateError>(session.run(&given)?)
    };
    let output = |outputs: &[(String, ArrayD<f32>)], name: &str| {
        let found = outputs.iter().find(|(n, _)| n == name).map(|(_, v)| v.mapv(f64::from));
        found.ok_or_else(|| GateError::Output {
            output: name.to_owned(),
            between: format!("{} vs the networks alone", step.file),
            found: "no such output".into(),
            expected: "that of the network's graph".into(),
        })
    };
    let (eps, gradient) = match step.file == GUIDED_STEP {
        true => {
            let gradient = output(&apart(CLASSIFIER_GRADIENT, T_CLASSIFIER, &inputs)?, "gradient")?;
            (floats(&inputs, EPS), Some(gradient))
        }
        false => (output(&apart(UNET, T, &inputs)?, "out")?, None),
    };
    if let Some(gradient) = &gradient {
        pull_visibly(&mut inputs, compare::largest(gradient));
    }
    let expected = updated(&inputs, &eps, gradient.as_ref());
    let Side { outputs: [alone, together], .. } = run_engine(engine, &folder.join(step.file), &inputs)?;
    let tolerance = |_: &str, expected: &_| compare::step_tolerance(expected, step.precision);
    let between = || format!("{0} as a step vs {0} alone and the update", short_name(engine));
    let first: Outputs = expected.iter().map(|(n, v)| (n.clone(), first_row(v))).collect();
    for (batch, found, expected) in [(1, &alone, &first), (BATCH, &together, &expected)] {
        compare_outputs((step.file, between(), batch), found, expected, &tolerance, checks, failures)?;
    }
    Ok(())
}

/// Steps in a row: more than a recording takes to be made and repeated.
const WALK: usize = 5;

/// What all images are told in each of the steps: other timesteps and coefficients each time, small ones as in the method; every
/// second one is guided, if there is a guide.
fn told(step: &Subject<'_>, guided: bool, number: usize) -> StepNumbers {
    let place = |of: usize| i64::try_from(of).expect("timesteps and classes are small");
    let mut coefficients = [0.0; COEFFICIENT_COUNT];
    let by = number as f32;
    coefficients[C_X] = 0.02 * by;
    coefficients[C_SLOPE] = 0.1 + 0.05 * by;
    coefficients[C_PREVIOUS] = if number == 0 { 0.0 } else { -0.03 * by };
    coefficients[C_GRADIENT] = 10.0;
    StepNumbers {
        guided: guided && number % 2 == 1,
        t: place(number * (step.timesteps - 1) / WALK),
        t_classifier: place((WALK - number) * (step.timesteps - 1) / WALK),
        y: place(number % step.classes),
        coefficients,
    }
}

/// Compares a walk with the images on the device with the same by hand. Nothing, where the engine keeps no images there.
///
/// Errors: as [`compare`].
pub(super) fn walk(
    folder: &Path,
    steps: &[Subject<'_>],
    engine: &dyn Engine,
    checks: &mut Vec<ParityCheck>,
    failures: &mut Vec<(ParityCheck, Difference)>,
) -> Result<(), GateError> {
    let paths: Vec<PathBuf> = steps.iter().map(|step| folder.join(step.file)).collect();
    let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    let [step, guide @ ..] = steps else { return Ok(()) };
    let Some(mut on_device) = engine.load_steps(&paths)? else { return Ok(()) };
    let mut by_hand = paths.iter().map(|path| engine.load(path)).collect::<Result<Vec<_>, _>>()?;
    let inputs = draw(guide.first().unwrap_or(step));
    let Tensor::F32(x) = input(&inputs, X) else { unreachable!("images are floating point") };
    let mut x = x.clone();
    let mut previous = x.mapv(|_| 0.0);
    on_device.begin(&x.clone().into_dimensionality().expect("images have four axes"))?;
    for number in 0..WALK {
        let numbers = told(step, !guide.is_empty(), number);
        on_device.step(&numbers)?;
        let mut eps = x.clone();
        for (graph, session) in by_hand.iter_mut().take(1 + usize::from(numbers.guided)).enumerate() {
            let still = numbers.guided && graph == 0;
            let coefficients = if still { [0.0; COEFFICIENT_COUNT] } else { numbers.coefficients };
            let n = x.len_of(Axis(0));
            let all = |value: i64| Tensor::I64(Array1::from_elem(n, value).into_dyn());
            let rows = Array2::from_shape_fn((n, COEFFICIENT_COUNT), |(_, place)| coefficients[place]);
            let value = |name: &str| match name {
                X => Tensor::F32(x.clone()),
                EPS => Tensor::F32(eps.clone()),
                PREVIOUS => Tensor::F32(previous.clone()),
                COEFFICIENTS => Tensor::F32(rows.clone().into_dyn()),
                T => all(numbers.t),
                T_CLASSIFIER => all(numbers.t_classifier),
                _ => all(numbers.y),
            };
            let names: Vec<String> = session.inputs().iter().map(|port| port.name.clone()).collect();
            let given: Vec<(&str, Tensor)> = names.iter().map(|name| (name.as_str(), value(name))).collect();
            let (mut next, mut slope) = (None, None);
            for (output, value) in session.run(&given)? {
                *(if output == X_NEXT { &mut next } else { &mut slope }) = Some(value);
            }
            let (Some(next), Some(slope)) = (next, slope) else { unreachable!("a step has two outputs") };
            eps = slope;
            if !still {
                x = next;
            }
        }
        previous = eps;
    }
    let found = vec![(X_NEXT.to_owned(), on_device.images()?.mapv(f64::from).into_dyn())];
    let expected = vec![(X_NEXT.to_owned(), x.mapv(f64::from))];
    let between = format!("{0}, {1}: {WALK} in a row vs by hand", short_name(engine), on_device.describe());
    let tolerance = |_: &str, expected: &_| compare::step_tolerance(expected, step.precision);
    compare_outputs((step.file, between, BATCH), &found, &expected, &tolerance, checks, failures)
}

fn input<'a>(inputs: &'a [(String, Tensor)], name: &str) -> &'a Tensor {
    let found = inputs.iter().find(|(n, _)| n == name).map(|(_, value)| value);
    found.expect("a step takes what its networks take")
}

fn floats(inputs: &[(String, Tensor)], name: &str) -> ArrayD<f64> {
    match input(inputs, name) {
        Tensor::F32(values) => values.mapv(f64::from),
        Tensor::I64(_) => unreachable!("{T}, {T_CLASSIFIER} and {Y} alone are integers"),
    }
}

/// Gives the gradient a coefficient by which its largest value becomes about 1.
fn pull_visibly(inputs: &mut [(String, Tensor)], largest: f64) {
    for (name, value) in inputs {
        if let (COEFFICIENTS, Tensor::F32(values)) = (name.as_str(), value) {
            let scale = (1.0 / largest.max(f64::from(f32::MIN_POSITIVE))) as f32;
            values.index_axis_mut(Axis(1), C_GRADIENT).mapv_inplace(|c| c * scale);
        }
    }
}

/// The images after the step, and its slope.
fn updated(inputs: &[(String, Tensor)], out: &ArrayD<f64>, gradient: Option<&ArrayD<f64>>) -> Outputs {
    let (x, previous, coefficients) =
        (floats(inputs, X), floats(inputs, PREVIOUS), floats(inputs, COEFFICIENTS));
    // [N] to [N, 1, 1, 1].
    let coefficient = |place: usize| {
        let column = coefficients.index_axis(Axis(1), place).to_owned();
        column.insert_axis(Axis(1)).insert_axis(Axis(2)).insert_axis(Axis(3))
    };
    let channels = x.len_of(Axis(1));
    let eps = out.slice_axis(Axis(1), Slice::from(..channels)).to_owned();
    let slope = match gradient {
        None => eps,
        Some(gradient) => eps - coefficient(C_GRADIENT) * gradient,
    };
    let change = coefficient(C_X) * &x + coefficient(C_SLOPE) * &slope + coefficient(C_PREVIOUS) * &previous;
    vec![(X_NEXT.to_owned(), x + change), (SLOPE.to_owned(), slope)]
}
