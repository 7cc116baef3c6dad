//! What a graph is lowered for.

use std::fmt;

use anomalens_models::manifest::{ORT_CUDA, PORTABLE};
use clap::ValueEnum;

/// The kernels that a graph is lowered for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, ValueEnum)]
pub enum Target {
    /// ONNX's own operators, of those that ONNX Runtime's CPU provider is fastest with, tract and TensorRT accept.
    #[default]
    Portable,
    /// ONNX Runtime's CUDA provider: images with the channels last, group norms fused with what surrounds them.
    OrtCuda,
}

impl Target {
    /// What a manifest says: `portable` or `ort-cuda`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => PORTABLE,
            Self::OrtCuda => ORT_CUDA,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
