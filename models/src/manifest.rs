//! The manifest of a bundle: `manifest.json`, what an integrator or another program needs to know of it.
//!
//! A bundle is a folder that is complete by itself:
//!
//! ```text
//! manifest.json               this file: preset, conventions, verification, SHA-256 of every other file
//! weights.safetensors         every parameter once; the graphs point into it (ONNX external data)
//! unet.onnx                   x_t [N, C, H, W], t [N], (y [N]) -> out [N, 2C, H, W] or [N, C, H, W]; the first C channels are eps
//! classifier_gradient.onnx    x_t [N, C, H, W], t [N], y [N] -> logits [N, K], gradient [N, C, H, W]
//! encode_step.onnx            unet.onnx and the update of a step in one graph, see [`crate::step`]; may be absent
//! guided_step.onnx            classifier_gradient.onnx and the update; may be absent
//! fitness.json                what images of the training cohort look like; may be absent
//! MODEL_CARD.md
//! ```
//!
//! That is a bundle of the guided pair. One of a method that makes images healthy in one pass has, in place of both graphs,
//!
//! ```text
//! network.onnx                x [N, C, H, W] in [0, 1] -> healthy [N, C, H, W]
//! ```

mod verification;

pub use verification::{ParityCheck, Trajectory, Verification};

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::fitness::FITNESS;
use crate::output::{self, OutputError};
use crate::preset::{Preset, PresetError};
use crate::stats::Training;
use crate::weights::Precision;

/// The manifest's file name.
pub const MANIFEST: &str = "manifest.json";
/// The weights' file name.
pub const WEIGHTS: &str = "weights.safetensors";
/// The U-Net's file name.
pub const UNET: &str = "unet.onnx";
/// The classifier gradient's file name.
pub const CLASSIFIER_GRADIENT: &str = "classifier_gradient.onnx";
/// The file name of a step of the way up: the U-Net and the update.
pub const ENCODE_STEP: &str = "encode_step.onnx";
/// The file name of what guides a step: the classifier's gradient and the update.
pub const GUIDED_STEP: &str = "guided_step.onnx";
/// The file name of a network that makes images healthy in one pass.
pub const NETWORK: &str = "network.onnx";
/// The model card's file name.
pub const MODEL_CARD: &str = "MODEL_CARD.md";
/// The target that every machine has; a graph for another must be verified where it is to run.
pub const PORTABLE: &str = "portable";
/// The target that is ONNX Runtime's CUDA provider.
pub const ORT_CUDA: &str = "ort-cuda";
/// The version of the manifest that this crate writes and reads.
pub const FORMAT: u32 = 1;

/// What an integrator or another program needs to know of a bundle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// Program and version that wrote the bundle.
    pub tool: String,
    /// The definition that the networks were built from: schedule, T, channels, normalisation, healthy class,
    /// default L and s.
    pub preset: Preset,
    /// Where the weights come from, in a person's words; shown in every report.
    pub provenance: String,
    /// How each network was trained, as far as its trainer said so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub training: Vec<Training>,
    /// How a noise level becomes the number that the networks are given: `max(level - 1, 0)`; `none` where a network knows no
    /// noise levels.
    pub step_convention: String,
    /// Clamp of the predicted x_0, or `none`.
    pub clamp: String,
    /// Kernels that the U-Net was lowered for: [`PORTABLE`] or [`ORT_CUDA`]. The classifier's gradient is always portable, and
    /// so is a network that makes images healthy in one pass.
    pub target: String,
    /// Floating-point type of the U-Net, in its file and as it computes: `f32` or `f16`. The classifier's gradient is
    /// always f32.
    pub precision: String,
    /// What the parity gate found.
    pub verification: Verification,
    /// Size and SHA-256 of every other file of the bundle. A graph that is not listed is not part of it.
    pub files: BTreeMap<String, FileEntry>,
}

/// Size and hash of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Bytes.
    pub bytes: u64,
    /// SHA-256, lower-case hexadecimal.
    pub sha256: String,
}

