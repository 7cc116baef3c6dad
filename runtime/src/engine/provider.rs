//! Whose kernels ONNX Runtime computes by.

use std::fmt;
use std::str::FromStr;

use super::{Device, EngineChoice, EngineError, EngineOptions};

/// Whose kernels ONNX Runtime computes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Provider {
    /// ONNX Runtime's own, of the device.
    #[default]
    Default,
    /// OpenVINO's on the processor, in f32; gradients stay on ONNX Runtime's own.
    OpenVino,
    /// The same, but that convolutions and products of networks take bfloat16 (8 bits of mantissa) in and add in f32. For
    /// processors that multiply bfloat16; others would emulate it, slowly.
    OpenVinoBf16,
}

impl Provider {
    /// Whether the kernels are OpenVINO's.
    pub(super) fn is_openvino(self) -> bool {
        matches!(self, Self::OpenVino | Self::OpenVinoBf16)
    }

    /// Whether the engine, the device and the processor of `options` go with their provider.
    ///
    /// Errors: [`EngineError::Provider`].
    pub(super) fn check(options: &EngineOptions) -> Result<(), EngineError> {
        let provider = options.provider;
        if provider == Self::Default {
            return Ok(());
        }
        let refused = |reason: String, way_out: &'static str| {
            let engine = match options.choice {
                EngineChoice::Tract => "tract",
                EngineChoice::Auto | EngineChoice::Ort => "ONNX Runtime",
            };
            Err(EngineError::Provider { engine: engine.to_owned(), provider, reason, way_out })
        };
        if options.choice == EngineChoice::Tract {
            return refused(
                "tract has kernels of its own alone".into(),
                "choose --engine ort, or leave --provider out",
            );
        }
        if options.device != Device::Cpu {
            return refused(
                format!("it computes on the processor, found --device {}", options.device),
                "choose --device cpu, or leave --provider out",
            );
        }
        match missing_for_bf16() {
            Some(found) if provider == Self::OpenVinoBf16 => refused(
                format!("this processor has {found}, expected avx512_bf16, as all with AMX have"),
                "choose --provider openvino, which computes in f32",
            ),
            _ => Ok(()),
        }
    }
}

/// What this processor has instead where it cannot multiply bfloat16; `None` where it can.
fn missing_for_bf16() -> Option<&'static str> {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512bf16") {
            None
        } else if is_x86_feature_detected!("avx512f") {
            Some("AVX-512 without avx512_bf16")
        } else {
            Some("no AVX-512")
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        Some("no x86_64 instructions")
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => "default",
            Self::OpenVino => "openvino",
            Self::OpenVinoBf16 => "openvino-bf16",
        })
    }
}

impl FromStr for Provider {
    type Err = EngineError;

    fn from_str(text: &str) -> Result<Self, EngineError> {
        match text {
            "default" => Ok(Self::Default),
            "openvino" => Ok(Self::OpenVino),
            "openvino-bf16" => Ok(Self::OpenVinoBf16),
            _ => Err(EngineError::Name {
                what: "provider",
                found: text.to_owned(),
                expected: "default, openvino or openvino-bf16",
            }),
        }
    }
}
