//! The steps of a RUN.toml, each with its command line and what it leaves.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anomalens_models::preset::{Method, Preset, Recipe, RecipeFault};

use super::error::FitError;
use super::options::Options;
use super::runfile::{Images, RunFile, Synthetic};
use crate::task::Network;

/// What a RUN.toml comes to.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The file.
    pub file: PathBuf,
    /// The folder of everything that is made.
    pub output: PathBuf,
    /// The networks.
    pub preset: Preset,
    /// Seed of the trainings.
    pub seed: u64,
    /// The steps, in order.
    pub steps: Vec<Step>,
}

/// One step: a program that leaves a folder.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Its name, e.g. `ddpm`.
    pub name: &'static str,
    /// What it does.
    pub work: Work,
    /// The program's file name.
    pub program: &'static str,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// The folder that it leaves.
    pub folder: PathBuf,
    /// A file of the folder that is there when the step is complete.
    pub result: PathBuf,
    /// A file of the folder that is there once the step has begun, and stands for all that it was made of.
    pub begun: PathBuf,
    /// Files that must not be newer.
    pub made_of: Vec<PathBuf>,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq)]
pub enum Work {
    /// Makes images.
    Synthetic(Synthetic),
    /// Trains a network.
    Train {
        /// Which.
        network: Network,
        /// By which recipe: the preset's with the options of RUN.toml before it.
        recipe: Box<Recipe>,
        /// The options of RUN.toml.
        options: Box<Options>,
        /// The weights that it starts from.
        start: Option<PathBuf>,
    },
    /// Writes the bundle.
    Bundle,
    /// Measures what the cohort looks like, into the bundle.
    Fitness,
    /// Scores it.
    Scores,
}

/// How far a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Its result is there.
    Complete,
    /// Its folder is there, but older than what it was made of: to be removed and made anew.
    Stale,
    /// To be begun, or to be gone on with.
    Open,
}

impl Plan {
    /// The steps of a RUN.toml that was read from `file`. Nothing is made or changed.
    ///
    /// Errors: [`FitError::Preset`]; [`FitError::Value`] for a recipe that cannot be, or images that are not there.
    pub fn new(file: &Path, run: &RunFile) -> Result<Self, FitError> {
        let preset = Preset::load(&run.preset)?;
        let paths = Paths::new(file, run)?;
        let networks = networks(&preset.method);
        paths.no_others(&preset, networks)?;
        let trainings = networks.iter().map(|&network| Ok((network, paths.recipe(&preset, network)?)));
        let trainings = trainings.collect::<Result<Vec<_>, FitError>>()?;
        let test = run.test.as_ref().map(|test| paths.images("test", test)).transpose()?;
        let mut steps = Vec::new();
        // All images first: what is wrong with them shows before days of training, not after.
        let validation = run.validation.as_ref().map(|validation| &validation.of);
        for (name, images) in
            [("cohort", Some(&run.cohort)), ("validation", validation), ("test", run.test.as_ref())]
        {
            if let Some(Images::Synthetic(synthetic)) = images {
                steps.push(paths.synthetic(name, synthetic, preset.image.size));
            }
        }
        for (network, training) in trainings {
            steps.push(paths.train(network, training)?);
        }
        steps.push(paths.bundle(networks));
        steps.push(paths.fitness());
        steps.extend(test.map(|(cohort, split)| paths.scores(cohort, split)));
        Ok(Self { file: file.to_owned(), output: run.output.clone(), preset, seed: run.seed, steps })
    }
}

impl Step {
    /// How far the step is, by the files that are there.
    pub fn state(&self) -> State {
        let fresh = |file: &Path| {
            let Some(time) = modified(file) else { return false };
            self.made_of.iter().all(|source| modified(source).is_some_and(|made| made <= time))
        };
        match () {
            () if fresh(&self.result) => State::Complete,
            () if self.begun.exists() && !fresh(&self.begun) => State::Stale,
            () => State::Open,
        }
    }

    /// The command line, for a shell; `program` is the path of the step's program.
    pub fn command(&self, program: &Path) -> String {
        let words = std::iter::once(program.display().to_string()).chain(self.arguments.iter().cloned());
        words.map(|word| quoted(&word)).collect::<Vec<_>>().join(" ")
    }
}

/// RUN.toml with the places of everything.
struct Paths<'a> {
    file: &'a Path,
    run: &'a RunFile,
    cohort: (PathBuf, Option<&'a str>),
    bundle: PathBuf,
}

