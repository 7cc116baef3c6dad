//! What was found for a bundle on a machine, kept in the person's folder of configuration: a bundle may be read-only, or be shared
//! by machines, and its files are what its manifest says.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anomalens_models::manifest::Manifest;
use anomalens_models::output::{self, OutputError};
use anomalens_runtime::engine;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::choice::Choice;
use crate::TOOL;
use crate::args::EngineArgs;
use crate::failure::describe;
use crate::machine::Machine;
use crate::translate::options;

/// Of the file; another one is not read.
const FORMAT: u32 = 1;

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stored {
    /// [`FORMAT`].
    pub format: u32,
    /// Program and version that found it.
    pub tool: String,
    /// The bundle's hash.
    pub bundle: String,
    /// Where.
    pub machine: Machine,
    /// When: year, month and day.
    pub date: String,
    /// What is to be taken, as words of a command line.
    pub choice: Vec<String>,
    /// The engine that this was.
    pub engine: String,
    /// What a slice took.
    pub seconds_a_slice: f64,
    /// Everything that was tried.
    pub tried: Vec<Value>,
}

/// Why what was found cannot be kept, or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoredError {
    /// There is no folder for it.
    #[error(
        "neither XDG_CONFIG_HOME nor a home folder is set, expected a folder to keep what is found in; set XDG_CONFIG_HOME"
    )]
    NoPlace,
    /// The file system said no.
    #[error("tuned choice '{}': {source}; mend it, or choose by --engine, or set XDG_CONFIG_HOME to another folder", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// It cannot be written.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// Not what this program writes.
    #[error("tuned choice '{}': {why}; run `anomalens tune BUNDLE` again, or remove it by `anomalens tune BUNDLE --forget`, or choose by --engine", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

/// Where what is found for a bundle on a machine is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    path: PathBuf,
    /// The bundle's hash.
    pub bundle: String,
    /// The machine.
    pub machine: Machine,
}

impl Place {
    /// That of a bundle of this hash, on this machine.
    ///
    /// Errors: [`StoredError::NoPlace`].
    pub fn of(bundle: String) -> Result<Self, StoredError> {
        let named = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        let folder = named.or_else(|| Some(std::env::home_dir()?.join(".config")));
        let folder = folder.ok_or(StoredError::NoPlace)?.join("anomalens/tuned");
        Ok(Self::within(&folder, bundle, Machine::here()))
    }

    /// A file for each bundle and machine, so that machines that share the folder do not see each other's.
    fn within(folder: &Path, bundle: String, machine: Machine) -> Self {
        let Machine { processor, cores, system } = &machine;
        let hash = Sha256::digest(format!("{processor:?} {cores} {system}"));
        let machine_hash: String = hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        let path = folder.join(format!("{bundle:.16}-{machine_hash}.json"));
        Self { path, bundle, machine }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps what was found, in place of what was there.
    ///
    /// Errors: [`StoredError::Output`].
    pub fn write(&self, stored: &Stored) -> Result<(), StoredError> {
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder).map_err(|source| OutputError::new(folder, source))?;
        }
        let text = serde_json::to_string_pretty(stored).expect("every key is a string");
        Ok(output::replace(&self.path, format!("{text}\n").as_bytes())?)
    }

    /// What was found before, if anything was.
    ///
    /// Errors: [`StoredError::Io`], [`StoredError::Damaged`].
    pub fn read(&self) -> Result<Option<(Stored, Choice)>, StoredError> {
        let damaged = |why: String| StoredError::Damaged { path: self.path.clone(), why };
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(damaged(error.to_string()));
            }
            Err(source) => return Err(StoredError::Io { path: self.path.clone(), source }),
        };
        let stored: Stored = serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
        if stored.format != FORMAT {
            return Err(damaged(format!("format {}, expected {FORMAT}", stored.format)));
        }
        let no_choice = || damaged(format!("choice {:?}, expected words of a command line", stored.choice));
        let choice = Choice::of_words(&stored.choice).ok_or_else(no_choice)?;
        Ok(Some((stored, choice)))
    }

    /// Removes what was found before; whether anything was.
    ///
    /// Errors: [`StoredError::Io`].
    pub fn forget(&self) -> Result<bool, StoredError> {
        match fs::remove_file(&self.path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(StoredError::Io { path: self.path.clone(), source }),
        }
    }

    /// Why what was found is not for this bundle, machine and program, if it is not.
    fn misfit(&self, stored: &Stored) -> Option<String> {
        let words = |machine: &Machine| {
            format!("{}, {} cores, {}", machine.processor(), machine.cores, machine.system)
        };
        let pairs = [
            ("bundle", stored.bundle.clone(), self.bundle.clone()),
            ("machine", words(&stored.machine), words(&self.machine)),
            ("program", stored.tool.clone(), TOOL.to_owned()),
        ];
        pairs.into_iter().find_map(|(what, found, here)| unlike(what, &found, &here))
    }
}

/// Why something that was found by another is not used.
fn unlike(what: &str, found: &str, here: &str) -> Option<String> {
    (found != here).then(|| format!("it was found with the {what} '{found}', this is '{here}'"))
}

