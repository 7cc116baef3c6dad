//! OpenVINO as a provider of ONNX Runtime: what it is told, and what it is not given.
//!
//! Two things it does silently are kept from it. What it cannot take, for an option that it does not know or a node that it has no
//! kernel for, ONNX Runtime would compute itself: [`ALONE`] makes that an error. And the gradient of a classifier comes out of it
//! wrong: by OpenVINO 2025.4.1, the one in `onnxruntime-openvino` 1.24.1, the demo's gradient is as far from the right one as nought
//! is, while the logits of the same graph are right. In bfloat16 a gradient would be a fifth off besides. So gradients stay
//! on ONNX Runtime's own kernels ([`leaves`]), which the same library has, and which are no slower there.

use std::path::Path;

use ort::ep::{self, ArbitrarilyConfigurableExecutionProvider, ExecutionProviderDispatch};

use super::{Provider, graph};

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
