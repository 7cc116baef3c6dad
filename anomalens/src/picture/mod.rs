//! The picture of one slice: input, reconstruction, anomaly map as heat, outline of the mask, with labels, a
//! colour bar and "NOT FOR DIAGNOSTIC USE" burned in. It goes into the report and, as a Secondary Capture, into
//! the archive.
//!
//! ```text
//! one channel:    input | reconstruction | map over input | mask outline | colour bar
//! more channels:  input of each channel
//!                 reconstruction of each channel
//!                 map | map over a channel | mask outline | colour bar
//! ```
//!
//! A method without a healthy version has no tiles of reconstruction.

pub mod colour;
mod outlines;
mod sheet;
mod text;
pub mod tile;

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{Rgb, RgbImage, imageops};
use ndarray::{ArrayView2, ArrayView3, Axis};

pub use outlines::outlines;
pub use sheet::{Sheet, SheetMap, SheetRow};

use colour::{BACKGROUND, FAINT, OUTLINE, TEXT, WARNING, inferno};
use text::Style;
use tile::TileSize;

/// Burned into every picture and shown on top of every report.
pub const NOT_FOR_DIAGNOSTIC_USE: &str = "NOT FOR DIAGNOSTIC USE";

const GAP: u32 = 12;
const LABEL: u32 = 20;
const HEADER: u32 = 60;
const BAR: u32 = 18;
const LEGEND: u32 = 130;

/// What a picture shows. All planes are on one grid [H, W].
pub struct Scene<'a> {
    /// One line under the warning; no patient data, for it is burned in.
    pub title: &'a str,
    /// Name of each channel.
    pub channels: &'a [String],
    /// The input, [C, H, W] in [0, 1].
    pub input: ArrayView3<'a, f32>,
    /// The reconstruction, [C, H, W], if there is one; shown with the same window, black at 0 and white at 1.
    pub healthy: Option<ArrayView3<'a, f32>>,
    /// The anomaly map, [H, W], at least 0.
    pub map: ArrayView2<'a, f32>,
    /// The mask, [H, W].
    pub mask: ArrayView2<'a, bool>,
    /// The map value above which a pixel is in the mask; marked on the colour bar.
    pub threshold: f32,
    /// The map value with the brightest colour; the same for all slices of a study, so that they compare.
    pub full_scale: f32,
    /// Row spacing over column spacing.
    pub aspect: f64,
}

