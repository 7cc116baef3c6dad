//! ONNX Runtime's shared library: found, loaded and initialised once a process.

use std::env;
use std::ffi::{CStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ort::environment::Environment;

use super::EngineError;

/// The environment variable that names the library.
pub const LIBRARY_VARIABLE: &str = "ORT_DYLIB_PATH";
/// Where `make deps` puts the library, below the current folder or one of its parents.
pub const LOCAL_LIBRARY: &str = ".deps/onnxruntime/libonnxruntime.so";
const LIBRARY_NAME: &str = "libonnxruntime.so";

/// ONNX Runtime's library, loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Library {
    /// The file, or its bare name where the system's loader found it.
    pub path: PathBuf,
    /// Its version, e.g. `1.31.1`.
    pub version: String,
}

/// Whether a person named the library, so that no other may stand in for it.
pub(super) fn named_by_a_person() -> bool {
    named().is_some()
}

fn named() -> Option<OsString> {
    env::var_os(LIBRARY_VARIABLE).filter(|value| !value.is_empty())
}

/// Finds and loads the library; later calls repeat the first one's answer.
///
/// Errors: [`EngineError::LibraryNotFound`], [`EngineError::Library`], [`EngineError::LibraryTooOld`].
pub(super) fn load() -> Result<Library, EngineError> {
    loaded().map(|(library, _)| library.clone())
}

/// The process's environment of ONNX Runtime; there can be only one.
pub(super) fn environment() -> Result<&'static Environment, EngineError> {
    loaded().map(|(_, environment)| environment)
}

fn loaded() -> Result<&'static (Library, Environment), EngineError> {
    static LOADED: OnceLock<Result<(Library, Environment), EngineError>> = OnceLock::new();
    LOADED.get_or_init(find_and_load).as_ref().map_err(EngineError::clone)
}

fn find_and_load() -> Result<(Library, Environment), EngineError> {
    let mut searched = Vec::new();
    if let Some(path) = named() {
        let path = PathBuf::from(path);
        if !path.is_file() {
            searched.push(format!("{} (named by {LIBRARY_VARIABLE})", path.display()));
            return Err(EngineError::LibraryNotFound { searched });
        }
        // ort would take a relative path for one beside the program.
        return initialise(&std::path::absolute(&path).unwrap_or(path));
    }
    for path in candidates(env::current_dir().ok().as_deref(), env::current_exe().ok().as_deref()) {
        if path.is_file() {
            return initialise(&path);
        }
    }
    searched.push(LIBRARY_VARIABLE.to_owned());
    searched.push(format!("{LOCAL_LIBRARY} below the current folder and its parents"));
    searched.push("beside the program".to_owned());
    searched.push("the system's libraries".to_owned());
    // The loader alone knows its own search path: try it, and take a failure to open for "not found".
    match initialise(Path::new(LIBRARY_NAME)) {
        Err(EngineError::Library { .. }) => Err(EngineError::LibraryNotFound { searched }),
        other => other,
    }
}

/// The files that may be the library, best first.
fn candidates(current_folder: Option<&Path>, program: Option<&Path>) -> Vec<PathBuf> {
    let local = current_folder.into_iter().flat_map(Path::ancestors).map(|folder| folder.join(LOCAL_LIBRARY));
    let beside = program.and_then(Path::parent).map(|folder| folder.join(LIBRARY_NAME));
    local.chain(beside).collect()
}

fn initialise(path: &Path) -> Result<(Library, Environment), EngineError> {
    let failed = |reason: String| EngineError::Library { path: path.to_owned(), reason };
    let builder = ort::init_from(path).map_err(|error| match error {
        ort::LoadDynamicError::BadVersion { version_str, path } => {
            EngineError::LibraryTooOld { path, found: version_str }
        }
        ort::LoadDynamicError::Dlopen { error, .. } => failed(error.to_string()),
        ort::LoadDynamicError::MissingApi { .. } | ort::LoadDynamicError::InvalidVersionString => {
            failed(error.to_string())
        }
    })?;
    let environment = builder
        .with_name("anomalens")
        .with_telemetry(false)
        .build()
        .map_err(|error| failed(error.to_string()))?;
    let version = version(path).map_err(|error| failed(error.to_string()))?;
    Ok((Library { path: path.to_owned(), version }, environment))
}

/// The version that the library says it has; `ort` reads it, but does not tell.
#[allow(unsafe_code)]
fn version(path: &Path) -> Result<String, libloading::Error> {
    // SAFETY: ort has loaded and initialised this very library, so opening it again runs no code of it, and its
    // `OrtGetApiBase` is what the C header declares: a function that returns a pointer to a static `OrtApiBase`,
    // whose version string is static and ends with a NUL.
    unsafe {
        let library = libloading::Library::new(path)?;
        let api_base: libloading::Symbol<unsafe extern "C" fn() -> *const ort::sys::OrtApiBase> =
            library.get(b"OrtGetApiBase")?;
        let version = ((*api_base()).GetVersionString)();
        Ok(CStr::from_ptr(version).to_string_lossy().into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn library_is_looked_for_in_every_parent_and_then_beside_the_program() {
        let found = candidates(Some(Path::new("/a/b")), Some(Path::new("/opt/bin/anomalens")));
        let expected = [
            "/a/b/.deps/onnxruntime/libonnxruntime.so",
            "/a/.deps/onnxruntime/libonnxruntime.so",
            "/.deps/onnxruntime/libonnxruntime.so",
            "/opt/bin/libonnxruntime.so",
        ];
        assert_eq!(found, expected.map(PathBuf::from));
    }
}
