//! Whole-chain tests.
