//! A brain of ellipsoids, for tests: grey shell, white inside, two ventricles.

use super::Anatomy;

const STEP: f32 = 3.0;
const ORIGIN: [f32; 3] = [-90.0, -126.0, -66.0];
const DIMS: [usize; 3] = [61, 73, 61];
/// The brain: centre and half axes, mm, near those of the MNI152 brain.
const BRAIN: [[f32; 3]; 2] = [[0.0, -18.0, 8.0], [70.0, 88.0, 66.0]];
/// Share of the half axes from which on the shell is grey.
const CORTEX: f32 = 0.88;
/// The right ventricle; the left is its mirror image.
const VENTRICLE: [[f32; 3]; 2] = [[13.0, -15.0, 16.0], [8.0, 34.0, 16.0]];
/// Grey in the depth, right.
const NUCLEUS: [[f32; 3]; 2] = [[26.0, -2.0, 4.0], [9.0, 18.0, 14.0]];

pub(super) fn make() -> Anatomy {
    let mut maps = Vec::with_capacity(DIMS.iter().product());
    for x in 0..DIMS[0] {
        for y in 0..DIMS[1] {
            for z in 0..DIMS[2] {
                let p = [x, y, z].map(|i| i as f32 * STEP);
                let p: [f32; 3] = std::array::from_fn(|a| ORIGIN[a] + p[a]);
                maps.push(tissue(p));
            }
        }
    }
    Anatomy::new(ORIGIN, STEP, DIMS, &maps)
}

/// grey, white, brain, t1 at a point.
fn tissue(p: [f32; 3]) -> [u8; 4] {
    let mirrored = [p[0].abs(), p[1], p[2]];
    match () {
        () if radius(p, BRAIN) >= 1.0 => [0, 0, 0, 0],
        () if radius(mirrored, VENTRICLE) < 1.0 => [0, 0, 255, 60],
        () if radius(p, BRAIN) > CORTEX || radius(mirrored, NUCLEUS) < 1.0 => [255, 0, 255, 166],
        () => [0, 255, 255, 224],
    }
}

/// Distance from an ellipsoid's centre; 1 on its surface.
fn radius(p: [f32; 3], [centre, half]: [[f32; 3]; 2]) -> f32 {
    (0..3).map(|a| (p[a] - centre[a]) / half[a]).map(|r| r * r).sum::<f32>().sqrt()
}
