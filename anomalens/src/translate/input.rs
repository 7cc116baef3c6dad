//! What is to be translated: slices in [0, 1] on their own grid, from DICOM or from an array, and how each sits in
//! the network's square.

use std::path::{Path, PathBuf};

use anomalens_dicom_bridge::{Study, read::read};
use anomalens_models::image::frame::Frame;
use anomalens_models::image::normalise::Normaliser;
use anomalens_models::image::{ImageError, UnitImage};
use anomalens_models::preset::Preset;
use anyhow::{Result, bail};
use ndarray::{Array3, Axis};

use super::array::{self, ArrayError};
use crate::failure::Usage;

/// Everything that is to be translated.
pub struct Input {
    /// Channel names in network order.
    pub channels: Vec<String>,
    /// At least one.
    pub slices: Vec<Slice>,
    /// What was decided while reading, one sentence each.
    pub decisions: Vec<String>,
    /// What a person should look at.
    pub warnings: Vec<String>,
    /// Where the slices come from, and so what the results become.
    pub origin: Origin,
}

/// Where slices come from.
pub enum Origin {
    /// A DICOM study; one normaliser a channel.
    Dicom(Study, Vec<Normaliser>),
    /// An array; whether it was [N, C, H, W].
    Array {
        /// Rather than [C, H, W].
        batched: bool,
    },
}

/// One slice.
pub struct Slice {
    /// For messages and the report: the file's name, for an array with the index, as in `images.npy[0]`.
    pub name: String,
    /// [C, H, W], in [0, 1] if the source is sound.
    pub unit: Array3<f32>,
    /// How it sits in the network's square.
    pub frame: Frame,
    /// Row spacing over column spacing.
    pub aspect: f64,
}

impl Input {
    /// Reads a DICOM file or folder, or a `.npy` file. `channels`: what a person named for some of them.
    ///
    /// Errors: those of reading; [`Usage`] for channels named together with an array.
    pub fn read(path: &Path, preset: &Preset, channels: &[(String, PathBuf)]) -> Result<Self> {
        if is_array(path) {
            if let Some((name, _)) = channels.first() {
                bail!(Usage::new(anyhow::anyhow!(
                    "--channel {name}: the input '{}' is an array, which holds all channels; expected a DICOM file or folder, or leave --channel out",
                    path.display()
                )));
            }
            Self::array(path, preset)
        } else {
            Self::dicom(path, preset, channels)
        }
    }

    fn dicom(path: &Path, preset: &Preset, channels: &[(String, PathBuf)]) -> Result<Self> {
        let study = read(path, &preset.image, channels)?;
        let normalisers = study.normalisers(preset.image.percentile)?;
        let mut slices = Vec::new();
        for slice in &study.slices {
            let source = &slice.sources[0];
            slices.push(Slice {
                name: file_name(&source.path),
                unit: slice.normalised(&normalisers),
                frame: Frame::fit(slice.size(), preset.image.size)?,
                aspect: source.geometry.spacing.map_or(1.0, |[row, column]| row / column),
            });
        }
        let mut decisions = study.decisions.clone();
        let percentile = preset.image.percentile;
        decisions.extend(study.channels.iter().zip(&normalisers).map(|(name, n)| {
            format!("{name}: 1 is {} (percentile {percentile} of the pixels above {})", n.q, n.floor)
        }));
        Ok(Self {
            channels: study.channels.clone(),
            decisions: with_frames(decisions, &slices),
            slices,
            warnings: study.warnings.clone(),
            origin: Origin::Dicom(study, normalisers),
        })
    }

    fn array(path: &Path, preset: &Preset) -> Result<Self> {
        let images = array::read(path)?;
        let (pixels, batched) = (images.pixels(), images.batched());
        let channels: Vec<String> = preset.image.channels.iter().map(|c| c.name.clone()).collect();
        let (_, found, h, w) = pixels.dim();
        if found != channels.len() {
            return Err(ArrayError::Channels {
                path: path.to_owned(),
                shape: pixels.shape().to_vec(),
                found,
                bundle: preset.name.clone(),
                expected: channels.len(),
                names: channels.join(", "),
            }
            .into());
        }
        let frame = Frame::fit([h, w], preset.image.size)?;
        let file = file_name(path);
        let slice = |(i, unit): (usize, ndarray::ArrayView3<f32>)| Slice {
            name: if batched { format!("{file}[{i}]") } else { file.clone() },
            unit: unit.to_owned(),
            frame,
            aspect: 1.0,
        };
        let slices: Vec<_> = pixels.axis_iter(Axis(0)).enumerate().map(slice).collect();
        let decisions = vec!["array: values are taken as they are, not normalised".to_owned()];
        Ok(Self {
            channels,
            decisions: with_frames(decisions, &slices),
            slices,
            warnings: Vec::new(),
            origin: Origin::Array { batched },
        })
    }
}

impl Slice {
    /// The slice as the network sees it.
    ///
    /// Errors: [`ImageError`], with coordinates on the slice's own grid.
    pub fn framed(&self) -> Result<UnitImage, ImageError> {
        let sound = UnitImage::new(&self.name, self.unit.clone())?;
        UnitImage::new(&self.name, self.frame.apply(sound.pixels())?)
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// Whether a path is an array rather than DICOM.
pub fn is_array(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npy"))
}

fn with_frames(mut decisions: Vec<String>, slices: &[Slice]) -> Vec<String> {
    let mut frames: Vec<String> = slices.iter().map(|slice| slice.frame.describe()).collect();
    frames.dedup();
    decisions.extend(frames.into_iter().map(|frame| format!("frame: {frame}")));
    decisions
}
