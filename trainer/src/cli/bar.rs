//! How far a run is, on the terminal.

use std::io::IsTerminal;
use std::time::Instant;

use anomalens_trainer::run::Progress;
use indicatif::{ProgressBar, ProgressStyle};

/// A progress bar on a terminal, a line now and then elsewhere.
pub struct Bar {
    bar: ProgressBar,
    told: Instant,
    terminal: bool,
}

/// Seconds between two lines where there is no terminal.
const QUIET: u64 = 30;

impl Bar {
    /// A bar of so many steps.
    pub fn new(total: usize) -> Self {
        let style = "{bar:30} {pos}/{len}  {msg}  {eta} left";
        let bar = ProgressBar::new(total as u64);
        bar.set_style(ProgressStyle::with_template(style).expect("a sound template"));
        Self { bar, told: Instant::now(), terminal: std::io::stderr().is_terminal() }
    }

    /// Shows how far it is.
    pub fn show(&mut self, progress: Progress) {
        let Progress { step, total, loss, images_per_second } = progress;
        if loss.is_nan() {
            // Before the first step: the time left counts from here.
            self.bar.set_position(step as u64);
            self.bar.reset_eta();
            return;
        }
        self.bar.set_position(step as u64);
        self.bar.set_message(format!("loss {loss:.4}  {images_per_second:.1} images/s"));
        if !self.terminal && (self.told.elapsed().as_secs() >= QUIET || step == total) {
            self.told = Instant::now();
            let left = self.bar.eta().as_secs();
            eprintln!("{step}/{total}  loss {loss:.4}  {images_per_second:.1} images/s  {left} s left");
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
