//! Where training runs, and in which numbers.

use std::ffi::{CStr, CString};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::error::TrainError;
use crate::interpret::Precision;

/// Environment variable that names the folder of libtorch's CUDA libraries.
pub const CUDA_FOLDER: &str = "ANOMALENS_LIBTORCH_CUDA";

/// Where training runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The processor.
    Cpu,
    /// The CUDA GPU of this index.
    Cuda(usize),
}

/// Which numbers training asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PrecisionChoice {
    /// bfloat16 where the device has units for it, else f32.
    #[default]
    Auto,
    /// f32.
    F32,
    /// bfloat16 products.
    Bf16,
}

impl DeviceChoice {
    /// Makes the device usable: for CUDA, loads libtorch's CUDA library into this program. To be called before any
    /// tensor is made.
    ///
    /// Errors: [`TrainError::Cuda`].
    pub fn open(self) -> Result<tch::Device, TrainError> {
        match self {
            Self::Cpu => Ok(tch::Device::Cpu),
            Self::Cuda(index) => {
                load_cuda()?;
                let count = tch::Cuda::device_count();
                if !tch::Cuda::is_available() || index as i64 >= count {
                    return Err(TrainError::Cuda {
                        found: format!("{count} usable GPUs"),
                        expected: format!("GPU {index}; see nvidia-smi, or train with --device cpu"),
                    });
                }
                Ok(tch::Device::Cuda(index))
            }
        }
    }
}

impl PrecisionChoice {
    /// The precision on a device.
    pub fn on(self, device: tch::Device) -> Precision {
        match self {
            Self::F32 => Precision::F32,
            Self::Bf16 => Precision::Bf16,
            Self::Auto if device.is_cuda() || processor_has_bf16() => Precision::Bf16,
            Self::Auto => Precision::F32,
        }
    }
}

/// Whether the processor multiplies bfloat16 matrices in hardware; elsewhere bfloat16 is slower than f32.
fn processor_has_bf16() -> bool {
    std::fs::read_to_string("/proc/cpuinfo").is_ok_and(|info| {
        info.lines()
            .find(|line| line.starts_with("flags"))
            .is_some_and(|flags| flags.split_whitespace().any(|f| f == "amx_bf16" || f == "avx512_bf16"))
    })
}

/// Loads `libtorch_cuda.so`. The linker leaves it out of the program, so that one program serves with and without it.
#[allow(unsafe_code)]
fn load_cuda() -> Result<(), TrainError> {
    let file = match std::env::var_os(CUDA_FOLDER) {
        Some(folder) => PathBuf::from(folder).join("libtorch_cuda.so"),
        None => PathBuf::from("libtorch_cuda.so"),
    };
    let name = CString::new(file.as_os_str().as_encoded_bytes()).expect("a path holds no NUL");
    // SAFETY: both strings end with NUL. dlopen runs the library's own initialisers, which register CUDA with
    // libtorch; this is what linking against it would do. The handle is kept open for the program's life.
    let error = unsafe {
        if !libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL).is_null() {
            return Ok(());
        }
        let text = libc::dlerror();
        if text.is_null() { "unknown".into() } else { CStr::from_ptr(text).to_string_lossy().into_owned() }
    };
    Err(TrainError::Cuda {
        found: format!("libtorch's CUDA library could not be loaded ({error})"),
        expected: format!(
            "libtorch_cuda.so: run `make deps-torch DEVICE=cuda` and start by scripts/with-deps, or name its folder by {CUDA_FOLDER}, or train with --device cpu"
        ),
    })
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let index = match text {
            "cpu" => return Ok(Self::Cpu),
            "cuda" => Some(0),
            _ => text.strip_prefix("cuda:").and_then(|index| index.parse().ok()),
        };
        index.map(Self::Cuda).ok_or_else(|| "expected cpu, cuda or cuda:N (the N-th GPU, from 0)".to_owned())
    }
}

impl fmt::Display for PrecisionChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        })
    }
}

impl FromStr for PrecisionChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            _ => Err("expected auto, f32 or bf16".to_owned()),
        }
    }
}
