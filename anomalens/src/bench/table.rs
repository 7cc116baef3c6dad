//! The figures of a run for a person: medians, and how far they spread.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::columns::aligned;
use crate::machine::Machine;

/// What the figures are of.
pub fn machine(load: Option<f64>) -> Value {
    let Machine { processor, cores, system } = Machine::here();
    json!({ "processor": processor, "cores": cores, "system": system, "load_before": load })
}

/// The value in the middle, and those at a quarter and three quarters, of at least one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    quarter: f64,
    median: f64,
    three_quarters: f64,
}

impl Spread {
    /// Of no values nothing is said.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let last = values.len().checked_sub(1)?;
        let at = |share: f64| {
            let place = share * last as f64;
            let (low, part) = (place.floor() as usize, place.fract());
            values[low] + part * (values[last.min(low + 1)] - values[low])
        };
        Some(Self { quarter: at(0.25), median: at(0.5), three_quarters: at(0.75) })
    }

    fn cell(self, scale: f64, digits: usize) -> String {
        let Self { quarter, median, three_quarters } = self;
        let text = |value: f64| format!("{:.digits$}", value * scale);
        format!("{} ({}-{})", text(median), text(quarter), text(three_quarters))
    }
}

/// A report as a table: one row a choice; time of one run of each network (where steps stay on the device, of a step up and of a
/// guided one), of a whole translation, and what of it is no network.
pub fn table(report: &Value) -> String {
    let mut rows = vec![[
        "bundle".to_owned(),
        "engine".to_owned(),
        "precision".to_owned(),
        "batch".to_owned(),
        "network ms".to_owned(),
        "gradient ms".to_owned(),
        "guided step ms".to_owned(),
        "s a slice".to_owned(),
        "other %".to_owned(),
        "peak MB".to_owned(),
        "open s".to_owned(),
    ]];
    rows.extend(array(&report["choices"]).iter().map(row));
    let mut text = aligned(&rows);
    let machine = &report["machine"];
    let word = |value: &Value| value.as_str().unwrap_or("unknown").to_owned();
    let _ = writeln!(
        text,
        "median (from a quarter to three quarters); {}, {} cores; load before {}",
        word(&machine["processor"]),
        machine["cores"],
        machine["load_before"]
    );
    text
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn numbers(values: &Value) -> Vec<f64> {
    array(values).iter().filter_map(Value::as_f64).collect()
}

fn row(choice: &Value) -> [String; 11] {
    let bursts = array(&choice["bursts"]);
    let batch = choice["batch"].as_f64().unwrap_or(1.0);
    let runs = |graphs: &[&str]| -> Vec<f64> {
        bursts
            .iter()
            .flat_map(|burst| graphs.iter().flat_map(|graph| numbers(&burst["graph_milliseconds"][graph])))
            .collect()
    };
    let each =
        |number: &dyn Fn(&Value) -> Option<f64>| Spread::of(bursts.iter().filter_map(number).collect());
    let cell = |spread: Option<Spread>, scale: f64, digits: usize| {
        spread.map_or("-".to_owned(), |spread| spread.cell(scale, digits))
    };
    let other = |burst: &Value| {
        let total = 1e3 * burst["translation_seconds"].as_f64()?;
        let graphs = burst["graph_milliseconds"].as_object()?;
        let networks: f64 = graphs.values().flat_map(numbers).sum();
        Some((total - networks) / total)
    };
    let first = &bursts[0];
    let word = |key: &str| first[key].as_str().unwrap_or_default().to_owned();
    let target = if word("target") == "portable" { String::new() } else { format!(", {}", word("target")) };
    [
        choice["bundle"].as_str().unwrap_or_default().to_owned(),
        word("engine"),
        format!("{}{target}", word("precision")),
        choice["batch"].to_string(),
        cell(Spread::of(runs(&["unet", "network", "encode_step"])), 1.0, 1),
        cell(Spread::of(runs(&["classifier_gradient"])), 1.0, 1),
        cell(Spread::of(runs(&["guided_step"])), 1.0, 1),
        cell(each(&|burst| burst["translation_seconds"].as_f64()), 1.0 / batch, 3),
        cell(each(&other), 100.0, 1),
        cell(each(&|burst| burst["peak_bytes"].as_f64()), 1e-6, 0),
        cell(each(&|burst| burst["open_seconds"].as_f64()), 1.0, 2),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_lie_between_neighbours() {
        let spread = Spread::of(vec![4.0, 1.0, 3.0, 2.0]).unwrap();
        assert_eq!(spread, Spread { quarter: 1.75, median: 2.5, three_quarters: 3.25 });
        assert_eq!(Spread::of(vec![7.0]).unwrap().cell(10.0, 1), "70.0 (70.0-70.0)");
        assert_eq!(Spread::of(vec![]), None);
    }

    #[test]
    fn what_is_no_network_is_the_rest() {
        let burst = json!({
            "engine": "ort", "target": "portable", "precision": "f32", "translation_seconds": 0.2, "open_seconds": 0.1,
            "graph_milliseconds": {"unet": [40.0, 40.0, 40.0], "classifier_gradient": [60.0]}, "peak_bytes": 2_000_000,
        });
        let report = json!({
            "machine": {"processor": "a processor", "cores": 2, "load_before": 0.1},
            "choices": [{"bundle": "b", "device": "cpu", "batch": 2, "bursts": [burst]}],
        });
        let text = table(&report);
        for cell in
            ["40.0 (40.0-40.0)", "60.0 (60.0-60.0)", "0.100 (0.100-0.100)", "10.0 (10.0-10.0)", "2 (2-2)"]
        {
            assert!(text.contains(cell), "no '{cell}' in {text}");
        }
    }
}
