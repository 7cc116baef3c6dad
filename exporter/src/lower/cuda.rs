//! Lowering for ONNX Runtime's CUDA provider.
//!
//! Its kernels for group norm are `com.microsoft.GroupNorm` and `SkipGroupNorm`, for images with the channels last, and
//! ONNX Runtime never puts them into a graph by itself: its fusions of them are offline scripts. Convolutions take the same
//! layout as `com.microsoft.NhwcConv`, so images stay that way from the first convolution to the last.
//!
//! ```text
//! Conv ─> + embedding ─> GroupNorm ─> SiLU ─> Conv      NhwcConv ─> SkipGroupNorm(activation = 1) ─> NhwcConv
//!   residual ─> + ─> GroupNorm ─> SiLU                    the same; its second value is the sum, which others use too
//! ```
//!
//! Contracts (ONNX Runtime 1.31, `diffusion_defs.cc` and its CUDA kernels): images of rank 4, gamma and beta f32, an even
//! number of channels a group; the skip is as large as the image, or `[N, C]`. `NhwcConv` wants its weights as
//! `[O, k, k, I]`: the transposition of a stored tensor is done once, when the graph is loaded.

use std::collections::{HashMap, HashSet};

use anomalens_models::graph::{Composite, Dim, Graph, Node, NodeId, Op, Primitive, Shape, Window};

use super::form::{Form, Layout};
use super::proto::{float, int};
use super::{Lowered, is_within, ops};

/// The domain of ONNX Runtime's own operators.
pub(super) const DOMAIN: &str = "com.microsoft";
/// Its version.
pub(super) const DOMAIN_VERSION: i64 = 1;
/// ONNX operator set: the newest that every version of the provider has all kernels for. Its kernels are registered for one version
/// of an operator each, and those of `Pad` for sets 19 to 21 came late (microsoft/onnxruntime issue 26393); without one a node goes
/// to the processor, and a whole step could not be recorded. What is written means the same in both sets.
pub(super) const OPSET: i64 = 18;
/// The most groups that the kernel takes in every version of ONNX Runtime that has it.
const MOST_GROUPS: usize = 32;

/// The graph with those composites whole that are lowered whole; none below the `plain` scopes.
pub(super) fn expanded(graph: &Graph, plain: &[&str]) -> Graph {
    graph.expanded_but(|node| match &node.op {
        _ if is_within(&node.scope, plain) => false,
        Op::Composite(Composite::Silu) => true,
        Op::Composite(Composite::GroupNorm { groups, .. }) => {
            let shape = &node.ty.shape;
            let even = shape.len(1).is_some_and(|channels| channels.is_multiple_of(2 * groups));
            even && *groups <= MOST_GROUPS && matches!(shape.rank(), 3 | 4)
        }
        Op::Composite(Composite::Attention | Composite::TimestepEmbedding { .. }) | Op::Primitive(_) => false,
    })
}

/// Which nodes become part of a group norm's kernel.
#[derive(Default)]
pub(super) struct Fusion {
    /// Of a norm: the SiLU that alone uses it.
    silu: HashMap<NodeId, NodeId>,
    /// Of a norm: the sum that it is the first to use.
    sum: HashMap<NodeId, Sum>,
    /// Nodes that are written together with a norm.
    absorbed: HashSet<NodeId>,
}

/// image + skip.
struct Sum {
    value: NodeId,
    image: NodeId,
    /// As large as the image, or `[N, C]`, or `[N, C, 1, 1]`.
    skip: NodeId,
    /// Whether anything but the norm uses the sum.
    used: bool,
}

impl Fusion {
    pub(super) fn plan(graph: &Graph) -> Self {
        let mut users: Vec<Vec<NodeId>> = vec![vec![]; graph.nodes().len()];
        for (id, node) in graph.iter() {
            node.inputs.iter().for_each(|i| users[i.index()].push(id));
        }
        let is_output = |id: NodeId| graph.outputs().iter().any(|(_, output)| *output == id);
        let mut plan = Self::default();
        for (id, node) in graph.iter() {
            let Op::Composite(Composite::GroupNorm { .. }) = node.op else { continue };
            if let [user] = users[id.index()][..]
                && graph.node(user).op == Op::Composite(Composite::Silu)
                && !is_output(id)
            {
                plan.silu.insert(id, user);
                plan.absorbed.insert(user);
            }
            let value = node.inputs[0];
            let Some((image, mut skip)) = summands(graph, value) else { continue };
            // A sum that something else wants before the norm is written by itself.
            if users[value.index()].first() != Some(&id) {
                continue;
            }
            let source = graph.node(skip).inputs.first().copied();
            if let (Op::Primitive(Primitive::Reshape { .. }), Some(source)) = (&graph.node(skip).op, source)
                && graph.node(source).ty.shape.rank() == 2
                && users[skip.index()] == [value]
                && !is_output(skip)
            {
                plan.absorbed.insert(skip);
                skip = source;
            }
            plan.absorbed.insert(value);
            let used = users[value.index()].len() > 1 || is_output(value);
            plan.sum.insert(id, Sum { value, image, skip, used });
        }
        plan
    }
}

