//! Which methods are run, and by which bundle.

use std::path::{Path, PathBuf};

use anomalens_method::ddim::GradientScale;
use anomalens_method::saliency;
use anomalens_method::translate::{Options, Procedure};
use anomalens_models::manifest::Manifest;
use anomalens_models::preset::Solver;
use anomalens_models::schedule::NoiseLevel;
use anyhow::{Result, bail};

use super::args::EvaluateArgs;
use super::record::Network;
use crate::args;
use crate::translate::options;
use crate::translator::{Approach, Method, OnePass};

/// A method, its bundle, and what it is told.
pub struct Run {
    /// The folder of the bundle.
    pub bundle: PathBuf,
    /// What the bundle says of itself.
    pub manifest: Manifest,
    /// The method.
    pub approach: Approach,
}

impl Run {
    /// Which method.
    pub fn method(&self) -> Method {
        self.approach.method()
    }

    /// What results say of it.
    ///
    /// Errors: those of reading the manifest.
    pub fn network(&self) -> Result<Network> {
        Ok(Network {
            source: self.method().into(),
            bundle: self.manifest.preset.name.clone(),
            sha256: Manifest::bundle_hash(&self.bundle)?,
            provenance: self.manifest.provenance.clone(),
            settings: self.approach.describe(),
        })
    }
}

/// The methods of a command line in the order of the tables, each once; every error is one of usage.
pub fn choose(args: &EvaluateArgs, bundles: &[(&Path, Manifest)]) -> Result<Vec<Run>> {
    args.job.check()?;
    let mut methods = args.methods.clone();
    methods.sort_unstable();
    methods.dedup();
    if methods.is_empty() {
        methods.push(args::Method::Ddim);
    }
    let mut runs = Vec::new();
    for (bundle, manifest) in bundles {
        let approaches = match OnePass::of(&manifest.preset, args.job.batch()) {
            Some(options) => vec![Approach::OnePass(options)],
            None => methods.iter().map(|method| approach(args, *method, manifest)).collect::<Result<_>>()?,
        };
        for approach in approaches {
            approach.check(bundle, manifest)?;
            runs.push(Run { bundle: bundle.to_path_buf(), manifest: manifest.clone(), approach });
        }
    }
    runs.sort_by_key(Run::method);
    if let Some(twice) = runs.windows(2).find(|pair| pair[0].method() == pair[1].method()) {
        bail!(
            "--bundle {} and --bundle {}: both are run as {}, expected one bundle for each method; evaluate them one at a time",
            twice[0].bundle.display(),
            twice[1].bundle.display(),
            twice[0].method().column()
        );
    }
    let given = [("--noise-level", args.noise_level.is_some()), ("--scale", args.scale.is_some())];
    let given = given.into_iter().filter(|(_, given)| *given).map(|(name, _)| name);
    if let (false, Some(options)) = (args.methods.is_empty(), alone(&runs)) {
        return Err(options.refuses("--method"));
    }
    let guided = runs.iter().any(|run| matches!(run.approach, Approach::Guided(_)));
    match args.path.given().chain(given).find(|_| !guided) {
        Some(name) => bail!("{name}: none of the methods takes it, only ddim and ddpm do; leave it out"),
        None => Ok(runs),
    }
}

/// What the first is told, if there are none but networks of one pass.
fn alone(runs: &[Run]) -> Option<OnePass> {
    let one_pass = |run: &Run| match run.approach {
        Approach::OnePass(options) => Some(options),
        Approach::Guided(_) | Approach::Saliency(_) => None,
    };
    let all: Option<Vec<_>> = runs.iter().map(one_pass).collect();
    all?.first().copied()
}

fn approach(args: &EvaluateArgs, method: args::Method, manifest: &Manifest) -> Result<Approach> {
    let mut options = Options::defaults(&manifest.preset)?;
    options.batch = args.job.batch();
    options.procedure = match method {
        args::Method::Ddim => Procedure::Paper,
        args::Method::Ddpm => Procedure::Ddpm { seed: 0 },
        args::Method::Saliency => {
            let Options { healthy_class, batch, .. } = options;
            return Ok(Approach::Saliency(saliency::Options { healthy_class, batch }));
        }
    };
    if let Some(level) = args.noise_level {
        options.noise_level = NoiseLevel::new(level);
    }
    if let Some(scale) = args.scale {
        options.scale = GradientScale::new(scale)?;
    }
    options::path(&args.path, &mut options)?;
    if method == args::Method::Ddpm {
        options.solver = Solver::Euler;
    }
    Ok(Approach::Guided(options))
}
