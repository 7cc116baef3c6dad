//! The input gradient of any network: of one class's log-probability or logit, or of the sum of an output.

use std::fmt;
use std::str::FromStr;

use anomalens_models::graph::{Builder, DType, Graph, NodeId, Primitive, Shape};

use super::{GradientError, backward, norm, rules};

/// Name of the output that holds the gradient.
pub const GRADIENT: &str = "gradient";

/// What is differentiated, of an output `[N, K]`; as samples do not mix, row n of the gradient is that of sample n.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// log softmax of the output, at the class that one more input names.
    LogProb,
    /// The output itself, at that class.
    Logit,
    /// The sum over the whole output, of any shape `[N, …]`.
    Sum,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::LogProb, Self::Logit, Self::Sum];

    /// `log-prob`, `logit` or `sum`.
    pub fn name(self) -> &'static str {
        match self {
            Self::LogProb => "log-prob",
            Self::Logit => "logit",
            Self::Sum => "sum",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| format!("'{text}': expected {}", Self::ALL.map(Self::name).join(", ")))
    }
}

/// Which gradient is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The input to differentiate with respect to, f32.
    pub input: &'a str,
    /// The output to differentiate.
    pub output: &'a str,
    /// What of it.
    pub kind: Kind,
    /// Name of the input that the class of each sample comes in by, `[N]` i64 in 0..K; of no use for [`Kind::Sum`].
    pub class_input: &'a str,
}

/// A graph of the same inputs, and the class's, with two outputs: the one that was named, and [`GRADIENT`], which has the shape
/// of the input.
///
/// Errors: [`GradientError`].
pub fn input_gradient(network: &Graph, wanted: &Wanted<'_>) -> Result<Graph, GradientError> {
    let forward = norm::opened(&network.expanded())?;
    let of = forward.output(wanted.output)?;
    let inputs = forward.inputs().map(|(name, _)| name.to_owned());
    let names: Vec<String> = inputs.chain(forward.params().iter().map(|p| p.name.clone())).collect();
    let wrt = forward.inputs().find(|(name, _)| *name == wanted.input).map(|(_, id)| id);
    let wrt = wrt.filter(|id| forward.node(*id).ty.dtype == DType::F32).ok_or_else(|| {
        GradientError::NoSuchInput {
            graph: forward.name().to_owned(),
            found: wanted.input.to_owned(),
            expected: forward
                .inputs()
                .filter(|(_, id)| forward.node(*id).ty.dtype == DType::F32)
                .map(|(name, _)| name)
                .collect::<Vec<_>>()
                .join(", "),
        }
    })?;
    let with_class = wanted.kind != Kind::Sum;
    let taken = |name: &str| GradientError::Taken { graph: forward.name().to_owned(), name: name.to_owned() };
    if with_class
        && (names.iter().any(|name| name == wanted.class_input) || wanted.class_input == wanted.output)
    {
        return Err(taken(wanted.class_input));
    }
    if names.iter().any(|name| name == GRADIENT) || wanted.output == GRADIENT {
        return Err(taken(GRADIENT));
    }
    let shape = forward.node(of).ty.shape.clone();
    let fits = match wanted.kind {
        Kind::LogProb | Kind::Logit => shape.has_batch() && shape.rank() == 2,
        Kind::Sum => shape.has_batch(),
    };
    if !fits {
        return Err(GradientError::Output {
            graph: forward.name().to_owned(),
            output: wanted.output.to_owned(),
            found: shape.to_string(),
            kind: wanted.kind.name(),
            expected: if with_class {
                "[N, K], a row of classes a sample"
            } else {
                "a value of the batch, [N, …]"
            },
        });
    }
    let mut b = Builder::extend(forward, &format!("{}_gradient", network.name()));
    let gradient = b.at(GRADIENT, |b| {
        let (of, cotangent) = seed(b, of, &shape, wanted)?;
        backward(b, of, cotangent, wrt, &rules::rule)
    })?;
    b.output(wanted.output, of);
    b.output(GRADIENT, gradient);
    Ok(b.finish())
}

/// What the backward pass begins with: a value, and its cotangent.
fn seed(
    b: &mut Builder,
    of: NodeId,
    shape: &Shape,
    wanted: &Wanted<'_>,
) -> Result<(NodeId, NodeId), GradientError> {
    let class = |b: &mut Builder| {
        let y = b.input(wanted.class_input, DType::I64, Shape::batch(&[]));
        b.primitive(Primitive::OneHot { depth: shape.sample_elements() }, &[y])
    };
    Ok(match wanted.kind {
        Kind::LogProb => {
            let chosen = class(b)?;
            (b.primitive(Primitive::LogSoftmax { axis: 1 }, &[of])?, chosen)
        }
        Kind::Logit => (of, class(b)?),
        // Ones in the shape of the output, whose batch is open.
        Kind::Sum => (of, b.primitive(Primitive::Clip { min: 1.0, max: 1.0 }, &[of])?),
    })
}
