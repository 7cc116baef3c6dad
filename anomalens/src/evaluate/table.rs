//! Scores as a person reads them, as CSV and as JSON. None of these say when or how fast they were made, so that equal scores
//! are equal files.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::figure::{Figure, ROWS};
use super::record::Network;
use super::results::{Method, Results};
use super::score::{SliceScore, VolumeScore};
use crate::parts::object;
use crate::picture::NOT_FOR_DIAGNOSTIC_USE;

/// How a table for the terminal begins: of how many slices, by which protocol.
pub fn head(results: &Results, protocol: &[String]) -> String {
    let mut text = format!(
        "{NOT_FOR_DIAGNOSTIC_USE}\n{} slices of {} subjects: {} healthy, {} diseased\n\nprotocol\n",
        results.facts.len(),
        results.volumes.len(),
        results.healthy(),
        results.diseased()
    );
    protocol.iter().for_each(|line| text += &format!("  {line}\n"));
    text
}

/// The table for the terminal.
pub fn text(results: &Results) -> String {
    let mut text = head(results, &results.protocol());
    let _ = write!(text, "\n{:<58}", "");
    for method in &results.methods {
        let _ = write!(text, " {:>23} ", method.column.name);
    }
    let _ = writeln!(text);
    let (mut section, wins) = (None, results.wins());
    for (i, row) in ROWS.iter().enumerate() {
        if section != Some(row.section) {
            section = Some(row.section);
            let _ = writeln!(text, "{}", row.section.title());
        }
        let _ = write!(text, "  {:<56}", row.title);
        for method in &results.methods {
            let better = wins.iter().any(|win| win.method == method.column.name && win.key == row.key);
            let cell = cell(&method.figures[i]) + if better { "*" } else { " " };
            let _ = write!(text, " {cell:>24}");
        }
        let _ = writeln!(text);
    }
    let _ = writeln!(text, "\n*: better than {}\n{}", results.methods[0].column.name, thirds(results));
    for (method, seconds) in &results.origin.seconds {
        let _ = writeln!(text, "{}: {seconds:.2} s a slice", method.name());
    }
    let _ = writeln!(text);
    for verdict in results.verdict() {
        let _ = writeln!(text, "{}", verdict.text);
    }
    text
}

/// A figure with its interval.
pub fn cell(figure: &Figure) -> String {
    let value = figure.value.map_or("-".to_owned(), |v| format!("{v:.4}"));
    match figure.interval {
        Some(interval) => format!("{value} [{:.3}, {:.3}]", interval.low, interval.high),
        None => value,
    }
}

/// How large the lesions of each third are.
pub fn thirds(results: &Results) -> String {
    let each = ["small", "medium", "large"].iter().zip(&results.thirds).map(|(name, size)| match size {
        Some((from, to)) => format!("{name} {from} to {to}"),
        None => format!("{name} none"),
    });
    format!("lesions, pixels: {}", each.collect::<Vec<_>>().join(", "))
}

