//! Shape rules: one a primitive, checked when a node is added.

use super::{DType, Dim, Primitive, Shape, TensorType, Window};

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
        P::Clip { min, max } if min.is_nan() || max.is_nan() || min > max => {
            Err(format!("a least value that is not above the greatest, not {min} and {max}"))
        }
        P::Sqrt
        | P::Abs
        | P::Log
        | P::Erf
        | P::Pow { .. }
        | P::Clip { .. }
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
            if x.open() == Some(0) && x.rank() >= 3 { Ok(x.clone()) } else { Err("[N, C, …]".into()) }
        }
        P::Gemm => gemm(shapes).ok_or_else(|| "[N, I], [O, I] and [O]".into()),
        P::MatMul => matmul(shapes).ok_or_else(|| "[…, m, k] and […, k, n]".into()),
        P::Conv { window, groups } => conv(shapes, window, *groups).ok_or_else(|| {
            "[N, I, H, W], [O, I / groups, k, l] and [O], groups that divide O, a kernel within the padded image".into()
        }),
        P::ConvTranspose { window, groups, output_padding } => {
            conv_transpose(shapes, window, *groups, *output_padding).ok_or_else(|| {
                "[N, O, H, W] and [O, I / groups, k, l], groups that divide O, output padding below the stride".into()
            })
        }
        P::MaxPool { kernel, window } | P::AveragePool { kernel, window } => {
            let [c, h, w] = image(shapes)?;
            // A window of nothing but border has no greatest value: none may end before the image, begin behind it, or step over it.
            let side = |direction: usize, side: usize| {
                let (places, gap) = (kernel[direction], window.dilations[direction]);
                let reach = window.reach(direction, places)?;
                let sees = window.border(direction).iter().all(|pad| *pad < reach) && (places == 1 || gap <= side);
                window.outputs(direction, side, places).filter(|_| sees)
            };
            match (side(0, h), side(1, w)) {
                (Some((h, _)), Some((w, _))) => Ok(Shape::batch(&[c, h, w])),
                _ => Err(format!("[N, C, H, W] that every window of {kernel:?} sees some of")),
            }
        }
        P::Resize { factor } => {
            let [c, h, w] = image(shapes)?;
            Ok(Shape::batch(&[c, h * factor, w * factor]))
        }
        P::Reshape { shape } => {
            let x = one(shapes)?;
            if x.open().is_some() == shape.open().is_some() && x.sample_elements() == shape.sample_elements() {
                Ok(shape.clone())
            } else {
                Err(format!("as many elements as {shape}, with the batch in both or in neither"))
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
                .ok_or_else(|| "one open axis at most".into())
        }
        P::Concat { axis } => concat(shapes, *axis),
        P::Slice { axis, start, end, step } => {
            let x = one(shapes)?;
            match x.len(*axis) {
                Some(len) if start < end && *end <= len && *step > 0 => {
                    Ok(x.with(*axis, Dim::Len((end - start).div_ceil(*step))))
                }
                _ => Err(format!("axis {axis} to hold elements {start}..{end}, by steps of at least 1")),
            }
        }
        P::Pad { axis, before, after, .. } => {
            let x = one(shapes)?;
            let len = x.len(*axis).ok_or(format!("an axis {axis} that is not the batch"))?;
            Ok(x.with(*axis, Dim::Len(before + len + after)))
        }
        P::Expand { shape } => {
            let x = one(shapes)?;
            match x.broadcast(shape) {
                Some(to) if to == *shape && x.rank() == to.rank() && x.open() == to.open() => {
                    Ok(to)
                }
                _ => Err(format!("a shape that expands to {shape} without the batch")),
            }
        }
        P::ReduceSum { axes } | P::ReduceMean { axes } | P::ReduceMax { axes } => {
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
    let fits = x.rank() == 2 && x.open() == Some(0) && x.len(1) == Some(inner);
    (fits && w.rank() == 2 && **b == Shape::fixed(&[out])).then(|| x.with(1, Dim::Len(out)))
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

/// Output channels, input channels a group and the kernel's sides, where these weights fit the groups.
fn kernel(w: &Shape, groups: usize) -> Option<[usize; 4]> {
    let [out, within, rows, cols] = [w.len(0)?, w.len(1)?, w.len(2)?, w.len(3)?];
    (w.rank() == 4 && groups > 0 && out % groups == 0).then_some([out, within, rows, cols])
}

fn conv(shapes: &[&Shape], window: &Window, groups: usize) -> Option<Shape> {
    let [x, w, b] = shapes else { return None };
    let [channels, height, width] = image(&[x]).ok()?;
    let [out, within, rows, cols] = kernel(w, groups)?;
    let fits = within.checked_mul(groups) == Some(channels) && **b == Shape::fixed(&[out]);
    let sides = [window.outputs(0, height, rows)?.0, window.outputs(1, width, cols)?.0];
    fits.then(|| Shape::batch(&[out, sides[0], sides[1]]))
}

fn conv_transpose(shapes: &[&Shape], window: &Window, groups: usize, extra: [usize; 2]) -> Option<Shape> {
    let [x, w] = shapes else { return None };
    let [channels, height, width] = image(&[x]).ok()?;
    let [out, within, rows, cols] = kernel(w, groups)?;
    let fits = out == channels && extra.iter().zip(window.strides).all(|(e, stride)| *e < stride);
    let sides = [window.image(0, height, rows, extra[0])?, window.image(1, width, cols, extra[1])?];
    fits.then(|| Some(Shape::batch(&[within.checked_mul(groups)?, sides[0], sides[1]]))).flatten()
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
