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

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anomalens_runtime::engine::{Device, EngineChoice, Provider};
use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};

pub use args::BenchArgs;

use crate::TOOL;
use crate::args::{PathArgs, StepCount};
use crate::failure::{Outcome, Usage};
use crate::interrupt;
use crate::progress::Progress;

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
    let load = table::load_average();
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

/// The options of a path, as a command line has them.
fn path(args: &PathArgs) -> Vec<String> {
    let steps = args.steps.map(|steps| match steps {
        StepCount::Every => "every".to_owned(),
        StepCount::Count(n) => n.to_string(),
    });
    let given = [
        ("--steps", steps),
        ("--spacing", args.spacing.map(|p| p.to_string())),
        ("--solver", args.solver.map(|solver| solver.to_string())),
        ("--guidance-interval", args.guidance_interval.map(|interval| interval.to_string())),
    ];
    let pairs = given.into_iter().filter_map(|(name, value)| Some([name.to_owned(), value?]));
    pairs.flatten().chain(args.exact.then(|| "--exact".to_owned())).collect()
}

/// One measurement, by this program in a process of its own.
///
/// Errors: what it said.
fn child(args: &BenchArgs, config: &Config, profile: Option<&Path>) -> Result<Value> {
    interrupt::check()?;
    let program = std::env::current_exe().context("the program's own path")?;
    let mut command = Command::new(program);
    command.arg("bench").arg(&config.bundle).arg("--burst");
    command.args(["--engine", &config.engine.to_string(), "--device", &config.device.to_string()]);
    command.args(["--provider", &config.provider.to_string(), "--batch", &config.batch.to_string()]);
    command.args(path(&args.path));
    if let Some(threads) = args.threads {
        command.args(["--threads", &threads.to_string()]);
    }
    command
        .args([("--tf32", args.tf32), ("--unverified", args.unverified)].iter().filter(|f| f.1).map(|f| f.0));
    if let Some(folder) = profile {
        command.arg("--profile").arg(folder);
    }
    let output =
        command.stdin(Stdio::null()).stderr(Stdio::piped()).output().context("starting a measurement")?;
    interrupt::check()?;
    let text = String::from_utf8_lossy(&output.stderr);
    text.lines().filter(|line| line.starts_with("note: ")).for_each(|note| eprintln!("{note}"));
    if !output.status.success() {
        let told = text.lines().rev().find_map(|line| line.strip_prefix("error: "));
        let error = anyhow!("{}", told.unwrap_or(text.trim()).to_owned());
        return Err(if output.status.code() == Some(2) { Usage::new(error).into() } else { error });
    }
    serde_json::from_slice(&output.stdout).context("the figures of a measurement")
}
