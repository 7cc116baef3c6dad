//! `progress.png`: the curves of a run, from its metrics.

pub use anomalens_plot::titled;

use anomalens_plot::{Axis, Chart, Corner, Line, Look, PlotError, Ticks};
use image::RgbImage;
use serde_json::{Map, Value};

/// Pixels.
const WIDTH: u32 = 1200;
const TALL: u32 = 380;
const SHORT: u32 = 300;

/// Lines of one figure share a range.
struct Panel {
    title: &'static str,
    values: Values,
    /// Names in `metrics.jsonl` and what the legend calls them.
    lines: &'static [(&'static str, &'static str)],
}

/// How values are laid out.
#[derive(Clone, Copy, PartialEq)]
enum Values {
    /// Powers of ten.
    Logarithm,
    /// From 0 to the largest.
    FromZero,
    /// From 0 to 1.
    Share,
}

/// The first is drawn large. One without a value is left out.
const PANELS: [Panel; 11] = [
    Panel {
        title: "loss of the noise predictor (logarithmic)",
        values: Values::Logarithm,
        lines: &[
            ("mse", "mean squared error of the noise"),
            ("bound", "variational bound, bits a dimension"),
        ],
    },
    Panel {
        title: "cross-entropy of the classifier, nats",
        values: Values::FromZero,
        lines: &[("cross_entropy", "training"), ("validation_cross_entropy", "held-out images")],
    },
    Panel {
        title: "what the autoencoder loses of a pixel (logarithmic)",
        values: Values::Logarithm,
        lines: &[("reconstruction_mse", "mean squared error")],
    },
    Panel {
        title: "latent images: divergence from the standard normal, nats",
        values: Values::FromZero,
        lines: &[("divergence", "of an image")],
    },
    Panel {
        title: "what the generator loses of a pixel (logarithmic)",
        values: Values::Logarithm,
        lines: &[("identity", "to its own domain"), ("reconstruction", "there and back")],
    },
    Panel {
        title: "the critic (logarithmic)",
        values: Values::Logarithm,
        lines: &[("source_distance", "real over made images"), ("gradient_penalty", "gradient penalty")],
    },
    Panel {
        title: "cross-entropy of the domains, nats",
        values: Values::FromZero,
        lines: &[
            ("critic_cross_entropy", "of real images, the critic's"),
            ("generator_cross_entropy", "of made images, the generator's"),
        ],
    },
    Panel {
        title: "accuracy by noise level",
        values: Values::Share,
        lines: &[
            ("accuracy_1", "lowest quarter of the levels"),
            ("accuracy_2", "second"),
            ("accuracy_3", "third"),
            ("accuracy_4", "highest"),
        ],
    },
    Panel {
        title: "held-out images",
        values: Values::Share,
        lines: &[
            ("validation_dice", "Dice"),
            ("validation_auroc", "AUROC of pixels"),
            ("validation_accuracy", "accuracy"),
        ],
    },
    Panel {
        title: "held-out images: what encoding and decoding change",
        values: Values::FromZero,
        lines: &[("validation_round_trip", "mean difference of a pixel")],
    },
    Panel {
        title: "norm of the gradient (logarithmic)",
        values: Values::Logarithm,
        lines: &[
            ("gradient_norm", "before clipping"),
            ("critic_gradient_norm", "the critic's"),
            ("generator_gradient_norm", "the generator's"),
        ],
    },
];

