//! `sweep`: a cohort with masks in; scores over a grid of noise levels L and gradient scales s, and figures as the paper has
//! them, out. `roundtrip`: encoding and decoding unguided, and how well images are recovered.
//!
//! ```text
//! Layout: points (L, s), and steps that all share -> runtime::sweep, batch by batch -> Store (OUT/parts), by the points' names
//! Store, Cohort -> evaluate's scores, each point a column -> Grid -> sweep.csv, sweep.json, plots, pictures, report.html
//!                  or errors of x_0 against x             -> roundtrip.csv, roundtrip.json, plot, picture
//! ```
//!
//! A point is to the store and to scoring what a method is to an evaluation, so that resuming, shards and figures are the same.

mod args;
mod curves;
mod grid;
mod job;
mod layout;
mod page;
mod pictures;
mod table;
mod trip;

use std::path::Path;

use anomalens_cohort::Cohort;
use anyhow::Result;

use crate::evaluate::record::Record;
use crate::evaluate::source::Point;
use crate::evaluate::store::Store;
use crate::evaluate::table as slices;
use crate::failure::Outcome;
use crate::page::{drawing, source};
use crate::picture;

pub use args::{RoundtripArgs, SweepArgs};
use grid::Grid;
use page::Shown;

/// Runs `sweep`.
///
/// Errors: everything that can be wrong with the cohort, the bundle, the options and the output.
pub fn run(args: SweepArgs) -> Result<Outcome> {
    job::run(args.grid, Some(&args.scales))
}

/// Runs `roundtrip`.
///
/// Errors: as [`run`].
pub fn roundtrip(args: RoundtripArgs) -> Result<Outcome> {
    job::run(args.grid, None)
}

/// Makes of what is kept, all of it, what it is for.
///
/// Errors: those of the cohort, the store and the figures.
pub fn conclude(cohort: &Cohort, store: &mut Store, record: Record, out: &Path) -> Result<()> {
    let points: Vec<Point> = record.networks.iter().filter_map(|network| network.source.point()).collect();
    if points.iter().all(|point| point.scale.is_none()) {
        return trip::conclude(cohort, store, &record, &points, out);
    }
    let grid = Grid::new(cohort, store, record, points)?;
    store.result("results.csv", slices::slices_csv(&grid.results).as_bytes())?;
    store.result("sweep.csv", table::csv(&grid).as_bytes())?;
    store.result("sweep.json", table::json(&grid).as_bytes())?;
    store.result("timings.json", slices::timings(&grid.results).as_bytes())?;
    let mut shown = Vec::new();
    for (name, figure) in [("curves", curves::lines(&grid)), ("grid", curves::cells(&grid))] {
        let svg = figure.svg()?;
        store.result(&format!("{name}.svg"), svg.as_bytes())?;
        store.result(&format!("{name}.png"), &picture::png(&figure.png()?)?)?;
        shown.push(Shown { label: figure.title, source: drawing(&svg) });
    }
    for picture in pictures::all(cohort, store, &grid)? {
        let png = picture::png(&picture.panels.png()?)?;
        store.result(&format!("{}.png", picture.name), &png)?;
        shown.push(Shown { label: picture.panels.title, source: source(&png) });
    }
    // Last: who finds it finds everything.
    store.result("report.html", page::html(&grid, &shown)?.as_bytes())?;
    let text = table::text(&grid);
    crate::print(&format!(
        "{text}report.html, sweep.csv, sweep.json, plots and pictures are in {}\n",
        out.display()
    ));
    Ok(())
}
