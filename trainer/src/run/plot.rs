//! `progress.png`: the curves of a run, from its metrics.

use std::sync::Once;

use image::{RgbImage, imageops};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontStyle, register_font};
use serde_json::{Map, Value};

/// Pixels.
const WIDTH: u32 = 1200;
const TITLE: u32 = 64;
const TALL: u32 = 380;
const SHORT: u32 = 300;

/// Up to so many points are shown one by one.
const FEW: usize = 40;

/// Lines of one figure share a range.
struct Panel {
    title: &'static str,
    axis: Axis,
    /// Names in `metrics.jsonl` and what the legend calls them.
    lines: &'static [(&'static str, &'static str)],
}

/// How values are laid out.
#[derive(Clone, Copy, PartialEq)]
enum Axis {
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
        axis: Axis::Logarithm,
        lines: &[
            ("mse", "mean squared error of the noise"),
            ("bound", "variational bound, bits a dimension"),
        ],
    },
    Panel {
        title: "cross-entropy of the classifier, nats",
        axis: Axis::FromZero,
        lines: &[("cross_entropy", "training"), ("validation_cross_entropy", "held-out images")],
    },
    Panel {
        title: "what the autoencoder loses of a pixel (logarithmic)",
        axis: Axis::Logarithm,
        lines: &[("reconstruction_mse", "mean squared error")],
    },
    Panel {
        title: "latent images: divergence from the standard normal, nats",
        axis: Axis::FromZero,
        lines: &[("divergence", "of an image")],
    },
    Panel {
        title: "what the generator loses of a pixel (logarithmic)",
        axis: Axis::Logarithm,
        lines: &[("identity", "to its own domain"), ("reconstruction", "there and back")],
    },
    Panel {
        title: "the critic (logarithmic)",
        axis: Axis::Logarithm,
        lines: &[("source_distance", "real over made images"), ("gradient_penalty", "gradient penalty")],
    },
    Panel {
        title: "cross-entropy of the domains, nats",
        axis: Axis::FromZero,
        lines: &[
            ("critic_cross_entropy", "of real images, the critic's"),
            ("generator_cross_entropy", "of made images, the generator's"),
        ],
    },
    Panel {
        title: "accuracy by noise level",
        axis: Axis::Share,
        lines: &[
            ("accuracy_1", "lowest quarter of the levels"),
            ("accuracy_2", "second"),
            ("accuracy_3", "third"),
            ("accuracy_4", "highest"),
        ],
    },
    Panel {
        title: "held-out images",
        axis: Axis::Share,
        lines: &[
            ("validation_dice", "Dice"),
            ("validation_auroc", "AUROC of pixels"),
            ("validation_accuracy", "accuracy"),
        ],
    },
    Panel {
        title: "held-out images: what encoding and decoding change",
        axis: Axis::FromZero,
        lines: &[("validation_round_trip", "mean difference of a pixel")],
    },
    Panel {
        title: "norm of the gradient (logarithmic)",
        axis: Axis::Logarithm,
        lines: &[
            ("gradient_norm", "before clipping"),
            ("critic_gradient_norm", "the critic's"),
            ("generator_gradient_norm", "the generator's"),
        ],
    },
];

/// Colours that differ for every sort of eye (Okabe and Ito 2008).
const COLOURS: [RGBColor; 4] =
    [RGBColor(0, 114, 178), RGBColor(213, 94, 0), RGBColor(0, 158, 115), RGBColor(204, 121, 167)];

