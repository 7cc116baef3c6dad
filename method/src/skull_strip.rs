//! A brain mask of a head by classical means, for images of a patient whose skull nobody has taken off.
//!
//! The way is that of Brummer, Mersereau, Eisner and Lewine, "Automatic Detection of Brain Contours in MRI Data Sets"
//! (IEEE Transactions on Medical Imaging 12, 1993), and of Atkins and Mackiewich, "Fully Automatic Segmentation of the
//! Brain in MRI" (the same, 17, 1998): a threshold takes the dark skull and fluid out, so that the brain hangs on the scalp by thin
//! threads alone; an erosion cuts these, and what is largest in a slice is the brain, from where it is followed to the other slices.
//!
//! ```text
//! intensities ──> Otsu ──> eroded by 4 mm ──> followed from the largest part ──> grown by 5 mm within the threshold ──> closed by 8 mm ──> holes filled
//! ```
//!
//! It knows no anatomy. It wants an image on which fluid and bone are dark and the brain is bright, such as T1 or FLAIR; it
//! fails where the threads are thicker than the erosion, as at the base of the skull; and what is as dark as fluid at the brain's
//! surface, a lesion for one, may be lost. So nobody may use the result unseen.

use ndarray::{Array3, ArrayView3, Zip};

use crate::morphology::{dilate, erode, fill_holes, follow};
use crate::otsu;

/// Cuts vessels, nerves and dura between brain and scalp; the brain itself is thicker.
const EROSION_MM: f64 = 4.0;
/// The way back, and a little more, for what the erosion has rounded off.
const GROWTH_MM: f64 = 5.0;
/// Sulci and ventricles that open to the surface are narrower than twice this.
const CLOSING_MM: f64 = 8.0;
/// Brighter than all but this share of voxels is as bright as them for the threshold: fat and vessels would move it.
const BRIGHTEST: f64 = 0.02;
/// In its largest slice a brain has at least this area; that of a newborn is larger.
const SMALLEST_MM2: f64 = 2000.0;

/// Why there is no brain mask.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SkullStripError {
    /// Voxels without sides.
    #[error(
        "skull strip: voxels of {found:?} mm, expected three positive numbers; give a brain mask instead"
    )]
    Sides {
        /// Along slices, rows, columns.
        found: [f64; 3],
    },
    /// Nothing that could be a brain.
    #[error(
        "skull strip: the largest part that it finds has {found_mm2:.0} mm² in its largest slice, expected {SMALLEST_MM2:.0} at least for a brain; give a brain mask instead, or leave the skull strip out"
    )]
    NoBrain {
        /// The area.
        found_mm2: f64,
    },
}

/// The brain in a head. `volume`: [slice, row, column] of one channel, at least 0 and finite; `sides`: of a voxel along each
/// axis, mm.
///
/// Errors: [`SkullStripError`].
pub fn skull_strip(volume: ArrayView3<'_, f32>, sides: [f64; 3]) -> Result<Array3<bool>, SkullStripError> {
    if !sides.iter().all(|side| *side > 0.0 && side.is_finite()) {
        return Err(SkullStripError::Sides { found: sides });
    }
    let no_brain = |found_mm2| SkullStripError::NoBrain { found_mm2 };
    let threshold = threshold(volume).ok_or(no_brain(0.0))?;
    let bright = volume.mapv(|v| v > threshold);
    let core = follow(&erode(&bright, EROSION_MM, sides));
    let mut brain = dilate(&core, GROWTH_MM, sides);
    Zip::from(&mut brain).and(&bright).for_each(|brain, bright| *brain &= bright);
    let brain = fill_holes(&erode(&dilate(&brain, CLOSING_MM, sides), CLOSING_MM, sides));
    let areas = brain.outer_iter().map(|slice| slice.iter().filter(|set| **set).count());
    let found_mm2 = areas.max().unwrap_or(0) as f64 * sides[1] * sides[2];
    if found_mm2 < SMALLEST_MM2 { Err(no_brain(found_mm2)) } else { Ok(brain) }
}

/// Otsu's threshold of the volume, its brightest voxels cut down.
fn threshold(volume: ArrayView3<'_, f32>) -> Option<f32> {
    let mut values: Vec<f32> = volume.iter().copied().collect();
    let last = values.len().checked_sub(1)?;
    let place = ((1.0 - BRIGHTEST) * last as f64) as usize;
    let highest = *values.select_nth_unstable_by(place, f32::total_cmp).1;
    values.iter_mut().for_each(|v| *v = v.min(highest));
    otsu::split(&values)
}
