//! A bundle on this machine: the parity gate once more, and outputs that a person brings from another framework.
//!
//! The gate compares the graphs with the preset's networks on the bundle's own weights, whose hash the manifest holds; a U-Net
//! that is not portable f32 also translates held-out images, against those weights in f32.
//! What another framework computed comes as
//!
//! ```text
//! REF/unet/        x.npy [N, C, H, W]  t.npy [N]  (y.npy [N])  out.npy [N, 2C or C, H, W]
//! REF/classifier/  x.npy [N, C, H, W]  t.npy [N]   y.npy [N]   logits.npy [N, K]  grad.npy [N, C, H, W]
//! REF/network/     x.npy [N, C, H, W]  healthy.npy [N, C, H, W]
//! ```
//!
//! `grad` is the gradient of the sum over n of log p(y_n | x_n, t_n) with respect to x.

use std::fs::File;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anomalens_models::graph::{DType, ParamSource, Tensor};
use anomalens_models::held_out::{HeldOut, HeldOutError};
use anomalens_models::manifest::{
    BundleError, CLASSIFIER_GRADIENT, ENCODE_STEP, GUIDED_STEP, Manifest, NETWORK, ParityCheck, UNET,
    Verification, WEIGHTS,
};
use anomalens_models::output::OutputError;
use anomalens_models::weights::{CLASSIFIER_PREFIX, Precision, Weights, WeightsError};
use anomalens_runtime::engine::{Engine, EngineError, Port};
use ndarray::ArrayD;
use ndarray_npy::{ReadNpyError, ReadNpyExt};

use crate::compare::{self, Difference};
use crate::gate::{self, Engines, Gate, GateError, Outcome, Written};
use crate::gradient::GradientError;
use crate::import::{ImportError, Imported, import_file};
use crate::parts::Part;
use crate::step::Step;
use crate::target::Target;

/// Why a bundle could not be compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The bundle is damaged.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// An engine failed.
    #[error("verify: {0}")]
    Engine(#[from] EngineError),
    /// The preset's networks cannot be built.
    #[error("bundle '{}': preset: {source}", bundle.display())]
    Preset {
        /// The bundle.
        bundle: PathBuf,
        /// The cause.
        source: Box<GradientError>,
    },
    /// The weights could not be read.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A graph that came as ONNX could not be read back.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// The held-out images cannot be used.
    #[error(transparent)]
    HeldOut(#[from] HeldOutError),
    /// The gate could not be held.
    #[error(transparent)]
    Gate(#[from] GateError),
    /// The manifest could not be written.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The bundle and the reference have no network in common.
    #[error("reference '{}': found no folder for a graph of the bundle ({graphs}); expected unet/{{x,t,y,out}}.npy, classifier/{{x,t,y,logits,grad}}.npy or network/{{x,healthy}}.npy", reference.display())]
    Nothing {
        /// The reference folder.
        reference: PathBuf,
        /// The bundle's graphs.
        graphs: String,
    },
    /// An array is missing or not of the type that is wanted.
    #[error("reference '{}': {source}; expected an .npy array of {expected}", path.display())]
    Array {
        /// The file.
        path: PathBuf,
        /// What it should be.
        expected: &'static str,
        /// The cause.
        source: ReadNpyError,
    },
    /// An output of another shape.
    #[error("reference '{}': shape {expected:?}, but {engine} gives {found}; bring the outputs of the bundle's network on the same x, t and y", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The engine.
        engine: String,
        /// The graph's shape.
        found: String,
        /// The file's shape.
        expected: Vec<usize>,
    },
}

/// What is compared.
pub struct Request<'a> {
    /// The bundle.
    pub bundle: &'a Path,
    /// How thorough the gate is.
    pub gate: Gate,
    /// Folder of held-out images, see [`anomalens_models::held_out`].
    pub held_out: Option<&'a Path>,
    /// Folder with another framework's inputs and outputs.
    pub reference: Option<&'a Path>,
}

