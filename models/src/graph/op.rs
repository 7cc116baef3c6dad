//! The operations: primitives with ONNX names, and composites that are made of them.

use super::{Composite, ParamSpec, Shape, TensorType, Window};

/// What a node does.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// Known to every reader.
    Primitive(Primitive),
    /// Made of primitives.
    Composite(Composite),
}

/// A constant of floating-point values, row by row.
#[derive(Debug, Clone, PartialEq)]
pub struct Constant {
    /// Shape, without batch.
    pub shape: Vec<usize>,
    /// As many values as the shape says.
    pub values: Vec<f32>,
}

/// The operations that every reader knows, by their ONNX names and with ONNX's meaning, except that attributes
/// which networks of this family never vary are left out.
#[derive(Debug, Clone, PartialEq)]
pub enum Primitive {
    /// An input of the network.
    Input {
        /// Its name.
        name: String,
        /// Its type.
        ty: TensorType,
    },
    /// A parameter, listed in [`super::Graph::params`].
    Param(ParamSpec),
    /// A value known when the network is built.
    Constant(Constant),
    /// Integer to floating point.
    Cast,
    /// a + b, broadcast.
    Add,
    /// a − b, broadcast.
    Sub,
    /// a · b, broadcast.
    Mul,
    /// a / b, broadcast.
    Div,
    /// √x.
    Sqrt,
    /// 1 / (1 + e^−x).
    Sigmoid,
    /// max(x, 0).
    Relu,
    /// x above 0, slope · x below.
    LeakyRelu {
        /// The slope, in [0, 1).
        slope: f32,
    },
    /// e^x.
    Exp,
    /// tanh x.
    Tanh,
    /// 1 above 0, −1 below, 0 at 0.
    Sign,
    /// cos x.
    Cos,
    /// sin x.
    Sin,
    /// |x|.
    Abs,
    /// ln x.
    Log,
    /// 2/√π ∫₀ˣ e^−t² dt.
    Erf,
    /// x to a fixed power.
    Pow {
        /// The power.
        exponent: f32,
    },
    /// x, but not below `min` nor above `max`.
    Clip {
        /// The least value; −∞ for none.
        min: f32,
        /// The greatest value, not below `min`; ∞ for none.
        max: f32,
    },
    /// e^x / Σ e^x over one axis.
    Softmax {
        /// The axis.
        axis: usize,
    },
    /// x − log Σ e^x over one axis.
    LogSoftmax {
        /// The axis.
        axis: usize,
    },
    /// (x − mean) / √(variance + eps) over all axes but the first two of `[N, C, …]`; no scale, no shift.
    InstanceNormalization {
        /// Added to the variance.
        epsilon: f32,
    },
    /// x Wᵀ + b: `[N, I]`, `[O, I]`, `[O]` → `[N, O]`.
    Gemm,
    /// Matrix product over the last two axes, the others broadcast.
    MatMul,
    /// Two-dimensional convolution with bias: `[N, I, H, W]`, `[O, I / groups, k, l]`, `[O]` → `[N, O, H', W']`.
    Conv {
        /// How it moves.
        window: Window,
        /// Parts of the channels that do not see each other.
        groups: usize,
    },
    /// The adjoint of [`Primitive::Conv`] without bias: `[N, O, H', W']`, `[O, I / groups, k, l]` → `[N, I, H, W]`.
    ConvTranspose {
        /// How the convolution moves.
        window: Window,
        /// Parts of the channels that do not see each other.
        groups: usize,
        /// Rows and columns to add at the end, where the convolution's stride dropped some.
        output_padding: [usize; 2],
    },
    /// Greatest value of each window; the border is never it: `[N, C, H, W]` → `[N, C, H', W']`.
    MaxPool {
        /// Places of the window: rows, columns.
        kernel: [usize; 2],
        /// How it moves.
        window: Window,
    },
    /// Mean of each window, the border's zeros counted: `[N, C, H, W]` → `[N, C, H', W']`.
    AveragePool {
        /// Places of the window: rows, columns.
        kernel: [usize; 2],
        /// How it moves; dense.
        window: Window,
    },
    /// Nearest-neighbour enlargement by a whole factor: `[N, C, H, W]` → `[N, C, H · factor, W · factor]`.
    Resize {
        /// The factor.
        factor: usize,
    },
    /// The same elements in another shape.
    Reshape {
        /// The new shape.
        shape: Shape,
    },
    /// Axes in another order.
    Transpose {
        /// `perm[i]` is the input axis that becomes axis i.
        perm: Vec<usize>,
    },
    /// Inputs one behind the other along an axis that is not the batch.
    Concat {
        /// The axis.
        axis: usize,
    },
    /// Every `step`-th of the elements `start..end` of an axis that is not the batch.
    Slice {
        /// The axis.
        axis: usize,
        /// First element.
        start: usize,
        /// One past the last element.
        end: usize,
        /// From one element to the next; at least 1.
        step: usize,
    },
    /// One value before and after an axis that is not the batch.
    Pad {
        /// The axis.
        axis: usize,
        /// How often before.
        before: usize,
        /// How often after.
        after: usize,
        /// The value, mostly 0.
        value: f32,
    },
    /// Axes of length 1 repeated to a length; the batch stays.
    Expand {
        /// The new shape.
        shape: Shape,
    },
    /// Sum over axes that are not the batch; they stay with length 1.
    ReduceSum {
        /// The axes.
        axes: Vec<usize>,
    },
    /// Mean over axes that are not the batch; they stay with length 1.
    ReduceMean {
        /// The axes.
        axes: Vec<usize>,
    },
    /// Greatest value over axes that are not the batch; they stay with length 1.
    ReduceMax {
        /// The axes.
        axes: Vec<usize>,
    },
    /// Rows of a table by index: `[K, D]`, `[N]` integer → `[N, D]`.
    Gather,
    /// `[N]` integer → `[N, depth]`, 1 at the index and 0 elsewhere.
    OneHot {
        /// The number of classes.
        depth: usize,
    },
}

