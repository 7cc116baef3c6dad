//! `translate`: images in; their healthy version, the anomaly map and the mask out; by saliency, the map and the mask.

mod account;
mod array;
mod brain;
mod chosen;
mod fitness;
mod input;
mod kept;
mod nifti;
mod objects;
pub mod options;
mod result;
mod results;
mod work;
mod write;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anomalens_dicom_bridge::MapScale;
use anomalens_method::translate::{FirstNoise, Procedure};
use anomalens_models::image::UnitImage;
use anomalens_models::manifest::Manifest;
use anomalens_models::output::OutputFolder;
use anomalens_runtime::bundle::Bundle;
use anomalens_runtime::engine;
use anyhow::{Result, bail};
use ndarray::Axis;

use crate::args::TranslateArgs;
use crate::failure::{Outcome, describe};
use crate::interrupt::{Interrupted, Stopped};
use crate::progress::Progress;
use crate::translator::{Approach, Translator};
use crate::{interrupt, picture, report, tune};

use account::Account;
pub use array::read as read_array;
pub use brain::BrainArgs;
use chosen::Chosen;
pub use chosen::WriteArgs;
pub use fitness::FitnessArgs;
use input::Origin;
pub use input::{Input, is_array};
use kept::Store;
use objects::ObjectWriter;
use result::SliceResult;
use results::Results;
use write::TrajectoryFile;

/// A slice that could not be translated: its number and why.
struct Failed {
    slice: usize,
    why: String,
}

