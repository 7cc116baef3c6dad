//! Reading: from a file or a folder to a stack of images.

mod channels;
mod contrast;
mod encoding;
mod file;
mod lengths;
mod mask;
mod multiframe;
mod part10;
mod pixels;
mod plane;
mod resample;
mod stack;
mod syntax;
mod unknown;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anomalens_models::image::normalise::{CT_FLOOR, NormaliseError, Normaliser};
use anomalens_models::preset::ImageSpec;
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;
use ndarray::{Array2, Array3, Axis, Zip};

use crate::attributes::{numbers, text};
use crate::error::ReadError;
use crate::geometry::Geometry;

pub use contrast::{Acquisition, Weighting};
pub use encoding::{Encoding, Table};
pub(crate) use file::MANUFACTURER;
pub use mask::{MaskError, PlacedMask};
pub use pixels::StoredPixels;
use plane::Opened;

/// What is in a file or folder: the series that could be translated, and what was left out and why.
#[derive(Debug, Clone)]
pub struct Inventory {
    /// Where it was looked.
    pub path: PathBuf,
    /// Series in order of their first file.
    pub series: Vec<Series>,
    /// Files left out, with the reason, e.g. `a DICOMDIR`.
    pub skipped: Vec<(PathBuf, String)>,
}

/// One series of an inventory; slices not yet sorted.
#[derive(Debug, Clone)]
pub struct Series {
    /// Series Instance UID (0020,000E).
    pub uid: String,
    /// Modality (0008,0060).
    pub modality: String,
    /// Series Description (0008,103E) and Protocol Name (0018,1030), as far as they are there.
    pub description: String,
    /// One a frame, at least one.
    pub images: Vec<Arc<Source>>,
}

/// A source object: everything but its pixels.
#[derive(Clone)]
pub struct Source {
    /// The file.
    pub path: PathBuf,
    /// SOP Class UID (0008,0016).
    pub sop_class: String,
    /// Which frame of a multi-frame object, from 0; none where the object is a single image.
    pub frame: Option<usize>,
    /// The data set without its pixels; of a frame, what is said of it alone stands where a single image has it. Text holds one character a byte of the file, whatever its character set.
    pub object: InMemDicomObject,
    /// Specific Character Set (0008,0005) as it stands in the file.
    pub charset: Option<Vec<u8>>,
    /// Transfer syntax UID.
    pub transfer_syntax: String,
    /// Where it lies.
    pub geometry: Geometry,
    /// Its pixels come out of a series on another grid, by interpolation (see [`read()`]); then the attributes of place are
    /// those of the reference channel's slice, all others those of the nearest slice.
    pub resampled: bool,
    pub(crate) has_float_pixels: bool,
}

/// One slice of the stack, with all its channels.
#[derive(Debug, Clone)]
pub struct SourceSlice {
    /// Place in the stack, from 0.
    pub index: usize,
    /// [C, H, W] in the source's rescaled units (e.g. HU), MONOCHROME1 inverted so that more is brighter.
    pub pixels: Array3<f32>,
    /// [C, H, W]: where the source says that there is no pixel (Pixel Padding Value); none where it never does.
    pub padding: Option<Array3<bool>>,
    /// The source object of each channel, in network order.
    pub sources: Vec<Arc<Source>>,
}

/// A stack of slices on one grid, ready to be normalised.
#[derive(Debug, Clone)]
pub struct Study {
    /// Channel names in network order.
    pub channels: Vec<String>,
    /// The intensity of each channel that becomes 0, in the source's units: what [`Normaliser::fit`] wants.
    pub floors: Vec<f32>,
    /// Slices sorted along the normal.
    pub slices: Vec<SourceSlice>,
    /// Every decision taken while reading, one sentence each, for `inspect` and the report.
    pub decisions: Vec<String>,
    /// What a person should look at.
    pub warnings: Vec<String>,
}

