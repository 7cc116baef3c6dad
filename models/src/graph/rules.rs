//! Shape rules: one a primitive, checked when a node is added.

use super::{DType, Dim, Primitive, Shape, TensorType};

/// The type of the value that `op` makes of `inputs`.
///
/// Errors: what the rule expected, in words; the builder adds the place and what it found.
pub(super) fn infer(op: &Primitive, inputs: &[TensorType]) -> Result<TensorType, String> {
    use Primitive as P;
    match op {
        P::Input { ty, .. } => leaf(inputs, ty.clone()),
        P::Param(spec) => leaf(inputs, TensorType::f32(Shape::fixed(&spec.shape))),
        P::Constant(c) if c.values.len() != c.shape.iter().product::<usize>() => {
            Err(format!("{} values", c.shape.iter().product::<usize>()))
        }
        P::Constant(c) => leaf(inputs, TensorType::f32(Shape::fixed(&c.shape))),
        P::Cast => match inputs {
            [x] if x.dtype == DType::I64 => Ok(TensorType::f32(x.shape.clone())),
            _ => Err("one integer value".into()),
        },
        P::Gather => match inputs {
            [table, index]
                if table.dtype == DType::F32
                    && table.shape.rank() == 2
                    && !table.shape.has_batch()
                    && *index == TensorType::i64(Shape::batch(&[])) =>
            {
                Ok(TensorType::f32(table.shape.with(0, Dim::N)))
            }
            _ => Err("a table [K, D] and indices [N] i64".into()),
        },
        P::OneHot { depth } => match inputs {
            [x] if *x == TensorType::i64(Shape::batch(&[])) => Ok(TensorType::f32(Shape::batch(&[*depth]))),
            _ => Err("indices [N] i64".into()),
        },
        // All that remain work on floating-point values.
        _ if inputs.iter().any(|t| t.dtype != DType::F32) => Err("floating-point values".into()),
        _ => {
            let shapes: Vec<&Shape> = inputs.iter().map(|t| &t.shape).collect();
            infer_float(op, &shapes).map(TensorType::f32)
        }
    }
}

fn leaf(inputs: &[TensorType], ty: TensorType) -> Result<TensorType, String> {
    if inputs.is_empty() { Ok(ty) } else { Err("no inputs".into()) }
}

fn infer_float(op: &Primitive, shapes: &[&Shape]) -> Result<Shape, String> {
    use Primitive as P;
    match op {
        P::Input { .. } | P::Param(_) | P::Constant(_) | P::Cast | P::Gather | P::OneHot { .. } => {
            unreachable!("typed by infer")
        }
        P::Add | P::Sub | P::Mul | P::Div => match shapes {
            [a, b] => a.broadcast(b).ok_or_else(|| "two shapes that broadcast".into()),
            _ => Err("two values".into()),
        },
        P::LeakyRelu { slope } if !(0.0..1.0).contains(slope) => Err("a slope in [0, 1)".into()),
        P::Sqrt
        | P::Sigmoid
        | P::Relu
        | P::LeakyRelu { .. }
        | P::Exp
        | P::Tanh
        | P::Sign
        | P::Cos
        | P::Sin => Ok(one(shapes)?.clone()),
        P::Softmax { axis } | P::LogSoftmax { axis } => {
            let x = one(shapes)?;
            x.len(*axis).map(|_| x.clone()).ok_or(format!("an axis {axis} that is not the batch"))
        }
        P::InstanceNormalization { .. } => {
            let x = one(shapes)?;
            if x.has_batch() && x.rank() >= 3 { Ok(x.clone()) } else { Err("[N, C, …]".into()) }
        }
        P::Gemm => gemm(shapes).ok_or_else(|| "[N, I], [O, I] and [O]".into()),
        P::MatMul => matmul(shapes).ok_or_else(|| "[…, m, k] and […, k, n]".into()),
        P::Conv { stride, pad } => conv(shapes, *stride, *pad)
            .ok_or_else(|| "[N, I, H, W], [O, I, k, k] and [O], k ≤ H + 2 pad".into()),
        P::ConvTranspose { stride, pad, output_padding } => {
            conv_transpose(shapes, *stride, *pad, *output_padding)
                .ok_or_else(|| "[N, O, H, W] and [O, I, k, k], output padding below the stride".into())
        }
        P::AveragePool { size } => {
            let [c, h, w] = image(shapes)?;
            if *size > 0 && h % size == 0 && w % size == 0 {
                Ok(Shape::batch(&[c, h / size, w / size]))
            } else {
                Err(format!("[N, C, H, W] with H and W multiples of {size}"))
            }
        }
        P::Resize { factor } => {
            let [c, h, w] = image(shapes)?;
            Ok(Shape::batch(&[c, h * factor, w * factor]))
        }
        P::Reshape { shape } => {
            let x = one(shapes)?;
            if x.has_batch() == shape.has_batch() && x.sample_elements() == shape.sample_elements() {
                Ok(shape.clone())
            } else {
                Err(format!("as many elements as {shape}, with the batch in front of both or of neither"))
            }
        }
        P::Transpose { perm } => {
            let x = one(shapes)?;
            let mut sorted = perm.clone();
            sorted.sort_unstable();
            if sorted.iter().copied().ne(0..x.rank()) {
                return Err(format!("a permutation of {} axes, not {perm:?}", x.rank()));
            }
            Shape::from_dims(perm.iter().map(|&p| x.dims()[p]).collect())
                .ok_or_else(|| "the batch to stay first".into())
        }
        P::Concat { axis } => concat(shapes, *axis),
        P::Slice { axis, start, end } => {
            let x = one(shapes)?;
            match x.len(*axis) {
                Some(len) if start < end && *end <= len => Ok(x.with(*axis, Dim::Len(end - start))),
                _ => Err(format!("axis {axis} to hold elements {start}..{end}")),
            }
        }
        P::Pad { axis, before, after } => {
            let x = one(shapes)?;
            let len = x.len(*axis).ok_or(format!("an axis {axis} that is not the batch"))?;
            Ok(x.with(*axis, Dim::Len(before + len + after)))
        }
        P::Expand { shape } => {
            let x = one(shapes)?;
            match x.broadcast(shape) {
                Some(to) if to == *shape && x.rank() == to.rank() && x.has_batch() == to.has_batch() => {
                    Ok(to)
                }
                _ => Err(format!("a shape that expands to {shape} without the batch")),
            }
        }
        P::ReduceSum { axes } | P::ReduceMean { axes } => {
            let x = one(shapes)?;
            axes.iter().try_fold(x.clone(), |shape, &axis| match x.len(axis) {
                Some(_) => Ok(shape.with(axis, Dim::Len(1))),
                None => Err(format!("an axis {axis} that is not the batch")),
            })
        }
    }
}

