//! Subjects one after the other, computed side by side.

use std::num::NonZero;
use std::ops::ControlFlow;
use std::panic::resume_unwind;
use std::thread;

use super::subject::Subject;
use super::{Anatomy, Parameters, Settings};
use crate::CohortError;

/// More threads than this would only hold memory.
const MOST_THREADS: u64 = 8;

/// Makes subjects and hands them over in order, until `take` breaks. Each is made from its own streams of random
/// numbers, so the number of threads changes nothing but the time.
///
/// Errors: those of loading the template, and of `take`.
pub(super) fn subjects(
    settings: &Settings,
    set: &Parameters,
    mut take: impl FnMut(Subject) -> Result<ControlFlow<()>, CohortError>,
) -> Result<(), CohortError> {
    let anatomy = &Anatomy::load(&settings.source)?;
    let threads = thread::available_parallelism().map_or(1, NonZero::get) as u64;
    let threads = threads.min(MOST_THREADS);
    let mut next = settings.first;
    loop {
        let made: Vec<Subject> = thread::scope(|scope| {
            let workers: Vec<_> = (next..next + threads)
                .map(|number| {
                    scope.spawn(move || Subject::make(anatomy, set, settings.seed, number, settings.size))
                })
                .collect();
            workers
                .into_iter()
                .map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic)))
                .collect()
        });
        for subject in made {
            if take(subject)?.is_break() {
                return Ok(());
            }
        }
        next += threads;
    }
}