/// Lists the series in a file or (recursively) in a folder. A file that is no image is an error where it is
/// named itself, and left out with a reason where it lies in a folder; a damaged one is always an error, since
/// leaving it out would open a gap.
///
/// Errors: [`ReadError`].
pub fn scan(path: &Path) -> Result<Inventory, ReadError> {
    let mut inventory = Inventory { path: path.to_owned(), series: Vec::new(), skipped: Vec::new() };
    let mut files = Vec::new();
    list(path, &mut files)?;
    let mut series = BTreeMap::<String, usize>::new();
    for file in &files {
        let sources = match file::open(file) {
            Ok(sources) => sources,
            Err(e) => {
                let reason = match e {
                    e if file == path => return Err(e),
                    ReadError::NotAnImage { found, .. } => found,
                    ReadError::NotDicom { .. } => "not a DICOM file".to_owned(),
                    ReadError::NoPixelData { .. } => "an image without pixel data".to_owned(),
                    e => return Err(e),
                };
                inventory.skipped.push((file.clone(), reason));
                continue;
            }
        };
        let object = &sources[0].object;
        let uid = text(object, tags::SERIES_INSTANCE_UID).unwrap_or_default();
        let place = *series.entry(uid.clone()).or_insert_with(|| {
            let words = [tags::SERIES_DESCRIPTION, tags::PROTOCOL_NAME].map(|tag| text(object, tag));
            inventory.series.push(Series {
                uid,
                modality: text(object, tags::MODALITY).unwrap_or_default(),
                description: words.into_iter().flatten().collect::<Vec<_>>().join(", "),
                images: Vec::new(),
            });
            inventory.series.len() - 1
        });
        inventory.series[place].images.extend(sources.into_iter().map(Arc::new));
    }
    if inventory.series.is_empty() {
        let reasons = inventory.reasons();
        let reasons = if reasons.is_empty() { reasons } else { format!(" ({reasons})") };
        return Err(ReadError::Empty { path: path.to_owned(), files: files.len(), reasons });
    }
    Ok(inventory)
}

/// Reads the stack that a bundle wants: `image` says which channels, `overrides` names a file or folder for
/// some of them. Where every channel is named, `input` is not looked at.
///
/// The grid is that of the first channel. A series on another grid of the same frame of reference is resampled onto it,
/// trilinear in patient coordinates; a warning says so, and [`Source::resampled`].
///
/// Errors: [`ReadError`].
pub fn read(input: &Path, image: &ImageSpec, overrides: &[(String, PathBuf)]) -> Result<Study, ReadError> {
    let (mut decisions, mut warnings) = (Vec::new(), Vec::new());
    let chosen = channels::choose(input, &image.channels, overrides, &mut decisions, &mut warnings)?;
    let mut stacks = Vec::new();
    for (spec, series) in image.channels.iter().zip(&chosen) {
        stacks.push(stack::sort(&spec.name, series, &mut decisions, &mut warnings)?);
    }
    let floors: Vec<f32> = stacks.iter().map(|stack| floor_of(&stack[0])).collect();
    let mut resampled = Vec::new();
    for ((spec, stack), floor) in image.channels.iter().zip(&stacks).zip(&floors) {
        if stack::on_grid(stack, &stacks[0])? {
            resampled.push(None);
            continue;
        }
        let channel = resample::resample(&spec.name, stack, &stacks[0], *floor)?;
        let first = &image.channels[0].name;
        warnings.push(format!(
            "channel '{}' was resampled onto the grid of channel '{first}': its results lie there, and small detail is smoothed",
            spec.name
        ));
        decisions.push(channel.decision.clone());
        resampled.push(Some(channel));
    }
    let mut notes = BTreeMap::<String, usize>::new();
    let mut opened: Vec<Opened> = stacks.iter().map(|_| Opened::default()).collect();
    let mut slices = Vec::new();
    for index in 0..stacks[0].len() {
        let (mut sources, mut planes) = (Vec::new(), Vec::new());
        for c in 0..stacks.len() {
            let (source, plane) = match &mut resampled[c] {
                Some(channel) => (channel.sources[index].clone(), channel.take(index)),
                None => (stacks[c][index].clone(), opened[c].decode(&stacks[c][index])?),
            };
            for note in &plane.notes {
                *notes.entry(note.clone()).or_default() += 1;
            }
            sources.push(source);
            planes.push(plane);
        }
        let (pixels, padding) = plane::stack(&planes);
        slices.push(SourceSlice { index, pixels, padding, sources });
    }
    for (spec, stack) in image.channels.iter().zip(&stacks) {
        decisions.push(say_encoding(&spec.name, &stack[0])?);
    }
    decisions.extend(notes.into_iter().map(|(note, n)| format!("{note} ({n} images)")));
    let channels = image.channels.iter().map(|c| c.name.clone()).collect();
    Ok(Study { channels, floors, slices, decisions, warnings })
}

