//! What the scanner does to a slice: a smooth bias, and noise.

use super::field::{Bounds, Field};
use super::parameters::{Degrade, PerChannel};
use super::random::Stream;

/// The field's standard deviations at which the bias reaches its amplitude.
const FULL: f32 = 1.5;

/// One subject's bias fields, a channel each.
pub struct Bias {
    field: Field<4>,
    amplitude: PerChannel,
}

impl Bias {
    /// Draws a subject's.
    pub fn draw(random: &mut Stream, set: &Degrade, bounds: Bounds) -> Self {
        let amplitude = [0; 4].map(|_| random.within(set.bias));
        Self { field: Field::draw(random, bounds, set.bias_mm), amplitude }
    }

    /// The factors at `p`, mm.
    pub fn at(&self, p: [f32; 3]) -> PerChannel {
        let field = self.field.at(p);
        std::array::from_fn(|c| 1.0 + self.amplitude[c] * (field[c] / FULL).clamp(-1.0, 1.0))
    }
}

/// The magnitude of a signal with noise in both of its parts.
pub fn rician(signal: f32, deviation: f32, [real, imaginary]: [f32; 2]) -> f32 {
    let (a, b) = (signal + deviation * real, deviation * imaginary);
    (a * a + b * b).sqrt()
}
