//! Describe: the reader that counts. Parameters, multiply-adds and memory, layer by layer.

use super::{Graph, Node, Op, Primitive};

/// One layer: all nodes of one place in the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// The place, e.g. `input_blocks.1.0`.
    pub scope: String,
    /// Shape of the layer's last value.
    pub output: String,
    /// Scalar parameters.
    pub params: usize,
    /// Multiply-adds a sample.
    pub macs: u64,
    /// Bytes of all values that the layer makes, a sample, in f32.
    pub bytes: u64,
}

/// What a graph holds and costs, a sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// The layers in order.
    pub layers: Vec<Layer>,
    /// Scalar parameters.
    pub params: usize,
    /// Multiply-adds of convolutions and matrix products.
    pub macs: u64,
    /// Bytes of all values, in f32: what training has to keep.
    pub activation_bytes: u64,
    /// The most bytes alive at once when values are freed after their last use: what inference needs.
    pub peak_bytes: u64,
}

/// Counts a graph layer by layer. A layer is a module of the reference, e.g. one residual block.
pub fn describe(graph: &Graph) -> Description {
    let graph = graph.expanded();
    let mut layers: Vec<Layer> = Vec::new();
    for (_, node) in graph.iter() {
        let scope = layer_of(&node.scope);
        if layers.last().is_none_or(|l| l.scope != scope) {
            layers.push(Layer { scope, output: String::new(), params: 0, macs: 0, bytes: 0 });
        }
        let layer = layers.last_mut().expect("pushed above");
        if let Op::Primitive(Primitive::Param(spec)) = &node.op {
            layer.params += spec.shape.iter().product::<usize>();
            continue;
        }
        layer.output = node.ty.to_string();
        layer.macs += macs(&graph, node);
        layer.bytes += bytes(node);
    }
    Description {
        params: graph.param_count(),
        macs: layers.iter().map(|l| l.macs).sum(),
        activation_bytes: layers.iter().map(|l| l.bytes).sum(),
        peak_bytes: peak(&graph),
        layers,
    }
}

/// `input_blocks.1.0.in_layers.2` is part of the layer `input_blocks.1.0`; what stands outside all modules are the
/// inputs.
fn layer_of(scope: &str) -> String {
    let parts: Vec<&str> = scope.split('.').collect();
    let depth = match parts.first() {
        Some(&"input_blocks" | &"output_blocks") => 3,
        Some(&"middle_block" | &"out") => 2,
        _ => 1,
    };
    parts[..depth.min(parts.len())].join(".")
}

/// Bytes of a node's value, a sample, in f32. Reshaping is free; leaves other than inputs are not activations.
fn bytes(node: &Node) -> u64 {
    use Primitive as P;
    match &node.op {
        Op::Primitive(P::Param(_) | P::Constant(_) | P::Reshape { .. }) => 0,
        _ if node.ty.shape.open().is_none() => 0,
        _ => 4 * node.ty.shape.sample_elements() as u64,
    }
}

fn peak(graph: &Graph) -> u64 {
    let last = graph.last_uses();
    let (mut alive, mut most) = (0, 0);
    for (id, node) in graph.iter() {
        alive += bytes(node);
        most = most.max(alive);
        let mut used: Vec<usize> = node.inputs.iter().chain([&id]).map(|i| i.index()).collect();
        used.sort_unstable();
        used.dedup();
        for i in used {
            if last[i] == id.index() {
                alive -= bytes(&graph.nodes()[i]);
            }
        }
    }
    most
}

/// Multiply-adds of one node, a sample: convolutions and matrix products.
fn macs(graph: &Graph, node: &Node) -> u64 {
    use Primitive as P;
    let Op::Primitive(op) = &node.op else { unreachable!("the graph was expanded") };
    let elements = |i: usize| graph.node(node.inputs[i]).ty.shape.sample_elements() as u64;
    let len = |i: usize, axis: usize| graph.node(node.inputs[i]).ty.shape.len(axis).unwrap_or(1) as u64;
    let out = node.ty.shape.sample_elements() as u64;
    match op {
        // Every output element is a sum over the input channels and the kernel.
        P::Conv { .. } => out * elements(1) / len(1, 0),
        P::ConvTranspose { .. } => elements(0) * elements(1) / len(1, 0),
        P::Gemm => out * len(1, 1),
        P::MatMul => {
            let inner = graph.node(node.inputs[0]).ty.shape.rank() - 1;
            out * len(0, inner)
        }
        P::Input { .. }
        | P::Param(_)
        | P::Constant(_)
        | P::Cast
        | P::Add
        | P::Sub
        | P::Mul
        | P::Div
        | P::Sqrt
        | P::Sigmoid
        | P::Relu
        | P::LeakyRelu { .. }
        | P::Exp
        | P::Tanh
        | P::Sign
        | P::Cos
        | P::Sin
        | P::Abs
        | P::Log
        | P::Erf
        | P::Pow { .. }
        | P::Clip { .. }
        | P::Softmax { .. }
        | P::LogSoftmax { .. }
        | P::InstanceNormalization { .. }
        | P::MaxPool { .. }
        | P::AveragePool { .. }
        | P::Resize { .. }
        | P::Reshape { .. }
        | P::Transpose { .. }
        | P::Concat { .. }
        | P::Slice { .. }
        | P::Pad { .. }
        | P::Expand { .. }
        | P::ReduceSum { .. }
        | P::ReduceMean { .. }
        | P::ReduceMax { .. }
        | P::Gather
        | P::OneHot { .. } => 0,
    }
}
