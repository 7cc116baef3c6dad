//! An archive that others wrote takes every object, gives back what it was sent, and shows it.

use std::path::Path;
use std::process::Command;

use crate::objects::{both, compare};
use crate::sources::{have, have_python};

#[test]
fn orthanc_gives_back_and_shows_what_it_was_sent() {
    if !have("Orthanc") || !have("storescu") || !have_python("pydicom") || !have_python("PIL") {
        return;
    }
    let studies = both();
    let mut command = Command::new("python3");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/orthanc.py"));
    let mut expected = Vec::new();
    for (name, done) in &studies {
        for object in done.objects() {
            command.args([&object, &object]);
            expected.push((format!("{name}: {}", object.display()), true));
        }
    }
    // What is wrong must be seen: the last byte of a file is a pixel's.
    let (_, done) = &studies[0];
    for file in ["segmentation.dcm", "parametric-map.dcm", "pictures.dcm"] {
        let (object, changed) = (done.out().join(file), done.out().join(format!("changed-{file}")));
        let mut bytes = std::fs::read(&object).unwrap();
        *bytes.last_mut().unwrap() ^= 0x55;
        std::fs::write(&changed, bytes).unwrap();
        command.args([&object, &changed]);
        expected.push((format!("{file}, another pixel"), false));
    }
    compare(&mut command, &expected);
}
