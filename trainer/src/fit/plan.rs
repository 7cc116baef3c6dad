//! The steps of a RUN.toml, each with its command line and what it leaves.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anomalens_models::preset::{Preset, Recipe, RecipeFault};

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
    /// Seed of both trainings.
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
    /// Errors: [`FitError::Preset`], [`FitError::Method`]; [`FitError::Value`] for a recipe that cannot be, or images that are not there.
    pub fn new(file: &Path, run: &RunFile) -> Result<Self, FitError> {
        let preset = Preset::load(&run.preset)?;
        let timesteps = preset.guided()?.schedule.timesteps;
        let paths = Paths::new(file, run)?;
        let ddpm = paths.recipe(timesteps, "ddpm", &run.ddpm, &preset.train.ddpm)?;
        let classifier = paths.recipe(timesteps, "classifier", &run.classifier, &preset.train.classifier)?;
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
        steps.push(paths.train(Network::Ddpm, ddpm)?);
        steps.push(paths.train(Network::Classifier, classifier)?);
        steps.push(paths.bundle());
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
    unet: PathBuf,
    classifier: PathBuf,
    bundle: PathBuf,
}

impl<'a> Paths<'a> {
    fn new(file: &'a Path, run: &'a RunFile) -> Result<Self, FitError> {
        let output = &run.output;
        let mut paths = Self {
            file,
            run,
            cohort: (PathBuf::new(), None),
            unet: weights(output, Network::Ddpm),
            classifier: weights(output, Network::Classifier),
            bundle: output.join("bundle"),
        };
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

    /// What one network is trained by.
    fn recipe(
        &self,
        timesteps: usize,
        table: &str,
        options: &'a Options,
        usual: &Recipe,
    ) -> Result<(Recipe, &'a Options), FitError> {
        let recipe = options.over(usual);
        recipe.check(Some(timesteps)).map_err(|RecipeFault { key, found, expected }| {
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
            start = Some(self.unet.clone());
        }
        if recipe.start_from_ddpm && network == Network::Ddpm {
            let expected = "false: only the classifier starts so";
            return Err(self.value("ddpm.start_from_ddpm".into(), "true".into(), expected));
        }
        let none = options.start_from_ddpm == Some(false) && start.is_none();
        option(&mut arguments, "--start-from", start.as_ref().map(|file| file.display()));
        option(&mut arguments, "--start-from", none.then_some("none"));
        // The diffusion model comes first: while it is trained there is no classifier to translate with.
        if let (Some(validation), Network::Classifier) = (&self.run.validation, network) {
            let (cohort, split) = self.images("validation", &validation.of)?;
            option(&mut arguments, "--validation", Some(cohort.display()));
            option(&mut arguments, "--validation-split", split);
            option(&mut arguments, "--partner", Some(self.unet.display()));
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

    fn bundle(&self) -> Step {
        let made = &self.run.bundle;
        let folder = self.bundle.clone();
        let mut arguments = words(&["bundle", "--preset", &self.run.preset]);
        option(&mut arguments, "--unet", Some(self.unet.display()));
        option(&mut arguments, "--classifier", Some(self.classifier.display()));
        option(&mut arguments, "-o", Some(folder.display()));
        option(&mut arguments, "--gate", Some(made.gate.name()));
        option(&mut arguments, "--note", made.note.as_ref());
        option(&mut arguments, "--card", made.card.as_ref().map(|card| card.display()));
        let result = folder.join("manifest.json");
        let made_of = [&self.unet, &self.classifier].into_iter().chain(&made.card).cloned().collect();
        let (work, program) = (Work::Bundle, "anomalens-export");
        Step { name: "bundle", work, program, arguments, begun: result.clone(), result, folder, made_of }
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
            // The last of its three files.
            result: folder.join("sheet.png"),
            begun: folder.join("parts/settings.json"),
            folder,
            made_of: vec![self.bundle.join("manifest.json"), cohort.join("cohort.json")],
        }
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
