//! Which part of an image is looked at: a brain mask that a person gives, or what a skull strip finds.
//!
//! What lies outside counts as padding does: it is 0 for the networks, does not count in the normalisation, and stays in
//! reconstructions as it is in the source. Beyond that the map is 0 there, and Otsu's threshold is that of the inside alone.

use std::path::{Path, PathBuf};

use anomalens_cohort::volume::{Volume, array};
use anomalens_dicom_bridge::{PlacedMask, Study};
use anomalens_method::skull_strip::skull_strip;
use anomalens_models::manifest::FileEntry;
use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use ndarray::{Array2, ArrayView2, ArrayView4, Axis, stack};

use super::input::is_array;
use crate::failure::Usage;
use crate::picture;

/// What a person says of the brain.
#[derive(Debug, Default, Args)]
pub struct BrainArgs {
    /// Where the brain is: a DICOM Segmentation or a NIfTI volume of 0 and 1; for arrays .npy, [H, W] or [N, H, W]
    #[arg(long, value_name = "FILE", conflicts_with = "skull_strip")]
    pub mask: Option<PathBuf>,
    /// Look for the brain by a classical skull strip, which nobody checks (DICOM of MR alone)
    #[arg(long)]
    pub skull_strip: bool,
}

/// What is told of the brain that was taken.
pub struct Looked {
    /// Which mask it is, as it goes into reports, and into the UIDs of the results.
    pub parameter: String,
    /// The same in a few words, for pictures.
    pub mark: &'static str,
    /// What was done, in a sentence.
    pub decision: String,
    /// What a person should know.
    pub warning: Option<String>,
    /// Some slices with its outline, a PNG file.
    pub outlines: Vec<u8>,
}

/// At least this part of an array must lie in a mask, as of a study.
const LEAST: f64 = 0.01;
/// From this on a voxel of a NIfTI volume or array counts.
const HALF: f32 = 0.5;
/// Slices of which the outline is shown.
const SHOWN: usize = 8;

impl BrainArgs {
    /// The mask of each slice of a study, [H, W], if one is asked for. `percentile`: of the normalisation.
    ///
    /// Errors: those of reading and of the skull strip; a mask that does not belong to the study.
    pub fn of_study(&self, study: &Study, percentile: f64) -> Result<Option<(Vec<Array2<bool>>, Looked)>> {
        let (masks, parameter, how) = match &self.mask {
            Some(file) => {
                let mask = placed(file)?;
                let how = format!("{}, by patient coordinates (nearest)", mask.note());
                (mask.onto(study)?, given(file)?, how)
            }
            None if self.skull_strip => {
                let (masks, how) = stripped(study, percentile)?;
                (masks, STRIPPED.to_owned(), how)
            }
            None => return Ok(None),
        };
        // Under the outline the head as it is, by the percentile of all of it.
        let normalisers = study.normalisers(percentile)?;
        let plane =
            |slice: usize| study.slices[slice].normalised(&normalisers[..1]).index_axis_move(Axis(0), 0);
        let aspect = study.sides().map_or(1.0, |[_, row, column]| row / column);
        let looked = self.looked(&masks, parameter, &how, plane, aspect)?;
        Ok(Some((masks, looked)))
    }

    /// The mask of each image of an array [N, C, H, W], if one is asked for.
    ///
    /// Errors: those of reading; a mask of another shape; [`Usage`] for a skull strip.
    pub fn of_array(&self, images: ArrayView4<'_, f32>) -> Result<Option<(Vec<Array2<bool>>, Looked)>> {
        if self.skull_strip {
            bail!(Usage::new(anyhow!(
                "--skull-strip with an array: it has to know how large a pixel is, which an array does not say; expected a DICOM study, or --mask FILE.npy"
            )));
        }
        let Some(file) = &self.mask else { return Ok(None) };
        let (n, _, h, w) = images.dim();
        let masks = of_shape(file, [n, h, w])?;
        let plane = |slice: usize| images.index_axis(Axis(0), slice).index_axis_move(Axis(0), 0).to_owned();
        let looked = self.looked(&masks, given(file)?, "pixel by pixel", plane, 1.0)?;
        Ok(Some((masks, looked)))
    }

    fn looked(
        &self,
        masks: &[Array2<bool>],
        parameter: String,
        how: &str,
        plane: impl Fn(usize) -> Array2<f32>,
        aspect: f64,
    ) -> Result<Looked> {
        let pixels: usize = masks.iter().map(Array2::len).sum();
        let inside = masks.iter().flatten().filter(|inside| **inside).count();
        let share = 100.0 * inside as f64 / pixels as f64;
        let what = match &self.mask {
            Some(file) => format!("brain mask {}: {how}", file.display()),
            None => format!("brain mask by skull strip: {how}"),
        };
        let decision =
            format!("{what}; {share:.1} % of the pixels lie inside, and what is outside counts as padding");
        let filled: Vec<usize> =
            (0..masks.len()).filter(|i| masks[*i].iter().any(|inside| *inside)).collect();
        let shown = filled.len().min(SHOWN);
        let slices: Vec<usize> = (0..shown).map(|i| filled[i * filled.len() / shown]).collect();
        let planes: Vec<_> =
            slices.iter().map(|i| (format!("slice {}", i + 1), plane(*i), masks[*i].view())).collect();
        let stripped = self.mask.is_none();
        let mark = if stripped { "brain mask by skull strip, NOT CHECKED" } else { "brain mask given" };
        Ok(Looked {
            parameter,
            mark,
            decision,
            warning: stripped.then(|| format!("brain mask {STRIPPED}: look at its outline in the report")),
            outlines: picture::png(&picture::outlines(mark, &planes, aspect))?,
        })
    }
}

