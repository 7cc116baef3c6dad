//! The gradient table: one rule a primitive, easy ones first, and a reason where there is none.
//!
//! Notation: g is the cotangent of the value y that a node made; a rule returns the cotangent of one operand.

use anomalens_models::graph::{Builder, GraphError, NodeId, Op, Primitive, Shape, Window, last_exchanged};

use super::{GradientError, Step, pool};

/// Integers and the leaves that are not inputs.
const INTEGER: &str = "its operand is an integer";
const STEP: &str = "it is constant wherever it has a derivative";
const OPENED: &str = "its steps stand in its place before anything is differentiated";
const LEAF: &str = "it has no operands";
const PARAMETER: &str = "the operand is a parameter, and this is the gradient of an input";
const UNBATCHED: &str = "the operand has no batch, so it cannot depend on an input";

/// The cotangent of operand `i`.
pub(super) fn rule(b: &mut Builder, step: &Step<'_>, i: usize) -> Result<NodeId, GradientError> {
    use Primitive as P;
    let Step { op, inputs, output: y, g, .. } = *step;
    let none = |why| {
        Err(GradientError::NotDifferentiable { scope: step.scope.into(), op: op.name(), operand: i, why })
    };
    let x = |i: usize| inputs[i];
    let shape = |b: &Builder, i: usize| b.shape(inputs[i]).clone();
    Ok(match op {
        P::Input { .. } | P::Param(_) | P::Constant(_) => return none(LEAF),
        P::Cast | P::Gather | P::OneHot { .. } => return none(INTEGER),
        P::Sign => return none(STEP),
        P::InstanceNormalization { .. } => return none(OPENED),

        P::Add => return unbroadcast(b, step, g, i),
        P::Sub if i == 0 => return unbroadcast(b, step, g, i),
        P::Sub => {
            let sum = unbroadcast(b, step, g, i)?;
            scaled(b, sum, -1.0)?
        }
        // d x σ(x) = (σ + y (1 − σ)) dx: both of its ways to x.
        P::Mul if is_gate(b, op, inputs, 1 - i) => {
            let one = b.scalar(1.0);
            let rest = b.sub(one, x(1 - i))?;
            let part = b.mul(y, rest)?;
            let slope = b.add(x(1 - i), part)?;
            b.mul(g, slope)?
        }
        // d x² = 2x dx: both of its ways to x.
        P::Mul if x(0) == x(1) => {
            let g = unexpanded(b, g, x(0));
            let twice = scaled(b, g, 2.0)?;
            b.mul(twice, x(0))?
        }
        P::Mul => {
            let g = unexpanded(b, g, x(1 - i));
            let product = b.mul(g, x(1 - i))?;
            return unbroadcast(b, step, product, i);
        }
        // d(a/b) = da/b − (a/b)·db/b.
        P::Div => {
            let quotient = b.div(g, x(1))?;
            let part = if i == 0 {
                quotient
            } else {
                let part = b.mul(quotient, y)?;
                b.scale(part, -1.0)?
            };
            return unbroadcast(b, step, part, i);
        }
        // d√x = dx / 2√x.
        P::Sqrt => {
            let quotient = b.div(g, y)?;
            scaled(b, quotient, 0.5)?
        }
        // dσ = σ(1 − σ) dx = (σ − σ²) dx.
        P::Sigmoid => {
            let square = b.mul(y, y)?;
            let slope = b.sub(y, square)?;
            b.mul(g, slope)?
        }
        // d max(x, 0) = dx where x > 0, and there alone y is positive.
        P::Relu => {
            let positive = b.primitive(P::Sign, &[y])?;
            b.mul(g, positive)?
        }
        // The slope is 1 where x > 0, s where x < 0: (1 + s)/2 + (1 − s)/2 · sign x.
        P::LeakyRelu { slope } => {
            let slope = f64::from(*slope);
            let sign = b.primitive(P::Sign, &[x(0)])?;
            let half = b.scale(sign, 0.5 * (1.0 - slope))?;
            let middle = b.scalar(0.5 * (1.0 + slope));
            let slope = b.add(half, middle)?;
            b.mul(g, slope)?
        }
        P::Exp => b.mul(g, y)?,
        // d tanh x = (1 − tanh² x) dx.
        P::Tanh => {
            let square = b.mul(y, y)?;
            let part = b.mul(g, square)?;
            b.sub(g, part)?
        }
        P::Abs => {
            let sign = b.primitive(P::Sign, &[x(0)])?;
            b.mul(g, sign)?
        }
        P::Log => b.div(g, x(0))?,
        // d erf x = 2/√π e^−x² dx.
        P::Erf => {
            let square = b.mul(x(0), x(0))?;
            let minus = b.scale(square, -1.0)?;
            let bell = b.primitive(P::Exp, &[minus])?;
            let slope = b.scale(bell, std::f64::consts::FRAC_2_SQRT_PI)?;
            b.mul(g, slope)?
        }
        P::Pow { exponent } => {
            let less = b.primitive(P::Pow { exponent: exponent - 1.0 }, &[x(0)])?;
            let slope = b.scale(less, f64::from(*exponent))?;
            b.mul(g, slope)?
        }
        // Where x was cut, it differs from y; at the bounds themselves it passes, as in PyTorch's clamp.
        P::Clip { .. } => {
            let cut = b.sub(x(0), y)?;
            let sign = b.primitive(P::Sign, &[cut])?;
            let cut = b.mul(sign, sign)?;
            let part = b.mul(g, cut)?;
            b.sub(g, part)?
        }
        P::Cos => {
            let sin = b.primitive(P::Sin, &[x(0)])?;
            let part = b.mul(g, sin)?;
            b.scale(part, -1.0)?
        }
        P::Sin => {
            let cos = b.primitive(P::Cos, &[x(0)])?;
            b.mul(g, cos)?
        }

        P::Reshape { .. } => b.reshape(g, shape(b, 0))?,
        P::Transpose { perm } => {
            let mut inverse = vec![0; perm.len()];
            perm.iter().enumerate().for_each(|(to, &from)| inverse[from] = to);
            permuted(b, g, inverse)?
        }
        P::Slice { axis, start, end, step: 1 } => {
            let after = shape(b, 0).len(*axis).expect("not the batch") - end;
            b.pad(g, *axis, *start, after)?
        }
        P::Slice { axis, start, step, .. } => {
            let side = shape(b, 0).len(*axis).expect("not the batch");
            pool::place(b, &[(*start, g)], *axis, *step, side)?
        }
        P::Pad { axis, before, .. } => {
            let len = shape(b, 0).len(*axis).expect("not the batch");
            b.slice(g, *axis, *before, before + len)?
        }
        P::Concat { axis } => {
            let len = |b: &Builder, i: usize| shape(b, i).len(*axis).expect("not the batch");
            let start: usize = (0..i).map(|j| len(b, j)).sum();
            let end = start + len(b, i);
            b.slice(g, *axis, start, end)?
        }
        P::Expand { .. } => return unbroadcast(b, step, g, i),
        P::ReduceSum { .. } => b.primitive(P::Expand { shape: shape(b, 0) }, &[g])?,
        P::ReduceMean { axes } => {
            let count: usize = axes.iter().filter_map(|&a| shape(b, 0).len(a)).product();
            let share = scaled(b, g, 1.0 / count as f64)?;
            b.primitive(P::Expand { shape: shape(b, 0) }, &[share])?
        }
        // Those that are the greatest share it, as in PyTorch's amax.
        P::ReduceMax { axes } => {
            let below = b.sub(y, x(0))?;
            let below = b.primitive(P::Sign, &[below])?;
            let one = b.scalar(1.0);
            let greatest = b.sub(one, below)?;
            let count = b.sum(greatest, axes)?;
            let share = b.div(g, count)?;
            b.mul(greatest, share)?
        }

        // dsₖ = sₖ(dxₖ − Σⱼ sⱼ dxⱼ).
        P::Softmax { axis } => {
            let weighted = b.mul(g, y)?;
            let total = b.sum(weighted, &[*axis])?;
            let centred = b.sub(g, total)?;
            b.mul(y, centred)?
        }
        // d log sₖ = dxₖ − Σⱼ sⱼ dxⱼ.
        P::LogSoftmax { axis } => {
            let softmax = b.primitive(P::Softmax { axis: *axis }, &[x(0)])?;
            let total = b.sum(g, &[*axis])?;
            let part = b.mul(softmax, total)?;
            b.sub(g, part)?
        }

        // y = a·b: da = g·bᵀ, db = aᵀ·g.
        P::MatMul => {
            let part = if i == 0 {
                let turned = transposed(b, x(1))?;
                b.matmul(g, turned)?
            } else {
                let turned = transposed(b, x(0))?;
                b.matmul(turned, g)?
            };
            return unbroadcast(b, step, part, i);
        }
        P::Gemm if i == 0 => b.matmul(g, x(1))?,
        P::Conv { window, groups } if i == 0 => {
            let (image, kernel) = (shape(b, 0), shape(b, 1));
            // Rows at the end that no step of the convolution reached.
            let rest = [0, 1].map(|direction| {
                let len = |shape: &Shape| shape.len(2 + direction).expect("not the batch");
                window.outputs(direction, len(&image), len(&kernel)).expect("checked when built").1
            });
            let adjoint = P::ConvTranspose { window: *window, groups: *groups, output_padding: rest };
            b.primitive(adjoint, &[g, x(1)])?
        }
        P::ConvTranspose { window, groups, .. } if i == 0 => {
            let bias = b.vector(vec![0.0; shape(b, 1).len(0).expect("a parameter")]);
            b.primitive(P::Conv { window: *window, groups: *groups }, &[g, x(1), bias])?
        }
        P::Gemm | P::Conv { .. } | P::ConvTranspose { .. } => return none(PARAMETER),
        P::MaxPool { kernel, window } => pool::max(b, [x(0), y, g], *kernel, window)?,
        // Every pixel of a block got the same share.
        P::AveragePool { kernel: [size, width], window }
            if size == width && *window == Window::blocks([*size; 2]) && covers(b, x(0), y, *size) =>
        {
            let share = b.scale(g, 1.0 / (size * size) as f64)?;
            b.primitive(P::Resize { factor: *size }, &[share])?
        }
        P::AveragePool { kernel, window } => pool::average(b, [x(0), g], *kernel, window)?,
        P::Resize { factor } => {
            let op = P::AveragePool { kernel: [*factor; 2], window: Window::blocks([*factor; 2]) };
            let mean = b.primitive(op, &[g])?;
            b.scale(mean, (factor * factor) as f64)?
        }
    })
}

