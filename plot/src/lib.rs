//! Figures as a paper has them: lines, tables of coloured cells, panels of images.
//!
//! ```text
//! Chart, Cells ──> Figure ──> svg(), png()      numbers
//! RgbImage     ──> Panels ──> png()             images with their heads, one row below the other
//! ```
//!
//! Each says above everything else that it is not for diagnostic use. Letters in pictures come from a font inside the program, and
//! colours are those that differ for every sort of eye.

mod axis;
mod cells;
mod chart;
mod figure;
mod panels;
mod text;

use std::error::Error;

use plotters::drawing::DrawingAreaErrorKind;

pub use axis::{Axis, Ticks};
pub use cells::Cells;
pub use chart::{Chart, Corner, Line, Look};
pub use figure::{Figure, Plot, blank, stacked, titled};
pub use panels::{Bar, Panels, Row};
pub use text::{TITLE, digits};

/// Colours of lines (Okabe and Ito 2008).
pub const COLOURS: [[u8; 3]; 6] =
    [[0, 114, 178], [213, 94, 0], [0, 158, 115], [204, 121, 167], [230, 159, 0], [86, 180, 233]];

/// The drawing library failed.
#[derive(Debug, thiserror::Error)]
#[error("figure: {0}")]
pub struct PlotError(Box<dyn Error + Send + Sync>);

impl<E: Error + Send + Sync + 'static> From<DrawingAreaErrorKind<E>> for PlotError {
    fn from(error: DrawingAreaErrorKind<E>) -> Self {
        Self(Box::new(error))
    }
}
