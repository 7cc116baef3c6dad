//! An output file that appears whole or not at all.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::OutputError;

/// A file under construction, beside the place where it will stand. Dropped unfinished, it leaves nothing.
#[derive(Debug)]
pub struct OutputFile {
    target: PathBuf,
    file: NamedTempFile,
}

impl OutputFile {
    /// Begins the file `target`, which must not exist.
    ///
    /// Errors: [`OutputError`]; [`OutputError::Exists`] if something of that name is there.
    pub fn create(target: &Path) -> Result<Self, OutputError> {
        if target.symlink_metadata().is_ok() {
            return Err(OutputError::Exists { path: target.to_owned() });
        }
        let fail = |source| OutputError::new(target, source);
        let target = std::path::absolute(target).map_err(fail)?;
        let file = beside(&target).map_err(fail)?;
        Ok(Self { target, file })
    }

    /// Where to write.
    pub fn file(&self) -> &File {
        self.file.as_file()
    }

    /// The error for a fault met while writing, under the name that the file would have had.
    pub fn error(&self, source: io::Error) -> OutputError {
        OutputError::new(&self.target, source)
    }

    /// Flushes the file to the disk and gives it its name.
    ///
    /// Errors: [`OutputError`]; [`OutputError::Exists`] if something has meanwhile been put there.
    pub fn finish(self) -> Result<(), OutputError> {
        self.file.as_file().sync_all().map_err(|e| OutputError::new(&self.target, e))?;
        let persisted = self.file.persist_noclobber(&self.target);
        persisted.map(drop).map_err(|e| match e.error.kind() {
            io::ErrorKind::AlreadyExists => OutputError::Exists { path: self.target },
            _ => OutputError::new(&self.target, e.error),
        })
    }
}

/// Writes the file `target`, whether or not one is there: it is the old one or the new one at any time.
///
/// Errors: [`OutputError`]; then it is as it was.
pub fn replace(target: &Path, bytes: &[u8]) -> Result<(), OutputError> {
    let fail = |source| OutputError::new(target, source);
    let target = &std::path::absolute(target).map_err(fail)?;
    let mut file = beside(target).map_err(fail)?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(fail)?;
    file.persist(target).map(drop).map_err(|e| fail(e.error))
}

/// A file without a name of its own, on the disk where `target` will stand.
fn beside(target: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".partial-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666)); // less what the umask takes
    builder.tempfile_in(target.parent().unwrap_or(target))
}
