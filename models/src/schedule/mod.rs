//! Noise schedule.