/// What was found.
pub struct Report {
    /// Every comparison.
    pub checks: Vec<ParityCheck>,
    /// Those that are over their tolerance, and where they are worst.
    pub failures: Vec<(ParityCheck, Difference)>,
    /// What was not compared, in words.
    pub skipped: Vec<String>,
    /// What the gate says for the manifest; `None` if it was not asked.
    pub verification: Option<Verification>,
}

impl Report {
    /// Whether every output is within its tolerance, and the gate, if it was asked, had all that it needs.
    pub fn passed(&self) -> bool {
        self.failures.is_empty() && self.verification.as_ref().is_none_or(Verification::passed)
    }

    fn add(&mut self, check: ParityCheck, difference: Difference) {
        if check.max_abs > check.tolerance {
            self.failures.push((check.clone(), difference));
        }
        self.checks.push(check);
    }
}

/// A graph, the reference's folder for it, and its outputs: in the graph, in the reference.
type Brought = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const BROUGHT: [Brought; 3] = [
    (UNET, "unet", &[("out", "out.npy")]),
    (CLASSIFIER_GRADIENT, "classifier", &[("logits", "logits.npy"), ("gradient", "grad.npy")]),
    (NETWORK, "network", &[("healthy", "healthy.npy")]),
];

/// Checks the bundle's files against its manifest, holds the gate, and compares with the reference if there is one.
/// Nothing is written. `say` hears what is done next, and may stop it.
///
/// Errors: [`VerifyError`]. Being over tolerance is no error: see [`Report::passed`].
pub fn verify(
    request: &Request<'_>,
    engines: Engines,
    say: &mut dyn FnMut(&str) -> ControlFlow<()>,
) -> Result<Report, VerifyError> {
    let bundle = request.bundle;
    let manifest = Manifest::read(bundle)?;
    gate::next(say, "hash the files")?;
    manifest.check_files(bundle)?;
    let mut report =
        Report { checks: Vec::new(), failures: Vec::new(), skipped: Vec::new(), verification: None };
    if let Some(reference) = request.reference {
        compare_reference(bundle, &manifest, reference, &engines.0, &mut report, say)?;
    }
    if request.gate == Gate::None {
        report.skipped.extend(request.held_out.map(|_| "held-out images (--gate none)".to_owned()));
    } else {
        let held_out = request.held_out.map(|folder| HeldOut::read(folder, &manifest.preset)).transpose()?;
        let outcome = hold_gate(bundle, &manifest, request.gate, held_out.as_ref(), engines, say)?;
        report.checks.extend(outcome.verification.checks.iter().cloned());
        report.failures.extend(outcome.failures);
        if !outcome.verification.note.is_empty() {
            report.skipped.push(outcome.verification.note.clone());
        }
        report.verification = Some(outcome.verification);
    }
    Ok(report)
}

/// If the bundle was unverified, or nothing was known of its translations, and the gate has now passed, says so in its
/// manifest; whether that was done. The hash of the manifest, which is the bundle's name in reports, is another one then.
///
/// Errors: [`VerifyError`]; then the manifest is as it was.
pub fn record(bundle: &Path, report: &Report) -> Result<bool, VerifyError> {
    let mut manifest = Manifest::read(bundle)?;
    let Some(verification) = report.verification.as_ref().filter(|_| report.passed()) else {
        return Ok(false);
    };
    let says_more = manifest.verification.trajectory.is_none() && verification.trajectory.is_some();
    if manifest.verification.passed() && !says_more {
        return Ok(false);
    }
    manifest.verification = verification.clone();
    manifest.replace(bundle)?;
    Ok(true)
}

