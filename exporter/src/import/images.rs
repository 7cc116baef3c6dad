//! The import of what moves over an image.

use anomalens_models::graph::{NodeId, Primitive, Shape, Window};

use super::ImportError;
use super::call::Call;
use super::ops::Values;

/// The third operand, or zeros where it is left out.
pub(super) fn bias(c: &mut Call<'_>, len: Option<usize>) -> Result<NodeId, ImportError> {
    match c.optional(2)? {
        Some(bias) => Ok(bias),
        None => c.build(|b| Ok(b.vector(vec![0.0; len.unwrap_or(0)]))),
    }
}

/// How a kernel of these sides moves.
fn window(c: &Call<'_>, kernel: [usize; 2]) -> Result<Window, ImportError> {
    c.only_text("auto_pad", "NOTSET", "NOTSET")?;
    let stated = numbers::<2>(c, "kernel_shape", 0)?;
    if c.int_list("kernel_shape").is_some() && stated != kernel {
        let sides = format!("the sides of the weights, {kernel:?}");
        return Err(c.unsupported("kernel_shape", &sides));
    }
    let window = Window {
        strides: numbers(c, "strides", 1)?,
        pads: numbers(c, "pads", 0)?,
        dilations: numbers(c, "dilations", 1)?,
    };
    for (name, steps) in [("strides", window.strides), ("dilations", window.dilations)] {
        if steps.contains(&0) {
            return Err(c.unsupported(name, "steps of at least 1"));
        }
    }
    Ok(window)
}

/// An attribute of so many numbers; `default` for each where it is left out.
fn numbers<const COUNT: usize>(
    c: &Call<'_>,
    name: &str,
    default: usize,
) -> Result<[usize; COUNT], ImportError> {
    let Some(list) = c.int_list(name) else { return Ok([default; COUNT]) };
    let list: Option<Vec<usize>> = list.iter().map(|&v| u16::try_from(v).ok().map(usize::from)).collect();
    list.and_then(|list| <[usize; COUNT]>::try_from(list).ok()).ok_or_else(|| {
        c.unsupported(name, &format!("{COUNT} numbers from 0 to 65535, for images [N, C, H, W]"))
    })
}

/// The groups of a convolution.
fn groups(c: &Call<'_>) -> Result<usize, ImportError> {
    usize::try_from(c.int("group", 1)).map_err(|_| c.unsupported("group", "a number, not negative"))
}

/// The sides of a kernel `[O, I, k, l]`.
fn sides(kernel: &Shape) -> [usize; 2] {
    [2, 3].map(|axis| kernel.len(axis).unwrap_or(0))
}

/// A convolution of an image `[N, I, H, W]` by weights `[O, I / groups, k, l]`; the bias is the node's third operand.
pub(super) fn conv(c: &mut Call<'_>, x: NodeId, weight: NodeId) -> Values {
    let kernel = c.shape(weight);
    let (window, groups) = (window(c, sides(&kernel))?, groups(c)?);
    let bias = bias(c, kernel.len(0))?;
    Ok(vec![c.primitive(Primitive::Conv { window, groups }, &[x, weight, bias])?])
}

pub(super) fn conv_transpose(c: &mut Call<'_>) -> Values {
    let (x, weight) = (c.operand(0)?, c.operand(1)?);
    let kernel = c.shape(weight);
    let (window, groups, output_padding) =
        (window(c, sides(&kernel))?, groups(c)?, numbers(c, "output_padding", 0)?);
    let y = c.primitive(Primitive::ConvTranspose { window, groups, output_padding }, &[x, weight])?;
    let Some(bias) = c.optional(2)? else { return Ok(vec![y]) };
    let per_channel = Shape::fixed(&[c.shape(y).len(1).unwrap_or(0), 1, 1]);
    let bias = c.primitive(Primitive::Reshape { shape: per_channel }, &[bias])?;
    Ok(vec![c.primitive(Primitive::Add, &[y, bias])?])
}

/// The kernel of a pooling, how it moves, and how much of the border after the image is only there because lengths are rounded up.
fn pool(c: &Call<'_>, image: &Shape) -> Result<([usize; 2], Window, [usize; 2]), ImportError> {
    if c.int_list("kernel_shape").is_none() {
        return Err(c.unsupported("kernel_shape", "two numbers"));
    }
    let kernel = numbers(c, "kernel_shape", 0)?;
    let mut window = window(c, kernel)?;
    let mut extra = [0; 2];
    for direction in 0..if c.int("ceil_mode", 0) == 0 { 0 } else { 2 } {
        let side = image.len(2 + direction).unwrap_or(0);
        let Some((outputs, rest)) = window.outputs(direction, side, kernel[direction]) else { continue };
        let (step, [before, _]) = (window.strides[direction], window.border(direction));
        // One more window, if it begins in the image or before it.
        if rest > 0 && outputs * step < before + side {
            extra[direction] = step - rest;
            window.pads[2 + direction] += step - rest;
        }
    }
    Ok((kernel, window, extra))
}

pub(super) fn max_pool(c: &mut Call<'_>) -> Values {
    c.only("storage_order", 0, 0)?;
    let x = c.operand(0)?;
    let (kernel, window, _) = pool(c, &c.shape(x))?;
    Ok(vec![c.primitive(Primitive::MaxPool { kernel, window }, &[x])?])
}

/// In the graph the border always counts; where it shall not, windows that see it are scaled up by a constant.
pub(super) fn average_pool(c: &mut Call<'_>) -> Values {
    let x = c.operand(0)?;
    let (kernel, window, extra) = pool(c, &c.shape(x))?;
    if window.dilations != [1; 2] {
        return Err(c.unsupported("dilations", "1"));
    }
    let y = c.primitive(Primitive::AveragePool { kernel, window }, &[x])?;
    let border = c.int("count_include_pad", 0) != 0;
    if window.pads == [0; 4] || border && extra == [0; 2] {
        return Ok(vec![y]);
    }
    let (image, pooled) = (c.shape(x), c.shape(y));
    // How many places of a window count, along a direction and for each output.
    let counted = |direction: usize| -> Vec<usize> {
        let side = |shape: &Shape| shape.len(2 + direction).unwrap_or(0);
        let ([before, after], step) = (window.border(direction), window.strides[direction]);
        let counts = match border {
            true => 0..before + side(&image) + after - extra[direction],
            false => before..before + side(&image),
        };
        let count = |i: usize| (0..kernel[direction]).filter(|k| counts.contains(&(i * step + k))).count();
        (0..side(&pooled)).map(count).collect()
    };
    let (rows, cols) = (counted(0), counted(1));
    let all = (kernel[0] * kernel[1]) as f32;
    let scale = rows.iter().flat_map(|rows| cols.iter().map(move |cols| all / (rows * cols) as f32));
    let (scale, shape) = (scale.collect(), [rows.len(), cols.len()]);
    Ok(vec![c.build(|b| {
        let scale = b.constant(&shape, scale)?;
        b.mul(y, scale)
    })?])
}
