//! The import table: one row an operator, easy ones first.

use anomalens_models::graph::{DType, NodeId, Primitive, Shape};

use super::call::{Call, place};
use super::{ImportError, images, microsoft, norms};
use crate::onnx::tensor_proto::DataType;
use crate::onnx::{GraphProto, NodeProto};

/// One operator that is read.
pub(super) struct Op {
    domain: &'static str,
    name: &'static str,
    /// Its attributes that are read; any other is refused.
    pub(super) attributes: &'static [&'static str],
    pub(super) import: fn(&mut Call<'_>) -> Values,
}

/// One value an output.
pub(super) type Values = Result<Vec<NodeId>, ImportError>;

const fn op(
    name: &'static str,
    attributes: &'static [&'static str],
    import: fn(&mut Call<'_>) -> Values,
) -> Op {
    Op { domain: "", name, attributes, import }
}

/// An operator of ONNX Runtime's own.
const fn ms(
    name: &'static str,
    attributes: &'static [&'static str],
    import: fn(&mut Call<'_>) -> Values,
) -> Op {
    Op { domain: microsoft::DOMAIN, name, attributes, import }
}

static OPS: &[Op] = &[
    op("Constant", &["value"], |c| c.store().map(|()| vec![])),
    op("Identity", &[], |c| Ok(vec![c.operand(0)?])),
    op("Dropout", &["seed"], |c| Ok(vec![c.operand(0)?])),
    op("Add", &[], |c| same(c, Primitive::Add, 2)),
    op("Sub", &[], |c| same(c, Primitive::Sub, 2)),
    op("Mul", &[], |c| same(c, Primitive::Mul, 2)),
    op("Div", &[], |c| same(c, Primitive::Div, 2)),
    op("Sqrt", &[], |c| same(c, Primitive::Sqrt, 1)),
    op("Sigmoid", &[], |c| same(c, Primitive::Sigmoid, 1)),
    op("Relu", &[], |c| same(c, Primitive::Relu, 1)),
    op("LeakyRelu", &["alpha"], |c| {
        let slope = c.float("alpha", 0.01);
        same(c, Primitive::LeakyRelu { slope }, 1)
    }),
    op("Exp", &[], |c| same(c, Primitive::Exp, 1)),
    op("Tanh", &[], |c| same(c, Primitive::Tanh, 1)),
    op("Sign", &[], |c| same(c, Primitive::Sign, 1)),
    op("Cos", &[], |c| same(c, Primitive::Cos, 1)),
    op("Sin", &[], |c| same(c, Primitive::Sin, 1)),
    op("Abs", &[], |c| same(c, Primitive::Abs, 1)),
    op("Log", &[], |c| same(c, Primitive::Log, 1)),
    op("Erf", &[], |c| same(c, Primitive::Erf, 1)),
    op("Neg", &[], |c| {
        let x = c.operand(0)?;
        Ok(vec![c.build(|b| b.scale(x, -1.0))?])
    }),
    op("Pow", &[], pow),
    op("Clip", &[], |c| {
        let x = c.operand(0)?;
        let min = c.number(1, f32::NEG_INFINITY)?;
        let max = c.number(2, f32::INFINITY)?;
        Ok(vec![c.primitive(Primitive::Clip { min, max }, &[x])?])
    }),
    op("HardSigmoid", &["alpha", "beta"], |c| {
        let (x, alpha, beta) = (c.operand(0)?, c.float("alpha", 0.2), c.float("beta", 0.5));
        Ok(vec![hard_sigmoid(c, x, alpha, beta)?])
    }),
    op("HardSwish", &[], |c| {
        let x = c.operand(0)?;
        let gate = hard_sigmoid(c, x, 1.0 / 6.0, 0.5)?;
        Ok(vec![c.primitive(Primitive::Mul, &[x, gate])?])
    }),
    op("Elu", &["alpha"], elu),
    op("PRelu", &[], |c| {
        let (x, slope) = (c.operand(0)?, c.operand(1)?);
        let (above, below) = halves(c, x)?;
        let below = c.primitive(Primitive::Mul, &[below, slope])?;
        Ok(vec![c.primitive(Primitive::Add, &[above, below])?])
    }),
    op("Gelu", &["approximate"], gelu),
    op("MatMul", &[], |c| same(c, Primitive::MatMul, 2)),
    op("Cast", &["to"], cast),
    op("Softmax", &["axis"], |c| softmax(c, |axis| Primitive::Softmax { axis })),
    op("LogSoftmax", &["axis"], |c| softmax(c, |axis| Primitive::LogSoftmax { axis })),
    op("Reshape", &["allowzero"], reshape),
    op("Transpose", &["perm"], transpose),
    op("Concat", &["axis"], concat),
    op("Slice", &[], slice),
    op("Pad", &["mode"], pad),
    op("Expand", &[], expand),
    op("ReduceSum", &["axes", "keepdims", "noop_with_empty_axes"], |c| {
        reduce(c, |axes| Primitive::ReduceSum { axes })
    }),
    op("ReduceMean", &["axes", "keepdims", "noop_with_empty_axes"], |c| {
        reduce(c, |axes| Primitive::ReduceMean { axes })
    }),
    op("ReduceMax", &["axes", "keepdims", "noop_with_empty_axes"], |c| {
        reduce(c, |axes| Primitive::ReduceMax { axes })
    }),
    op("GlobalAveragePool", &[], |c| {
        let (x, axes) = image_axes(c)?;
        Ok(vec![c.primitive(Primitive::ReduceMean { axes }, &[x])?])
    }),
    op("GlobalMaxPool", &[], |c| {
        let (x, axes) = image_axes(c)?;
        Ok(vec![c.primitive(Primitive::ReduceMax { axes }, &[x])?])
    }),
    op("Flatten", &["axis"], flatten),
    op("Gather", &["axis"], gather),
    op("OneHot", &["axis"], one_hot),
    op("InstanceNormalization", &["epsilon"], norms::instance),
    op("BatchNormalization", &["epsilon", "momentum", "training_mode"], norms::batch),
    op("LayerNormalization", &["axis", "epsilon", "stash_type"], norms::layer),
    op("Gemm", &["alpha", "beta", "transA", "transB"], gemm),
    op("Conv", &["auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"], |c| {
        let (x, weight) = (c.operand(0)?, c.operand(1)?);
        images::conv(c, x, weight)
    }),
    op(
        "ConvTranspose",
        &["auto_pad", "dilations", "group", "kernel_shape", "output_padding", "pads", "strides"],
        images::conv_transpose,
    ),
    op(
        "MaxPool",
        &["auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "storage_order", "strides"],
        images::max_pool,
    ),
    op(
        "AveragePool",
        &["auto_pad", "ceil_mode", "count_include_pad", "dilations", "kernel_shape", "pads", "strides"],
        images::average_pool,
    ),
    op("Resize", &["coordinate_transformation_mode", "mode", "nearest_mode"], images::resize),
    ms("NhwcConv", &["auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"], microsoft::conv),
    ms("GroupNorm", &["activation", "channels_last", "epsilon", "groups"], microsoft::group_norm),
    ms("SkipGroupNorm", &["activation", "channels_last", "epsilon", "groups"], microsoft::skip_group_norm),
];

/// The row of a node's operator.
///
/// Errors: [`ImportError::Op`].
pub(super) fn find(graph: &GraphProto, node: &NodeProto) -> Result<&'static Op, ImportError> {
    OPS.iter().find(|op| (op.domain, op.name) == (node.domain(), node.op_type())).ok_or_else(|| {
        let name = |op: &Op| match op.domain {
            "" => op.name.to_owned(),
            domain => format!("{domain}.{}", op.name),
        };
        let supported = OPS.iter().map(name).collect::<Vec<_>>().join(", ");
        ImportError::Op { place: place(graph, node), supported }
    })
}

