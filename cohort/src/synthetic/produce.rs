//! Subjects one after the other, computed side by side.

use std::num::NonZero;
use std::ops::ControlFlow;
use std::panic::resume_unwind;
use std::thread;

use super::subject::Subject;
use super::{Anatomy, Parameters, Settings};
use crate::CohortError;

/// More threads than this would only hold memory.
const MOST_THREADS: usize = 8;

/// As many threads as the machine has processors, within reason.
pub(super) fn threads() -> NonZero<usize> {
    let most = const { NonZero::new(MOST_THREADS).expect("not 0") };
    thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN).min(most)
}

/// Makes subjects and hands them over in order, until `take` breaks. Each is made from its own streams of random
/// numbers, so the number of threads changes nothing but the time.
///
/// Errors: those of loading the template, and of `take`.
pub(super) fn subjects(
    settings: &Settings,
    set: &Parameters,
    take: impl FnMut(Subject) -> Result<ControlFlow<()>, CohortError>,
) -> Result<(), CohortError> {
    let anatomy = Anatomy::load(&settings.source)?;
    let make = |number| Subject::make(&anatomy, set, settings.seed, number, settings.size);
    in_order(settings.first, threads(), make, take)
}

/// Calls `make` for each number from `first` on, `threads` at a time, and hands over what it gives in order, until
/// `take` breaks.
///
/// Errors: those of `take`.
pub(super) fn in_order<T: Send>(
    first: u64,
    threads: NonZero<usize>,
    make: impl Fn(u64) -> T + Sync,
    mut take: impl FnMut(T) -> Result<ControlFlow<()>, CohortError>,
) -> Result<(), CohortError> {
    let make = &make;
    let threads = threads.get() as u64;
    let mut next = first;
    loop {
        let made: Vec<T> = thread::scope(|scope| {
            let workers: Vec<_> =
                (next..next + threads).map(|number| scope.spawn(move || make(number))).collect();
            workers
                .into_iter()
                .map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic)))
                .collect()
        });
        for one in made {
            if take(one)?.is_break() {
                return Ok(());
            }
        }
        next += threads;
    }
}
