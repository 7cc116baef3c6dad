//! Results to arrays, and every x_t to a file.

use std::io::{self, BufWriter, Cursor, Write};
use std::path::{Path, PathBuf};

use anomalens_method::translate::States;
use anomalens_models::output::{OutputError, OutputFolder};
use ndarray::{Array, Array1, ArrayD, Axis, Dimension, stack};
use ndarray_npy::{NpzWriter, WritableElement, WriteNpyExt};
use tempfile::NamedTempFile;

use super::result::SliceResult;

/// Writes `healthy.npy` [N, C, H, W], `map.npy` [N, H, W] and `mask.npy` [N, H, W], without N where the input had
/// none; no `healthy.npy` where the method makes no healthy version. `slices` is N; the images that failed are NaN, and empty
/// in the mask. Returns what was written: a word for each, and its file.
///
/// Errors: [`OutputError`].
pub fn arrays(
    folder: &OutputFolder,
    slices: usize,
    batched: bool,
    results: &[SliceResult],
) -> Result<Vec<(String, Vec<String>)>, OutputError> {
    let mut files = Vec::new();
    let healthy = |r: &SliceResult| Some((r.slice, r.healthy.as_ref()?.pixels.clone().into_dyn()));
    if let Some(planes) = results.iter().map(healthy).collect() {
        npy(folder, "healthy.npy", &whole(slices, batched, planes, f32::NAN))?;
        files.push("healthy");
    }
    let planes = results.iter().map(|r| (r.slice, r.map.clone().into_dyn())).collect();
    npy(folder, "map.npy", &whole(slices, batched, planes, f32::NAN))?;
    let planes = results.iter().map(|r| (r.slice, r.mask.clone().into_dyn())).collect();
    npy(folder, "mask.npy", &whole(slices, batched, planes, false))?;
    files.extend(["map", "mask"]);
    Ok(files.into_iter().map(|word| (word.to_owned(), vec![format!("{word}.npy")])).collect())
}

/// The arrays of all slices in one; `found`: some, at least one, each with the number of its slice.
fn whole<T: Clone>(slices: usize, batched: bool, found: Vec<(usize, ArrayD<T>)>, absent: T) -> ArrayD<T> {
    let shape = found[0].1.raw_dim();
    let mut parts = vec![ArrayD::from_elem(shape, absent); slices];
    for (slice, array) in found {
        parts[slice] = array;
    }
    if batched {
        let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
        stack(Axis(0), &views).expect("all slices of an array have one shape")
    } else {
        parts.swap_remove(0)
    }
}

fn npy<T: WritableElement, D: Dimension>(
    folder: &OutputFolder,
    name: &str,
    array: &Array<T, D>,
) -> Result<(), OutputError> {
    let mut bytes = Cursor::new(Vec::new());
    array.write_npy(&mut bytes).map_err(|e| folder.error(name, io::Error::other(e.to_string())))?;
    folder.write(name, bytes.get_ref())
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