/// The gate, on the bundle's own weights.
fn hold_gate(
    bundle: &Path,
    manifest: &Manifest,
    gate: Gate,
    held_out: Option<&HeldOut>,
    engines: Engines,
    say: &mut dyn FnMut(&str) -> ControlFlow<()>,
) -> Result<Outcome, VerifyError> {
    let fault =
        |source: GradientError| VerifyError::Preset { bundle: bundle.to_owned(), source: source.into() };
    let weights = Weights::open(&bundle.join(WEIGHTS))?;
    let mut parts = Vec::new();
    let mut brought: Option<Imported> = None;
    if manifest.has(UNET) {
        let (target, precision) = (target_of(manifest), precision_of(manifest, UNET));
        parts.push(Part::unet(&manifest.preset, target, precision).map_err(|error| fault(error.into()))?);
    }
    if manifest.has(CLASSIFIER_GRADIENT) {
        let own = Part::classifier(&manifest.preset).map_err(fault)?;
        let stored = weights.part(own.prefix);
        if own.graph.params().iter().all(|param| stored.location(&param.name).is_ok()) {
            parts.push(own);
        } else {
            // It came as ONNX, so that what is written is all that there is of it.
            let file = import_file(&bundle.join(CLASSIFIER_GRADIENT))?;
            let part = Part::brought(&manifest.preset, file.graph.clone());
            parts.push(part.map_err(|error| fault(error.into()))?);
            brought = Some(file);
        }
    }
    if manifest.has(NETWORK) {
        parts.push(Part::one_pass(&manifest.preset).map_err(|error| fault(error.into()))?);
    }
    let params: Vec<_> = parts.iter().map(|part| weights.part(part.prefix)).collect();
    let mut subjects = Vec::new();
    for (part, params) in parts.iter().zip(&params) {
        subjects.push(match &brought {
            Some(file) if part.file == CLASSIFIER_GRADIENT => part.subject(file),
            Some(_) | None => part.subject(params),
        });
    }
    let (preset, subjects, origin) = (&manifest.preset, &subjects[..], "the bundle's own weights");
    let mut steps = Vec::new();
    if manifest.has(ENCODE_STEP) {
        steps.push(Step::encode(preset).map_err(|error| fault(error.into()))?);
    }
    if let (true, Some(guide)) =
        (manifest.has(GUIDED_STEP), parts.iter().find(|part| part.file == CLASSIFIER_GRADIENT))
    {
        steps.push(Step::guided(preset, &guide.run).map_err(|error| fault(error.into()))?);
    }
    let whole = Whole { weights: &weights, brought: brought.as_ref() };
    let (target, precision) = (target_of(manifest), precision_of(manifest, UNET));
    let steps: Vec<_> = steps.iter().map(|step| step.subject(&whole, target, precision)).collect();
    let written = Written { folder: bundle, preset, subjects, steps: &steps, origin, held_out };
    Ok(gate::examine(&written, gate, engines, say)?)
}

/// The parameters of every network of a bundle, by the names that steps have them under.
struct Whole<'a> {
    weights: &'a Weights,
    /// A classifier that came as ONNX.
    brought: Option<&'a Imported>,
}

impl ParamSource for Whole<'_> {
    fn param(&self, name: &str) -> Option<ArrayD<f32>> {
        match (self.brought, name.strip_prefix(CLASSIFIER_PREFIX)) {
            (Some(file), Some(name)) => file.param(name),
            _ => self.weights.param(name),
        }
    }
}

/// What the U-Net of a bundle is lowered for.
fn target_of(manifest: &Manifest) -> Target {
    if manifest.target == Target::OrtCuda.name() { Target::OrtCuda } else { Target::Portable }
}

/// What a graph of a bundle computes in: the classifier's gradient is f32 in all of them.
fn precision_of(manifest: &Manifest, file: &str) -> Precision {
    Precision::by_name(&manifest.precision).filter(|_| file == UNET).unwrap_or_default()
}

