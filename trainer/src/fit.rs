//! A whole training by one file: images, both networks, the bundle, its scores.
//!
//! ```text
//! RUN.toml, --set ── RunFile ── Plan: steps, a command line each ──┬─ carry_out: runs those that are not done
//!                                                                  └─ print: what each would be, hold and take
//! ```
//!
//! Each step is a program of this workspace that lies beside the running one, by a command line that a person could type;
//! it leaves its result in a folder of its own under `output`. So nothing here has a state: what is there is looked at,
//! and whatever is not is made.

mod carry;
mod error;
mod estimate;
mod found;
mod options;
mod plan;
mod print;
mod runfile;

pub use carry::{Programs, carry_out};
pub use error::FitError;
pub use options::{Options, OrNone};
pub use plan::{Plan, State, Step, Work};
pub use print::print;
pub use runfile::{Anatomy, BundleTable, Gate, Images, RunFile, Synthetic, Validation};
