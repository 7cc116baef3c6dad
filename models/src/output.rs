//! An output folder, or file, that appears whole or not at all.
//!
//! Files are written into a hidden folder beside the target, flushed to the disk, and the folder is renamed as
//! the last step. Dropped before that (an error, Ctrl-C), it takes everything that it made with it. If the target
//! is there already, empty, it keeps its identity (it may be a mount point): the hidden folder is inside it, and
//! the last step renames the whole files one by one.
//!
//! [`OutputFolder::resume`] makes one that takes hours: what is finished on the way is kept in `NAME.partial`, which outlives
//! the program, however that ends, and is found again by the next one.

mod file;
mod kept;

pub use file::{OutputFile, replace};

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use kept::Kept;
use tempfile::TempDir;

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutputError {
    /// The folder has something in it.
    #[error("output '{}': found {found} in it, expected a new or an empty folder; choose another, or empty it", path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
        /// The name of one thing that is in it.
        found: String,
    },
    /// There is a file of that name.
    #[error("output '{}': found a file, expected a new or an empty folder; choose another name", path.display())]
    NotAFolder {
        /// The file.
        path: PathBuf,
    },
    /// There is something of the name that a file was to have.
    #[error("output '{}': found something of that name, expected nothing; choose another name, or remove it", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Another program is making the same.
    #[error("output '{}': another run is making it, expected none; wait for its end, or choose another", path.display())]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// No right to write there.
    #[error("output '{}': not writable: {source}; choose a folder that you may write to, or change its permissions", path.display())]
    NotWritable {
        /// The folder or file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The disk, or a quota on it, is full.
    #[error("output '{}': disk full: {source}; it was not written: make room, or choose a folder on another disk", path.display())]
    DiskFull {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Any other fault of the file system.
    #[error("output '{}': {source}; it was not written: check the disk, or choose another folder", path.display())]
    Io {
        /// The folder or file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

impl OutputError {
    /// The error for a fault met while writing `path`.
    pub fn new(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { path, source },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::NotWritable { path, source }
            }
            _ => Self::Io { path, source },
        }
    }
}

/// A folder under construction.
#[derive(Debug)]
pub struct OutputFolder {
    target: PathBuf,
    /// `None` once finished.
    building: Option<TempDir>,
    /// Where finished work is kept on the way, if it is.
    kept: Option<Kept>,
    /// The target was there, empty, before.
    existed: bool,
    /// Parent folders that were not there before, outermost first.
    parents: Vec<PathBuf>,
}

impl OutputFolder {
    /// Starts the folder `target`, which must not exist or be empty. Missing parents are made.
    ///
    /// Errors: [`OutputError`].
    pub fn create(target: &Path) -> Result<Self, OutputError> {
        Self::begin(target, false)
    }

    /// The same with a folder for what is finished on the way, [`OutputFolder::kept`]: `NAME.partial`, beside the target, or in
    /// it if it is there already. Left by an earlier run, it is gone on with. It is removed by success, and when there is
    /// nothing in it.
    ///
    /// Errors: [`OutputError`]; [`OutputError::Busy`] if another run is at work there.
    pub fn resume(target: &Path) -> Result<Self, OutputError> {
        Self::begin(target, true)
    }

    fn begin(target: &Path, keeps: bool) -> Result<Self, OutputError> {
        let fail = |source| OutputError::new(target, source);
        let absolute = std::path::absolute(target).map_err(fail)?;
        let name = absolute.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let kept = keeps.then(|| format!("{name}.partial"));
        let existed = match fs::read_dir(target) {
            Ok(entries) => {
                for entry in entries {
                    let found = entry.map_err(fail)?.file_name().to_string_lossy().into_owned();
                    if Some(&found) != kept.as_ref() {
                        return Err(OutputError::NotEmpty { path: target.to_owned(), found });
                    }
                }
                true
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => false,
            Err(_) if target.is_file() => return Err(OutputError::NotAFolder { path: target.to_owned() }),
            Err(e) => return Err(fail(e)),
        };
        let parent = absolute.parent().unwrap_or(&absolute).to_owned();
        let missing: Vec<_> = parent.ancestors().take_while(|p| !p.exists()).map(Path::to_owned).collect();
        let parents = missing.into_iter().rev().collect();
        let mut folder = Self { target: absolute, building: None, kept: None, existed, parents };
        fs::create_dir_all(&parent).map_err(fail)?;
        // A folder that is already there may be a mount point, the current folder, or stand in one that is not
        // ours: then the files are built inside it. Either way they are on the disk where they will stay.
        let place = if existed { folder.target.clone() } else { parent };
        let (place, prefix) = match kept {
            Some(kept) => {
                let kept = folder.kept.insert(Kept::open(place.join(kept), target)?);
                (kept.path().to_owned(), kept::BUILDING.to_owned())
            }
            None => (place, format!(".{name}.partial-")),
        };
        folder.building = Some(tempfile::Builder::new().prefix(&prefix).tempdir_in(place).map_err(fail)?);
        Ok(folder)
    }

    /// Where to write until [`OutputFolder::finish`].
    pub fn path(&self) -> &Path {
        self.building.as_ref().expect("only finish takes it, and finish consumes self").path()
    }

    /// Where what is finished on the way is to be kept, in a folder that need not be there; `None` if nothing is.
    pub fn kept(&self) -> Option<PathBuf> {
        self.kept.as_ref().map(Kept::parts)
    }

    /// The folder as it will be called.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Writes one file, `name` relative to the folder.
    ///
    /// Errors: [`OutputError`].
    pub fn write(&self, name: impl AsRef<Path>, bytes: &[u8]) -> Result<(), OutputError> {
        let path = self.path().join(name.as_ref());
        File::create(path).and_then(|mut file| file.write_all(bytes)).map_err(|e| self.error(name, e))
    }

    /// The error for a fault met while writing the file `name`, under the name that it would have had.
    pub fn error(&self, name: impl AsRef<Path>, source: io::Error) -> OutputError {
        OutputError::new(&self.target.join(name), source)
    }

    /// Flushes every file to the disk and gives the folder its name.
    ///
    /// Errors: [`OutputError`]; [`OutputError::NotEmpty`] if something has meanwhile been put there.
    pub fn finish(mut self) -> Result<(), OutputError> {
        sync(self.path()).map_err(|e| self.error("", e))?;
        let moved = match self.existed {
            true => self.move_up(),
            false => fs::rename(self.path(), &self.target),
        };
        moved.map_err(|e| match e.kind() {
            io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists => {
                OutputError::NotEmpty { path: self.target.clone(), found: "new files".into() }
            }
            _ => self.error("", e),
        })?;
        self.parents.clear();
        if let Some(building) = self.building.take().filter(|_| !self.existed) {
            // It has a new name: nothing is left to remove under the old one.
            let _ = building.keep();
        }
        if let Some(kept) = self.kept.take() {
            kept.remove();
        }
        sync_folder(if self.existed { &self.target } else { self.target.parent().unwrap_or(&self.target) })
            .map_err(|e| self.error("", e))
    }

    /// Moves each file out of the hidden folder; on a fault those that were moved are taken back.
    fn move_up(&self) -> io::Result<()> {
        let mut moved = Vec::new();
        let result = fs::read_dir(self.path())?.try_for_each(|entry| {
            let entry = entry?;
            let to = self.target.join(entry.file_name());
            fs::rename(entry.path(), &to)?;
            moved.push((to, entry.path()));
            Ok(())
        });
        if result.is_err() {
            for (to, from) in moved {
                let _ = fs::rename(to, from);
            }
        }
        result
    }
}

impl Drop for OutputFolder {
    fn drop(&mut self) {
        drop(self.building.take());
        if let Some(kept) = self.kept.take() {
            kept.close();
        }
        for parent in self.parents.iter().rev() {
            // Fails, rightly, if another program has put something there.
            let _ = fs::remove_dir(parent);
        }
    }
}

/// Flushes every file under a folder, and the folders themselves.
fn sync(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => sync(&entry.path())?,
            // Windows flushes only what is open for writing.
            false => File::options().write(true).open(entry.path())?.sync_all()?,
        }
    }
    sync_folder(folder)
}

#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests;
