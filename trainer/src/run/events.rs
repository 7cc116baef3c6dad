//! TensorBoard's file of events, by its protocol buffers (`tensorboard/compat/proto/{event,summary}.proto`).
//!
//! A file is a list of records: length (u64), its checksum, the event, its checksum. Each start of a run writes a file of
//! its own, which begins by saying from which step on the files before it no longer count.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prost::Message;
use serde_json::{Map, Value};

#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
    #[prost(message, optional, tag = "7")]
    session_log: Option<SessionLog>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Scalar>,
}

#[derive(Clone, PartialEq, Message)]
struct Scalar {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// `SessionLog.START`: what earlier files say of this step and later ones is dropped.
const START: i32 = 1;

/// The file of this start.
#[derive(Debug)]
pub(super) struct Events {
    /// Its name.
    pub name: String,
    file: File,
}

impl Events {
    /// Begins a file in `folder`, for the steps after `step`.
    ///
    /// Errors: those of the file system.
    pub fn begin(folder: &Path, step: usize) -> io::Result<Self> {
        let now = now();
        // TensorBoard reads the files in the order of their names.
        let name = format!("events.out.tfevents.{:010}.{:09}", now.as_secs(), now.subsec_nanos());
        let file = OpenOptions::new().append(true).create_new(true).open(folder.join(&name))?;
        let mut events = Self { name, file };
        events.push(Event { file_version: Some("brain.Event:2".into()), ..Event::default() })?;
        let session_log = Some(SessionLog { status: START });
        events.push(Event { step: step as i64 + 1, session_log, ..Event::default() })?;
        Ok(events)
    }

    /// Writes the numbers of one line of metrics.
    ///
    /// Errors: those of the file system.
    pub fn write(&mut self, step: usize, line: &Map<String, Value>) -> io::Result<()> {
        let numbers = line.iter().filter(|(name, _)| *name != "step");
        let value = numbers.filter_map(|(name, value)| {
            Some(Scalar { tag: name.clone(), simple_value: Some(value.as_f64()? as f32) })
        });
        let summary = Some(Summary { value: value.collect() });
        self.push(Event { step: step as i64, summary, ..Event::default() })
    }

    fn push(&mut self, event: Event) -> io::Result<()> {
        let event = Event { wall_time: now().as_secs_f64(), ..event }.encode_to_vec();
        let length = (event.len() as u64).to_le_bytes();
        let record = [&length[..], &masked(&length), &event, &masked(&event)].concat();
        self.file.write_all(&record)
    }
}

/// The checksum of a record's part: CRC-32C, turned and shifted so that a checksum of checksums is none of its own.
fn masked(bytes: &[u8]) -> [u8; 4] {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
