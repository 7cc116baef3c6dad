//! Steps in one graph, against the graphs of the networks alone on the same engine and the update made in f64.
//!
//! Coefficients are random, one of each an image, and the gradient's is as large as makes the pull as large as the image:
//! networks with random weights have gradients that would else be lost beside it.
//!
//! Then some steps in a row, once with the images where the engine keeps them, on CUDA by a recording of the kernels, and once
//! with everything brought there and back by hand.

use std::path::Path;

use anomalens_models::graph::Tensor;
use anomalens_models::manifest::{CLASSIFIER_GRADIENT, GUIDED_STEP, ParityCheck, UNET};
use anomalens_models::step::{
    C_GRADIENT, C_PREVIOUS, C_SLOPE, C_X, COEFFICIENT_COUNT, COEFFICIENTS, PREVIOUS, SLOPE, T, T_CLASSIFIER,
    X, X_NEXT, Y,
};
use anomalens_runtime::engine::{Engine, StepNumbers};
use ndarray::{ArrayD, Axis, Slice};

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
    let eps = output(&apart(UNET, T, &inputs)?, "out")?;
    let gradient = match step.file == GUIDED_STEP {
        true => Some(output(&apart(CLASSIFIER_GRADIENT, T_CLASSIFIER, &inputs)?, "gradient")?),
        false => None,
    };
    if let Some(gradient) = &gradient {
        pull_visibly(&mut inputs, compare::largest(gradient));
    }
    let expected = updated(&inputs, &eps, gradient.as_ref());
    let Side { outputs: [alone, together], .. } = run_engine(engine, &folder.join(step.file), &inputs)?;
    let tolerance = |_: &str, expected: &_| compare::step_tolerance(expected, step.precision);
    let between = || format!("{0} in one graph vs {0} alone and the update", short_name(engine));
    let first: Outputs = expected.iter().map(|(n, v)| (n.clone(), first_row(v))).collect();
    for (batch, found, expected) in [(1, &alone, &first), (BATCH, &together, &expected)] {
        compare_outputs((step.file, between(), batch), found, expected, &tolerance, checks, failures)?;
    }
    walk(folder, step, engine, &inputs, gradient.as_ref().map_or(1.0, compare::largest), checks, failures)
}

/// Steps in a row: more than a recording takes to be made and repeated.
const WALK: usize = 5;

/// What all images are told in each of the steps: other timesteps and coefficients each time, small ones as in the method.
fn told(step: &Subject<'_>, pull: f64, number: usize) -> StepNumbers {
    let place = |of: usize| i64::try_from(of).expect("timesteps and classes are small");
    let mut coefficients = [0.0; COEFFICIENT_COUNT];
    let by = number as f32;
    coefficients[C_X] = 0.02 * by;
    coefficients[C_SLOPE] = 0.1 + 0.05 * by;
    coefficients[C_PREVIOUS] = -0.03 * by;
    coefficients[C_GRADIENT] = (0.5 / pull.max(f64::from(f32::MIN_POSITIVE))) as f32;
    StepNumbers {
        graph: 0,
        t: place(number * (step.timesteps - 1) / WALK),
        t_classifier: place((WALK - number) * (step.timesteps - 1) / WALK),
        y: place(number % step.classes),
        coefficients,
    }
}

/// Compares a walk with the images on the device with the same by hand. Nothing, where the engine keeps no images there.
fn walk(
    folder: &Path,
    step: &Subject<'_>,
    engine: &dyn Engine,
    inputs: &[(String, Tensor)],
    pull: f64,
    checks: &mut Vec<ParityCheck>,
    failures: &mut Vec<(ParityCheck, Difference)>,
) -> Result<(), GateError> {
    let path = folder.join(step.file);
    let Some(mut on_device) = engine.load_steps(&[&path])? else { return Ok(()) };
    let mut by_hand = engine.load(&path)?;
    let mut inputs = inputs.to_vec();
    for (name, value) in &mut inputs {
        match value {
            Tensor::F32(previous) if name == PREVIOUS => previous.fill(0.0),
            Tensor::F32(_) | Tensor::I64(_) => {}
        }
    }
    let Tensor::F32(x) = input(&inputs, X) else { unreachable!("images are floating point") };
    let x = x.clone().into_dimensionality().expect("images have four axes");
    on_device.begin(&x)?;
    for number in 0..WALK {
        let numbers = told(step, pull, number);
        on_device.step(&numbers)?;
        for (name, value) in &mut inputs {
            match (name.as_str(), value) {
                (COEFFICIENTS, Tensor::F32(rows)) => {
                    rows.outer_iter_mut().for_each(|mut row| {
                        row.iter_mut().zip(numbers.coefficients).for_each(|(to, from)| *to = from);
                    });
                }
                (T, Tensor::I64(values)) => values.fill(numbers.t),
                (T_CLASSIFIER, Tensor::I64(values)) => values.fill(numbers.t_classifier),
                (Y, Tensor::I64(values)) => values.fill(numbers.y),
                _ => {}
            }
        }
        let given: Vec<(&str, Tensor)> = inputs.iter().map(|(n, v)| (n.as_str(), v.clone())).collect();
        for (output, value) in by_hand.run(&given)? {
            let goes_in = if output == X_NEXT { X } else { PREVIOUS };
            let place = inputs.iter_mut().find(|(name, _)| name == goes_in);
            place.expect("a step takes what it gives").1 = Tensor::F32(value);
        }
    }
    let Tensor::F32(expected) = input(&inputs, X) else { unreachable!("images are floating point") };
    let found = vec![(X_NEXT.to_owned(), on_device.images()?.mapv(f64::from).into_dyn())];
    let expected = vec![(X_NEXT.to_owned(), expected.mapv(f64::from))];
    let between = format!("{0}, {1}: {WALK} in a row vs by hand", short_name(engine), on_device.describe());
    let tolerance = |_: &str, expected: &_| compare::step_tolerance(expected, step.precision);
    compare_outputs((step.file, between, BATCH), &found, &expected, &tolerance, checks, failures)
}

fn input<'a>(inputs: &'a [(String, Tensor)], name: &str) -> &'a Tensor {
    let found = inputs.iter().find(|(n, _)| n == name).map(|(_, value)| value);
    found.expect("a step takes what its networks take")
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
    let floats = |name: &str| match input(inputs, name) {
        Tensor::F32(values) => values.mapv(f64::from),
        Tensor::I64(_) => unreachable!("{T}, {T_CLASSIFIER} and {Y} alone are integers"),
    };
    let (x, previous, coefficients) = (floats(X), floats(PREVIOUS), floats(COEFFICIENTS));
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
