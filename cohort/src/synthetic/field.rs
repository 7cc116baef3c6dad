//! Smooth random functions of space.

use super::random::Stream;

/// Points of the tabulated field per lattice step: linear interpolation between them is then smooth to the eye.
const FINE: usize = 3;
/// Standard deviation of a cubic B-spline in 3-D with coefficients uniform in [-1, 1], averaged over a cell.
const SPLINE_DEVIATION: f32 = 0.19;

/// A box in space, mm: lower and upper corner.
pub type Bounds = [[f32; 3]; 2];

/// N smooth random functions on a box, mean 0 and standard deviation about 1.
pub struct Field<const N: usize> {
    origin: [f32; 3],
    step: f32,
    dims: [usize; 3],
    values: Vec<[f32; N]>,
}

impl<const N: usize> Field<N> {
    /// Draws functions that change over a length of about `scale` mm: cubic B-splines on a lattice of that step.
    pub fn draw(random: &mut Stream, [low, high]: Bounds, scale: f32) -> Self {
        let cells: [usize; 3] =
            std::array::from_fn(|a| ((high[a] - low[a]) / scale).ceil().max(1.0) as usize);
        let knots = cells.map(|n| n + 3);
        let knot: Vec<[f32; N]> = (0..knots.iter().product())
            .map(|_| [0; N].map(|_| random.within([-1.0, 1.0]) / SPLINE_DEVIATION))
            .collect();
        let dims = cells.map(|n| n * FINE + 1);
        let weights: Vec<[f32; 4]> = (0..FINE).map(|i| spline(i as f32 / FINE as f32)).collect();
        // Separable: one axis after the other.
        let mut from = (knots, knot);
        for axis in (0..3).rev() {
            from = refine(&from.0, &from.1, axis, dims[axis], &weights);
        }
        Self { origin: low, step: scale / FINE as f32, dims, values: from.1 }
    }

    /// The values at `p`, mm; outside the box those of its nearest point.
    pub fn at(&self, p: [f32; 3]) -> [f32; N] {
        let (mut cell, mut part) = ([0; 3], [0.0; 3]);
        for a in 0..3 {
            let last = (self.dims[a] - 1) as f32;
            let x = ((p[a] - self.origin[a]) / self.step).clamp(0.0, last);
            cell[a] = (x as usize).min(self.dims[a] - 2);
            part[a] = x - cell[a] as f32;
        }
        let mut out = [0.0; N];
        for corner in 0..8usize {
            let (dx, dy, dz) = (corner >> 2, corner >> 1 & 1, corner & 1);
            let side = |d: usize, f: f32| if d == 1 { f } else { 1.0 - f };
            let weight = side(dx, part[0]) * side(dy, part[1]) * side(dz, part[2]);
            let index = ((cell[0] + dx) * self.dims[1] + cell[1] + dy) * self.dims[2] + cell[2] + dz;
            for (o, v) in out.iter_mut().zip(&self.values[index]) {
                *o += weight * v;
            }
        }
        out
    }
}

/// The four weights of a uniform cubic B-spline at `t` in [0, 1) of a cell.
fn spline(t: f32) -> [f32; 4] {
    let (s, t2, t3) = (1.0 - t, t * t, t * t * t);
    [
        s * s * s / 6.0,
        (3.0 * t3 - 6.0 * t2 + 4.0) / 6.0,
        (-3.0 * t3 + 3.0 * t2 + 3.0 * t + 1.0) / 6.0,
        t3 / 6.0,
    ]
}

/// Tabulates spline coefficients along one axis at `to` points.
fn refine<const N: usize>(
    dims: &[usize; 3],
    values: &[[f32; N]],
    axis: usize,
    to: usize,
    weights: &[[f32; 4]],
) -> ([usize; 3], Vec<[f32; N]>) {
    let mut out_dims = *dims;
    out_dims[axis] = to;
    let stride = dims[axis + 1..].iter().product::<usize>();
    let mut out = Vec::with_capacity(out_dims.iter().product());
    for outer in 0..dims[..axis].iter().product() {
        for i in 0..to {
            // The last point is the end of the last cell.
            let cell = (i / FINE).min(dims[axis] - 4);
            let w = if i / FINE > cell { spline(1.0) } else { weights[i % FINE] };
            for inner in 0..stride {
                let at = |k: usize| &values[(outer * dims[axis] + cell + k) * stride + inner];
                out.push(std::array::from_fn(|n| (0..4).map(|k| w[k] * at(k)[n]).sum()));
            }
        }
    }
    (out_dims, out)
}

#[cfg(test)]
mod tests {
    use super::super::random::Part;
    use super::*;

    #[test]
    fn unit_deviation_and_smooth() {
        let mut random = Stream::new(1, 1, Part::Shape);
        let field: Field<2> = Field::draw(&mut random, [[0.0; 3], [100.0, 90.0, 80.0]], 8.0);
        let (mut sum, mut squares, mut steepest, mut n) = (0.0, 0.0, 0f32, 0.0);
        for i in 0..100 {
            for j in 0..90 {
                let p = [i as f32, j as f32, 40.0];
                let [v, _] = field.at(p);
                let [next, _] = field.at([p[0] + 0.5, p[1], p[2]]);
                (sum, squares, n) = (sum + v, squares + v * v, n + 1.0);
                steepest = steepest.max((next - v).abs());
            }
        }
        let deviation = (squares / n - (sum / n) * (sum / n)).sqrt();
        assert!((0.7..1.3).contains(&deviation), "{deviation}");
        assert!(steepest < 0.5, "a step of half a millimetre changes it by {steepest}");
    }
}
