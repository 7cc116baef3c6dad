//! `bench`: what a translation takes, for every choice of bundle, engine, device, provider and batch.
//!
//! ```text
//! Config, one a choice ──> a child process of this program ──> burst: one translation, every run of a network timed
//!        rounds, by turns                                        └──> figures as JSON ──> medians, table
//! ```

mod args;
mod burst;
mod profile;
mod table;
mod timed;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anomalens_runtime::engine::{Device, EngineChoice, Provider};
use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};

pub use args::BenchArgs;
pub use burst::{approach, waves};

use crate::TOOL;
use crate::failure::{Outcome, Usage};
use crate::machine::load_average;
use crate::progress::Progress;
use crate::{child, interrupt};

/// One choice.
#[derive(Debug, Clone, PartialEq)]
struct Config {
    bundle: PathBuf,
    engine: EngineChoice,
    device: Device,
    provider: Provider,
    batch: usize,
}

/// Times what `args` name, and tells.
///
/// Errors: [`Usage`], [`interrupt::Interrupted`]; that of the first measurement that fails.
pub fn run(args: &BenchArgs) -> Result<Outcome> {
    if args.burst {
        crate::print(&format!("{}\n", burst::run(args)?));
        return Ok(Outcome::Done);
    }
    check(args).map_err(Usage::new)?;
    interrupt::catch()?;
    let configs = configs(args);
    match &args.profile {
        Some(folder) => profile(args, &configs, folder)?,
        None => time(args, &configs)?,
    }
    Ok(Outcome::Done)
}

fn check(args: &BenchArgs) -> Result<()> {
    if args.rounds == 0 {
        bail!("--rounds 0, expected at least 1; correct --rounds");
    }
    if let (Some(_), true) = (&args.profile, configs(args).len() > 1) {
        bail!(
            "--profile with several choices, expected one bundle, one engine, one device, one provider and one batch, as the traces would lie in one folder; profile them one at a time"
        );
    }
    Ok(())
}

fn configs(args: &BenchArgs) -> Vec<Config> {
    let mut configs = Vec::new();
    for bundle in &args.bundles {
        for &device in &args.device {
            for &engine in &args.engine {
                for &provider in &args.provider {
                    for &batch in &args.batch {
                        configs.push(Config { bundle: bundle.clone(), engine, device, provider, batch });
                    }
                }
            }
        }
    }
    configs
}

fn time(args: &BenchArgs, configs: &[Config]) -> Result<()> {
    let load = load_average();
    let mut bursts: Vec<Vec<Value>> = vec![Vec::new(); configs.len()];
    let mut progress = Progress::start();
    let (mut done, total) = (0, args.rounds * configs.len());
    for round in 0..args.rounds {
        let mut turns: Vec<usize> = (0..configs.len()).collect();
        // What heats up or slows down over a round must not always meet the same ones.
        if round % 2 == 1 {
            turns.reverse();
        }
        for i in turns {
            bursts[i].push(child(args, &configs[i], None)?);
            done += 1;
            progress.step("measurements", done, total);
        }
    }
    progress.finish();
    let choices: Vec<_> = configs.iter().zip(bursts).map(|(config, bursts)| choice(config, bursts)).collect();
    let report =
        json!({ "tool": TOOL, "machine": table::machine(load), "rounds": args.rounds, "choices": choices });
    crate::print(&table::table(&report));
    if let Some(path) = &args.json {
        std::fs::write(path, format!("{report:#}\n"))
            .with_context(|| format!("--json '{}'", path.display()))?;
    }
    Ok(())
}

/// What was found of one choice.
fn choice(config: &Config, bursts: Vec<Value>) -> Value {
    json!({
        "bundle": config.bundle.display().to_string(),
        "device": config.device.to_string(),
        "provider": config.provider.to_string(),
        "batch": config.batch,
        "bursts": bursts,
    })
}

fn profile(args: &BenchArgs, configs: &[Config], folder: &Path) -> Result<()> {
    if folder.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Usage::new(anyhow!(
            "--profile '{}': found files, expected a new or an empty folder",
            folder.display()
        ))
        .into());
    }
    std::fs::create_dir_all(folder).with_context(|| format!("--profile '{}'", folder.display()))?;
    child(args, &configs[0], Some(folder))?;
    crate::print(&profile::summary(folder)?);
    Ok(())
}

/// One measurement, by this program in a process of its own.
///
/// Errors: what it said.
fn child(args: &BenchArgs, config: &Config, profile: Option<&Path>) -> Result<Value> {
    let mut words: Vec<OsString> = vec!["bench".into(), config.bundle.clone().into(), "--burst".into()];
    let mut add = |name: &str, value: String| words.extend([name.into(), value.into()]);
    add("--engine", config.engine.to_string());
    add("--device", config.device.to_string());
    add("--provider", config.provider.to_string());
    add("--batch", config.batch.to_string());
    if let Some(threads) = args.threads {
        add("--threads", threads.to_string());
    }
    words.extend(args.path.words().into_iter().map(OsString::from));
    let flags = [("--tf32", args.tf32), ("--unverified", args.unverified)];
    words.extend(flags.iter().filter(|flag| flag.1).map(|flag| flag.0.into()));
    if let Some(folder) = profile {
        words.extend(["--profile".into(), folder.into()]);
    }
    child::run(&words, &mut |line| {
        if line.starts_with("note: ") {
            eprintln!("{line}");
        }
    })
}
