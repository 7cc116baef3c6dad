//! Steps whose images stay where they are computed: a call or two a step, and nothing but a few numbers goes in.

use anomalens_models::step::COEFFICIENT_COUNT;
use ndarray::Array4;

use super::{EngineError, Port};

/// What a step is told, the same for every image; see [`anomalens_models::step`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepNumbers {
    /// Whether the second of the loaded graphs guides what the first makes.
    pub guided: bool,
    /// What the U-Net is told of the noise.
    pub t: i64,
    /// What the classifier is told of it.
    pub t_classifier: i64,
    /// The class.
    pub y: i64,
    /// By the places that [`anomalens_models::step`] names.
    pub coefficients: [f32; COEFFICIENT_COUNT],
}

/// Loaded graphs of steps, and the images that they are made of.
pub trait StepSession: Send {
    /// Inputs and outputs of each graph, in the order in which they were loaded.
    fn ports(&self) -> Vec<(&[Port], &[Port])>;

    /// Takes images [N, C, H, W], and forgets every earlier slope. Fewer images than there were before are filled up to as many by
    /// the last of them, so that what has been prepared for that batch serves them too.
    ///
    /// Errors: [`EngineError::OutOfMemory`], [`EngineError::Run`].
    fn begin(&mut self, x: &Array4<f32>) -> Result<(), EngineError>;

    /// Makes a step.
    ///
    /// Errors: [`EngineError::OutOfMemory`], [`EngineError::Run`]; then the images are lost.
    fn step(&mut self, numbers: &StepNumbers) -> Result<(), EngineError>;

    /// The images as they are now.
    ///
    /// Errors: [`EngineError::Run`], [`EngineError::NotFinite`].
    fn images(&mut self) -> Result<Array4<f32>, EngineError>;

    /// How steps are made, in words, e.g. `steps on the device, CUDA graphs`.
    fn describe(&self) -> String;

    /// What a person should know of it, each said once: a recording that was refused, for instance.
    fn notes(&mut self) -> Vec<String>;
}
