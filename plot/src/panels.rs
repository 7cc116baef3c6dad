//! Images in rows and columns, with their heads, as a paper shows them.

use image::{RgbImage, imageops};
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use crate::PlotError;
use crate::text::{TITLE, beside, centred, header, know_the_font, width};

const GAP: u32 = 8;
const MARGIN: u32 = 18;
const HEAD: u32 = 28;
const LETTERS: i32 = 17;
/// Width of the colour bar.
const BAR: u32 = 16;

/// Images in rows and columns, all of one size.
pub struct Panels {
    /// What they show.
    pub title: String,
    /// More of it, a line each, below the images.
    pub notes: Vec<String>,
    /// Above each column.
    pub heads: Vec<String>,
    /// The rows, at least one with an image.
    pub rows: Vec<Row>,
    /// What the colours of the last row mean.
    pub bar: Option<Bar>,
}

/// One row.
pub struct Row {
    /// To its left.
    pub label: String,
    /// An image below each head, or none.
    pub images: Vec<Option<RgbImage>>,
}

/// The meaning of colours, beside the last row.
pub struct Bar {
    /// The colours from the bottom to the top, stretched to its size.
    pub colours: Vec<image::Rgb<u8>>,
    /// At its bottom and its top.
    pub ends: (String, String),
}

impl Panels {
    /// Draws them.
    ///
    /// Errors: [`PlotError`].
    pub fn png(&self) -> Result<RgbImage, PlotError> {
        know_the_font();
        let images = || self.rows.iter().flat_map(|row| row.images.iter().flatten());
        let (wide, high) = images().next().map_or((1, 1), RgbImage::dimensions);
        let labels = self.rows.iter().map(|row| width(&row.label, LETTERS)).max().unwrap_or(0);
        let left = MARGIN + labels + 12;
        let across = |column: usize| left + column as u32 * (wide + GAP);
        let down = |row: usize| TITLE + HEAD + row as u32 * (high + GAP);
        let bar_at = across(self.heads.len());
        let bar = self
            .bar
            .as_ref()
            .map_or(0, |bar| BAR + 8 + width(&bar.ends.0, LETTERS).max(width(&bar.ends.1, LETTERS)) + GAP);
        let note = |line: usize| down(self.rows.len()) + line as u32 * (HEAD - 6) + HEAD / 2;
        let widest = self.notes.iter().map(|note| width(note, LETTERS - 2) + 2 * MARGIN);
        let widest = widest.chain([width(&self.title, 26) + 2 * MARGIN]).max().unwrap_or(0);
        let size = ((bar_at - GAP + bar + MARGIN).max(widest), note(self.notes.len()) + 4);
        let mut pixels = vec![255; (size.0 * size.1 * 3) as usize];
        {
            let root = BitMapBackend::with_buffer(&mut pixels, size).into_drawing_area();
            header(&root, &self.title)?;
            for (column, head) in self.heads.iter().enumerate() {
                let at = (across(column) + wide / 2, TITLE + HEAD / 2 - 2);
                root.draw_text(head, &centred(LETTERS, &BLACK), (at.0 as i32, at.1 as i32))?;
            }
            for (row, Row { label, .. }) in self.rows.iter().enumerate() {
                let at = (left - 12, down(row) + high / 2);
                let style = beside(LETTERS, &BLACK, HPos::Right);
                root.draw_text(label, &style, (at.0 as i32, at.1 as i32))?;
            }
            if let Some(bar) = &self.bar {
                let top = down(self.rows.len().saturating_sub(1)) as i32;
                let x = (bar_at + BAR + 8) as i32;
                let style = beside(LETTERS, &BLACK, HPos::Left);
                root.draw_text(&bar.ends.1, &style, (x, top + 8))?;
                root.draw_text(&bar.ends.0, &style, (x, top + high as i32 - 8))?;
            }
            for (line, text) in self.notes.iter().enumerate() {
                let style = beside(LETTERS - 2, &RGBColor(70, 70, 70), HPos::Left);
                root.draw_text(text, &style, (MARGIN as i32, note(line) as i32))?;
            }
            root.present()?;
        }
        let mut all = RgbImage::from_raw(size.0, size.1, pixels).expect("as many bytes as pixels");
        for (row, Row { images, .. }) in self.rows.iter().enumerate() {
            for (column, image) in images.iter().enumerate() {
                if let Some(image) = image {
                    imageops::replace(&mut all, image, i64::from(across(column)), i64::from(down(row)));
                }
            }
        }
        if let Some(bar) = &self.bar {
            let top = down(self.rows.len().saturating_sub(1));
            let last = bar.colours.len().saturating_sub(1) as u32;
            for y in 0..high {
                let place = (high - 1 - y) * last / (high - 1).max(1);
                let Some(colour) = bar.colours.get(place as usize) else { continue };
                (0..BAR).for_each(|x| all.put_pixel(bar_at + x, top + y, *colour));
            }
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    #[test]
    fn every_image_has_its_place() {
        let tile = |grey: u8| Some(RgbImage::from_pixel(40, 30, Rgb([grey; 3])));
        let row = |label: &str, images| Row { label: label.into(), images };
        let panels = Panels {
            title: "a title".into(),
            notes: vec!["below".into()],
            heads: vec!["one".into(), "two".into()],
            rows: vec![row("input", vec![tile(11), None]), row("map", vec![tile(22), tile(33)])],
            bar: Some(Bar {
                colours: vec![Rgb([1, 2, 3]), Rgb([4, 5, 6])],
                ends: ("0".into(), "0.5".into()),
            }),
        };
        let picture = panels.png().unwrap();
        let count = |grey: u8| picture.pixels().filter(|p| p.0 == [grey; 3]).count();
        for grey in [11, 22, 33] {
            // Letters have greys of their own, a few pixels each.
            assert!((1200..1230).contains(&count(grey)), "{grey}: {}", count(grey));
        }
        let bar = |colour: [u8; 3]| picture.pixels().filter(|p| p.0 == colour).count() as u32;
        assert_eq!((bar([4, 5, 6]), bar([1, 2, 3])), (BAR, 29 * BAR), "only its end is the last colour");
    }
}
