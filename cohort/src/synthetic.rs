//! Synthetic brains: skull-stripped slices of T1, T1ce, T2 and FLAIR, about half of them with a lesion.
//!
//! Every subject is one template, deformed: an affine map and an elastic one, widened ventricles, folding of its
//! own. Tissue gets an intensity a contrast, healthy things that are bright (rims, spots, vessels) are added, then
//! lesions with core, rim and oedema, and last a strong smooth bias and Rician noise. A seed fixes every byte.
//! What it is good for, and what not: `docs/synthetic.md`.

pub mod anatomy;
mod arrays;
mod confounders;
mod contrast;
mod deform;
mod degrade;
mod field;
mod lesion;
pub mod parameters;
mod random;
mod subject;

pub use anatomy::{Anatomy, Source};
pub use arrays::write;
pub use parameters::Parameters;
pub use subject::{Geometry, RawSlice, Subject};

use crate::CohortError;

/// The kind of these cohorts, as cohort.json has it.
pub const KIND: &str = "synthetic-brains";

/// What must be said wherever results on them stand.
pub const NOTE: &str = "synthetic brains: all subjects deform one template, so results say little about real \
                        anatomy; not for diagnostic use";

/// What to make.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Slices, at least 2: half of them healthy, half diseased (one more healthy if the number is odd).
    pub slices: usize,
    /// Everything random follows from it.
    pub seed: u64,
    /// Height and width, pixels, 8 to 512.
    pub size: usize,
    /// Which brain.
    pub source: Source,
}

impl Settings {
    fn check(&self) -> Result<(), CohortError> {
        let wrong = |what, found: usize, expected: &str| {
            Err(CohortError::Setting { what, found: found.to_string(), expected: expected.to_owned() })
        };
        match () {
            () if self.slices < 2 => wrong("the number of slices", self.slices, "at least 2"),
            () if !(8..=512).contains(&self.size) => wrong("the size", self.size, "8 to 512 pixels"),
            () => Ok(()),
        }
    }

    /// All that a cohort made by these settings says of how it was made.
    pub fn generator(&self, parameters: &Parameters) -> serde_json::Value {
        serde_json::json!({
            "program": concat!("anomalens-cohort ", env!("CARGO_PKG_VERSION")),
            "seed": self.seed,
            "anatomy": self.source.name(),
            "parameters": parameters,
        })
    }
}
