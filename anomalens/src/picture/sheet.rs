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
    /// What each method found; in every row the same methods.
    pub maps: Vec<SheetMap>,
    /// What is there, [H, W].
    pub truth: Array2<bool>,
}

/// What a method found in a slice.
pub struct SheetMap {
    /// The method's name.
    pub name: String,
    /// The healthy version that the map comes from, [C, H, W], if there is one.
    pub healthy: Option<Array3<f32>>,
    /// The anomaly map, [H, W], at least 0.
    pub map: Array2<f32>,
    /// What the map marks, [H, W].
    pub mask: Array2<bool>,
}

/// What a sheet shows.
pub struct Sheet {
    /// Lines under the warning; no patient data, for they are burned in.
    pub lines: Vec<String>,
    /// Name of each channel.
    pub channels: Vec<String>,
    /// The channel under the outlines, and the one that is shown of all healthy versions but the first method's.
    pub under: usize,
    /// The slices, at least one.
    pub rows: Vec<SheetRow>,
}

impl Sheet {
    /// Draws the sheet.
    pub fn draw(&self) -> RgbImage {
        let full_scales = self.full_scales();
        let brightest = self.names().zip(&full_scales);
        let brightest: Vec<_> =
            brightest.map(|(name, value)| format!("{} ({name})", number(*value))).collect();
        let mut lines = self.lines.clone();
        lines.push(format!(
            "anomaly maps: black 0, brightest {} and more, the same in all rows; mask and truth are outlined over {}",
            brightest.join(", "),
            self.channels[self.under]
        ));
        let rows: Vec<_> = self.rows.iter().map(|row| (row.label.as_str(), row)).collect();
        self.compose(&lines, &rows, &full_scales)
    }

    /// Each row by itself, in the order of the rows: its tiles with their heads, for a page that says the rest.
    pub fn strips(&self) -> Vec<RgbImage> {
        let full_scales = self.full_scales();
        self.rows.iter().map(|row| self.compose(&[], &[("", row)], &full_scales)).collect()
    }

    fn compose(&self, lines: &[String], rows: &[(&str, &SheetRow)], full_scales: &[f32]) -> RgbImage {
        let grid = rows.first().map_or((1, 1), |(_, row)| row.truth.dim());
        let size = TileSize::near(TILE, grid, 1.0);
        let heads = self.heads();
        let across = |column: usize| GAP + column as u32 * (size.width + GAP / 2);
        let width = across(heads.len()) + GAP / 2;
        let line = Style::Plain.height() + 4;
        let head = 34 + lines.len() as u32 * line + GAP;
        let label_height = |label: &str| if label.is_empty() { 0 } else { LABEL };
        let row_height = |label: &str| label_height(label) + size.height + GAP;
        let height = head + LABEL + rows.iter().map(|(label, _)| row_height(label)).sum::<u32>();
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
        for (label, row) in rows {
            text::write(&mut canvas, (GAP, y), room, label, Style::Plain, TEXT);
            for (column, tile) in self.tiles(row, full_scales, size).iter().enumerate() {
                let (x, y) = (across(column), y + label_height(label));
                imageops::replace(&mut canvas, tile, i64::from(x), i64::from(y));
            }
            y += row_height(label);
        }
        canvas
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.rows.first().into_iter().flat_map(|row| row.maps.iter().map(|map| map.name.as_str()))
    }

    /// The value of each method's map with the brightest colour: one pixel in 200 of all rows is above it, so that a single
    /// one does not darken all others.
    fn full_scales(&self) -> Vec<f32> {
        let scale = |method: usize| {
            let maps = self.rows.iter().filter_map(|row| row.maps.get(method));
            let mut values: Vec<f32> = maps.flat_map(|map| map.map.iter().copied()).collect();
            values.sort_unstable_by(f32::total_cmp);
            let place = (values.len() * 199 / 200).min(values.len().saturating_sub(1));
            values.get(place).copied().filter(|value| *value > 0.0).unwrap_or(1.0)
        };
        (0..self.names().count()).map(scale).collect()
    }

    /// Which channels of a method's healthy version are shown.
    fn shown(&self, method: usize) -> Vec<usize> {
        if method == 0 { (0..self.channels.len()).collect() } else { vec![self.under] }
    }

    fn heads(&self) -> Vec<String> {
        let mut heads: Vec<String> = self.channels.iter().map(|name| format!("input: {name}")).collect();
        for (method, map) in self.rows.first().into_iter().flat_map(|row| row.maps.iter().enumerate()) {
            if map.healthy.is_some() {
                let shown = self.shown(method).into_iter();
                heads.extend(shown.map(|channel| format!("{}: {}", map.name, self.channels[channel])));
            }
            heads.extend(["map", "mask"].map(|what| format!("{}: {what}", map.name)));
        }
        heads.push("truth".to_owned());
        heads
    }

    fn tiles(&self, row: &SheetRow, full_scales: &[f32], size: TileSize) -> Vec<RgbImage> {
        let under = row.input.index_axis(Axis(0), self.under);
        let mut tiles: Vec<RgbImage> = row.input.outer_iter().map(|plane| tile::image(plane, size)).collect();
        for (method, (map, full_scale)) in row.maps.iter().zip(full_scales).enumerate() {
            if let Some(healthy) = &map.healthy {
                let shown = self.shown(method).into_iter();
                tiles.extend(shown.map(|channel| tile::image(healthy.index_axis(Axis(0), channel), size)));
            }
            tiles.push(tile::heat(map.map.view(), *full_scale, size));
            tiles.push(tile::outline_over(under, map.mask.view(), size));
        }
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
        let map = |name: &str, healthy: bool| SheetMap {
            name: name.into(),
            healthy: healthy.then(|| Array3::from_elem((2, 8, 8), 0.25)),
            map: Array2::from_elem((8, 8), 0.5),
            mask: Array2::from_elem((8, 8), false),
        };
        let row = |label: &str| SheetRow {
            label: label.into(),
            input: Array3::from_elem((2, 8, 8), 0.5),
            maps: vec![map("ours", true), map("vae", true), map("plain", false)],
            truth: truth.clone(),
        };
        let sheet = Sheet {
            lines: vec!["a line".into()],
            channels: vec!["t1".into(), "flair".into()],
            under: 1,
            rows: vec![row("first"), row("second")],
        };
        let heads = sheet.heads();
        // Two channels of the first method's healthy version, one of the second's.
        assert_eq!(
            heads[2..8],
            ["ours: t1", "ours: flair", "ours: map", "ours: mask", "vae: flair", "vae: map"]
        );
        let picture = sheet.draw();
        assert_eq!(heads.len(), 12);
        assert!(picture.width() > 12 * 128 && picture.height() > 2 * 128, "{:?}", picture.dimensions());
        // The truth is outlined in the last column of either row, the empty mask nowhere.
        let outlined: Vec<u32> =
            picture.enumerate_pixels().filter(|(_, _, p)| **p == OUTLINE).map(|(x, _, _)| x).collect();
        assert!(!outlined.is_empty() && outlined.iter().all(|x| *x > picture.width() - 128 - GAP));
        assert!(picture.pixels().any(|p| *p == WARNING));
        let strips = sheet.strips();
        assert_eq!(strips.len(), 2);
        assert!(
            strips
                .iter()
                .all(|strip| strip.width() == picture.width() && strip.pixels().any(|p| *p == WARNING))
        );
    }
}
