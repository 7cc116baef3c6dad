//! Masks that lie somewhere in the patient: which part of a study is to be looked at.

mod segmentation;

use std::path::{Path, PathBuf};

use ndarray::{Array2, Array3};

use super::{SourceSlice, Study};
use crate::attributes::text;
use crate::error::ReadError;
use crate::lattice::Lattice;
use dicom_dictionary_std::tags;

/// At least this part of a study's pixels must lie in a mask: less is no brain, or lies elsewhere.
const LEAST: f64 = 0.01;

/// Why a mask cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MaskError {
    /// A DICOM file that cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Read, but no mask, or one whose voxels have no place on an even grid.
    #[error("mask {}: found {found}, expected {expected}", path.display())]
    Unusable {
        /// The mask.
        path: PathBuf,
        /// What it is.
        found: String,
        /// What would be right.
        expected: &'static str,
    },
    /// A mask of another patient, or in other coordinates.
    #[error("mask {}: {what}: found {found}, expected that of {}; give a mask that was drawn on this study", path.display(), study.display())]
    Foreign {
        /// The mask.
        path: PathBuf,
        /// Name and tag of the attribute.
        what: &'static str,
        /// Whether there is one; not its value, for identifiers do not belong into messages.
        found: &'static str,
        /// A file of the study.
        study: PathBuf,
    },
    /// A study that does not say where its pixels lie.
    #[error("{}: position, orientation or spacing is missing, expected in each slice; without them a mask cannot be laid on it: cut the image by the mask first, and leave --mask out", path.display())]
    Unplaced {
        /// A file of the study.
        path: PathBuf,
    },
    /// The mask hardly meets the study.
    #[error("mask {}: found {found} of the study's {pixels} pixels inside it, expected 1 % at least; it reaches from {mask}, the study from {study} (mm to the left, back and head of the patient): give the mask of this study", path.display())]
    Elsewhere {
        /// The mask.
        path: PathBuf,
        /// The study's pixels inside it.
        found: usize,
        /// The study's pixels.
        pixels: usize,
        /// The box around it.
        mask: String,
        /// The box around the study.
        study: String,
    },
}

/// A mask of voxels that lie somewhere in the patient.
#[derive(Debug, Clone)]
pub struct PlacedMask {
    path: PathBuf,
    /// Along the lattice's step, down, across.
    voxels: Array3<bool>,
    lattice: Lattice,
    owner: Option<Owner>,
    note: String,
}

/// Whose a DICOM object is, and in which coordinates.
#[derive(Debug, Clone, PartialEq)]
struct Owner {
    patient: Option<String>,
    frame_of_reference: Option<String>,
}

impl PlacedMask {
    /// Reads a DICOM Segmentation, BINARY, or FRACTIONAL, of which a half and more counts. Its segments are taken together;
    /// planes without a frame are empty.
    ///
    /// Errors: [`MaskError::Read`], [`MaskError::Unusable`].
    pub fn from_segmentation(path: &Path) -> Result<Self, MaskError> {
        segmentation::read(path)
    }

    /// A mask of voxels [i, j, k] by their affine map, as NIfTI has it: the rows of a matrix that takes (i, j, k, 1) to
    /// millimetres to the right, the front and the head of the patient.
    ///
    /// Errors: [`MaskError::Unusable`] where the map does not span space.
    pub fn from_affine(path: &Path, voxels: Array3<bool>, affine: [[f64; 4]; 3]) -> Result<Self, MaskError> {
        // DICOM counts to the left and to the back.
        let [x, y, z] = affine;
        let column = |i: usize| [-x[i], -y[i], z[i]];
        let (ni, nj, nk) = voxels.dim();
        let lattice = Lattice {
            origin: column(3),
            step: column(0),
            down: column(1),
            across: column(2),
            size: [ni, nj, nk],
        };
        let note = format!("{ni} x {nj} x {nk} voxels");
        Self::new(path, voxels, lattice, None, note)
    }

    fn new(
        path: &Path,
        voxels: Array3<bool>,
        lattice: Lattice,
        owner: Option<Owner>,
        note: String,
    ) -> Result<Self, MaskError> {
        if !lattice.is_sound() {
            return Err(MaskError::Unusable {
                path: path.to_owned(),
                found: "voxels that do not span space".into(),
                expected: "a map of voxels to places that can be undone",
            });
        }
        Ok(Self { path: path.to_owned(), voxels, lattice, owner, note })
    }

    /// What it is, e.g. `2 segments, 20 planes of 64 x 64`.
    pub fn note(&self) -> &str {
        &self.note
    }

