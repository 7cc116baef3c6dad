//! Text in a picture: anti-aliased bitmap glyphs, so that no font file is needed.

use image::{Rgb, RgbImage};
use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};

use super::colour::blend;

/// Size and weight of a line of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Labels.
    Plain,
    /// The warning.
    Headline,
}

impl Style {
    fn font(self) -> (FontWeight, RasterHeight) {
        match self {
            Self::Plain => (FontWeight::Regular, RasterHeight::Size16),
            Self::Headline => (FontWeight::Bold, RasterHeight::Size20),
        }
    }

    /// Height of a line, in pixels.
    pub fn height(self) -> u32 {
        self.font().1.val() as u32
    }

    /// Width of `text`, in pixels.
    pub fn width(self, text: &str) -> u32 {
        let (weight, height) = self.font();
        (text.chars().count() * get_raster_width(weight, height)) as u32
    }
}

/// Writes `text` with its top left corner at (`x`, `y`), and no wider than `room`: what does not fit is cut, and
/// the cut is shown by two dots. Characters that the font lacks become `?`.
pub fn write(
    canvas: &mut RgbImage,
    (x, y): (u32, u32),
    room: u32,
    text: &str,
    style: Style,
    colour: Rgb<u8>,
) {
    let (weight, height) = style.font();
    let advance = get_raster_width(weight, height) as u32;
    let fits = (room / advance) as usize;
    let shown: String = if text.chars().count() <= fits {
        text.to_owned()
    } else {
        text.chars().take(fits.saturating_sub(2)).chain("..".chars().take(fits)).collect()
    };
    for (i, letter) in shown.chars().enumerate() {
        let Some(glyph) = get_raster(letter, weight, height).or_else(|| get_raster('?', weight, height))
        else {
            continue;
        };
        for (dy, row) in glyph.rows().enumerate() {
            for (dx, &coverage) in row.iter().enumerate() {
                let at = (x + i as u32 * advance + dx as u32, y + dy as u32);
                if let Some(pixel) = canvas.get_pixel_mut_checked(at.0, at.1) {
                    *pixel = blend(*pixel, colour, f32::from(coverage) / 255.0);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLACK: Rgb<u8> = Rgb([0, 0, 0]);
    const WHITE: Rgb<u8> = Rgb([255, 255, 255]);

    fn written(text: &str, room: u32) -> RgbImage {
        let mut canvas = RgbImage::from_pixel(200, 20, BLACK);
        write(&mut canvas, (0, 0), room, text, Style::Plain, WHITE);
        canvas
    }

    #[test]
    fn text_leaves_ink_and_what_is_cut_shows_it() {
        let room = Style::Plain.width("12345678");
        let canvas = written("a long line of text", room);
        assert!(canvas.pixels().any(|p| p[0] > 200));
        assert_eq!(canvas, written("a long..", 200));
        assert_eq!(written("12345678", room), written("12345678", 200));
    }

    #[test]
    fn a_letter_outside_the_font_is_a_question_mark_and_the_edge_is_safe() {
        assert_eq!(written("脳", 200), written("?", 200));
        let mut canvas = RgbImage::from_pixel(10, 4, BLACK);
        write(&mut canvas, (6, 2), 500, "over the edge", Style::Headline, WHITE);
    }
}
