//! Several charts under one title, as SVG and as a picture.

use image::{RgbImage, imageops};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use crate::text::{TITLE, beside, centred, header, know_the_font, width};
use crate::{Cells, Chart, PlotError};

/// Height of a row of the legend.
const LEGEND: u32 = 26;
/// Size of the letters there, and the length of a piece of line.
const LETTERS: i32 = 16;
const SAMPLE: i32 = 30;
/// Between two entries.
const GAP: i32 = 28;

/// One part of a figure.
#[derive(Debug, Clone)]
pub enum Plot {
    /// Lines.
    Lines(Chart),
    /// Coloured cells.
    Cells(Cells),
}

/// Charts under one title. Where the charts have no legends of their own, one for all is below them: that of the first.
#[derive(Debug, Clone)]
pub struct Figure {
    /// What it shows.
    pub title: String,
    /// Its parts, row by row.
    pub plots: Vec<Plot>,
    /// Parts beside each other, at least 1.
    pub columns: usize,
    /// Width and height of a part, in pixels.
    pub size: (u32, u32),
}

impl Figure {
    /// As SVG.
    ///
    /// Errors: [`PlotError`].
    pub fn svg(&self) -> Result<String, PlotError> {
        let mut text = String::new();
        self.draw(&SVGBackend::with_string(&mut text, self.pixels()).into_drawing_area())?;
        Ok(text)
    }

    /// As a picture.
    ///
    /// Errors: [`PlotError`].
    pub fn png(&self) -> Result<RgbImage, PlotError> {
        let size = self.pixels();
        let mut pixels = vec![255; (size.0 * size.1 * 3) as usize];
        self.draw(&BitMapBackend::with_buffer(&mut pixels, size).into_drawing_area())?;
        Ok(RgbImage::from_raw(size.0, size.1, pixels).expect("as many bytes as pixels"))
    }

    fn pixels(&self) -> (u32, u32) {
        let (columns, rows) = (self.columns.min(self.plots.len()).max(1) as u32, self.rows() as u32);
        let wide = columns * self.size.0;
        (wide, TITLE + rows * self.size.1 + self.legend(wide).len() as u32 * LEGEND)
    }

    fn rows(&self) -> usize {
        self.plots.len().div_ceil(self.columns.max(1)).max(1)
    }

    /// The legend's entries, as many in a row as fit: places in the first chart's lines, each with the room that it takes.
    fn legend(&self, wide: u32) -> Vec<Vec<(usize, i32)>> {
        let Some(Plot::Lines(Chart { legend: None, lines, .. })) = self.plots.first() else {
            return vec![];
        };
        let mut rows: Vec<Vec<(usize, i32)>> = vec![vec![]];
        for (place, line) in lines.iter().enumerate() {
            let room = SAMPLE + 8 + width(&line.name, LETTERS) as i32 + GAP;
            let row = rows.last_mut().expect("it begins with one");
            let taken: i32 = row.iter().map(|entry| entry.1).sum();
            match taken + room > wide as i32 && !row.is_empty() {
                true => rows.push(vec![(place, room)]),
                false => row.push((place, room)),
            }
        }
        rows
    }

    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Result<(), PlotError>
    where
        B::ErrorType: 'static,
    {
        know_the_font();
        area.fill(&WHITE)?;
        let rest = header(area, &self.title)?;
        let (wide, _) = rest.dim_in_pixel();
        let (parts, legend) = rest.split_vertically(self.rows() as u32 * self.size.1);
        let columns = self.columns.min(self.plots.len()).max(1);
        for (plot, part) in self.plots.iter().zip(&parts.split_evenly((self.rows(), columns))) {
            match plot {
                Plot::Lines(chart) => chart.draw(part)?,
                Plot::Cells(cells) => cells.draw(part)?,
            }
        }
        if let Some(Plot::Lines(first)) = self.plots.first() {
            for (row, entries) in self.legend(wide).iter().enumerate() {
                let taken: i32 = entries.iter().map(|entry| entry.1).sum();
                let mut x = (wide as i32 - taken + GAP) / 2;
                let y = row as i32 * LEGEND as i32 + LEGEND as i32 / 2 - 2;
                for &(place, room) in entries {
                    let line = &first.lines[place];
                    for piece in line.look.sample((x, y), SAMPLE) {
                        legend.draw(&piece)?;
                    }
                    let style = beside(LETTERS, &BLACK, HPos::Left);
                    legend.draw_text(&line.name, &style, (x + SAMPLE + 8, y))?;
                    x += room;
                }
            }
        }
        Ok(area.present()?)
    }
}

