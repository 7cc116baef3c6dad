//! Round trips: how far x₀ is from x after encoding to L and decoding without guidance.

use std::fmt::Write;
use std::path::Path;

use anomalens_cohort::Cohort;
use anomalens_plot::{Axis, Chart, Figure, Line, Look, Panels, Plot, Row, Ticks};
use anyhow::Result;
use ndarray::Axis as Dimension;
use serde_json::{Map, Value, json};

use super::layout::steps_to;
use crate::evaluate::column::thresholded;
use crate::evaluate::gallery::{TILE, bar, brightest};
use crate::evaluate::name;
use crate::evaluate::record::Record;
use crate::evaluate::source::Point;
use crate::evaluate::store::Store;
use crate::parts::object;
use crate::picture::tile::{self, TileSize};
use crate::picture::{self, NOT_FOR_DIAGNOSTIC_USE};
use crate::{TOOL, evaluate};

/// The errors at one level, of every value of every slice, which lie in [0, 1].
#[derive(Debug, Clone, Copy, PartialEq)]
struct Errors {
    /// The mean of |x₀ - x|.
    mean: f64,
    /// The same inside the region.
    inside: f64,
    /// The largest.
    most: f64,
    /// Inside the region, of the slice for which it is largest.
    worst: f64,
}

/// An error's name in files, and in the legend, and which it is.
type Named = (&'static str, &'static str, fn(&Errors) -> f64);

const NAMES: [Named; 4] = [
    ("mean", "mean of all pixels", |e| e.mean),
    ("mean_region", "mean inside the region", |e| e.inside),
    ("mean_region_worst_slice", "the same, worst slice", |e| e.worst),
    ("max", "largest of all pixels", |e| e.most),
];

/// Measures what is kept, and writes it.
///
/// Errors: those of the cohort, the store and the figures.
pub fn conclude(
    cohort: &Cohort,
    store: &mut Store,
    record: &Record,
    points: &[Point],
    out: &Path,
) -> Result<()> {
    let slices = store.plan().slices();
    let errors: Vec<Errors> =
        points.iter().map(|point| measure(cohort, store, &slices, point)).collect::<Result<_>>()?;
    let steps: Vec<&str> = points.iter().map(|point| steps(record, point)).collect();
    store.result("roundtrip.csv", csv(points, &steps, &errors).as_bytes())?;
    store.result("roundtrip.json", self::json(cohort, record, points, &steps, &errors)?.as_bytes())?;
    let figure = figure(cohort, record, points, &errors, slices.len());
    store.result("curve.svg", figure.svg()?.as_bytes())?;
    store.result("curve.png", &picture::png(&figure.png()?)?)?;
    let panels = panels(cohort, store, record, points, slices[0])?;
    store.result("slice.png", &picture::png(&panels.png()?)?)?;
    let mut text =
        format!("{NOT_FOR_DIAGNOSTIC_USE}\n{} slices; |x_0 - x| of values in [0, 1]\n\n", slices.len());
    let _ = write!(text, "{:>8} {:>6}", "L", "steps");
    NAMES.iter().for_each(|(_, title, _)| {
        let _ = write!(text, " {title:>24}");
    });
    for ((point, errors), steps) in points.iter().zip(&errors).zip(&steps) {
        let _ = write!(text, "\n{:>8} {steps:>6}", point.level);
        NAMES.iter().for_each(|(_, _, of)| {
            let _ = write!(text, " {:>24.6}", of(errors));
        });
    }
    let _ = writeln!(text, "\n\nroundtrip.csv, roundtrip.json, curve and slice are in {}", out.display());
    crate::print(&text);
    Ok(())
}

fn steps<'a>(record: &'a Record, point: &Point) -> &'a str {
    let name = steps_to(point.level);
    record.settings.iter().find(|setting| setting.0 == name).map_or("", |setting| &setting.1)
}

/// The errors of one level.
fn measure(cohort: &Cohort, store: &mut Store, slices: &[usize], point: &Point) -> Result<Errors> {
    let (mut all, mut inside) = (Mean::default(), Mean::default());
    let (mut most, mut worst) = (0.0f64, 0.0f64);
    for &index in slices {
        let (image, region) = (cohort.image(index)?, cohort.brain(index)?);
        let changed = (&store.read(*point, index)? - &image).mapv(|d| f64::from(d.abs()));
        let mut of_slice = Mean::default();
        for plane in changed.outer_iter() {
            for (value, inside) in plane.iter().zip(&region) {
                all.add(*value);
                most = most.max(*value);
                if *inside {
                    of_slice.add(*value);
                }
            }
        }
        worst = worst.max(of_slice.value());
        inside.sum += of_slice.sum;
        inside.n += of_slice.n;
    }
    Ok(Errors { mean: all.value(), inside: inside.value(), most, worst })
}

#[derive(Default)]
struct Mean {
    sum: f64,
    n: usize,
}

impl Mean {
    fn add(&mut self, value: f64) {
        self.sum += value;
        self.n += 1;
    }

    fn value(&self) -> f64 {
        self.sum / self.n.max(1) as f64
    }
}

