//! DICOM in, DICOM out: series to stacks of images, results to derived DICOM objects.
//!
//! ```text
//! file or folder ──> read::scan ──> Inventory (series, and what was left out and why)
//!                                      │ channel rules or --channel NAME=PATH
//!                                      v
//!                    read::read ──> Study: slices sorted along the normal, pixels [C, H, W] in the source's units
//!                                      │   (normalise, frame, translate: not this crate's business)
//!                                      v
//!                    write::{reconstruction, segmentation, …} ──> Written: one derived object, as bytes
//! ```
//!
//! Nothing is guessed: what cannot be read without a doubt (see [`ReadError`]) is refused, and every decision taken
//! is recorded as a sentence in [`Study::decisions`].

mod attributes;
pub mod error;
pub mod geometry;
pub mod lattice;
pub mod read;
pub mod write;

pub use error::{ReadError, WriteError};
pub use geometry::Geometry;
pub use lattice::{Lattice, LatticeError};
pub use read::{Inventory, MaskError, PlacedMask, Source, SourceSlice, StoredPixels, Study, read, scan};
pub use write::{MapNumbers, MapOf, MapScale, Objects, Provenance, Written};