/// Without the data set: names and identifiers do not belong into a log.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Source");
        debug.field("path", &self.path).field("sop_class", &self.sop_class).field("frame", &self.frame);
        debug.field("geometry", &self.geometry);
        debug.finish_non_exhaustive()
    }
}

impl Series {
    /// What an MR series is weighted by, as far as its acquisition says it with certainty.
    pub fn acquisition(&self) -> Option<Acquisition> {
        contrast::acquisition(&self.images[0])
    }
}

impl Source {
    /// Modality (0008,0060).
    pub fn modality(&self) -> Option<String> {
        text(&self.object, tags::MODALITY)
    }

    /// The SOP class of a single image like this one: [`Source::sop_class`], but of a frame of an enhanced object
    /// MR or CT Image Storage.
    pub fn single_frame_class(&self) -> &str {
        multiframe::single_frame_class(&self.sop_class).unwrap_or(&self.sop_class)
    }
}

impl Study {
    /// The sides of a voxel of the grid, mm: from slice to slice along the normal (of a single slice its thickness), from row
    /// to row, from column to column. None where the slices do not say it.
    pub fn sides(&self) -> Option<[f64; 3]> {
        let first = &self.slices[0].sources[0];
        let [row, column] = first.geometry.spacing?;
        let low = first.geometry.place()?;
        let n = self.slices.len();
        let between = match n {
            1 => numbers::<1>(&first.object, tags::SLICE_THICKNESS).ok().flatten()?[0],
            _ => (self.slices[n - 1].sources[0].geometry.place()? - low) / (n - 1) as f64,
        };
        Some([between, row, column])
    }

    /// Measures the normalisation of each channel over the whole stack, padding left out; `percentile` in (0, 100].
    ///
    /// Errors: [`NormaliseError`], naming the channel.
    pub fn normalisers(&self, percentile: f64) -> Result<Vec<Normaliser>, NormaliseError> {
        let fit = |(c, (name, floor)): (usize, (&String, &f32))| {
            let what = format!("channel '{name}', {} slice(s)", self.slices.len());
            let planes: Vec<Array2<f32>> =
                self.slices.iter().map(|slice| slice.without_padding(c, *floor)).collect();
            Normaliser::fit(&what, planes.iter().map(|plane| plane.view()), percentile, *floor)
        };
        self.channels.iter().zip(&self.floors).enumerate().map(fit).collect()
    }
}

impl SourceSlice {
    /// Height and width.
    pub fn size(&self) -> [usize; 2] {
        [self.pixels.dim().1, self.pixels.dim().2]
    }

    /// The slice [C, H, W] in [0, 1]; `normalisers`: one a channel. Padding is 0.
    pub fn normalised(&self, normalisers: &[Normaliser]) -> Array3<f32> {
        let mut unit = self.pixels.clone();
        for (c, (mut plane, normaliser)) in unit.axis_iter_mut(Axis(0)).zip(normalisers).enumerate() {
            let values = normaliser.apply(self.without_padding(c, normaliser.floor).view());
            plane.assign(&values);
        }
        unit
    }

