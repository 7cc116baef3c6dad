//! The network of a bundle that makes images healthy in one pass.

use std::path::Path;

use anomalens_method::ddim::NetworkError;
use anomalens_method::heal::Healer;
use anomalens_models::graph::Tensor;
use anomalens_models::manifest::NETWORK;
use anomalens_models::preset::Preset;
use ndarray::Array4;

use super::{OpenError, image_output, image_port, load};
use crate::engine::{Engine, Session};

/// The network of a bundle that makes images healthy in one pass.
pub struct OnePass {
    session: Box<dyn Session>,
}

impl OnePass {
    /// Loads `network.onnx` of a folder, which must take and give the images of `preset`.
    ///
    /// Errors: [`OpenError::Engine`], [`OpenError::ForeignGraph`].
    pub fn load(folder: &Path, preset: &Preset, engine: &dyn Engine) -> Result<Self, OpenError> {
        let port = |name| [image_port(name, preset, preset.channels())];
        Ok(Self { session: load(folder, NETWORK, engine, &port("x"), &port("healthy"))? })
    }
}

impl Healer for OnePass {
    fn healthy(&mut self, x: &Array4<f32>) -> Result<Array4<f32>, NetworkError> {
        let inputs = [("x", Tensor::F32(x.clone().into_dyn()))];
        Ok(image_output(self.session.run(&inputs).map_err(NetworkError::new)?, "healthy"))
    }
}
