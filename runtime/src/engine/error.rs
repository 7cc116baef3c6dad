//! Why an engine could not be opened, or could not run a graph.

use std::path::PathBuf;

use super::{Device, Provider};

/// Why an engine could not be opened, or could not run a graph.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// A word that names no engine, device or provider.
    #[error("{what} '{found}', expected {expected}")]
    Name {
        /// `engine`, `device` or `provider`.
        what: &'static str,
        /// The word.
        found: String,
        /// The words there are.
        expected: &'static str,
    },
    /// No threads.
    #[error("0 threads, expected at least 1; leave the option out for one a core")]
    Threads,
    /// ONNX Runtime's library is nowhere.
    #[error("ONNX Runtime: its library was not found, looked for {}; fetch it with `make deps`, or set ORT_DYLIB_PATH to it, or choose --engine tract", searched.join(", "))]
    LibraryNotFound {
        /// Where it was looked for.
        searched: Vec<String>,
    },
    /// The library is there but cannot be loaded.
    #[error("ONNX Runtime: '{}' cannot be loaded: {reason}; expected a libonnxruntime.so for this machine, 1.{} or newer: fetch one with `make deps`, or set ORT_DYLIB_PATH to one, or choose --engine tract", path.display(), ort::MINOR_VERSION)]
    Library {
        /// The library.
        path: PathBuf,
        /// The loader's words.
        reason: String,
    },
    /// The library is too old.
    #[error("ONNX Runtime: '{}' is version {found}, expected 1.{} or newer; fetch one with `make deps`, or set ORT_DYLIB_PATH to one, or choose --engine tract", path.display(), ort::MINOR_VERSION)]
    LibraryTooOld {
        /// The library.
        path: PathBuf,
        /// Its version.
        found: String,
    },
    /// The device is not to be had.
    #[error("{engine}: device {device} cannot be used: {reason}; {way_out}")]
    Device {
        /// The engine and its version.
        engine: String,
        /// The device.
        device: Device,
        /// The engine's words.
        reason: String,
        /// What to do.
        way_out: &'static str,
    },
    /// The provider is not to be had.
    #[error("{engine}: provider {provider} cannot be used: {reason}; {way_out}")]
    Provider {
        /// The engine, and its version where one is known.
        engine: String,
        /// The provider.
        provider: Provider,
        /// What is wrong.
        reason: String,
        /// What to do.
        way_out: &'static str,
    },
    /// The file is no graph that the engine can run.
    #[error("{engine}: graph '{}' cannot be loaded: {reason}; expected an ONNX graph with its weights beside it: write the bundle again with anomalens-export bundle", path.display())]
    Model {
        /// The engine and its version.
        engine: String,
        /// The graph.
        path: PathBuf,
        /// The engine's words.
        reason: String,
    },
    /// A trace of an engine that writes none.
    #[error("tract writes no trace of what a node takes, expected ONNX Runtime; choose --engine ort")]
    Profile,
    /// A value that the graph does not take.
    #[error("graph '{graph}': input {input}: found {found}, expected {expected}")]
    Input {
        /// The graph's file name.
        graph: String,
        /// The input's name.
        input: String,
        /// What was given.
        found: String,
        /// What the graph takes.
        expected: String,
    },
    /// The engine failed while it computed.
    #[error("{engine}: graph '{graph}' failed: {reason}; a smaller --batch needs less memory")]
    Run {
        /// The engine and its version.
        engine: String,
        /// The graph's file name.
        graph: String,
        /// The engine's words.
        reason: String,
    },
    /// There was not enough memory for a batch.
    #[error("{engine}: graph '{graph}' ran out of memory: {reason}; choose a smaller --batch")]
    OutOfMemory {
        /// The engine and its version.
        engine: String,
        /// The graph's file name.
        graph: String,
        /// The engine's words.
        reason: String,
    },
    /// The graph gave something that is not a number.
    #[error(
        "graph '{graph}': output {output} at {index:?} is {found}, expected a finite number; check the weights with anomalens-export verify, or choose a lower --scale"
    )]
    NotFinite {
        /// The graph's file name.
        graph: String,
        /// The output's name.
        output: String,
        /// The first place.
        index: Vec<usize>,
        /// The value there.
        found: f32,
    },
}

/// How ONNX Runtime, CUDA, cuDNN, cuBLAS and C++ say that there is no memory left; there is no code for it, all come as "failed".
const NO_MEMORY: [&str; 6] = [
    "failed to allocate memory",
    "is smaller than requested bytes",
    "out of memory",
    "status_alloc_failed",
    "bad_alloc",
    "bad allocation",
];

impl EngineError {
    /// The error of a run that failed with these words: [`Self::OutOfMemory`] or [`Self::Run`].
    pub(super) fn failed(engine: String, graph: String, reason: &str) -> Self {
        let (words, reason) = (reason.to_lowercase(), reason.to_owned());
        match NO_MEMORY.iter().any(|sign| words.contains(sign)) {
            true => Self::OutOfMemory { engine, graph, reason },
            false => Self::Run { engine, graph, reason },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_want_of_memory_is_told_from_other_failures() {
        let is = |reason: &str| {
            let error = EngineError::failed("ort".into(), "unet.onnx".into(), reason);
            assert!(error.to_string().contains(reason) && error.to_string().contains("--batch"), "{error}");
            matches!(error, EngineError::OutOfMemory { .. })
        };
        for reason in [
            "Non-zero status code returned while running NhwcConv node. Status Message: bfc_arena.cc:376 \
             AllocateRawInternal Failed to allocate memory for requested buffer of size 4294967296",
            "bfc_arena.cc:347 Available memory of 1048576 is smaller than requested bytes of 4294967296",
            "CUDA failure 2: out of memory ; GPU=0 ; hostname=x ; expr=cudaMalloc((void**)&p, size);",
            "CUDNN failure 4: CUDNN_STATUS_ALLOC_FAILED",
            "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED",
            "std::bad_alloc",
        ] {
            assert!(is(reason), "{reason}");
        }
        for reason in [
            "CUDA failure 900: operation not permitted when stream is capturing",
            "Non-zero status code returned while running Reshape node",
            "",
        ] {
            assert!(!is(reason), "{reason}");
        }
    }
}
