//! A step as graphs that leave images where they are: what goes in and comes out, as the exporter writes it and the runtime gives
//! and takes it.
//!
//! ```text
//! x [N, C, H, W], previous [N, C, H, W], t [N], (y [N]), coefficients [N, 4]        ─> encode_step.onnx ─> x_next, slope
//! x, eps, previous [N, C, H, W], t_classifier [N], y [N], coefficients [N, 4]       ─> guided_step.onnx ─> x_next, slope
//!
//! slope  = eps(x, t, y)  or  eps − c_gradient · ∇ₓ log p(y | x, t_classifier)        [N, C, H, W]
//! x_next = x + (c_x · x + c_slope · slope + c_previous · previous)                   [N, C, H, W]
//! ```
//!
//! A guided step is both: the first with coefficients of 0, whose slope is the second's `eps`. They are two, since the first may
//! compute in f16 and the gradient never does: a session of ONNX Runtime lets all its products round, or none. It also has the
//! U-Net on the device once.
//!
//! `previous` is the slope of the step before, for a solver that wants it. Added to x is what changes: in f32 a
//! coefficient near 1 before x itself would lose the difference between two neighbouring levels.

/// The images.
pub const X: &str = "x";
/// What the U-Net is told of the noise.
pub const T: &str = "t";
/// What the classifier is told of it.
pub const T_CLASSIFIER: &str = "t_classifier";
/// The class.
pub const Y: &str = "y";
/// [`COEFFICIENT_COUNT`] numbers an image, at the places that [`C_X`] and so on name.
pub const COEFFICIENTS: &str = "coefficients";
/// The noise that the U-Net predicts, of a step that is to be guided.
pub const EPS: &str = "eps";
/// The slope of the step before.
pub const PREVIOUS: &str = "previous";
/// The images after the step.
pub const X_NEXT: &str = "x_next";
/// The slope of this step.
pub const SLOPE: &str = "slope";

/// Place of the coefficient of x.
pub const C_X: usize = 0;
/// … of the slope.
pub const C_SLOPE: usize = 1;
/// … of the slope of the step before.
pub const C_PREVIOUS: usize = 2;
/// … of the gradient within the slope.
pub const C_GRADIENT: usize = 3;
/// How many there are; a step without a gradient takes as many and leaves the last.
pub const COEFFICIENT_COUNT: usize = 4;
