//! From the command line and the bundle's defaults to a method and what it is told; what does not fit is usage.

use anomalens_method::ddim::{ClassLabel, GradientScale};
use anomalens_method::saliency;
use anomalens_method::translate::{FirstNoise, Options, Procedure, Steps, TranslateError};
use anomalens_models::manifest::Manifest;
use anomalens_models::preset::Solver;
use anomalens_models::schedule::NoiseLevel;
use anomalens_runtime::engine::{EngineOptions, Provider};
use anyhow::{Result, bail};

use super::array;
use crate::args::{self, EngineArgs, Method, PathArgs, StepCount, TranslateArgs};
use crate::failure::Usage;
use crate::parts::Settings;
use crate::translator::{Approach, OnePass};

/// The method and what it is told. Everything that can be checked without the images is.
///
/// Errors: [`Usage`]; a noise file that cannot be read.
pub fn approach(args: &TranslateArgs, manifest: &Manifest) -> Result<Approach> {
    let first_noise = match (&args.first_noise, args.seed) {
        (Some(path), _) => FirstNoise::Array(array::read(path)?.into_batch()),
        (None, seed) => FirstNoise::Seed { seed: seed.unwrap_or(0), first: 0 },
    };
    let approach = match (OnePass::of(&manifest.preset, args.batch()), args.method.unwrap_or(Method::Ddim)) {
        (Some(options), _) => one_pass(args, options),
        (None, Method::Ddim) => guided(args, manifest, false, first_noise),
        (None, Method::Ddpm) => guided(args, manifest, true, first_noise),
        (None, Method::Saliency) => saliency(args, manifest),
    };
    let checked = approach.and_then(|approach| {
        approach.check(&args.bundle, manifest)?;
        Ok(approach)
    });
    checked.map_err(|error| Usage::new(error).into())
}

fn saliency(args: &TranslateArgs, manifest: &Manifest) -> Result<Approach> {
    if let Some(name) = of_guided(args) {
        bail!(
            "{name} with --method saliency: it makes no steps and draws no noise, and looks at the image itself; leave {name} out, or choose --method ddim"
        );
    }
    let mut options = Options::defaults(&manifest.preset)?;
    if let Some(class) = args.healthy_class {
        options.healthy_class = ClassLabel::new(class);
    }
    Ok(Approach::Saliency(saliency::Options { healthy_class: options.healthy_class, batch: args.batch() }))
}

fn one_pass(args: &TranslateArgs, options: OnePass) -> Result<Approach> {
    let given = [("--method", args.method.is_some()), ("--healthy-class", args.healthy_class.is_some())];
    let given = given.into_iter().find(|(_, given)| *given).map(|(name, _)| name);
    match of_guided(args).or(given) {
        Some(name) => Err(options.refuses(name)),
        None => Ok(Approach::OnePass(options)),
    }
}

/// The first option that was given and means something to a guided method alone.
fn of_guided(args: &TranslateArgs) -> Option<&'static str> {
    let given = [
        ("--noise-level", args.noise_level.is_some()),
        ("--respacing", args.respacing.is_some()),
        ("--schedule", args.schedule.is_some()),
        ("--clip", args.clip),
        ("--first-noise", args.first_noise.is_some()),
        ("--seed", args.seed.is_some()),
        ("--scale", args.scale.is_some()),
        ("--trajectory", args.trajectory.is_some()),
    ];
    let given = given.into_iter().filter(|(_, given)| *given).map(|(name, _)| name);
    args.path.given().chain(given).next()
}

/// `ddpm`: rather than DDIM.
fn guided(
    args: &TranslateArgs,
    manifest: &Manifest,
    ddpm: bool,
    first_noise: FirstNoise,
) -> Result<Approach> {
    let schedule = args.schedule.unwrap_or(args::Schedule::Paper);
    let mut options = Options::defaults(&manifest.preset)?;
    if let Some(level) = args.noise_level {
        options.noise_level = NoiseLevel::new(level);
    }
    if let Some(scale) = args.scale {
        options.scale = GradientScale::new(scale)?;
    }
    if let Some(class) = args.healthy_class {
        options.healthy_class = ClassLabel::new(class);
    }
    options.batch = args.batch();
    options.keep_trajectory = args.trajectory.is_some();
    match schedule {
        args::Schedule::Paper => path(&args.path, &mut options)?,
        args::Schedule::Reference => of_the_script(&args.path, &mut options)?,
    }
    if let Some(respacing) = args.respacing {
        options.steps = Steps::Respaced(respacing);
    }
    if ddpm {
        no_solver(&args.path, &mut options)?;
    }
    options.procedure = match (ddpm, schedule) {
        (false, args::Schedule::Reference) => Procedure::Reference { clip: args.clip, first_noise },
        (true, args::Schedule::Reference) => bail!(
            "--schedule reference with --method ddpm: the published script's indices are those of its DDIM steps; expected --schedule paper, or --method ddim"
        ),
        (_, args::Schedule::Paper) => {
            let given = [
                ("--clip", args.clip),
                ("--first-noise", args.first_noise.is_some()),
                ("--seed", args.seed.is_some() && !ddpm),
            ];
            if let Some((name, _)) = given.iter().find(|(_, given)| *given) {
                bail!(
                    "{name} with --schedule paper: Algorithm 1 clips nothing and draws no noise; expected --schedule reference, or leave {name} out"
                );
            }
            if ddpm { Procedure::Ddpm { seed: args.seed.unwrap_or(0) } } else { Procedure::Paper }
        }
    };
    Ok(Approach::Guided(options))
}

