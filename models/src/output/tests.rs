use std::fs;
use std::path::{Path, PathBuf};

use super::*;

/// Everything under a folder, hidden things too.
fn listing(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn appears_whole_at_the_end_and_not_before() {
    let place = tempfile::tempdir().unwrap();
    for (case, exists) in [("new", false), ("deep/er/new", false), ("empty", true)] {
        let target = place.path().join(case);
        if exists {
            fs::create_dir(&target).unwrap();
        }
        let folder = OutputFolder::create(&target).unwrap();
        folder.write("a.txt", b"a").unwrap();
        fs::create_dir(folder.path().join("sub")).unwrap();
        folder.write("sub/b.txt", b"b").unwrap();
        assert!(!target.join("a.txt").exists(), "{case}");
        folder.finish().unwrap();
        assert_eq!(listing(&target), ["a.txt", "sub"], "{case}");
        assert_eq!(fs::read(target.join("sub/b.txt")).unwrap(), b"b", "{case}");
    }
    assert_eq!(listing(place.path()), ["deep", "empty", "new"]);
}

#[test]
fn dropped_it_leaves_nothing() {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join("empty")).unwrap();
    for target in ["new", "deep/er/new", "empty"] {
        let folder = OutputFolder::create(&place.path().join(target)).unwrap();
        folder.write("a.txt", b"a").unwrap();
        drop(folder);
        assert_eq!(listing(place.path()), ["empty"], "{target}");
        assert_eq!(listing(&place.path().join("empty")).len(), 0, "{target}");
    }
}

#[test]
fn what_is_there_is_not_touched() {
    let place = tempfile::tempdir().unwrap();
    let full = place.path().join("full");
    fs::create_dir(&full).unwrap();
    fs::write(full.join("mine.txt"), "mine").unwrap();
    let error = OutputFolder::create(&full).unwrap_err();
    assert!(matches!(error, OutputError::NotEmpty { .. }), "{error:?}");
    assert!(error.to_string().contains("found mine.txt in it, expected a new or an empty folder"), "{error}");

    let error = OutputFolder::create(&full.join("mine.txt")).unwrap_err();
    assert!(matches!(error, OutputError::NotAFolder { .. }), "{error:?}");

    // Put there while the output was being made.
    let late = place.path().join("late");
    let folder = OutputFolder::create(&late).unwrap();
    folder.write("a.txt", b"a").unwrap();
    fs::create_dir(&late).unwrap();
    fs::write(late.join("mine.txt"), "mine").unwrap();
    let error = folder.finish().unwrap_err();
    assert!(matches!(error, OutputError::NotEmpty { .. }), "{error:?}");
    assert_eq!(listing(&late), ["mine.txt"]);
    assert_eq!(listing(place.path()), ["full", "late"]);
}

#[test]
fn what_is_finished_is_kept_until_success() {
    let place = tempfile::tempdir().unwrap();
    for (case, exists) in [("new", false), ("deep/er", false), ("empty", true)] {
        let target = place.path().join(case);
        if exists {
            fs::create_dir(&target).unwrap();
        }
        let beside =
            target.with_file_name(format!("{}.partial", target.file_name().unwrap().to_string_lossy()));
        let partial = if exists { target.join("empty.partial") } else { beside };
        // Nothing was finished: nothing is left.
        let folder = OutputFolder::resume(&target).unwrap();
        folder.write("a.txt", b"half").unwrap();
        drop(folder);
        assert!(!partial.exists() && target.exists() == exists, "{case}");
        // One part was, and one run at a time is at work on it.
        let folder = OutputFolder::resume(&target).unwrap();
        let kept = folder.kept().unwrap();
        fs::create_dir(&kept).unwrap();
        fs::write(kept.join("1"), b"one").unwrap();
        let error = OutputFolder::resume(&target).unwrap_err();
        assert!(matches!(error, OutputError::Busy { .. }), "{error:?}");
        drop(folder);
        assert_eq!(listing(&partial), ["lock", "parts"], "{case}");
        // What a killed run was building is not taken for a result.
        fs::create_dir(partial.join("building-x")).unwrap();
        fs::write(partial.join("building-x/b.txt"), b"torn").unwrap();
        let folder = OutputFolder::resume(&target).unwrap();
        assert_eq!(fs::read(folder.kept().unwrap().join("1")).unwrap(), b"one");
        folder.write("a.txt", b"a").unwrap();
        folder.finish().unwrap();
        assert_eq!(listing(&target), ["a.txt"], "{case}");
        assert!(!partial.exists(), "{case}");
    }
    assert_eq!(listing(place.path()), ["deep", "empty", "new"]);
}

