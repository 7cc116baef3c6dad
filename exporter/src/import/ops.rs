//! The import table: one row an operator, easy ones first.

use anomalens_models::graph::{DType, NodeId, Primitive, Shape};

use super::call::{Call, place};
use super::near::near;
use super::{ImportError, images, microsoft, moves, norms, products, resize};
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
    op("Constant", &["value", "value_float", "value_floats", "value_int", "value_ints"], |c| {
        c.store().map(|()| vec![])
    }),
    op("Identity", &[], |c| match c.rename() {
        Some(()) => Ok(vec![]),
        None => Ok(vec![c.operand(0)?]),
    }),
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
    op("Reciprocal", &[], |c| {
        let x = c.operand(0)?;
        Ok(vec![c.build(|b| {
            let one = b.scalar(1.0);
            b.div(one, x)
        })?])
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
    op("Einsum", &["equation"], products::einsum),
    op("Reshape", &["allowzero"], moves::reshape),
    op("Squeeze", &[], moves::squeeze),
    op("Unsqueeze", &[], moves::unsqueeze),
    op("Transpose", &["perm"], moves::transpose),
    op("Concat", &["axis"], moves::concat),
    op("Split", &["axis", "num_outputs"], moves::split),
    op("Slice", &[], moves::slice),
    op("Pad", &["mode"], moves::pad),
    op("Expand", &[], moves::expand),
    op("Equal", &[], moves::compare),
    op("Greater", &[], moves::compare),
    op("GreaterOrEqual", &[], moves::compare),
    op("Less", &[], moves::compare),
    op("LessOrEqual", &[], moves::compare),
    op("And", &[], moves::logic),
    op("Or", &[], moves::logic),
    op("Not", &[], moves::logic),
    op("Where", &[], moves::choose),
    op("Max", &[], |c| moves::extreme(c, 1.0)),
    op("Min", &[], |c| moves::extreme(c, -1.0)),
    op("Shape", &["end", "start"], moves::only_known),
    op("ConstantOfShape", &["value"], moves::only_known),
    op("Range", &[], moves::only_known),
    op("Mod", &["fmod"], moves::only_known),
    op("Floor", &[], moves::only_known),
    op("Ceil", &[], moves::only_known),
    op("ReduceProd", &["axes", "keepdims", "noop_with_empty_axes"], moves::only_known),
    op("ReduceSum", &["axes", "keepdims", "noop_with_empty_axes"], |c| {
        reduce(c, |axes| Primitive::ReduceSum { axes })
    }),
    op("ReduceMean", &["axes", "keepdims", "noop_with_empty_axes"], |c| {
        reduce(c, |axes| Primitive::ReduceMean { axes })
    }),
    op("ReduceMax", &["axes", "keepdims", "noop_with_empty_axes"], |c| {
        reduce(c, |axes| Primitive::ReduceMax { axes })
    }),
    op("ReduceL2", &["axes", "keepdims", "noop_with_empty_axes"], length),
    op("GlobalAveragePool", &[], |c| {
        let (x, axes) = image_axes(c)?;
        Ok(vec![c.primitive(Primitive::ReduceMean { axes }, &[x])?])
    }),
    op("GlobalMaxPool", &[], |c| {
        let (x, axes) = image_axes(c)?;
        Ok(vec![c.primitive(Primitive::ReduceMax { axes }, &[x])?])
    }),
    op("Flatten", &["axis"], moves::flatten),
    op("Gather", &["axis"], moves::gather),
    op("OneHot", &["axis"], one_hot),
    op("InstanceNormalization", &["epsilon"], norms::instance),
    op("BatchNormalization", &["epsilon", "momentum", "training_mode"], norms::batch),
    op("GroupNormalization", &["epsilon", "num_groups", "stash_type"], norms::group),
    op("LayerNormalization", &["axis", "epsilon", "stash_type"], norms::layer),
    op("Gemm", &["alpha", "beta", "transA", "transB"], products::gemm),
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
    op(
        "Resize",
        &[
            "antialias",
            "coordinate_transformation_mode",
            "cubic_coeff_a",
            "exclude_outside",
            "extrapolation_value",
            "keep_aspect_ratio_policy",
            "mode",
            "nearest_mode",
        ],
        resize::resize,
    ),
    ms("NhwcConv", &["auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"], microsoft::conv),
    ms("GroupNorm", &["activation", "channels_last", "epsilon", "groups"], microsoft::group_norm),
    ms("SkipGroupNorm", &["activation", "channels_last", "epsilon", "groups"], microsoft::skip_group_norm),
];

/// The row of a node's operator.
///
/// Errors: [`ImportError::Op`].
pub(super) fn find(graph: &GraphProto, node: &NodeProto) -> Result<&'static Op, ImportError> {
    OPS.iter().find(|op| (op.domain, op.name) == (node.domain(), node.op_type())).ok_or_else(|| {
        let supported = names().collect::<Vec<_>>().join(", ");
        ImportError::Op { place: place(graph, node), near: near(node.op_type()), supported }
    })
}

