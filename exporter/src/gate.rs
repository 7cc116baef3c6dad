//! The parity gate: each written graph is run by every engine at hand, and the results are compared with each other
//! and, where the network is small enough, with the reference interpreter.
//!
//! Inputs are random but seeded. The same three samples go in one by one and together, so that a graph that mixes
//! the samples of a batch is caught too. What the reference computes with are the parameters as they were brought:
//! a fault in writing them shows, and in any network, since they are also read back and compared bit by bit.
//!
//! A graph for kernels that this machine does not have is imported back and interpreted (`imported`): that proves
//! what it says, and nothing of the kernels, so the bundle stays unverified.

mod engines;
mod imported;

use std::ops::ControlFlow;
use std::path::Path;

use anomalens_models::graph::reference::{self, ReferenceError, Value};
use anomalens_models::graph::{Graph, ParamSource, Tensor, describe};
use anomalens_models::manifest::{ParityCheck, Verification, WEIGHTS};
use anomalens_models::weights::{Precision, Weights, WeightsError};
use anomalens_runtime::engine::{Engine, EngineError};
use ndarray::{ArrayD, Axis, IxDyn, Slice};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rand_distr::{Distribution, StandardNormal};

use crate::compare::{self, Difference};
use crate::import::ImportError;
use crate::lower::of_params;
use crate::target::Target;

use engines::engines_for;
pub use engines::{Engines, found_engines};
pub(crate) use engines::{can_run, short_name};

/// How thorough the gate is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// The reference interpreter takes part up to [`FULL_MACS`].
    Full,
    /// … up to [`QUICK_MACS`].
    Quick,
    /// Nothing is compared: the bundle is marked unverified.
    None,
}

/// Multiply-adds that the reference interpreter is given at `full`: some minutes. The paper's U-Net wants 747 G for the
/// three samples.
pub const FULL_MACS: u64 = 1_000_000_000_000;
/// Multiply-adds that the reference interpreter is given at `quick`: some seconds.
pub const QUICK_MACS: u64 = 2_000_000_000;

/// Samples that go in together; the first of them also alone.
const BATCH: usize = 3;
const SEED: u64 = 20_221_115;

impl Gate {
    /// `full`, `quick` or `none`: what the manifest says.
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Quick => "quick",
            Self::None => "none",
        }
    }
}

/// A graph that was written, and what it was made of.
pub struct Subject<'a> {
    /// File in the bundle, e.g. `unet.onnx`.
    pub file: &'static str,
    /// The network that the file must compute.
    pub graph: &'a Graph,
    /// Its parameters, as they were brought.
    pub params: &'a dyn ParamSource,
    /// What stands before their names in the bundle's weights.
    pub prefix: &'static str,
    /// T: the timesteps that go in are below it.
    pub timesteps: usize,
    /// Labels that go in are below it.
    pub classes: usize,
    /// What the file is lowered for.
    pub target: Target,
    /// What it computes in.
    pub precision: Precision,
}

