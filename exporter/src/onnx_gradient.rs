//! From an ONNX file to the ONNX file of its input gradient.
//!
//! ```text
//! model.onnx ─ import ─> graph ─ input_gradient ─> graph ─ tidy ─> graph ─ lower, weights inside ─> gradient.onnx
//! ```

use std::io::Write;
use std::path::Path;

use anomalens_models::graph::describe::{Description, describe};
use anomalens_models::output::{OutputError, OutputFile};
use anomalens_models::weights::Precision;
use prost::Message;

use crate::gradient::{GradientError, Kind, TidyError, Wanted, input_gradient, tidy};
use crate::import::{ImportError, import_file};
use crate::lower::{Lowering, MissingParameter, WeightsAt, lower};
use crate::target::Target;

/// The most bytes of an ONNX file that protocol buffers can read.
const MOST_BYTES: usize = i32::MAX as usize;

/// What to read, and what to write.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The network: ONNX, opset 13 to 21, the batch open, all other dimensions fixed.
    pub model: &'a Path,
    /// Its input to differentiate with respect to.
    pub input: &'a str,
    /// Its output to differentiate.
    pub output: &'a str,
    /// What of the output.
    pub kind: Kind,
    /// Name of the input that the class comes in by.
    pub class_input: &'a str,
    /// The new file, which must not exist.
    pub out: &'a Path,
}

/// What was written.
#[derive(Debug)]
pub struct Report {
    /// The network itself.
    pub forward: Description,
    /// The network with its gradient, as written.
    pub gradient: Description,
    /// Size of the file.
    pub bytes: usize,
}

/// Why no gradient was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OnnxGradientError {
    /// The model could not be read.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// It could not be differentiated.
    #[error(transparent)]
    Gradient(#[from] GradientError),
    /// What is known beforehand could not be computed.
    #[error(transparent)]
    Tidy(#[from] TidyError),
    /// A parameter is missing.
    #[error(transparent)]
    Lower(#[from] MissingParameter),
    /// A file with its weights inside would be larger than ONNX can be.
    #[error(
        "the gradient of '{model}' has {bytes} bytes, an ONNX file at most {MOST_BYTES}; take a network with fewer weights"
    )]
    TooLarge {
        /// The network.
        model: String,
        /// Size that the file would have.
        bytes: usize,
    },
    /// The file could not be written.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// Writes the input gradient of a network. The file appears whole or not at all.
///
/// Errors: [`OnnxGradientError`].
pub fn write(request: &Request<'_>) -> Result<Report, OnnxGradientError> {
    let file = OutputFile::create(request.out)?;
    let imported = import_file(request.model)?;
    let Request { input, output, kind, class_input, .. } = *request;
    let whole = input_gradient(&imported.graph, &Wanted { input, output, kind, class_input })?;
    let tidy = tidy(&whole, &imported)?;
    let lowering = Lowering {
        target: Target::Portable,
        precision: Precision::F32,
        plain: &[],
        weights: WeightsAt::Inside(&tidy),
        metadata: &[
            ("anomalens.gradient", format!("{kind} of {output} by {input}")),
            ("anomalens.tool", concat!("anomalens-export ", env!("CARGO_PKG_VERSION")).to_owned()),
        ],
    };
    let bytes = lower(&tidy.graph, &lowering)?.encode_to_vec();
    if bytes.len() > MOST_BYTES {
        let model = request.model.display().to_string();
        return Err(OnnxGradientError::TooLarge { model, bytes: bytes.len() });
    }
    file.file().write_all(&bytes).map_err(|e| file.error(e))?;
    file.finish()?;
    Ok(Report { forward: describe(&imported.graph), gradient: describe(&tidy.graph), bytes: bytes.len() })
}
