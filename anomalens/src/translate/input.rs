//! What is to be translated: slices in [0, 1] on their own grid, from DICOM or from an array, and how each sits in
//! the network's square.

use std::path::{Path, PathBuf};

use anomalens_dicom_bridge::{Study, read::read};
use anomalens_models::image::frame::Frame;
use anomalens_models::image::normalise::Normaliser;
use anomalens_models::image::{ImageError, UnitImage};
use anomalens_models::preset::Preset;
use anyhow::{Result, bail};
use ndarray::{Array2, Array3, ArrayViewMut2, Axis};

use super::array::{self, ArrayError};
use super::brain::{BrainArgs, Looked};
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
    /// The brain, if one was taken.
    pub brain: Option<Looked>,
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
    /// [C, H, W], in [0, 1] if the source is sound; 0 outside the brain mask.
    pub unit: Array3<f32>,
    /// How it sits in the network's square.
    pub frame: Frame,
    /// Row spacing over column spacing.
    pub aspect: f64,
    /// The brain mask, [H, W], if there is one.
    pub brain: Option<Array2<bool>>,
}

/// Why a slice is no image for the networks.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SliceError {
    /// Not an image.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// Nothing to look at.
    #[error(
        "{slice}: no pixel lies inside the brain mask, expected one at least; there is nothing to translate"
    )]
    OutsideBrain {
        /// The slice's name.
        slice: String,
    },
}

impl Input {
    /// Reads a DICOM file or folder, or a `.npy` file. `channels`: what a person named for some of them; `brain`: what of the
    /// brain.
    ///
    /// Errors: those of reading; [`Usage`] for channels named together with an array.
    pub fn read(
        path: &Path,
        preset: &Preset,
        channels: &[(String, PathBuf)],
        brain: &BrainArgs,
    ) -> Result<Self> {
        if is_array(path) {
            if let Some((name, _)) = channels.first() {
                bail!(Usage::new(anyhow::anyhow!(
                    "--channel {name}: the input '{}' is an array, which holds all channels; expected a DICOM file or folder, or leave --channel out",
                    path.display()
                )));
            }
            Self::array(path, preset, brain)
        } else {
            Self::dicom(path, preset, channels, brain)
        }
    }

    fn dicom(
        path: &Path,
        preset: &Preset,
        channels: &[(String, PathBuf)],
        brain: &BrainArgs,
    ) -> Result<Self> {
        let mut study = read(path, &preset.image, channels)?;
        let (masks, brain) = brain.of_study(&study, preset.image.percentile)?.unzip();
        if let Some(masks) = &masks {
            study.hide_outside(masks);
        }
        let normalisers = study.normalisers(preset.image.percentile)?;
        let mut slices = Vec::new();
        let mut masks = masks.into_iter().flatten();
        for slice in &study.slices {
            let source = &slice.sources[0];
            slices.push(Slice {
                name: file_name(&source.path),
                unit: slice.normalised(&normalisers),
                frame: Frame::fit(slice.size(), preset.image.size)?,
                aspect: source.geometry.spacing.map_or(1.0, |[row, column]| row / column),
                brain: masks.next(),
            });
        }
        let mut decisions = study.decisions.clone();
        decisions.extend(brain.iter().map(|brain| brain.decision.clone()));
        let percentile = preset.image.percentile;
        decisions.extend(study.channels.iter().zip(&normalisers).map(|(name, n)| {
            format!("{name}: 1 is {} (percentile {percentile} of the pixels above {})", n.q, n.floor)
        }));
        Ok(Self {
            channels: study.channels.clone(),
            decisions: with_frames(decisions, &slices),
            slices,
            warnings: with_brain(study.warnings.clone(), &brain),
            brain,
            origin: Origin::Dicom(study, normalisers),
        })
    }

    fn array(path: &Path, preset: &Preset, brain: &BrainArgs) -> Result<Self> {
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
        let (masks, brain) = brain.of_array(pixels.view())?.unzip();
        let mut masks = masks.into_iter().flatten();
        let frame = Frame::fit([h, w], preset.image.size)?;
        let file = file_name(path);
        let slice = |(i, unit): (usize, ndarray::ArrayView3<f32>)| {
            let (mut unit, brain) = (unit.to_owned(), masks.next());
            for mut plane in unit.outer_iter_mut() {
                brain.iter().for_each(|brain| zero_outside(&mut plane, brain));
            }
            let name = if batched { format!("{file}[{i}]") } else { file.clone() };
            Slice { name, unit, frame, aspect: 1.0, brain }
        };
        let slices: Vec<_> = pixels.axis_iter(Axis(0)).enumerate().map(slice).collect();
        let mut decisions = vec!["array: values are taken as they are, not normalised".to_owned()];
        decisions.extend(brain.iter().map(|brain| brain.decision.clone()));
        Ok(Self {
            channels,
            decisions: with_frames(decisions, &slices),
            slices,
            warnings: with_brain(Vec::new(), &brain),
            brain,
            origin: Origin::Array { batched },
        })
    }
}

impl Slice {
    /// The slice as the network sees it.
    ///
    /// Errors: [`SliceError`], with coordinates on the slice's own grid.
    pub fn framed(&self) -> Result<UnitImage, SliceError> {
        if self.framed_brain()?.is_some_and(|brain| brain.iter().all(|inside| !inside)) {
            return Err(SliceError::OutsideBrain { slice: self.name.clone() });
        }
        let sound = UnitImage::new(&self.name, self.unit.clone())?;
        Ok(UnitImage::new(&self.name, self.frame.apply(sound.pixels())?)?)
    }

    /// The brain mask in the network's square, if there is one.
    ///
    /// Errors: [`ImageError::Shape`].
    pub fn framed_brain(&self) -> Result<Option<Array2<bool>>, ImageError> {
        self.brain.as_ref().map(|brain| self.frame.apply_mask(brain)).transpose()
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// Whether a path is an array rather than DICOM.
pub fn is_array(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npy"))
}

/// Sets a plane [H, W] to 0 where the mask is not set.
pub fn zero_outside(plane: &mut ArrayViewMut2<'_, f32>, mask: &Array2<bool>) {
    plane.zip_mut_with(mask, |value, inside| {
        if !inside {
            *value = 0.0;
        }
    });
}

fn with_brain(mut warnings: Vec<String>, brain: &Option<Looked>) -> Vec<String> {
    warnings.extend(brain.iter().filter_map(|brain| brain.warning.clone()));
    warnings
}

fn with_frames(mut decisions: Vec<String>, slices: &[Slice]) -> Vec<String> {
    let mut frames: Vec<String> = slices.iter().map(|slice| slice.frame.describe()).collect();
    frames.dedup();
    decisions.extend(frames.into_iter().map(|frame| format!("frame: {frame}")));
    decisions
}