/// A column of a method: the end of its name, and where its value is.
type Field<T> = (&'static str, fn(&T) -> Option<f64>);

const SLICE: [Field<SliceScore>; 11] = [
    ("threshold", |s| Some(s.threshold.into())),
    ("dice", |s| s.dice),
    ("dice_one_threshold", |s| s.dice_one),
    ("dice_best", |s| s.whole.best_dice),
    ("auroc", |s| s.whole.auroc),
    ("auroc_region", |s| s.inside.auroc),
    ("auprc", |s| s.whole.auprc),
    ("auprc_region", |s| s.inside.auprc),
    ("dice_best_region", |s| s.inside.best_dice),
    ("mean_region", |s| Some(s.mean_region)),
    ("mean_lesion", |s| s.mean_lesion),
];

const VOLUME: [Field<VolumeScore>; 9] = [
    ("dice", |v| v.dice),
    ("dice_one_threshold", |v| v.dice_one),
    ("dice_best", |v| v.whole.best_dice),
    ("auroc", |v| v.whole.auroc),
    ("auroc_region", |v| v.inside.auroc),
    ("auprc", |v| v.whole.auprc),
    ("auprc_region", |v| v.inside.auprc),
    ("mean_region", |v| Some(v.mean_region)),
    ("mean_region_healthy", |v| v.mean_healthy),
];

/// One line a slice, in the cohort's order, after a line of comment and one of names; six decimals, empty where there is no
/// such number.
pub fn slices_csv(results: &Results) -> String {
    let mut order: Vec<usize> = (0..results.facts.len()).collect();
    order.sort_by_key(|&place| results.facts[place].index);
    let rows = order.into_iter().map(|place| {
        let (fact, item) = (&results.facts[place], &results.items[place]);
        let facts = [
            fact.index.to_string(),
            quoted(&item.subject),
            item.slice.to_string(),
            u8::from(fact.diseased()).to_string(),
            fact.lesion_pixels.to_string(),
            fact.region_pixels.to_string(),
        ];
        (facts, place)
    });
    let names = ["index", "subject", "slice", "diseased", "lesion_pixels", "region_pixels"];
    csv(&results.methods, names, rows, &SLICE, |method, place| &method.slices[place])
}

/// One line a volume, as [`slices_csv`] has the slices.
pub fn volumes_csv(results: &Results) -> String {
    let rows = results.volumes.iter().enumerate().map(|(place, volume)| {
        let facts: Vec<_> = results.facts.iter().filter(|fact| fact.volume == place).collect();
        let sum = |of: &dyn Fn(usize) -> usize| (0..facts.len()).map(of).sum::<usize>().to_string();
        let cells = [
            quoted(&volume.subject),
            facts.len().to_string(),
            sum(&|i| usize::from(facts[i].diseased())),
            sum(&|i| facts[i].lesion_pixels),
            sum(&|i| facts[i].region_pixels),
        ];
        (cells, place)
    });
    let names = ["subject", "slices", "diseased_slices", "lesion_pixels", "region_pixels"];
    csv(&results.methods, names, rows, &VOLUME, |method, place| &method.volumes[place])
}

fn csv<const N: usize, T>(
    methods: &[Method],
    names: [&str; N],
    rows: impl Iterator<Item = ([String; N], usize)>,
    fields: &[Field<T>],
    score: fn(&Method, usize) -> &T,
) -> String {
    let mut head: Vec<String> = names.map(str::to_owned).to_vec();
    for method in methods {
        head.extend(fields.iter().map(|field| format!("{}_{}", method.column.name, field.0)));
    }
    let mut text = format!("# {NOT_FOR_DIAGNOSTIC_USE}\n{}\n", head.join(","));
    for (facts, place) in rows {
        let mut cells = facts.to_vec();
        for method in methods {
            let value = |field: &Field<T>| field.1(score(method, place));
            cells
                .extend(fields.iter().map(|field| value(field).map_or(String::new(), |v| format!("{v:.6}"))));
        }
        let _ = writeln!(text, "{}", cells.join(","));
    }
    text
}

/// A text as a field of CSV.
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r', '#']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// Everything but the single slices and volumes.
pub fn json(results: &Results) -> String {
    let figure = |figure: &Figure| {
        json!({
            "value": figure.value,
            "low": figure.interval.map(|interval| interval.low),
            "high": figure.interval.map(|interval| interval.high),
        })
    };
    let method = |method: &Method| {
        let figures: Map<String, Value> =
            ROWS.iter().zip(&method.figures).map(|(row, f)| (row.key.to_owned(), figure(f))).collect();
        json!({
            "name": method.column.name,
            "what": method.column.what,
            "one_threshold": method.one_threshold,
            "figures": figures,
        })
    };
    let origin = &results.origin;
    let [kind, note, fingerprint] = &origin.cohort;
    let wins: Vec<Value> = results
        .wins()
        .iter()
        .map(|win| json!({ "method": win.method, "figure": win.key, "value": win.value, "first": win.first }))
        .collect();
    let value = json!({
        "format": 3,
        "notice": NOT_FOR_DIAGNOSTIC_USE,
        "tool": origin.tool,
        "networks": origin.networks.iter().map(Network::json).collect::<Vec<_>>(),
        "cohort": { "kind": kind, "note": note, "fingerprint": fingerprint },
        "settings": object(&origin.settings),
        "protocol": results.protocol(),
        "slices": {
            "all": origin.all,
            "scored": results.facts.len(),
            "healthy": results.healthy(),
            "diseased": results.diseased(),
        },
        "subjects": results.volumes.len(),
        "lesion_pixels_by_third": results.thirds.map(|size| size.map(|(from, to)| [from, to])),
        "methods": results.methods.iter().map(method).collect::<Vec<_>>(),
        "wins": wins,
        "verdict": results.verdict().into_iter().map(|verdict| verdict.text).collect::<Vec<_>>(),
    });
    format!("{value:#}\n")
}

/// What the methods took, which is no score and differs from run to run.
pub fn timings(results: &Results) -> String {
    let seconds = results.origin.seconds.iter().map(|(method, s)| (method.name(), json!(s)));
    format!("{:#}\n", json!({ "seconds_a_slice": seconds.collect::<Map<_, _>>() }))
}

#[cfg(test)]
mod tests {
    use anomalens_method::metrics::Interval;

    use super::super::results::tests::results;
    use super::*;

    #[test]
    fn the_text_holds_scores_protocol_and_verdict() {
        let mut results = results(&[0.5, 0.6, 0.4]);
        results.methods[0].figures[0].interval = Some(Interval { low: 0.25, high: 0.75 });
        let text = text(&results);
        for words in [
            NOT_FOR_DIAGNOSTIC_USE,
            "2 slices of 1 subjects: 1 healthy, 1 diseased",
            "0.5000 [0.250, 0.750] ",
            "0.6000*",
            "*: better than ours",
            "THRESHOLD WINS",
            "small none, medium none, large 12 to 12",
            "1.50 s a slice",
        ] {
            assert!(text.contains(words), "no {words} in {text}");
        }
        let wide = text.lines().filter(|line| line.contains("Dice")).map(|line| line.chars().count());
        assert!(text.lines().count() > ROWS.len() && wide.max() < Some(400));
    }

    #[test]
    fn the_json_holds_protocol_and_scores() {
        let value: Value = serde_json::from_str(&json(&results(&[0.5, 0.6, 0.4]))).unwrap();
        let dice = |place: usize| &value["methods"][place]["figures"]["dice_otsu"]["value"];
        assert_eq!((dice(0), dice(1), dice(2)), (&json!(0.5), &json!(0.6), &json!(0.4)));
        assert_eq!(value["wins"][0]["method"], "threshold");
        assert_eq!(value["notice"], NOT_FOR_DIAGNOSTIC_USE);
        assert!(value["protocol"].as_array().unwrap().len() > 5);
        assert_eq!(value["settings"]["engine"], "tract");
        assert_eq!(value["networks"][0]["settings"]["noise level"], "500");
        assert!(!value.to_string().contains("seconds"), "equal scores are equal files");
    }

    #[test]
    fn every_method_has_its_columns() {
        for (csv, rows) in
            [(slices_csv(&results(&[0.5, 0.6, 0.4])), 2), (volumes_csv(&results(&[0.5, 0.6, 0.4])), 1)]
        {
            let lines: Vec<_> = csv.lines().collect();
            assert!(lines[0].starts_with("# NOT FOR") && lines.len() == 2 + rows, "{csv}");
            let names: Vec<_> = lines[1].split(',').collect();
            for name in ["ours_dice", "threshold_dice_one_threshold", "intensity_mean_region"] {
                assert!(names.contains(&name), "no {name} in {names:?}");
            }
            let last: Vec<_> = lines.last().unwrap().split(',').collect();
            assert_eq!(last.len(), names.len());
            assert_eq!(last[names.iter().position(|name| *name == "threshold_dice").unwrap()], "0.600000");
        }
    }

    #[test]
    fn names_are_quoted_where_they_must_be() {
        assert_eq!((quoted("s1"), quoted("a,\"b\"")), ("s1".into(), "\"a,\"\"b\"\"\"".into()));
    }

    #[test]
    fn a_figure_without_a_value_is_a_dash() {
        assert_eq!(cell(&Figure::default()), "-");
        assert_eq!(cell(&Figure { value: Some(0.25), interval: None }), "0.2500");
    }
}
