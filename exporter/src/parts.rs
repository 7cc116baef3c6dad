//! The networks of a bundle: as they are trained, as they are run, and where each stands in its folder.

use anomalens_models::graph::{Graph, GraphError, ParamSource};
use anomalens_models::manifest::{CLASSIFIER_GRADIENT, NETWORK, UNET};
use anomalens_models::nets;
use anomalens_models::preset::Preset;
use anomalens_models::weights::{CLASSIFIER_PREFIX, NETWORK_PREFIX, Precision, UNET_PREFIX};

use crate::gate::Subject;
use crate::gradient::{GradientError, classifier_gradient};
use crate::target::Target;

/// One network of a preset.
pub struct Part {
    /// As it is trained.
    pub graph: Graph,
    /// As it is run: the U-Net itself, the classifier's gradient, or what makes an image healthy.
    pub run: Graph,
    /// Its graph's file.
    pub file: &'static str,
    /// What stands before its parameters' names in the bundle's weights.
    pub prefix: &'static str,
    /// Labels that it takes are below it.
    pub classes: usize,
    /// What it is lowered for.
    pub target: Target,
    /// What its weights are stored in, and what it computes in.
    pub precision: Precision,
    /// T: timesteps that it takes are below it.
    timesteps: usize,
}

impl Part {
    /// The U-Net.
    ///
    /// Errors: [`GraphError`] where the preset contradicts itself.
    pub fn unet(preset: &Preset, target: Target, precision: Precision) -> Result<Self, GraphError> {
        let graph = nets::unet(preset)?;
        let guided = preset.guided().map_err(GraphError::from)?;
        Ok(Self {
            run: graph.clone(),
            graph,
            file: UNET,
            prefix: UNET_PREFIX,
            classes: guided.unet.classes.unwrap_or(1),
            target,
            precision,
            timesteps: guided.schedule.timesteps,
        })
    }

    /// The classifier: portable and f32 in every bundle, since in fewer bits its gradient is a fifth off.
    ///
    /// Errors: [`GradientError`] where the preset contradicts itself.
    pub fn classifier(preset: &Preset) -> Result<Self, GradientError> {
        let graph = nets::classifier(preset)?;
        let run = classifier_gradient(&graph)?;
        Ok(Self { graph, ..Self::brought(preset, run)? })
    }

    /// A classifier that comes with its own graph, that of its gradient: otherwise as [`Part::classifier`].
    ///
    /// Errors: [`GraphError`] where the preset is not of guided diffusion.
    pub fn brought(preset: &Preset, gradient: Graph) -> Result<Self, GraphError> {
        let guided = preset.guided().map_err(GraphError::from)?;
        Ok(Self {
            run: gradient.clone(),
            graph: gradient,
            file: CLASSIFIER_GRADIENT,
            prefix: CLASSIFIER_PREFIX,
            classes: guided.classifier.classes,
            target: Target::Portable,
            precision: Precision::F32,
            timesteps: guided.schedule.timesteps,
        })
    }

    /// The network that makes images healthy in one pass: portable and f32 in every bundle, as it runs once an image.
    ///
    /// Errors: [`GraphError`] where the preset has no such method, or contradicts itself.
    pub fn one_pass(preset: &Preset) -> Result<Self, GraphError> {
        Ok(Self {
            graph: nets::trained_one_pass(preset)?,
            run: nets::one_pass(preset)?,
            file: NETWORK,
            prefix: NETWORK_PREFIX,
            classes: 1,
            target: Target::Portable,
            precision: Precision::F32,
            timesteps: 1,
        })
    }

    /// What the gate compares the written graph with.
    pub fn subject<'a>(&'a self, params: &'a dyn ParamSource) -> Subject<'a> {
        let &Self { ref run, file, prefix, classes, timesteps, target, precision, .. } = self;
        Subject { file, graph: run, params, prefix, timesteps, classes, target, precision, plain: &[] }
    }
}