/// The two sides of a sum of images, the one that has the sum's shape first; `None` for anything else.
fn summands(graph: &Graph, id: NodeId) -> Option<(NodeId, NodeId)> {
    let node = graph.node(id);
    let (Op::Primitive(Primitive::Add), &[a, b]) = (&node.op, &node.inputs[..]) else { return None };
    let shape = |id: NodeId| &graph.node(id).ty.shape;
    let sum = &node.ty.shape;
    let skips = |s: &Shape| s == sum || *s == sum.with(2, Dim::Len(1)).with(3, Dim::Len(1));
    if sum.rank() != 4 {
        None
    } else if shape(a) == sum && skips(shape(b)) {
        Some((a, b))
    } else if shape(b) == sum && skips(shape(a)) {
        Some((b, a))
    } else {
        None
    }
}

/// Writes one node that is not a parameter.
pub(super) fn lower(out: &mut Lowered<'_>, fusion: &Fusion, id: NodeId, node: &Node) {
    if fusion.absorbed.contains(&id) {
        return;
    }
    match &node.op {
        Op::Primitive(op) => primitive(out, id, node, op),
        Op::Composite(Composite::GroupNorm { groups, epsilon }) => {
            group_norm(out, fusion, id, node, *groups, *epsilon);
        }
        Op::Composite(Composite::Silu) => {
            let form = out.form(node.inputs[0]);
            let x = out.operand(node.inputs[0], form);
            let y = out.make(id, form);
            let gate = format!("{y}:gate");
            out.node("", "Sigmoid", vec![x.clone()], vec![gate.clone()], vec![]);
            out.node("", "Mul", vec![x, gate], vec![y], vec![]);
        }
        Op::Composite(Composite::Attention | Composite::TimestepEmbedding { .. }) => {
            unreachable!("expanded: see `expanded`")
        }
    }
}

fn group_norm(out: &mut Lowered<'_>, fusion: &Fusion, id: NodeId, node: &Node, groups: usize, epsilon: f32) {
    let form = Form::last(out.precision);
    let [gamma, beta] = [1, 2].map(|i| out.operand(node.inputs[i], Form::PLAIN));
    let silu = fusion.silu.get(&id);
    let attributes = vec![
        int("activation", i64::from(silu.is_some())),
        int("channels_last", 1),
        float("epsilon", epsilon),
        int("groups", groups as i64),
    ];
    let result = *silu.unwrap_or(&id);
    if let Some(sum) = fusion.sum.get(&id) {
        let x = out.operand(sum.image, form);
        // `[N, C]` has no layout.
        let flat = out.graph.node(sum.skip).ty.shape.rank() == 2;
        let skip = out.operand(sum.skip, if flat { Form::first(out.precision) } else { form });
        let mut outputs = vec![out.make(result, form)];
        if sum.used {
            outputs.push(out.make(sum.value, form));
        }
        out.node(DOMAIN, "SkipGroupNorm", vec![x, gamma, beta, skip], outputs, attributes);
        return;
    }
    let x = out.operand(node.inputs[0], form);
    let y = out.make(result, form);
    match &node.ty.shape {
        shape if shape.rank() == 4 => {
            out.node(DOMAIN, "GroupNorm", vec![x, gamma, beta], vec![y], attributes);
        }
        // A sequence [N, L, C] goes in as an image [N, L, 1, C].
        shape => {
            let (channels, length) = (shape.len(1).unwrap_or(0) as i64, shape.len(2).unwrap_or(0) as i64);
            let (wide, normal) = (format!("{y}:image"), format!("{y}:normal"));
            let target = out.integers(&[0, length, 1, channels]);
            out.node("", "Reshape", vec![x, target], vec![wide.clone()], vec![]);
            out.node(DOMAIN, "GroupNorm", vec![wide, gamma, beta], vec![normal.clone()], attributes);
            let target = out.integers(&[0, length, channels]);
            out.node("", "Reshape", vec![normal, target], vec![y], vec![]);
        }
    }
}