    /// Channel `c` [H, W], padding at `floor`, which counts as zero.
    fn without_padding(&self, c: usize, floor: f32) -> Array2<f32> {
        let mut plane = self.pixels.index_axis(Axis(0), c).to_owned();
        if let Some(padding) = &self.padding {
            Zip::from(&mut plane).and(padding.index_axis(Axis(0), c)).for_each(|value, padded| {
                if *padded {
                    *value = floor;
                }
            });
        }
        plane
    }
}

impl Inventory {
    /// Why files were left out, most frequent first: `3 x not a DICOM file, 1 x a DICOMDIR`.
    fn reasons(&self) -> String {
        let mut count = BTreeMap::<&str, usize>::new();
        for (_, reason) in &self.skipped {
            *count.entry(reason).or_default() += 1;
        }
        let mut reasons: Vec<_> = count.into_iter().collect();
        reasons.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
        reasons.iter().map(|(reason, n)| format!("{n} x {reason}")).collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for Inventory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for series in &self.series {
            let first = &series.images[0];
            let [h, w] = first.geometry.size;
            let n = series.images.len();
            let what = if series.description.is_empty() { "no description" } else { &series.description };
            writeln!(f, "{} series '{what}': {n} image(s), {h} x {w}", series.modality)?;
            if let Some(acquired) = series.acquisition() {
                writeln!(f, "  acquired as {}: {}", acquired.weighting.name(), acquired.why)?;
            }
            match say_encoding("  pixels", first) {
                Ok(text) => writeln!(f, "{text}")?,
                Err(e) => writeln!(f, "  cannot be translated: {e}")?,
            }
        }
        if !self.skipped.is_empty() {
            writeln!(f, "left out: {}", self.reasons())?;
        }
        Ok(())
    }
}

/// CT is measured from air; everything else from zero (see [`anomalens_models::image::normalise`]).
fn floor_of(source: &Source) -> f32 {
    if source.single_frame_class() == uids::CT_IMAGE_STORAGE { CT_FLOOR } else { 0.0 }
}

/// How the pixels of a channel are read, in one sentence.
fn say_encoding(name: &str, source: &Source) -> Result<String, ReadError> {
    let e = Encoding::of(source)?;
    let sign = if e.signed { "signed" } else { "unsigned" };
    let rescaled = match &e.table {
        Some(table) => format!("by a table of {} entries", table.entries.len()),
        None => format!("rescaled by {} and {}", e.slope, e.intercept),
    };
    let syntax = syntax::name_of(&source.transfer_syntax);
    let mut text =
        format!("{name}: {} of {} bits, {sign}, {syntax}; {rescaled}", e.bits_stored, e.bits_allocated);
    let photometric = text_of(source, tags::PHOTOMETRIC_INTERPRETATION);
    match (photometric.as_str(), e.inverted) {
        ("MONOCHROME1", true) => text += "; MONOCHROME1: inverted",
        ("MONOCHROME1", false) => {
            text += "; MONOCHROME1 only says how to show Hounsfield units: not inverted"
        }
        _ => {}
    }
    let floor = floor_of(source);
    if floor != 0.0 {
        text += &format!("; {floor} counts as zero");
    }
    Ok(text)
}

fn text_of(source: &Source, tag: dicom_core::Tag) -> String {
    text(&source.object, tag).unwrap_or_default()
}

/// The files under `path` (itself, where it is one), sorted.
fn list(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), ReadError> {
    let io = |source| ReadError::Io { path: path.to_owned(), source };
    if !std::fs::metadata(path).map_err(io)?.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(path).map_err(io)? {
        let entry = entry.map_err(io)?;
        // A link to a folder could lead round in a circle; a link to a file cannot.
        if !(entry.file_type().map_err(io)?.is_symlink() && entry.path().is_dir()) {
            entries.push(entry.path());
        }
    }
    entries.sort();
    entries.iter().try_for_each(|entry| list(entry, files))
}
