//! ONNX Runtime's shared library: found, loaded and initialised once a process.

use std::env;
use std::ffi::{CStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ort::environment::Environment;

use super::{EngineError, Provider};

/// The environment variable that names the library.
pub const LIBRARY_VARIABLE: &str = "ORT_DYLIB_PATH";
/// The one that names a library with OpenVINO's provider; it goes first where that is wanted.
pub const OPENVINO_VARIABLE: &str = "ANOMALENS_OPENVINO";
/// Where `make deps` puts the library, below the current folder or one of its parents.
pub const LOCAL_LIBRARY: &str = ".deps/onnxruntime/libonnxruntime.so";
/// Where `make deps PROVIDER=openvino` puts the one with OpenVINO: in a folder of its own, as the file's name is the same.
pub const LOCAL_OPENVINO: &str = ".deps/onnxruntime-openvino/libonnxruntime.so";
const LIBRARY_NAME: &str = "libonnxruntime.so";

/// Where a library is looked for.
struct Places {
    /// Environment variables, the first that is set.
    variables: &'static [&'static str],
    /// Below the current folder or one of its parents.
    local: &'static str,
    /// Below the program's folder.
    beside: &'static str,
    /// The name that the system's loader is asked for.
    system: Option<&'static str>,
}

const DEFAULT: Places = Places {
    variables: &[LIBRARY_VARIABLE],
    local: LOCAL_LIBRARY,
    beside: LIBRARY_NAME,
    system: Some(LIBRARY_NAME),
};

const OPENVINO: Places = Places {
    variables: &[OPENVINO_VARIABLE, LIBRARY_VARIABLE],
    local: LOCAL_OPENVINO,
    beside: "onnxruntime-openvino/libonnxruntime.so",
    system: None,
};

const OPENVINO_WAY_OUT: &str = "fetch ONNX Runtime with it by `make deps PROVIDER=openvino` (Linux on x86_64), or set ANOMALENS_OPENVINO to the libonnxruntime.so of one, which has its libonnxruntime_providers_openvino.so beside it, or leave --provider out";

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
    named(&DEFAULT).is_some()
}

/// The first variable that is set, and what it says.
fn named(places: &Places) -> Option<(&'static str, OsString)> {
    let value = |variable| env::var_os(variable).filter(|value| !value.is_empty());
    places.variables.iter().find_map(|&variable| Some((variable, value(variable)?)))
}

/// Finds and loads a library for a provider; later calls repeat the first one's answer, whatever provider they are for.
///
/// Errors: [`EngineError::LibraryNotFound`], [`EngineError::Library`], [`EngineError::LibraryTooOld`]; all of them as
/// [`EngineError::Provider`] where OpenVINO's is wanted.
pub(super) fn load(provider: Provider) -> Result<Library, EngineError> {
    let places = if provider.is_openvino() { &OPENVINO } else { &DEFAULT };
    match loaded(places) {
        Ok((library, _)) => Ok(library.clone()),
        Err(error) if provider.is_openvino() => Err(without_openvino(provider, error)),
        Err(error) => Err(error),
    }
}

/// The process's environment of ONNX Runtime, that of the library that was loaded; there can be only one.
pub(super) fn environment() -> Result<&'static Environment, EngineError> {
    loaded(&DEFAULT).map(|(_, environment)| environment)
}

fn loaded(places: &Places) -> Result<&'static (Library, Environment), EngineError> {
    static LOADED: OnceLock<Result<(Library, Environment), EngineError>> = OnceLock::new();
    LOADED.get_or_init(|| find_and_load(places)).as_ref().map_err(EngineError::clone)
}

/// The refusal of a provider that is not in the library, or of which something does not load.
pub(super) fn no_openvino(engine: String, provider: Provider, reason: String) -> EngineError {
    EngineError::Provider { engine, provider, reason, way_out: OPENVINO_WAY_OUT }
}

/// The same for want of a library, by its error.
fn without_openvino(provider: Provider, error: EngineError) -> EngineError {
    let reason = match error {
        EngineError::LibraryNotFound { searched } => {
            format!("its library was not found, looked for {}", searched.join(", "))
        }
        EngineError::Library { path, reason } => format!("'{}' cannot be loaded: {reason}", path.display()),
        EngineError::LibraryTooOld { path, found } => {
            format!("'{}' is version {found}, expected 1.{} or newer", path.display(), ort::MINOR_VERSION)
        }
        other => return other,
    };
    no_openvino("ONNX Runtime".to_owned(), provider, reason)
}

fn find_and_load(places: &Places) -> Result<(Library, Environment), EngineError> {
    if let Some((variable, path)) = named(places) {
        let path = PathBuf::from(path);
        if !path.is_file() {
            let searched = vec![format!("{} (named by {variable})", path.display())];
            return Err(EngineError::LibraryNotFound { searched });
        }
        // ort would take a relative path for one beside the program.
        return initialise(&std::path::absolute(&path).unwrap_or(path));
    }
    let files = candidates(places, env::current_dir().ok().as_deref(), env::current_exe().ok().as_deref());
    if let Some(path) = files.iter().find(|path| path.is_file()) {
        return initialise(path);
    }
    let mut searched: Vec<String> = places.variables.iter().map(|&variable| variable.to_owned()).collect();
    searched.push(format!("{} below the current folder and its parents", places.local));
    searched.push(format!("{} beside the program", places.beside));
    let Some(name) = places.system else { return Err(EngineError::LibraryNotFound { searched }) };
    searched.push("the system's libraries".to_owned());
    // The loader alone knows its own search path: try it, and take a failure to open for "not found".
    match initialise(Path::new(name)) {
        Err(EngineError::Library { .. }) => Err(EngineError::LibraryNotFound { searched }),
        other => other,
    }
}

/// The files that may be the library, best first.
fn candidates(places: &Places, current_folder: Option<&Path>, program: Option<&Path>) -> Vec<PathBuf> {
    let local = current_folder.into_iter().flat_map(Path::ancestors).map(|folder| folder.join(places.local));
    let beside = program.and_then(Path::parent).map(|folder| folder.join(places.beside));
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
        for (places, folder, beside) in [
            (&DEFAULT, "onnxruntime", "/opt/bin/libonnxruntime.so"),
            (&OPENVINO, "onnxruntime-openvino", "/opt/bin/onnxruntime-openvino/libonnxruntime.so"),
        ] {
            let found = candidates(places, Some(Path::new("/a/b")), Some(Path::new("/opt/bin/anomalens")));
            let expected = [
                format!("/a/b/.deps/{folder}/libonnxruntime.so"),
                format!("/a/.deps/{folder}/libonnxruntime.so"),
                format!("/.deps/{folder}/libonnxruntime.so"),
                beside.to_owned(),
            ];
            assert_eq!(found, expected.map(PathBuf::from));
        }
    }
}
