//! From the command line and the bundle's defaults to what the sampler is told; what does not fit is usage.

use std::path::Path;

use anomalens_method::ddim::{ClassLabel, GradientScale};
use anomalens_method::translate::{FirstNoise, Options, Procedure, Steps, TranslateError};
use anomalens_models::manifest::{CLASSIFIER_GRADIENT, Manifest};
use anomalens_models::schedule::{NoiseLevel, Schedule};
use anomalens_runtime::engine::EngineOptions;
use anomalens_runtime::translate::TranslateError as BundleError;
use anyhow::{Result, bail};

use super::array;
use crate::args::{self, EngineArgs, Method, StepCount, TranslateArgs};
use crate::failure::Usage;

/// The sampler's options. Everything that can be checked without the images is.
///
/// Errors: [`Usage`]; a noise file that cannot be read.
pub fn sampler(args: &TranslateArgs, manifest: &Manifest) -> Result<Options> {
    let first_noise = match (&args.first_noise, args.seed) {
        (Some(path), _) => FirstNoise::Array(array::read(path)?.into_batch()),
        (None, seed) => FirstNoise::Seed(seed.unwrap_or(0)),
    };
    match options(args, manifest, first_noise) {
        Err(error) => Err(Usage::new(error).into()),
        Ok(options) => Ok(options),
    }
}

fn options(args: &TranslateArgs, manifest: &Manifest, first_noise: FirstNoise) -> Result<Options> {
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
    options.batch = args.batch;
    options.keep_trajectory = args.trajectory.is_some();
    options.steps = match (args.respacing, args.schedule) {
        (Some(respacing), _) => Steps::Respaced(respacing),
        (None, args::Schedule::Paper) => steps(args.steps, args.spacing, &options)?,
        // The bundle's steps are for Algorithm 1.
        (None, args::Schedule::Reference) => match (args.steps, args.spacing) {
            (None | Some(StepCount::Every), None) => Steps::Every,
            _ => return Err(TranslateError::ReferenceSteps.into()),
        },
    };
    options.procedure = match (args.method, args.schedule) {
        (Method::Ddim, args::Schedule::Reference) => Procedure::Reference { clip: args.clip, first_noise },
        (Method::Ddpm, args::Schedule::Reference) => bail!(
            "--schedule reference with --method ddpm: the published script's indices are those of its DDIM steps; expected --schedule paper, or --method ddim"
        ),
        (method, args::Schedule::Paper) => {
            let given = [
                ("--clip", args.clip),
                ("--first-noise", args.first_noise.is_some()),
                ("--seed", args.seed.is_some() && method == Method::Ddim),
            ];
            if let Some((name, _)) = given.iter().find(|(_, given)| *given) {
                bail!(
                    "{name} with --schedule paper: Algorithm 1 clips nothing and draws no noise; expected --schedule reference, or leave {name} out"
                );
            }
            method.procedure(args.seed)
        }
    };
    check(&args.bundle, manifest, &options)?;
    Ok(options)
}

/// The steps that `--steps` and `--spacing` ask for, or the bundle's, which are in `defaults` beside the noise level.
///
/// Errors: a spacing with nothing to space.
pub fn steps(count: Option<StepCount>, spacing: Option<f64>, defaults: &Options) -> Result<Steps> {
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

/// Whether the options fit the bundle.
///
/// Errors: each is the fault of the command line.
pub fn check(bundle: &Path, manifest: &Manifest, options: &Options) -> Result<()> {
    let guided = manifest.preset.guided()?;
    options.plan(&Schedule::new(&guided.schedule)?)?;
    if options.batch == 0 {
        return Err(TranslateError::NoBatch.into());
    }
    let classes = guided.unet.classes.unwrap_or(guided.classifier.classes);
    if options.healthy_class.get() >= classes {
        return Err(TranslateError::HealthyClass { found: options.healthy_class.get(), classes }.into());
    }
    if !manifest.has(CLASSIFIER_GRADIENT) && options.scale > GradientScale::NONE {
        let bundle = bundle.display().to_string();
        return Err(BundleError::NoClassifier { bundle, found: options.scale.get() }.into());
    }
    Ok(())
}

/// What computes.
pub fn engine(args: &EngineArgs) -> EngineOptions {
    EngineOptions { choice: args.engine, device: args.device, threads: args.threads, tf32: args.tf32 }
}

/// Everything that changes the result, in a fixed order: it goes into reports, and into the UIDs of the results.
pub fn describe(options: &Options) -> Vec<(String, String)> {
    let mut rows = vec![
        ("noise level".to_owned(), options.noise_level.to_string()),
        (
            "steps".to_owned(),
            match options.steps {
                Steps::Every => "every level".to_owned(),
                Steps::Spaced { n, spacing: 1.0 } => format!("{n} a loop"),
                Steps::Spaced { n, spacing } => format!("{n} a loop, at the levels L (j/{n})^{spacing}"),
                Steps::Respaced(respacing) => respacing.to_string(),
            },
        ),
        (
            "schedule".to_owned(),
            match &options.procedure {
                Procedure::Paper => "paper (Algorithm 1)".to_owned(),
                Procedure::Ddpm { seed } => format!("DDPM sampling, noise from seed {seed}"),
                Procedure::Reference { clip, first_noise } => {
                    let clip = if *clip { "clipped" } else { "not clipped" };
                    let noise = match first_noise {
                        FirstNoise::Seed(seed) => format!("noise from seed {seed}"),
                        FirstNoise::Array(_) => "noise from a file".to_owned(),
                    };
                    format!("reference (published script), {clip}, {noise}")
                }
            },
        ),
        ("gradient scale".to_owned(), options.scale.get().to_string()),
        ("healthy class".to_owned(), options.healthy_class.get().to_string()),
    ];
    if options.scale == GradientScale::NONE {
        rows[3].1 = "0 (no guidance)".to_owned();
    }
    rows
}
