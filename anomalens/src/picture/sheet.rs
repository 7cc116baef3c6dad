//! A contact sheet: many slices, one a row, small.

use image::{RgbImage, imageops};
use ndarray::{Array2, Array3, Axis};

use super::colour::{BACKGROUND, FAINT, TEXT, WARNING};
use super::text::{self, Style};
use super::tile::{self, TileSize};
use super::{GAP, LABEL, NOT_FOR_DIAGNOSTIC_USE, number};

/// The longer side of a tile, near this many pixels.
const TILE: u32 = 128;

/// One slice. All planes are on one grid [H, W].
pub struct SheetRow {
    /// What is to be said of it.
    pub label: String,
    /// The input, [C, H, W] in [0, 1].
    pub input: Array3<f32>,
    /// The healthy version, [C, H, W].
    pub healthy: Array3<f32>,
    /// The anomaly map, [H, W], at least 0.
    pub map: Array2<f32>,
    /// What the map marks, [H, W].
    pub mask: Array2<bool>,
    /// What is there, [H, W].
    pub truth: Array2<bool>,
}

/// What a sheet shows.
pub struct Sheet {
    /// Lines under the warning; no patient data, for they are burned in.
    pub lines: Vec<String>,
    /// Name of each channel.
    pub channels: Vec<String>,
    /// The channel under the outlines.
    pub under: usize,
    /// The slices, at least one.
    pub rows: Vec<SheetRow>,
}

impl Sheet {
    /// Draws the sheet.
    pub fn draw(&self) -> RgbImage {
        let full_scale = self.full_scale();
        let grid = self.rows.first().map_or((1, 1), |row| row.map.dim());
        let size = TileSize::near(TILE, grid, 1.0);
        let heads = self.heads();
        let across = |column: usize| GAP + column as u32 * (size.width + GAP / 2);
        let width = across(heads.len()) + GAP / 2;
        let line = Style::Plain.height() + 4;
        let mut lines = self.lines.clone();
        lines.push(format!(
            "anomaly map: black 0, brightest {} and more, the same in all rows; mask and truth are outlined over {}",
            number(full_scale),
            self.channels[self.under]
        ));
        let head = 34 + lines.len() as u32 * line + GAP;
        let row_height = LABEL + size.height + GAP;
        let height = head + LABEL + self.rows.len() as u32 * row_height;
        let mut canvas = RgbImage::from_pixel(width, height, BACKGROUND);
        let room = width - 2 * GAP;
        text::write(&mut canvas, (GAP, 8), room, NOT_FOR_DIAGNOSTIC_USE, Style::Headline, WARNING);
        for (i, words) in lines.iter().enumerate() {
            text::write(&mut canvas, (GAP, 34 + i as u32 * line), room, words, Style::Plain, FAINT);
        }
        for (column, name) in heads.iter().enumerate() {
            text::write(&mut canvas, (across(column), head), size.width, name, Style::Plain, FAINT);
        }
        let mut y = head + LABEL;
        for row in &self.rows {
            text::write(&mut canvas, (GAP, y), room, &row.label, Style::Plain, TEXT);
            for (column, tile) in self.tiles(row, full_scale, size).iter().enumerate() {
                imageops::replace(&mut canvas, tile, i64::from(across(column)), i64::from(y + LABEL));
            }
            y += row_height;
        }
        canvas
    }

    /// The map value with the brightest colour: one pixel in 200 of all rows is above it, so that a single one does
    /// not darken all others.
    fn full_scale(&self) -> f32 {
        let mut values: Vec<f32> = self.rows.iter().flat_map(|row| row.map.iter().copied()).collect();
        values.sort_unstable_by(f32::total_cmp);
        let place = (values.len() * 199 / 200).min(values.len().saturating_sub(1));
        values.get(place).copied().filter(|value| *value > 0.0).unwrap_or(1.0)
    }

    fn heads(&self) -> Vec<String> {
        let each = |what: &'static str| self.channels.iter().map(move |name| format!("{what}: {name}"));
        each("input")
            .chain(each("healthy"))
            .chain(["anomaly map", "mask (Otsu)", "truth"].map(String::from))
            .collect()
    }

    fn tiles(&self, row: &SheetRow, full_scale: f32, size: TileSize) -> Vec<RgbImage> {
        let grey = |image: &Array3<f32>| -> Vec<RgbImage> {
            image.outer_iter().map(|plane| tile::image(plane, size)).collect()
        };
        let under = row.input.index_axis(Axis(0), self.under);
        let mut tiles = grey(&row.input);
        tiles.extend(grey(&row.healthy));
        tiles.push(tile::heat(row.map.view(), full_scale, size));
        tiles.push(tile::outline_over(under, row.mask.view(), size));
        tiles.push(tile::outline_over(under, row.truth.view(), size));
        tiles
    }
}

#[cfg(test)]
mod tests {
    use super::super::colour::OUTLINE;
    use super::*;

    #[test]
    fn a_sheet_has_a_tile_for_everything() {
        let mut truth = Array2::from_elem((8, 8), false);
        truth[[3, 3]] = true;
        let row = |label: &str| SheetRow {
            label: label.into(),
            input: Array3::from_elem((2, 8, 8), 0.5),
            healthy: Array3::from_elem((2, 8, 8), 0.25),
            map: Array2::from_elem((8, 8), 0.5),
            mask: Array2::from_elem((8, 8), false),
            truth: truth.clone(),
        };
        let sheet = Sheet {
            lines: vec!["a line".into()],
            channels: vec!["t1".into(), "flair".into()],
            under: 1,
            rows: vec![row("first"), row("second")],
        };
        assert_eq!(sheet.heads().len(), 7);
        let picture = sheet.draw();
        assert!(picture.width() > 7 * 128 && picture.height() > 2 * 128, "{:?}", picture.dimensions());
        // The truth is outlined in the last column of either row, the empty mask nowhere.
        let outlined: Vec<u32> =
            picture.enumerate_pixels().filter(|(_, _, p)| **p == OUTLINE).map(|(x, _, _)| x).collect();
        assert!(!outlined.is_empty() && outlined.iter().all(|x| *x > picture.width() - 128 - GAP));
        assert!(picture.pixels().any(|p| *p == WARNING));
    }
}
