//! The plan as text: what would be done, and what it will hold and take.

use anomalens_models::preset::Recipe;
use tch::Device;

use super::carry::Programs;
use super::error::FitError;
use super::estimate;
use super::found;
use super::options::Options;
use super::plan::{Plan, State, Step, Work};
use crate::device::{DeviceChoice, allow_tf32};
use crate::error::TrainError;
use crate::interpret::Precision;
use crate::task::Network;

/// Prints the steps, with their command lines; for trainings, parameters, memory and time. Speed is measured on the
/// device of each training, for seconds. Nothing is made or changed.
///
/// Errors: [`FitError::Program`], [`FitError::Other`], [`FitError::Train`].
pub fn print(plan: &Plan, programs: &Programs) -> Result<(), FitError> {
    programs.check(plan)?;
    let preset = &plan.preset.name;
    println!("{}: preset {preset}, {} steps; nothing is done now", plan.file.display(), plan.steps.len());
    if !plan.output.exists() {
        println!("   mkdir -p {}", plan.output.display());
    }
    let mut seconds = 0.0;
    for (number, step) in (1..).zip(&plan.steps) {
        let state = step.state();
        let told = match state {
            State::Complete => format!("{} is there", step.folder.display()),
            State::Stale => {
                format!("to be made anew: {} is older than what it is made of", step.folder.display())
            }
            State::Open if step.begun.exists() => format!("to be gone on with in {}", step.folder.display()),
            State::Open => "to be done".to_owned(),
        };
        println!("{number}. {}: {told}", step.name);
        println!("   {}", step.command(&programs.path(step.program)));
        if state == State::Complete {
            found::check(plan, step)?;
        }
        if let Work::Train { network, recipe, options, .. } = &step.work {
            seconds += training(plan, step, *network, recipe, options)?;
        }
    }
    println!(
        "Training that is left: about {}. Memory and time are estimates: memory by the graph, time by the multiply-adds and \
         a short measurement, or by the run's own speed; images, bundle and scores are not counted.",
        duration(seconds)
    );
    Ok(())
}

/// Parameters, memory and time of one training; gives the seconds that are left.
fn training(
    plan: &Plan,
    step: &Step,
    network: Network,
    recipe: &Recipe,
    options: &Options,
) -> Result<f64, TrainError> {
    let choice = options.device.unwrap_or(DeviceChoice::Cpu);
    let device = match choice {
        DeviceChoice::Cpu => Device::Cpu,
        DeviceChoice::Cuda(index) => Device::Cuda(index),
    };
    let precision = options.precision.unwrap_or_default().on(device)?;
    let size = estimate::size(network, &plan.preset, recipe, precision)?;
    println!("   parameters: {}", thousands(size.params));
    println!(
        "   memory: about {} = {} for {} images at once + {} for the program, parameters, gradients, moments{}",
        bytes(size.activations + size.state),
        bytes(size.activations),
        size.at_once,
        bytes(size.state),
        if recipe.ema.is_some() { " and average" } else { "" },
    );
    if step.state() == State::Complete {
        return Ok(0.0);
    }
    let (done, speed, source) = match estimate::logged(&step.folder) {
        Some((done, speed)) => (done, speed, format!("by its metrics.jsonl, from step {done}")),
        None => {
            let device = choice.open()?;
            allow_tf32(precision == Precision::Tf32);
            options.threads.into_iter().for_each(tch::set_num_threads);
            let seconds = estimate::measure(network, &plan.preset, recipe, size.at_once, device, precision)?;
            (0, size.at_once as f64 / seconds, format!("measured now on {choice} in {}", precision.name()))
        }
    };
    let steps = recipe.iterations.saturating_sub(done);
    let seconds = (steps * recipe.batch) as f64 / speed;
    println!(
        "   time: about {} = {steps} steps of {} images at {}, {source}",
        duration(seconds),
        recipe.batch,
        if speed < 1.0 { format!("{:.1} s an image", 1.0 / speed) } else { format!("{speed:.1} images/s") },
    );
    Ok(seconds)
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev();
    groups.map(String::from_utf8_lossy).collect::<Vec<_>>().join(",")
}

fn bytes(bytes: u64) -> String {
    const MIB: f64 = 1024.0 * 1024.0;
    let mib = bytes as f64 / MIB;
    if mib < 1024.0 { format!("{mib:.0} MiB") } else { format!("{:.1} GiB", mib / 1024.0) }
}

fn duration(seconds: f64) -> String {
    let minutes = (seconds / 60.0).round() as u64;
    match (minutes / 60, minutes % 60) {
        _ if seconds < 90.0 => format!("{seconds:.0} s"),
        (0, minutes) => format!("{minutes} min"),
        (hours, minutes) if hours < 48 => format!("{hours} h {minutes} min"),
        (hours, _) => format!("{:.1} days", hours as f64 / 24.0),
    }
}
