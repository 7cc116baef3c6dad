//! Synthetic brains as volumes, subject by subject: what NIfTI and DICOM share.

use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use anomalens_models::output::OutputFolder;
use ndarray::{Array3, Array4, s};
use serde_json::{Value, json};

use super::arrays::{Labelled, label};
use super::parameters::{CHANNELS, Parameters};
use super::subject::Subject;
use super::{Format, KIND, NOTE, Settings, dicom, nifti, produce};
use crate::CohortError;
use crate::npy::{ItemWriter, Kind};

/// Stored value of intensity 1. Intensities reach about 1.7, so 15 bits suffice, and a step is a hundredth of the noise.
pub(super) const UNIT: f32 = 10_000.0;
/// The largest stored value: that of a signed 16-bit volume.
const LARGEST: f32 = 32_767.0;
/// The file that says what the volumes are.
const JSON: &str = "subjects.json";
/// The folder for what a reader of the images must not see, beside DICOM studies.
const TRUTH: &str = "truth";

/// One subject as it is stored.
pub(super) struct Volume {
    pub subject: Subject,
    /// [C, S, H, W], 0..=32767, slices from low to high.
    pub values: Array4<u16>,
    /// The lesion, [S, H, W], 0 or 1.
    pub mask: Array3<u8>,
    /// The brain, [S, H, W], 0 or 1.
    pub brain: Array3<u8>,
}

impl Volume {
    fn new(subject: Subject, labelled: &[Labelled]) -> Self {
        let (channels, height, width) = subject.slices[0].image.dim();
        let n = subject.slices.len();
        let mut values = Array4::zeros((channels, n, height, width));
        let mut mask = Array3::zeros((n, height, width));
        let mut brain = mask.clone();
        for (i, (raw, labelled)) in subject.slices.iter().zip(labelled).enumerate() {
            let stored = raw.image.mapv(|v| (v * UNIT).round().clamp(0.0, LARGEST) as u16);
            values.slice_mut(s![.., i, .., ..]).assign(&stored);
            mask.slice_mut(s![i, .., ..]).assign(&labelled.mask.mapv(u8::from));
            brain.slice_mut(s![i, .., ..]).assign(&labelled.brain.mapv(u8::from));
        }
        Self { subject, values, mask, brain }
    }
}

/// Makes a cohort of volumes: whole subjects, until they have enough slices.
pub(super) fn write(
    dir: &Path,
    format: Format,
    settings: &Settings,
    set: &Parameters,
    mut progress: impl FnMut(usize, usize) -> bool,
) -> Result<(), CohortError> {
    let folder = OutputFolder::create(dir)?;
    let generator = settings.generator(set);
    let (mut subjects, mut slices) = (Vec::new(), 0);
    let truth = folder.path().join(TRUTH);
    if format == Format::Dicom {
        std::fs::create_dir(&truth).map_err(|e| folder.error(TRUTH, e))?;
    }
    produce::subjects(settings, set, |subject| {
        let labelled = label(&subject, set)?;
        subjects.push(describe(&subject, &labelled));
        let volume = Volume::new(subject, &labelled);
        match format {
            Format::Arrays => {}
            Format::Nifti => nifti::write(&folder, &volume)?,
            Format::Dicom => {
                dicom::write(&folder, &volume, &generator)?;
                for (what, bits) in [("mask", &volume.mask), ("brain", &volume.brain)] {
                    let name = format!("{TRUTH}/{}-{what}.npy", volume.subject.name());
                    save(&folder.path().join(&name), bits).map_err(|e| folder.error(&name, e))?;
                }
            }
        }
        slices += labelled.len();
        match () {
            () if !progress(slices.min(settings.slices), settings.slices) => Err(CohortError::Interrupted),
            () if slices >= settings.slices => Ok(ControlFlow::Break(())),
            () => Ok(ControlFlow::Continue(())),
        }
    })?;
    let description = json!({
        "format": 1,
        "kind": KIND,
        "note": NOTE,
        "channels": CHANNELS,
        "percentile": set.percentile,
        "generator": generator,
        "subjects": subjects,
    });
    let text = serde_json::to_string_pretty(&description).expect("strings, numbers and lists") + "\n";
    match format {
        Format::Dicom => folder.write(Path::new(TRUTH).join(JSON), text.as_bytes())?,
        Format::Arrays | Format::Nifti => folder.write(JSON, text.as_bytes())?,
    }
    Ok(folder.finish()?)
}

/// One subject in subjects.json; `diseased` is null where a slice is neither healthy nor diseased.
fn describe(subject: &Subject, labelled: &[Labelled]) -> Value {
    let geometry = &subject.geometry;
    let slices: Vec<Value> = labelled
        .iter()
        .map(|l| json!({"diseased": l.diseased, "lesion_pixels": l.pixels(), "lesion_contrast": l.contrast}))
        .collect();
    json!({
        "subject": subject.name(),
        "pixel_mm": geometry.pixel_mm,
        "slice_spacing_mm": geometry.spacing_mm,
        "slice_thickness_mm": geometry.thickness_mm,
        "iso_flair": subject.iso_flair,
        "slices": slices,
    })
}

/// A whole array as .npy.
fn save(path: &Path, bits: &Array3<u8>) -> io::Result<()> {
    let mut writer = ItemWriter::create(path, Kind::U8, &bits.shape()[1..])?;
    for item in bits.outer_iter() {
        writer.push(&item.iter().copied().collect::<Vec<u8>>())?;
    }
    writer.finish()
}
