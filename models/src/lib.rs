//! What the networks *are*: everything about anomalens that can be said without running it.
//!
//! A network is a value: [`graph::Graph`], a typed, append-only list of nodes. [`nets`] turns a
//! [`preset::Preset`] into such a value; every other crate reads it (to describe it, to run it slowly and
//! obviously, to differentiate it, to write it as ONNX). Around the graph stand the few things that a
//! trained network needs to be used: the noise [`schedule`], the [`weights`], the [`image`] types and the
//! [`manifest`] of a bundle.
//!
//! ```text
//! preset (TOML) ──> nets ──> Graph ──> readers: describe, reference, gradient, lower
//!                              │
//! weights (safetensors) ───────┘   parameter names equal the reference's state-dict keys
//! ```

pub mod fitness;
pub mod graph;
pub mod held_out;
pub mod image;
pub mod manifest;
pub mod nets;
pub mod output;
pub mod preset;
pub mod schedule;
pub mod stats;
pub mod step;
pub mod weights;
