//! Synthetic brains: skull-stripped slices of T1, T1ce, T2 and FLAIR, about half of them with a lesion.
//!
//! Every subject is one template, deformed: an affine map and an elastic one, widened ventricles, folding of its
//! own. Tissue gets an intensity a contrast, healthy things that are bright (rims, spots, vessels) are added, then
//! lesions with core, rim and oedema, and last a strong smooth bias and Rician noise. A seed fixes every byte.
//! Radiographs of the chest are made in another way: [`chest`].
//! What they are good for, and what not: `docs/synthetic.md`.

pub mod anatomy;
mod arrays;
pub mod chest;
mod confounders;
mod contrast;
mod deform;
mod degrade;
mod dicom;
mod field;
pub mod head;
mod lesion;
mod nifti;
pub mod parameters;
mod produce;
mod random;
mod subject;
mod volumes;

pub use anatomy::{Anatomy, Source};
pub use parameters::Parameters;
pub use subject::{Geometry, RawSlice, Subject};

use std::path::Path;

use crate::CohortError;

/// The kind of cohorts of brains, as cohort.json has it.
pub const KIND: &str = "synthetic-brains";

/// Subjects are counted up to here; far beyond it streams of random numbers would run out.
const LAST_SUBJECT: u64 = 1 << 40;

/// What must be said wherever results on them stand.
pub const NOTE: &str = "synthetic brains: all subjects deform one template, so results say little about real \
                        anatomy; not for diagnostic use";

/// How a synthetic cohort is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// As [`crate::Cohort`] reads it: normalised, labelled slices.
    Arrays,
    /// As BRATS lays it out: a folder a subject, a volume a contrast, a volume for the mask.
    Nifti,
    /// A study a subject with a series a contrast; masks as arrays in a folder of their own.
    Dicom,
}

/// What to make.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Slices, at least 2: half of them healthy, half diseased (one more healthy if the number is odd).
    pub slices: usize,
    /// Everything random follows from it.
    pub seed: u64,
    /// Height and width, pixels, 8 to 512.
    pub size: usize,
    /// Which brain, or a chest.
    pub source: Source,
    /// Number of the first subject, from 1: a cohort that begins where another ended shares no subject with it.
    pub first: u64,
}

/// Makes a cohort in `dir`, which must not exist or be empty. `progress` is told how many of how many slices there
/// are; where it says false, the work stops and nothing is left.
///
/// As arrays exactly `settings.slices` slices are written, half of each class; as NIfTI or DICOM whole subjects, as
/// many as have that many slices at least, whatever their labels.
///
/// Errors: [`CohortError::Setting`], [`CohortError::Template`], [`CohortError::Output`], [`CohortError::Image`],
/// [`CohortError::Interrupted`].
pub fn write(
    dir: &Path,
    format: Format,
    settings: &Settings,
    progress: impl FnMut(usize, usize) -> bool,
) -> Result<(), CohortError> {
    settings.check()?;
    if settings.source == Source::Chest {
        return match format {
            Format::Arrays => chest::write(dir, settings, produce::threads(), progress),
            Format::Nifti | Format::Dicom => Err(CohortError::Setting {
                what: "the format of radiographs",
                found: format!("{format:?}").to_lowercase(),
                expected: "arrays, the only one that they are written in".into(),
            }),
        };
    }
    let set = Parameters::default();
    match format {
        Format::Arrays => arrays::write(dir, settings, &set, progress),
        Format::Nifti | Format::Dicom => volumes::write(dir, format, settings, &set, progress),
    }
}

impl Settings {
    fn check(&self) -> Result<(), CohortError> {
        let wrong = |what, found: usize, expected: &str| {
            Err(CohortError::Setting { what, found: found.to_string(), expected: expected.to_owned() })
        };
        match () {
            () if self.slices < 2 => wrong("the number of slices", self.slices, "at least 2"),
            () if !(8..=512).contains(&self.size) => wrong("the size", self.size, "8 to 512 pixels"),
            () if self.first == 0 || self.first > LAST_SUBJECT => {
                let (found, expected) = (self.first.to_string(), format!("1 to {LAST_SUBJECT}"));
                Err(CohortError::Setting { what: "the first subject", found, expected })
            }
            () => Ok(()),
        }
    }

    /// All that a cohort made by these settings says of how it was made.
    pub fn generator(&self, parameters: &impl serde::Serialize) -> serde_json::Value {
        serde_json::json!({
            "program": concat!("anomalens-cohort ", env!("CARGO_PKG_VERSION")),
            "seed": self.seed,
            "first_subject": self.first,
            "anatomy": self.source.name(),
            "parameters": parameters,
        })
    }
}
