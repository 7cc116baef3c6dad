//! RUN.toml.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::{Table, Value};

use super::error::FitError;
use super::options::Options;

/// RUN.toml: what a whole training is made of. Paths are relative to where the program runs, as on a command line.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunFile {
    /// The networks and their recipe: a built-in name or a TOML file.
    pub preset: String,
    /// The folder of everything that is made.
    pub output: PathBuf,
    /// Seed of the trainings.
    #[serde(default)]
    pub seed: u64,
    /// What is learnt from.
    pub cohort: Images,
    /// Images that a run translates on the way: the classifier's, or that of a one-pass method.
    pub validation: Option<Validation>,
    /// Images that the bundle is scored on.
    pub test: Option<Images>,
    /// What differs from the preset's recipe of the diffusion model.
    #[serde(default)]
    pub ddpm: Options,
    /// What differs from the preset's recipe of the classifier.
    #[serde(default)]
    pub classifier: Options,
    /// What differs from the preset's recipe of the variational autoencoder.
    #[serde(default)]
    pub vae: Options,
    /// What differs from the preset's recipe of the Fixed-Point GAN.
    #[serde(default)]
    pub fpgan: Options,
    /// The bundle.
    #[serde(default)]
    pub bundle: BundleTable,
}

/// Labelled images: a folder that is there, or what to make.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "ImagesTable")]
pub enum Images {
    /// A cohort.
    Folder {
        /// Its folder.
        path: PathBuf,
        /// The part of it that `splits.json` gives this name; all of it if absent.
        split: Option<String>,
    },
    /// Images to be made, of the preset's size.
    Synthetic(Synthetic),
}

/// Images that `anomalens-cohort synthetic` makes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Synthetic {
    /// What is imaged.
    pub anatomy: Anatomy,
    /// How many.
    pub slices: usize,
    /// Everything random follows from it.
    pub seed: u64,
}

/// What synthetic images show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Anatomy {
    /// Brains by the MNI152 template.
    Mni152,
    /// Brains of ellipsoids.
    Phantom,
    /// Radiographs of the chest.
    Chest,
}

impl Anatomy {
    /// As a word of the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mni152 => "mni152",
            Self::Phantom => "phantom",
            Self::Chest => "chest",
        }
    }
}

/// Images that a run translates on the way, and how often.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "ValidationTable")]
pub struct Validation {
    /// The images.
    pub of: Images,
    /// How many of them.
    pub images: Option<usize>,
    /// Steps between two looks.
    pub every: Option<usize>,
}

/// How the bundle is written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleTable {
    /// How thoroughly its graphs are compared.
    #[serde(default)]
    pub gate: Gate,
    /// Where the weights come from.
    pub note: Option<String>,
    /// A Markdown file for the end of the model card.
    pub card: Option<PathBuf>,
}

/// How thoroughly a bundle's graphs are compared; see `anomalens-export bundle --help`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Gate {
    /// With the reference interpreter.
    #[default]
    Full,
    /// Without it on larger networks.
    Quick,
    /// Not at all; the bundle is marked unverified.
    None,
}

impl Gate {
    /// As a word of the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Quick => "quick",
            Self::None => "none",
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ImagesTable {
    path: Option<PathBuf>,
    split: Option<String>,
    synthetic: Option<Synthetic>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ValidationTable {
    path: Option<PathBuf>,
    split: Option<String>,
    synthetic: Option<Synthetic>,
    images: Option<usize>,
    every: Option<usize>,
}

impl TryFrom<ImagesTable> for Images {
    type Error = String;

    fn try_from(table: ImagesTable) -> Result<Self, String> {
        let ImagesTable { path, split, synthetic } = table;
        match (path, synthetic) {
            (Some(path), None) => Ok(Self::Folder { path, split }),
            (None, Some(_)) if split.is_some() => {
                Err("found split beside synthetic, expected it beside path alone".into())
            }
            (None, Some(synthetic)) => Ok(Self::Synthetic(synthetic)),
            (Some(_), Some(_)) => Err("found both path and synthetic, expected one of them".into()),
            (None, None) => Err("found neither path nor synthetic, expected one of them".into()),
        }
    }
}

impl TryFrom<ValidationTable> for Validation {
    type Error = String;

    fn try_from(table: ValidationTable) -> Result<Self, String> {
        let ValidationTable { path, split, synthetic, images, every } = table;
        Ok(Self { of: ImagesTable { path, split, synthetic }.try_into()?, images, every })
    }
}

impl RunFile {
    /// Reads a file; `sets`, each `KEY=VALUE`, go before what it says.
    ///
    /// Errors: [`FitError::Read`], [`FitError::Toml`], [`FitError::Set`].
    pub fn load(path: &Path, sets: &[String]) -> Result<Self, FitError> {
        let text =
            fs::read_to_string(path).map_err(|source| FitError::Read { path: path.to_owned(), source })?;
        Self::parse(path, &text, sets)
    }

    /// Reads the text of a file; `path` only serves the error messages.
    ///
    /// Errors: [`FitError::Toml`], [`FitError::Set`].
    pub fn parse(path: &Path, text: &str, sets: &[String]) -> Result<Self, FitError> {
        let wrong = |cause| FitError::Toml { path: path.to_owned(), cause: Box::new(cause) };
        let mut table: Table = toml::from_str(text).map_err(wrong)?;
        sets.iter().try_for_each(|text| set(&mut table, text))?;
        table.try_into().map_err(wrong)
    }
}

/// Sets one key by its dotted name. What is no TOML value is text, so that words need no quotes of a shell.
fn set(table: &mut Table, text: &str) -> Result<(), FitError> {
    let wrong = |why: String| FitError::Set { found: text.to_owned(), why };
    let (key, value) = text.split_once('=').ok_or_else(|| wrong("found no '='".into()))?;
    let value = value.parse().unwrap_or_else(|_| Value::String(value.to_owned()));
    let (folders, last) = match key.rsplit_once('.') {
        Some((folders, last)) => (folders.split('.').collect(), last),
        None => (Vec::new(), key),
    };
    if last.is_empty() || folders.contains(&"") {
        return Err(wrong(format!("found '{key}' as the key")));
    }
    let mut at = table;
    for folder in folders {
        let next = at.entry(folder).or_insert_with(|| Value::Table(Table::new()));
        let kind = next.type_str();
        at = next.as_table_mut().ok_or_else(|| wrong(format!("found {kind} in {folder}, no table")))?;
    }
    at.insert(last.to_owned(), value);
    Ok(())
}
