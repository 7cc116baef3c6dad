//! The import of resizing: by blocks where pixels are repeated, else by a matrix a direction.

use anomalens_models::graph::{NodeId, Primitive};

use super::ImportError;
use super::call::Call;
use super::known::Count;
use super::ops::Values;

/// The two image axes, which stand last; for whole factors, channels being last, also in the middle.
pub(super) fn resize(c: &mut Call<'_>) -> Values {
    for name in ["antialias", "exclude_outside"] {
        c.only(name, 0, 0)?;
    }
    c.only_text("keep_aspect_ratio_policy", "stretch", "stretch")?;
    let x = c.operand(0)?;
    let scales = c.floats(2)?.unwrap_or_default();
    let repeats = c.string("mode", "nearest") == "nearest"
        && c.string("coordinate_transformation_mode", "half_pixel") == "asymmetric"
        && c.string("nearest_mode", "round_prefer_floor") == "floor";
    let whole = |f: f32| (1.0..=1024.0).contains(&f) && f.fract() == 0.0;
    match scales[..] {
        [1.0, 1.0, f, g] if repeats && f == g && whole(f) => {
            return Ok(vec![c.primitive(Primitive::Resize { factor: f as usize }, &[x])?]);
        }
        [1.0, f, g, 1.0] if repeats && f == g && whole(f) && c.shape(x).rank() == 4 => {
            let x = c.channels_first(x)?;
            let y = c.primitive(Primitive::Resize { factor: f as usize }, &[x])?;
            return Ok(vec![c.channels_last(y)?]);
        }
        _ => (),
    }
    let shape = c.shape(x);
    let (Some(height), Some(width), 4) = (shape.len(2), shape.len(3), shape.rank()) else {
        return Err(c.bad(0, shape.to_string(), "an image [N, C, H, W]"));
    };
    let sizes = c.counts(3)?.unwrap_or_default();
    let sides = [height, width];
    // Length and scale of each direction.
    let wanted: Option<[(usize, f64); 2]> = match (&scales[..], &sizes[..]) {
        ([], [_, channels, rows, cols]) if *channels == Count::Same(shape.len(1).unwrap_or(0) as i64) => {
            let side = |count: &Count| match count {
                Count::Same(len) => usize::try_from(*len).ok(),
                Count::Batch(_) => None,
            };
            side(rows)
                .zip(side(cols))
                .map(|(rows, cols)| [(rows, rows as f64 / height as f64), (cols, cols as f64 / width as f64)])
        }
        ([1.0, 1.0, f, g], []) => {
            let [f, g] = [f64::from(*f), f64::from(*g)];
            Some([((height as f64 * f) as usize, f), ((width as f64 * g) as usize, g)])
        }
        _ => None,
    };
    let fits = |&(len, scale): &(usize, f64)| (1..=4096).contains(&len) && scale.is_finite() && scale > 0.0;
    let wanted = wanted.filter(|wanted| wanted.iter().all(fits)).ok_or_else(|| {
        let found = format!("scales {scales:?}, sizes {sizes:?} for {shape}");
        c.bad(2, found, "scales or sizes of the two sides of an image [N, C, H, W], up to 4096")
    })?;
    let mut y = x;
    for (direction, (len, scale)) in wanted.into_iter().enumerate() {
        y = along(c, y, direction, sides[direction], len, scale)?;
    }
    Ok(vec![y])
}

/// Resizes one direction, 0 rows, 1 columns: each output is a mean of one or two inputs.
fn along(
    c: &mut Call<'_>,
    x: NodeId,
    direction: usize,
    side: usize,
    len: usize,
    scale: f64,
) -> Result<NodeId, ImportError> {
    let mut weights = vec![0.0f32; len * side];
    for i in 0..len {
        for (place, weight) in seen(c, i, side, len, scale)? {
            let place = place.clamp(0.0, (side - 1) as f64) as usize;
            // Rows: [H', H]; columns, which are multiplied from the right: [W, W'].
            weights[if direction == 0 { i * side + place } else { place * len + i }] += weight as f32;
        }
    }
    if direction == 0 {
        let rows = c.build(|b| b.constant(&[len, side], weights))?;
        c.primitive(Primitive::MatMul, &[rows, x])
    } else {
        let cols = c.build(|b| b.constant(&[side, len], weights))?;
        c.primitive(Primitive::MatMul, &[x, cols])
    }
}

/// The places that output `i` sees, and how much of each.
fn seen(c: &Call<'_>, i: usize, side: usize, len: usize, scale: f64) -> Result<Vec<(f64, f64)>, ImportError> {
    let i = i as f64;
    let place = match c.string("coordinate_transformation_mode", "half_pixel").as_str() {
        "half_pixel" => (i + 0.5) / scale - 0.5,
        "pytorch_half_pixel" if len > 1 => (i + 0.5) / scale - 0.5,
        "align_corners" if len > 1 => i * (side - 1) as f64 / (len - 1) as f64,
        "pytorch_half_pixel" | "align_corners" => 0.0,
        "asymmetric" => i / scale,
        _ => {
            let supported = "half_pixel, pytorch_half_pixel, align_corners, asymmetric";
            return Err(c.unsupported("coordinate_transformation_mode", supported));
        }
    };
    match (c.string("mode", "nearest").as_str(), c.string("nearest_mode", "round_prefer_floor").as_str()) {
        ("linear", _) => {
            let part = place - place.floor();
            Ok(vec![(place.floor(), 1.0 - part), (place.floor() + 1.0, part)])
        }
        ("nearest", "round_prefer_floor") => Ok(vec![((place - 0.5).ceil(), 1.0)]),
        ("nearest", "round_prefer_ceil") => Ok(vec![((place + 0.5).floor(), 1.0)]),
        ("nearest", "floor") => Ok(vec![(place.floor(), 1.0)]),
        ("nearest", "ceil") => Ok(vec![(place.ceil(), 1.0)]),
        ("nearest", _) => {
            Err(c.unsupported("nearest_mode", "round_prefer_floor, round_prefer_ceil, floor, ceil"))
        }
        _ => Err(c.unsupported("mode", "nearest, linear")),
    }
}
