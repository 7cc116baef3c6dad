//! `verify`: a bundle against another framework's outputs.

use std::process::ExitCode;

use anomalens_exporter::verify::verify;
use anomalens_runtime::engine::{self, Device, Engine, EngineChoice, EngineError, EngineOptions};

use super::VerifyArgs;

pub fn run(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let engines = engines(args)?;
    let bar = super::spinner();
    let report =
        verify(&args.bundle, &args.reference, &engines, &mut |what| bar.set_message(what.to_owned()));
    bar.finish_and_clear();
    let report = report?;
    for line in &report.lines {
        let verdict = if line.passed() { "ok  " } else { "OVER" };
        let (engine, output, tolerance) = (&line.engine, &line.check.output, line.check.tolerance);
        let (max_abs, max_rel) = (line.check.max_abs, line.check.max_rel);
        println!(
            "{verdict} {output:<36} {engine:<20} max abs {max_abs:.1e}  rel {max_rel:.1e}  tolerance {tolerance:.1e}"
        );
        if !line.passed() {
            println!("     {}", line.difference);
        }
    }
    for skipped in &report.skipped {
        println!("not compared: {skipped}");
    }
    if report.passed() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!(
        "error: over tolerance; check that the bundle was written from the same weights and preset, and that x, t and y \
         are what the reference was given"
    );
    Ok(ExitCode::FAILURE)
}

/// The engines that were named; else every one that is found.
fn engines(args: &VerifyArgs) -> Result<Vec<Box<dyn Engine>>, EngineError> {
    let open =
        |choice, device| engine::open(&EngineOptions { choice, device, threads: None, tf32: args.tf32 });
    if !args.engine.is_empty() {
        return args.engine.iter().map(|&choice| open(choice, args.device)).collect();
    }
    let mut engines = match open(EngineChoice::Ort, args.device) {
        Err(error @ EngineError::LibraryNotFound { .. }) if args.device == Device::Cpu => {
            eprintln!("note: {error}");
            vec![]
        }
        found => vec![found?],
    };
    engines.push(open(EngineChoice::Tract, Device::Cpu)?);
    Ok(engines)
}
