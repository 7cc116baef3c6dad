//! Where labelled images come from.
//!
//! A **cohort** is a folder of small images with a label each, and with masks where something is known about place:
//!
//! ```text
//! DIR/cohort.json   what it is, how it was made, one item a slice: subject, slice, diseased
//! DIR/images.npy    f32 [N, C, H, W] in [0, 1]
//! DIR/masks.npy     u8  [N, H, W] 0 or 1: the lesion; for evaluation alone, may be absent
//! DIR/brains.npy    u8  [N, H, W] 0 or 1: the brain; for evaluation alone, may be absent
//! DIR/splits.json   which subject is for training, validation, test; may be absent
//! ```
//!
//! [`Cohort`] reads one, image by image, so that memory does not grow with it; [`CohortWriter`] writes one, which
//! appears whole or not at all. [`synthetic`] makes brains of four MR contrasts with lesions, and radiographs with
//! effusions, from a seed; [`import`] takes in what others have imaged, of which [`volume`] reads NIfTI; [`check`] looks a
//! cohort through.
//! Nothing here is for diagnostic use.

pub mod arrays;
pub mod check;
pub mod cli;
mod error;
pub mod import;
mod npy;
pub mod sheet;
pub mod synthetic;
pub mod volume;

pub use arrays::splits::{Shares, Splits};
pub use arrays::{Cohort, CohortInfo, CohortWriter, Counts, Item, Sample};
pub use error::CohortError;