/// A primitive that means what the operator means.
fn same(c: &mut Call<'_>, op: Primitive, operands: usize) -> Values {
    let inputs = (0..operands).map(|i| c.operand(i)).collect::<Result<Vec<_>, _>>()?;
    Ok(vec![c.primitive(op, &inputs)?])
}

fn cast(c: &mut Call<'_>) -> Values {
    let x = c.operand(0)?;
    match DataType::try_from(c.int("to", 0) as i32) {
        Ok(DataType::Float | DataType::Float16) if c.dtype(x) == DType::F32 => Ok(vec![x]),
        Ok(DataType::Float | DataType::Float16) => Ok(vec![c.primitive(Primitive::Cast, &[x])?]),
        _ => Err(c.unsupported("to", "1 (f32) and 10 (f16)")),
    }
}

fn softmax(c: &mut Call<'_>, make: fn(usize) -> Primitive) -> Values {
    let x = c.operand(0)?;
    let axis = c.axis("axis", c.int("axis", -1), c.shape(x).rank())?;
    Ok(vec![c.primitive(make(axis), &[x])?])
}

fn reshape(c: &mut Call<'_>) -> Values {
    c.only("allowzero", 0, 0)?;
    let (x, target) = (c.operand(0)?, c.some_ints(1)?);
    Ok(vec![c.reshape(x, &target)?])
}