/// A picture under its title and the warning that it is not for diagnostic use.
///
/// Errors: [`PlotError`].
pub fn titled(title: &str, picture: &RgbImage) -> Result<RgbImage, PlotError> {
    let mut all = below(title, picture.dimensions(), |_| Ok(()))?;
    imageops::replace(&mut all, picture, 0, i64::from(TITLE));
    Ok(all)
}

/// A picture of one line of text, where there is nothing to draw.
///
/// Errors: [`PlotError`].
pub fn blank(title: &str, text: &str, size: (u32, u32)) -> Result<RgbImage, PlotError> {
    below(title, size, |area| Ok(area.draw_text(text, &centred(20, &BLACK), (size.0 as i32 / 2, 100))?))
}

/// A picture of one chart over the whole width and, below it, others by twos; `size`: the width, and the height of the first and of
/// the others.
///
/// Errors: [`PlotError`].
pub fn stacked(
    title: &str,
    first: &Chart,
    others: &[Chart],
    (wide, tall, short): (u32, u32, u32),
) -> Result<RgbImage, PlotError> {
    let rows = others.len().div_ceil(2);
    below(title, (wide, tall + rows as u32 * short), |area| {
        let (large, small) = area.split_vertically(tall);
        first.draw(&large)?;
        let places = small.split_evenly((rows.max(1), 2));
        others.iter().zip(&places).try_for_each(|(chart, place)| chart.draw(place))
    })
}

/// A picture of `size`, and the title above it.
fn below(
    title: &str,
    (width, height): (u32, u32),
    draw: impl FnOnce(&DrawingArea<BitMapBackend<'_>, Shift>) -> Result<(), PlotError>,
) -> Result<RgbImage, PlotError> {
    know_the_font();
    let height = height + TITLE;
    let mut pixels = vec![255; (width * height * 3) as usize];
    {
        let root = BitMapBackend::with_buffer(&mut pixels, (width, height)).into_drawing_area();
        draw(&header(&root, title)?)?;
        root.present()?;
    }
    Ok(RgbImage::from_raw(width, height, pixels).expect("as many bytes as pixels"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Axis, COLOURS, Line, Look};

    fn figure(lines: &[&str]) -> Figure {
        let line = |(i, name): (usize, &&str)| Line {
            name: name.to_string(),
            points: vec![(0.0, 0.2 * i as f64), (1.0, 0.9)],
            look: if i < 2 { Look::Solid(i) } else { Look::Dashed(i) },
        };
        let chart = Chart {
            title: "Dice".into(),
            x: Axis::names("s", vec!["0".into(), "<100>".into()]),
            y: Axis::around("Dice", [0.0, 1.0], (0.0, 1.0)),
            lines: lines.iter().enumerate().map(line).collect(),
            legend: None,
        };
        let cells = Cells {
            title: "AUROC".into(),
            x: ("s".into(), vec!["0".into(), "100".into()]),
            y: ("L".into(), vec!["300".into()]),
            values: vec![vec![Some(0.5), None]],
        };
        let plots = vec![Plot::Lines(chart), Plot::Cells(cells)];
        Figure { title: "scores".into(), plots, columns: 2, size: (400, 300) }
    }

    fn ink(picture: &RgbImage, colour: [u8; 3]) -> usize {
        let close = |p: &&image::Rgb<u8>| p.0.iter().zip(colour).all(|(&a, b)| a.abs_diff(b) < 8);
        picture.pixels().filter(close).count()
    }

    #[test]
    fn a_picture_has_lines_letters_and_the_legend() {
        let picture = figure(&["L 300", "L 500", "threshold"]).png().unwrap();
        assert_eq!((picture.width(), picture.height()), (800, TITLE + 300 + LEGEND));
        assert!(ink(&picture, [0; 3]) > 100 && ink(&picture, COLOURS[0]) > 100);
        assert!(ink(&picture, [110; 3]) > 50, "a dashed line");
        // A long legend takes more rows; none is there for no line.
        let long = ["a name that is long enough to fill a part of a row"; 6];
        assert!(figure(&long).png().unwrap().height() > TITLE + 300 + LEGEND);
        let without = figure(&[]).png().unwrap();
        assert_eq!(ink(&without, COLOURS[1]), 0);
    }

    #[test]
    fn svg_holds_the_words_escaped() {
        let text = figure(&["L 300", "a < b"]).svg().unwrap();
        for words in ["<svg", "not for diagnostic use", "scores", "Dice", "L 300", "a &lt; b", "0.500"] {
            assert!(text.contains(words), "no {words} in {text}");
        }
        assert!(!text.contains("<100>"), "{text}");
    }
}