impl Scene<'_> {
    /// Draws the picture.
    pub fn draw(&self) -> RgbImage {
        let full_scale = if self.full_scale > 0.0 { self.full_scale } else { 1.0 };
        let single = self.channels.len() == 1;
        let size = TileSize::near(if single { 384 } else { 256 }, self.map.dim(), self.aspect);
        let shown = self.most_changed();
        let (under, name) = (self.input.index_axis(Axis(0), shown), &self.channels[shown]);

        let grey_row = |what: &str, images: ArrayView3<f32>| -> Vec<(String, RgbImage)> {
            let label = |channel| if single { what.to_owned() } else { format!("{what}: {channel}") };
            self.channels
                .iter()
                .zip(images.outer_iter())
                .map(|(c, p)| (label(c), tile::image(p, size)))
                .collect()
        };
        let over =
            |what: &str| if single { format!("{what} over input") } else { format!("{what} over {name}") };
        let overlays = [
            (over("map"), tile::heat_over(under, self.map, full_scale, size)),
            (over("mask"), tile::outline_over(under, self.mask, size)),
        ];
        let input = grey_row("input", self.input);
        let healthy = self.healthy.map(|healthy| grey_row("reconstruction", healthy));
        let rows: Vec<Vec<(String, RgbImage)>> = if single {
            vec![input.into_iter().chain(healthy.into_iter().flatten()).chain(overlays).collect()]
        } else {
            let map = ("anomaly map".to_owned(), tile::heat(self.map, full_scale, size));
            let maps = std::iter::once(map).chain(overlays).collect();
            std::iter::once(input).chain(healthy).chain([maps]).collect()
        };
        self.compose(&rows, size, full_scale)
    }

    /// The channel that contributes most to the map: there a reader sees best what the map is about. Without a reconstruction,
    /// the first.
    fn most_changed(&self) -> usize {
        let Some(healthy) = self.healthy else { return 0 };
        let change = |c: usize| -> f32 {
            let planes = self.input.index_axis(Axis(0), c).into_iter().zip(healthy.index_axis(Axis(0), c));
            planes.map(|(a, b)| (a - b).abs()).filter(|d| d.is_finite()).sum()
        };
        (0..self.channels.len()).max_by(|&a, &b| change(a).total_cmp(&change(b)).then(b.cmp(&a))).unwrap_or(0)
    }

    fn compose(&self, rows: &[Vec<(String, RgbImage)>], size: TileSize, full_scale: f32) -> RgbImage {
        let across = |tiles: usize| GAP + tiles as u32 * (size.width + GAP);
        let widest = rows.iter().map(|row| across(row.len())).max().unwrap_or(0);
        let legend_x = across(rows.last().map_or(0, Vec::len));
        let warning = GAP + Style::Headline.width(NOT_FOR_DIAGNOSTIC_USE) + GAP;
        let width = widest.max(legend_x + LEGEND).max(warning);
        let row_height = LABEL + size.height.max(100) + GAP;
        let mut canvas = RgbImage::from_pixel(width, HEADER + rows.len() as u32 * row_height, BACKGROUND);

        let room = width - 2 * GAP;
        text::write(&mut canvas, (GAP, 8), room, NOT_FOR_DIAGNOSTIC_USE, Style::Headline, WARNING);
        text::write(&mut canvas, (GAP, 34), room, self.title, Style::Plain, FAINT);
        let mut y = HEADER;
        for row in rows {
            for (i, (label, tile)) in row.iter().enumerate() {
                let x = across(i);
                text::write(&mut canvas, (x, y), size.width, label, Style::Plain, TEXT);
                imageops::replace(&mut canvas, tile, i64::from(x), i64::from(y + LABEL));
            }
            y += row_height;
        }
        self.legend(&mut canvas, (legend_x, y - row_height), size.height.max(100), full_scale);
        canvas
    }

    /// The colour bar: 0 at the bottom, full scale at the top, the threshold as a line in the outline's colour.
    fn legend(&self, canvas: &mut RgbImage, (x, y): (u32, u32), height: u32, full_scale: f32) {
        let what = if self.healthy.is_some() { "sum |x - x0|" } else { "sum |gradient|" };
        text::write(canvas, (x, y), LEGEND, what, Style::Plain, TEXT);
        let top = y + LABEL;
        for dy in 0..height {
            let colour = inferno(1.0 - dy as f32 / (height - 1) as f32);
            fill(canvas, (x, top + dy), (BAR, 1), colour);
        }
        let threshold = (self.threshold / full_scale).clamp(0.0, 1.0);
        let line = top + ((1.0 - threshold) * (height - 1) as f32).round() as u32;
        fill(canvas, (x, line.saturating_sub(1)), (BAR + 6, 2), OUTLINE);

        let half = Style::Plain.height() / 2;
        let ticks = x + BAR + 10;
        let room = LEGEND - BAR - 10;
        let mut label = |at: u32, text: &str, colour| {
            text::write(canvas, (ticks, at.saturating_sub(half)), room, text, Style::Plain, colour);
        };
        // The ends give way to the threshold where they would overlap.
        if line > top + 2 * half {
            label(top + half, &number(full_scale), TEXT);
        }
        if line + 2 * half < top + height {
            label(top + height - half, "0", TEXT);
        }
        label(
            line.clamp(top + half, top + height - half),
            &format!("mask {}", number(self.threshold)),
            OUTLINE,
        );
    }
}

/// A value as a label of at most seven characters.
fn number(value: f32) -> String {
    if value == 0.0 {
        "0".to_owned()
    } else if value.abs() >= 0.001 && value.abs() < 1000.0 {
        format!("{value:.3}")
    } else {
        format!("{value:.0e}")
    }
}

fn fill(canvas: &mut RgbImage, (x, y): (u32, u32), (width, height): (u32, u32), colour: Rgb<u8>) {
    for (x, y) in (y..y + height).flat_map(|y| (x..x + width).map(move |x| (x, y))) {
        if let Some(pixel) = canvas.get_pixel_mut_checked(x, y) {
            *pixel = colour;
        }
    }
}

/// A picture as a PNG file's bytes, as few as there can be: they are stored once and sent about often.
///
/// Errors: those of the encoder.
pub fn png(picture: &RgbImage) -> Result<Vec<u8>, image::ImageError> {
    let mut bytes = Vec::new();
    picture.write_with_encoder(PngEncoder::new_with_quality(
        &mut bytes,
        CompressionType::Best,
        FilterType::Adaptive,
    ))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
