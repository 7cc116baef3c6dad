//! Synthetic brains.
