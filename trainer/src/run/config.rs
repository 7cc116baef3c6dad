//! `config.toml`: what a run was started with, for a person to read. `run.json` is what a second start is compared with.

use std::collections::BTreeMap;
use std::fs;

use serde::Serialize;
use serde_json::{Map, Value};

use super::Settings;

#[derive(Serialize)]
struct Config<'a> {
    versions: Versions<'a>,
    machine: BTreeMap<&'a str, &'a str>,
    training: Map<String, Value>,
    preset: Value,
}

#[derive(Serialize)]
struct Versions<'a> {
    tool: &'a str,
    libtorch: &'a str,
}

/// The text: versions, machine, every setting resolved, and the preset's definition of the networks. What is absent is
/// off.
pub(super) fn text(settings: &Settings) -> String {
    let mut training: Map<String, Value> = settings
        .entries()
        .into_iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    let preset = training.shift_remove("preset").expect("an entry of settings");
    for (name, value) in [
        ("accumulate", settings.recipe.accumulate),
        ("log_every", settings.log_every),
        ("checkpoint_every", settings.checkpoint_every),
        ("keep", settings.keep),
    ] {
        training.insert(name.into(), value.into());
    }
    let processor = processor();
    let mut machine: BTreeMap<&str, &str> =
        settings.machine.iter().map(|(name, value)| (*name, value.as_str())).collect();
    machine.insert("processor", &processor);
    let versions = Versions { tool: crate::TOOL, libtorch: env!("LIBTORCH_VERSION") };
    toml::to_string(&Config { versions, machine, training, preset }).expect("tables of numbers and words")
}

fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or("unknown", |(_, name)| name.trim()).to_owned()
}
