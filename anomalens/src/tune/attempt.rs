//! One choice, in a process of its own: its networks timed, or the images translated that choices are compared by.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use anomalens_method::agreement::Change;
use anomalens_models::held_out::HeldOut;
use anomalens_models::image::{AnomalyMap, UnitImage};
use anomalens_models::manifest::Manifest;
use anomalens_models::preset::Preset;
use anomalens_runtime::engine;
use anyhow::{Context, Result, anyhow};
use indicatif::HumanDuration;
use ndarray::{Array3, Axis, stack};
use serde_json::{Value, json};

use super::args::{AttemptArgs, TuneArgs};
use super::choice::Choice;
use super::search::{Lab, Timed};
use crate::bench::{approach, waves};
use crate::child;
use crate::failure::Usage;
use crate::progress::Progress;
use crate::translate::options;
use crate::translator::{Pace, Translator};

/// The verb that makes one.
const VERB: &str = "tune-attempt";
/// Images that choices are compared by where none are held out.
const WAVES: usize = 2;
/// How often networks are timed. The shortest time counts: whatever else a machine does makes it longer alone.
const TURNS: usize = 2;

/// What choices are compared by.
pub struct Pictures {
    images: Vec<UnitImage>,
    truths: Option<Vec<Vec<bool>>>,
    /// SHA-256 of the held-out pixels, if there are some.
    pub held_out: Option<String>,
}

impl Pictures {
    /// Held-out images of a folder; without one, two that show nothing.
    ///
    /// Errors: those of reading them.
    pub fn read(held_out: Option<&Path>, preset: &Preset) -> Result<Self> {
        let Some(folder) = held_out else {
            return Ok(Self { images: waves(preset, WAVES)?, truths: None, held_out: None });
        };
        let found = HeldOut::read(folder, preset)?;
        Ok(Self {
            images: found.images().to_vec(),
            truths: found.truths().map(<[_]>::to_vec),
            held_out: Some(found.sha256().to_owned()),
        })
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.images.len()
    }
}

/// Makes the attempt, in this process.
///
/// Errors: [`Usage`]; those of the engine, the bundle, the images and the method.
pub fn run(args: &AttemptArgs) -> Result<Value> {
    let manifest = Manifest::read(&args.bundle)?;
    let approach = approach(&args.path, args.choice.batch, &manifest).map_err(Usage::new)?;
    approach.check(&args.bundle, &manifest).map_err(Usage::new)?;
    let engine = engine::open(&options::engine(&args.choice.engine))?;
    let mut translator = Translator::open(&args.bundle, engine.as_ref(), args.unverified, approach)?;
    let seconds = match &args.maps {
        None => {
            let images = waves(&manifest.preset, args.choice.batch)?;
            let turns = (0..TURNS).map(|_| translator.pace(&images)).collect::<Option<Vec<_>>>();
            let turns = turns.ok_or_else(|| untimed(args.choice.batch))?;
            let batch = turns.iter().map(Pace::batch).min().unwrap_or_default();
            batch.as_secs_f64() / images.len() as f64
        }
        Some(path) => {
            let images = Pictures::read(args.held_out.as_deref(), &manifest.preset)?.images;
            let mut progress = Progress::start();
            let made =
                translator.run(&images, &mut |place, done, total| progress.step(place, done, total))?;
            write(path, &made.maps)?;
            made.time.as_secs_f64() / images.len() as f64
        }
    };
    Ok(json!({ "seconds": seconds, "engine": engine.describe() }))
}

fn untimed(batch: usize) -> anyhow::Error {
    anyhow!(
        "a network fails with {batch} images at once, for want of memory or as `anomalens bench` will say"
    )
}

fn write(path: &Path, maps: &[AnomalyMap]) -> Result<()> {
    let planes: Vec<_> = maps.iter().map(|map| map.values().view()).collect();
    ndarray_npy::write_npy(path, &stack(Axis(0), &planes)?).with_context(|| path.display().to_string())
}

fn read(path: &Path) -> Result<Vec<AnomalyMap>> {
    let planes: Array3<f32> = ndarray_npy::read_npy(path).with_context(|| path.display().to_string())?;
    Ok(planes.outer_iter().map(|plane| AnomalyMap::from_values(plane.to_owned())).collect())
}

/// Makes attempts in processes of their own, and says what comes of them.
pub struct Children<'a> {
    /// What they are all told.
    pub args: &'a TuneArgs,
    /// What choices are compared by.
    pub pictures: &'a Pictures,
}

impl Children<'_> {
    fn attempt(&self, choice: &Choice, maps: Option<&Path>) -> Result<Timed> {
        let Self { args, .. } = self;
        let mut words: Vec<OsString> = vec![VERB.into(), args.bundle.clone().into()];
        words.extend(choice.words().into_iter().chain(args.path.words()).map(OsString::from));
        if args.unverified {
            words.push("--unverified".into());
        }
        for (name, path) in [("--held-out", args.held_out.as_deref()), ("--maps", maps)] {
            words.extend(path.into_iter().flat_map(|path| [name.into(), path.into()]));
        }
        let found = child::run(&words, &mut |line| eprintln!("  {line}"))?;
        let (seconds, engine) = (found["seconds"].as_f64(), found["engine"].as_str());
        let (seconds, engine) = seconds.zip(engine).context("the figures of a measurement")?;
        Ok(Timed { seconds, engine: engine.to_owned() })
    }
}

impl Lab for Children<'_> {
    fn time(&mut self, choice: &Choice) -> Result<Timed> {
        let timed = self.attempt(choice, None);
        match &timed {
            Ok(Timed { seconds, engine }) => eprintln!("{choice}: {seconds:.3} s a slice, by {engine}"),
            Err(error) => eprintln!("{choice}: {}", crate::failure::describe(error)),
        }
        timed
    }

    fn maps(&mut self, choice: &Choice, seconds: f64) -> Result<Vec<AnomalyMap>> {
        let n = self.pictures.count();
        let time = HumanDuration(Duration::from_secs_f64(seconds * n as f64));
        eprintln!("{choice}: translates {n} images to compare, about {time}");
        let folder = tempfile::tempdir().context("a folder for anomaly maps; make room, or set TMPDIR")?;
        let path = folder.path().join("maps.npy");
        self.attempt(choice, Some(&path))?;
        read(&path)
    }

    fn change(&self, found: &[AnomalyMap], expected: &[AnomalyMap]) -> Result<Change> {
        let Pictures { images, truths, .. } = self.pictures;
        Ok(Change::between(found, expected, images, truths.as_deref())?)
    }
}
