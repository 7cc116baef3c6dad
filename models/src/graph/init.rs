//! What training starts from.

/// The distribution that a parameter is drawn from before training: those of the reference, which are PyTorch's own
/// but for the layers that it sets to zero (Dhariwal and Nichol 2021, Sec. 2: residual branches begin as nothing).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Init {
    /// All 0: biases of norms, and layers whose residual branch begins as nothing.
    Zeros,
    /// All 1: weights of norms.
    Ones,
    /// Uniform in ±1/√fan_in: weights and biases of linear layers and convolutions.
    FanIn(usize),
    /// Normal, mean 0, standard deviation 1/√n; n = 1 for an embedding.
    Normal(usize),
}