fn transpose(c: &mut Call<'_>) -> Values {
    let x = c.operand(0)?;
    let rank = c.shape(x).rank();
    let reversed = || (0..rank as i64).rev().collect();
    let perm = c.int_list("perm").unwrap_or_else(reversed);
    let perm = perm.iter().map(|&p| c.axis("perm", p, rank)).collect::<Result<Vec<_>, _>>()?;
    Ok(vec![c.primitive(Primitive::Transpose { perm }, &[x])?])
}

fn concat(c: &mut Call<'_>) -> Values {
    let parts = (0..c.operands()).map(|i| c.operand(i)).collect::<Result<Vec<_>, _>>()?;
    let rank = parts.first().map_or(0, |&x| c.shape(x).rank());
    let axis = c.axis("axis", c.int("axis", 0), rank)?;
    Ok(vec![c.primitive(Primitive::Concat { axis }, &parts)?])
}

fn slice(c: &mut Call<'_>) -> Values {
    let mut x = c.operand(0)?;
    let (starts, ends) = (c.some_ints(1)?, c.some_ints(2)?);
    let axes = c.ints(3)?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = c.ints(4)?.unwrap_or_else(|| vec![1; starts.len()]);
    if steps.iter().any(|step| *step < 1) {
        return Err(c.bad(4, format!("steps {steps:?}"), "steps of at least 1"));
    }
    if [axes.len(), ends.len(), steps.len()] != [starts.len(); 3] {
        return Err(c.bad(1, format!("{} starts, {} ends", starts.len(), ends.len()), "one of each an axis"));
    }
    for (((start, end), axis), step) in starts.into_iter().zip(ends).zip(axes).zip(steps) {
        let shape = c.shape(x);
        let axis = c.axis("axes", axis, shape.rank())?;
        let len = shape.len(axis).ok_or_else(|| c.bad(3, "the batch".into(), "other axes than the batch"))?;
        // Negative places count from the end, and what lies beyond it is cut.
        let at = |place: i64| {
            (if place < 0 { place.saturating_add(len as i64) } else { place }).clamp(0, len as i64) as usize
        };
        x = c.primitive(
            Primitive::Slice { axis, start: at(start), end: at(end), step: step as usize },
            &[x],
        )?;
    }
    Ok(vec![x])
}

