//! Finding ONNX Runtime's library. It is loaded once a process, so each case runs in a process of its own: this test
//! program, started again to run `child` alone.

use std::path::Path;
use std::process::Command;

use anomalens_runtime::engine::{EngineChoice, EngineOptions, LIBRARY_VARIABLE, open};

const CHOICE: &str = "ANOMALENS_TEST_CHOICE";

/// What a case's process says; on its own it has nothing to do.
#[test]
fn child() {
    let Ok(choice) = std::env::var(CHOICE) else { return };
    let choice: EngineChoice = choice.parse().unwrap();
    match open(&EngineOptions { choice, ..EngineOptions::default() }) {
        Ok(engine) => println!("took {}", engine.describe()),
        Err(error) => println!("refused: {error}"),
    }
}

/// What opening an engine says in a process with this folder and this library.
fn say(choice: EngineChoice, folder: &Path, library: &str) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(CHOICE, choice.to_string())
        .env(LIBRARY_VARIABLE, library)
        .current_dir(folder)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

#[test]
fn a_library_that_a_person_named_must_be_there() {
    let folder = tempfile::tempdir().unwrap();
    // Also for auto: who names a library does not want another engine.
    for choice in [EngineChoice::Ort, EngineChoice::Auto] {
        let said = say(choice, folder.path(), "/nowhere/libonnxruntime.so");
        assert!(said.contains("refused: ONNX Runtime: its library was not found"), "{said}");
        assert!(said.contains("/nowhere/libonnxruntime.so (named by ORT_DYLIB_PATH)"), "{said}");
        assert!(said.contains("make deps") && said.contains("--engine tract"), "{said}");
    }
}

#[test]
fn what_is_no_library_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("text.so"), "not a library").unwrap();
    // Relative to the current folder, not to the program.
    let said = say(EngineChoice::Ort, folder.path(), "text.so");
    assert!(said.contains("text.so' cannot be loaded") && said.contains("make deps"), "{said}");
}

#[test]
fn auto_takes_tract_where_there_is_no_library() {
    let folder = tempfile::tempdir().unwrap();
    let ort = say(EngineChoice::Ort, folder.path(), "");
    let auto = say(EngineChoice::Auto, folder.path(), "");
    if ort.contains("took ort") {
        eprintln!("this system has ONNX Runtime among its own libraries: {ort}");
        return;
    }
    assert!(ort.contains(".deps/onnxruntime/libonnxruntime.so below the current folder"), "{ort}");
    assert!(auto.contains("took tract ") && auto.contains("ONNX Runtime was not found"), "{auto}");
}
