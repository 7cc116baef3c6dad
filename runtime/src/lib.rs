//! Guided DDIM translation through ONNX Runtime or tract.
