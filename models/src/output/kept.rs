//! What is kept of an output folder that takes long, so that the next run goes on with it.
//!
//! ```text
//! NAME.partial/lock          held by the run that is at work, let go of by the system however that ends
//! NAME.partial/parts/        what is finished; whose it is, and whether it is sound, is the caller's to know
//! NAME.partial/building-…/   the results, until they get their name
//! ```

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::OutputError;

const LOCK: &str = "lock";
const PARTS: &str = "parts";
/// How the name of the folder begins in which results are built.
pub(super) const BUILDING: &str = "building-";

/// The folder, locked.
#[derive(Debug)]
pub(super) struct Kept {
    path: PathBuf,
    lock: File,
}

impl Kept {
    /// Opens the folder `path` of the output `target`, or makes it. What a killed run was building is removed.
    ///
    /// Errors: [`OutputError::Busy`]; [`OutputError::NotEmpty`] if there is something in it that no run has put there; those of
    /// the file system.
    pub fn open(path: PathBuf, target: &Path) -> Result<Self, OutputError> {
        let fail = |source| OutputError::new(target, source);
        fs::create_dir_all(&path).map_err(fail)?;
        let mut stale = Vec::new();
        for entry in fs::read_dir(&path).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            match name.as_str() {
                LOCK | PARTS => {}
                building if building.starts_with(BUILDING) => stale.push(entry.path()),
                _ => return Err(OutputError::NotEmpty { path, found: name }),
            }
        }
        let lock = File::create(path.join(LOCK)).map_err(|e| {
            let _ = fs::remove_dir(&path);
            fail(e)
        })?;
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => return Err(OutputError::Busy { path: target.to_owned() }),
            // A file system without locks: whoever uses one takes care himself.
            Err(TryLockError::Error(e)) if e.kind() == io::ErrorKind::Unsupported => {}
            locked => locked.map_err(|e| fail(e.into()))?,
        }
        stale.iter().try_for_each(fs::remove_dir_all).map_err(fail)?;
        Ok(Self { path, lock })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where finished parts are kept.
    pub fn parts(&self) -> PathBuf {
        self.path.join(PARTS)
    }

    /// Removes the folder with all that is kept in it, which the results have replaced: what cannot be removed harms nobody.
    pub fn remove(self) {
        drop(self.lock);
        let _ = fs::remove_dir_all(&self.path);
    }

    /// Leaves the folder if there are parts in it, else removes it.
    pub fn close(self) {
        let parts = self.parts();
        drop(self.lock);
        let _ = fs::remove_dir(&parts);
        if !parts.exists() {
            let _ = fs::remove_file(self.path.join(LOCK));
            let _ = fs::remove_dir(&self.path);
        }
    }
}