fn one<'a>(shapes: &[&'a Shape]) -> Result<&'a Shape, String> {
    match shapes {
        [x] => Ok(x),
        _ => Err("one value".into()),
    }
}

fn image(shapes: &[&Shape]) -> Result<[usize; 3], String> {
    match shapes {
        [x] if x.has_batch() && x.rank() == 4 => {
            Ok([x.len(1), x.len(2), x.len(3)].map(|d| d.expect("only the first dimension is the batch")))
        }
        _ => Err("one image [N, C, H, W]".into()),
    }
}

fn gemm(shapes: &[&Shape]) -> Option<Shape> {
    let [x, w, b] = shapes else { return None };
    let (inner, out) = (w.len(1)?, w.len(0)?);
    (**x == Shape::batch(&[inner]) && w.rank() == 2 && **b == Shape::fixed(&[out]))
        .then(|| Shape::batch(&[out]))
}

fn matmul(shapes: &[&Shape]) -> Option<Shape> {
    let [a, b] = shapes else { return None };
    let (ra, rb) = (a.rank().checked_sub(2)?, b.rank().checked_sub(2)?);
    let (m, k, n) = (a.dims()[ra], a.len(ra + 1)?, b.len(rb + 1)?);
    let head = |s: &Shape, r: usize| Shape::from_dims(s.dims()[..r].to_vec());
    let outer = head(a, ra)?.broadcast(&head(b, rb)?)?;
    let dims = outer.dims().iter().copied().chain([m, Dim::Len(n)]).collect();
    (b.len(rb)? == k).then(|| Shape::from_dims(dims)).flatten()
}

fn conv(shapes: &[&Shape], stride: usize, pad: usize) -> Option<Shape> {
    let [x, w, b] = shapes else { return None };
    let (out, k) = (w.len(0)?, w.len(2)?);
    let fits = x.has_batch()
        && x.rank() == 4
        && w.rank() == 4
        && w.len(1) == x.len(1)
        && w.len(3) == Some(k)
        && **b == Shape::fixed(&[out]);
    let side = |d: usize| Some((d + 2 * pad).checked_sub(k)? / stride + 1);
    (fits && stride > 0).then(|| Some(Shape::batch(&[out, side(x.len(2)?)?, side(x.len(3)?)?]))).flatten()
}

fn conv_transpose(shapes: &[&Shape], stride: usize, pad: usize, extra: [usize; 2]) -> Option<Shape> {
    let [x, w] = shapes else { return None };
    let k = w.len(2)?;
    let fits = x.has_batch()
        && x.rank() == 4
        && w.rank() == 4
        && w.len(0) == x.len(1)
        && w.len(3) == Some(k)
        && extra.iter().all(|e| *e < stride);
    let side = |d: usize, e: usize| ((d.checked_sub(1)?) * stride + k + e).checked_sub(2 * pad);
    fits.then(|| Some(Shape::batch(&[w.len(1)?, side(x.len(2)?, extra[0])?, side(x.len(3)?, extra[1])?])))
        .flatten()
}

fn concat(shapes: &[&Shape], axis: usize) -> Result<Shape, String> {
    let expected = || format!("shapes that differ along axis {axis} alone, which is not the batch");
    let first = *shapes.first().ok_or_else(expected)?;
    let mut total = 0;
    for shape in shapes {
        let len = shape.len(axis).ok_or_else(expected)?;
        if shape.with(axis, Dim::Len(0)) != first.with(axis, Dim::Len(0)) {
            return Err(expected());
        }
        total += len;
    }
    Ok(first.with(axis, Dim::Len(total)))
}
