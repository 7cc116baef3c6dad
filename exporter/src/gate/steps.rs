//! Steps in one graph, against the graphs of the networks alone on the same engine and the update made in f64.
//!
//! Coefficients are random, one of each an image, and the gradient's is as large as makes the pull as large as the image:
//! networks with random weights have gradients that would else be lost beside it.

use std::path::Path;

use anomalens_models::graph::Tensor;
use anomalens_models::manifest::{CLASSIFIER_GRADIENT, GUIDED_STEP, ParityCheck, UNET};
use anomalens_models::step::{
    C_GRADIENT, C_PREVIOUS, C_SLOPE, C_X, COEFFICIENTS, PREVIOUS, SLOPE, T, T_CLASSIFIER, X, X_NEXT, Y,
};
use anomalens_runtime::engine::Engine;
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
    Ok(())
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
