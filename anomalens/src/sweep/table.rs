//! A grid as a person reads it, as CSV and as JSON; equal scores are equal files.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::grid::{Grid, SHOWN, row};
use crate::evaluate::figure::{Figure, ROWS};
use crate::evaluate::results::Method;
use crate::evaluate::table::{cell, head};
use crate::parts::object;
use crate::picture::NOT_FOR_DIAGNOSTIC_USE;

/// The tables for the terminal: one for each figure that is shown, levels down and scales across.
pub fn text(grid: &Grid) -> String {
    let results = &grid.results;
    let mut text = head(results, &grid.protocol());
    for key in SHOWN {
        let row = row(key);
        let _ = write!(text, "\n{}: {}\n{:>12}", row.section.title(), row.title, "L \\ s");
        for scale in grid.scales() {
            let _ = write!(text, " {:>24}", scale.get());
        }
        let _ = writeln!(text);
        for level in grid.levels() {
            let _ = write!(text, "{level:>12}");
            for scale in grid.scales() {
                let _ = write!(text, " {:>24}", cell(grid.figure(grid.place(level, scale), key)));
            }
            let _ = writeln!(text);
        }
        for (place, method) in grid.baselines().iter().enumerate() {
            let cell = cell(grid.figure(grid.points.len() + place, key));
            let _ = writeln!(text, "{:>12} {cell:>24}", method.column.name);
        }
    }
    if let Some(seconds) = seconds(grid) {
        let _ = writeln!(text, "\n{seconds:.2} s a slice for all {} points", grid.points.len());
    }
    let _ = writeln!(text, "\n{}", grid.verdict());
    text
}

/// Seconds a slice for all points together.
pub fn seconds(grid: &Grid) -> Option<f64> {
    let all = &grid.results.origin.seconds;
    (!all.is_empty()).then(|| all.iter().map(|(_, seconds)| seconds).sum())
}

/// One line a point, then one a baseline, after a line of comment and one of names; six decimals, empty where there is no such
/// number; `low` and `high` are the ends of the interval.
pub fn csv(grid: &Grid) -> String {
    let mut text = format!("# {NOT_FOR_DIAGNOSTIC_USE}\nmethod,noise_level,gradient_scale,steps");
    for key in SHOWN {
        let _ = write!(text, ",{key},{key}_low,{key}_high");
    }
    let _ = writeln!(text);
    let mut line = |name: &str, facts: [String; 3], method: &Method| {
        let _ = write!(text, "{name},{}", facts.join(","));
        for (figure, _) in method.figures.iter().zip(&ROWS).filter(|(_, row)| SHOWN.contains(&row.key)) {
            let Figure { value, interval } = figure;
            for number in [*value, interval.map(|i| i.low), interval.map(|i| i.high)] {
                let _ = write!(text, ",{}", number.map_or(String::new(), |v| format!("{v:.6}")));
            }
        }
        let _ = writeln!(text);
    };
    for (point, method) in grid.points.iter().zip(&grid.results.methods) {
        let scale = point.pair().1.get().to_string();
        let facts = [point.level.to_string(), scale, grid.steps(point.level).to_owned()];
        line("ours", facts, method);
    }
    for method in grid.baselines() {
        line(&method.column.name, [const { String::new() }; 3], method);
    }
    text
}

/// Every figure of every point and baseline.
pub fn json(grid: &Grid) -> String {
    let figures = |method: &Method| -> Map<String, Value> {
        let figure = |figure: &Figure| {
            let (low, high) = (figure.interval.map(|i| i.low), figure.interval.map(|i| i.high));
            json!({ "value": figure.value, "low": low, "high": high })
        };
        ROWS.iter().zip(&method.figures).map(|(row, f)| (row.key.to_owned(), figure(f))).collect()
    };
    let points = grid.points.iter().zip(&grid.results.methods).map(|(point, method)| {
        json!({
            "noise_level": point.level.get(),
            "gradient_scale": point.pair().1.get(),
            "steps": grid.steps(point.level).parse::<usize>().ok(),
            "one_threshold": method.one_threshold,
            "figures": figures(method),
        })
    });
    let baselines = grid
        .baselines()
        .iter()
        .map(|method| json!({ "name": method.column.name, "figures": figures(method) }));
    let origin = &grid.results.origin;
    let [kind, note, fingerprint] = &origin.cohort;
    let (network, best) = (&origin.networks[0], &grid.points[grid.best]);
    let value = json!({
        "format": 1,
        "notice": NOT_FOR_DIAGNOSTIC_USE,
        "tool": origin.tool,
        "bundle": { "name": network.bundle, "sha256": network.sha256, "provenance": network.provenance },
        "cohort": { "kind": kind, "note": note, "fingerprint": fingerprint },
        "settings": object(&origin.settings),
        "protocol": grid.protocol(),
        "slices": {
            "all": origin.all,
            "scored": grid.results.facts.len(),
            "healthy": grid.results.healthy(),
            "diseased": grid.results.diseased(),
        },
        "subjects": grid.results.volumes.len(),
        "points": points.collect::<Vec<_>>(),
        "baselines": baselines.collect::<Vec<_>>(),
        "best": { "noise_level": best.level.get(), "gradient_scale": best.pair().1.get() },
        "verdict": grid.verdict(),
    });
    format!("{value:#}\n")
}