/// Whether blocks of a side cover an image whole.
fn covers(b: &Builder, image: NodeId, blocks: NodeId, side: usize) -> bool {
    [2, 3].iter().all(|&axis| b.shape(image).len(axis) == b.shape(blocks).len(axis).map(|len| len * side))
}

/// Whether operand `i` has no cotangent of this product because the rule of the other operand sees to both, in fewer passes over
/// the image: of σ(x) in x σ(x), SiLU, and of the second x in x².
pub(super) fn is_seen_to(b: &Builder, op: &Primitive, inputs: &[NodeId], i: usize) -> bool {
    is_gate(b, op, inputs, i) || (*op == Primitive::Mul && i == 1 && inputs[0] == inputs[1])
}

/// Whether operand `i` is σ of the other in a product.
fn is_gate(b: &Builder, op: &Primitive, inputs: &[NodeId], i: usize) -> bool {
    *op == Primitive::Mul && {
        let gate = b.graph().node(inputs[i]);
        gate.op == Op::Primitive(Primitive::Sigmoid) && gate.inputs == [inputs[1 - i]]
    }
}

/// a + b, without repeating what is repeated in one of them.
pub(super) fn sum(b: &mut Builder, one: NodeId, other: NodeId) -> Result<NodeId, GraphError> {
    let one = unexpanded(b, one, other);
    let other = unexpanded(b, other, one);
    b.add(one, other)
}

