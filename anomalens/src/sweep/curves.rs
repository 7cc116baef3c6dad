//! The scores as the paper's Fig. 4 has them: over s, one line for each L, baselines as horizontal lines; and as a table of cells.

use anomalens_plot::{Axis, Cells, Chart, Figure, Line, Look, Plot};

use super::grid::{Grid, SHOWN, row};

/// Width and height of a chart, in pixels.
const SIZE: (u32, u32) = (560, 400);

/// What is plotted: what methods are compared by.
fn plotted() -> impl Iterator<Item = &'static str> {
    SHOWN.into_iter().filter(|key| row(key).compared())
}

/// Lines over s.
pub fn lines(grid: &Grid) -> Figure {
    let (levels, scales) = (grid.levels(), grid.scales());
    let names: Vec<String> = scales.iter().map(|scale| scale.get().to_string()).collect();
    let chart = |key: &'static str| {
        let x = Axis::names("gradient scale s", names.clone());
        let mut lines = Vec::new();
        for (number, &level) in levels.iter().enumerate() {
            let value = |place: usize| grid.figure(grid.place(level, scales[place]), key).value;
            let points = (0..scales.len()).filter_map(|place| Some((place as f64, value(place)?)));
            lines.push(Line {
                name: format!("L = {level}"),
                points: points.collect(),
                look: Look::Solid(number),
            });
        }
        for (number, method) in grid.baselines().iter().enumerate() {
            let Some(value) = grid.figure(grid.points.len() + number, key).value else { continue };
            let points = vec![(x.range.0, value), (x.range.1, value)];
            lines.push(Line { name: method.column.name.clone(), points, look: Look::Dashed(number) });
        }
        let values = lines.iter().flat_map(|line| line.points.iter().map(|point| point.1));
        let y = Axis::around("", values, (0.0, 1.0));
        Plot::Lines(Chart { title: row(key).title.to_owned(), x, y, lines, legend: None })
    };
    Figure {
        title: format!("{}, by noise level L and gradient scale s", subject(grid)),
        plots: plotted().map(chart).collect(),
        columns: 2,
        size: SIZE,
    }
}

/// A cell for each point.
pub fn cells(grid: &Grid) -> Figure {
    let (levels, scales) = (grid.levels(), grid.scales());
    let cells = |key: &'static str| {
        let value = |level, scale| grid.figure(grid.place(level, scale), key).value;
        let row_of = |level| scales.iter().map(|&scale| value(level, scale)).collect();
        Plot::Cells(Cells {
            title: row(key).title.to_owned(),
            x: ("gradient scale s".into(), scales.iter().map(|s| s.get().to_string()).collect()),
            y: ("noise level L".into(), levels.iter().map(ToString::to_string).collect()),
            values: levels.iter().map(|&level| row_of(level)).collect(),
        })
    };
    let height = 140 + 60 * levels.len() as u32;
    Figure {
        title: format!("{}, each point of the grid", subject(grid)),
        plots: plotted().map(cells).collect(),
        columns: 2,
        size: (SIZE.0, height),
    }
}

/// By which networks, on what.
fn subject(grid: &Grid) -> String {
    let origin = &grid.results.origin;
    let n = grid.results.diseased();
    let slices = if n == 1 { "slice" } else { "slices" };
    format!("{} on {n} diseased {slices} ({})", origin.networks[0].bundle, origin.cohort[0])
}
