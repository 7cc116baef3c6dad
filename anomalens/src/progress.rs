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
            let template = "{msg:<16} [{bar:30}] {pos}/{len} steps, {elapsed} gone, {eta} left";
            let style = ProgressStyle::with_template(template).expect("a constant template");
            ProgressBar::new(0).with_style(style.progress_chars("=> "))
        });
        let now = Instant::now();
        Self { bar, began: now, told: now }
    }

    /// Tells that `done` of `total` steps are done, and `place` where that is.
    pub fn step(&mut self, place: &str, done: usize, total: usize) {
        if let Some(bar) = &self.bar {
            bar.set_length(total as u64);
            bar.set_message(place.to_owned());
            bar.set_position(done as u64);
        } else if done == total || self.told.elapsed() >= PAUSE {
            self.told = Instant::now();
            eprintln!("{}", line(place, done, total, self.began.elapsed()));
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn line(place: &str, done: usize, total: usize, elapsed: Duration) -> String {
    let left = elapsed.mul_f64((total - done) as f64 / done.max(1) as f64);
    let percent = 100 * done / total.max(1);
    format!("{place}: {done}/{total} steps ({percent} %), {} left", HumanDuration(left))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_left_is_in_proportion() {
        let text = line("encode level 12", 25, 100, Duration::from_secs(20));
        assert_eq!(text, "encode level 12: 25/100 steps (25 %), 60 seconds left");
        assert!(line("decode level 0", 0, 0, Duration::ZERO).contains("(0 %)"));
    }
}
