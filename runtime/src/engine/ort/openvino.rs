//! OpenVINO as a provider of ONNX Runtime: what it is told, and what it is not given.
//!
//! Two things it does silently are kept from it. What it cannot take, for an option that it does not know or a node that it has no
//! kernel for, ONNX Runtime would compute itself: [`ALONE`] makes that an error. And the gradient of a classifier comes out of it
//! wrong: by OpenVINO 2025.4.1, the one in `onnxruntime-openvino` 1.24.1, the demo's gradient is as far from the right one as nought
//! is, while the logits of the same graph are right. In bfloat16 a gradient would be a fifth off besides. So gradients stay
//! on ONNX Runtime's own kernels ([`leaves`]), which the same library has, and which take two thirds to three quarters of OpenVINO's time.

use std::path::Path;

use ort::ep::{self, ArbitrarilyConfigurableExecutionProvider, ExecutionProviderDispatch};

use super::{EngineError, Provider, graph};
use crate::engine::graph_name;

/// A session's entry by which a node that the provider does not take is an error.
pub(super) const ALONE: (&str, &str) = ("session.disable_cpu_ep_fallback", "1");

/// The output that a graph of a gradient has, and no other.
const GRADIENT: &str = "gradient";

/// The provider. What it computes in is said for f32, too: left to itself it may take bfloat16 where the processor has it.
pub(super) fn provider(provider: Provider, threads: Option<usize>) -> ExecutionProviderDispatch {
    let precision = if provider == Provider::OpenVinoBf16 { "bf16" } else { "f32" };
    let openvino = ep::OpenVINO::default().with_device_type("CPU").with_arbitrary_config(
        "load_config",
        format!(r#"{{"CPU":{{"INFERENCE_PRECISION_HINT":"{precision}"}}}}"#),
    );
    match threads {
        Some(threads) => openvino.with_num_threads(threads),
        None => openvino,
    }
    .build()
}

/// Whether a graph is left to ONNX Runtime's own kernels; one that cannot be read fails by any.
pub(super) fn leaves(onnx: &Path) -> bool {
    graph(onnx).is_some_and(|graph| graph.output.iter().any(|output| output.name == GRADIENT))
}

/// The error of a graph that ONNX Runtime's own kernels take and OpenVINO does not.
pub(super) fn refused(engine: String, provider: Provider, onnx: &Path, reason: &str) -> EngineError {
    EngineError::Provider {
        engine,
        provider,
        reason: format!("graph '{}': {reason}", graph_name(onnx)),
        way_out: "leave --provider out: ONNX Runtime's own kernels take this graph",
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use ort::session::Session as OrtRun;

    use super::*;
    use crate::engine::{
        EngineChoice, EngineError, EngineOptions, LOCAL_OPENVINO, OPENVINO_VARIABLE, library,
    };
    use crate::testing::onnx::{write_classifier, write_determinant, write_norm};

    const CHILD: &str = "ANOMALENS_TEST_OPENVINO";

    /// Options of which none is right but the first, and what becomes of a graph by them where fallback is forbidden.
    fn cases() -> [(&'static str, ep::OpenVINO, bool); 5] {
        let openvino = || ep::OpenVINO::default().with_device_type("CPU");
        [
            ("right", openvino(), true),
            ("a device", ep::OpenVINO::default().with_device_type("XPU"), false),
            ("an option", openvino().with_arbitrary_config("no_such_option", "1"), false),
            ("no JSON", openvino().with_arbitrary_config("load_config", "{no"), false),
            (
                "a property",
                openvino().with_arbitrary_config("load_config", r#"{"CPU":{"NO_SUCH":"1"}}"#),
                false,
            ),
        ]
    }

    /// What a graph of one norm comes to by a provider; `alone`: without fallback.
    fn load(folder: &Path, openvino: ep::OpenVINO, alone: bool) -> ort::Result<OrtRun> {
        let path = folder.join("norm.onnx");
        write_norm(&path, 64);
        let mut builder = OrtRun::builder(library::environment().unwrap())?;
        if alone {
            builder = builder.with_config_entry(ALONE.0, ALONE.1)?;
        }
        builder.with_execution_providers([openvino.build().error_on_failure()])?.commit_from_file(&path)
    }

    /// In a process of its own, which alone has OpenVINO's library; on its own it has nothing to do.
    #[test]
    fn child() {
        if std::env::var_os(CHILD).is_none() {
            return;
        }
        let options = EngineOptions {
            choice: EngineChoice::Ort,
            provider: Provider::OpenVino,
            ..EngineOptions::default()
        };
        let engine = crate::engine::open(&options).unwrap();
        println!("took {}", engine.describe());
        let folder = tempfile::tempdir().unwrap();
        // A node that it has no kernel for, and a file that no kernels take.
        let (determinant, text) = (folder.path().join("determinant.onnx"), folder.path().join("text.onnx"));
        write_determinant(&determinant);
        let error = engine.load(&determinant).map(drop).unwrap_err();
        assert!(matches!(&error, EngineError::Provider { .. }), "{error}");
        assert!(error.to_string().contains("graph 'determinant.onnx'"), "{error}");
        assert!(error.to_string().contains("leave --provider out"), "{error}");
        std::fs::write(&text, "not a graph").unwrap();
        let error = engine.load(&text).map(drop).unwrap_err();
        assert!(matches!(&error, EngineError::Model { .. }), "{error}");
        for (name, openvino, right) in cases() {
            let alone = load(folder.path(), openvino.clone(), true);
            let told = alone.as_ref().err().map(|error| error.message().to_owned());
            assert_eq!(alone.is_ok(), right, "{name}: {told:?}");
            // What is guarded against.
            let silent = load(folder.path(), openvino, false).is_ok();
            println!(
                "{name}: loads {right}, {silent} where ONNX Runtime may stand in; {}",
                told.unwrap_or_default()
            );
        }
        println!("every case was tried");
    }

    #[test]
    fn what_openvino_does_not_take_is_an_error() {
        let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(LOCAL_OPENVINO);
        if std::env::var_os(OPENVINO_VARIABLE).is_none() && !fetched.is_file() {
            eprintln!("skipped: no ONNX Runtime with OpenVINO: make deps PROVIDER=openvino");
            return;
        }
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "engine::ort::openvino::tests::child", "--nocapture"])
            .env(CHILD, "yes")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        println!("{said}");
        assert!(said.contains("openvino in f32") && said.contains("every case was tried"), "{said}");
        // Else the entry that forbids it would guard against nothing.
        assert!(said.contains("loads false, true where ONNX Runtime may stand in"), "{said}");
    }

    #[test]
    fn gradients_are_left_to_onnx_runtime() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        write_classifier(&path("renamed.onnx"), 2, 4, false);
        write_norm(&path("norm.onnx"), 8);
        // By what it computes, not by the name of its file.
        assert!(leaves(&path("renamed.onnx")));
        assert!(!leaves(&path("norm.onnx")) && !leaves(&path("missing.onnx")));
    }
}
