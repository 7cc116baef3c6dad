//! Finding ONNX Runtime's library. It is loaded once a process, so each case runs in a process of its own: this test
//! program, started again to run `child` alone.

use std::path::{Path, PathBuf};
use std::process::Command;

use anomalens_runtime::engine::{
    EngineChoice, EngineOptions, LIBRARY_VARIABLE, LOCAL_LIBRARY, LOCAL_OPENVINO, OPENVINO_VARIABLE,
    Provider, open,
};

const CHOICE: &str = "ANOMALENS_TEST_CHOICE";
const PROVIDER: &str = "ANOMALENS_TEST_PROVIDER";

/// What a case's process says; on its own it has nothing to do.
#[test]
fn child() {
    let Ok(choice) = std::env::var(CHOICE) else { return };
    let choice: EngineChoice = choice.parse().unwrap();
    let provider = std::env::var(PROVIDER).map_or(Provider::Default, |provider| provider.parse().unwrap());
    match open(&EngineOptions { choice, provider, ..EngineOptions::default() }) {
        Ok(engine) => println!("took {}", engine.describe()),
        Err(error) => println!("refused: {error}"),
    }
}

/// What opening an engine says in a process with this folder and this library.
fn say(choice: EngineChoice, folder: &Path, library: &str) -> String {
    told(choice, folder, &[(LIBRARY_VARIABLE, library.as_ref())])
}

/// What opening OpenVINO says in a process with this folder and these libraries.
fn openvino(folder: &Path, libraries: &[(&str, &Path)]) -> String {
    let libraries = [&[(PROVIDER, Path::new("openvino"))], libraries].concat();
    told(EngineChoice::Auto, folder, &libraries)
}

fn told(choice: EngineChoice, folder: &Path, variables: &[(&str, &Path)]) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env_remove(LIBRARY_VARIABLE)
        .env_remove(OPENVINO_VARIABLE)
        .env(CHOICE, choice.to_string())
        .envs(variables.iter().copied())
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

/// A library that `make deps` has fetched, or the one that a variable names.
fn fetched(variable: &str, local: &str) -> Option<PathBuf> {
    let local = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(local);
    let path = std::env::var_os(variable).map_or(local, PathBuf::from);
    if path.is_file() {
        return Some(path);
    }
    eprintln!("skipped: found no {}, expected one by {variable} or `make deps`", path.display());
    None
}

#[test]
fn openvino_is_never_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    std::fs::write(here.join("text.so"), "not a library").unwrap();
    let (missing, text) = (Path::new("/nowhere/libonnxruntime.so"), Path::new("text.so"));
    let cases: [(&[(&str, &Path)], &str); 5] = [
        (
            &[],
            "its library was not found, looked for ANOMALENS_OPENVINO, ORT_DYLIB_PATH, .deps/onnxruntime-openvino",
        ),
        (&[(OPENVINO_VARIABLE, missing)], "/nowhere/libonnxruntime.so (named by ANOMALENS_OPENVINO)"),
        (&[(LIBRARY_VARIABLE, missing)], "/nowhere/libonnxruntime.so (named by ORT_DYLIB_PATH)"),
        (&[(OPENVINO_VARIABLE, missing), (LIBRARY_VARIABLE, text)], "(named by ANOMALENS_OPENVINO)"),
        (&[(OPENVINO_VARIABLE, text)], "text.so' cannot be loaded"),
    ];
    for (libraries, words) in cases {
        let said = openvino(here, libraries);
        assert!(said.contains("refused: ONNX Runtime: provider openvino cannot be used"), "{said}");
        assert!(
            said.contains(words) && said.contains("make deps PROVIDER=openvino"),
            "no '{words}' in {said}"
        );
    }
}

#[test]
fn a_library_without_openvino_is_refused() {
    let Some(library) = fetched(LIBRARY_VARIABLE, LOCAL_LIBRARY) else { return };
    let said = openvino(&std::env::temp_dir(), &[(LIBRARY_VARIABLE, &library)]);
    assert!(said.contains("refused: ort ") && said.contains("provider openvino cannot be used"), "{said}");
    assert!(said.contains("make deps PROVIDER=openvino"), "{said}");
}

#[test]
fn openvino_without_its_own_libraries_is_refused() {
    let Some(library) = fetched(OPENVINO_VARIABLE, LOCAL_OPENVINO) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (whole, lone) = (library.parent().unwrap(), folder.path().join("libonnxruntime.so"));
    std::fs::copy(&library, &lone).unwrap();
    // First ONNX Runtime's library alone, then with that of the provider, but still without OpenVINO.
    for more in ["", "libonnxruntime_providers_shared.so", "libonnxruntime_providers_openvino.so"] {
        if !more.is_empty() {
            std::fs::copy(whole.join(more), folder.path().join(more)).unwrap();
        }
        let said = openvino(folder.path(), &[(OPENVINO_VARIABLE, &lone)]);
        assert!(
            said.contains("refused: ort ") && said.contains("provider openvino cannot be used"),
            "{said}"
        );
        assert!(said.contains("make deps PROVIDER=openvino"), "{said}");
    }
    let said = openvino(folder.path(), &[(OPENVINO_VARIABLE, &library)]);
    assert!(said.contains("took ort ") && said.contains("(cpu, openvino in f32)"), "{said}");
}