impl Primitive {
    /// The ONNX operator (or `Input`, `Param`, `Constant` for the three sorts of leaves).
    pub fn name(&self) -> &'static str {
        match self {
            Self::Input { .. } => "Input",
            Self::Param(_) => "Param",
            Self::Constant(_) => "Constant",
            Self::Cast => "Cast",
            Self::Add => "Add",
            Self::Sub => "Sub",
            Self::Mul => "Mul",
            Self::Div => "Div",
            Self::Sqrt => "Sqrt",
            Self::Sigmoid => "Sigmoid",
            Self::Relu => "Relu",
            Self::LeakyRelu { .. } => "LeakyRelu",
            Self::Exp => "Exp",
            Self::Tanh => "Tanh",
            Self::Sign => "Sign",
            Self::Cos => "Cos",
            Self::Sin => "Sin",
            Self::Abs => "Abs",
            Self::Log => "Log",
            Self::Erf => "Erf",
            Self::Pow { .. } => "Pow",
            Self::Clip { .. } => "Clip",
            Self::Softmax { .. } => "Softmax",
            Self::LogSoftmax { .. } => "LogSoftmax",
            Self::InstanceNormalization { .. } => "InstanceNormalization",
            Self::Gemm => "Gemm",
            Self::MatMul => "MatMul",
            Self::Conv { .. } => "Conv",
            Self::ConvTranspose { .. } => "ConvTranspose",
            Self::MaxPool { .. } => "MaxPool",
            Self::AveragePool { .. } => "AveragePool",
            Self::Resize { .. } => "Resize",
            Self::Reshape { .. } => "Reshape",
            Self::Transpose { .. } => "Transpose",
            Self::Concat { .. } => "Concat",
            Self::Slice { .. } => "Slice",
            Self::Pad { .. } => "Pad",
            Self::Expand { .. } => "Expand",
            Self::ReduceSum { .. } => "ReduceSum",
            Self::ReduceMean { .. } => "ReduceMean",
            Self::ReduceMax { .. } => "ReduceMax",
            Self::Gather => "Gather",
            Self::OneHot { .. } => "OneHot",
        }
    }
}

impl Op {
    /// The operator's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Primitive(p) => p.name(),
            Self::Composite(c) => c.name(),
        }
    }
}
