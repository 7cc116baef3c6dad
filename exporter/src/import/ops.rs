//! The import table: one row an operator, easy ones first.

use anomalens_models::graph::{DType, NodeId, Primitive, Shape};

use super::call::{Call, place};
use super::{ImportError, microsoft};
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
    op("Gather", &["axis"], gather),
    op("OneHot", &["axis"], one_hot),
    op("InstanceNormalization", &["epsilon"], instance_normalization),
    op("Gemm", &["alpha", "beta", "transA", "transB"], gemm),
    op("Conv", &["auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"], |c| {
        let (x, weight) = (c.operand(0)?, c.operand(1)?);
        conv(c, x, weight)
    }),
    op(
        "ConvTranspose",
        &["auto_pad", "dilations", "group", "kernel_shape", "output_padding", "pads", "strides"],
        conv_transpose,
    ),
    op(
        "AveragePool",
        &["auto_pad", "ceil_mode", "count_include_pad", "dilations", "kernel_shape", "pads", "strides"],
        average_pool,
    ),
    op("Resize", &["coordinate_transformation_mode", "mode", "nearest_mode"], resize),
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
    if let Some(steps) = c.ints(4)?
        && steps.iter().any(|step| *step != 1)
    {
        return Err(c.bad(4, format!("steps {steps:?}"), "steps of 1"));
    }
    if axes.len() != starts.len() || ends.len() != starts.len() {
        return Err(c.bad(1, format!("{} starts, {} ends", starts.len(), ends.len()), "one of each an axis"));
    }
    for ((start, end), axis) in starts.into_iter().zip(ends).zip(axes) {
        let shape = c.shape(x);
        let axis = c.axis("axes", axis, shape.rank())?;
        let len = shape.len(axis).ok_or_else(|| c.bad(3, "the batch".into(), "other axes than the batch"))?;
        // Negative places count from the end, and what lies beyond it is cut.
        let at =
            |place: i64| (if place < 0 { place + len as i64 } else { place }).clamp(0, len as i64) as usize;
        x = c.primitive(Primitive::Slice { axis, start: at(start), end: at(end) }, &[x])?;
    }
    Ok(vec![x])
}