impl Stored {
    /// What was found now, of these words.
    pub fn new(place: &Place, date: String, choice: &Choice, engine: String, seconds: f64) -> Self {
        Self {
            format: FORMAT,
            tool: TOOL.to_owned(),
            bundle: place.bundle.clone(),
            machine: place.machine.clone(),
            date,
            choice: choice.words(),
            engine,
            seconds_a_slice: seconds,
            tried: vec![],
        }
    }

    /// In words.
    pub fn describe(&self) -> String {
        let Self { date, choice, seconds_a_slice, .. } = self;
        format!("{} (`anomalens tune` of {date}: {seconds_a_slice:.3} s a slice)", choice.join(" "))
    }
}

/// Takes what was found for a bundle on this machine, where none of the options is given; or says why not, if something was found.
///
/// Errors: [`StoredError`]; those of reading the bundle.
pub fn apply(bundle: &Path, engine: &mut EngineArgs, batch: &mut Option<usize>) -> Result<()> {
    if engine.given() || batch.is_some() {
        return Ok(());
    }
    // Without a place nothing can have been found.
    let Ok(place) = Place::of(Manifest::bundle_hash(bundle)?) else { return Ok(()) };
    let Some((stored, choice)) = place.read()? else { return Ok(()) };
    match place.misfit(&stored).or_else(|| other_engine(&stored, &choice)) {
        Some(why) => {
            let bundle = bundle.display();
            eprintln!(
                "tuned: {} is not taken: {why}; run `anomalens tune {bundle}` again",
                stored.choice.join(" ")
            );
        }
        None => {
            eprintln!("tuned: {}", stored.describe());
            (*engine, *batch) = (choice.engine, Some(choice.batch));
            engine.tuned = Some(stored.describe());
        }
    }
    Ok(())
}

/// Why the engine is not the one that was measured, if it is not.
fn other_engine(stored: &Stored, choice: &Choice) -> Option<String> {
    match engine::open(&options::engine(&choice.engine)) {
        Ok(engine) => unlike("engine", &stored.engine, &engine.describe()),
        Err(error) => Some(describe(&error.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(cores: usize) -> Machine {
        Machine { processor: Some("a processor".into()), cores, system: "linux on x86_64".into() }
    }

    fn stored(place: &Place) -> Stored {
        let choice = Choice::of_words(&["--engine".into(), "tract".into(), "--batch".into(), "4".into()]);
        Stored::new(place, "2026-11-28".into(), &choice.unwrap(), "tract 0.1 (cpu)".into(), 0.5)
    }

    #[test]
    fn what_is_written_is_read_by_its_machine_and_bundle_alone() {
        let folder = tempfile::tempdir().unwrap();
        let place = |bundle: &str, cores| {
            Place::within(&folder.path().join("new"), bundle.repeat(64), machine(cores))
        };
        let here = place("a", 2);
        assert_eq!((here.read().unwrap(), here.forget().unwrap()), (None, false));
        here.write(&stored(&here)).unwrap();
        let (found, choice) = here.read().unwrap().unwrap();
        assert_eq!((found, choice.batch), (stored(&here), 4));
        assert_eq!([place("b", 2), place("a", 4)].map(|other| other.read().unwrap()), [None, None]);
        assert!(here.forget().unwrap());
        assert_eq!(here.read().unwrap(), None);
    }

    #[test]
    fn what_is_for_another_is_not_used() {
        let place = Place::within(Path::new("x"), "a".repeat(64), machine(2));
        assert_eq!(place.misfit(&stored(&place)), None);
        let misfit = |change: fn(&mut Stored)| {
            let mut stored = stored(&place);
            change(&mut stored);
            place.misfit(&stored).unwrap()
        };
        let of = misfit(|stored| stored.machine.cores = 64);
        assert!(
            of.contains("machine 'a processor, 64 cores") && of.contains("this is 'a processor, 2"),
            "{of}"
        );
        assert!(
            misfit(|stored| stored.tool = "anomalens 0.0.0".into()).contains("program 'anomalens 0.0.0'")
        );
        assert!(misfit(|stored| stored.bundle = "b".into()).contains("bundle 'b'"));
        let (stored, choice) = (stored(&place), Choice::of_words(&["--engine".into(), "tract".into()]));
        let why = other_engine(&stored, &choice.unwrap()).unwrap();
        assert!(why.contains("engine 'tract 0.1 (cpu)', this is 'tract"), "{why}");
    }

    #[test]
    fn a_damaged_file_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::within(folder.path(), "a".repeat(64), machine(2));
        place.write(&stored(&place)).unwrap();
        let text = fs::read_to_string(place.path()).unwrap();
        for (from, to, words) in [
            ("\"format\": 1", "\"format\": 2", "format 2, expected 1"),
            ("\"choice\"", "\"chance\"", "missing field `choice`"),
            ("\"tract\"", "\"torch\"", "torch"),
            ("{", "", "expected"),
        ] {
            assert!(text.contains(from), "{from}");
            fs::write(place.path(), text.replacen(from, to, 1)).unwrap();
            let error = place.read().unwrap_err().to_string();
            assert!(error.contains(words) && error.contains("run `anomalens tune BUNDLE` again"), "{error}");
        }
        fs::write(place.path(), [0xff, 0xfe]).unwrap();
        assert!(matches!(place.read(), Err(StoredError::Damaged { .. })));
        fs::remove_file(place.path()).unwrap();
        fs::create_dir(place.path()).unwrap();
        assert!(matches!(place.read(), Err(StoredError::Io { .. })));
    }
}
