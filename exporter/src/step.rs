//! A step as graphs: the U-Net and the update; and what guides it, the classifier's gradient and the update. So the images never
//! leave the device. What goes in and comes out says [`anomalens_models::step`].
//!
//! The networks are put in as they are, under the prefixes that they have in the bundle's weights: the same weights serve
//! the graphs of the networks alone. What is not the U-Net is portable f32, whatever the U-Net is: see [`PLAIN`].

use anomalens_models::graph::{Builder, DType, Graph, GraphError, NodeId, Shape};
use anomalens_models::manifest::{ENCODE_STEP, GUIDED_STEP};
use anomalens_models::nets;
use anomalens_models::preset::Preset;
use anomalens_models::step::{
    C_GRADIENT, C_PREVIOUS, C_SLOPE, C_X, COEFFICIENT_COUNT, COEFFICIENTS, EPS, PREVIOUS, SLOPE, T,
    T_CLASSIFIER, X, X_NEXT, Y,
};
use anomalens_models::weights::{CLASSIFIER_PREFIX, Precision, UNET_PREFIX};

use crate::gate::Subject;
use crate::target::Target;

/// The scopes of a step's graph that are lowered as portable f32, whatever the U-Net is.
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
            graph: encode(preset)?,
            file: ENCODE_STEP,
            classes: guided.unet.classes.unwrap_or(1),
            timesteps: guided.schedule.timesteps,
        })
    }

    /// What guides a step, by the graph of the classifier's gradient.
    ///
    /// Errors: [`GraphError`] where the preset or the gradient contradicts itself.
    pub fn guided(preset: &Preset, gradient: &Graph) -> Result<Self, GraphError> {
        let guided = preset.guided()?;
        Ok(Self {
            graph: guide(preset, gradient)?,
            file: GUIDED_STEP,
            classes: guided.classifier.classes,
            timesteps: guided.schedule.timesteps,
        })
    }

    /// What the gate compares the written graph with; the parameters are those of the whole bundle, target and precision those of
    /// its U-Net.
    pub fn subject<'a>(
        &'a self,
        params: &'a dyn anomalens_models::graph::ParamSource,
        target: Target,
        precision: Precision,
    ) -> Subject<'a> {
        let &Self { ref graph, file, classes, timesteps } = self;
        // What guides is plain throughout.
        let precision = if file == ENCODE_STEP { precision } else { Precision::F32 };
        let plain = PLAIN;
        Subject { file, graph, params, prefix: "", timesteps, classes, target, precision, plain }
    }
}

/// What every step takes: x, the slope of the step before, and the coefficients.
struct Inputs {
    x: NodeId,
    previous: NodeId,
    coefficients: NodeId,
}

impl Inputs {
    fn new(b: &mut Builder, image: &Shape) -> Self {
        Self {
            x: b.input(X, DType::F32, image.clone()),
            previous: b.input(PREVIOUS, DType::F32, image.clone()),
            coefficients: b.input(COEFFICIENTS, DType::F32, Shape::batch(&[COEFFICIENT_COUNT])),
        }
    }

    /// Writes the update along ε, pulled by a gradient if there is one.
    fn update(&self, b: &mut Builder, eps: NodeId, gradient: Option<NodeId>) -> Result<(), GraphError> {
        let &Self { x, previous, coefficients } = self;
        let (x_next, slope) = b.at("update", |b| -> Result<_, GraphError> {
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
        Ok(())
    }
}

fn image(preset: &Preset) -> Shape {
    Shape::batch(&[preset.channels(), preset.image.size, preset.image.size])
}

fn number(b: &mut Builder, name: &str) -> NodeId {
    b.input(name, DType::I64, Shape::batch(&[]))
}

/// The U-Net and the update.
fn encode(preset: &Preset) -> Result<Graph, GraphError> {
    let unet = nets::unet(preset)?;
    let mut builder = Builder::new("encode_step");
    let (b, image) = (&mut builder, image(preset));
    let inputs = Inputs::new(b, &image);
    let mut given = vec![(X, inputs.x), (T, number(b, T))];
    if unet.inputs().any(|(name, _)| name == Y) {
        given.push((Y, number(b, Y)));
    }
    let out = b.splice(UNET_PREFIX.trim_end_matches('.'), &unet, &given)?[0];
    let eps =
        b.at(
            "update",
            |b| {
                if *b.shape(out) == image { Ok(out) } else { b.slice(out, 1, 0, preset.channels()) }
            },
        )?;
    inputs.update(b, eps, None)?;
    Ok(builder.finish().pruned())
}

/// The classifier's gradient and the update.
fn guide(preset: &Preset, gradient: &Graph) -> Result<Graph, GraphError> {
    let mut builder = Builder::new("guided_step");
    let (b, image) = (&mut builder, image(preset));
    let inputs = Inputs::new(b, &image);
    let eps = b.input(EPS, DType::F32, image);
    let given = [(X, inputs.x), (T, number(b, T_CLASSIFIER)), (Y, number(b, Y))];
    let outputs = b.splice(CLASSIFIER_PREFIX.trim_end_matches('.'), gradient, &given)?;
    let place = gradient.outputs().iter().position(|(name, _)| name == "gradient");
    let pull = outputs[place.expect("the classifier's gradient has that output")];
    inputs.update(b, eps, Some(pull))?;
    Ok(builder.finish().pruned())
}
