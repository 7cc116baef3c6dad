//! Carrying out a plan: one program after the other.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::error::FitError;
use super::found;
use super::plan::{Plan, State, Step};

/// Time between two looks at a program that runs.
const LOOK: Duration = Duration::from_millis(50);

/// Where the programs of the steps lie.
#[derive(Debug, Clone)]
pub struct Programs(PathBuf);

impl Programs {
    /// Beside the running program.
    ///
    /// Errors: [`FitError::Io`].
    pub fn beside_this() -> Result<Self, FitError> {
        let path = PathBuf::from("anomalens-train");
        let this = std::env::current_exe().map_err(|source| FitError::Io { path, source })?;
        let folder = this.parent().unwrap_or(Path::new("/"));
        // As a person would name it.
        let here = std::env::current_dir().and_then(fs::canonicalize);
        let short = here.ok().and_then(|here| folder.strip_prefix(here).ok().map(Path::to_owned));
        Ok(Self::of(short.as_deref().unwrap_or(folder)))
    }

    /// In a folder.
    pub fn of(folder: &Path) -> Self {
        // A name without a folder would be looked for in PATH.
        Self(if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder.to_owned() })
    }

    /// The path of one program.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
    }

    /// Checks that every program of a plan is there.
    ///
    /// Errors: [`FitError::Program`].
    pub fn check(&self, plan: &Plan) -> Result<(), FitError> {
        let needed: BTreeSet<&str> = plan.steps.iter().map(|step| step.program).collect();
        let paths = needed.into_iter().map(|name| self.path(name));
        match paths.into_iter().find(|path| !path.is_file()) {
            Some(path) => Err(FitError::Program { path }),
            None => Ok(()),
        }
    }
}

/// Runs every step that is not complete, in order. Where `stop` becomes true, the running program is told to end, and
/// nothing further is begun.
///
/// Errors: [`FitError`].
pub fn carry_out(plan: &Plan, programs: &Programs, stop: &AtomicBool) -> Result<(), FitError> {
    programs.check(plan)?;
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| FitError::Io { path, source }
    };
    fs::create_dir_all(&plan.output).map_err(io(&plan.output))?;
    let total = plan.steps.len();
    for (number, step) in (1..).zip(&plan.steps) {
        if stop.load(Ordering::SeqCst) {
            return Err(FitError::Stopped { step: step.name });
        }
        let state = step.state();
        if state == State::Complete {
            found::check(plan, step)?;
            println!("fit: {number} of {total}, {}: {} is there", step.name, step.folder.display());
            continue;
        }
        println!("fit: {number} of {total}, {}", step.name);
        if state == State::Stale {
            println!("    rm -r {}    (older than what it is made of)", step.folder.display());
            fs::remove_dir_all(&step.folder).map_err(io(&step.folder))?;
        }
        let program = programs.path(step.program);
        let command = step.command(&program);
        println!("    {command}");
        let status = watch(step, &program, stop).map_err(io(&program))?;
        match () {
            () if stop.load(Ordering::SeqCst) => return Err(FitError::Stopped { step: step.name }),
            () if !status.success() => return Err(FitError::Failed { step: step.name, status, command }),
            () if step.result.exists() => {}
            // A training that is told to stop ends well, with a checkpoint; it may have been told alone.
            () if step.begun.exists() => return Err(FitError::Stopped { step: step.name }),
            () => {
                let (step, result) = (step.name, step.result.clone());
                return Err(FitError::NoResult { step, command, result });
            }
        }
    }
    println!("fit: complete: {}", plan.output.display());
    Ok(())
}

/// Runs a program to its end.
fn watch(step: &Step, program: &Path, stop: &AtomicBool) -> io::Result<ExitStatus> {
    let mut child = Command::new(program).args(&step.arguments).stdin(Stdio::null()).spawn()?;
    let mut told = false;
    loop {
        if let Some(status) = child.try_wait()? {
            // A signal that ended the program may take a moment more to be seen here.
            thread::sleep(LOOK);
            return Ok(status);
        }
        if stop.load(Ordering::SeqCst) && !told {
            told = true;
            tell(&child);
        }
        thread::sleep(LOOK);
    }
}

/// Ctrl-C reaches the program anyway, as it is of the same group; another signal may have reached this one alone. Being
/// told twice does no harm.
fn tell(child: &Child) {
    if let Ok(id) = i32::try_from(child.id()) {
        // One that has just ended needs no telling.
        let _ = kill(Pid::from_raw(id), Signal::SIGTERM);
    }
}
