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
    /// f32, but products may round their operands to TF32; on a GPU alone.
    Tf32,
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
    ///
    /// Errors: [`TrainError::Option`] for TF32 on a processor, which has no such numbers.
    pub fn on(self, device: tch::Device) -> Result<Precision, TrainError> {
        Ok(match self {
            Self::F32 => Precision::F32,
            Self::Tf32 if device.is_cuda() => Precision::Tf32,
            Self::Tf32 => {
                return Err(TrainError::Option {
                    what: "--precision".into(),
                    found: "tf32 on the processor".into(),
                    expected: "f32 or bf16 there, or --device cuda".into(),
                });
            }
            Self::Bf16 => Precision::Bf16,
            Self::Auto if device.is_cuda() || processor_has_bf16() => Precision::Bf16,
            Self::Auto => Precision::F32,
        })
    }
}

/// Lets products of f32 on a GPU round their operands to TF32, or forbids it, in all of this program. Left alone, libtorch
/// forbids it in matrix products and allows it in convolutions.
pub fn allow_tf32(allow: bool) {
    // SAFETY: the signatures are those of ATen/Context.h, libtorch 2.11. The context is one object that is never freed, and
    // both functions only set flags in it.
    #[allow(unsafe_code)]
    unsafe {
        let context = at::global_context();
        at::set_allow_tf32_cublas(context, allow);
        at::set_allow_tf32_cudnn(context, allow);
    }
}

/// What tch does not offer of libtorch.
mod at {
    use std::ffi::c_void;

    #[allow(unsafe_code)]
    unsafe extern "C" {
        /// `at::Context& at::globalContext()`.
        #[link_name = "_ZN2at13globalContextEv"]
        pub fn global_context() -> *mut c_void;
        /// `void at::Context::setAllowTF32CuBLAS(bool)`: matrix products.
        #[link_name = "_ZN2at7Context18setAllowTF32CuBLASEb"]
        pub fn set_allow_tf32_cublas(context: *mut c_void, allow: bool);
        /// `void at::Context::setAllowTF32CuDNN(bool)`: convolutions.
        #[link_name = "_ZN2at7Context17setAllowTF32CuDNNEb"]
        pub fn set_allow_tf32_cudnn(context: *mut c_void, allow: bool);
        /// `bool at::Context::allowTF32CuBLAS() const`.
        #[cfg(test)]
        #[link_name = "_ZNK2at7Context15allowTF32CuBLASEv"]
        pub fn allow_tf32_cublas(context: *const c_void) -> bool;
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
            Self::Tf32 => "tf32",
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
            "tf32" => Ok(Self::Tf32),
            "bf16" => Ok(Self::Bf16),
            _ => Err("expected auto, f32, tf32 or bf16".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tf32_is_what_was_said_last() {
        // SAFETY: as in `allow_tf32`; this function only reads a flag.
        #[allow(unsafe_code)]
        let allowed = || unsafe { at::allow_tf32_cublas(at::global_context()) };
        for allow in [true, false, true, false] {
            allow_tf32(allow);
            assert_eq!(allowed(), allow);
        }
    }

    #[test]
    fn tf32_is_a_gpus_alone() {
        let gpu = tch::Device::Cuda(0);
        assert_eq!(PrecisionChoice::Tf32.on(gpu).unwrap(), Precision::Tf32);
        assert_eq!(PrecisionChoice::Auto.on(gpu).unwrap(), Precision::Bf16);
        let text = PrecisionChoice::Tf32.on(tch::Device::Cpu).unwrap_err().to_string();
        assert!(text.contains("--device cuda"), "{text}");
    }
}
