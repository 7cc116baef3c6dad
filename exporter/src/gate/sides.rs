//! The sides that are compared: each runs a graph on the same random inputs, one sample alone and several together.

use std::path::Path;

use anomalens_models::graph::Tensor;
use anomalens_models::graph::reference::{self, ReferenceError, Value};
use anomalens_models::manifest::ParityCheck;
use anomalens_runtime::engine::{Engine, EngineError};
use ndarray::{ArrayD, Axis, IxDyn, Slice};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rand_distr::{Distribution, StandardNormal};

use super::{BATCH, GateError, Subject, short_name};
use crate::compare::{self, Difference};

const SEED: u64 = 20_221_115;

/// One side of the comparison: its outputs at batch 1 and at batch [`BATCH`].
pub(super) struct Side {
    name: String,
    pub(super) outputs: [Outputs; 2],
}

pub(super) type Outputs = Vec<(String, ArrayD<f64>)>;

/// Random inputs of [`BATCH`] samples: images from a normal distribution, as noisy images are; the timesteps 0,
/// T − 1 and a random one; random labels, not all the same.
pub(super) fn draw(subject: &Subject<'_>) -> Vec<(String, Tensor)> {
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let mut below = |bound: usize| (rng.next_u64() % bound as u64) as i64;
    let last = subject.timesteps as i64 - 1;
    let t = vec![below(subject.timesteps), 0, last];
    let first = below(subject.classes);
    let y = (0..BATCH as i64).map(|i| (first + i) % subject.classes as i64).collect();
    let integers =
        |values| Tensor::I64(ArrayD::from_shape_vec(IxDyn(&[BATCH]), values).expect("one a sample"));
    let t_classifier = t.iter().rev().copied().collect();
    let (t, t_classifier, y) = (integers(t), integers(t_classifier), integers(y));
    let input = |(name, id): (&str, _)| {
        let value = match name {
            "t" => t.clone(),
            // Another than the U-Net is told, as under respacing.
            "t_classifier" => t_classifier.clone(),
            "y" => y.clone(),
            _ => {
                let shape = subject.graph.node(id).ty.shape.concrete(BATCH);
                Tensor::F32(ArrayD::from_shape_simple_fn(shape, || StandardNormal.sample(&mut rng)))
            }
        };
        (name.to_owned(), value)
    };
    subject.graph.inputs().map(input).collect()
}

pub(super) fn run_engine(
    engine: &dyn Engine,
    onnx: &Path,
    inputs: &[(String, Tensor)],
) -> Result<Side, EngineError> {
    let mut session = engine.load(onnx)?;
    let mut run = |samples: usize| -> Result<Outputs, EngineError> {
        let inputs: Vec<(&str, Tensor)> =
            inputs.iter().map(|(n, v)| (n.as_str(), first(v, samples))).collect();
        Ok(session.run(&inputs)?.into_iter().map(|(n, v)| (n, v.mapv(f64::from))).collect())
    };
    Ok(Side { name: short_name(engine), outputs: [run(1)?, run(BATCH)?] })
}

pub(super) fn run_reference(
    subject: &Subject<'_>,
    inputs: &[(String, Tensor)],
) -> Result<Side, ReferenceError> {
    let inputs: Vec<(&str, Value)> = inputs.iter().map(|(n, v)| (n.as_str(), v.clone().into())).collect();
    let all = reference::run(subject.graph, subject.params, &inputs)?;
    // The interpreter's samples do not see each other.
    let one = all.iter().map(|(n, v)| (n.clone(), first_row(v))).collect();
    Ok(Side { name: "reference".into(), outputs: [one, all] })
}

/// Compares every two sides; a side that stands alone, with itself at the other batch size.
pub(super) fn compare_sides(
    subject: &Subject<'_>,
    sides: &[Side],
    checks: &mut Vec<ParityCheck>,
    failures: &mut Vec<(ParityCheck, Difference)>,
) -> Result<(), GateError> {
    let mut compare = |between: String, batch: usize, found: &Outputs, expected: &Outputs| {
        let tolerance = |name: &str, expected: &_| compare::tolerance(name, expected, subject.precision);
        compare_outputs((subject.file, between, batch), found, expected, &tolerance, checks, failures)
    };
    for (i, right) in sides.iter().enumerate() {
        for left in &sides[..i] {
            for (batch, which) in [(1, 0), (BATCH, 1)] {
                let between = format!("{} vs {}", left.name, right.name);
                compare(between, batch, &left.outputs[which], &right.outputs[which])?;
            }
        }
    }
    if let [alone] = sides {
        let rows = alone.outputs[1].iter().map(|(n, v)| (n.clone(), first_row(v))).collect();
        compare(format!("{0} batch 1 vs {0} batch {BATCH}", alone.name), 1, &alone.outputs[0], &rows)?;
    }
    Ok(())
}

/// Compares what one side found with what another expects of it.
pub(super) fn compare_outputs(
    (file, between, batch): (&str, String, usize),
    found: &Outputs,
    expected: &Outputs,
    tolerance: &dyn Fn(&str, &ArrayD<f64>) -> f64,
    checks: &mut Vec<ParityCheck>,
    failures: &mut Vec<(ParityCheck, Difference)>,
) -> Result<(), GateError> {
    for (name, expected) in expected {
        let output = format!("{file}:{name}");
        let found = found.iter().find(|(n, _)| n == name).map(|(_, v)| v);
        let Some(difference) = found.and_then(|found| compare::difference(found, expected)) else {
            let shape = |v: &ArrayD<f64>| format!("{:?}", v.shape());
            let found = found.map_or("no such output".into(), shape);
            return Err(GateError::Output { output, between, found, expected: shape(expected) });
        };
        let tolerance = tolerance(name, expected);
        let Difference { max_abs, max_rel, .. } = difference;
        let check = ParityCheck { output, between: between.clone(), batch, max_abs, max_rel, tolerance };
        checks.push(check.clone());
        if max_abs > tolerance {
            failures.push((check, difference));
        }
    }
    Ok(())
}

fn first(value: &Tensor, samples: usize) -> Tensor {
    let rows = Slice::from(..samples);
    match value {
        Tensor::F32(a) => Tensor::F32(a.slice_axis(Axis(0), rows).to_owned()),
        Tensor::I64(a) => Tensor::I64(a.slice_axis(Axis(0), rows).to_owned()),
    }
}

pub(super) fn first_row(value: &ArrayD<f64>) -> ArrayD<f64> {
    value.slice_axis(Axis(0), Slice::from(..1)).to_owned()
}
