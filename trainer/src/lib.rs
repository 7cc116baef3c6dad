//! Trains the diffusion model and the noisy classifier on libtorch.
