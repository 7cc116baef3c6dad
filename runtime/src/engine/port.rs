//! Inputs and outputs of a graph, and the checks that every engine makes on them.

use std::fmt;

use anomalens_models::graph::{DType, Tensor};
use ndarray::ArrayD;

use super::EngineError;

/// An input or output of a graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Its element type; `None` for one that this program does not use.
    pub dtype: Option<DType>,
    /// Its dimensions; `None` for an open one: the batch.
    pub dims: Vec<Option<usize>>,
}

impl Port {
    /// The axis of the batch; `None` where no dimension is open, or more than one.
    pub(super) fn batch_axis(&self) -> Option<usize> {
        let mut open = (0..self.dims.len()).filter(|&axis| self.dims[axis].is_none());
        open.next().filter(|_| open.next().is_none())
    }
}

impl fmt::Display for Port {
    /// E.g. `f32 [N, 4, 256, 256]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dims: Vec<_> = self.dims.iter().map(|d| d.map_or("N".to_owned(), |d| d.to_string())).collect();
        write!(f, "{} [{}]", self.dtype.map_or("another type", dtype_name), dims.join(", "))
    }
}

fn dtype_name(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "f32",
        DType::I64 => "i64",
    }
}

/// The inputs in the order of `ports`, each checked against its port.
///
/// Errors: [`EngineError::Input`].
pub(super) fn in_order<'a>(
    graph: &str,
    ports: &[Port],
    inputs: &'a [(&str, Tensor)],
) -> Result<Vec<&'a Tensor>, EngineError> {
    let error = |input: &str, found: String, expected: String| {
        Err(EngineError::Input { graph: graph.to_owned(), input: input.to_owned(), found, expected })
    };
    let names = || ports.iter().map(|p| p.name.as_str()).collect::<Vec<_>>().join(", ");
    for (i, (name, _)) in inputs.iter().enumerate() {
        if !ports.iter().any(|port| port.name == *name) {
            return error(name, "no such input".into(), format!("one of {}", names()));
        }
        if inputs[..i].iter().any(|(earlier, _)| earlier == name) {
            return error(name, "given twice".into(), "one value".into());
        }
    }
    let mut batch: Option<(usize, &str)> = None;
    let mut ordered = Vec::with_capacity(ports.len());
    for port in ports {
        let Some((_, tensor)) = inputs.iter().find(|(name, _)| *name == port.name) else {
            return error(&port.name, "nothing".into(), port.to_string());
        };
        let found = || format!("{} {:?}", dtype_name(tensor.dtype()), tensor.shape());
        let fits = port.dtype == Some(tensor.dtype())
            && port.dims.len() == tensor.shape().len()
            && port.dims.iter().zip(tensor.shape()).all(|(want, have)| match want {
                Some(want) => want == have,
                None => *have > 0,
            });
        if !fits {
            return error(&port.name, found(), port.to_string());
        }
        for (_, &n) in port.dims.iter().zip(tensor.shape()).filter(|(want, _)| want.is_none()) {
            match batch {
                Some((other, name)) if other != n => {
                    return error(&port.name, found(), format!("N = {other}, as input {name} has it"));
                }
                _ => batch = Some((n, &port.name)),
            }
        }
        ordered.push(tensor);
    }
    Ok(ordered)
}

/// Refuses an output that holds a value which is not a number, or infinite.
///
/// Errors: [`EngineError::NotFinite`].
pub(super) fn check_finite(graph: &str, output: &str, values: &ArrayD<f32>) -> Result<(), EngineError> {
    use ndarray::Dimension;
    match values.indexed_iter().find(|(_, v)| !v.is_finite()) {
        None => Ok(()),
        Some((index, &found)) => Err(EngineError::NotFinite {
            graph: graph.to_owned(),
            output: output.to_owned(),
            index: index.as_array_view().to_vec(),
            found,
        }),
    }
}
