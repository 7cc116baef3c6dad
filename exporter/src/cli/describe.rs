//! `describe`: layers, parameters, multiply-adds, memory.

use std::path::Path;
use std::process::ExitCode;

use anomalens_exporter::import::import_file;
use anomalens_models::graph::describe::{Description, Layer, describe};
use anomalens_models::nets;
use anomalens_models::preset::{Method, Preset};

pub fn run(preset: Option<&str>, model: Option<&Path>) -> anyhow::Result<ExitCode> {
    match (preset, model) {
        (_, Some(model)) => network(model),
        (preset, None) => networks(preset.unwrap_or_default()),
    }
}

/// An ONNX network, whose nodes are too many to be listed.
fn network(model: &Path) -> anyhow::Result<ExitCode> {
    let graph = import_file(model)?.graph;
    println!("{}: {}", model.display(), graph.name());
    graph.inputs().for_each(|(name, id)| println!("  input              {name} {}", graph.node(id).ty));
    graph
        .outputs()
        .iter()
        .for_each(|(name, id)| println!("  output             {name} {}", graph.node(*id).ty));
    totals(&describe(&graph));
    Ok(ExitCode::SUCCESS)
}

fn networks(preset: &str) -> anyhow::Result<ExitCode> {
    let preset = Preset::load(preset)?;
    println!("{}: {}", preset.name, preset.description);
    let graphs = match &preset.method {
        Method::Guided(_) => vec![nets::unet(&preset)?, nets::classifier(&preset)?],
        Method::Vae(_) => vec![nets::vae(&preset)?],
        Method::FixedPointGan(_) => {
            vec![nets::fixed_point_generator(&preset)?, nets::fixed_point_critic(&preset)?]
        }
    };
    for graph in graphs {
        println!("\n{}", graph.name());
        print(&describe(&graph));
    }
    Ok(ExitCode::SUCCESS)
}

fn print(description: &Description) {
    println!("  {:<22} {:<20} {:>12} {:>9} {:>9}", "layer", "output", "parameters", "MMAC", "MiB");
    for Layer { scope, output, params, macs, bytes } in &description.layers {
        let (params, macs, bytes) = (thousands(*params as u64), *macs as f64 / 1e6, mib(*bytes));
        let scope = if scope.is_empty() { "inputs" } else { scope };
        println!("  {scope:<22} {output:<20} {params:>12} {macs:>9.1} {bytes:>9.2}");
    }
    totals(description);
}

fn totals(description: &Description) {
    let macs = description.macs as f64 / 1e9;
    println!("  parameters         {}", thousands(description.params as u64));
    let digits = if macs < 10.0 { 3 } else { 1 };
    println!("  multiply-adds      {macs:.digits$} GMAC a sample, {:.digits$} GFLOP", 2.0 * macs);
    println!(
        "  activation memory  {:.1} MiB a sample kept for training, {:.1} MiB at once in inference",
        mib(description.activation_bytes),
        mib(description.peak_bytes)
    );
}

/// Bytes in units of 2²⁰.
pub(super) fn mib(bytes: u64) -> f64 {
    bytes as f64 / (1 << 20) as f64
}

/// 113,681,160
fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|g| std::str::from_utf8(g).expect("digits")).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    #[test]
    fn groups_of_three() {
        for (n, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (113_681_160, "113,681,160")] {
            assert_eq!(super::thousands(n), text);
        }
    }
}
