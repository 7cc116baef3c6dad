//! How far the work is and how long it will take: a bar on a terminal, now and then a line elsewhere.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

/// Time between two lines.
const PAUSE: Duration = Duration::from_secs(10);

/// Shows progress on standard error.
pub struct Progress {
    bar: Option<ProgressBar>,
    began: Instant,
    /// When the last line was written.
    told: Instant,
}

impl Progress {
    /// Starts the clock.
    pub fn start() -> Self {
        let bar = stderr().is_terminal().then(|| {
            let template = "{msg:<16} [{bar:30}] {pos}/{len} steps, {elapsed} gone, {prefix} left";
            let style = ProgressStyle::with_template(template).expect("a constant template");
            ProgressBar::new(0).with_style(style.progress_chars("=> "))
        });
        let now = Instant::now();
        Self { bar, began: now, told: now }
    }

    /// Tells that `done` of `total` steps are done, and `place` where that is.
    pub fn step(&mut self, place: &str, done: usize, total: usize) {
        self.step_at(place, done, total, done as f64 / total.max(1) as f64);
    }

    /// The same where steps do not take one time: `share`, 0 to 1, of all that began with the clock is done.
    pub fn step_at(&mut self, place: &str, done: usize, total: usize, share: f64) {
        let left = HumanDuration(left(self.began.elapsed(), share));
        if let Some(bar) = &self.bar {
            bar.set_length(total as u64);
            bar.set_message(place.to_owned());
            bar.set_prefix(left.to_string());
            bar.set_position(done as u64);
        } else if done == total || self.told.elapsed() >= PAUSE {
            self.told = Instant::now();
            eprintln!("{}", line(place, done, total, share, &left));
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// The time that is left when a share of the work has taken `elapsed`; none before anything is done, as nothing is known then.
fn left(elapsed: Duration, share: f64) -> Duration {
    if share > 0.0 { elapsed.mul_f64((1.0 - share).max(0.0) / share) } else { Duration::ZERO }
}

fn line(place: &str, done: usize, total: usize, share: f64, left: &HumanDuration) -> String {
    let percent = (100.0 * share) as usize;
    format!("{place}: {done}/{total} steps ({percent} %), {left} left")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_left_is_in_proportion() {
        let left = |share| HumanDuration(left(Duration::from_secs(20), share));
        let text = line("encode level 12", 25, 100, 0.25, &left(0.25));
        assert_eq!(text, "encode level 12: 25/100 steps (25 %), 60 seconds left");
        // The steps that are left take longer than those that were made.
        let text = line("encode level 12", 25, 100, 0.1, &left(0.1));
        assert_eq!(text, "encode level 12: 25/100 steps (10 %), 3 minutes left");
        assert!(line("decode level 0", 0, 0, 0.0, &left(0.0)).contains("(0 %)"));
    }
}
