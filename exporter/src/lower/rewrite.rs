//! A graph, copied with other nodes in place of some.

use anomalens_models::graph::{Builder, Graph, GraphError, Node, NodeId};

/// Copies a graph. `replace` is given each node, and what has become of any node before it; it says what takes the node's place, if
/// that is not a copy.
pub(super) fn rewritten(
    graph: &Graph,
    mut replace: impl FnMut(&mut Builder, &Node, &dyn Fn(NodeId) -> NodeId) -> Result<Option<NodeId>, GraphError>,
) -> Graph {
    let mut builder = Builder::new(graph.name());
    let mut new: Vec<NodeId> = Vec::with_capacity(graph.nodes().len());
    for (_, node) in graph.iter() {
        let at = |id: NodeId| new[id.index()];
        let id = builder.at(&node.scope, |b| match replace(b, node, &at)? {
            Some(id) => Ok(id),
            None => b.push(node.op.clone(), &node.inputs.iter().map(|id| at(*id)).collect::<Vec<_>>()),
        });
        new.push(id.expect("the values have the shapes that they had"));
    }
    for (name, id) in graph.outputs() {
        builder.output(name, new[id.index()]);
    }
    builder.finish()
}
