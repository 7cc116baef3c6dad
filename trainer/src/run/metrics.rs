//! `metrics.jsonl`: one line of means every few steps; the same for TensorBoard.
//!
//! A run that goes on from a checkpoint between two lines makes the next line of the steps since that checkpoint.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};

use serde_json::{Map, Value, json};

use super::events::Events;
use super::folder::Folder;
use crate::error::TrainError;
use crate::task::{Figure, Loss};

pub(super) const METRICS: &str = "metrics.jsonl";
/// Steps that the loss of the progress bar is averaged over, roughly.
const SMOOTH: f64 = 50.0;

/// Sums since the last line, and the file.
#[derive(Debug)]
pub(super) struct Metrics<'a> {
    folder: &'a Folder,
    file: File,
    events: Events,
    sums: Vec<(&'static str, f64, usize)>,
    smooth: Option<f64>,
    lines: Vec<Map<String, Value>>,
}

impl<'a> Metrics<'a> {
    /// Goes on after `step`: lines beyond it, of steps that will be made again, are dropped.
    ///
    /// Errors: [`TrainError::Io`].
    pub fn resume(folder: &'a Folder, step: usize) -> Result<Self, TrainError> {
        let text = match fs::read_to_string(folder.file(METRICS)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
            other => folder.fail(METRICS, other)?,
        };
        // Lines are kept as they stand: a number that is read and written again may differ in its last digit.
        let (lines, kept): (Vec<&str>, Vec<Map<String, Value>>) = text
            .lines()
            .map_while(|line| Some((line, serde_json::from_str::<Map<String, Value>>(line).ok()?)))
            .take_while(|(_, line)| {
                line.get("step").and_then(Value::as_u64).is_some_and(|s| s <= step as u64)
            })
            .unzip();
        let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
        folder.write(METRICS, lines.as_bytes())?;
        let file = folder.fail(METRICS, OpenOptions::new().append(true).open(folder.file(METRICS)))?;
        let events = folder.fail("events.out.tfevents", Events::begin(&folder.file(""), step))?;
        Ok(Self { folder, file, events, sums: Vec::new(), smooth: None, lines: kept })
    }

    /// Takes the figures of one step.
    pub fn add(&mut self, loss: &Loss) {
        self.add_figures(&loss.figures);
        let before = self.smooth.unwrap_or(loss.guard);
        self.smooth = Some(before + (loss.guard - before) / SMOOTH);
    }

    /// Takes figures that are no loss.
    pub fn add_figures(&mut self, figures: &[Figure]) {
        for &Figure { name, value, images } in figures {
            match self.sums.iter_mut().find(|(n, ..)| *n == name) {
                Some((_, sum, count)) => (*sum, *count) = (*sum + value * images as f64, *count + images),
                None => self.sums.push((name, value * images as f64, images)),
            }
        }
    }

    /// The loss, averaged over the last few steps.
    pub fn loss(&self) -> f64 {
        self.smooth.unwrap_or(f64::NAN)
    }

    /// All lines.
    pub fn lines(&self) -> &[Map<String, Value>] {
        &self.lines
    }

    /// At most `most` lines, evenly spread, the last one included.
    pub fn curve(&self, most: usize) -> Vec<Map<String, Value>> {
        let n = self.lines.len();
        let k = most.min(n);
        (1..=k).map(|i| self.lines[i * n / k - 1].clone()).collect()
    }

    /// Writes the means since the last line.
    ///
    /// Errors: [`TrainError::Io`].
    pub fn write(&mut self, step: usize, rate: f64, images_per_second: f64) -> Result<(), TrainError> {
        let mut line = Map::new();
        line.insert("step".into(), step.into());
        for (name, sum, count) in self.sums.drain(..) {
            line.insert(name.into(), json!(sum / count as f64));
        }
        line.insert("learning_rate".into(), json!(rate));
        line.insert("images_per_second".into(), json!(images_per_second));
        let text = format!("{}\n", Value::from(line.clone()));
        self.folder.fail(METRICS, self.file.write_all(text.as_bytes()))?;
        let events = self.events.write(step, &line);
        self.folder.fail(&self.events.name, events)?;
        self.lines.push(line);
        Ok(())
    }
}
