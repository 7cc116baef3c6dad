//! Results to arrays, and every x_t to a file.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anomalens_method::translate::States;
use anomalens_models::output::{OutputError, OutputFolder};
use anyhow::Result;
use ndarray::{Array1, ArrayD, ArrayViewD, Axis};
use ndarray_npy::{NpzWriter, WritableElement, WriteNpyExt};
use tempfile::NamedTempFile;

use super::results::Results;

/// Writes `healthy.npy` [N, C, H, W], `map.npy` [N, H, W] and `mask.npy` [N, H, W], without N where the input had
/// none; no `healthy.npy` where the method makes no healthy version. `slices` is N; the images that failed are NaN, and empty
/// in the mask. Returns what was written: a word for each, and its file.
///
/// Errors: [`OutputError`]; those of reading a healthy version.
pub fn arrays(
    folder: &OutputFolder,
    slices: usize,
    batched: bool,
    results: &mut Results<'_>,
) -> Result<Vec<(String, Vec<String>)>> {
    let mut files = Vec::new();
    if results.heals() {
        let mut all = Whole::new(slices, batched, f32::NAN);
        for place in 0..results.slices().len() {
            if let Some(healthy) = results.healthy(place)? {
                all.put(results.slices()[place].slice, &healthy.pixels.view().into_dyn());
            }
        }
        all.write(folder, "healthy.npy")?;
        files.push("healthy");
    }
    let (mut maps, mut masks) = (Whole::new(slices, batched, f32::NAN), Whole::new(slices, batched, false));
    for result in results.slices() {
        maps.put(result.slice, &result.map.view().into_dyn());
        masks.put(result.slice, &result.mask.view().into_dyn());
    }
    maps.write(folder, "map.npy")?;
    masks.write(folder, "mask.npy")?;
    files.extend(["map", "mask"]);
    Ok(files.into_iter().map(|word| (word.to_owned(), vec![format!("{word}.npy")])).collect())
}

/// The arrays of all slices in one.
struct Whole<T> {
    slices: usize,
    batched: bool,
    absent: T,
    /// `None` before the first is known.
    array: Option<ArrayD<T>>,
}

impl<T: Clone + WritableElement> Whole<T> {
    fn new(slices: usize, batched: bool, absent: T) -> Self {
        Self { slices, batched, absent, array: None }
    }

    /// All slices of an array have one shape.
    fn put(&mut self, slice: usize, found: &ArrayViewD<'_, T>) {
        let all = self.array.get_or_insert_with(|| {
            let shape: Vec<usize> = [self.slices].iter().chain(found.shape()).copied().collect();
            ArrayD::from_elem(shape, self.absent.clone())
        });
        all.index_axis_mut(Axis(0), slice).assign(found);
    }

    fn write(self, folder: &OutputFolder, name: &str) -> Result<(), OutputError> {
        let all = self.array.expect("some slice was translated");
        let array = if self.batched { all } else { all.index_axis_move(Axis(0), 0) };
        let fail = |source| folder.error(name, source);
        let mut file = BufWriter::new(File::create(folder.path().join(name)).map_err(fail)?);
        array.write_npy(&mut file).map_err(|e| fail(io_error(&e)))?;
        file.flush().map_err(fail)
    }
}

/// A file for every x_t, begun before the work so that a place that cannot be written to is known at once. Dropped
/// unfinished, it leaves nothing.
pub struct TrajectoryFile {
    target: PathBuf,
    file: NamedTempFile,
}

impl TrajectoryFile {
    /// Begins the file, which must not exist. Where it is to stand in the output folder itself, it is built there.
    ///
    /// Errors: [`OutputError`].
    pub fn create(target: &Path, folder: &OutputFolder) -> Result<Self, OutputError> {
        let fail = |source| OutputError::new(target, source);
        let target = std::path::absolute(target).map_err(fail)?;
        let parent = target.parent().unwrap_or(&target);
        let inside = parent == folder.target();
        if target.exists() && !inside {
            return Err(fail(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file of that name")));
        }
        let place = if inside { folder.path() } else { parent };
        let mut builder = tempfile::Builder::new();
        builder.prefix(".partial-").suffix(".npz");
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666)); // less what the umask takes
        let file = builder.tempfile_in(place).map_err(fail)?;
        let target = match (inside, target.file_name()) {
            (true, Some(name)) => folder.path().join(name),
            _ => target,
        };
        Ok(Self { target, file })
    }

    /// Writes `encode` [S + 1, N, C, size, size], `decode` [S, N, C, size, size], their noise levels `encode_levels`
    /// and `decode_levels`, and `slices`: which images of the input the N are.
    ///
    /// Errors: [`OutputError`].
    pub fn write(&mut self, states: &States, slices: &[usize]) -> Result<(), OutputError> {
        let whole = |values: &mut dyn Iterator<Item = usize>| -> Array1<i64> {
            values.map(|v| i64::try_from(v).expect("levels and slices are small")).collect()
        };
        let file = self.file.as_file_mut();
        let mut npz = NpzWriter::new(BufWriter::new(file));
        let mut add = || -> Result<(), ndarray_npy::WriteNpzError> {
            npz.add_array("encode", &states.encode)?;
            npz.add_array("decode", &states.decode)?;
            npz.add_array("encode_levels", &whole(&mut states.encode_levels.iter().map(|l| l.get())))?;
            npz.add_array("decode_levels", &whole(&mut states.decode_levels.iter().map(|l| l.get())))?;
            npz.add_array("slices", &whole(&mut slices.iter().copied()))
        };
        let target = &self.target;
        add().map_err(|e| OutputError::new(target, io_error(&e)))?;
        let mut file = npz.finish().map_err(|e| OutputError::new(target, io_error(&e)))?;
        file.flush().map_err(|e| OutputError::new(target, e))
    }

    /// Flushes the file to the disk, gives it its name, and returns that.
    ///
    /// Errors: [`OutputError`].
    pub fn finish(self) -> Result<PathBuf, OutputError> {
        self.file.as_file().sync_all().map_err(|e| OutputError::new(&self.target, e))?;
        self.file.persist_noclobber(&self.target).map_err(|e| OutputError::new(&self.target, e.error))?;
        Ok(self.target)
    }
}

/// What the file system said, of an error that another crate has wrapped.
fn io_error(error: &(dyn std::error::Error + 'static)) -> io::Error {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return io::Error::new(io.kind(), io.to_string());
        }
        cause = error.source();
    }
    io::Error::other(error.to_string())
}