/// Why a bundle was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// A file could not be read.
    #[error("bundle '{bundle}': {file}: {source}; expected a folder written by anomalens-export bundle")]
    Io {
        /// The bundle's folder.
        bundle: PathBuf,
        /// The file.
        file: String,
        /// The cause.
        source: io::Error,
    },
    /// Not JSON, or a key is missing or of the wrong type.
    #[error("bundle '{bundle}': {MANIFEST}: {source}; write the bundle again with anomalens-export bundle")]
    Key {
        /// The bundle's folder.
        bundle: PathBuf,
        /// The cause: names the key, line and column.
        source: serde_json::Error,
    },
    /// A value of the preset does not fit.
    #[error("bundle '{bundle}': {MANIFEST}: {source}; write the bundle again with anomalens-export bundle")]
    Preset {
        /// The bundle's folder.
        bundle: PathBuf,
        /// The cause.
        source: Box<PresetError>,
    },
    /// Written by a newer program.
    #[error(
        "bundle '{bundle}': {MANIFEST}: format {found}, this program reads {FORMAT}; use the version that wrote it: {tool}"
    )]
    Format {
        /// The bundle's folder.
        bundle: PathBuf,
        /// The format found.
        found: u64,
        /// The program that wrote it.
        tool: String,
    },
    /// A file is not what the manifest says.
    #[error(
        "bundle '{bundle}': {file}: found {found}, the manifest says {expected}; the file was changed or damaged: copy the bundle again"
    )]
    Mismatch {
        /// The bundle's folder.
        bundle: PathBuf,
        /// The file.
        file: String,
        /// What was found.
        found: String,
        /// What the manifest says.
        expected: String,
    },
    /// What is said of the training cohort's images cannot be used.
    #[error("bundle '{bundle}': {FITNESS}: {why}; measure it again with anomalens-export fitness")]
    Fitness {
        /// The bundle's folder.
        bundle: PathBuf,
        /// What was found, and what was expected.
        why: String,
    },
    /// A file name in the manifest leaves the folder.
    #[error(
        "bundle '{bundle}': {MANIFEST}: files: '{file}' is not a plain file name; a bundle's files stand beside its manifest"
    )]
    Path {
        /// The bundle's folder.
        bundle: PathBuf,
        /// The name found.
        file: String,
    },
}

impl Manifest {
    /// Reads `manifest.json` in `bundle`, without looking at the other files.
    ///
    /// Errors: [`BundleError::Io`], [`BundleError::Key`] (a missing key is named), [`BundleError::Format`],
    /// [`BundleError::Preset`], [`BundleError::Path`].
    pub fn read(bundle: &Path) -> Result<Self, BundleError> {
        let text = std::fs::read_to_string(bundle.join(MANIFEST)).map_err(|source| BundleError::Io {
            bundle: bundle.to_owned(),
            file: MANIFEST.to_owned(),
            source,
        })?;
        let key = |source| BundleError::Key { bundle: bundle.to_owned(), source };
        let value: serde_json::Value = serde_json::from_str(&text).map_err(key)?;
        // The version is looked at before the keys, so that a newer bundle is not called a broken one.
        if let Some(found) = value.get("format").and_then(serde_json::Value::as_u64)
            && found != u64::from(FORMAT)
        {
            let tool = value.get("tool").and_then(|t| t.as_str()).unwrap_or("unknown").to_owned();
            return Err(BundleError::Format { bundle: bundle.to_owned(), found, tool });
        }
        let manifest: Self = serde_json::from_str(&text).map_err(key)?;
        manifest
            .preset
            .check(&manifest.preset.name)
            .map_err(|source| BundleError::Preset { bundle: bundle.to_owned(), source: source.into() })?;
        for file in manifest.files.keys() {
            // Also on a system where the name is plain: a bundle goes from one to another.
            let plain = Path::new(file).file_name().is_some_and(|name| name == file.as_str());
            if !plain || file.contains(['/', '\\', ':', '\0']) {
                return Err(BundleError::Path { bundle: bundle.to_owned(), file: file.clone() });
            }
        }
        Ok(manifest)
    }

    /// Whether every file that the manifest names is there and as long as it says: what can be told at once.
    pub fn sizes_fit(&self, bundle: &Path) -> bool {
        let fits = |(file, entry): (&String, &FileEntry)| {
            std::fs::metadata(bundle.join(file)).is_ok_and(|found| found.len() == entry.bytes)
        };
        self.files.iter().all(fits)
    }