type Fault = Box<dyn std::error::Error + Send + Sync>;
type Area<'a> = DrawingArea<BitMapBackend<'a>, Shift>;
type Curve = (&'static str, Vec<(f64, f64)>);

/// Draws the lines of `metrics.jsonl`; there may be none.
///
/// Errors: those of the drawing library.
pub fn draw(title: &str, metrics: &[Map<String, Value>]) -> Result<RgbImage, Fault> {
    know_the_font();
    let panels: Vec<(&Panel, Vec<Curve>)> = PANELS
        .iter()
        .map(|panel| (panel, curves(panel, metrics)))
        .filter(|(_, curves)| !curves.is_empty())
        .collect();
    let steps = panels.iter().flat_map(|(_, curves)| curves).flat_map(|(_, points)| points).map(|p| p.0);
    let last = steps.fold(1.0, f64::max);
    let rows = panels.len().saturating_sub(1).div_ceil(2) as u32;
    let height = TALL + rows * SHORT;
    let mut pixels = vec![255; (WIDTH * height * 3) as usize];
    {
        let root = BitMapBackend::with_buffer(&mut pixels, (WIDTH, height)).into_drawing_area();
        root.fill(&WHITE)?;
        let (large, small) = root.split_vertically(TALL);
        match panels.split_first() {
            None => large.draw_text("no metrics yet", &style(20, &BLACK), (WIDTH as i32 / 2, 100))?,
            Some(((panel, curves), rest)) => {
                chart(&large, panel, curves, last)?;
                let places = small.split_evenly((rows.max(1) as usize, 2));
                for ((panel, curves), place) in rest.iter().zip(&places) {
                    chart(place, panel, curves, last)?;
                }
            }
        }
        root.present()?;
    }
    titled(title, &RgbImage::from_raw(WIDTH, height, pixels).expect("as many bytes as pixels"))
}

/// A picture under its title and the warning that it is not for diagnostic use.
///
/// Errors: those of the drawing library.
pub fn titled(title: &str, picture: &RgbImage) -> Result<RgbImage, Fault> {
    know_the_font();
    let (width, height) = (picture.width(), picture.height() + TITLE);
    let mut pixels = vec![255; (width * height * 3) as usize];
    {
        let root = BitMapBackend::with_buffer(&mut pixels, (width, height)).into_drawing_area();
        let middle = width as i32 / 2;
        root.draw_text(title, &style(26, &BLACK), (middle, 22))?;
        root.draw_text("not for diagnostic use", &style(18, &RGBColor(160, 0, 0)), (middle, 48))?;
        root.present()?;
    }
    let mut all = RgbImage::from_raw(width, height, pixels).expect("as many bytes as pixels");
    imageops::replace(&mut all, picture, 0, i64::from(TITLE));
    Ok(all)
}

fn know_the_font() {
    static FONT: Once = Once::new();
    FONT.call_once(|| {
        // It is a sound font: the test below draws with it.
        let _ = register_font("sans-serif", FontStyle::Normal, notosans::REGULAR_TTF);
    });
}

fn style(size: i32, colour: &RGBColor) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(colour).pos(Pos::new(HPos::Center, VPos::Center))
}

/// Every line of a panel that has values, on the panel's axis.
fn curves(panel: &Panel, metrics: &[Map<String, Value>]) -> Vec<Curve> {
    let curve = |&(name, label): &(&'static str, &'static str)| {
        let value = |line: &Map<String, Value>, key: &str| line.get(key).and_then(Value::as_f64);
        let points = metrics.iter().filter_map(|line| Some((value(line, "step")?, value(line, name)?)));
        let points: Vec<(f64, f64)> = match panel.axis {
            Axis::Logarithm => points.filter(|(_, y)| *y > 0.0).map(|(x, y)| (x, y.log10())).collect(),
            Axis::FromZero | Axis::Share => points.collect(),
        };
        (label, points)
    };
    panel.lines.iter().map(curve).filter(|(_, points)| !points.is_empty()).collect()
}

