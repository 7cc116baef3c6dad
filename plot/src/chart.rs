//! Lines over an axis.

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::text::{FONT, know_the_font};
use crate::{Axis, COLOURS, PlotError};

/// Lines of the mesh.
const MESH: RGBColor = RGBColor(225, 225, 225);

/// Up to so many points are shown one by one.
const FEW: usize = 40;

/// Lines that share a range.
#[derive(Debug, Clone)]
pub struct Chart {
    /// What it shows.
    pub title: String,
    /// Across.
    pub x: Axis,
    /// Up.
    pub y: Axis,
    /// The lines, in the order of the legend.
    pub lines: Vec<Line>,
    /// Where the legend is; `None`: nowhere.
    pub legend: Option<Corner>,
}

/// One line.
#[derive(Debug, Clone)]
pub struct Line {
    /// Its name in the legend.
    pub name: String,
    /// (x, y).
    pub points: Vec<(f64, f64)>,
    /// How it is drawn.
    pub look: Look,
}

/// How a line is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// In one of [`COLOURS`], its points marked where they are few.
    Solid(usize),
    /// Dashed, for what other lines are held against; grey, and of different lengths for 0, 1, ….
    Dashed(usize),
}

/// Where a legend is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Corner {
    /// Top, right.
    UpperRight,
    /// Bottom, right.
    LowerRight,
}

impl Look {
    fn colour(self) -> RGBColor {
        match self {
            Self::Solid(number) => {
                let [r, g, b] = COLOURS[number % COLOURS.len()];
                RGBColor(r, g, b)
            }
            Self::Dashed(_) => RGBColor(110, 110, 110),
        }
    }

    pub(crate) fn style(self) -> ShapeStyle {
        ShapeStyle { color: self.colour().to_rgba(), filled: true, stroke_width: 2 }
    }

    /// Length of a dash and of what is between two, in pixels.
    fn dash(number: usize) -> (i32, i32) {
        [(9, 5), (3, 4)][number % 2]
    }

    /// A piece of such a line from x to `x + length`, for a legend.
    pub(crate) fn sample(self, (x, y): (i32, i32), length: i32) -> Vec<PathElement<(i32, i32)>> {
        let piece =
            |from: i32, to: i32| PathElement::new(vec![(from, y), (to.min(x + length), y)], self.style());
        match self {
            Self::Solid(_) => vec![piece(x, x + length)],
            Self::Dashed(number) => {
                let (dash, gap) = Self::dash(number);
                let starts = (0..length).step_by((dash + gap) as usize);
                starts.map(|start| piece(x + start, x + start + dash)).collect()
            }
        }
    }
}

impl Chart {
    /// Draws it on an area, all of it.
    ///
    /// Errors: [`PlotError`].
    pub(crate) fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Result<(), PlotError>
    where
        B::ErrorType: 'static,
    {
        know_the_font();
        let mut chart = ChartBuilder::on(area)
            .margin(12)
            .margin_right(28)
            .caption(&self.title, (FONT, 20))
            .x_label_area_size(42)
            .y_label_area_size(64)
            .build_cartesian_2d(self.x.scale(8), self.y.scale(7))?;
        chart
            .configure_mesh()
            .x_desc(&self.x.label)
            .y_desc(&self.y.label)
            .x_label_formatter(&|v| self.x.text(*v))
            .y_label_formatter(&|v| self.y.text(*v))
            .label_style((FONT, 15))
            .axis_desc_style((FONT, 16))
            .bold_line_style(MESH)
            .draw()?;
        for line in &self.lines {
            let (style, points) = (line.look.style(), line.points.iter().copied());
            let drawn = match line.look {
                Look::Solid(_) => chart.draw_series(LineSeries::new(points.clone(), style))?,
                Look::Dashed(number) => {
                    let (dash, gap) = Look::dash(number);
                    let points: Vec<_> = points.clone().collect();
                    chart.draw_series(DashedLineSeries::new(points, dash, gap, style))?
                }
            };
            // A legend of the drawing library takes one element: there a dashed line is a whole one.
            drawn.label(&line.name).legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
            if matches!(line.look, Look::Solid(_)) && line.points.len() <= FEW {
                chart.draw_series(points.map(|point| Circle::new(point, 4, style)))?;
            }
        }
        let Some(corner) = self.legend else { return Ok(()) };
        let place = match corner {
            Corner::LowerRight => SeriesLabelPosition::LowerRight,
            Corner::UpperRight => SeriesLabelPosition::UpperRight,
        };
        chart
            .configure_series_labels()
            .position(place)
            .background_style(WHITE.mix(0.8))
            .border_style(RGBColor(200, 200, 200))
            .label_font((FONT, 15))
            .draw()?;
        Ok(())
    }
}