/// x · value, where x may be a product with a number already.
fn scaled(b: &mut Builder, mut x: NodeId, mut value: f64) -> Result<NodeId, GraphError> {
    let node = b.graph().node(x);
    if let (Op::Primitive(Primitive::Mul), &[of, by]) = (&node.op, &node.inputs[..])
        && let Op::Primitive(Primitive::Constant(number)) = &b.graph().node(by).op
        && let [number] = number.values[..]
        && b.shape(of) == b.shape(x)
    {
        (x, value) = (of, value * f64::from(number));
    }
    if value == 1.0 { Ok(x) } else { b.scale(x, value) }
}

/// What a repeated value was before, where it is joined with one of the same shape, which repeats it as well.
fn unexpanded(b: &Builder, value: NodeId, with: NodeId) -> NodeId {
    let node = b.graph().node(value);
    let repeated = matches!(node.op, Op::Primitive(Primitive::Expand { .. }));
    if repeated && b.shape(with) == &node.ty.shape { node.inputs[0] } else { value }
}

/// A cotangent with its axes permuted; of a product of matrices whose last axes are exchanged, the product of the exchanged ones:
/// attention has products that are far larger than their operands.
fn permuted(b: &mut Builder, g: NodeId, perm: Vec<usize>) -> Result<NodeId, GraphError> {
    let node = b.graph().node(g);
    if let (Op::Primitive(Primitive::MatMul), &[first, second]) = (&node.op, &node.inputs[..])
        && perm == last_exchanged(perm.len())
        && [first, second].iter().all(|&of| b.shape(of).rank() == perm.len())
    {
        let [first, second] = [transposed(b, first)?, transposed(b, second)?];
        return b.matmul(second, first);
    }
    b.primitive(Primitive::Transpose { perm }, &[g])
}

/// A value with its last two axes exchanged; if they are that already, the value that it was made of.
fn transposed(b: &mut Builder, value: NodeId) -> Result<NodeId, GraphError> {
    let node = b.graph().node(value);
    match &node.op {
        Op::Primitive(Primitive::Transpose { perm }) if *perm == last_exchanged(perm.len()) => {
            Ok(node.inputs[0])
        }
        _ => b.transpose_last(value),
    }
}

/// Sums a cotangent over the axes along which operand `i` was repeated.
fn unbroadcast(b: &mut Builder, step: &Step<'_>, g: NodeId, i: usize) -> Result<NodeId, GradientError> {
    let (to, from): (Shape, Shape) = (b.shape(step.inputs[i]).clone(), b.shape(g).clone());
    if to == from {
        return Ok(g);
    }
    if to.open().is_none() {
        let (scope, op) = (step.scope.into(), step.op.name());
        return Err(GradientError::NotDifferentiable { scope, op, operand: i, why: UNBATCHED });
    }
    // Axes that the operand lacks stand first.
    let lacks = from.rank() - to.rank();
    let repeated = |axis: usize| axis.checked_sub(lacks).is_none_or(|a| to.dims()[a] != from.dims()[axis]);
    let axes: Vec<usize> = (0..from.rank()).filter(|&axis| repeated(axis)).collect();
    let sum = b.sum(g, &axes)?;
    Ok(if lacks > 0 { b.reshape(sum, to)? } else { sum })
}