fn pad(c: &mut Call<'_>) -> Values {
    c.only_text("mode", "constant", "constant")?;
    let mut x = c.operand(0)?;
    let pads = c.some_ints(1)?;
    if let Some(value) = c.floats(2)?
        && value != [0.0]
    {
        return Err(c.bad(2, format!("{value:?}"), "zeros"));
    }
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
            x = c.primitive(Primitive::Pad { axis, before, after }, &[x])?;
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

/// The graph's primitive has neither scale nor shift: both are one more step each, unless they do nothing.
fn instance_normalization(c: &mut Call<'_>) -> Values {
    let x = c.operand(0)?;
    let mut y = c.primitive(Primitive::InstanceNormalization { epsilon: c.float("epsilon", 1e-5) }, &[x])?;
    let shape = c.shape(x);
    let mut per_channel = vec![1; shape.rank() - 1];
    per_channel[0] = shape.len(1).unwrap_or(1);
    for (operand, neutral, op) in [(1, 1.0, Primitive::Mul), (2, 0.0, Primitive::Add)] {
        let values = c.floats(operand)?.unwrap_or_default();
        if values.iter().any(|v| *v != neutral) {
            let parameter = c.operand(operand)?;
            let shape = Shape::fixed(&per_channel);
            let parameter = c.primitive(Primitive::Reshape { shape }, &[parameter])?;
            y = c.primitive(op, &[y, parameter])?;
        }
    }
    Ok(vec![y])
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
    let bias = bias(c, c.shape(weight).len(0))?;
    Ok(vec![c.primitive(Primitive::Gemm, &[x, weight, bias])?])
}

/// The third operand, or zeros where it is left out.
fn bias(c: &mut Call<'_>, len: Option<usize>) -> Result<NodeId, ImportError> {
    match c.optional(2)? {
        Some(bias) => Ok(bias),
        None => c.build(|b| Ok(b.vector(vec![0.0; len.unwrap_or(0)]))),
    }
}

/// Stride and padding of a convolution of the kind that the graph has: square, dense, padded alike on all sides.
fn window(c: &Call<'_>, kernel: &Shape) -> Result<[usize; 2], ImportError> {
    c.only_text("auto_pad", "NOTSET", "NOTSET")?;
    c.only("group", 1, 1)?;
    let alike = |name: &str, default: i64, count: usize| match c.int_list(name) {
        None => Ok(default),
        Some(list) if list.len() == count && list.iter().all(|v| *v == list[0]) => Ok(list[0]),
        Some(_) => Err(c.unsupported(name, "the same number in every direction")),
    };
    if alike("dilations", 1, 2)? != 1 {
        return Err(c.unsupported("dilations", "1"));
    }
    let side = alike("kernel_shape", -1, 2)?;
    if side >= 0 && kernel.len(2) != usize::try_from(side).ok() {
        return Err(c.unsupported("kernel_shape", &format!("the sides of the weights {kernel}")));
    }
    let number = |name: &str, value: i64| {
        u16::try_from(value).map(usize::from).map_err(|_| c.unsupported(name, "a number from 0 to 65535"))
    };
    Ok([number("strides", alike("strides", 1, 2)?)?, number("pads", alike("pads", 0, 4)?)?])
}

/// A convolution of an image `[N, I, H, W]` by weights `[O, I, k, k]`; the bias is the node's third operand.
pub(super) fn conv(c: &mut Call<'_>, x: NodeId, weight: NodeId) -> Values {
    let kernel = c.shape(weight);
    let [stride, pad] = window(c, &kernel)?;
    let bias = bias(c, kernel.len(0))?;
    Ok(vec![c.primitive(Primitive::Conv { stride, pad }, &[x, weight, bias])?])
}

fn conv_transpose(c: &mut Call<'_>) -> Values {
    let (x, weight) = (c.operand(0)?, c.operand(1)?);
    let kernel = c.shape(weight);
    let [stride, pad] = window(c, &kernel)?;
    let extra = c.int_list("output_padding").unwrap_or(vec![0, 0]);
    let extra: Vec<usize> = extra.iter().filter_map(|&v| usize::try_from(v).ok()).collect();
    let output_padding = <[usize; 2]>::try_from(extra)
        .map_err(|_| c.unsupported("output_padding", "two numbers, not negative"))?;
    let y = c.primitive(Primitive::ConvTranspose { stride, pad, output_padding }, &[x, weight])?;
    let Some(bias) = c.optional(2)? else { return Ok(vec![y]) };
    let per_channel = Shape::fixed(&[kernel.len(1).unwrap_or(0), 1, 1]);
    let bias = c.primitive(Primitive::Reshape { shape: per_channel }, &[bias])?;
    Ok(vec![c.primitive(Primitive::Add, &[y, bias])?])
}

fn average_pool(c: &mut Call<'_>) -> Values {
    c.only_text("auto_pad", "NOTSET", "NOTSET")?;
    c.only("ceil_mode", 0, 0)?;
    for (name, only) in [("dilations", 1), ("pads", 0)] {
        if c.int_list(name).is_some_and(|list| list.iter().any(|v| *v != only)) {
            return Err(c.unsupported(name, &only.to_string()));
        }
    }
    let x = c.operand(0)?;
    match (c.int_list("kernel_shape").as_deref(), c.int_list("strides").as_deref()) {
        (Some(&[size, width]), Some(&[down, right])) if size > 0 && [width, down, right] == [size; 3] => {
            Ok(vec![c.primitive(Primitive::AveragePool { size: size as usize }, &[x])?])
        }
        _ => Err(c.unsupported("kernel_shape", "a square, moved by its own side")),
    }
}

/// Nearest-neighbour enlargement of the two image axes, which stand last or, channels being last, in the middle.
fn resize(c: &mut Call<'_>) -> Values {
    c.only_text("mode", "nearest", "nearest")?;
    c.only_text("coordinate_transformation_mode", "half_pixel", "asymmetric")?;
    c.only_text("nearest_mode", "round_prefer_floor", "floor")?;
    let (x, scales) = (c.operand(0)?, c.floats(2)?.unwrap_or_default());
    let whole = |f: f32| (1.0..=1024.0).contains(&f) && f.fract() == 0.0;
    match scales[..] {
        [1.0, 1.0, f, g] if f == g && whole(f) => {
            Ok(vec![c.primitive(Primitive::Resize { factor: f as usize }, &[x])?])
        }
        [1.0, f, g, 1.0] if f == g && whole(f) && c.shape(x).rank() == 4 => {
            let x = c.channels_first(x)?;
            let y = c.primitive(Primitive::Resize { factor: f as usize }, &[x])?;
            Ok(vec![c.channels_last(y)?])
        }
        _ => Err(c.bad(
            2,
            format!("scales {scales:?}"),
            "one whole factor for both sides of an image [N, C, H, W]",
        )),
    }
}
