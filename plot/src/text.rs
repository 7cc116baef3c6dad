//! Letters: the font, sizes, and numbers as an axis has them.

use std::sync::Once;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontStyle, register_font};

use crate::PlotError;

/// Height of a title with the warning below it, in pixels.
pub const TITLE: u32 = 64;

/// The font by the name that viewers of SVG know.
pub(crate) const FONT: &str = "sans-serif";

/// Registers the font; to be called before anything is written into a picture.
pub(crate) fn know_the_font() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // It is a sound font: the tests draw with it.
        let _ = register_font(FONT, FontStyle::Normal, notosans::REGULAR_TTF);
    });
}

/// Text around a point.
pub(crate) fn centred(size: i32, colour: &RGBColor) -> TextStyle<'static> {
    (FONT, size).into_font().color(colour).pos(Pos::new(HPos::Center, VPos::Center))
}

/// Text to the right of a point, or to its left.
pub(crate) fn beside(size: i32, colour: &RGBColor, side: HPos) -> TextStyle<'static> {
    (FONT, size).into_font().color(colour).pos(Pos::new(side, VPos::Center))
}

/// Width of a text in pixels.
pub(crate) fn width(text: &str, size: i32) -> u32 {
    know_the_font();
    // Where the font has no answer, a letter is taken for half as wide as high.
    let guess = (text.chars().count() as u32 * size.unsigned_abs()) / 2;
    (FONT, size).into_font().box_size(text).map_or(guess, |size| size.0)
}

/// The title and the warning at the top of an area; what is left below them.
pub(crate) fn header<B: DrawingBackend>(
    area: &DrawingArea<B, Shift>,
    title: &str,
) -> Result<DrawingArea<B, Shift>, PlotError>
where
    B::ErrorType: 'static,
{
    let (top, rest) = area.split_vertically(TITLE);
    let middle = top.dim_in_pixel().0 as i32 / 2;
    top.draw_text(title, &centred(26, &BLACK), (middle, 22))?;
    top.draw_text("not for diagnostic use", &centred(18, &RGBColor(160, 0, 0)), (middle, 48))?;
    Ok(rest)
}

/// A number with two or three digits that say something.
pub fn digits(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        v if v >= 100.0 => format!("{value:.0}"),
        v if v < 1e-4 => format!("{value:.0e}"),
        v => {
            let decimals = (1 - v.log10().floor() as i32).max(0) as usize;
            trimmed(value, decimals)
        }
    }
}

/// A number with at most so many decimals, and no zero at their end.
pub(crate) fn trimmed(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axis_says_what_a_reader_can_read() {
        for (value, expected) in [
            (0.0, "0"),
            (0.6, "0.6"),
            (0.25, "0.25"),
            (0.0316, "0.032"),
            (1.0, "1"),
            (1.58, "1.6"),
            (250.4, "250"),
            (2e-5, "2e-5"),
        ] {
            assert_eq!(digits(value), expected);
        }
    }

    #[test]
    fn longer_texts_are_wider() {
        assert!(width("sequence", 16) > width("level", 16) && width("level", 32) > width("level", 16));
        assert!(width("level", 16) > 20);
    }
}