/// Runs the bundle's graphs on the reference's inputs by each engine that is able to.
fn compare_reference(
    bundle: &Path,
    manifest: &Manifest,
    reference: &Path,
    engines: &[Box<dyn Engine>],
    report: &mut Report,
    say: &mut dyn FnMut(&str) -> ControlFlow<()>,
) -> Result<(), VerifyError> {
    for (file, part, outputs) in BROUGHT {
        let folder = reference.join(part);
        match (manifest.has(file), folder.is_dir()) {
            (false, false) => continue,
            (true, false) => report.skipped.push(format!("{file}: the reference has no {part}/")),
            (false, true) => report.skipped.push(format!("{part}/: the bundle has no {file}")),
            (true, true) => {
                let target = if file == UNET { target_of(manifest) } else { Target::Portable };
                let precision = precision_of(manifest, file);
                let able = engines.iter().filter(|e| e.can_run(target.name(), precision.name()));
                for engine in able {
                    gate::next(say, &format!("{file}: {}", engine.describe()))?;
                    compare_part(&**engine, &bundle.join(file), &folder, outputs, precision, report)?;
                }
            }
        }
    }
    if report.checks.is_empty() {
        let graphs = BROUGHT.iter().map(|p| p.0).filter(|f| manifest.has(f)).collect::<Vec<_>>().join(", ");
        return Err(VerifyError::Nothing { reference: reference.to_owned(), graphs });
    }
    Ok(())
}

fn compare_part(
    engine: &dyn Engine,
    onnx: &Path,
    folder: &Path,
    outputs: &[(&str, &str)],
    precision: Precision,
    report: &mut Report,
) -> Result<(), VerifyError> {
    let mut session = engine.load(onnx)?;
    let ports: Vec<Port> = session.inputs().to_vec();
    let inputs = ports
        .iter()
        .map(|port| Ok((port.name.as_str(), read_input(folder, port)?)))
        .collect::<Result<Vec<_>, VerifyError>>()?;
    let batch = inputs.first().map_or(0, |(_, value)| value.shape().first().copied().unwrap_or(0));
    let found = session.run(&inputs)?;
    for (name, file) in outputs {
        let path = folder.join(file);
        let expected = read_npy::<f32>(&path, "f32")?.mapv(f64::from);
        let found = found.iter().find(|(n, _)| n == name).map(|(_, v)| v.mapv(f64::from));
        let Some(difference) = found.as_ref().and_then(|f| compare::difference(f, &expected)) else {
            return Err(VerifyError::Shape {
                path,
                engine: engine.describe(),
                found: found.map_or("no such output".into(), |f| format!("{:?}", f.shape())),
                expected: expected.shape().to_vec(),
            });
        };
        let graph = onnx.file_name().unwrap_or_default().to_string_lossy();
        let check = ParityCheck {
            output: format!("{graph}:{name}"),
            between: format!("{} vs brought", gate::short_name(engine)),
            batch,
            max_abs: difference.max_abs,
            max_rel: difference.max_rel,
            tolerance: compare::tolerance(name, &expected, precision),
        };
        report.add(check, difference);
    }
    Ok(())
}

fn read_input(folder: &Path, port: &Port) -> Result<Tensor, VerifyError> {
    let path = folder.join(format!("{}.npy", port.name));
    match port.dtype {
        Some(DType::I64) => match read_npy::<i64>(&path, "i64 or i32") {
            // torch makes i64, numpy on some systems i32.
            Err(VerifyError::Array { source: ReadNpyError::WrongDescriptor(_), .. }) => {
                Ok(Tensor::I64(read_npy::<i32>(&path, "i64 or i32")?.mapv(i64::from)))
            }
            other => Ok(Tensor::I64(other?)),
        },
        _ => Ok(Tensor::F32(read_npy(&path, "f32")?)),
    }
}

fn read_npy<T: ndarray_npy::ReadableElement>(
    path: &Path,
    expected: &'static str,
) -> Result<ArrayD<T>, VerifyError> {
    let array = |source| VerifyError::Array { path: path.to_owned(), expected, source };
    ArrayD::read_npy(File::open(path).map_err(|e| array(e.into()))?).map_err(array)
}
