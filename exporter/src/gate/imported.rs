//! A graph imported back from its file, against the network that it was made of: both interpreted in f64.
//!
//! What the file says is proved so on any machine: layouts, fusions, attributes, the order of operands, and that the
//! weights are where it points. Both sides compute with the parameters as they are stored, so that rounding them to f16
//! does not hide anything.

use std::collections::HashMap;
use std::path::Path;

use anomalens_models::graph::reference::{self, Value};
use anomalens_models::graph::{ParamSource, Tensor};
use anomalens_models::manifest::ParityCheck;
use anomalens_models::weights::Precision;
use ndarray::ArrayD;

use super::{BATCH, GateError, Subject, compare_outputs};
use crate::compare::{self, Difference};
use crate::import::import_file;
use crate::lower::of_params;

/// Adds what was found to `checks`, and what is over its tolerance to `failures`.
///
/// Errors: [`GateError::Import`], [`GateError::Reference`], [`GateError::Output`].
pub(super) fn compare(
    folder: &Path,
    subject: &Subject<'_>,
    inputs: &[(String, Tensor)],
    checks: &mut Vec<ParityCheck>,
    failures: &mut Vec<(ParityCheck, Difference)>,
) -> Result<(), GateError> {
    let back = import_file(&folder.join(subject.file))?;
    let inputs: Vec<(&str, Value)> = inputs.iter().map(|(n, v)| (n.as_str(), v.clone().into())).collect();
    let found = reference::run(&back.graph, &back, &inputs)?;
    let stored = Stored { subject, precisions: of_params(subject.graph, subject.precision, subject.plain) };
    let expected = reference::run(subject.graph, &stored, &inputs)?;
    let between = (subject.file, "imported back vs reference".to_owned(), BATCH);
    let tolerance = |_: &str, expected: &_| compare::IMPORTED * compare::largest(expected);
    compare_outputs(between, &found, &expected, &tolerance, checks, failures)
}

/// The parameters that were brought, rounded as they are stored.
struct Stored<'a> {
    subject: &'a Subject<'a>,
    precisions: HashMap<String, Precision>,
}

impl ParamSource for Stored<'_> {
    fn param(&self, name: &str) -> Option<ArrayD<f32>> {
        let precision = *self.precisions.get(name)?;
        Some(self.subject.params.param(name)?.mapv(|v| precision.round(v)))
    }
}