/// The names of all operators that are read, with the domain where that is not ONNX's own.
pub(super) fn names() -> impl Iterator<Item = String> {
    OPS.iter().map(|op| match op.domain {
        "" => op.name.to_owned(),
        domain => format!("{domain}.{}", op.name),
    })
}

/// A primitive that means what the operator means.
pub(super) fn same(c: &mut Call<'_>, op: Primitive, operands: usize) -> Values {
    let inputs = (0..operands).map(|i| c.operand(i)).collect::<Result<Vec<_>, _>>()?;
    Ok(vec![c.primitive(op, &inputs)?])
}

fn cast(c: &mut Call<'_>) -> Values {
    let x = c.operand(0)?;
    match DataType::try_from(c.int("to", 0) as i32) {
        Ok(DataType::Float | DataType::Float16 | DataType::Double) if c.dtype(x) == DType::F32 => Ok(vec![x]),
        Ok(DataType::Float | DataType::Float16 | DataType::Double) => {
            Ok(vec![c.primitive(Primitive::Cast, &[x])?])
        }
        _ => Err(c.unsupported("to", "1 (f32), 10 (f16) and 11 (f64)")),
    }
}

fn softmax(c: &mut Call<'_>, make: fn(usize) -> Primitive) -> Values {
    let x = c.operand(0)?;
    let axis = c.axis("axis", c.int("axis", -1), c.shape(x).rank())?;
    Ok(vec![c.primitive(make(axis), &[x])?])
}

/// The axes stand among the operands since opset 13 (sum) or 18 (mean), before that among the attributes.
fn reduce(c: &mut Call<'_>, make: fn(Vec<usize>) -> Primitive) -> Values {
    let x = c.operand(0)?;
    reduced(c, x, make)
}

/// √Σ x²; where all are 0, so is the gradient, as in PyTorch: a 1 keeps the root from there, and a 0 takes it away.
fn length(c: &mut Call<'_>) -> Values {
    let x = c.operand(0)?;
    let square = c.primitive(Primitive::Mul, &[x, x])?;
    let sum = reduced(c, square, |axes| Primitive::ReduceSum { axes })?[0];
    let some = c.primitive(Primitive::Sign, &[sum])?;
    Ok(vec![c.build(|b| {
        let one = b.scalar(1.0);
        let none = b.sub(one, some)?;
        let sum = b.add(sum, none)?;
        let root = b.primitive(Primitive::Sqrt, &[sum])?;
        b.mul(root, some)
    })?])
}

fn reduced(c: &mut Call<'_>, x: NodeId, make: fn(Vec<usize>) -> Primitive) -> Values {
    c.only("noop_with_empty_axes", 0, 0)?;
    let shape = c.shape(x);
    let axes = c.ints(1)?.or(c.int_list("axes")).unwrap_or_else(|| (0..shape.rank() as i64).collect());
    let axes = axes.iter().map(|&a| c.axis("axes", a, shape.rank())).collect::<Result<Vec<_>, _>>()?;
    let y = c.primitive(make(axes.clone()), &[x])?;
    if c.int("keepdims", 1) != 0 {
        return Ok(vec![y]);
    }
    let left = shape.dims().iter().enumerate().filter(|(i, _)| !axes.contains(i)).map(|(_, d)| *d).collect();
    let shape = Shape::from_dims(left).expect("the batch cannot be summed over");
    Ok(vec![c.primitive(Primitive::Reshape { shape }, &[y])?])
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    /// The page lists what the table has: no more, no less. ONNX Runtime's own are for graphs of this project alone.
    #[test]
    fn the_page_lists_every_operator() {
        let page =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/gradient.md")).unwrap();
        let table = page.split("| | operators |").nth(1).and_then(|rest| rest.split("\n\n").next()).unwrap();
        let plain = |text: &str| -> String {
            let mut depth = 0;
            let mut keep = |c: char| {
                depth += i32::from(c == '(') - i32::from(c == ')');
                depth == 0 && c != ')'
            };
            text.chars().filter(|&c| keep(c)).collect()
        };
        let listed: BTreeSet<String> = table
            .lines()
            .filter_map(|row| row.split('|').nth(2))
            .flat_map(|row| {
                plain(row).split([',', ';']).map(|name| name.trim().to_owned()).collect::<Vec<_>>()
            })
            .filter(|name| !name.is_empty() && !name.starts_with('-'))
            .collect();
        let read: BTreeSet<String> = super::names().filter(|name| !name.contains('.')).collect();
        assert_eq!(listed, read);
    }
}
