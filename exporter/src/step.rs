//! A whole step in one graph: the U-Net, the classifier's gradient if it guides, and the update between them, so that the
//! images never leave the device. What goes in and comes out says [`anomalens_models::step`].
//!
//! Both networks are put in as they are, under the prefixes that they have in the bundle's weights: the same weights serve
//! the graphs of the networks alone. What is not the U-Net is portable f32, whatever the U-Net is: see [`PLAIN`].

use anomalens_models::graph::{Builder, DType, Graph, GraphError, NodeId, Shape};
use anomalens_models::manifest::{ENCODE_STEP, GUIDED_STEP};
use anomalens_models::nets;
use anomalens_models::preset::Preset;
use anomalens_models::step::{
    C_GRADIENT, C_PREVIOUS, C_SLOPE, C_X, COEFFICIENT_COUNT, COEFFICIENTS, PREVIOUS, SLOPE, T, T_CLASSIFIER,
    X, X_NEXT, Y,
};
use anomalens_models::weights::{CLASSIFIER_PREFIX, Precision, UNET_PREFIX};

use crate::gate::Subject;
use crate::gradient::{GradientError, classifier_gradient};
use crate::target::Target;

/// The scopes of a step's graph that are lowered as portable f32.
pub const PLAIN: &[&str] = &["classifier", "update"];

/// One of the steps of a preset.
pub struct Step {
    /// It, as one graph; its parameters have the names that they have in the bundle's weights.
    pub graph: Graph,
    /// Its graph's file.
    pub file: &'static str,
    classes: usize,
    timesteps: usize,
}

impl Step {
    /// A step without guidance, as on the way up.
    ///
    /// Errors: [`GraphError`] where the preset contradicts itself.
    pub fn encode(preset: &Preset) -> Result<Self, GraphError> {
        let guided = preset.guided()?;
        Ok(Self {
            graph: graph(preset, None)?,
            file: ENCODE_STEP,
            classes: guided.unet.classes.unwrap_or(1),
            timesteps: guided.schedule.timesteps,
        })
    }

    /// A guided step.
    ///
    /// Errors: [`GradientError`] where the preset contradicts itself.
    pub fn guided(preset: &Preset) -> Result<Self, GradientError> {
        let guided = preset.guided().map_err(GraphError::from)?;
        let gradient = classifier_gradient(&nets::classifier(preset)?)?;
        Ok(Self {
            graph: graph(preset, Some(&gradient))?,
            file: GUIDED_STEP,
            classes: guided.classifier.classes,
            timesteps: guided.schedule.timesteps,
        })
    }

    /// What the gate compares the written graph with; the parameters are those of the whole bundle.
    pub fn subject<'a>(
        &'a self,
        params: &'a dyn anomalens_models::graph::ParamSource,
        target: Target,
        precision: Precision,
    ) -> Subject<'a> {
        let &Self { ref graph, file, classes, timesteps } = self;
        Subject { file, graph, params, prefix: "", timesteps, classes, target, precision, plain: PLAIN }
    }
}

/// The step of a preset, guided by a classifier's gradient if there is one.
fn graph(preset: &Preset, gradient: Option<&Graph>) -> Result<Graph, GraphError> {
    let unet = nets::unet(preset)?;
    let (channels, size) = (preset.channels(), preset.image.size);
    let labelled = |graph: &Graph| graph.inputs().any(|(name, _)| name == Y);
    let mut builder = Builder::new(if gradient.is_some() { "guided_step" } else { "encode_step" });
    let b = &mut builder;
    let image = || Shape::batch(&[channels, size, size]);
    let number = |b: &mut Builder, name: &str| b.input(name, DType::I64, Shape::batch(&[]));
    let x = b.input(X, DType::F32, image());
    let t = number(b, T);
    let y = (labelled(&unet) || gradient.is_some()).then(|| number(b, Y));
    let coefficients = b.input(COEFFICIENTS, DType::F32, Shape::batch(&[COEFFICIENT_COUNT]));
    let previous = b.input(PREVIOUS, DType::F32, image());

    let labels = y.map(|y| (Y, y));
    let inputs: Vec<(&str, NodeId)> = [(X, x), (T, t)].into_iter().chain(labels).collect();
    let out = b.splice(UNET_PREFIX.trim_end_matches('.'), &unet, &inputs)?[0];
    let gradient = match gradient {
        None => None,
        Some(graph) => {
            let t = number(b, T_CLASSIFIER);
            let inputs: Vec<(&str, NodeId)> = [(X, x), (T, t)].into_iter().chain(labels).collect();
            let outputs = b.splice(CLASSIFIER_PREFIX.trim_end_matches('.'), graph, &inputs)?;
            let place = graph.outputs().iter().position(|(name, _)| name == "gradient");
            Some(outputs[place.expect("the classifier's gradient has that output")])
        }
    };
    let (x_next, slope) = b.at("update", |b| -> Result<_, GraphError> {
        let eps = if *b.shape(out) == image() { out } else { b.slice(out, 1, 0, channels)? };
        let coefficients = b.reshape(coefficients, Shape::batch(&[COEFFICIENT_COUNT, 1, 1]))?;
        let times = |b: &mut Builder, place: usize, value: NodeId| {
            let coefficient = b.slice(coefficients, 1, place, place + 1)?;
            b.mul(coefficient, value)
        };
        let slope = match gradient {
            None => eps,
            Some(gradient) => {
                let pull = times(b, C_GRADIENT, gradient)?;
                b.sub(eps, pull)?
            }
        };
        let change = times(b, C_X, x)?;
        let along = times(b, C_SLOPE, slope)?;
        let change = b.add(change, along)?;
        let along = times(b, C_PREVIOUS, previous)?;
        let change = b.add(change, along)?;
        Ok((b.add(x, change)?, slope))
    })?;
    b.output(X_NEXT, x_next);
    b.output(SLOPE, slope);
    Ok(builder.finish().pruned())
}
