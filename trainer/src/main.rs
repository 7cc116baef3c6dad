//! The program `anomalens-train`.
fn main() {}
