//! From a point in a subject's head to a point of the template.

use super::field::{Bounds, Field};
use super::parameters::Shape;
use super::random::Stream;

/// The point that scaling, rotation and shear leave where it is, mm: about the middle of the brain.
const CENTRE: [f32; 3] = [0.0, -18.0, 12.0];
/// The middle of the ventricles, mm.
const VENTRICLES: [f32; 3] = [0.0, -15.0, 15.0];

/// One subject's deformation.
pub struct Deformation {
    matrix: [[f32; 3]; 3],
    shift: [f32; 3],
    coarse: Field<3>,
    fine: Field<3>,
    deviation: [f32; 2],
    growth: f32,
    reach: f32,
}

impl Deformation {
    /// Draws a subject's.
    pub fn draw(random: &mut Stream, shape: &Shape, bounds: Bounds) -> Self {
        let scale = random.within(shape.scale);
        let axes = [0; 3].map(|_| 1.0 / (scale * random.within(shape.axis_scale)));
        let [a, b, c] = shape.half_tangent.map(|t| random.within([-t, t]));
        let mut shear = || random.within([-shape.shear, shape.shear]);
        let sheared = [[1.0, shear(), shear()], [0.0, 1.0, shear()], [0.0, 0.0, 1.0]];
        let matrix = multiply(&rotation(a, b, c), &sheared);
        let matrix = [0, 1, 2].map(|i| matrix[i].map(|m| m * axes[i]));
        let mut along = || random.within([-shape.shift_mm, shape.shift_mm]);
        let shift = [along(), along(), 0.0];
        let growth = random.within(shape.ventricle_growth);
        let [[coarse_mm, coarse_sd], [fine_mm, fine_sd]] = shape.elastic_mm;
        Self {
            matrix,
            shift,
            coarse: Field::draw(random, bounds, coarse_mm),
            fine: Field::draw(random, bounds, fine_mm),
            deviation: [coarse_sd, fine_sd],
            growth,
            reach: shape.ventricle_reach_mm,
        }
    }

    /// The template's point, mm, that a subject's point `p`, mm, shows.
    pub fn apply(&self, p: [f32; 3]) -> [f32; 3] {
        let (coarse, fine) = (self.coarse.at(p), self.fine.at(p));
        let d: [f32; 3] = std::array::from_fn(|a| p[a] - CENTRE[a] - self.shift[a]);
        let q: [f32; 3] = std::array::from_fn(|a| {
            let row = self.matrix[a];
            CENTRE[a]
                + row[0] * d[0]
                + row[1] * d[1]
                + row[2] * d[2]
                + self.deviation[0] * coarse[a]
                + self.deviation[1] * fine[a]
        });
        // Nearer to the middle than it is: what lies there is widened.
        let from: [f32; 3] = std::array::from_fn(|a| q[a] - VENTRICLES[a]);
        let far = from.iter().map(|x| x * x).sum::<f32>() / (self.reach * self.reach);
        let fade = (1.0 - far).max(0.0);
        let factor = 1.0 - self.growth / (1.0 + self.growth.abs()) * fade * fade;
        std::array::from_fn(|a| VENTRICLES[a] + from[a] * factor)
    }
}

/// The rotation whose axis times the tangent of half its angle is (a, b, c), without sine or cosine.
fn rotation(a: f32, b: f32, c: f32) -> [[f32; 3]; 3] {
    let n = 1.0 + a * a + b * b + c * c;
    let m = [
        [1.0 + a * a - b * b - c * c, 2.0 * (a * b - c), 2.0 * (a * c + b)],
        [2.0 * (a * b + c), 1.0 - a * a + b * b - c * c, 2.0 * (b * c - a)],
        [2.0 * (a * c - b), 2.0 * (b * c + a), 1.0 - a * a - b * b + c * c],
    ];
    m.map(|row| row.map(|v| v / n))
}

fn multiply(a: &[[f32; 3]; 3], b: &[[f32; 3]; 3]) -> [[f32; 3]; 3] {
    std::array::from_fn(|i| std::array::from_fn(|j| (0..3).map(|k| a[i][k] * b[k][j]).sum()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotation_keeps_lengths() {
        let r = rotation(0.03, -0.05, 0.2);
        let product = multiply(&r, &[0, 1, 2].map(|i| [r[0][i], r[1][i], r[2][i]]));
        for (i, row) in product.iter().enumerate() {
            for (j, v) in row.iter().enumerate() {
                assert!((v - f32::from(u8::from(i == j))).abs() < 1e-6, "[{i}][{j}] {v}");
            }
        }
    }
}