    /// Checks size and SHA-256 of every file that the manifest names.
    ///
    /// Errors: [`BundleError::Io`] for a missing file, [`BundleError::Mismatch`] for a changed one.
    pub fn check_files(&self, bundle: &Path) -> Result<(), BundleError> {
        for (file, expected) in &self.files {
            let found = FileEntry::of(&bundle.join(file)).map_err(|source| BundleError::Io {
                bundle: bundle.to_owned(),
                file: file.clone(),
                source,
            })?;
            if found != *expected {
                let say = |e: &FileEntry| format!("{} bytes, sha256 {}", e.bytes, e.sha256);
                return Err(BundleError::Mismatch {
                    bundle: bundle.to_owned(),
                    file: file.clone(),
                    found: say(&found),
                    expected: say(expected),
                });
            }
        }
        Ok(())
    }

    /// Writes `manifest.json` in the place of the one that is in `bundle`. Its hash, which is the bundle's name in reports, is
    /// another one then.
    ///
    /// Errors: [`OutputError`]; then the manifest is as it was.
    pub fn replace(&self, bundle: &Path) -> Result<(), OutputError> {
        output::replace(&bundle.join(MANIFEST), self.to_json().as_bytes())
    }

    /// The manifest as the JSON text that is written to disk. Its SHA-256 names the bundle, since it holds the
    /// hash of every other file.
    pub fn to_json(&self) -> String {
        let mut text =
            serde_json::to_string_pretty(self).expect("a manifest holds no map with non-string keys");
        text.push('\n');
        text
    }

    /// SHA-256 of the manifest on disk, lower-case hexadecimal: the name of the bundle in reports and UIDs.
    ///
    /// Errors: [`BundleError::Io`].
    pub fn bundle_hash(bundle: &Path) -> Result<String, BundleError> {
        Ok(FileEntry::of(&bundle.join(MANIFEST))
            .map_err(|source| BundleError::Io {
                bundle: bundle.to_owned(),
                file: MANIFEST.to_owned(),
                source,
            })?
            .sha256)
    }

    /// Whether the bundle has this graph.
    pub fn has(&self, file: &str) -> bool {
        self.files.contains_key(file)
    }

    /// What verifies a bundle that no gate has passed, where it is to run. A U-Net that is not portable f32 needs held-out
    /// images for it.
    pub fn verify_command(&self, bundle: &Path) -> String {
        let device = if self.target == PORTABLE { "" } else { " --device cuda" };
        let plain = self.target == PORTABLE && self.precision == Precision::F32.name();
        let held_out = if plain || !self.has(UNET) { "" } else { " --held-out IMAGES" };
        format!("anomalens-export verify {}{device}{held_out}", bundle.display())
    }
}

impl FileEntry {
    /// Size and hash of a file, read in blocks.
    ///
    /// Errors: those of the file system.
    pub fn of(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let (mut hash, mut bytes, mut block) = (Sha256::new(), 0u64, vec![0u8; 1 << 20]);
        loop {
            let n = file.read(&mut block)?;
            if n == 0 {
                break;
            }
            hash.update(&block[..n]);
            bytes += n as u64;
        }
        let sha256 = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
        Ok(Self { bytes, sha256 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_leaves_the_folder_is_refused() {
        let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo").join(MANIFEST);
        let text = std::fs::read_to_string(demo).unwrap();
        let bundle = tempfile::tempdir().unwrap();
        let read = |name: &str| {
            let text = text.replace(&format!("\"{WEIGHTS}\""), &serde_json::to_string(name).unwrap());
            std::fs::write(bundle.path().join(MANIFEST), text).unwrap();
            Manifest::read(bundle.path())
        };
        assert!(read("other.safetensors").is_ok());
        for name in ["../w", "/etc/passwd", "..", ".", "", "a/b", "a/", "./a", "..\\w", "C:w", "a\0"] {
            assert!(matches!(read(name), Err(BundleError::Path { .. })), "{name:?}");
        }
    }
}
