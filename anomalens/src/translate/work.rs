//! The work: every batch that is not finished, with what is told of the time that it takes.

use std::time::Duration;

use anomalens_method::translate::States;
use anomalens_models::image::UnitImage;
use anyhow::Result;
use indicatif::HumanDuration;

use super::kept::Store;
use crate::progress::Progress;
use crate::translator::{Pace, Translator};

/// With fewer calls of networks to do, measuring them would take a good part of the work itself.
const WORTH_AN_ESTIMATE: usize = 20;

/// Translates every batch that is not finished, and keeps it. `on_states` is given every x_t, if they are to be kept.
///
/// Errors: [`crate::interrupt::Interrupted`], if a person has stopped the program; those of the method and of what is kept.
pub fn all(
    translator: &mut Translator,
    images: &[UnitImage],
    store: &mut Store,
    on_states: &mut dyn FnMut(&States) -> Result<()>,
) -> Result<()> {
    translator.check_noise(images)?;
    let missing = store.missing();
    let todo: usize = missing.iter().map(|&number| store.range(number).len()).sum();
    let pace = match missing.first() {
        Some(&first) => estimate(translator, &images[store.range(first)], todo),
        None => None,
    };
    let (mut progress, mut before) = (Progress::start(), 0);
    for (done, &number) in missing.iter().enumerate() {
        let range = store.range(number);
        let (first, n) = (range.start, range.len());
        let made = translator.run_from(first, &images[range], &mut |place, step, steps| {
            let share = pace.map_or(step as f64 / steps.max(1) as f64, |pace| pace.share(step, steps));
            let share = (before as f64 + share * n as f64) / todo as f64;
            progress.step_at(place, done * steps + step, missing.len() * steps, share);
        });
        let kept = made.and_then(|made| {
            if let Some(states) = &made.trajectory {
                on_states(states)?;
            }
            Ok(store.put(number, &made)?)
        });
        if kept.is_err() {
            progress.finish();
            return kept;
        }
        before += n;
    }
    progress.finish();
    Ok(())
}

/// Measures the networks on what they are first to be given, and says how long all of it will take.
fn estimate(translator: &mut Translator, images: &[UnitImage], todo: usize) -> Option<Pace> {
    let images = &images[..images.len().min(translator.batch())];
    let batches = todo.div_ceil(images.len());
    let calls: usize = translator.calls(batches).iter().map(|(n, _)| n).sum();
    if calls < WORTH_AN_ESTIMATE {
        return None;
    }
    let pace = translator.pace(images)?;
    eprintln!("time: {}", forecast(pace.batch(), images.len(), todo));
    Some(pace)
}

/// The time for `todo` slices, `batch` of which take `time`.
fn forecast(time: Duration, batch: usize, todo: usize) -> String {
    let all = time.mul_f64(todo as f64 / batch as f64);
    format!("about {} for {todo} slices, by calls of the networks just now", HumanDuration(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forecast_is_in_proportion() {
        let text = forecast(Duration::from_secs(30), 2, 48);
        assert_eq!(text, "about 12 minutes for 48 slices, by calls of the networks just now");
        assert!(forecast(Duration::from_millis(1500), 1, 2).starts_with("about 3 seconds for 2 slices"));
    }
}
