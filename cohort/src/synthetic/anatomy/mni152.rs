//! The ICBM 2009a nonlinear template as nilearn carries it: 1 mm, bytes, skull-stripped.

use std::path::Path;

use nifti::{NiftiError, NiftiObject, NiftiVolume, ReaderOptions};

use super::Anatomy;
use crate::CohortError;

/// Voxels of the maps.
const DIMS: [usize; 3] = [197, 233, 189];
/// The place of voxel (0, 0, 0), mm; 1 mm a voxel.
const ORIGIN: [f32; 3] = [-98.0, -134.0, -72.0];

/// Reads the three maps of `folder`; the brain is where the skull-stripped T1 has a value, or tissue is likely.
pub(super) fn load(folder: &Path) -> Result<Anatomy, CohortError> {
    let [t1, grey, white] = ["t1", "gm", "wm"].map(|map| read(folder, map));
    let (t1, grey, white) = (t1?, grey?, white?);
    let n = DIMS.iter().product();
    let mut maps = vec![[0u8; 4]; n];
    // NIfTI stores x fastest, the grid here z.
    let mut from = 0;
    for z in 0..DIMS[2] {
        for y in 0..DIMS[1] {
            for x in 0..DIMS[0] {
                let (t1, grey, white) = (t1[from], grey[from], white[from]);
                let brain = if t1 > 0 || u16::from(grey) + u16::from(white) > 127 { 255 } else { 0 };
                maps[(x * DIMS[1] + y) * DIMS[2] + z] = [grey, white, brain, t1];
                from += 1;
            }
        }
    }
    Ok(Anatomy::new(ORIGIN, 1.0, DIMS, &maps))
}

fn read(folder: &Path, map: &str) -> Result<Vec<u8>, CohortError> {
    let path = folder.join(format!("mni_icbm152_{map}_tal_nlin_sym_09a_converted.nii.gz"));
    let wrong = |found: String| CohortError::Template { path: path.clone(), found };
    let object = ReaderOptions::new().read_file(&path).map_err(|e| match e {
        NiftiError::Io(e) => wrong(e.to_string()),
        e => wrong(format!("no readable NIfTI file ({e})")),
    })?;
    let volume = object.into_volume();
    let dims: Vec<usize> = volume.dim().iter().map(|&n| usize::from(n)).collect();
    if dims != DIMS {
        return Err(wrong(format!("{dims:?} voxels")));
    }
    volume.into_nifti_typed_data::<u8>().map_err(|e| wrong(e.to_string()))
}
