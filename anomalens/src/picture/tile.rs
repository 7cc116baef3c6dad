//! One tile of a picture: an image plane at display size, in grey, as heat, under heat, or with an outline.

use image::imageops::{FilterType, resize};
use image::{ImageBuffer, Luma, RgbImage};
use ndarray::ArrayView2;

use super::colour::{OUTLINE, blend, grey, inferno};

/// Width and height of every tile of a picture, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TileSize {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
}

impl TileSize {
    /// The size at which an image of `height` x `width` source pixels is shown with its longer side near `target`
    /// pixels: a whole multiple of the source where that is possible, so that a pixel stays a pixel. `aspect` is
    /// row spacing over column spacing.
    pub fn near(target: u32, (height, width): (usize, usize), aspect: f64) -> Self {
        let (height, width) = (height.max(1) as f64 * aspect, width.max(1) as f64);
        let longest = height.max(width);
        let whole = (f64::from(target) / longest).round();
        let factor = if whole >= 1.0 && longest * whole <= 1.5 * f64::from(target) {
            whole
        } else {
            f64::from(target) / longest
        };
        let pixels = |length: f64| (length * factor).round().max(1.0) as u32;
        Self { width: pixels(width), height: pixels(height) }
    }
}

/// A plane in [0, 1] as grey.
pub fn image(plane: ArrayView2<f32>, size: TileSize) -> RgbImage {
    coloured(&smooth(plane, size), grey)
}

/// A map as heat; `full_scale` gets the brightest colour.
pub fn heat(map: ArrayView2<f32>, full_scale: f32, size: TileSize) -> RgbImage {
    coloured(&smooth(map, size), |v| inferno(v / full_scale))
}

/// A map as heat over a grey plane: the larger the value, the less of the plane shows through.
pub fn heat_over(plane: ArrayView2<f32>, map: ArrayView2<f32>, full_scale: f32, size: TileSize) -> RgbImage {
    let mut tile = image(plane, size);
    for (pixel, value) in tile.pixels_mut().zip(smooth(map, size).pixels()) {
        let share = (value[0] / full_scale).clamp(0.0, 1.0);
        *pixel = blend(*pixel, inferno(share), share);
    }
    tile
}

/// A grey plane with the border of the mask drawn on it.
pub fn outline_over(plane: ArrayView2<f32>, mask: ArrayView2<bool>, size: TileSize) -> RgbImage {
    let mut tile = image(plane, size);
    let (rows, columns) = mask.dim();
    let inside = |x: i64, y: i64| {
        let outside = x < 0 || y < 0 || x >= i64::from(size.width) || y >= i64::from(size.height);
        !outside
            && mask
                [[(y as usize * rows) / size.height as usize, (x as usize * columns) / size.width as usize]]
    };
    let thick = i64::from(size.width.max(size.height)) / 250 + 1;
    for (x, y, pixel) in tile.enumerate_pixels_mut() {
        let (x, y) = (i64::from(x), i64::from(y));
        let near = [(-thick, 0), (thick, 0), (0, -thick), (0, thick)];
        if inside(x, y) && near.iter().any(|(dx, dy)| !inside(x + dx, y + dy)) {
            *pixel = OUTLINE;
        }
    }
    tile
}

fn smooth(plane: ArrayView2<f32>, size: TileSize) -> ImageBuffer<Luma<f32>, Vec<f32>> {
    let (rows, columns) = plane.dim();
    let clean: Vec<f32> = plane.iter().map(|v| if v.is_finite() { *v } else { 0.0 }).collect();
    let source = ImageBuffer::from_raw(columns as u32, rows as u32, clean).expect("one value a pixel");
    // Triangle is bilinear upwards and averages downwards.
    resize(&source, size.width, size.height, FilterType::Triangle)
}

fn coloured(plane: &ImageBuffer<Luma<f32>, Vec<f32>>, colour: impl Fn(f32) -> image::Rgb<u8>) -> RgbImage {
    RgbImage::from_fn(plane.width(), plane.height(), |x, y| colour(plane.get_pixel(x, y)[0]))
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, array};

    use super::*;

    #[test]
    fn tile_sizes() {
        struct Case {
            source: (usize, usize),
            aspect: f64,
            expected: (u32, u32),
        }
        let cases = [
            Case { source: (64, 64), aspect: 1.0, expected: (256, 256) },
            Case { source: (240, 240), aspect: 1.0, expected: (240, 240) },
            Case { source: (256, 200), aspect: 1.0, expected: (200, 256) },
            Case { source: (1024, 512), aspect: 1.0, expected: (128, 256) },
            Case { source: (64, 64), aspect: 2.0, expected: (128, 256) },
            Case { source: (1, 1), aspect: 1.0, expected: (256, 256) },
        ];
        let wrong: Vec<_> = cases
            .iter()
            .filter_map(|case| {
                let found = TileSize::near(256, case.source, case.aspect);
                ((found.width, found.height) != case.expected).then_some((case.source, found, case.expected))
            })
            .collect();
        assert!(wrong.is_empty(), "{wrong:?}");
    }

    #[test]
    fn an_outline_surrounds_the_mask_and_nothing_else() {
        let plane = Array2::zeros((8, 8));
        let size = TileSize { width: 64, height: 64 };
        let mut mask = Array2::from_elem((8, 8), false);
        assert!(outline_over(plane.view(), mask.view(), size).pixels().all(|p| *p != OUTLINE));
        mask[[2, 3]] = true;
        let tile = outline_over(plane.view(), mask.view(), size);
        for (x, y, pixel) in tile.enumerate_pixels() {
            let border =
                (24..32).contains(&x) && (16..24).contains(&y) && (x == 24 || x == 31 || y == 16 || y == 23);
            assert_eq!(*pixel == OUTLINE, border, "at ({x}, {y})");
        }
    }

    #[test]
    fn heat_covers_only_where_there_is_some() {
        let (plane, map) = (array![[0.5f32, 0.5]], array![[0.0f32, 2.0]]);
        let tile = heat_over(plane.view(), map.view(), 2.0, TileSize { width: 2, height: 1 });
        assert_eq!((*tile.get_pixel(0, 0), *tile.get_pixel(1, 0)), (grey(0.5), inferno(1.0)));
    }
}