/// The steps of the published script: the bundle's are for Algorithm 1.
///
/// Errors: something else was asked for.
fn of_the_script(args: &PathArgs, options: &mut Options) -> Result<()> {
    if !matches!(args.steps, None | Some(StepCount::Every)) || args.spacing.is_some() {
        return Err(TranslateError::ReferenceSteps.into());
    }
    if let Some(name) = args.given().find(|name| *name != "--steps") {
        bail!(
            "{name} with --schedule reference: the published script makes Euler's steps, and is guided at each; leave {name} out, or choose --schedule paper"
        );
    }
    (options.steps, options.solver, options.guidance_interval) = (Steps::Every, Solver::Euler, None);
    Ok(())
}

/// DDPM sampling solves no ODE: it has the steps of a path, but no solver.
///
/// Errors: one was asked for.
pub fn no_solver(args: &PathArgs, options: &mut Options) -> Result<()> {
    if let Some(solver) = args.solver.filter(|solver| *solver != Solver::Euler) {
        bail!(
            "--solver {solver} with --method ddpm: its steps are drawn, and solve no equation; leave --solver out, or choose --method ddim"
        );
    }
    options.solver = Solver::Euler;
    Ok(())
}

/// Takes the path that the command line asks for into `options`, which hold the bundle's and the noise level.
///
/// Errors: a spacing with nothing to space.
pub fn path(args: &PathArgs, options: &mut Options) -> Result<()> {
    if args.exact {
        (options.steps, options.solver, options.guidance_interval) = (Steps::Every, Solver::Euler, None);
        return Ok(());
    }
    options.steps = steps(args.steps, args.spacing, options)?;
    options.solver = args.solver.unwrap_or(options.solver);
    options.guidance_interval = args.guidance_interval.or(options.guidance_interval);
    Ok(())
}

/// The steps that `--steps` and `--spacing` ask for, or the bundle's, which are in `defaults` beside the noise level.
///
/// Errors: a spacing with nothing to space.
fn steps(count: Option<StepCount>, spacing: Option<f64>, defaults: &Options) -> Result<Steps> {
    match (count, defaults.steps) {
        (Some(StepCount::Count(n)), _) => Ok(Steps::Spaced { n, spacing: spacing.unwrap_or(1.0) }),
        // A level below the bundle's may have fewer levels than the bundle makes steps.
        (None, Steps::Spaced { n, spacing: bundles }) => Ok(Steps::Spaced {
            n: n.min(defaults.noise_level.get()).max(1),
            spacing: spacing.unwrap_or(bundles),
        }),
        (Some(StepCount::Every) | None, _) => match spacing {
            None => Ok(Steps::Every),
            Some(found) => bail!(
                "--spacing {found} with every level: there is nothing to space; expected --steps N beside it, or leave --spacing out"
            ),
        },
    }
}

/// What of computing makes results what they are: the engine, which may be in many words, and the batch, by whose size engines
/// round.
pub fn computing(args: &EngineArgs, engine: &str, batch: usize) -> Settings {
    let name = engine.split(" (").next().unwrap_or_default();
    let tf32 = if args.tf32 { ", tf32" } else { "" };
    let provider = match args.provider() {
        Provider::Default => String::new(),
        other => format!(", {other}"),
    };
    vec![
        ("engine".to_owned(), format!("{name}, {}{tf32}{provider}", args.device())),
        ("batch".to_owned(), batch.to_string()),
    ]
}

/// What computes.
pub fn engine(args: &EngineArgs) -> EngineOptions {
    EngineOptions {
        choice: args.engine(),
        device: args.device(),
        provider: args.provider(),
        threads: args.threads,
        tf32: args.tf32,
    }
}
