//! The parity gate: each written graph is run by every engine at hand, and the results are compared with each other
//! and, where the network is small enough, with the reference interpreter.
//!
//! Inputs are random but seeded. The same three samples go in one by one and together, so that a graph that mixes
//! the samples of a batch is caught too. What the reference computes with are the parameters as they were brought:
//! a fault in writing them shows, and in any network, since they are also read back and compared bit by bit.
//!
//! A graph for kernels that this machine does not have is imported back and interpreted (`imported`): that proves
//! what it says, and nothing of the kernels, so the bundle stays unverified.
//!
//! A U-Net that is not portable f32 is off by more than rounding in f32, and its error goes through a hundred steps: it
//! passes only if it translates held-out images as f32 does (`trajectory`).

mod engines;
mod error;
mod imported;
mod sides;
mod steps;
mod trajectory;

use std::ops::ControlFlow;
use std::path::Path;

use anomalens_models::graph::{Graph, ParamSource, describe};
use anomalens_models::held_out::HeldOut;
use anomalens_models::manifest::{ParityCheck, Verification, WEIGHTS};
use anomalens_models::preset::Preset;
use anomalens_models::weights::{Precision, Weights};

use crate::compare::Difference;
use crate::lower::of_params;
use crate::target::Target;

use engines::engines_for;
pub(crate) use engines::short_name;
pub use engines::{Engines, found_engines};
pub use error::GateError;
use sides::{compare_outputs, compare_sides, draw, run_engine, run_reference};

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
    /// Scopes that are portable f32 nevertheless.
    pub plain: &'static [&'static str],
}

impl Subject<'_> {
    /// Whether it is what every other target and precision is held against.
    fn is_plain(&self) -> bool {
        (self.target, self.precision) == (Target::Portable, Precision::F32)
    }
}

/// What the gate is held on.
pub struct Written<'a> {
    /// Where the graphs and their weights lie.
    pub folder: &'a Path,
    /// The networks' definition.
    pub preset: &'a Preset,
    /// The graphs.
    pub subjects: &'a [Subject<'a>],
    /// The graphs of steps, which are made of the same networks; that of the U-Net first.
    pub steps: &'a [Subject<'a>],
    /// Where [`Subject::params`] are from, in words, e.g. `the checkpoint`.
    pub origin: &'static str,
    /// What a U-Net that is not portable f32 must translate as f32 does; without it, it does not pass.
    pub held_out: Option<&'a HeldOut>,
}

/// What the gate found, whether it passes or not.
pub struct Outcome {
    /// Every comparison.
    pub verification: Verification,
    /// Those that are over their tolerance.
    pub failures: Vec<(ParityCheck, Difference)>,
}

