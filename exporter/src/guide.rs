//! A noisy classifier that a person brings as ONNX, as the guide of a bundle.
//!
//! ```text
//! classifier.onnx ─ import ─> graph ─ ports named x, t, logits ─ input_gradient ─> graph ─ tidy ─> graph, parameters
//! ```

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use anomalens_models::graph::{
    Builder, DType, Graph, GraphError, NodeId, Op, ParamSource, Primitive, Shape, TensorType,
};
use anomalens_models::preset::Preset;
use ndarray::ArrayD;

use crate::gradient::{GradientError, Kind, TidyError, Wanted, input_gradient, tidy};
use crate::import::{ImportError, import_file};

/// What the classifier calls its ports.
#[derive(Debug, Clone, Copy)]
pub struct Ports<'a> {
    /// The noisy image, `[N, C, H, W]`.
    pub x: &'a str,
    /// The timestep, from 0: `[N]` i64 or f32, or `[N, 1]` f32.
    pub t: &'a str,
    /// The logits, `[N, K]`.
    pub logits: &'a str,
}

/// The gradient of such a classifier: inputs `x`, `t`, `y`, outputs `logits`, `gradient`; and its parameters.
pub struct OnnxGuide {
    file: String,
    /// The graph.
    pub graph: Graph,
    params: HashMap<String, ArrayD<f32>>,
}

/// Why a classifier cannot guide.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GuideError {
    /// The model could not be read.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// It could not be differentiated.
    #[error(transparent)]
    Gradient(#[from] GradientError),
    /// What is known beforehand could not be computed.
    #[error(transparent)]
    Tidy(#[from] TidyError),
    /// The preset has no classifier, or a part does not fit.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A port is missing, or is not what the preset wants.
    #[error("classifier '{model}': {port}: found {found}, expected {expected}")]
    Port {
        /// The file.
        model: String,
        /// E.g. `input 'x_t'`.
        port: String,
        /// What is there.
        found: String,
        /// What would do.
        expected: String,
    },
}

impl OnnxGuide {
    /// Reads a classifier of the images and the classes of `preset`, and differentiates it.
    ///
    /// Errors: [`GuideError`].
    pub fn read(model: &Path, ports: &Ports<'_>, preset: &Preset) -> Result<Self, GuideError> {
        let imported = import_file(model)?;
        let classifier = Renaming { model, ports, preset }.run(&imported.graph)?;
        let wanted = Wanted { input: "x", output: "logits", kind: Kind::LogProb, class_input: "y" };
        let whole = input_gradient(&classifier, &wanted)?;
        let tidy = tidy(&whole, &imported)?;
        let names = tidy.graph.params().iter().map(|param| param.name.clone());
        let params = names.filter_map(|name| tidy.param(&name).map(|values| (name, values))).collect();
        let file = model.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { file, graph: tidy.graph, params })
    }
}

impl ParamSource for OnnxGuide {
    fn param(&self, name: &str) -> Option<ArrayD<f32>> {
        self.params.param(name)
    }
}

impl fmt::Display for OnnxGuide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)
    }
}

/// The classifier with the ports that a bundle's has.
struct Renaming<'a> {
    model: &'a Path,
    ports: &'a Ports<'a>,
    preset: &'a Preset,
}

impl Renaming<'_> {
    fn run(&self, graph: &Graph) -> Result<Graph, GuideError> {
        let graph = graph.expanded();
        let names: Vec<String> = graph.inputs().map(|(name, _)| format!("'{name}'")).collect();
        for wanted in [self.ports.x, self.ports.t] {
            if graph.inputs().all(|(name, _)| name != wanted) {
                let expected =
                    format!("one of {}; say which by --classifier-x, --classifier-t", names.join(", "));
                return Err(self.port("inputs", format!("no '{wanted}'"), expected));
            }
        }
        let mut b = Builder::new("classifier");
        let mut new: Vec<NodeId> = Vec::new();
        for (_, node) in graph.iter() {
            let inputs: Vec<NodeId> = node.inputs.iter().map(|i| new[i.index()]).collect();
            new.push(match &node.op {
                Op::Primitive(Primitive::Input { name, ty }) => self.input(&mut b, name, ty)?,
                op => b.at(&node.scope, |b| b.push(op.clone(), &inputs))?,
            });
        }
        let logits = new[graph.output(self.ports.logits)?.index()];
        let classes = self.preset.guided().map_err(GraphError::from)?.classifier.classes;
        let expected = Shape::batch(&[classes]);
        if *b.shape(logits) != expected {
            let expected =
                format!("{expected}; set classifier.classes of the preset to the classifier's classes");
            let port = format!("output '{}'", self.ports.logits);
            return Err(self.port(&port, b.shape(logits).to_string(), expected));
        }
        b.output("logits", logits);
        Ok(b.finish())
    }

    fn input(&self, b: &mut Builder, name: &str, ty: &TensorType) -> Result<NodeId, GuideError> {
        let port = format!("input '{name}'");
        if name == self.ports.x {
            let image = &self.preset.image;
            let expected = Shape::batch(&[image.channels.len(), image.size, image.size]);
            return match *ty == TensorType::f32(expected.clone()) {
                true => Ok(b.input("x", DType::F32, expected)),
                false => Err(self.port(&port, ty.to_string(), format!("{expected}, the preset's images"))),
            };
        }
        if name != self.ports.t {
            return Err(self.port(&port, ty.to_string(), "no input but the image and the timestep".into()));
        }
        let t = b.input("t", DType::I64, Shape::batch(&[]));
        match ty.dtype {
            DType::I64 if ty.shape == Shape::batch(&[]) => Ok(t),
            DType::F32 if ty.shape == Shape::batch(&[]) || ty.shape == Shape::batch(&[1]) => {
                let t = b.primitive(Primitive::Cast, &[t])?;
                Ok(if ty.shape.rank() == 1 { t } else { b.reshape(t, ty.shape.clone())? })
            }
            DType::I64 | DType::F32 => Err(self.port(&port, ty.to_string(), "[N] i64, [N] or [N, 1]".into())),
        }
    }

    fn port(&self, port: &str, found: String, expected: String) -> GuideError {
        GuideError::Port { model: self.model.display().to_string(), port: port.to_owned(), found, expected }
    }
}
