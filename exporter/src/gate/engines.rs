//! What runs the graphs that the gate compares.

use anomalens_runtime::engine::{self, Device, Engine, EngineChoice, EngineError, EngineOptions};

use super::Subject;
use crate::target::Target;

/// Engines, and what a reader should know about those that are missing.
pub type Engines = (Vec<Box<dyn Engine>>, Vec<String>);

/// Every engine of this machine: ONNX Runtime on `device`, if its library is found, and tract on the processor.
///
/// Errors: [`EngineError`]; a missing library is one only if it was to compute on a GPU.
pub fn found_engines(device: Device, tf32: bool) -> Result<Engines, EngineError> {
    let open =
        |choice, device| engine::open(&EngineOptions { choice, device, tf32, ..EngineOptions::default() });
    let tract = open(EngineChoice::Tract, Device::Cpu)?;
    match open(EngineChoice::Ort, device) {
        Ok(ort) => Ok((vec![ort, tract], vec![])),
        Err(EngineError::LibraryNotFound { .. }) if device == Device::Cpu => Ok((
            vec![tract],
            vec!["ONNX Runtime was not found, so the graphs were run by tract alone".into()],
        )),
        Err(error) => Err(error),
    }
}

/// Every engine of this machine that could run some of `subjects`.
///
/// Errors: [`EngineError`], but not for want of a GPU.
pub(super) fn engines_for(subjects: &[Subject<'_>]) -> Result<Engines, EngineError> {
    let (mut engines, mut notes) = found_engines(Device::Cpu, false)?;
    if subjects.iter().any(|subject| subject.target == Target::OrtCuda) {
        let device = Device::Cuda(0);
        match engine::open(&EngineOptions { choice: EngineChoice::Ort, device, ..EngineOptions::default() }) {
            Ok(cuda) => engines.push(cuda),
            Err(error) => notes.push(format!("this machine cannot run {}: {error}", Target::OrtCuda)),
        }
    }
    Ok((engines, notes))
}

/// `ort` or `tract`.
pub(crate) fn short_name(engine: &dyn Engine) -> String {
    engine.describe().split_whitespace().next().unwrap_or_default().to_owned()
}
