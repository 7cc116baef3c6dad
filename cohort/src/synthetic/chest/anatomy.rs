//! The thorax: body, rib cage, mediastinum, heart and diaphragm as surfaces in space.

use super::parameters::{Anatomy, Confounders};
use super::plane::Point;
use crate::synthetic::field::{Bounds, Field};
use crate::synthetic::random::Stream;

/// The patient's right and left: the sign of x.
pub const SIDES: [f32; 2] = [-1.0, 1.0];

/// The cavity's half width at its widest, its half depth, and where both are reached (mm above the middle).
const CAVITY: [f32; 3] = [140.0, 98.0, -70.0];
/// Height of the lungs' tips, and where the cavity begins to round off towards them.
const TIP: [f32; 2] = [126.0, 30.0];
/// Distance of the lungs' tips from the midline.
const TIP_X: f32 = 50.0;
/// Half axes of the heart: along, across, front to back.
const HEART: [f32; 3] = [75.0, 55.0, 60.0];
/// The heart's middle.
const HEART_AT: Point = [22.0, 20.0, -34.0];
/// The middle of each dome: distance from the midline, and depth.
const DOME_AT: [f32; 2] = [66.0, 12.0];

/// The lungs' texture covers this.
const TEXTURE: Bounds = [[-150.0, -130.0, 0.0], [150.0, 130.0, 1.0]];

/// One subject's.
#[derive(Debug, Clone)]
pub struct Thorax {
    /// Scale of width and height.
    pub scale: [f32; 2],
    /// Sine of the turn about the long axis.
    pub turn: f32,
    /// Thickness of the wall, mm.
    pub wall: f32,
    /// Attenuation of the lung.
    pub lung: f32,
    /// Height of each dome, right and left.
    pub dome: [f32; 2],
    dome_rise: f32,
    heart: f32,
    heart_at: Point,
    /// Cosine and sine of the heart's axis against the horizontal.
    heart_axis: [f32; 2],
    /// Half width of the upper mediastinum.
    pub mediastinum: f32,
}

/// The outline at one height: what all points of a row share.
#[derive(Debug, Clone, Copy)]
pub struct Level {
    z: f32,
    /// Half width and half depth of the cavity; 0 above it.
    pub half: [f32; 2],
    /// The lungs begin at this distance from the midline.
    medial: f32,
}

impl Thorax {
    /// Draws a subject's.
    pub fn draw(random: &mut Stream, set: &Anatomy, confounders: &Confounders) -> Self {
        let scale = random.within(set.scale);
        let scale = [0; 2].map(|_| scale * random.within(set.axis_scale));
        let [little, much, share] = set.turn;
        let most = if random.chance(share) { much } else { little };
        let turn = random.within([-most, most]);
        let right = random.within(set.dome_mm[0]);
        let mut dome = [right, right - random.within(set.dome_mm[1])];
        let mut heart = random.within(set.heart);
        if random.chance(set.large_heart_share) {
            heart = random.within(set.large_heart);
        }
        if random.chance(confounders.poor_inspiration) {
            let higher = random.within(confounders.poor_inspiration_mm);
            dome = dome.map(|z| z + higher);
            heart *= 1.06;
        }
        if random.chance(confounders.high_dome) {
            let side = usize::from(random.chance(0.5));
            dome[side] += random.within(confounders.high_dome_mm);
        }
        // Higher domes lift the heart's tip.
        let lift = 0.35 * (dome[0] + dome[1] + 118.0) / 2.0;
        let tangent = random.within([0.22, 0.36]) - 0.004 * lift;
        let [cosine, sine] = rotation(tangent);
        Self {
            scale,
            turn,
            wall: random.within(set.wall_mm),
            lung: random.within(set.lung),
            dome,
            dome_rise: random.within(set.dome_rise_mm),
            heart,
            heart_at: [
                HEART_AT[0] + random.within([-5.0, 6.0]),
                HEART_AT[1],
                HEART_AT[2] + lift + random.within([-4.0, 4.0]),
            ],
            heart_axis: [cosine, -sine],
            mediastinum: random.within(set.mediastinum_mm),
        }
    }

    /// Draws how the lungs' attenuation differs from place to place (x, z): a factor.
    pub fn texture(&self, random: &mut Stream, set: &Anatomy) -> impl Fn([f32; 2]) -> f32 + use<> {
        let [deviation, length] = set.lung_texture;
        let field: Field<1> = Field::draw(random, TEXTURE, length);
        move |[x, z]| 1.0 + deviation * field.at([x, z, 0.0])[0].clamp(-2.5, 2.5)
    }

    /// The outline at height `z`.
    pub fn level(&self, z: f32) -> Level {
        let [top, round] = TIP;
        let widest = CAVITY[2];
        // 1 at the widest level, and slowly less above and below it.
        let far = (z - widest) / 270.0;
        let broad = 1.0 - if far > 0.0 { far * far } else { 0.3 * far * far };
        let (mut half, mut medial) = ([CAVITY[0] * broad, CAVITY[1] * broad], self.medial(z));
        if z > round {
            let t = ((z - round) / (top - round)).min(1.0);
            let left = (1.0 - t * t * t).sqrt();
            half = [TIP_X + (half[0] - TIP_X) * left, 35.0 + (half[1] - 35.0) * left];
            medial = TIP_X - (TIP_X - medial) * left;
        }
        if z >= top {
            half = [0.0; 2];
        }
        Level { z, half, medial }
    }

    /// Half width of the mediastinum: wider at the hila and towards the neck.
    fn medial(&self, z: f32) -> f32 {
        let (hila, neck) = ((z - 5.0) / 35.0, (z - 100.0) / 40.0);
        self.mediastinum + 6.0 / (1.0 + hila * hila) + 6.0 / (1.0 + neck * neck)
    }

