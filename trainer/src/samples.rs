//! A picture of what a translation did.

use anomalens_models::image::{AnomalyMap, UnitImage};
use image::{Rgb, RgbImage, imageops};
use ndarray::{Array2, Array4, ArrayView2, Axis};

/// Pixels that an edge of a tile should have at least.
const TILE: usize = 96;
/// Pixels between tiles.
const GAP: usize = 2;

/// A row an image [C, H, W]: its channels, those of its healthy version [N, C, H, W], the map from 0 (black) to the largest of all
/// maps (white), the lesion.
pub fn draw(
    images: &[UnitImage],
    healthy: &Array4<f32>,
    maps: &[AnomalyMap],
    masks: &[Option<Array2<bool>>],
) -> RgbImage {
    let (channels, height, width) = images[0].pixels().dim();
    let factor = TILE.div_ceil(height.min(width));
    let (tall, wide) = (height * factor + GAP, width * factor + GAP);
    let columns = 2 * channels + 2;
    let mut sheet = RgbImage::new((columns * wide) as u32, (images.len() * tall) as u32);
    let brightest = maps.iter().flat_map(|map| map.values()).fold(f32::MIN_POSITIVE, |a, &b| a.max(b));
    for (row, (image, map)) in images.iter().zip(maps).enumerate() {
        let healthy = healthy.index_axis(Axis(0), row);
        let mut tiles: Vec<RgbImage> =
            image.pixels().outer_iter().chain(healthy.outer_iter()).map(grey).collect();
        tiles.push(grey((map.values() / brightest).view()));
        tiles.extend(masks[row].as_ref().map(|mask| grey(mask.mapv(|m| f32::from(u8::from(m))).view())));
        for (column, tile) in tiles.iter().enumerate() {
            let (w, h) = ((width * factor) as u32, (height * factor) as u32);
            let tile = imageops::resize(tile, w, h, imageops::FilterType::Nearest);
            imageops::replace(&mut sheet, &tile, (column * wide) as i64, (row * tall) as i64);
        }
    }
    sheet
}

fn grey(plane: ArrayView2<'_, f32>) -> RgbImage {
    let (height, width) = plane.dim();
    RgbImage::from_fn(width as u32, height as u32, |x, y| {
        Rgb([(plane[[y as usize, x as usize]].clamp(0.0, 1.0) * 255.0).round() as u8; 3])
    })
}