/// Why a bundle did not pass.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GateError {
    /// Two sides do not agree.
    #[error(
        "parity gate: {output}, {between}, batch {batch}: {difference}, tolerance {tolerance:.1e} ({failed} of {checks} comparisons are over theirs); nothing was written: the graph does not compute the preset's network"
    )]
    OverTolerance {
        /// File and output.
        output: String,
        /// The two sides.
        between: String,
        /// Batch size.
        batch: usize,
        /// What was found.
        difference: Box<Difference>,
        /// What is allowed.
        tolerance: f64,
        /// Comparisons over their tolerance.
        failed: usize,
        /// All comparisons.
        checks: usize,
    },
    /// A side lacks an output, or has it in another shape.
    #[error(
        "parity gate: {output}, {between}: found {found}, expected {expected}; nothing was written: the graph does not compute the preset's network"
    )]
    Output {
        /// File and output.
        output: String,
        /// The two sides.
        between: String,
        /// The left-hand shape.
        found: String,
        /// The right-hand shape.
        expected: String,
    },
    /// A parameter is not what was brought.
    #[error(
        "parity gate: {WEIGHTS}: '{name}' differs from the checkpoint; nothing was written: check the disk, and that no other program changes the checkpoint"
    )]
    Parameter {
        /// The parameter.
        name: String,
    },
    /// An engine failed.
    #[error("parity gate: {0}")]
    Engine(#[from] EngineError),
    /// A graph could not be imported back.
    #[error("parity gate: {0}")]
    Import(#[from] ImportError),
    /// The written weights could not be read back.
    #[error("parity gate: {0}")]
    Weights(#[from] WeightsError),
    /// A person stopped it.
    #[error("stopped; nothing was written")]
    Stopped,
    /// The reference interpreter failed.
    #[error("parity gate: {0}")]
    Reference(#[from] ReferenceError),
}

/// What the gate found, whether it passes or not.
pub struct Outcome {
    /// Every comparison.
    pub verification: Verification,
    /// Those that are over their tolerance.
    pub failures: Vec<(ParityCheck, Difference)>,
}

/// One side of the comparison: its outputs at batch 1 and at batch [`BATCH`].
struct Side {
    name: String,
    outputs: [Outputs; 2],
}

type Outputs = Vec<(String, ArrayD<f64>)>;

/// Compares what lies in `folder` with `subjects`, parameters bit by bit and graphs by every engine of this machine, and
/// refuses what does not agree.
/// `say` hears what is done next, and may stop it.
///
/// Errors: [`GateError`].
pub fn run(
    folder: &Path,
    subjects: &[Subject<'_>],
    gate: Gate,
    say: &mut dyn FnMut(&str) -> ControlFlow<()>,
) -> Result<Verification, GateError> {
    if gate == Gate::None {
        let note = "nothing was compared (--gate none)".into();
        return Ok(Verification { gate: gate.name().into(), engines: vec![], note, checks: vec![] });
    }
    next(say, &format!("read {WEIGHTS} back"))?;
    let weights = check_weights(folder, subjects)?;
    let Outcome { mut verification, failures } =
        examine(folder, subjects, gate, engines_for(subjects)?, say)?;
    verification.checks.insert(0, weights);
    let (checks, failed) = (verification.checks.len(), failures.len());
    let excess =
        |(check, _): &(ParityCheck, Difference)| check.max_abs / check.tolerance.max(f64::MIN_POSITIVE);
    match failures.into_iter().max_by(|a, b| excess(a).total_cmp(&excess(b))) {
        None => Ok(verification),
        Some((check, difference)) => Err(GateError::OverTolerance {
            output: check.output,
            between: check.between,
            batch: check.batch,
            tolerance: check.tolerance,
            difference: Box::new(difference),
            failed,
            checks,
        }),
    }
}

/// Compares the graphs in `folder` with `subjects`, by `engines`.
///
/// Errors: [`GateError`], but not for being over tolerance.
pub fn examine(
    folder: &Path,
    subjects: &[Subject<'_>],
    gate: Gate,
    (engines, mut notes): Engines,
    say: &mut dyn FnMut(&str) -> ControlFlow<()>,
) -> Result<Outcome, GateError> {
    let mut verification =
        Verification { gate: gate.name().into(), engines: vec![], note: String::new(), checks: vec![] };
    let mut failures = Vec::new();
    for subject in subjects {
        let inputs = draw(subject);
        let mut sides = Vec::new();
        for engine in engines.iter().filter(|e| can_run(&***e, subject.target, subject.precision)) {
            next(say, &format!("{}: {}", subject.file, engine.describe()))?;
            sides.push(run_engine(&**engine, &folder.join(subject.file), &inputs)?);
        }
        let run = !sides.is_empty();
        let macs = describe::describe(subject.graph).macs * BATCH as u64;
        let small = macs <= if gate == Gate::Full { FULL_MACS } else { QUICK_MACS };
        if small && run {
            next(say, &format!("{}: reference interpreter", subject.file))?;
            sides.push(run_reference(subject, &inputs)?);
        }
        if !small {
            notes.push(format!("{} is too large for the reference interpreter", subject.file));
        }
        compare_sides(subject, &sides, &mut verification.checks, &mut failures)?;
        if small && (subject.target, subject.precision) != (Target::Portable, Precision::F32) {
            next(say, &format!("{}: imported back", subject.file))?;
            imported::compare(folder, subject, &inputs, &mut verification.checks, &mut failures)?;
        }
        if !run {
            verification.gate = Gate::None.name().into();
            let Subject { file, target, precision, .. } = subject;
            notes.push(format!("no engine here runs {file}, which is for {target} in {}", precision.name()));
        }
    }
    verification.engines = engines.iter().map(|engine| engine.describe()).collect();
    verification.note = notes.join("; ");
    Ok(Outcome { verification, failures })
}

/// Says what is done next.
///
/// Errors: [`GateError::Stopped`].
pub(crate) fn next(say: &mut dyn FnMut(&str) -> ControlFlow<()>, what: &str) -> Result<(), GateError> {
    match say(what) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(GateError::Stopped),
    }
}

fn check_weights(folder: &Path, subjects: &[Subject<'_>]) -> Result<ParityCheck, GateError> {
    let written = Weights::open(&folder.join(WEIGHTS))?;
    for subject in subjects {
        let part = written.part(subject.prefix);
        let stored = of_params(subject.graph, subject.precision);
        for param in subject.graph.params() {
            let (found, expected) = (part.read(&param.name)?, subject.params.param(&param.name));
            let same = expected.is_some_and(|expected| {
                found.shape() == expected.shape()
                    && found
                        .iter()
                        .zip(&expected)
                        .all(|(a, &b)| a.to_bits() == stored[&param.name].round(b).to_bits())
            });
            if !same {
                return Err(GateError::Parameter { name: format!("{}{}", subject.prefix, param.name) });
            }
        }
    }
    Ok(ParityCheck {
        output: WEIGHTS.into(),
        between: "written vs brought".into(),
        batch: 0,
        max_abs: 0.0,
        max_rel: 0.0,
        tolerance: 0.0,
    })
}

/// Random inputs of [`BATCH`] samples: images from a normal distribution, as noisy images are; the timesteps 0,
/// T − 1 and a random one; random labels, not all the same.
fn draw(subject: &Subject<'_>) -> Vec<(String, Tensor)> {
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let mut below = |bound: usize| (rng.next_u64() % bound as u64) as i64;
    let last = subject.timesteps as i64 - 1;
    let t = vec![below(subject.timesteps), 0, last];
    let first = below(subject.classes);
    let y = (0..BATCH as i64).map(|i| (first + i) % subject.classes as i64).collect();
    let integers =
        |values| Tensor::I64(ArrayD::from_shape_vec(IxDyn(&[BATCH]), values).expect("one a sample"));
    let (t, y) = (integers(t), integers(y));
    let input = |(name, id): (&str, _)| {
        let value = match name {
            "t" => t.clone(),
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

fn run_engine(engine: &dyn Engine, onnx: &Path, inputs: &[(String, Tensor)]) -> Result<Side, EngineError> {
    let mut session = engine.load(onnx)?;
    let mut run = |samples: usize| -> Result<Outputs, EngineError> {
        let inputs: Vec<(&str, Tensor)> =
            inputs.iter().map(|(n, v)| (n.as_str(), first(v, samples))).collect();
        Ok(session.run(&inputs)?.into_iter().map(|(n, v)| (n, v.mapv(f64::from))).collect())
    };
    Ok(Side { name: short_name(engine), outputs: [run(1)?, run(BATCH)?] })
}

fn run_reference(subject: &Subject<'_>, inputs: &[(String, Tensor)]) -> Result<Side, ReferenceError> {
    let inputs: Vec<(&str, Value)> = inputs.iter().map(|(n, v)| (n.as_str(), v.clone().into())).collect();
    let all = reference::run(subject.graph, subject.params, &inputs)?;
    // The interpreter's samples do not see each other.
    let one = all.iter().map(|(n, v)| (n.clone(), first_row(v))).collect();
    Ok(Side { name: "reference".into(), outputs: [one, all] })
}

/// Compares every two sides; a side that stands alone, with itself at the other batch size.
fn compare_sides(
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
fn compare_outputs(
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

fn first_row(value: &ArrayD<f64>) -> ArrayD<f64> {
    value.slice_axis(Axis(0), Slice::from(..1)).to_owned()
}
