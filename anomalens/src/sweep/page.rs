//! `report.html` of a grid: tables, plots and pictures on one page without outside parts.

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use minijinja::value::Value;
use minijinja::{Environment, context};

use super::grid::{Grid, SHOWN, row};
use super::table;
use crate::evaluate::figure::Figure;
use crate::picture::NOT_FOR_DIAGNOSTIC_USE;
use crate::report::STYLE;

/// Its name ends in .html, by which every text in it is escaped.
const TEMPLATE: (&str, &str) = ("page.html", include_str!("page.html"));

/// A picture or a plot, as the page has it.
pub struct Shown {
    label: String,
    source: String,
}

impl Shown {
    /// A plot.
    pub fn svg(label: &str, svg: &str) -> Self {
        let source = format!("data:image/svg+xml;base64,{}", STANDARD.encode(svg));
        Self { label: label.to_owned(), source }
    }

    /// A picture.
    pub fn png(label: &str, png: &[u8]) -> Self {
        let source = format!("data:image/png;base64,{}", STANDARD.encode(png));
        Self { label: label.to_owned(), source }
    }
}

/// The page.
///
/// Errors: those of the template.
pub fn html(grid: &Grid, shown: &[Shown]) -> Result<String> {
    let mut environment = Environment::new();
    environment.add_template(TEMPLATE.0, TEMPLATE.1)?;
    let (results, origin) = (&grid.results, &grid.results.origin);
    let figures = shown.iter().map(|shown| {
        context! { label => shown.label, source => Value::from_safe_string(shown.source.clone()) }
    });
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
    let settings: Vec<_> = origin.settings.iter().filter(|(name, _)| name != "cohort").collect();
    let page = environment.get_template(TEMPLATE.0)?.render(context! {
        notice => NOT_FOR_DIAGNOSTIC_USE,
        style => Value::from_safe_string(STYLE.to_owned()),
        title => format!("{} on {}: noise levels and gradient scales", network.bundle, origin.cohort[0]),
        subtitle => format!(
            "{} slices of {} subjects: {} healthy, {} diseased. {}",
            results.facts.len(), results.volumes.len(), results.healthy(), results.diseased(), origin.cohort[1]
        ),
        verdict => grid.verdict(),
        scales => grid.scales().iter().map(|scale| scale.get().to_string()).collect::<Vec<_>>(),
        tables => SHOWN.map(|key| scores(grid, key)).to_vec(),
        figures => figures.collect::<Vec<_>>(),
        protocol => grid.protocol(),
        facts => vec![context! { title => "Settings", rows => settings }, context! { title => "Made of", rows => made }],
    })?;
    Ok(page)
}

/// The table of one row: levels down, scales across, baselines below.
fn scores(grid: &Grid, key: &str) -> Value {
    let row = row(key);
    let values = (0..grid.points.len()).filter_map(|place| grid.figure(place, key).value);
    let most = values.reduce(f64::max).filter(|_| row.compared());
    let cell = |figure: &Figure| {
        context! {
            value => figure.value.map_or("-".to_owned(), |v| format!("{v:.4}")),
            interval => figure.interval.map(|interval| format!("{:.3} to {:.3}", interval.low, interval.high)),
            best => most.is_some() && figure.value == most,
        }
    };
    let line = |level| {
        let cells = grid.scales().into_iter().map(|scale| cell(grid.figure(grid.place(level, scale), key)));
        context! { name => format!("L = {level}"), cells => cells.collect::<Vec<_>>() }
    };
    let levels: Vec<_> = grid.levels().into_iter().map(line).collect();
    let baseline = |(place, name): (usize, &str)| {
        context! { name, cell => cell(grid.figure(grid.points.len() + place, key)) }
    };
    let names = grid.baselines().iter().map(|method| method.column.name.as_str());
    let baselines: Vec<_> = names.enumerate().map(baseline).collect();
    context! { section => row.section.title(), title => row.title, levels, baselines }
}
