//! Draws charts beside each other, for scripts: JSON on standard input, `NAME.svg` and `NAME.png` out. With `log`, x is drawn as
//! its logarithm.
//!
//! ```text
//! echo '{"title": "…", "charts": [{"title": "…", "x": "calls", "log": true, "lines": [
//!        {"name": "…", "dashed": false, "points": [[10, 0.5], [20, 0.6]]}]}]}' | lines NAME
//! ```

use std::error::Error;

use anomalens_plot::{Axis, Chart, Figure, Line, Look, Plot, Ticks};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Drawing {
    title: String,
    charts: Vec<Lines>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Lines {
    title: String,
    x: String,
    log: bool,
    lines: Vec<Points>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Points {
    name: String,
    dashed: bool,
    points: Vec<(f64, f64)>,
}

fn chart(Lines { title, x, log, lines }: Lines) -> Chart {
    let (mut solid, mut dashed) = (0, 0);
    let mut look = |line: &Points| {
        let (number, look): (&mut usize, fn(usize) -> Look) =
            if line.dashed { (&mut dashed, Look::Dashed) } else { (&mut solid, Look::Solid) };
        *number += 1;
        look(*number - 1)
    };
    let place = |(x, y): &(f64, f64)| (if log { x.log10() } else { *x }, *y);
    let lines: Vec<Line> = lines
        .iter()
        .map(|line| Line {
            look: look(line),
            name: line.name.clone(),
            points: line.points.iter().map(place).collect(),
        })
        .collect();
    let side = |of: fn(&(f64, f64)) -> f64| lines.iter().flat_map(move |line| line.points.iter().map(of));
    let limits = (f64::MIN, f64::MAX);
    let ticks = if log { Ticks::Powers } else { Ticks::Numbers };
    let x = Axis { ticks, ..Axis::around(&x, side(|point| point.0), limits) };
    let y = Axis::around("", side(|point| point.1), limits);
    Chart { title, x, y, lines, legend: None }
}

fn main() -> Result<(), Box<dyn Error>> {
    let name = std::env::args().nth(1).ok_or("expected the name of the figure, without an ending")?;
    let Drawing { title, charts } = serde_json::from_reader(std::io::stdin())?;
    let plots = charts.into_iter().map(|lines| Plot::Lines(chart(lines))).collect();
    let figure = Figure { title, plots, columns: 2, size: (560, 400) };
    std::fs::write(format!("{name}.svg"), figure.svg()?)?;
    Ok(figure.png()?.save(format!("{name}.png"))?)
}
