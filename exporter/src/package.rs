//! A verified bundle in the layout that another program expects.
//!
//! ```text
//! bundle ─┬─ triton: a model repository        NAME_unet/{config.pbtxt, 1/…}, NAME_classifier_gradient/{…}; or NAME_network/{…}
//!         └─ monai:  a MONAI bundle            configs/, models/, docs/, LICENSE
//! ```
//!
//! Graphs and weights are copied as they are, and each copy must have the SHA-256 that the bundle's manifest says.

mod monai;
mod triton;

use std::fs;
use std::path::Path;

use anomalens_method::ddim::DdimError;
use anomalens_method::translate::TranslateError;
use anomalens_models::manifest::{
    BundleError, CLASSIFIER_GRADIENT, FileEntry, MANIFEST, Manifest, NETWORK, UNET, WEIGHTS,
};
use anomalens_models::output::{OutputError, OutputFolder};
use anomalens_models::preset::{MethodError, MethodName};
use anomalens_models::schedule::ScheduleError;
use clap::ValueEnum;

use crate::import::ImportError;

/// Whose layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A model repository of NVIDIA's Triton Inference Server, for its ONNX Runtime backend.
    Triton,
    /// A bundle of MONAI, whose inference.json is the whole method.
    Monai,
}

/// Why nothing was packaged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackageError {
    /// The bundle is damaged.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The networks are those of another method.
    #[error(transparent)]
    Method(#[from] MethodError),
    /// No parity gate has passed.
    #[error("bundle '{bundle}': not verified (gate '{gate}'); run `{command}` first")]
    Unverified {
        /// The bundle.
        bundle: String,
        /// The gate that its manifest names.
        gate: String,
        /// What verifies it.
        command: String,
    },
    /// Nothing to run.
    #[error(
        "bundle '{bundle}' of method {method}: found no {UNET}, expected it, as inference.json is Algorithm 1; choose --format triton"
    )]
    NoUnet {
        /// The bundle.
        bundle: String,
        /// Its method.
        method: MethodName,
    },
    /// A graph that cannot be read.
    #[error(transparent)]
    Graph(#[from] ImportError),
    /// An input or output that the other program cannot be told of.
    #[error(
        "bundle '{bundle}': {file}: {port} is {found}, expected f32 or i64 with an open first dimension alone; write the bundle again"
    )]
    Port {
        /// The bundle.
        bundle: String,
        /// The graph.
        file: &'static str,
        /// The input or output.
        port: String,
        /// What it is.
        found: String,
    },
    /// The preset's steps cannot be.
    #[error("bundle's preset: {0}")]
    Steps(#[from] TranslateError),
    /// The folder cannot be written.
    #[error(transparent)]
    Output(#[from] OutputError),
}

impl From<ScheduleError> for PackageError {
    fn from(error: ScheduleError) -> Self {
        Self::Steps(DdimError::from(error).into())
    }
}

/// A bundle on its way into another layout.
struct Package<'a> {
    bundle: &'a Path,
    manifest: Manifest,
    /// SHA-256 of the manifest: the bundle's name.
    hash: String,
    folder: OutputFolder,
}

/// Writes `bundle` into the new or empty folder `output` in the layout of `format`.
///
/// Errors: [`PackageError`]; then nothing is left of it.
pub fn package(bundle: &Path, format: Format, output: &Path) -> Result<(), PackageError> {
    let manifest = Manifest::read(bundle)?;
    if !manifest.verification.passed() {
        let (gate, command) = (manifest.verification.gate.clone(), manifest.verify_command(bundle));
        return Err(PackageError::Unverified { bundle: bundle.display().to_string(), gate, command });
    }
    let hash = Manifest::bundle_hash(bundle)?;
    let package = Package { bundle, manifest, hash, folder: OutputFolder::create(output)? };
    match format {
        Format::Triton => triton::write(&package)?,
        Format::Monai => monai::write(&package)?,
    }
    Ok(package.folder.finish()?)
}

impl Package<'_> {
    /// The graphs that there are.
    fn graphs(&self) -> impl Iterator<Item = &'static str> {
        [UNET, CLASSIFIER_GRADIENT, NETWORK].into_iter().filter(|file| self.manifest.has(file))
    }

    /// What the folders and models are called: the preset's name, as far as a server takes it.
    fn name(&self) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        self.manifest.preset.name.chars().map(plain).collect()
    }

    /// Makes a folder in the package.
    fn make(&self, folder: &str) -> Result<(), PackageError> {
        let made = fs::create_dir_all(self.folder.path().join(folder));
        Ok(made.map_err(|error| self.folder.error(folder, error))?)
    }

    /// Writes a file of the package.
    fn write(&self, path: &str, text: &str) -> Result<(), PackageError> {
        Ok(self.folder.write(path, text.as_bytes())?)
    }

    /// Copies a file of the bundle to `path`.
    ///
    /// Errors: [`BundleError::Mismatch`] where the copy is not what the manifest says.
    fn copy(&self, file: &str, path: &str) -> Result<(), PackageError> {
        let read = |source| BundleError::Io { bundle: self.bundle.to_owned(), file: file.to_owned(), source };
        let to = self.folder.path().join(path);
        let mut source = fs::File::open(self.bundle.join(file)).map_err(read)?;
        let copied = fs::File::create(&to).and_then(|mut copy| std::io::copy(&mut source, &mut copy));
        copied.map_err(|error| self.folder.error(path, error))?;
        let found = FileEntry::of(&to).map_err(|error| self.folder.error(path, error))?;
        // The manifest names every file but itself, which is what its hash is for.
        let same = match self.manifest.files.get(file) {
            Some(expected) => found == *expected,
            None => found.sha256 == self.hash,
        };
        if same {
            return Ok(());
        }
        let say = |e: &FileEntry| format!("{} bytes, sha256 {}", e.bytes, e.sha256);
        Err(BundleError::Mismatch {
            bundle: self.bundle.to_owned(),
            file: file.to_owned(),
            found: say(&found),
            expected: self.manifest.files.get(file).map_or_else(|| format!("sha256 {}", self.hash), say),
        }
        .into())
    }

    /// Copies what stands beside every graph: its weights.
    fn copy_weights(&self, folder: &str) -> Result<(), PackageError> {
        self.copy(WEIGHTS, &format!("{folder}/{WEIGHTS}"))
    }

    /// Copies what the bundle says of itself.
    fn copy_manifest(&self, folder: &str) -> Result<(), PackageError> {
        self.copy(MANIFEST, &format!("{folder}/{MANIFEST}"))
    }
}
