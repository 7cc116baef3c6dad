//! `verify`: a bundle on this machine, and against another framework's outputs.

use std::ops::ControlFlow;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use anomalens_exporter::gate::{Engines, found_engines};
use anomalens_exporter::verify::{Request, record, verify};
use anomalens_runtime::engine::{self, EngineChoice, EngineError, EngineOptions, Provider};

use super::VerifyArgs;

pub fn run(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let engines = engines(args)?;
    let stopped = super::stop_on_ctrl_c()?;
    let bar = super::spinner();
    let request = Request {
        bundle: &args.bundle,
        gate: args.gate.into(),
        held_out: args.held_out.as_deref(),
        reference: args.reference.as_deref(),
    };
    let report = verify(&request, engines, &mut |what| {
        bar.set_message(what.to_owned());
        if stopped.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    bar.finish_and_clear();
    let report = report?;
    for check in &report.checks {
        let failure = report.failures.iter().find(|(failed, _)| failed == check);
        super::print(if failure.is_none() { "ok  " } else { "OVER" }, check);
        if let Some((_, difference)) = failure {
            println!("     {difference}");
        }
    }
    let verification = report.verification.as_ref();
    let trajectory = verification.and_then(|v| v.trajectory.as_ref());
    trajectory.into_iter().for_each(super::print_trajectory);
    for skipped in &report.skipped {
        println!("not compared: {skipped}");
    }
    if !report.failures.is_empty() {
        eprintln!(
            "error: over tolerance; check that the bundle was written from the same weights and preset, and that x, t and y \
             are what the reference was given"
        );
        return Ok(ExitCode::FAILURE);
    }
    if trajectory.is_some_and(|trajectory| !trajectory.passed()) {
        eprintln!("error: its translations are not those of f32; write the bundle as portable f32");
        return Ok(ExitCode::FAILURE);
    }
    let wanting = verification.map_or(&[][..], |v| &v.wanting);
    if !wanting.is_empty() {
        eprintln!(
            "error: not verified: there was wanting {}; verify it where it shall run, with --held-out, and on a GPU with \
             --device cuda",
            wanting.join(", and ")
        );
        return Ok(ExitCode::FAILURE);
    }
    if record(&args.bundle, &report)? {
        println!("{}: its manifest says now that it is verified", args.bundle.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// The engines that were named; else every one that is found.
fn engines(args: &VerifyArgs) -> Result<Engines, EngineError> {
    let (device, tf32) = (args.device, args.tf32);
    let open = |options| engine::open(&options);
    let by = |choice| EngineOptions { choice, device, tf32, ..EngineOptions::default() };
    if args.provider != Provider::Default {
        let ort = EngineOptions { provider: args.provider, ..by(EngineChoice::Ort) };
        let tract = EngineOptions { choice: EngineChoice::Tract, ..EngineOptions::default() };
        return Ok((vec![open(ort)?, open(tract)?], vec![]));
    }
    if args.engine.is_empty() {
        return found_engines(device, tf32);
    }
    Ok((args.engine.iter().map(|&choice| open(by(choice))).collect::<Result<_, _>>()?, vec![]))
}