/// A name in the legend, and the points.
type Curve = (&'static str, Vec<(f64, f64)>);

/// Draws the lines of `metrics.jsonl`; there may be none.
///
/// Errors: [`PlotError`].
pub fn draw(title: &str, metrics: &[Map<String, Value>]) -> Result<RgbImage, PlotError> {
    let panels: Vec<(&Panel, Vec<Curve>)> = PANELS
        .iter()
        .map(|panel| (panel, curves(panel, metrics)))
        .filter(|(_, curves)| !curves.is_empty())
        .collect();
    let steps = panels.iter().flat_map(|(_, curves)| curves).flat_map(|(_, points)| points).map(|p| p.0);
    let last = steps.fold(1.0, f64::max);
    let mut charts = panels.iter().map(|(panel, curves)| chart(panel, curves, last));
    let Some(first) = charts.next() else {
        return anomalens_plot::blank(title, "no metrics yet", (WIDTH, TALL));
    };
    anomalens_plot::stacked(title, &first, &charts.collect::<Vec<_>>(), (WIDTH, TALL, SHORT))
}

/// Every line of a panel that has values, on the panel's axis.
fn curves(panel: &Panel, metrics: &[Map<String, Value>]) -> Vec<Curve> {
    let curve = |&(name, label): &(&'static str, &'static str)| {
        let value = |line: &Map<String, Value>, key: &str| line.get(key).and_then(Value::as_f64);
        let points = metrics.iter().filter_map(|line| Some((value(line, "step")?, value(line, name)?)));
        let points: Vec<(f64, f64)> = match panel.values {
            Values::Logarithm => points.filter(|(_, y)| *y > 0.0).map(|(x, y)| (x, y.log10())).collect(),
            Values::FromZero | Values::Share => points.collect(),
        };
        (label, points)
    };
    panel.lines.iter().map(curve).filter(|(_, points)| !points.is_empty()).collect()
}

fn chart(panel: &Panel, curves: &[Curve], last: f64) -> Chart {
    let points = || curves.iter().flat_map(|(_, points)| points);
    let (least, most) = points().fold((f64::MAX, f64::MIN), |(a, b), p| (a.min(p.1), b.max(p.1)));
    let (range, ticks, corner) = match panel.values {
        Values::Share => ((0.0, 1.0), Ticks::Numbers, Corner::LowerRight),
        Values::FromZero => ((0.0, 1.05 * most.max(1e-6)), Ticks::Numbers, Corner::UpperRight),
        Values::Logarithm => ((least - 0.1, most + 0.1), Ticks::Powers, Corner::UpperRight),
    };
    let line = |(place, (name, points)): (usize, &Curve)| Line {
        name: (*name).to_owned(),
        points: points.clone(),
        look: Look::Solid(place),
    };
    Chart {
        title: panel.title.to_owned(),
        x: Axis { label: "step".into(), range: (0.0, last), ticks: Ticks::Numbers },
        y: Axis { label: String::new(), range, ticks },
        lines: curves.iter().enumerate().map(line).collect(),
        legend: Some(corner),
    }
}

#[cfg(test)]
mod tests {
    use anomalens_plot::{COLOURS, TITLE};
    use serde_json::json;

    use super::*;

    /// So many metrics lines with the figures of a classifier.
    fn metrics(lines: u64) -> Vec<Map<String, Value>> {
        let line = |i: u64| {
            let figures = json!({"step": 50 * i, "cross_entropy": 0.7 / i as f64, "accuracy_1": 0.5, "gradient_norm": 2.0});
            figures.as_object().unwrap().clone()
        };
        (1..=lines).map(line).collect()
    }

    fn ink(picture: &RgbImage, colour: [u8; 3]) -> usize {
        let close = |p: &&image::Rgb<u8>| p.0.iter().zip(colour).all(|(&a, b)| a.abs_diff(b) < 8);
        picture.pixels().filter(close).count()
    }

    #[test]
    fn a_panel_is_drawn_for_what_has_values() {
        for (case, lines, rows) in [("none", 0, 0), ("one line", 1, 1), ("many", 100, 1)] {
            let picture = draw("title", &metrics(lines)).unwrap();
            assert_eq!(picture.height(), TITLE + TALL + rows * SHORT, "{case}");
            // Letters, and a curve if there is one.
            assert!(ink(&picture, [0; 3]) > 100, "{case}");
            assert_eq!(ink(&picture, COLOURS[0]) > 20, lines > 0, "{case}");
        }
        // Values that a logarithm cannot show, or that are none, are left out.
        let mut odd = metrics(3);
        odd[1].insert("gradient_norm".into(), json!(0.0));
        odd[2].insert("cross_entropy".into(), Value::Null);
        assert_eq!(draw("title", &odd).unwrap().height(), TITLE + TALL + SHORT);
    }
}