    /// The mask on a study's own grid, [H, W] a slice: each pixel takes the voxel in which its centre lies, by the
    /// coordinates of the patient; where there is none it is outside. On one grid the mask comes as it is.
    ///
    /// Errors: [`MaskError::Foreign`], [`MaskError::Unplaced`], and [`MaskError::Elsewhere`] where less than 1 % of the
    /// study lies inside.
    pub fn onto(&self, study: &Study) -> Result<Vec<Array2<bool>>, MaskError> {
        let first = &study.slices[0].sources[0];
        if let Some(owner) = &self.owner {
            let theirs = Owner::of(&first.object);
            for (what, ours, theirs) in [
                ("Patient ID (0010,0020)", &owner.patient, &theirs.patient),
                ("Frame of Reference UID (0020,0052)", &owner.frame_of_reference, &theirs.frame_of_reference),
            ] {
                if ours != theirs {
                    let found = if ours.is_some() { "another one" } else { "none" };
                    let (path, study) = (self.path.clone(), first.path.clone());
                    return Err(MaskError::Foreign { path, what, found, study });
                }
            }
        }
        let (mut masks, mut study_box) = (Vec::new(), Extent::default());
        for slice in &study.slices {
            let places = Places::of(slice)?;
            let [h, w] = slice.size();
            for corner in [[0, 0], [0, w - 1], [h - 1, 0], [h - 1, w - 1]] {
                study_box.take(places.at(corner));
            }
            masks.push(Array2::from_shape_fn((h, w), |(r, c)| self.at(places.at([r, c]))));
        }
        let pixels = masks.iter().map(Array2::len).sum();
        let found = masks.iter().flatten().filter(|inside| **inside).count();
        if (found as f64) < LEAST * pixels as f64 {
            let (path, mask, study) = (self.path.clone(), self.extent().to_string(), study_box.to_string());
            return Err(MaskError::Elsewhere { path, found, pixels, mask, study });
        }
        Ok(masks)
    }

    fn at(&self, place: [f64; 3]) -> bool {
        let nearest = self.lattice.voxel(place).map(f64::round);
        let size = self.lattice.size;
        if (0..3).any(|i| !(0.0..size[i] as f64).contains(&nearest[i])) {
            return false;
        }
        self.voxels[nearest.map(|i| i as usize)]
    }

    /// The box around all that is set.
    fn extent(&self) -> Extent {
        let mut extent = Extent::default();
        for ((k, r, c), set) in self.voxels.indexed_iter() {
            if *set {
                extent.take(self.lattice.place([k, r, c].map(|i| i as f64)));
            }
        }
        extent
    }
}

impl Owner {
    fn of(object: &dicom_object::InMemDicomObject) -> Self {
        Self {
            patient: text(object, tags::PATIENT_ID),
            frame_of_reference: text(object, tags::FRAME_OF_REFERENCE_UID),
        }
    }
}

/// Where the pixels of a slice lie.
struct Places {
    origin: [f64; 3],
    down: [f64; 3],
    across: [f64; 3],
}

impl Places {
    fn of(slice: &SourceSlice) -> Result<Self, MaskError> {
        let source = &slice.sources[0];
        let geometry = &source.geometry;
        let (Some(o), Some([row, column]), Some(origin)) =
            (geometry.orientation, geometry.spacing, geometry.position)
        else {
            return Err(MaskError::Unplaced { path: source.path.clone() });
        };
        let down = [o[3], o[4], o[5]].map(|v| v * row);
        let across = [o[0], o[1], o[2]].map(|v| v * column);
        Ok(Self { origin, down, across })
    }

    fn at(&self, [r, c]: [usize; 2]) -> [f64; 3] {
        [0, 1, 2].map(|i| self.origin[i] + r as f64 * self.down[i] + c as f64 * self.across[i])
    }
}

/// A box around places.
struct Extent([[f64; 2]; 3]);

impl Default for Extent {
    fn default() -> Self {
        Self([[f64::INFINITY, f64::NEG_INFINITY]; 3])
    }
}

impl Extent {
    fn take(&mut self, place: [f64; 3]) {
        for (side, at) in self.0.iter_mut().zip(place) {
            *side = [side[0].min(at), side[1].max(at)];
        }
    }
}

impl std::fmt::Display for Extent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0[0][0] > self.0[0][1] {
            return f.write_str("nowhere to nowhere, being empty");
        }
        let corner = |i: usize| self.0.map(|side| format!("{:.0}", side[i])).join(", ");
        write!(f, "({}) to ({})", corner(0), corner(1))
    }
}

impl Study {
    /// Leaves out what lies outside of masks, [H, W] a slice, as if it were padding: it does not count in the normalisation,
    /// is 0 for the networks, and stays as it is in reconstructions.
    pub fn hide_outside(&mut self, masks: &[Array2<bool>]) {
        for (slice, mask) in self.slices.iter_mut().zip(masks) {
            let padding = slice.padding.get_or_insert_with(|| Array3::from_elem(slice.pixels.dim(), false));
            for mut plane in padding.outer_iter_mut() {
                plane.zip_mut_with(mask, |hidden, inside| *hidden |= !inside);
            }
        }
    }
}
