//! Output: all of it or nothing, whatever happens; what is finished is kept beside it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{golden, listing, tiny, translate};

/// A tmpfs, unmounted on drop; only root can have one.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path, options: &str) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at);
        if mount.status().is_ok_and(|status| status.success()) {
            return Some(Self(at.to_owned()));
        }
        assert!(std::env::var_os("CI").is_none(), "CI must be able to mount a tmpfs");
        eprintln!("skipped: only root can mount a tmpfs");
        None
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_folder_with_something_in_it_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let x = golden("ddim/x0.npy");
    fs::write(folder.path().join("mine"), "kept").unwrap();
    translate(&x, tiny(), folder.path(), &[]).expect(1, &["found mine in it", "choose another"]);
    translate(&x, tiny(), &folder.path().join("mine"), &[]).expect(1, &["found a file"]);
    assert_eq!(listing(folder.path()), ["mine"]);
    assert_eq!(fs::read(folder.path().join("mine")).unwrap(), b"kept");
}

#[test]
fn a_trajectory_file_is_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let steps = folder.path().join("steps.npz");
    fs::write(&steps, "kept").unwrap();
    let more = ["--trajectory", steps.to_str().unwrap()];
    let x = golden("ddim/x0.npy");
    translate(&x, tiny(), &folder.path().join("out"), &more).expect(1, &["steps.npz", "file of that name"]);
    assert_eq!(fs::read(&steps).unwrap(), b"kept");
    let missing = folder.path().join("no/such/steps.npz");
    let more = ["--trajectory", missing.to_str().unwrap()];
    translate(&x, tiny(), &folder.path().join("out"), &more).expect(1, &["steps.npz"]);
    assert_eq!(listing(folder.path()), ["steps.npz"]);
}

#[test]
#[cfg(target_os = "linux")]
fn a_folder_that_cannot_be_written_to() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::mount(folder.path(), "ro") else { return };
    translate(&golden("ddim/x0.npy"), tiny(), &disk.0.join("out"), &[]).expect(1, &["not writable"]);
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_leaves_what_is_finished_alone() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::mount(folder.path(), "size=64k") else { return };
    let x = golden("ddim/x0.npy");
    translate(&x, tiny(), &disk.0.join("out"), &[])
        .expect(1, &["disk full", "make room", "1 of 1 slices are kept in"]);
    assert_eq!(listing(&disk.0), ["out.partial"]);
    assert_eq!(listing(&disk.0.join("out.partial")), ["lock", "parts"]);
    // Results elsewhere, every x_t here.
    let elsewhere = tempfile::tempdir().unwrap();
    let steps = disk.0.join("steps.npz");
    let more = ["--trajectory", steps.to_str().unwrap(), "--noise-level", "8"];
    translate(&x, tiny(), &elsewhere.path().join("out"), &more).expect(1, &["steps.npz", "disk full"]);
    assert!(listing(&disk.0) == ["out.partial"] && listing(elsewhere.path()).is_empty());
}

#[test]
#[cfg(unix)]
fn an_interrupt_leaves_nothing() {
    use std::io::{BufRead, BufReader, Read};
    use std::process::Stdio;
    use std::time::{Duration, Instant};

    for signal in ["INT", "TERM"] {
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_anomalens"))
            .arg("translate")
            .arg(golden("ddim/x0.npy"))
            .arg("--bundle")
            .arg(tiny())
            .arg("--out")
            .arg(folder.path().join("new/out"))
            .arg("--trajectory")
            .arg(folder.path().join("steps.npz"))
            .args(["--noise-level", "1000"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.starts_with("slices: ") {
            line.clear();
            assert!(stderr.read_line(&mut line).unwrap() > 0, "it ended before it began");
        }
        // The hidden folder is there, and the sampler about to run, or running.
        assert!(!listing(folder.path()).is_empty());
        std::thread::sleep(Duration::from_secs(1));
        let sent = Instant::now();
        let kill = Command::new("kill").args([format!("-{signal}"), child.id().to_string()]).status();
        assert!(kill.unwrap().success());
        let mut rest = String::new();
        stderr.read_to_string(&mut rest).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(1), "{signal}: {rest}");
        assert!(rest.contains("error: interrupted: nothing was written"), "{signal}: {rest}");
        assert!(sent.elapsed() < Duration::from_secs(10), "it must stop at the next step");
        assert!(listing(folder.path()).is_empty(), "{signal}: {:?}", listing(folder.path()));
    }
}
