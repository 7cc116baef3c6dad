//! Writes ONNX graphs of the U-Net and of the classifier gradient; turns checkpoints into bundles.

pub mod bundle;
pub mod checkpoint;
pub mod compare;
pub mod convert;
pub mod fitness;
pub mod gate;
pub mod gradient;
pub mod guide;
pub mod import;
pub mod infer;
pub mod lower;
#[rustfmt::skip] // Stays as the generator wrote it.
pub mod onnx;
pub mod onnx_gradient;
pub mod package;
pub mod parts;
mod pt;
pub mod step;
pub mod target;
pub mod verify;