fn pad(c: &mut Call<'_>) -> Values {
    c.only_text("mode", "constant", "constant")?;
    let mut x = c.operand(0)?;
    let pads = c.some_ints(1)?;
    let value = c.number(2, 0.0)?;
    let rank = c.shape(x).rank();
    let axes = c.ints(3)?.unwrap_or_else(|| (0..rank as i64).collect());
    if pads.len() != 2 * axes.len() {
        return Err(c.bad(1, format!("{pads:?}"), "two numbers an axis"));
    }
    for (i, &axis) in axes.iter().enumerate() {
        let axis = c.axis("axes", axis, rank)?;
        let (Ok(before), Ok(after)) = (u16::try_from(pads[i]), u16::try_from(pads[axes.len() + i])) else {
            return Err(c.bad(1, format!("{pads:?}"), "numbers from 0 to 65535"));
        };
        let (before, after) = (usize::from(before), usize::from(after));
        if before + after > 0 {
            x = c.primitive(Primitive::Pad { axis, before, after, value }, &[x])?;
        }
    }
    Ok(vec![x])
}

fn expand(c: &mut Call<'_>) -> Values {
    let (x, target) = (c.operand(0)?, c.some_ints(1)?);
    let from = c.shape(x);
    let lengths: Option<Vec<usize>> = target.iter().map(|&len| usize::try_from(len).ok()).collect();
    let shape = lengths.and_then(|lengths| from.broadcast(&Shape::fixed(&lengths)));
    let shape =
        shape.ok_or_else(|| c.bad(1, format!("{target:?} for {from}"), "a shape that it expands to"))?;
    Ok(vec![c.primitive(Primitive::Expand { shape }, &[x])?])
}

/// The axes stand among the operands since opset 13 (sum) or 18 (mean), before that among the attributes.
fn reduce(c: &mut Call<'_>, make: fn(Vec<usize>) -> Primitive) -> Values {
    c.only("noop_with_empty_axes", 0, 0)?;
    let x = c.operand(0)?;
    let shape = c.shape(x);
    let axes = c.ints(1)?.or(c.int_list("axes")).unwrap_or_else(|| (0..shape.rank() as i64).collect());
    let axes = axes.iter().map(|&a| c.axis("axes", a, shape.rank())).collect::<Result<Vec<_>, _>>()?;
    let y = c.primitive(make(axes.clone()), &[x])?;
    if c.int("keepdims", 1) != 0 {
        return Ok(vec![y]);
    }
    let left = shape.dims().iter().enumerate().filter(|(i, _)| !axes.contains(i)).map(|(_, d)| *d).collect();
    let shape = Shape::from_dims(left).expect("the batch cannot be summed over, so it is still first");
    Ok(vec![c.primitive(Primitive::Reshape { shape }, &[y])?])
}

fn gather(c: &mut Call<'_>) -> Values {
    c.only("axis", 0, 0)?;
    same(c, Primitive::Gather, 2)
}

fn one_hot(c: &mut Call<'_>) -> Values {
    c.only("axis", -1, -1)?;
    let (index, depth, values) = (c.operand(0)?, c.some_ints(1)?, c.floats(2)?);
    match (depth.as_slice(), values.as_deref()) {
        (&[depth], Some([0.0, 1.0])) if depth > 0 => {
            Ok(vec![c.primitive(Primitive::OneHot { depth: depth as usize }, &[index])?])
        }
        (_, values) => {
            Err(c.bad(1, format!("depth {depth:?}, values {values:?}"), "one depth, values 0 and 1"))
        }
    }
}

fn gemm(c: &mut Call<'_>) -> Values {
    c.only("transA", 0, 0)?;
    for name in ["alpha", "beta"] {
        if c.float(name, 1.0) != 1.0 {
            return Err(c.unsupported(name, "1"));
        }
    }
    let (x, mut weight) = (c.operand(0)?, c.operand(1)?);
    if c.int("transB", 0) == 0 {
        weight = c.primitive(Primitive::Transpose { perm: vec![1, 0] }, &[weight])?;
    }
    let bias = images::bias(c, c.shape(weight).len(0))?;
    Ok(vec![c.primitive(Primitive::Gemm, &[x, weight, bias])?])
}

/// αx + β, cut to what a probability can be.
fn hard_sigmoid(c: &mut Call<'_>, x: NodeId, alpha: f32, beta: f32) -> Result<NodeId, ImportError> {
    let line = c.build(|b| {
        let (scaled, shift) = (b.scale(x, f64::from(alpha))?, b.scalar(f64::from(beta)));
        b.add(scaled, shift)
    })?;
    c.primitive(Primitive::Clip { min: 0.0, max: 1.0 }, &[line])
}