/// One line a level, after a line of comment and one of names.
fn csv(points: &[Point], steps: &[&str], errors: &[Errors]) -> String {
    let names: Vec<_> = NAMES.iter().map(|(name, _, _)| *name).collect();
    let mut text = format!("# {NOT_FOR_DIAGNOSTIC_USE}\nnoise_level,steps,{}\n", names.join(","));
    for ((point, steps), errors) in points.iter().zip(steps).zip(errors) {
        let values: Vec<_> = NAMES.iter().map(|(_, _, of)| format!("{:.8}", of(errors))).collect();
        let _ = writeln!(text, "{},{steps},{}", point.level, values.join(","));
    }
    text
}

fn json(
    cohort: &Cohort,
    record: &Record,
    points: &[Point],
    steps: &[&str],
    errors: &[Errors],
) -> Result<String> {
    let level = |((point, steps), errors): ((&Point, &&str), &Errors)| {
        let mut level = Map::new();
        level.insert("noise_level".into(), json!(point.level.get()));
        level.insert("steps".into(), json!(steps.parse::<usize>().ok()));
        level.extend(NAMES.iter().map(|(name, _, of)| ((*name).to_owned(), json!(of(errors)))));
        Value::from(level)
    };
    let levels: Vec<Value> = points.iter().zip(steps).zip(errors).map(level).collect();
    let network = &record.networks[0];
    let value = json!({
        "format": 1,
        "notice": NOT_FOR_DIAGNOSTIC_USE,
        "tool": TOOL,
        "bundle": { "name": network.bundle, "sha256": network.sha256, "provenance": network.provenance },
        "cohort": { "kind": cohort.kind(), "note": cohort.note(), "fingerprint": cohort.fingerprint()? },
        "settings": object(&record.settings),
        "slices": evaluate::plan(cohort, record).slices().len(),
        "levels": levels,
    });
    Ok(format!("{value:#}\n"))
}

/// The curves over L.
fn figure(cohort: &Cohort, record: &Record, points: &[Point], errors: &[Errors], slices: usize) -> Figure {
    let of_level = |of: fn(&Errors) -> f64| -> Vec<(f64, f64)> {
        let each = points.iter().zip(errors).map(|(point, errors)| (point.level.get() as f64, of(errors)));
        // A logarithm has no 0.
        each.filter(|(_, value)| *value > 0.0).map(|(level, value)| (level, value.log10())).collect()
    };
    let line = |(number, (_, name, of)): (usize, &Named)| Line {
        name: (*name).to_owned(),
        points: of_level(*of),
        look: Look::Solid(number),
    };
    let lines: Vec<Line> = NAMES.iter().enumerate().map(line).collect();
    let values = lines.iter().flat_map(|line| line.points.iter().map(|point| point.1));
    let y = Axis::around("|x_0 - x|, of values in [0, 1]", values, (f64::MIN, f64::MAX));
    let largest = points.iter().map(|point| point.level.get()).max().unwrap_or(1);
    let x =
        Axis { label: "noise level L".into(), range: (0.0, 1.04 * largest as f64), ticks: Ticks::Numbers };
    let y = Axis { ticks: Ticks::Powers, ..y };
    let title = "encoded to L and decoded, s = 0".to_owned();
    let chart = Chart { title, x, y, lines, legend: None };
    Figure {
        title: format!("Round trips: {} on {slices} slices ({})", record.networks[0].bundle, cohort.kind()),
        plots: vec![Plot::Lines(chart)],
        columns: 1,
        size: (900, 480),
    }
}

/// One slice: what comes back from each level, and what has changed.
fn panels(
    cohort: &Cohort,
    store: &mut Store,
    record: &Record,
    points: &[Point],
    index: usize,
) -> Result<Panels> {
    let image = cohort.image(index)?;
    let channel = thresholded(cohort.channels()).unwrap_or(0);
    let plane = image.index_axis(Dimension(0), channel);
    let size = TileSize::near(TILE, plane.dim(), 1.0);
    let (mut back, mut changed) = (vec![Some(tile::image(plane, size))], vec![]);
    for point in points {
        let healthy = store.read(*point, index)?;
        let healthy = healthy.index_axis(Dimension(0), channel).to_owned();
        back.push(Some(tile::image(healthy.view(), size)));
        changed.push((&healthy - &plane).mapv(f32::abs));
    }
    let full = brightest(changed.iter().flat_map(|plane| plane.iter()));
    let heat = changed.iter().map(|plane| Some(tile::heat(plane.view(), full, size)));
    let rows = vec![
        Row { label: "x_0".to_owned(), images: back },
        Row { label: "|x_0 - x|".to_owned(), images: std::iter::once(None).chain(heat).collect() },
    ];
    let heads =
        std::iter::once("input x".to_owned()).chain(points.iter().map(|point| point.words())).collect();
    let network = &record.networks[0];
    let hash: String = network.sha256.chars().take(12).collect();
    let notes = vec![
        format!("{}, {}", name(cohort, index), cohort.channels()[channel]),
        format!("bundle {} {hash}, cohort {}", network.bundle, cohort.kind()),
    ];
    let title = "Encoded to L and decoded, s = 0".to_owned();
    Ok(Panels { title, notes, heads, rows, bar: Some(bar(full)) })
}
