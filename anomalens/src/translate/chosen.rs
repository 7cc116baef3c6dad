//! What is to be written besides pictures and report: what was asked for, and whether the input can have it.

use anomalens_dicom_bridge::write::Object;
use anomalens_dicom_bridge::{Lattice, Objects};
use anyhow::{Result, anyhow, bail};
use clap::{Args, ValueEnum};

use super::input::Origin;
use crate::failure::Usage;
use crate::translator::Method;

/// What is to be written besides pictures and report.
#[derive(Debug, Args)]
pub struct WriteArgs {
    /// DICOM objects, with commas between: reconstruction, map, float-map, mask, picture, pictures, map-image, mask-image
    /// [default: reconstruction,map,mask,picture]
    #[arg(long, value_name = "LIST")]
    objects: Option<Objects>,
    /// Beside DICOM objects, healthy version, map and mask as arrays or volumes, with commas between
    #[arg(long, value_enum, value_name = "LIST", value_delimiter = ',')]
    arrays: Vec<Format>,
}

/// A format of researchers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// As numpy.save writes it
    Npy,
    /// Volumes that lie where the slices do
    Nifti,
}

/// What is to be written.
pub struct Chosen {
    /// DICOM objects, of an input that is DICOM.
    pub objects: Objects,
    /// Arrays beside them.
    pub npy: bool,
    /// Volumes beside them, and where they lie.
    pub nifti: Option<Lattice>,
}

impl WriteArgs {
    /// What is to be made of `origin` by `method`.
    ///
    /// Errors: [`Usage`] for a choice that the input or the method cannot have.
    pub fn choose(&self, origin: &Origin, method: Method) -> Result<Chosen> {
        self.check(origin, method).map_err(|error| Usage::new(error).into())
    }

    fn check(&self, origin: &Origin, method: Method) -> Result<Chosen> {
        let objects = self.objects.clone().unwrap_or_default();
        let asked = |format| self.arrays.contains(&format);
        let study = match origin {
            Origin::Dicom(study, _) => study,
            Origin::Array { .. } if self.objects.is_some() => bail!(
                "--objects {objects}: the input is an array, of which there are no DICOM objects; expected a DICOM file or folder, or leave --objects out"
            ),
            Origin::Array { .. } if !self.arrays.is_empty() => bail!(
                "--arrays: the input is an array, whose results are .npy files always; expected a DICOM file or folder, or leave --arrays out"
            ),
            Origin::Array { .. } => return Ok(Chosen { objects, npy: false, nifti: None }),
        };
        objects.check(&study.slices).map_err(|e| anyhow!("--objects {objects}: {e}"))?;
        if self.objects.is_some() && objects.contains(Object::Reconstruction) && !method.heals() {
            let method = method.column();
            bail!(
                "--objects {objects}: {method} makes no healthy version, which a reconstruction is; leave reconstruction out"
            );
        }
        let lattice = asked(Format::Nifti)
            .then(|| Lattice::of(study.slices.iter().map(|slice| &slice.sources[0])))
            .transpose();
        let nifti = lattice.map_err(|e| anyhow!("--arrays nifti: {e}; choose --arrays npy"))?;
        Ok(Chosen { objects, npy: asked(Format::Npy), nifti })
    }
}
