//! `report.html` of a grid: tables, plots and pictures on one page for a person.

use anyhow::Result;
use minijinja::context;
use minijinja::value::Value;

use super::grid::{Grid, SHOWN, row};
use super::table;
use crate::evaluate::page::cell;
use crate::page::{self, facts};

/// A picture or a plot, as the page has it.
pub struct Shown {
    /// What it shows.
    pub label: String,
    /// By [`page::source`] or [`page::drawing`].
    pub source: Value,
}

/// The page.
///
/// Errors: those of the template.
pub fn html(grid: &Grid, shown: &[Shown]) -> Result<String> {
    let (results, origin) = (&grid.results, &grid.results.origin);
    let figures = shown.iter().map(|shown| context! { label => shown.label, source => shown.source });
    let network = &origin.networks[0];
    let mut made = vec![
        ("program".to_owned(), origin.tool.clone()),
        ("bundle".to_owned(), format!("{} {}", network.bundle, network.sha256)),
        ("provenance".to_owned(), network.provenance.clone()),
        ("cohort".to_owned(), format!("{} {}", origin.cohort[0], origin.cohort[2])),
    ];
    if let Some(seconds) = table::seconds(grid) {
        let time = format!("{seconds:.2} s a slice for all {} points", grid.points.len());
        made.push(("time".to_owned(), time));
    }
    let settings = origin.settings.iter().filter(|(name, _)| name != "cohort").cloned();
    let values = context! {
        title => format!("{} on {}: noise levels and gradient scales", network.bundle, origin.cohort[0]),
        subtitle => format!(
            "{} slices of {} subjects: {} healthy, {} diseased. {}",
            results.facts.len(),
            results.volumes.len(),
            results.healthy(),
            results.diseased(),
            origin.cohort[1]
        ),
        verdict => grid.verdict(),
        scales => grid.scales().iter().map(|scale| scale.get().to_string()).collect::<Vec<_>>(),
        scores => SHOWN.map(|key| scores(grid, key)).to_vec(),
        figures => figures.collect::<Vec<_>>(),
        protocol => grid.protocol(),
        tables => [facts("Settings", &settings.collect::<Vec<_>>()), facts("Made of", &made)],
    };
    Ok(page::render(include_str!("page.html"), values)?)
}

/// The table of one row: levels down, scales across, baselines below.
fn scores(grid: &Grid, key: &str) -> Value {
    let row = row(key);
    let values = (0..grid.points.len()).filter_map(|place| grid.figure(place, key).value);
    let most = values.reduce(f64::max).filter(|_| row.compared());
    let line = |level| {
        let cells =
            grid.scales().into_iter().map(|scale| cell(grid.figure(grid.place(level, scale), key), most));
        context! { name => format!("L = {level}"), cells => cells.collect::<Vec<_>>() }
    };
    let levels: Vec<_> = grid.levels().into_iter().map(line).collect();
    let baseline = |(place, name): (usize, &str)| {
        context! { name, cell => cell(grid.figure(grid.points.len() + place, key), None) }
    };
    let names = grid.baselines().iter().map(|method| method.column.name.as_str());
    let baselines: Vec<_> = names.enumerate().map(baseline).collect();
    context! { section => row.section.title(), title => row.title, levels, baselines }
}
