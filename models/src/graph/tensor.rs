//! Dense values that go into a graph.

use ndarray::ArrayD;

use super::DType;

/// A dense value: the input of a network, in the reference interpreter and in every engine.
#[derive(Debug, Clone, PartialEq)]
pub enum Tensor {
    /// Images and noise.
    F32(ArrayD<f32>),
    /// Timesteps and labels.
    I64(ArrayD<i64>),
}

impl Tensor {
    /// The element type.
    pub fn dtype(&self) -> DType {
        match self {
            Self::F32(_) => DType::F32,
            Self::I64(_) => DType::I64,
        }
    }

    /// The shape, with the batch as it is.
    pub fn shape(&self) -> &[usize] {
        match self {
            Self::F32(a) => a.shape(),
            Self::I64(a) => a.shape(),
        }
    }
}

/// Where parameters come from: a weights file, a checkpoint, random numbers.
pub trait ParamSource {
    /// The parameter of this name, e.g. `out.2.weight`; `None` if there is none.
    fn param(&self, name: &str) -> Option<ArrayD<f32>>;
}

impl ParamSource for std::collections::HashMap<String, ArrayD<f32>> {
    fn param(&self, name: &str) -> Option<ArrayD<f32>> {
        self.get(name).cloned()
    }
}