/// max(x, 0) and min(x, 0); at 0 the slope is the second's, as in PyTorch's units of two halves.
fn halves(c: &mut Call<'_>, x: NodeId) -> Result<(NodeId, NodeId), ImportError> {
    let below = Primitive::Clip { min: f32::NEG_INFINITY, max: 0.0 };
    Ok((c.primitive(Primitive::Relu, &[x])?, c.primitive(below, &[x])?))
}

/// x above 0, α(eˣ − 1) below.
fn elu(c: &mut Call<'_>) -> Values {
    let (x, alpha) = (c.operand(0)?, f64::from(c.float("alpha", 1.0)));
    let (above, below) = halves(c, x)?;
    let grown = c.primitive(Primitive::Exp, &[below])?;
    let y = c.build(|b| {
        let one = b.scalar(1.0);
        let less = b.sub(grown, one)?;
        let scaled = b.scale(less, alpha)?;
        b.add(above, scaled)
    })?;
    Ok(vec![y])
}

/// x Φ(x) with the normal distribution Φ, or its approximation by a tanh (Hendrycks and Gimpel 2016).
fn gelu(c: &mut Call<'_>) -> Values {
    let x = c.operand(0)?;
    let inner = match c.string("approximate", "none").as_str() {
        "none" => {
            let scaled = c.build(|b| b.scale(x, std::f64::consts::FRAC_1_SQRT_2))?;
            c.primitive(Primitive::Erf, &[scaled])?
        }
        "tanh" => {
            let line = c.build(|b| {
                let square = b.mul(x, x)?;
                let cube = b.mul(square, x)?;
                let part = b.scale(cube, 0.044_715)?;
                let sum = b.add(x, part)?;
                b.scale(sum, (2.0 / std::f64::consts::PI).sqrt())
            })?;
            c.primitive(Primitive::Tanh, &[line])?
        }
        _ => return Err(c.unsupported("approximate", "'none' and 'tanh'")),
    };
    let y = c.build(|b| {
        let one = b.scalar(1.0);
        let sum = b.add(inner, one)?;
        let half = b.scale(x, 0.5)?;
        b.mul(half, sum)
    })?;
    Ok(vec![y])
}

/// A fixed power; small whole ones, and roots, by products, which are exact for negative values too.
fn pow(c: &mut Call<'_>) -> Values {
    let x = c.operand(0)?;
    let exponent = c.number(1, 1.0)?;
    let y = match exponent {
        1.0 => x,
        2.0 => c.primitive(Primitive::Mul, &[x, x])?,
        3.0 => {
            let square = c.primitive(Primitive::Mul, &[x, x])?;
            c.primitive(Primitive::Mul, &[square, x])?
        }
        0.5 => c.primitive(Primitive::Sqrt, &[x])?,
        exponent => c.primitive(Primitive::Pow { exponent }, &[x])?,
    };
    Ok(vec![y])
}

/// An image `[N, C, …]` and its axes but the first two.
fn image_axes(c: &mut Call<'_>) -> Result<(NodeId, Vec<usize>), ImportError> {
    let x = c.operand(0)?;
    let rank = c.shape(x).rank();
    if rank < 3 {
        return Err(c.bad(0, c.shape(x).to_string(), "an image [N, C, …]"));
    }
    Ok((x, (2..rank).collect()))
}

fn flatten(c: &mut Call<'_>) -> Values {
    c.only("axis", 1, 1)?;
    let x = c.operand(0)?;
    let shape = c.shape(x);
    if !shape.has_batch() {
        return Err(c.bad(0, shape.to_string(), "a value of the batch, [N, …]"));
    }
    let shape = Shape::batch(&[shape.sample_elements()]);
    Ok(vec![c.primitive(Primitive::Reshape { shape }, &[x])?])
}
