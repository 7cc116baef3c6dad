//! Writes ONNX graphs of the U-Net and of the classifier gradient; turns checkpoints into bundles.

pub mod checkpoint;
pub mod gradient;
pub mod lower;
pub mod onnx;
mod pt;