/// What every output says of a skull strip.
const STRIPPED: &str = "by a classical skull strip, not checked";

fn given(file: &Path) -> Result<String> {
    let entry = FileEntry::of(file).with_context(|| format!("{}: cannot be read", file.display()))?;
    Ok(format!("given, sha256 {}", &entry.sha256[..16]))
}

/// A mask that says where it lies.
fn placed(file: &Path) -> Result<PlacedMask> {
    let shown = file.display();
    if is_array(file) {
        bail!(
            "mask {shown}: found an array, which does not say where it lies; expected a DICOM Segmentation or a NIfTI volume (.nii, .nii.gz)"
        );
    }
    let name = file.to_string_lossy().to_lowercase();
    if !(name.ends_with(".nii") || name.ends_with(".nii.gz")) {
        return Ok(PlacedMask::from_segmentation(file)?);
    }
    let Volume { values, affine } = Volume::read(file)?;
    let Some(affine) = affine else {
        bail!(
            "mask {shown}: found no place in the patient (sform_code and qform_code are neither 1 nor 2), expected a volume in the coordinates of the scanner; convert the mask together with the images that it was drawn on"
        );
    };
    if values.iter().any(|v| v.is_nan()) {
        bail!("mask {shown}: found values that are not a number, expected 0 outside and 1 inside");
    }
    Ok(PlacedMask::from_affine(file, values.mapv(|v| v >= HALF), affine)?)
}

/// An array [H, W], which holds for all images, or [N, H, W].
fn of_shape(file: &Path, [n, h, w]: [usize; 3]) -> Result<Vec<Array2<bool>>> {
    let shown = file.display();
    if !is_array(file) {
        bail!(
            "mask {shown}: the input is an array, expected a mask in a .npy file, [{h}, {w}] or [{n}, {h}, {w}]"
        );
    }
    let values = array(file)?;
    let found = values.shape().to_vec();
    let values = if found == [h, w] { values.insert_axis(Axis(0)) } else { values };
    let masks: Vec<Array2<bool>> = match values.shape() {
        [m, mh, mw] if [*mh, *mw] == [h, w] && (*m == n || *m == 1) => {
            let mask = |i: usize| {
                let plane = values.index_axis(Axis(0), i % m);
                Array2::from_shape_fn((h, w), |(r, c)| plane[[r, c]] >= HALF)
            };
            (0..n).map(mask).collect()
        }
        _ => bail!("mask {shown}: shape {found:?}, expected [{h}, {w}] or [{n}, {h}, {w}], as the images"),
    };
    let inside = masks.iter().flatten().filter(|inside| **inside).count();
    let pixels = n * h * w;
    if (inside as f64) < LEAST * pixels as f64 {
        bail!(
            "mask {shown}: found {inside} of {pixels} pixels inside it, expected 1 % at least; give the mask of these images, 0 outside and 1 inside"
        );
    }
    Ok(masks)
}

/// The brain of the first channel, and how it was found.
fn stripped(study: &Study, percentile: f64) -> Result<(Vec<Array2<bool>>, String)> {
    let source = &study.slices[0].sources[0];
    let shown = source.path.display();
    let modality = source.modality();
    if modality.as_deref() != Some("MR") {
        let found = modality.as_deref().unwrap_or("none");
        bail!(
            "--skull-strip: {shown}: found the modality {found}, expected MR, on which bone is dark; give a mask by --mask, or leave --skull-strip out"
        );
    }
    let Some(sides) = study.sides() else {
        bail!(
            "--skull-strip: {shown}: found slices that do not say how large a pixel is and where they lie, expected spacing, orientation and position; leave --skull-strip out"
        );
    };
    let normalisers = study.normalisers(percentile)?;
    let planes: Vec<Array2<f32>> = study
        .slices
        .iter()
        .map(|slice| slice.normalised(&normalisers[..1]).index_axis_move(Axis(0), 0))
        .collect();
    let views: Vec<ArrayView2<'_, f32>> = planes.iter().map(|plane| plane.view()).collect();
    let brain = skull_strip(stack(Axis(0), &views)?.view(), sides)?;
    let [k, r, c] = sides;
    let how = format!(
        "on channel '{}', voxels of {k:.2} x {r:.2} x {c:.2} mm; bone and fluid must be dark there",
        study.channels[0]
    );
    Ok((brain.outer_iter().map(|plane| plane.to_owned()).collect(), how))
}
