//! Slices side by side with the outline of a mask, small: what a person looks at to see whether the mask is right.

use image::{RgbImage, imageops};
use ndarray::{Array2, ArrayView2};

use super::colour::{BACKGROUND, TEXT, WARNING};
use super::text::{self, Style};
use super::tile::{self, TileSize};
use super::{GAP, LABEL, NOT_FOR_DIAGNOSTIC_USE};

/// The longer side of a tile, near this many pixels.
const TILE: u32 = 192;
/// Tiles in a row.
const ACROSS: u32 = 4;
/// The warning and the line under it.
const HEAD: u32 = 60;

/// Draws slices, at least one: each its label, its pixels in [0, 1] and its mask, both [H, W]. `title` stands under the
/// warning; no patient data, for it is burned in. `aspect`: row spacing over column spacing.
pub fn outlines(
    title: &str,
    slices: &[(String, Array2<f32>, ArrayView2<'_, bool>)],
    aspect: f64,
) -> RgbImage {
    let size = slices
        .first()
        .map_or(TileSize { width: 1, height: 1 }, |(_, plane, _)| TileSize::near(TILE, plane.dim(), aspect));
    let warning = Style::Headline.width(NOT_FOR_DIAGNOSTIC_USE).max(Style::Plain.width(title));
    let columns = ACROSS.min(slices.len() as u32);
    let rows = (slices.len() as u32).div_ceil(ACROSS);
    let width = (GAP + columns * (size.width + GAP)).max(warning + 2 * GAP);
    let row_height = LABEL + size.height + GAP;
    let mut canvas = RgbImage::from_pixel(width, HEAD + rows * row_height, BACKGROUND);
    let room = width - 2 * GAP;
    text::write(&mut canvas, (GAP, 8), room, NOT_FOR_DIAGNOSTIC_USE, Style::Headline, WARNING);
    text::write(&mut canvas, (GAP, 34), room, title, Style::Plain, TEXT);
    for (i, (label, plane, mask)) in (0u32..).zip(slices) {
        let (x, y) = (GAP + i % ACROSS * (size.width + GAP), HEAD + i / ACROSS * row_height);
        text::write(&mut canvas, (x, y), size.width, label, Style::Plain, TEXT);
        let tile = tile::outline_over(plane.view(), *mask, size);
        imageops::replace(&mut canvas, &tile, i64::from(x), i64::from(y + LABEL));
    }
    canvas
}

#[cfg(test)]
mod tests {
    use super::super::colour::OUTLINE;
    use super::*;

    #[test]
    fn every_slice_has_its_outline() {
        let plane = Array2::from_elem((32, 16), 0.5);
        let whole = Array2::from_elem((32, 16), true);
        let none = Array2::from_elem((32, 16), false);
        let slice =
            |i: usize| (format!("slice {i}"), plane.clone(), if i == 4 { none.view() } else { whole.view() });
        let slices: Vec<_> = (0..6).map(slice).collect();
        let picture = outlines("a title", &slices, 1.0);
        let size = TileSize::near(TILE, (32, 16), 1.0);
        let outlined = |i: u32| {
            let (x, y) = (GAP + i % 4 * (size.width + GAP), HEAD + i / 4 * (LABEL + size.height + GAP));
            let inside = (x..x + size.width).flat_map(|x| (y..y + LABEL + size.height).map(move |y| (x, y)));
            inside.filter(|(x, y)| *picture.get_pixel(*x, *y) == OUTLINE).count() > 0
        };
        assert_eq!([0, 1, 2, 3, 4, 5].map(outlined), [true, true, true, true, false, true]);
        assert!(picture.pixels().any(|pixel| *pixel == WARNING));
    }
}
