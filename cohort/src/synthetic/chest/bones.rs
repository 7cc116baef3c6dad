//! Bones, as tubes: ribs, collar bones, spine, shoulder blades, upper arms.

use super::anatomy::{SIDES, Thorax, radius};
use super::parameters::Bones;
use super::plane::{Plane, curve};
use crate::synthetic::random::Stream;

/// Ribs a side.
const RIBS: usize = 11;
/// Points along a rib.
const POINTS: usize = 60;
/// Height of the first rib at the spine.
const FIRST_RIB: f32 = 116.0;
/// Distance of two vertebrae.
const VERTEBRA: f32 = 23.0;

/// Adds a subject's bones: what they attenuate more than soft tissue.
pub fn draw(random: &mut Stream, set: &Bones, thorax: &Thorax, plane: &mut Plane) {
    ribs(random, set, thorax, plane);
    spine(random, set, thorax, plane);
    shoulders(random, set, thorax, plane);
}

fn ribs(random: &mut Stream, set: &Bones, thorax: &Thorax, plane: &mut Plane) {
    let distance = random.within(set.rib_distance_mm);
    let [first, last] = set.rib_drop_mm.map(|range| random.within(range));
    let thick = random.within(set.rib_radius_mm);
    let attenuation = random.within(set.rib);
    for side in SIDES {
        for rib in 0..RIBS {
            let z = FIRST_RIB - distance * rib as f32 + random.within([-1.5, 1.5]);
            let drop = first + (last - first) * (rib as f32 / 6.0).min(1.0);
            let thick = thick * random.within([0.92, 1.08]);
            let [a, b] = thorax.level((z - 0.55 * drop).min(104.0)).half;
            // The lowest ribs do not reach the front.
            let end = if rib < 8 { 0.80 } else { 0.80 - 0.09 * (rib - 7) as f32 };
            let points: Vec<[f32; 4]> = (0..=POINTS)
                .map(|i| {
                    // From the spine (0) along the wall to the breast bone (1).
                    let q = 0.06 + (end - 0.06) * i as f32 / POINTS as f32;
                    // Tangent of half the angle: close to tan(πq/2).
                    let t = 1.5 * q / (1.0 - q * q);
                    let (sine, cosine) = (2.0 * t / (1.0 + t * t), (1.0 - t * t) / (1.0 + t * t));
                    let down = 0.5 * q + 1.1 * q * q;
                    // Up a little beside the spine, as the ribs' necks do.
                    let up = 10.0 * q * (1.0 - 2.2 * q).max(0.0);
                    let wall = 1.0 / radius([sine, cosine]);
                    let (x, y) = ((a + 2.0) * wall * sine, -(b + 2.0) * wall * cosine);
                    [side * x, y, z - drop * down + up, thick]
                })
                .collect();
            // The front ends are thinner and turn into cartilage.
            let (back, front) = points.split_at(POINTS * 2 / 3);
            let attenuation = attenuation * if rib < 8 { 1.0 } else { 0.65 };
            plane.tube(back, thorax.turn, attenuation);
            plane.tube(front, thorax.turn, 0.75 * attenuation);
        }
    }
}

fn spine(random: &mut Stream, set: &Bones, thorax: &Thorax, plane: &mut Plane) {
    let attenuation = random.within(set.spine);
    let bend = random.within([-5.0, 5.0]);
    let middle = |z: f32| bend * (1.0 - (z / 160.0) * (z / 160.0));
    let offset = random.within([0.0, VERTEBRA]);
    for i in 0..22 {
        let low = offset - 250.0 + VERTEBRA * i as f32;
        let width = 19.0 - 0.02 * (low + 100.0).clamp(0.0, 250.0);
        let at = |z: f32| [middle(z), -62.0, z, width];
        // The body, a gap for the disc, and the two feet of the arch.
        plane.tube(&[at(low), at(low + 0.76 * VERTEBRA)], thorax.turn, attenuation);
        let z = low + 0.5 * VERTEBRA;
        for side in SIDES {
            let x = middle(z) + side * 0.66 * width - 80.0 * thorax.turn;
            plane.ball([x, z], 4.5, 1.2 * attenuation);
        }
        plane.ball([middle(z) - 110.0 * thorax.turn, z - 6.0], 4.0, attenuation);
    }
}

fn shoulders(random: &mut Stream, set: &Bones, thorax: &Thorax, plane: &mut Plane) {
    let attenuation = random.within(set.shoulder);
    let height = random.within(set.clavicle_mm);
    let rise = random.within(set.clavicle_rise_mm);
    // The blades lie further out where the arms are turned forward.
    let out = random.within([0.0, 24.0]);
    for side in SIDES {
        let z = height + random.within([-3.0, 3.0]);
        let bone = [
            [side * 20.0, 84.0, z, 7.0],
            [side * 82.0, 70.0, z + 0.35 * rise - 8.0, 5.0],
            [side * 152.0, 10.0, z + rise, 6.0],
        ];
        plane.tube(&curve(bone, 30).collect::<Vec<_>>(), thorax.turn, attenuation);
        let blade = [
            [side * (104.0 + out), -75.0, 82.0, 2.6],
            [side * (88.0 + out), -85.0, 20.0, 2.6],
            [side * (116.0 + out), -80.0, -18.0, 3.0],
        ];
        plane.tube(&curve(blade, 24).collect::<Vec<_>>(), thorax.turn, attenuation);
        let border = [
            [side * (116.0 + out), -80.0, -18.0, 4.0],
            [side * (138.0 + out), -70.0, 35.0, 4.0],
            [side * (158.0 + 0.4 * out), -40.0, 88.0, 8.0],
        ];
        plane.tube(&curve(border, 24).collect::<Vec<_>>(), thorax.turn, attenuation);
        let ridge = [
            [side * (100.0 + out), -88.0, 74.0, 3.5],
            [side * 138.0, -80.0, 96.0, 4.5],
            [side * 172.0, -30.0, 122.0, 6.0],
        ];
        plane.tube(&curve(ridge, 24).collect::<Vec<_>>(), thorax.turn, attenuation);
        let arm = [
            [side * 178.0, 0.0, 96.0, 12.5],
            [side * 190.0, 0.0, 20.0, 11.0],
            [side * 214.0, 0.0, -200.0, 12.0],
        ];
        plane.ball([side * 176.0, 100.0], 23.0, 0.5 * attenuation);
        plane.tube(&curve(arm, 60).collect::<Vec<_>>(), thorax.turn, 0.7 * attenuation);
    }
}
