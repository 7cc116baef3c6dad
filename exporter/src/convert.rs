//! A checkpoint in another format: `.pt` to `.safetensors` and back, tensor by tensor.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anomalens_models::output::{OutputError, OutputFile};
use anomalens_models::weights::{Element, TensorSpec, TensorWriter};

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::pt::PtWriter;

/// How much larger than the checkpoint its tensors may become: f16 as f32, and storages that several names share.
const MAX_GROWTH: u64 = 8;
/// Bytes that they may have beyond that, of views that repeat a few numbers: 64 MiB.
const MAX_REPEATED: u64 = 1 << 26;

/// A file format for weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// What `torch.save` writes of a state_dict(); `.pt` or `.pth`.
    Pt,
    /// `.safetensors`.
    Safetensors,
}

impl Format {
    /// The format that a file name stands for.
    ///
    /// Errors: [`ConvertError::Extension`].
    pub fn of(path: &Path) -> Result<Self, ConvertError> {
        match path.extension().and_then(|e| e.to_str()) {
            Some("pt" | "pth") => Ok(Self::Pt),
            Some("safetensors") => Ok(Self::Safetensors),
            _ => Err(ConvertError::Extension { path: path.to_owned() }),
        }
    }
}

/// What to write.
pub struct Request<'a> {
    /// The checkpoint.
    pub input: &'a Path,
    /// The new file; its extension says the format.
    pub output: &'a Path,
    /// The key that the tensors stand under; without it, the one guided-diffusion network of the file, else everything.
    pub key: Option<&'a str>,
    /// What is taken from the beginning of every name.
    pub strip: Option<&'a str>,
    /// Whether floating-point tensors become f32.
    pub to_f32: bool,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Tensors.
    pub tensors: usize,
    /// Bytes of their data.
    pub bytes: usize,
    /// The key that they stood under, if it was found without being asked for.
    pub found: Option<String>,
    /// That they have other names now, if they have.
    pub renamed: Option<String>,
    /// Tensors of the input that were left out, since they stand elsewhere.
    pub left_out: usize,
    /// How many tensors were converted, by the type that they had.
    pub converted: Vec<(Element, usize)>,
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// The new file's name does not say what it is.
    #[error("output '{}': found no format in the name, expected it to end with .pt, .pth or .safetensors", path.display())]
    Extension {
        /// The file.
        path: PathBuf,
    },
    /// The checkpoint cannot be used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A name that does not begin with what is to be taken from it, or would be nothing without.
    #[error(
        "--strip '{strip}': found tensor '{name}', expected that every name begins so and goes on; give what all have in common"
    )]
    Strip {
        /// What was to be taken.
        strip: String,
        /// The tensor.
        name: String,
    },
    /// Views that repeat their storages would become a file out of all proportion.
    #[error(
        "checkpoint '{}': found {bytes} bytes of tensors, expected at most {most} in a file of its size: views repeat what \
         is in it; convert a part of it by --key, or save what is needed of it again",
        path.display()
    )]
    Grown {
        /// The file.
        path: PathBuf,
        /// Bytes of the tensors as they would be written.
        bytes: usize,
        /// Bytes that would do.
        most: u64,
    },
    /// Nothing can be written there.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// A person stopped it.
    #[error("stopped; nothing was written")]
    Stopped,
}

/// Hears of the bytes that are written, of all, and may stop the work.
pub type Progress<'a> = dyn FnMut(usize, usize) -> ControlFlow<()> + 'a;

enum Writer<'a> {
    Pt(PtWriter<&'a File>),
    Safetensors(TensorWriter<&'a File>),
}

impl<'a> Writer<'a> {
    fn new(format: Format, file: &'a File, tensors: Vec<TensorSpec>) -> io::Result<Self> {
        match format {
            Format::Pt => PtWriter::new(file, tensors).map(Self::Pt),
            Format::Safetensors => TensorWriter::new(file, tensors).map(Self::Safetensors),
        }
    }

    fn write(&mut self, name: &str, data: &[u8]) -> io::Result<()> {
        match self {
            Self::Pt(writer) => writer.write(name, data),
            Self::Safetensors(writer) => writer.write(name, data),
        }
    }

    fn finish(self) -> io::Result<()> {
        match self {
            Self::Pt(writer) => writer.finish().map(drop),
            Self::Safetensors(writer) => writer.finish().map(drop),
        }
    }
}

/// Writes a checkpoint in the format of the new file's name. Bits stay as they are, but for
/// [`Request::to_f32`]; the networks of MONAI and diffusers get guided-diffusion's names. No more than one tensor is in memory.
///
/// Errors: [`ConvertError`]; then nothing is left of the new file.
pub fn convert(request: &Request<'_>, progress: &mut Progress<'_>) -> Result<Report, ConvertError> {
    let format = Format::of(request.output)?;
    let checkpoint = Checkpoint::open(request.input, request.key)?.one_network("--key")?;
    let tensors = checkpoint.tensors()?;
    let change = |element: Element| request.to_f32 && element.is_float() && element != Element::F32;
    let mut specs = Vec::with_capacity(tensors.len());
    for TensorSpec { name, element, shape } in tensors.clone() {
        let name = stripped(name, request.strip)?;
        let element = if change(element) { Element::F32 } else { element };
        specs.push(TensorSpec { name, element, shape });
    }
    let total = specs.iter().map(TensorSpec::bytes).fold(0, usize::saturating_add);
    let size = std::fs::metadata(request.input)
        .map_err(|source| CheckpointError::Io { path: request.input.to_owned(), source })?
        .len();
    let most = size.saturating_mul(MAX_GROWTH).saturating_add(MAX_REPEATED);
    if total as u64 > most {
        return Err(ConvertError::Grown { path: request.input.to_owned(), bytes: total, most });
    }
    let output = OutputFile::create(request.output)?;
    let fail = |error| output.error(error);
    let mut writer = Writer::new(format, output.file(), specs.clone()).map_err(fail)?;
    let mut done = 0;
    for (from, to) in tensors.iter().zip(&specs) {
        if progress(done, total).is_break() {
            return Err(ConvertError::Stopped);
        }
        match change(from.element) {
            false => writer.write(&to.name, &checkpoint.bytes(&from.name)?).map_err(fail)?,
            true => {
                let values = checkpoint.read_f32(&from.name)?;
                let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
                writer.write(&to.name, &bytes).map_err(fail)?;
            }
        }
        done += to.bytes();
    }
    writer.finish().map_err(fail)?;
    if progress(done, total).is_break() {
        return Err(ConvertError::Stopped);
    }
    output.finish()?;
    let converted: BTreeSet<Element> = tensors.iter().map(|t| t.element).filter(|&e| change(e)).collect();
    let count = |element| (element, tensors.iter().filter(|t| t.element == element).count());
    Ok(Report {
        tensors: tensors.len(),
        bytes: total,
        found: checkpoint.found().map(str::to_owned),
        renamed: checkpoint.renamed(),
        left_out: checkpoint.len() - tensors.len(),
        converted: converted.into_iter().map(count).collect(),
    })
}

fn stripped(name: String, strip: Option<&str>) -> Result<String, ConvertError> {
    let Some(strip) = strip else { return Ok(name) };
    match name.strip_prefix(strip) {
        Some(rest) if !rest.is_empty() => Ok(rest.to_owned()),
        _ => Err(ConvertError::Strip { strip: strip.to_owned(), name }),
    }
}