impl<'a> Paths<'a> {
    fn new(file: &'a Path, run: &'a RunFile) -> Result<Self, FitError> {
        let output = &run.output;
        let mut paths = Self { file, run, cohort: (PathBuf::new(), None), bundle: output.join("bundle") };
        paths.cohort = paths.images("cohort", &run.cohort)?;
        Ok(paths)
    }

    fn value(&self, key: String, found: String, expected: impl Into<String>) -> FitError {
        FitError::Value { path: self.file.to_owned(), key, found, expected: expected.into() }
    }

    /// The folder of images, and the split of it.
    fn images<'i>(&self, name: &str, images: &'i Images) -> Result<(PathBuf, Option<&'i str>), FitError> {
        match images {
            Images::Synthetic(_) => Ok((self.run.output.join(name), None)),
            Images::Folder { path, split } => {
                if !path.join("cohort.json").is_file() {
                    let found = format!("'{}', where no cohort.json is", path.display());
                    let expected = "the folder of a cohort, relative to where the program runs";
                    return Err(self.value(format!("{name}.path"), found, expected));
                }
                Ok((path.clone(), split.as_deref()))
            }
        }
    }

    /// What differs from the preset's recipe of a network.
    fn options(&self, network: Network) -> &'a Options {
        match network {
            Network::Ddpm => &self.run.ddpm,
            Network::Classifier => &self.run.classifier,
            Network::Vae => &self.run.vae,
            Network::FixedPointGan => &self.run.fpgan,
        }
    }

    /// Checks that no options are given for a network that the preset does not have.
    fn no_others(&self, preset: &Preset, networks: &[Network]) -> Result<(), FitError> {
        let all = [Network::Ddpm, Network::Classifier, Network::Vae, Network::FixedPointGan];
        let given = |network: &Network| *self.options(*network) != Options::default();
        match all.into_iter().filter(|network| !networks.contains(network)).find(given) {
            Some(network) => {
                let found =
                    format!("a table, with preset '{}' of method {}", preset.name, preset.method.name());
                let own: Vec<&str> = networks.iter().map(|network| network.name()).collect();
                Err(self.value(
                    network.name().into(),
                    found,
                    format!("options of {} alone", own.join(" and ")),
                ))
            }
            None => Ok(()),
        }
    }

    /// What one network is trained by.
    fn recipe(&self, preset: &Preset, network: Network) -> Result<(Recipe, &'a Options), FitError> {
        let (table, options) = (network.name(), self.options(network));
        let recipe = options.over(network.recipe(&preset.train));
        recipe.check(network.timesteps(preset)?).map_err(|RecipeFault { key, found, expected }| {
            self.value(format!("{table}.{key}"), found, expected)
        })?;
        if let (true, Some(start)) = (options.start_from_ddpm == Some(true), &options.start_from) {
            let found = format!("'{}' beside start_from_ddpm", start.display());
            return Err(self.value(format!("{table}.start_from"), found, "one of the two"));
        }
        Ok((recipe, options))
    }

    fn synthetic(&self, name: &'static str, synthetic: &Synthetic, size: usize) -> Step {
        let folder = self.run.output.join(name);
        let mut arguments = words(&["synthetic", "-o"]);
        arguments.push(folder.display().to_string());
        for (option, value) in [
            ("--anatomy", synthetic.anatomy.name().to_owned()),
            ("--slices", synthetic.slices.to_string()),
            ("--size", size.to_string()),
            ("--seed", synthetic.seed.to_string()),
        ] {
            arguments.extend([option.to_owned(), value]);
        }
        let result = folder.join("cohort.json");
        let work = Work::Synthetic(synthetic.clone());
        let program = "anomalens-cohort";
        Step { name, work, program, arguments, begun: result.clone(), result, folder, made_of: vec![] }
    }

    fn train(&self, network: Network, (recipe, options): (Recipe, &Options)) -> Result<Step, FitError> {
        let name = network.name();
        let folder = self.run.output.join(name);
        let mut arguments = words(&[name, "--preset", &self.run.preset]);
        let (cohort, split) = &self.cohort;
        option(&mut arguments, "--cohort", Some(cohort.display()));
        option(&mut arguments, "--split", *split);
        option(&mut arguments, "-o", Some(folder.display()));
        option(&mut arguments, "--seed", Some(self.run.seed));
        arguments.extend(options.words());
        let mut start = options.start_from.clone();
        if start.is_none() && network == Network::Classifier && recipe.start_from_ddpm {
            start = Some(weights(&self.run.output, Network::Ddpm));
        }
        if recipe.start_from_ddpm && network == Network::Ddpm {
            let expected = "false: only the classifier starts so";
            return Err(self.value("ddpm.start_from_ddpm".into(), "true".into(), expected));
        }
        let none = options.start_from_ddpm == Some(false) && start.is_none();
        option(&mut arguments, "--start-from", start.as_ref().map(|file| file.display()));
        option(&mut arguments, "--start-from", none.then_some("none"));
        // The diffusion model comes first: while it is trained there is no classifier to translate with.
        if let Some(validation) = self.run.validation.as_ref().filter(|_| network != Network::Ddpm) {
            let (cohort, split) = self.images("validation", &validation.of)?;
            option(&mut arguments, "--validation", Some(cohort.display()));
            option(&mut arguments, "--validation-split", split);
            let partner = (network == Network::Classifier).then(|| weights(&self.run.output, Network::Ddpm));
            option(&mut arguments, "--partner", partner.as_ref().map(|file| file.display()));
            option(&mut arguments, "--validation-images", validation.images);
            option(&mut arguments, "--validate-every", validation.every);
        }
        let result = weights(&self.run.output, network);
        let begun = folder.join("run.json");
        let options = Box::new(options.clone());
        let work = Work::Train { network, recipe: Box::new(recipe), options, start };
        let program = "anomalens-train";
        Ok(Step { name, work, program, arguments, folder, result, begun, made_of: vec![] })
    }

    fn bundle(&self, networks: &[Network]) -> Step {
        let made = &self.run.bundle;
        let folder = self.bundle.clone();
        let mut arguments = words(&["bundle", "--preset", &self.run.preset]);
        let files: Vec<PathBuf> =
            networks.iter().map(|&network| weights(&self.run.output, network)).collect();
        for (network, file) in networks.iter().zip(&files) {
            let name = match network {
                Network::Ddpm => "--unet",
                Network::Classifier => "--classifier",
                Network::Vae | Network::FixedPointGan => "--network",
            };
            option(&mut arguments, name, Some(file.display()));
        }
        option(&mut arguments, "-o", Some(folder.display()));
        option(&mut arguments, "--gate", Some(made.gate.name()));
        option(&mut arguments, "--note", made.note.as_ref());
        option(&mut arguments, "--card", made.card.as_ref().map(|card| card.display()));
        let result = folder.join("manifest.json");
        let made_of = files.into_iter().chain(made.card.clone()).collect();
        let (work, program) = (Work::Bundle, "anomalens-export");
        Step { name: "bundle", work, program, arguments, begun: result.clone(), result, folder, made_of }
    }

    fn fitness(&self) -> Step {
        let (cohort, split) = &self.cohort;
        let mut arguments = words(&["fitness"]);
        arguments.push(self.bundle.display().to_string());
        option(&mut arguments, "--cohort", Some(cohort.display()));
        option(&mut arguments, "--split", *split);
        let result = self.bundle.join("fitness.json");
        Step {
            name: "fitness",
            work: Work::Fitness,
            program: "anomalens-export",
            arguments,
            begun: result.clone(),
            result,
            folder: self.bundle.clone(),
            // Nothing: a bundle that is made anew has none, and one that has it is not to be removed for it.
            made_of: vec![],
        }
    }

    fn scores(&self, cohort: PathBuf, split: Option<&str>) -> Step {
        let folder = self.run.output.join("scores");
        let mut arguments = words(&["evaluate"]);
        arguments.push(cohort.display().to_string());
        option(&mut arguments, "--split", split);
        option(&mut arguments, "--bundle", Some(self.bundle.display()));
        option(&mut arguments, "--out", Some(folder.display()));
        Step {
            name: "scores",
            work: Work::Scores,
            program: "anomalens",
            arguments,
            // Written last.
            result: folder.join("sheet.png"),
            begun: folder.join("parts/settings.json"),
            folder,
            made_of: vec![self.bundle.join("manifest.json"), cohort.join("cohort.json")],
        }
    }
}

/// The networks that a method is made of, in the order in which they are trained.
fn networks(method: &Method) -> &'static [Network] {
    match method {
        Method::Guided(_) => &[Network::Ddpm, Network::Classifier],
        Method::Vae(_) => &[Network::Vae],
        Method::FixedPointGan(_) => &[Network::FixedPointGan],
    }
}

/// Where a training leaves its weights.
fn weights(output: &Path, network: Network) -> PathBuf {
    output.join(network.name()).join(format!("{}.safetensors", network.name()))
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn option(arguments: &mut Vec<String>, name: &str, value: Option<impl ToString>) {
    arguments.extend(value.into_iter().flat_map(|value| [name.to_owned(), value.to_string()]));
}

fn modified(file: &Path) -> Option<SystemTime> {
    fs::metadata(file).and_then(|about| about.modified()).ok()
}

/// A word as a POSIX shell reads it back.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}