#[test]
fn a_folder_of_that_name_that_is_not_ours_is_left_alone() {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join("out.partial")).unwrap();
    fs::write(place.path().join("out.partial/mine.txt"), "mine").unwrap();
    let error = OutputFolder::resume(&place.path().join("out")).unwrap_err();
    assert!(error.to_string().contains("out.partial': found mine.txt in it"), "{error}");
    // Without anything to keep it is of no account, in the output itself it is.
    drop(OutputFolder::create(&place.path().join("out")).unwrap());
    let inside = place.path().join("out.partial");
    fs::create_dir(inside.join("out.partial.partial")).unwrap();
    assert!(matches!(OutputFolder::create(&inside), Err(OutputError::NotEmpty { .. })));
    assert_eq!(listing(&inside), ["mine.txt", "out.partial.partial"]);
}

#[test]
fn a_file_where_a_parent_should_be() {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("file"), "").unwrap();
    let error = OutputFolder::create(&place.path().join("file/out")).unwrap_err();
    assert!(error.to_string().contains("file/out"), "{error}");
}

/// Root may write everywhere but into the kernel's own file systems; anyone else, not into a read-only folder.
#[test]
#[cfg(target_os = "linux")]
fn not_writable() {
    use std::os::unix::fs::PermissionsExt;
    let place = tempfile::tempdir().unwrap();
    let locked = place.path().join("locked");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o555)).unwrap();
    if fs::write(locked.join("probe"), "").is_ok() {
        // Root: the rights say nothing.
        let error = OutputFolder::create(Path::new("/proc/anomalens-out")).unwrap_err();
        assert!(error.to_string().contains("/proc/anomalens-out"), "{error}");
        return;
    }
    let error = OutputFolder::create(&locked.join("out")).unwrap_err();
    assert!(matches!(error, OutputError::NotWritable { .. }), "{error:?}");
    assert!(error.to_string().contains("locked/out"), "{error}");
}

/// A tmpfs of 64 KiB, unmounted on drop.
#[cfg(target_os = "linux")]
struct SmallDisk(PathBuf);

#[cfg(target_os = "linux")]
impl SmallDisk {
    fn mount(at: &Path) -> Option<Self> {
        let done = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"])
            .arg(at)
            .status()
            .is_ok_and(|status| status.success());
        done.then(|| Self(at.to_owned()))
    }
}

#[cfg(target_os = "linux")]
impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(&self.0).status();
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_named_and_left_empty() {
    let place = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(place.path()) else {
        assert!(std::env::var_os("CI").is_none(), "CI must be able to mount a tmpfs");
        eprintln!("SKIPPED a_full_disk_is_named_and_left_empty: only root can mount a tmpfs");
        return;
    };
    // The mount point itself, and a new folder on it.
    for target in [disk.0.clone(), disk.0.join("out")] {
        let folder = OutputFolder::create(&target).unwrap();
        folder.write("fits", &[1; 1024]).unwrap();
        let error = folder.write("big", &[1; 128 * 1024]).unwrap_err();
        assert!(matches!(error, OutputError::DiskFull { .. }), "{error:?}");
        let text = error.to_string();
        assert!(
            text.contains(&*target.join("big").to_string_lossy()) && text.contains("make room"),
            "{text}"
        );
        drop(folder);
        assert_eq!(listing(&disk.0).len(), 0);
    }
    // With room, a mount point can be the output.
    let folder = OutputFolder::create(&disk.0).unwrap();
    folder.write("fits", &[1; 1024]).unwrap();
    folder.finish().unwrap();
    assert_eq!(listing(&disk.0), ["fits"]);
}

#[test]
fn a_file_appears_whole_and_replaces_nothing() {
    let place = tempfile::tempdir().unwrap();
    let target = place.path().join("new.bin");
    let file = OutputFile::create(&target).unwrap();
    file.file().write_all(b"whole").unwrap();
    assert!(!target.exists());
    drop(file);
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0, "dropped, it leaves nothing");

    let (first, second) = (OutputFile::create(&target).unwrap(), OutputFile::create(&target).unwrap());
    first.file().write_all(b"first").unwrap();
    first.finish().unwrap();
    assert!(matches!(second.finish(), Err(OutputError::Exists { .. })), "put there meanwhile");
    assert!(matches!(OutputFile::create(&target), Err(OutputError::Exists { .. })));
    assert_eq!(fs::read(&target).unwrap(), b"first");
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    let nowhere = place.path().join("no/such/folder");
    assert!(matches!(OutputFile::create(&nowhere), Err(OutputError::Io { .. })));
}
