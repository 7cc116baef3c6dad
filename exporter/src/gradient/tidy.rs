//! A graph made tidy before it is written: what is known is computed, what is equal is shared, what is unused is left out.

use std::collections::HashMap;

use anomalens_models::graph::reference::{self, ReferenceError};
use anomalens_models::graph::{
    Builder, Graph, GraphError, Init, Node, NodeId, Op, ParamSource, ParamSpec, Primitive,
};
use ndarray::ArrayD;

/// A tidy graph, and those of its parameters that were computed; all others keep their names.
pub struct Tidy<'a> {
    /// The graph.
    pub graph: Graph,
    computed: HashMap<String, ArrayD<f32>>,
    given: &'a dyn ParamSource,
}

impl ParamSource for Tidy<'_> {
    fn param(&self, name: &str) -> Option<ArrayD<f32>> {
        self.computed.get(name).cloned().or_else(|| self.given.param(name))
    }
}

/// Why a graph could not be made tidy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TidyError {
    /// A parameter is missing.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// A node does not fit in its new place.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

/// Makes a graph of primitives tidy, whose parameters are `given`.
///
/// What depends on parameters alone is computed once, in f64, unless it is only a parameter in another shape or order: that
/// every engine folds when it loads a model, and so each weight is stored once. Inputs stay.
///
/// Errors: [`TidyError`].
pub fn tidy<'a>(graph: &Graph, given: &'a dyn ParamSource) -> Result<Tidy<'a>, TidyError> {
    let (graph, computed) = folded(graph, given)?;
    Ok(Tidy { graph: without_unused(&shared(&graph)?)?, computed, given })
}

fn is_input(node: &Node) -> bool {
    matches!(node.op, Op::Primitive(Primitive::Input { .. }))
}

fn is_leaf(node: &Node) -> bool {
    matches!(node.op, Op::Primitive(Primitive::Input { .. } | Primitive::Param(_) | Primitive::Constant(_)))
}

/// Whether an operation only moves values.
fn moves(node: &Node) -> bool {
    use Primitive as P;
    match &node.op {
        Op::Primitive(op) => matches!(
            op,
            P::Reshape { .. } | P::Transpose { .. } | P::Slice { .. } | P::Concat { .. } | P::Expand { .. }
        ),
        Op::Composite(_) => false,
    }
}

/// The graph, with a parameter in place of what can be computed beforehand; and these parameters.
fn folded(
    graph: &Graph,
    given: &dyn ParamSource,
) -> Result<(Graph, HashMap<String, ArrayD<f32>>), TidyError> {
    let mut known = vec![false; graph.nodes().len()];
    let mut computed = vec![false; graph.nodes().len()];
    for (id, node) in graph.iter() {
        known[id.index()] = !is_input(node) && node.inputs.iter().all(|i| known[i.index()]);
        computed[id.index()] = known[id.index()]
            && !is_leaf(node)
            && (!moves(node) || node.inputs.iter().any(|i| computed[i.index()]));
    }
    // Those that something unknown uses are written; the others were only on the way.
    let mut wanted = vec![false; graph.nodes().len()];
    for (_, node) in graph.iter().filter(|(id, _)| !computed[id.index()]) {
        node.inputs.iter().filter(|i| computed[i.index()]).for_each(|i| wanted[i.index()] = true);
    }
    for (_, id) in graph.outputs().iter().filter(|(_, id)| computed[id.index()]) {
        wanted[id.index()] = true;
    }
    let mut side = Copy::new(graph.name());
    for (id, node) in graph.iter().filter(|(id, _)| known[id.index()]) {
        side.copy(id, node)?;
        if wanted[id.index()] {
            side.b.output(&format!("folded/{}", id.index()), side.new[&id]);
        }
    }
    let side = without_unused(&side.b.finish())?;
    let values: HashMap<String, ArrayD<f32>> = reference::run(&side, given, &[])?
        .into_iter()
        .map(|(name, value)| (name, value.mapv(|v| v as f32)))
        .collect();
    let mut main = Copy::new(graph.name());
    for (id, node) in graph.iter() {
        let name = format!("folded/{}", id.index());
        match values.get(&name) {
            Some(value) => {
                let spec = ParamSpec { name, shape: value.shape().to_vec(), init: Init::Zeros };
                let new = main.b.primitive(Primitive::Param(spec), &[])?;
                main.new.insert(id, new);
            }
            None if computed[id.index()] => (),
            None => main.copy(id, node)?,
        }
    }
    Ok((main.finish(graph), values))
}

/// Nodes of one name and the same inputs, each with its operation.
type Alike<'a> = HashMap<(&'static str, Vec<NodeId>), Vec<(NodeId, &'a Op)>>;

/// The graph with one node in place of several that compute the same.
fn shared(graph: &Graph) -> Result<Graph, TidyError> {
    let mut main = Copy::new(graph.name());
    let mut seen: Alike<'_> = HashMap::new();
    for (id, node) in graph.iter() {
        let inputs = node.inputs.iter().map(|i| main.new[i]).collect();
        let alike = seen.entry((node.op.name(), inputs)).or_default();
        if let Some((same, _)) = alike.iter().find(|(_, op)| **op == node.op) {
            main.new.insert(id, *same);
            continue;
        }
        main.copy(id, node)?;
        alike.push((main.new[&id], &node.op));
    }
    Ok(main.finish(graph))
}

/// The graph without what no output needs, parameters included; inputs stay.
fn without_unused(graph: &Graph) -> Result<Graph, TidyError> {
    let mut used = vec![false; graph.nodes().len()];
    for (_, id) in graph.outputs() {
        used[id.index()] = true;
    }
    for (id, node) in graph.iter().rev() {
        used[id.index()] |= is_input(node);
        if used[id.index()] {
            node.inputs.iter().for_each(|i| used[i.index()] = true);
        }
    }
    let mut main = Copy::new(graph.name());
    for (id, node) in graph.iter().filter(|(id, _)| used[id.index()]) {
        main.copy(id, node)?;
    }
    Ok(main.finish(graph))
}

/// A graph that is copied node by node.
struct Copy {
    b: Builder,
    new: HashMap<NodeId, NodeId>,
}

impl Copy {
    fn new(name: &str) -> Self {
        Self { b: Builder::new(name), new: HashMap::new() }
    }

    fn copy(&mut self, id: NodeId, node: &Node) -> Result<(), GraphError> {
        let inputs: Vec<NodeId> = node.inputs.iter().map(|i| self.new[i]).collect();
        let new = self.b.at(&node.scope, |b| b.push(node.op.clone(), &inputs))?;
        self.new.insert(id, new);
        Ok(())
    }

    /// The copy, with the outputs of the original.
    fn finish(mut self, original: &Graph) -> Graph {
        for (name, id) in original.outputs() {
            self.b.output(name, self.new[id]);
        }
        self.b.finish()
    }
}