/// Writes a primitive with the channels last where its operands are so, or where its kernel is better for it.
fn primitive(out: &mut Lowered<'_>, id: NodeId, node: &Node, op: &Primitive) {
    use Primitive as P;
    let rank = node.ty.shape.rank();
    let form = Form::last(out.computes_in(node));
    let is_last = node.inputs.iter().any(|&i| out.form(i).layout == Layout::Last);
    let operand = |out: &mut Lowered<'_>, i: usize| out.operand(node.inputs[i], form);
    match op {
        P::Conv { window, groups: 1 } => {
            let (x, weight) = (operand(out, 0), operand(out, 1));
            let bias = out.operand(node.inputs[2], Form::first(form.precision));
            let attributes = ops::convolution(out, node, window, 1);
            let y = out.make(id, form);
            out.node(DOMAIN, "NhwcConv", vec![x, weight, bias], vec![y], attributes);
        }
        P::Add | P::Sub | P::Mul | P::Div if is_last && rank >= 3 && broadcasts(out, node) => {
            let inputs = node.inputs.iter().map(|&i| match out.graph.node(i).ty.shape.rank() {
                r if r == rank => out.operand(i, form),
                _ => out.operand(i, Form::first(form.precision)),
            });
            let inputs = inputs.collect();
            let y = out.make(id, form);
            out.node("", op.name(), inputs, vec![y], vec![]);
        }
        P::Sqrt | P::Sigmoid | P::Relu | P::Exp | P::Tanh | P::Sign | P::Cos | P::Sin if is_last => {
            let (x, y) = (operand(out, 0), out.make(id, form));
            out.node("", op.name(), vec![x], vec![y], vec![]);
        }
        P::Concat { axis } if is_last => {
            let inputs = (0..node.inputs.len()).map(|i| operand(out, i)).collect();
            let axis = if *axis == 1 { rank - 1 } else { axis - 1 };
            let y = out.make(id, form);
            out.node("", "Concat", inputs, vec![y], vec![int("axis", axis as i64)]);
        }
        P::Resize { factor } if is_last => {
            let f = *factor as f32;
            let scales = out.floats(format!("const/scales_last[{factor}]"), &[4], &[1.0, f, f, 1.0]);
            let (x, y) = (operand(out, 0), out.make(id, form));
            out.node("", "Resize", vec![x, String::new(), scales], vec![y], ops::nearest());
        }
        // There is no pooling of images with the channels last but as blocks [N, H', k, W', l, C].
        P::AveragePool { kernel, window } if is_last && are_blocks(out, node, *kernel, window) => {
            let [channels, height, width] = [1, 2, 3].map(|axis| node.ty.shape.len(axis).unwrap_or(0) as i64);
            let [rows, cols] = kernel.map(|side| side as i64);
            let (x, y) = (operand(out, 0), out.make(id, form));
            let blocks = format!("{y}:blocks");
            let target = out.integers(&[0, height, rows, width, cols, channels]);
            let axes = out.integers(&[2, 4]);
            out.node("", "Reshape", vec![x, target], vec![blocks.clone()], vec![]);
            out.node("", "ReduceMean", vec![blocks, axes], vec![y], vec![int("keepdims", 0)]);
        }
        P::Reshape { shape } if is_last && keeps_channels(out, node, shape) => {
            let channels = shape.len(1).unwrap_or(0) as i64;
            let middle = (2..rank).map(|axis| shape.len(axis).unwrap_or(0) as i64);
            let target: Vec<i64> = std::iter::once(0).chain(middle).chain([channels]).collect();
            let target = out.integers(&target);
            let (x, y) = (operand(out, 0), out.make(id, form));
            out.node("", "Reshape", vec![x, target], vec![y], vec![]);
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
        | P::Gemm
        | P::MatMul
        | P::Conv { .. }
        | P::ConvTranspose { .. }
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
        | P::OneHot { .. } => ops::lower(out, id, node, op),
    }
}

/// Whether operands of this shape broadcast with the channels last as they do with the channels first: all of the
/// result's rank, or of one element.
fn broadcasts(out: &Lowered<'_>, node: &Node) -> bool {
    node.inputs.iter().all(|&i| {
        let shape = &out.graph.node(i).ty.shape;
        shape.rank() == node.ty.shape.rank() || (shape.rank() <= 1 && shape.sample_elements() == 1)
    })
}

/// Whether a pooling takes neighbouring blocks that cover the image.
fn are_blocks(out: &Lowered<'_>, node: &Node, kernel: [usize; 2], window: &Window) -> bool {
    let image = &out.graph.node(node.inputs[0]).ty.shape;
    let whole = |direction: usize| {
        let len = |shape: &Shape| shape.len(2 + direction).unwrap_or(0);
        len(image) == len(&node.ty.shape) * kernel[direction]
    };
    *window == Window::blocks(kernel) && whole(0) && whole(1)
}

/// Whether a new shape changes the image's axes alone.
fn keeps_channels(out: &Lowered<'_>, node: &Node, shape: &Shape) -> bool {
    let from = &out.graph.node(node.inputs[0]).ty.shape;
    from.rank() >= 3 && shape.rank() >= 3 && from.has_batch() && from.dims()[..2] == shape.dims()[..2]
}