/// Compares what was written with what it was made of, parameters bit by bit and graphs by every engine of this machine, and
/// refuses what does not agree.
/// `say` hears what is done next, and may stop it.
///
/// Errors: [`GateError`].
pub fn run(
    written: &Written<'_>,
    gate: Gate,
    say: &mut dyn FnMut(&str) -> ControlFlow<()>,
) -> Result<Verification, GateError> {
    if gate == Gate::None {
        let note = "nothing was compared (--gate none)".into();
        return Ok(Verification { gate: gate.name().into(), note, ..Verification::default() });
    }
    next(say, &format!("read {WEIGHTS} back"))?;
    let weights = check_weights(written.folder, written.subjects)?;
    let Outcome { mut verification, failures } = examine(written, gate, engines_for(written.subjects)?, say)?;
    verification.checks.insert(0, weights);
    let (checks, failed) = (verification.checks.len(), failures.len());
    let excess =
        |(check, _): &(ParityCheck, Difference)| check.max_abs / check.tolerance.max(f64::MIN_POSITIVE);
    match failures.into_iter().max_by(|a, b| excess(a).total_cmp(&excess(b))) {
        None => match verification.trajectory.take_if(|trajectory| !trajectory.passed()) {
            None => Ok(verification),
            Some(trajectory) => Err(GateError::Trajectory(Box::new(trajectory))),
        },
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

/// Compares the graphs with what they were made of, by `engines`. Translations are compared only if all else agrees.
///
/// Errors: [`GateError`], but not for being over tolerance.
pub fn examine(
    written: &Written<'_>,
    gate: Gate,
    (engines, mut notes): Engines,
    say: &mut dyn FnMut(&str) -> ControlFlow<()>,
) -> Result<Outcome, GateError> {
    let folder = written.folder;
    let mut verification = Verification { gate: gate.name().into(), ..Verification::default() };
    let mut failures = Vec::new();
    for subject in written.subjects {
        let able = || {
            let (target, precision) = (subject.target.name(), subject.precision.name());
            engines.iter().filter(move |engine| engine.can_run(target, precision))
        };
        let inputs = draw(subject);
        let mut sides = Vec::new();
        for engine in able() {
            next(say, &format!("{}: {}", subject.file, engine.describe()))?;
            sides.push(run_engine(&**engine, &folder.join(subject.file), &inputs)?);
        }
        let run = !sides.is_empty();
        let small = is_small(subject, gate);
        if small && run {
            next(say, &format!("{}: reference interpreter", subject.file))?;
            sides.push(run_reference(subject, &inputs)?);
        }
        if !small {
            notes.push(format!("{} is too large for the reference interpreter", subject.file));
        }
        compare_sides(subject, &sides, &mut verification.checks, &mut failures)?;
        if small && !subject.is_plain() {
            next(say, &format!("{}: imported back", subject.file))?;
            imported::compare(folder, subject, &inputs, &mut verification.checks, &mut failures)?;
        }
        let wanting = &mut verification.wanting;
        let Subject { file, target, precision, .. } = subject;
        match (able().next(), written.held_out) {
            (None, _) => {
                wanting.push(format!("an engine for {file}, which is for {target} in {}", precision.name()));
            }
            (Some(_), _) if subject.is_plain() => {}
            (Some(_), None) => wanting.push(format!("held-out images to translate by {file} (--held-out)")),
            (Some(engine), Some(held_out)) if failures.is_empty() => {
                verification.trajectory = Some(trajectory::hold(written, subject, held_out, &**engine, say)?);
            }
            (Some(_), Some(_)) => {}
        }
    }
    for step in written.steps {
        for engine in engines.iter().filter(|e| e.can_run(step.target.name(), step.precision.name())) {
            next(say, &format!("{}: {}", step.file, engine.describe()))?;
            steps::compare(folder, step, &**engine, &mut verification.checks, &mut failures)?;
        }
        if is_small(step, gate) && !step.is_plain() {
            next(say, &format!("{}: imported back", step.file))?;
            imported::compare(folder, step, &draw(step), &mut verification.checks, &mut failures)?;
        }
    }
    if let Some(step) = written.steps.first() {
        for engine in engines.iter().filter(|e| e.can_run(step.target.name(), step.precision.name())) {
            next(say, &format!("steps in a row: {}", engine.describe()))?;
            steps::walk(folder, written.steps, &**engine, &mut verification.checks, &mut failures)?;
        }
    }
    if !verification.wanting.is_empty() {
        verification.gate = Gate::None.name().into();
    }
    if written.held_out.is_some() && written.subjects.iter().all(Subject::is_plain) {
        notes.push("held-out images are of no use to a portable f32 bundle".into());
    }
    verification.engines = engines.iter().map(|engine| engine.describe()).collect();
    verification.note = notes.join("; ");
    Ok(Outcome { verification, failures })
}

/// Whether the reference interpreter is given a graph.
fn is_small(subject: &Subject<'_>, gate: Gate) -> bool {
    let macs = describe::describe(subject.graph).macs * BATCH as u64;
    macs <= if gate == Gate::Full { FULL_MACS } else { QUICK_MACS }
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
        let stored = of_params(subject.graph, subject.precision, subject.plain);
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
