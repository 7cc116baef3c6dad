//! Reverse mode on graphs: the gradient of an output with respect to an input is a graph again.
//!
//! ```text
//! forward   x ─> Conv ─> … ─> LogSoftmax ─> log p(·|x, t)
//! backward  x <─ ConvTranspose <─ … <─ (g − softmax · Σ g) <─ OneHot(y)
//! ```
//!
//! Instance norms are opened before (`norm`), into steps whose gradient passes over the image seldom; every other primitive has a
//! rule, or a reason why it has none (`rules`).
//!
//! ONNX Runtime and tract have no automatic differentiation. Because the gradient is an ordinary forward graph, they do
//! not need any: guidance is one more network to them.

mod norm;
mod of_onnx;
mod pool;
mod rules;
mod tidy;

pub use of_onnx::{GRADIENT, Kind, Wanted, input_gradient};
pub use tidy::{Tidy, TidyError, tidy};

use anomalens_models::graph::{Builder, DType, Graph, GraphError, Node, NodeId, Op, Primitive, Shape};

/// Why a graph has no gradient.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum GradientError {
    /// An operation on the way has no rule.
    #[error("at '{scope}': {op} has no gradient with respect to operand {operand}: {why}")]
    NotDifferentiable {
        /// Place in the network.
        scope: String,
        /// The operation.
        op: &'static str,
        /// Which of its operands.
        operand: usize,
        /// The reason.
        why: &'static str,
    },
    /// The output does not depend on the input.
    #[error(
        "graph '{graph}': the output does not depend on input '{input}', so it has no gradient there; differentiate a graph whose output is computed from that input"
    )]
    NoPath {
        /// The graph.
        graph: String,
        /// The input.
        input: String,
    },
    /// There is no such input that could be differentiated.
    #[error("graph '{graph}' has no floating-point input '{found}'; it has {expected}")]
    NoSuchInput {
        /// The graph.
        graph: String,
        /// Name asked for.
        found: String,
        /// Names there are.
        expected: String,
    },
    /// A name that the gradient's graph wants for itself.
    #[error(
        "graph '{graph}' has a value '{name}' already; choose another name for the class's input, or rename the model's value"
    )]
    Taken {
        /// The graph.
        graph: String,
        /// The name.
        name: String,
    },
    /// The output is not of the shape that this kind of gradient is of.
    #[error("graph '{graph}', output '{output}': found {found}, expected for {kind}: {expected}")]
    Output {
        /// The graph.
        graph: String,
        /// The output.
        output: String,
        /// Its shape.
        found: String,
        /// `log-prob`, …
        kind: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// The graph lacks a value that was asked for, or a rule built something that does not fit.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

/// The cotangent of one operand of a node: what a rule computes.
type Rule = dyn Fn(&mut Builder, &Step<'_>, usize) -> Result<NodeId, GradientError>;

/// What a rule sees of the node that it differentiates.
struct Step<'a> {
    op: &'a Primitive,
    inputs: &'a [NodeId],
    output: NodeId,
    /// Cotangent of the node's own value.
    g: NodeId,
    scope: &'a str,
}

/// The graph that guides the sampler: `∇ₓ log C(y | x, t)` (Algorithm 1, second loop), beside the logits.
///
/// Takes a classifier with inputs `x` `[N, C, H, W]` and `t` `[N]` and outputs `logits` and `log_probs` `[N, K]`.
/// Returns a graph with one more input `y` `[N]` (integer, 0..K) and outputs `logits` `[N, K]` and `gradient`
/// `[N, C, H, W]` = d Σₙ log p(yₙ | xₙ, tₙ) / dx; as samples do not mix, row n holds the gradient of sample n.
///
/// Errors: [`GradientError`].
pub fn classifier_gradient(classifier: &Graph) -> Result<Graph, GradientError> {
    let forward = norm::opened(&classifier.expanded())?;
    let (logits, log_probs) = (forward.output("logits")?, forward.output("log_probs")?);
    let classes = forward.node(log_probs).ty.shape.sample_elements();
    let x = input(&forward, "x")?;
    let mut b = Builder::extend(forward, "classifier_gradient");
    let y = b.input("y", DType::I64, Shape::batch(&[]));
    // d Σₙ log p(yₙ) / d log p = 1 at yₙ, 0 elsewhere.
    let chosen = b.primitive(Primitive::OneHot { depth: classes }, &[y])?;
    let gradient = b.at("gradient", |b| backward(b, log_probs, chosen, x, &rules::rule))?;
    b.output("logits", logits);
    b.output("gradient", gradient);
    Ok(b.finish().pruned())
}

fn input(graph: &Graph, name: &str) -> Result<NodeId, GradientError> {
    graph
        .inputs()
        .find(|(n, _)| *n == name)
        .map(|(_, id)| id)
        .ok_or_else(|| GradientError::NoPath { graph: graph.name().to_owned(), input: name.to_owned() })
}

/// Adds the backward pass to a graph of primitives: the cotangent of `wrt`, given that of `of`.
fn backward(
    b: &mut Builder,
    of: NodeId,
    cotangent: NodeId,
    wrt: NodeId,
    rule: &Rule,
) -> Result<NodeId, GradientError> {
    let nodes: Vec<(NodeId, Node)> =
        b.graph().iter().take(of.index() + 1).map(|(id, node)| (id, node.clone())).collect();
    let mut depends = vec![false; nodes.len()];
    for (id, node) in &nodes {
        // A sign is the same all around, wherever it has a derivative: nothing flows back through it.
        let flat = matches!(node.op, Op::Primitive(Primitive::Sign));
        depends[id.index()] = *id == wrt || !flat && node.inputs.iter().any(|i| depends[i.index()]);
    }
    let mut cotangents: Vec<Option<NodeId>> = vec![None; nodes.len()];
    cotangents[of.index()] = Some(cotangent);
    for (id, node) in nodes.iter().rev().filter(|(id, _)| *id != wrt) {
        let (Some(g), true, Op::Primitive(op)) = (cotangents[id.index()], depends[id.index()], &node.op)
        else {
            continue;
        };
        let step = Step { op, inputs: &node.inputs, output: *id, g, scope: &node.scope };
        let scope = format!("gradient.{}", node.scope);
        let leads = |(operand, input): &(usize, &NodeId)| {
            depends[input.index()] && !rules::is_seen_to(b, op, &node.inputs, *operand)
        };
        let operands: Vec<_> = node.inputs.iter().enumerate().filter(leads).collect();
        for (operand, input) in operands {
            let part = b.at(&scope, |b| rule(b, &step, operand))?;
            let total = &mut cotangents[input.index()];
            *total = Some(match *total {
                Some(sum) => b.at(&scope, |b| rules::sum(b, sum, part))?,
                None => part,
            });
        }
    }
    cotangents[wrt.index()].ok_or_else(|| {
        let input = b.graph().inputs().find(|(_, id)| *id == wrt).map_or("", |(name, _)| name);
        GradientError::NoPath { graph: b.graph().name().to_owned(), input: input.to_owned() }
    })
}

#[cfg(test)]
mod tests;
