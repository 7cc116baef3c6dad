//! Ctrl-C: work stops at the next step, and what was half done is removed on the way out.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// A person (or the system, by SIGTERM or SIGHUP) has stopped the program.
#[derive(Debug, thiserror::Error)]
#[error("interrupted: nothing was written")]
pub struct Interrupted;

/// The same, of work whose finished part is kept.
#[derive(Debug, thiserror::Error)]
#[error("interrupted: {}", self.kept())]
pub struct Stopped {
    /// The slices that are finished.
    pub done: usize,
    /// The slices to be done.
    pub total: usize,
    /// The folder.
    pub kept: PathBuf,
}

impl Stopped {
    /// What the next run need not do again.
    pub fn kept(&self) -> String {
        let Self { done, total, kept } = self;
        format!(
            "{done} of {total} slices are kept in '{}'; the same command goes on from there",
            kept.display()
        )
    }
}

/// From now on an interrupt only sets a flag.
///
/// Errors: those of the operating system.
pub fn catch() -> Result<(), ctrlc::Error> {
    ctrlc::set_handler(|| {
        eprintln!("interrupted: stopping after this step");
        INTERRUPTED.store(true, Ordering::SeqCst);
    })
}

/// Whether to go on.
///
/// Errors: [`Interrupted`].
pub fn check() -> Result<(), Interrupted> {
    if INTERRUPTED.load(Ordering::SeqCst) { Err(Interrupted) } else { Ok(()) }
}
