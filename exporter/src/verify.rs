//! A bundle against outputs that a person brings from another framework, engine by engine.
//!
//! ```text
//! REF/unet/        x.npy [N, C, H, W]  t.npy [N]  (y.npy [N])  out.npy [N, 2C, H, W]
//! REF/classifier/  x.npy [N, C, H, W]  t.npy [N]   y.npy [N]   logits.npy [N, K]  grad.npy [N, C, H, W]
//! ```
//!
//! `grad` is the gradient of the sum over n of log p(y_n | x_n, t_n) with respect to x.

use std::fs::File;
use std::path::{Path, PathBuf};

use anomalens_models::graph::{DType, Tensor};
use anomalens_models::manifest::{BundleError, CLASSIFIER_GRADIENT, Manifest, ParityCheck, UNET};
use anomalens_models::weights::Precision;
use anomalens_runtime::engine::{Engine, EngineError, Port};
use ndarray::ArrayD;
use ndarray_npy::{ReadNpyError, ReadNpyExt};

use crate::compare::{self, Difference};

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
    /// The bundle and the reference have no network in common.
    #[error("reference '{}': found neither unet/ nor classifier/ for a graph of the bundle ({graphs}); expected unet/{{x,t,y,out}}.npy or classifier/{{x,t,y,logits,grad}}.npy", reference.display())]
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

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// One line an engine and output.
    pub lines: Vec<Line>,
    /// Parts that only one side has, in words.
    pub skipped: Vec<String>,
}

/// One output by one engine.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// The engine, in its own words.
    pub engine: String,
    /// The numbers.
    pub check: ParityCheck,
    /// Where it is worst.
    pub difference: Difference,
}

impl Line {
    /// Whether the output is within its tolerance.
    pub fn passed(&self) -> bool {
        self.check.max_abs <= self.check.tolerance
    }
}

impl Report {
    /// Whether every output is within its tolerance.
    pub fn passed(&self) -> bool {
        self.lines.iter().all(Line::passed)
    }
}

/// A graph, the reference's folder for it, and its outputs: in the graph, in the reference.
type Part = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const PARTS: [Part; 2] = [
    (UNET, "unet", &[("out", "out.npy")]),
    (CLASSIFIER_GRADIENT, "classifier", &[("logits", "logits.npy"), ("gradient", "grad.npy")]),
];

/// Runs the bundle's graphs on the reference's inputs by each engine, and compares. The bundle's files are checked
/// against its manifest first; nothing is written.
///
/// Errors: [`VerifyError`]. Being over tolerance is no error: see [`Report::passed`].
pub fn verify(
    bundle: &Path,
    reference: &Path,
    engines: &[Box<dyn Engine>],
    say: &mut dyn FnMut(&str),
) -> Result<Report, VerifyError> {
    let manifest = Manifest::read(bundle)?;
    manifest.check_files(bundle)?;
    let mut report = Report { lines: Vec::new(), skipped: Vec::new() };
    for (file, part, outputs) in PARTS {
        let folder = reference.join(part);
        match (manifest.has(file), folder.is_dir()) {
            (false, false) => continue,
            (true, false) => report.skipped.push(format!("{file}: the reference has no {part}/")),
            (false, true) => report.skipped.push(format!("{part}/: the bundle has no {file}")),
            (true, true) => {
                for engine in engines {
                    say(&format!("{file}: {}", engine.describe()));
                    // The classifier's gradient is f32 in every bundle.
                    let precision =
                        Precision::by_name(&manifest.precision).filter(|_| file == UNET).unwrap_or_default();
                    let onnx = bundle.join(file);
                    compare_part(&**engine, &onnx, &folder, outputs, precision, &mut report.lines)?;
                }
            }
        }
    }
    if report.lines.is_empty() {
        let graphs = PARTS.iter().map(|p| p.0).filter(|f| manifest.has(f)).collect::<Vec<_>>().join(", ");
        return Err(VerifyError::Nothing { reference: reference.to_owned(), graphs });
    }
    Ok(report)
}

fn compare_part(
    engine: &dyn Engine,
    onnx: &Path,
    folder: &Path,
    outputs: &[(&str, &str)],
    precision: Precision,
    lines: &mut Vec<Line>,
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
            between: format!("{} vs reference", engine.describe()),
            batch,
            max_abs: difference.max_abs,
            max_rel: difference.max_rel,
            tolerance: compare::tolerance(name, &expected, precision),
        };
        lines.push(Line { engine: engine.describe(), check, difference });
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
