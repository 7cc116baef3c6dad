//! `translate`: images in; their healthy version, the anomaly map and the mask out; by saliency, the map and the mask.

mod account;
mod array;
mod brain;
mod chosen;
mod fitness;
mod input;
mod nifti;
mod objects;
pub mod options;
mod result;
mod write;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anomalens_dicom_bridge::MapScale;
use anomalens_method::translate::{FirstNoise, Procedure};
use anomalens_models::image::UnitImage;
use anomalens_models::manifest::Manifest;
use anomalens_models::output::OutputFolder;
use anomalens_runtime::engine;
use anyhow::{Result, bail};
use ndarray::Axis;

use crate::args::TranslateArgs;
use crate::failure::{Outcome, describe};
use crate::progress::Progress;
use crate::translator::{Approach, Made, Translator};
use crate::{interrupt, picture, report};

use account::Account;
pub use array::read as read_array;
pub use brain::BrainArgs;
use chosen::Chosen;
pub use chosen::WriteArgs;
pub use fitness::FitnessArgs;
use input::Origin;
pub use input::{Input, is_array};
use objects::ObjectWriter;
use result::{ResultError, SliceResult};
use write::TrajectoryFile;

/// A slice that could not be translated: its number and why.
struct Failed {
    slice: usize,
    why: String,
}

/// Runs the command. Nothing is left behind but by success.
///
/// Errors: everything that can be wrong with the input, the bundle, the options and the output.
pub fn run(args: &TranslateArgs) -> Result<Outcome> {
    interrupt::catch()?;
    let manifest = Manifest::read(&args.bundle)?;
    let mut approach = options::approach(args, &manifest)?;
    let folder = OutputFolder::create(&args.out)?;
    let mut trajectory =
        args.trajectory.as_ref().map(|path| TrajectoryFile::create(path, &folder)).transpose()?;

    let began = Instant::now();
    let input = Input::read(&args.input, &manifest.preset, &args.channels, &args.brain)?;
    let chosen = args.write.choose(&input.origin, approach.method())?;
    let (kept, images, failed) = frame(&input)?;
    keep_noise_of(&mut approach, &kept, input.slices.len());
    let read_time = began.elapsed();

    let began = Instant::now();
    let engine = engine::open(&options::engine(&args.engine))?;
    let hash = Manifest::bundle_hash(&args.bundle)?;
    let mut account = Account::new(args, &manifest, hash, engine.describe(), &approach, &input);
    account.beginning(&failed);
    interrupt::check()?;
    let mut translator = Translator::open(&args.bundle, engine.as_ref(), args.unverified, approach)?;
    let open_time = began.elapsed();

    let mut progress = Progress::start();
    let examined = fitness::examine(
        args,
        &manifest,
        &mut translator,
        &input,
        (&kept, &images),
        &mut |place, done, total| {
            progress.step(place, done, total);
        },
    );
    progress.finish();
    account.set_fits(examined?);

    let mut progress = Progress::start();
    let made = translator.run(&images, &mut |place, done, total| progress.step(place, done, total));
    progress.finish();
    let made = made?;
    if let (Some(file), Some(states)) = (&mut trajectory, &made.trajectory) {
        file.write(states, &kept)?;
    }

    let began = Instant::now();
    let results = results(&input, &kept, &images, &made)?;
    let (pictures, files) = write_slices(&folder, &input, &chosen, &account, &results)?;
    let timings = timings(read_time, open_time, &made, began.elapsed());
    let report = account.report(&results, &failed, pictures, files, timings);
    folder.write("report.html", report::html(&report)?.as_bytes())?;
    interrupt::check()?;
    finish(folder, trajectory)?;
    account.end(&results, &failed);
    Ok(if failed.is_empty() { Outcome::Done } else { Outcome::Partial })
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
    results: &[SliceResult],
) -> Result<Shown> {
    let full_scale = results.iter().map(SliceResult::maximum).fold(0.0, f32::max);
    let shown = most_anomalous(results);
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
    for (i, result) in results.iter().enumerate() {
        interrupt::check()?;
        let picture = account.picture(result, full_scale);
        let (name, png) = (format!("{:04}-picture.png", result.slice + 1), picture::png(&picture)?);
        folder.write(&name, &png)?;
        all.push(name);
        if let Some(objects) = &mut objects {
            objects.slice(result, picture)?;
        }
        if shown.contains(&i) {
            pictures.push((result.slice, png));
        }
    }
    if let Some(mut objects) = objects {
        objects.stack(results)?;
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

fn results(
    input: &Input,
    kept: &[usize],
    images: &[UnitImage],
    made: &Made,
) -> Result<Vec<SliceResult>, ResultError> {
    let each = kept.iter().zip(images).zip(&made.maps).enumerate();
    each.map(|(place, ((&index, image), map))| {
        let x0 = made.healthy.as_ref().map(|healthy| healthy.index_axis(Axis(0), place));
        SliceResult::new(index, &input.slices[index], image, x0, map)
    })
    .collect()
}

fn timings(read: Duration, open: Duration, made: &Made, write: Duration) -> Vec<(String, String)> {
    let seconds = |duration: Duration| format!("{:.2} s", duration.as_secs_f64());
    let calls: Vec<_> = made.calls.iter().map(|(n, network)| format!("{n} {network}")).collect();
    let mut rows = vec![("read and normalise", seconds(read)), ("open engine and bundle", seconds(open))];
    rows.extend(made.times.iter().map(|(part, time)| (*part, seconds(*time))));
    rows.extend([("write", seconds(write)), ("network calls", calls.join(", "))]);
    rows.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
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
