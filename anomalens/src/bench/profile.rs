//! Where the time of a network goes: ONNX Runtime's traces, summed by operator.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Operators that are told of each graph, those that take most.
const TOLD: usize = 15;

/// The operators of every trace in a folder, those that take most first.
///
/// Errors: a file that is no trace; none at all.
pub fn summary(folder: &Path) -> Result<String> {
    let mut traces: Vec<_> = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    traces.sort();
    if traces.is_empty() {
        bail!(
            "--profile '{}': found no trace, expected one a graph; only --engine ort writes them",
            folder.display()
        );
    }
    let mut text = String::new();
    for path in traces {
        let name = || path.display().to_string();
        let json = fs::read_to_string(&path).with_context(name)?;
        let events: Vec<Value> = serde_json::from_str(&json).with_context(name)?;
        let _ = writeln!(text, "{}\n{}", name(), operators(&events));
    }
    let _ = writeln!(text, "open a trace in ui.perfetto.dev to see each node");
    Ok(text)
}

/// The events are those that chrome://tracing reads too: of a node's kernel, in microseconds.
fn operators(events: &[Value]) -> String {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut sums: BTreeMap<(String, String), (u64, usize)> = BTreeMap::new();
    let nodes = events.iter().filter(|event| word(&event["name"]).ends_with("_kernel_time"));
    for event in nodes {
        let arguments = &event["args"];
        let sum = sums.entry((word(&arguments["op_name"]), word(&arguments["provider"]))).or_default();
        *sum = (sum.0 + event["dur"].as_u64().unwrap_or(0), sum.1 + 1);
    }
    let total: u64 = sums.values().map(|sum| sum.0).sum();
    let mut rows: Vec<_> = sums.into_iter().collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.1.0));
    let mut text = String::new();
    for ((operator, provider), (microseconds, count)) in rows.iter().take(TOLD) {
        let share = 100.0 * *microseconds as f64 / total.max(1) as f64;
        let time = *microseconds as f64 / 1e3;
        let _ = writeln!(text, "  {share:5.1} %  {time:10.1} ms  {count:6} x  {operator} ({provider})");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_summed_by_operator_and_provider() {
        let node = |name: &str, op: &str, dur: u64| {
            format!(
                r#"{{"cat":"Node","name":"{name}","dur":{dur},"ts":1,"ph":"X","args":{{"op_name":"{op}","provider":"CPUExecutionProvider"}}}}"#
            )
        };
        let json = format!(
            r#"[{{"cat":"Session","name":"model_run","dur":900,"args":{{}}}},{},{},{},{}]"#,
            node("a_kernel_time", "Conv", 300),
            node("a_fence_before", "Conv", 5000),
            node("b_kernel_time", "Add", 100),
            node("c_kernel_time", "Conv", 400),
        );
        let events: Vec<Value> = serde_json::from_str(&json).unwrap();
        let text = operators(&events);
        let expected = "   87.5 %         0.7 ms       2 x  Conv (CPUExecutionProvider)\n   12.5 %         0.1 ms       1 x  Add (CPUExecutionProvider)\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_folder_without_traces_says_who_writes_them() {
        let folder = tempfile::tempdir().unwrap();
        let error = summary(folder.path()).unwrap_err().to_string();
        assert!(error.contains("only --engine ort"), "{error}");
    }
}
