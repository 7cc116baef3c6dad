//! This program once more, in a process of its own: there is one ONNX Runtime library a process, and what ran before in it leaves
//! its traces in time and memory.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use serde_json::Value;

use crate::failure::Usage;
use crate::interrupt;

/// What it says begins an error with this.
const ERROR: &str = "error: ";
/// How long an interrupt may go unheard.
const PATIENCE: Duration = Duration::from_millis(100);

/// Runs it with `arguments`, and takes the JSON that it prints. `on_line` is given what else it says, line by line.
///
/// Errors: what it said, of [`Usage`] if it was; [`interrupt::Interrupted`], by which it is ended.
pub fn run(arguments: &[OsString], on_line: &mut dyn FnMut(&str)) -> Result<Value> {
    interrupt::check()?;
    let program = std::env::current_exe().context("the program's own path")?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("starting this program once more")?;
    let printed = child.stdout.take().expect("it was asked for");
    let said = child.stderr.take().expect("it was asked for");
    let (printed, said) = thread::scope(|scope| {
        // Both are read at once, for a full pipe would stop it.
        let printed = scope.spawn(|| io::read_to_string(printed));
        let (sender, receiver) = mpsc::channel();
        scope.spawn(move || {
            let lines = BufReader::new(said).split(b'\n').map_while(Result::ok);
            lines
                .map(|line| String::from_utf8_lossy(&line).into_owned())
                .try_for_each(|line| sender.send(line))
        });
        let mut lines = Vec::new();
        loop {
            match receiver.recv_timeout(PATIENCE) {
                Ok(line) => {
                    if !line.starts_with(ERROR) {
                        on_line(&line);
                    }
                    lines.push(line);
                }
                Err(RecvTimeoutError::Timeout) if interrupt::check().is_err() => {
                    // It fails where it has ended by itself, which is as good.
                    let _ = child.kill();
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        (printed.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), lines)
    });
    let status = child.wait().context("waiting for a process of this program")?;
    interrupt::check()?;
    if !status.success() {
        let told = said.iter().rev().find_map(|line| line.strip_prefix(ERROR));
        let told = told.map_or_else(|| format!("{status} {}", said.join(" ")), str::to_owned);
        let error = anyhow!("{}", told.trim());
        return Err(if status.code() == Some(2) { Usage::new(error).into() } else { error });
    }
    serde_json::from_str(&printed.context("reading a process of this program")?)
        .context("what a process of this program found")
}
