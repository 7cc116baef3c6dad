//! One graph for each primitive, and for each way that its rule takes.

use anomalens_models::graph::{Builder, Dim, GraphError, Init, NodeId, Primitive, Shape, Window};

pub(in super::super) type Build = fn(&mut Builder, NodeId, NodeId) -> Result<NodeId, GraphError>;

/// A graph of two inputs `[N, …]`; both are differentiated, one at a time.
pub(in super::super) struct Case {
    pub(in super::super) name: &'static str,
    pub(in super::super) x: &'static [usize],
    pub(in super::super) z: &'static [usize],
    pub(in super::super) build: Build,
}

pub(super) fn p(b: &mut Builder, op: Primitive, inputs: &[NodeId]) -> Result<NodeId, GraphError> {
    b.primitive(op, inputs)
}

/// 1.5 + x²: a positive value, for roots and divisors.
fn positive(b: &mut Builder, x: NodeId) -> Result<NodeId, GraphError> {
    let (square, shift) = (b.mul(x, x)?, b.scalar(1.5));
    b.add(square, shift)
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case { name: "Add", x: &[3, 2], z: &[3, 1], build: |b, x, z| b.add(x, z) },
        Case { name: "Sub", x: &[3, 2], z: &[1, 2], build: |b, x, z| b.sub(x, z) },
        Case { name: "Mul", x: &[3, 2], z: &[3, 1], build: |b, x, z| b.mul(x, z) },
        Case {
            name: "Mul by itself",
            x: &[3, 2],
            z: &[3, 1],
            build: |b, x, z| {
                let square = b.mul(x, x)?;
                b.mul(square, z)
            },
        },
        Case {
            name: "Mul of what is added up",
            x: &[3, 5],
            z: &[3, 1],
            build: |b, x, z| {
                let (square, scaled) = (b.mul(x, x)?, b.mul(x, z)?);
                let (squares, sum) = (b.sum(square, &[2])?, b.sum(scaled, &[2])?);
                let product = b.mul(squares, sum)?;
                b.mul(product, z)
            },
        },
        Case {
            name: "Div",
            x: &[3, 2],
            z: &[1, 2],
            build: |b, x, z| {
                let z = positive(b, z)?;
                b.div(x, z)
            },
        },
        Case {
            name: "Sqrt",
            x: &[5],
            z: &[1],
            build: |b, x, z| {
                let x = positive(b, x)?;
                let root = p(b, Primitive::Sqrt, &[x])?;
                b.mul(root, z)
            },
        },
        Case { name: "Sigmoid", x: &[5], z: &[1], build: |b, x, z| unary(b, Primitive::Sigmoid, x, z) },
        Case {
            name: "Mul by its own gate, which is used elsewhere",
            x: &[5],
            z: &[5],
            build: |b, x, z| {
                let gate = p(b, Primitive::Sigmoid, &[x])?;
                let silu = b.mul(gate, x)?;
                let (first, other) = (b.mul(silu, z)?, p(b, Primitive::Sigmoid, &[z])?);
                let (second, third) = (b.mul(gate, z)?, b.mul(z, other)?);
                let sum = b.add(first, second)?;
                b.add(sum, third)
            },
        },
        Case { name: "Relu", x: &[5], z: &[1], build: |b, x, z| unary(b, Primitive::Relu, x, z) },
        Case {
            name: "LeakyRelu",
            x: &[5],
            z: &[1],
            build: |b, x, z| unary(b, Primitive::LeakyRelu { slope: 0.2 }, x, z),
        },
        Case { name: "Abs", x: &[5], z: &[1], build: |b, x, z| unary(b, Primitive::Abs, x, z) },
        Case {
            name: "Log",
            x: &[5],
            z: &[1],
            build: |b, x, z| {
                let x = positive(b, x)?;
                unary(b, Primitive::Log, x, z)
            },
        },
        Case { name: "Erf", x: &[5], z: &[1], build: |b, x, z| unary(b, Primitive::Erf, x, z) },
        Case {
            name: "Pow",
            x: &[5],
            z: &[1],
            build: |b, x, z| {
                let x = positive(b, x)?;
                unary(b, Primitive::Pow { exponent: -1.5 }, x, z)
            },
        },
        Case {
            name: "Clip",
            x: &[9],
            z: &[1],
            build: |b, x, z| unary(b, Primitive::Clip { min: -0.5, max: 0.75 }, x, z),
        },
        Case { name: "Exp", x: &[5], z: &[1], build: |b, x, z| unary(b, Primitive::Exp, x, z) },
        Case { name: "Tanh", x: &[5], z: &[1], build: |b, x, z| unary(b, Primitive::Tanh, x, z) },
        Case { name: "Cos", x: &[5], z: &[1], build: |b, x, z| unary(b, Primitive::Cos, x, z) },
        Case { name: "Sin", x: &[5], z: &[1], build: |b, x, z| unary(b, Primitive::Sin, x, z) },
        Case {
            name: "Softmax",
            x: &[3, 5],
            z: &[1, 1],
            build: |b, x, z| unary(b, Primitive::Softmax { axis: 2 }, x, z),
        },
        Case {
            name: "LogSoftmax",
            x: &[3, 5],
            z: &[1, 1],
            build: |b, x, z| unary(b, Primitive::LogSoftmax { axis: 1 }, x, z),
        },
        Case {
            name: "Gemm",
            x: &[3],
            z: &[5],
            build: |b, x, z| {
                let (w, bias) = (b.param("w", &[5, 3], Init::Zeros), b.param("b", &[5], Init::Zeros));
                let y = p(b, Primitive::Gemm, &[x, w, bias])?;
                b.mul(y, z)
            },
        },
        Case { name: "MatMul", x: &[2, 3, 5], z: &[1, 5, 4], build: |b, x, z| b.matmul(x, z) },
        Case {
            name: "MatMul by a parameter",
            x: &[3, 5],
            z: &[1, 1],
            build: |b, x, z| {
                let w = b.param("w", &[4, 3], Init::Zeros);
                let y = b.matmul(w, x)?;
                b.mul(y, z)
            },
        },
        Case { name: "Conv", x: &[2, 5, 7], z: &[1, 1, 1], build: |b, x, z| convolution(b, x, z, 3, 1, 1) },
        Case {
            name: "Conv oblong, grouped, dilated",
            x: &[4, 7, 9],
            z: &[1, 1, 1],
            build: |b, x, z| {
                let (w, bias) = (b.param("w", &[6, 2, 3, 2], Init::Zeros), b.param("b", &[6], Init::Zeros));
                let y = p(b, Primitive::Conv { window: OBLONG, groups: 2 }, &[x, w, bias])?;
                b.mul(y, z)
            },
        },
        Case {
            name: "ConvTranspose oblong, grouped, dilated",
            x: &[6, 3, 3],
            z: &[1, 1, 1],
            build: |b, x, z| {
                let w = b.param("w", &[6, 2, 3, 2], Init::Zeros);
                let op = Primitive::ConvTranspose { window: OBLONG, groups: 2, output_padding: [1, 2] };
                let y = p(b, op, &[x, w])?;
                b.mul(y, z)
            },
        },
        Case {
            name: "Conv stride 2, odd",
            x: &[2, 5, 7],
            z: &[1, 1, 1],
            build: |b, x, z| convolution(b, x, z, 3, 2, 1),
        },
        Case {
            name: "Conv stride 2, even",
            x: &[2, 6, 8],
            z: &[1, 1, 1],
            build: |b, x, z| convolution(b, x, z, 3, 2, 1),
        },
        Case {
            name: "Conv kernel 1",
            x: &[2, 3, 5],
            z: &[1, 1, 1],
            build: |b, x, z| convolution(b, x, z, 1, 1, 0),
        },
        Case {
            name: "ConvTranspose",
            x: &[4, 3, 4],
            z: &[1, 1, 1],
            build: |b, x, z| {
                let w = b.param("w", &[4, 2, 3, 3], Init::Zeros);
                let op = Primitive::ConvTranspose {
                    window: Window::square(2, 1),
                    groups: 1,
                    output_padding: [1, 0],
                };
                let y = p(b, op, &[x, w])?;
                b.mul(y, z)
            },
        },
        Case {
            name: "AveragePool",
            x: &[2, 6, 4],
            z: &[1, 1, 1],
            build: |b, x, z| {
                let op = Primitive::AveragePool { kernel: [2; 2], window: Window::blocks([2; 2]) };
                unary(b, op, x, z)
            },
        },
        Case {
            name: "AveragePool overlapping, to one side",
            x: &[2, 7, 6],
            z: &[1, 1, 1],
            build: |b, x, z| {
                let window = Window { strides: [2, 1], pads: [1, 1, 0, 1], dilations: [1, 1] };
                unary(b, Primitive::AveragePool { kernel: [3, 2], window }, x, z)
            },
        },
        Case {
            name: "AveragePool that leaves a rest",
            x: &[2, 5, 7],
            z: &[1, 1, 1],
            build: |b, x, z| {
                let op = Primitive::AveragePool { kernel: [2; 2], window: Window::blocks([2; 2]) };
                unary(b, op, x, z)
            },
        },
        Case {
            name: "MaxPool overlapping",
            x: &[2, 7, 6],
            z: &[1, 1, 1],
            build: |b, x, z| {
                unary(b, Primitive::MaxPool { kernel: [3; 2], window: Window::square(2, 1) }, x, z)
            },
        },
        Case {
            name: "MaxPool oblong, dilated, to one side",
            x: &[2, 6, 7],
            z: &[1, 1, 1],
            build: |b, x, z| {
                let window = Window { strides: [1, 2], pads: [0, 1, 1, 2], dilations: [2, 1] };
                unary(b, Primitive::MaxPool { kernel: [2, 3], window }, x, z)
            },
        },
        Case {
            name: "MaxPool with steps beyond its window",
            x: &[2, 8, 9],
            z: &[1, 1, 1],
            build: |b, x, z| {
                unary(b, Primitive::MaxPool { kernel: [2; 2], window: Window::square(3, 0) }, x, z)
            },
        },
        Case {
            name: "Resize",
            x: &[2, 3, 2],
            z: &[1, 1, 1],
            build: |b, x, z| unary(b, Primitive::Resize { factor: 2 }, x, z),
        },
        Case {
            name: "Reshape",
            x: &[2, 6],
            z: &[3, 4],
            build: |b, x, z| {
                let x = b.reshape(x, Shape::batch(&[3, 4]))?;
                b.mul(x, z)
            },
        },
        Case {
            name: "Transpose",
            x: &[2, 3, 4],
            z: &[4, 2, 3],
            build: |b, x, z| {
                let x = p(b, Primitive::Transpose { perm: vec![0, 3, 1, 2] }, &[x])?;
                b.mul(x, z)
            },
        },
        Case {
            name: "Transpose of a product",
            x: &[2, 3, 5],
            z: &[2, 4, 5],
            build: |b, x, z| {
                let z = b.transpose_last(z)?;
                let y = b.matmul(x, z)?;
                let y = b.transpose_last(y)?;
                let y = b.matmul(y, x)?;
                b.mul(y, y)
            },
        },
        Case {
            name: "MatMul of a batch in the second place",
            x: &[3, 5],
            z: &[3, 4],
            build: |b, x, z| {
                let w = b.param("w", &[5, 4], Init::Zeros);
                let x = p(b, Primitive::Transpose { perm: vec![1, 0, 2] }, &[x])?;
                let y = b.matmul(x, w)?;
                let y = p(b, Primitive::Transpose { perm: vec![1, 0, 2] }, &[y])?;
                b.mul(y, z)
            },
        },
        Case {
            name: "Gemm of the batch and an axis as one",
            x: &[3, 5],
            z: &[3, 4],
            build: |b, x, z| {
                let (w, bias) = (b.param("w", &[4, 5], Init::Zeros), b.param("b", &[4], Init::Zeros));
                let x = b.reshape(x, rows(3, &[5]))?;
                let y = p(b, Primitive::Gemm, &[x, w, bias])?;
                let y = b.reshape(y, Shape::batch(&[3, 4]))?;
                b.mul(y, z)
            },
        },
        Case {
            name: "Add of a value that lacks an axis",
            x: &[5],
            z: &[3, 5],
            build: |b, x, z| {
                let z = p(b, Primitive::Transpose { perm: vec![1, 0, 2] }, &[z])?;
                let y = b.add(x, z)?;
                let y = b.mul(y, y)?;
                p(b, Primitive::Transpose { perm: vec![1, 0, 2] }, &[y])
            },
        },
        Case {
            name: "Concat",
            x: &[2, 3],
            z: &[4, 3],
            build: |b, x, z| {
                let y = b.concat(&[x, z, x], 1)?;
                b.mul(y, y)
            },
        },
        Case {
            name: "Slice",
            x: &[5, 3],
            z: &[2, 3],
            build: |b, x, z| {
                let x = b.slice(x, 1, 2, 4)?;
                b.mul(x, z)
            },
        },
        Case {
            name: "Slice by steps",
            x: &[9, 3],
            z: &[3, 3],
            build: |b, x, z| {
                let x = p(b, Primitive::Slice { axis: 1, start: 1, end: 8, step: 3 }, &[x])?;
                b.mul(x, z)
            },
        },
        Case {
            name: "Pad",
            x: &[2, 3],
            z: &[5, 3],
            build: |b, x, z| {
                let x = p(b, Primitive::Pad { axis: 1, before: 1, after: 2, value: 0.5 }, &[x])?;
                b.mul(x, z)
            },
        },
        Case {
            name: "Expand",
            x: &[2, 1],
            z: &[2, 5],
            build: |b, x, z| {
                let x = p(b, Primitive::Expand { shape: Shape::batch(&[2, 5]) }, &[x])?;
                b.mul(x, z)
            },
        },
        Case {
            name: "ReduceSum",
            x: &[3, 5],
            z: &[1, 1],
            build: |b, x, z| unary(b, Primitive::ReduceSum { axes: vec![1, 2] }, x, z),
        },
        Case {
            name: "ReduceMean",
            x: &[3, 5],
            z: &[3, 1],
            build: |b, x, z| unary(b, Primitive::ReduceMean { axes: vec![2] }, x, z),
        },
        Case {
            name: "ReduceMax",
            x: &[3, 5],
            z: &[3, 1],
            build: |b, x, z| unary(b, Primitive::ReduceMax { axes: vec![2] }, x, z),
        },
    ]
}

/// Different in every direction and on every side; 7 × 9 pixels leave a rest of one row and two columns.
const OBLONG: Window = Window { strides: [2, 3], pads: [1, 0, 2, 1], dilations: [2, 1] };

/// So many rows a sample, of these lengths.
pub(in super::super) fn rows(each: usize, rest: &[usize]) -> Shape {
    Shape::batch(rest).with(0, Dim::times(each))
}

/// z · op(x)², so that the cotangent that reaches the rule is not constant.
pub(in super::super) fn unary(
    b: &mut Builder,
    op: Primitive,
    x: NodeId,
    z: NodeId,
) -> Result<NodeId, GraphError> {
    let y = p(b, op, &[x])?;
    let square = b.mul(y, y)?;
    b.mul(square, z)
}

fn convolution(
    b: &mut Builder,
    x: NodeId,
    z: NodeId,
    kernel: usize,
    stride: usize,
    pad: usize,
) -> Result<NodeId, GraphError> {
    let (w, bias) = (b.param("w", &[4, 2, kernel, kernel], Init::Zeros), b.param("b", &[4], Init::Zeros));
    let y = p(b, Primitive::Conv { window: Window::square(stride, pad), groups: 1 }, &[x, w, bias])?;
    b.mul(y, z)
}