/// Runs the command. Nothing is left behind but by success, and finished batches where there are some.
///
/// Errors: everything that can be wrong with the input, the bundle, the options and the output.
pub fn run(mut args: TranslateArgs) -> Result<Outcome> {
    interrupt::catch()?;
    tune::apply(&args.bundle, &mut args.engine, &mut args.batch)?;
    let args = &args;
    let manifest = Manifest::read(&args.bundle)?;
    let mut approach = options::approach(args, &manifest)?;
    let folder = OutputFolder::resume(&args.out)?;
    let mut trajectory =
        args.trajectory.as_ref().map(|path| TrajectoryFile::create(path, &folder)).transpose()?;

    let (read, opened) = std::thread::scope(|scope| {
        // The bundle's graphs are made ready while the study is read.
        let opening = scope.spawn(|| timed(|| open(args)));
        let read = timed(|| Input::read(&args.input, &manifest.preset, &args.channels, &args.brain));
        (read, opening.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let ((input, read_time), (opened, open_time)) = (read, opened);
    let input = input?;
    let chosen = args.write.choose(&input.origin, approach.method())?;
    let (kept, images, failed) = frame(&input)?;
    keep_noise_of(&mut approach, &kept, input.slices.len());

    let bundle = opened?;
    let (hash, engine_name) = (bundle.hash.clone(), bundle.engine.clone());
    let settings = kept::settings(args, &hash, &engine_name, &approach, &images);
    let mut account = Account::new(args, &manifest, hash, engine_name, &approach, &input);
    account.beginning(&failed);
    interrupt::check()?;
    let mut translator = Translator::new(bundle, approach);

    let mut progress = Progress::start();
    let mut compared = |place: &str, done, total| progress.step(place, done, total);
    let fits = fitness::examine(args, &manifest, &mut translator, &input, (&kept, &images), &mut compared);
    progress.finish();
    account.set_fits(fits?);

    // Every x_t is in memory until all are there: it is done in one piece, or again.
    let (batch, lasting) = if trajectory.is_some() { (images.len(), false) } else { (args.batch(), true) };
    let parts = folder.kept().expect("it was opened to be resumed");
    let mut store = Store::open(parts, &settings, translator.method(), [images.len(), batch], lasting)?;
    account.found(&store);

    let mut conclude = |store: &mut Store| -> Result<()> {
        work::all(&mut translator, &images, store, &mut |states| match &mut trajectory {
            Some(file) => Ok(file.write(states, &kept)?),
            None => Ok(()),
        })?;
        let began = Instant::now();
        let (time, calls) = (store.time(), translator.calls(images.len().div_ceil(args.batch())));
        let mut results = Results::new(&input, &kept, &images, store, account.method())?;
        let (pictures, files) = write_slices(&folder, &input, &chosen, &account, &mut results)?;
        let timings = timings(read_time, open_time, time, began.elapsed(), &calls);
        let report = account.report(results.slices(), &failed, pictures, files, timings);
        folder.write("report.html", report::html(&report)?.as_bytes())?;
        Ok(interrupt::check()?)
    };
    conclude(&mut store).map_err(|error| stopped(error, &store))?;
    finish(folder, trajectory).map_err(|error| stopped(error, &store))?;
    account.end(kept.len(), &failed);
    Ok(if failed.is_empty() { Outcome::Done } else { Outcome::Partial })
}

/// Opens the engine and the bundle.
fn open(args: &TranslateArgs) -> Result<Bundle> {
    let engine = engine::open(&options::engine(&args.engine))?;
    Ok(Bundle::open(&args.bundle, engine.as_ref(), args.unverified)?)
}

/// A value, and how long it took.
fn timed<T>(make: impl FnOnce() -> T) -> (T, Duration) {
    let began = Instant::now();
    (make(), began.elapsed())
}

/// Says with an error what the next run need not do again.
fn stopped(error: anyhow::Error, store: &Store) -> anyhow::Error {
    let (done, total) = (store.finished(), store.images());
    if done == 0 {
        return error;
    }
    let stopped = Stopped { done, total, kept: store.place().to_owned() };
    if error.is::<Interrupted>() {
        return stopped.into();
    }
    eprintln!("{}", stopped.kept());
    error
}

/// The pictures that the report shows, as PNG files, with their slices; and what was written: a word for each kind of
/// result, and its files.
type Shown = (Vec<(usize, Vec<u8>)>, Vec<(String, Vec<String>)>);

/// Writes pictures and results.
fn write_slices(
    folder: &OutputFolder,
    input: &Input,
    chosen: &Chosen,
    account: &Account<'_>,
    results: &mut Results<'_>,
) -> Result<Shown> {
    let full_scale = results.slices().iter().map(SliceResult::maximum).fold(0.0, f32::max);
    let shown = most_anomalous(results.slices());
    let slices = input.slices.len();
    let mut files = Vec::new();
    let mut objects = match &input.origin {
        Origin::Dicom(study, normalisers) => {
            let scale = MapScale::for_maximum(full_scale, account.map_of());
            let (kinds, provenance) = (chosen.objects.clone(), account.provenance());
            Some(ObjectWriter::new(folder, study, kinds, normalisers, scale, provenance))
        }
        Origin::Array { batched } => {
            files.extend(write::arrays(folder, slices, *batched, results)?);
            None
        }
    };
    let (mut pictures, mut all) = (Vec::new(), Vec::new());
    let (n, mut progress) = (results.slices().len(), Progress::start());
    for i in 0..n {
        interrupt::check()?;
        let healthy = results.healthy(i)?;
        let result = &results.slices()[i];
        let picture = account.picture(result, healthy.as_ref(), full_scale);
        let (name, png) = (format!("{:04}-picture.png", result.slice + 1), picture::png(&picture)?);
        folder.write(&name, &png)?;
        all.push(name);
        if let Some(objects) = &mut objects {
            objects.slice(result, healthy.as_ref(), picture)?;
        }
        if shown.contains(&i) {
            pictures.push((result.slice, png));
        }
        progress.step("write", i + 1, n);
    }
    progress.finish();
    if let Some(mut objects) = objects {
        objects.stack(results.slices())?;
        files.extend(objects.files());
    }
    if chosen.npy {
        files.extend(write::arrays(folder, slices, true, results)?);
    }
    if let Some(lattice) = &chosen.nifti {
        files.extend(nifti::write(folder, lattice, &input.channels, slices, results)?);
    }
    files.push(("picture, PNG".to_owned(), all));
    Ok((pictures, files))
}

/// A report with more pictures is too large to be mailed, or read.
const SHOWN: usize = 20;

/// The results whose pictures the report shows: those with the largest mean of the map.
fn most_anomalous(results: &[SliceResult]) -> BTreeSet<usize> {
    let mut order: Vec<usize> = (0..results.len()).collect();
    order.sort_by(|&a, &b| results[b].mean().total_cmp(&results[a].mean()));
    order.into_iter().take(SHOWN).collect()
}

/// The slices as the network sees them: their numbers, the images, and those that are none.
///
/// Errors: where none is left, the first one's.
fn frame(input: &Input) -> Result<(Vec<usize>, Vec<UnitImage>, Vec<Failed>)> {
    let (mut kept, mut images, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for (slice, source) in input.slices.iter().enumerate() {
        match source.framed() {
            Ok(image) => {
                kept.push(slice);
                images.push(image);
            }
            Err(why) => failed.push(Failed { slice, why: describe(&why.into()) }),
        }
    }
    if let (true, Some(first)) = (kept.is_empty(), failed.first()) {
        match failed.len() {
            1 => bail!("{}", first.why),
            n => bail!("all {n} slices failed; the first: {}", first.why),
        }
    }
    Ok((kept, images, failed))
}

/// Where slices were left out, their noise is, too.
fn keep_noise_of(approach: &mut Approach, kept: &[usize], slices: usize) {
    if let Approach::Guided(options) = approach
        && let Procedure::Reference { first_noise: FirstNoise::Array(noise), .. } = &mut options.procedure
        && noise.len_of(Axis(0)) == slices
    {
        *noise = noise.select(Axis(0), kept);
    }
}

fn timings(
    read: Duration,
    open: Duration,
    translate: Duration,
    write: Duration,
    calls: &[(usize, &str)],
) -> Vec<(String, String)> {
    let seconds = |duration: Duration| format!("{:.2} s", duration.as_secs_f64());
    let calls: Vec<_> = calls.iter().map(|(n, network)| format!("{n} {network}")).collect();
    let rows = [
        ("read and normalise", seconds(read)),
        ("open engine and bundle", seconds(open)),
        ("translate", seconds(translate)),
        ("write", seconds(write)),
        ("network calls", calls.join(", ")),
    ];
    rows.map(|(name, value)| (name.to_owned(), value)).to_vec()
}

/// Gives everything its name, or nothing.
fn finish(folder: OutputFolder, trajectory: Option<TrajectoryFile>) -> Result<()> {
    let trajectory = trajectory.map(TrajectoryFile::finish).transpose()?;
    if let Err(error) = folder.finish() {
        if let Some(path) = trajectory {
            let _ = std::fs::remove_file(path);
        }
        return Err(error.into());
    }
    Ok(())
}
