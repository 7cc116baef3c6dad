//! A table whose cells are coloured by their values.

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::axis::Scale;
use crate::text::{FONT, centred, know_the_font};
use crate::{COLOURS, PlotError};

/// A table of values, the larger the darker.
#[derive(Debug, Clone)]
pub struct Cells {
    /// What it shows.
    pub title: String,
    /// What the columns are of, and each one's name.
    pub x: (String, Vec<String>),
    /// What the rows are of, and each one's name, from the bottom.
    pub y: (String, Vec<String>),
    /// The values, row by row from the bottom; `None` where there is none.
    pub values: Vec<Vec<Option<f64>>>,
}

impl Cells {
    /// Draws it on an area, all of it.
    ///
    /// Errors: [`PlotError`].
    pub(crate) fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Result<(), PlotError>
    where
        B::ErrorType: 'static,
    {
        know_the_font();
        let axis = |names: &[String]| {
            let places = (0..names.len()).map(|place| place as f64 + 0.5).collect();
            Scale { range: 0.0..names.len().max(1) as f64, places }
        };
        let mut chart = ChartBuilder::on(area)
            .margin(12)
            .margin_right(28)
            .caption(&self.title, (FONT, 20))
            .x_label_area_size(42)
            .y_label_area_size(64)
            .build_cartesian_2d(axis(&self.x.1), axis(&self.y.1))?;
        let name = |names: &[String], at: f64| names.get(at as usize).cloned().unwrap_or_default();
        chart
            .configure_mesh()
            .disable_mesh()
            .x_desc(&self.x.0)
            .y_desc(&self.y.0)
            .x_label_formatter(&|v| name(&self.x.1, *v))
            .y_label_formatter(&|v| name(&self.y.1, *v))
            .label_style((FONT, 15))
            .axis_desc_style((FONT, 16))
            .draw()?;
        let all = || self.values.iter().flatten().flatten();
        let (least, most) = all().fold((f64::MAX, f64::MIN), |(a, b), v| (a.min(*v), b.max(*v)));
        for (row, values) in self.values.iter().enumerate() {
            for (column, value) in values.iter().enumerate() {
                let Some(value) = *value else { continue };
                let (x, y) = (column as f64, row as f64);
                let share = if most > least { (value - least) / (most - least) } else { 0.5 };
                let colour = shade(share);
                let cell = [(x + 0.01, y + 0.01), (x + 0.99, y + 0.99)];
                chart.draw_series([Rectangle::new(cell, colour.filled())])?;
                let ink = if share > 0.55 { WHITE } else { BLACK };
                let text = Text::new(format!("{value:.3}"), (x + 0.5, y + 0.5), centred(17, &ink));
                chart.draw_series([text])?;
            }
        }
        Ok(())
    }
}

/// From nearly white at 0 to the first colour of lines at 1.
fn shade(share: f64) -> RGBColor {
    let [r, g, b] = COLOURS[0];
    let mix = |dark: u8| (246.0 + (f64::from(dark) - 246.0) * share).round() as u8;
    RGBColor(mix(r), mix(g), mix(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn larger_is_darker() {
        let light = |share| {
            let RGBColor(r, g, b) = shade(share);
            u32::from(r) + u32::from(g) + u32::from(b)
        };
        assert!((0..10).all(|i| light(f64::from(i) / 10.0) > light(f64::from(i + 1) / 10.0)));
        let [r, g, b] = COLOURS[0];
        assert_eq!(shade(1.0), RGBColor(r, g, b));
    }
}