fn chart(area: &Area<'_>, panel: &Panel, curves: &[Curve], last: f64) -> Result<(), Fault> {
    let points = || curves.iter().flat_map(|(_, points)| points);
    let (least, most) = points().fold((f64::MAX, f64::MIN), |(a, b), p| (a.min(p.1), b.max(p.1)));
    let (low, high) = match panel.axis {
        Axis::Share => (0.0, 1.0),
        Axis::FromZero => (0.0, 1.05 * most.max(1e-6)),
        Axis::Logarithm => (least - 0.1, most + 0.1),
    };
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .margin_right(28)
        .caption(panel.title, ("sans-serif", 20))
        .x_label_area_size(42)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..last, low..high)?;
    let label = |v: &f64| match panel.axis {
        Axis::Logarithm => digits(10f64.powf(*v)),
        Axis::FromZero | Axis::Share => digits(*v),
    };
    chart
        .configure_mesh()
        .x_desc("step")
        .x_labels(8)
        .x_label_formatter(&|v| format!("{v:.0}"))
        .y_label_formatter(&label)
        .y_labels(7)
        .label_style(("sans-serif", 15))
        .axis_desc_style(("sans-serif", 16))
        .light_line_style(RGBColor(245, 245, 245))
        .bold_line_style(RGBColor(225, 225, 225))
        .draw()?;
    for ((name, points), colour) in curves.iter().zip(COLOURS) {
        let style = ShapeStyle { color: colour.to_rgba(), filled: true, stroke_width: 2 };
        chart
            .draw_series(LineSeries::new(points.iter().copied(), style))?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
        // A line of one point is seen by its point alone.
        if points.len() <= FEW {
            chart.draw_series(points.iter().map(|&point| Circle::new(point, 3, style)))?;
        }
    }
    let place = match panel.axis {
        Axis::Share => SeriesLabelPosition::LowerRight,
        Axis::Logarithm | Axis::FromZero => SeriesLabelPosition::UpperRight,
    };
    chart
        .configure_series_labels()
        .position(place)
        .background_style(WHITE.mix(0.8))
        .border_style(RGBColor(200, 200, 200))
        .label_font(("sans-serif", 15))
        .draw()?;
    Ok(())
}

/// A number with two or three digits that say something.
fn digits(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        v if v >= 100.0 => format!("{value:.0}"),
        v => {
            let places = (1 - v.log10().floor() as i32).max(0) as usize;
            let text = format!("{value:.places$}");
            if text.contains('.') {
                text.trim_end_matches('0').trim_end_matches('.').to_owned()
            } else {
                text
            }
        }
    }
}

#[cfg(test)]
mod tests {
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

    fn ink(picture: &RgbImage, colour: RGBColor) -> usize {
        let close = |p: &&image::Rgb<u8>| {
            p.0.iter().zip([colour.0, colour.1, colour.2]).all(|(&a, b)| a.abs_diff(b) < 8)
        };
        picture.pixels().filter(close).count()
    }

    #[test]
    fn a_panel_is_drawn_for_what_has_values() {
        for (case, lines, rows) in [("none", 0, 0), ("one line", 1, 1), ("many", 100, 1)] {
            let picture = draw("title", &metrics(lines)).unwrap();
            assert_eq!(picture.height(), TITLE + TALL + rows * SHORT, "{case}");
            // Letters, and a curve if there is one.
            assert!(ink(&picture, BLACK) > 100, "{case}");
            assert_eq!(ink(&picture, COLOURS[0]) > 20, lines > 0, "{case}");
        }
        // Values that a logarithm cannot show, or that are none, are left out.
        let mut odd = metrics(3);
        odd[1].insert("gradient_norm".into(), json!(0.0));
        odd[2].insert("cross_entropy".into(), Value::Null);
        assert_eq!(draw("title", &odd).unwrap().height(), TITLE + TALL + SHORT);
    }

    #[test]
    fn the_axis_says_what_a_reader_can_read() {
        for (value, expected) in [
            (0.0, "0"),
            (0.6, "0.6"),
            (0.25, "0.25"),
            (0.0316, "0.032"),
            (1.0, "1"),
            (1.58, "1.6"),
            (250.4, "250"),
        ] {
            assert_eq!(digits(value), expected);
        }
    }
}