    /// Whether a point lies in the cavity: inside the ribs, above the diaphragm.
    pub fn in_cavity(&self, level: &Level, x: f32, y: f32) -> bool {
        let [a, b] = level.half;
        a > 0.0 && radius([x / a, y / b]) < 1.0 && level.z > self.diaphragm(x, y)
    }

    /// Whether a point of the cavity is lung (or fluid in its place), not heart or mediastinum.
    pub fn in_lung(&self, level: &Level, x: f32, y: f32) -> bool {
        let spine = y < -45.0 && x.abs() < 22.0;
        // The lungs come closer to each other in front and behind: the mediastinum's border is soft.
        let medial = level.medial * (1.0 - 0.45 * (y * y / 3600.0).min(1.0));
        x.abs() > medial && !spine && !self.in_heart([x, y, level.z])
    }

    fn in_heart(&self, p: Point) -> bool {
        let d: Point = std::array::from_fn(|a| (p[a] - self.heart_at[a]) / self.heart);
        let [cosine, sine] = self.heart_axis;
        let (along, across) = (cosine * d[0] + sine * d[2], cosine * d[2] - sine * d[0]);
        let [u, v, w] = [along / HEART[0], across / HEART[1], d[1] / HEART[2]];
        u * u + v * v + w * w < 1.0
    }

    /// Height of the diaphragm: two domes, steep towards the wall, so that the angle between them is sharp.
    pub fn diaphragm(&self, x: f32, y: f32) -> f32 {
        let side = usize::from(x > 0.0);
        let (u, v) = (x.abs() - DOME_AT[0], y - DOME_AT[1]);
        // Towards the midline the two domes meet higher than at the wall.
        let u = if u > 0.0 { u / 74.0 } else { u / 130.0 };
        let v = if v > 0.0 { v / 115.0 } else { v / 98.0 };
        let far = u * u + v * v;
        self.dome[side] - self.dome_rise * far * (0.7 + 0.3 * far)
    }

    /// Height of the costophrenic angle of a side (0 right, 1 left): where the dome meets the wall beside it.
    pub fn angle(&self, side: usize) -> f32 {
        let mut z = self.dome[side];
        // The wall changes slowly with height: a few rounds suffice.
        for _ in 0..4 {
            z = self.diaphragm(SIDES[side] * self.level(z).half[0], 0.0);
        }
        z
    }

    /// Distance of a point of the cavity to the ribs, mm.
    pub fn to_wall(&self, level: &Level, x: f32, y: f32) -> f32 {
        let [a, b] = level.half;
        let r = radius([x / a, y / b]);
        if r > 0.0 { (x * x + y * y).sqrt() * (1.0 / r - 1.0) } else { b }
    }

    /// Path length through the whole body at (x, z), as if it held no air, mm.
    pub fn body(&self, x: f32, z: f32) -> f32 {
        let chord = |off: f32, half: f32| (1.0 - off * off / (half * half)).max(0.0).sqrt();
        // The trunk: the cavity and its wall; below the ribs it stays as wide.
        let trunk = {
            let top = TIP[0] + 8.0;
            let [a, b] = self.level(z.min(TIP[1])).half;
            let above = ((z - TIP[1]) / (top - TIP[1])).clamp(0.0, 1.0);
            let round = (1.0 - above * above * above).sqrt();
            let half = TIP_X + (a + self.wall - TIP_X) * round;
            2.0 * (b + 0.8 * self.wall)
                * (0.35 + 0.65 * round)
                * chord(x, half)
                * if z < top { 1.0 } else { 0.0 }
        };
        let neck = if z > 60.0 { 2.0 * 54.0 * chord(x, 50.0 + 0.25 * self.wall) } else { 0.0 };
        let neck = neck * ((z - 60.0) / 70.0).clamp(0.0, 1.0);
        let thick = 0.35 * self.wall;
        // From the neck to the shoulders and down the arms.
        let shoulder = capsule([x.abs(), z], [[30.0, 134.0], [172.0, 100.0]], 48.0 + thick);
        let arm = capsule([x.abs(), z], [[180.0, 98.0], [216.0, -160.0]], 42.0 + thick);
        let sum: f32 = [trunk, neck, shoulder, arm].iter().map(|t| t * t * t * t).sum();
        sum.sqrt().sqrt()
    }
}

/// Distance from the middle of an outline of half axes 1 that is rounder than a square, flatter than a circle: 1 on it.
pub fn radius([u, v]: [f32; 2]) -> f32 {
    let (u, v) = (u * u, v * v);
    (0.5 * (u + v) + 0.5 * (u * u + v * v).sqrt()).sqrt()
}

/// Path length through a rod with round ends.
fn capsule(p: [f32; 2], [from, to]: [[f32; 2]; 2], radius: f32) -> f32 {
    let along = [to[0] - from[0], to[1] - from[1]];
    let off = [p[0] - from[0], p[1] - from[1]];
    let t = (off[0] * along[0] + off[1] * along[1]) / (along[0] * along[0] + along[1] * along[1]);
    let t = t.clamp(0.0, 1.0);
    let d = [off[0] - t * along[0], off[1] - t * along[1]];
    2.0 * (radius * radius - d[0] * d[0] - d[1] * d[1]).max(0.0).sqrt()
}

/// Cosine and sine of an angle, from the tangent of its half: exact without any function of the C library.
pub fn rotation(half_tangent: f32) -> [f32; 2] {
    let square = half_tangent * half_tangent;
    [(1.0 - square) / (1.0 + square), 2.0 * half_tangent / (1.0 + square)]
}
