//! Vessels of the lungs, hila, aorta and airways.

use super::anatomy::{SIDES, Thorax};
use super::parameters::Vessels;
use super::plane::{Plane, curve};
use crate::synthetic::random::Stream;

/// Height of the hila, right and left.
const HILUM: [f32; 2] = [8.0, 18.0];
/// How the branches fan out: from down to up, directions of length about 1 towards the side.
const FAN: [[f32; 2]; 10] = [
    [0.30, -0.95],
    [0.50, -0.87],
    [0.68, -0.73],
    [0.84, -0.54],
    [0.95, -0.30],
    [1.00, -0.04],
    [0.95, 0.28],
    [0.80, 0.58],
    [0.58, 0.80],
    [0.36, 0.92],
];

/// Adds the vessels inside the lungs: what fluid hides.
pub fn branches(random: &mut Stream, set: &Vessels, thorax: &Thorax, plane: &mut Plane) {
    let blood = 1.0 - thorax.lung;
    for (side, height) in SIDES.into_iter().zip(HILUM) {
        let at = [side * (thorax.mediastinum + 12.0), -10.0, height + random.within([-6.0, 6.0])];
        let hilum = random.within(set.hilum_mm);
        plane.ball([at[0] + thorax.turn * at[1], at[2]], hilum, 0.45 * blood);
        plane.ball([at[0] + side * 4.0, at[2] - 0.9 * hilum], 0.7 * hilum, 0.45 * blood);
        let count = random.count(set.branches);
        for branch in 0..count {
            let place = (branch as f32 + random.unit()) / count as f32 * (FAN.len() - 1) as f32;
            let (index, part) = (place as usize, place.fract());
            let next = FAN[(index + 1).min(FAN.len() - 1)];
            let way: [f32; 2] = std::array::from_fn(|a| FAN[index][a] * (1.0 - part) + next[a] * part);
            // Those that go down are thicker and longer: more blood flows there.
            let down = 1.0 - 0.25 * way[1];
            let radius = random.within(set.radius_mm) * down;
            let length = random.within(set.length_mm) * down;
            let from = [at[0], at[1], at[2], radius];
            branch_off(random, from, [side * way[0], way[1]], length, blood, thorax.turn, plane);
        }
    }
}

/// One branch and, from its middle, two twigs.
fn branch_off(
    random: &mut Stream,
    from: [f32; 4],
    way: [f32; 2],
    length: f32,
    blood: f32,
    turn: f32,
    plane: &mut Plane,
) {
    let deep = random.within([-35.0, 45.0]);
    let sag = random.within([-0.12, 0.12]) * length;
    let to = [from[0] + way[0] * length, deep, from[2] + way[1] * length, 1.2];
    let middle = [
        from[0] + 0.5 * way[0] * length - way[1] * sag,
        0.5 * (from[1] + deep),
        from[2] + 0.5 * way[1] * length + way[0] * sag,
        0.55 * from[3],
    ];
    let points: Vec<_> = curve([from, middle, to], 16).collect();
    plane.tube(&points, turn, blood);
    for (start, bend) in [(6, 0.55), (9, -0.55)] {
        let bend = bend * random.within([0.6, 1.4]);
        let way = [way[0] - bend * way[1], way[1] + bend * way[0]];
        let length = 0.5 * length * random.within([0.7, 1.1]);
        let p = points[start];
        let end = [p[0] + way[0] * length, p[1], p[2] + way[1] * length, 1.0];
        plane.tube(&[[p[0], p[1], p[2], 0.6 * p[3]], end], turn, blood);
    }
}

/// Adds aorta, windpipe and main bronchi: what no fluid hides.
pub fn great(random: &mut Stream, set: &Vessels, thorax: &Thorax, plane: &mut Plane) {
    let radius = random.within(set.aorta_mm);
    let blood = 1.0 - thorax.lung;
    let arch = thorax.mediastinum + 2.0;
    // The part that bulges out of the mediastinum; within it the aorta is as dense as what is around it.
    plane.ball([arch + thorax.turn * -10.0, 58.0], radius, 0.7 * blood);
    let down =
        [[arch - 2.0, -40.0, 48.0, 0.75 * radius], [arch - 8.0, -55.0, 0.0, 10.0], [6.0, -60.0, -90.0, 9.0]];
    plane.tube(&curve(down, 24).collect::<Vec<_>>(), thorax.turn, 0.6 * blood);
    let air = random.within(set.trachea_mm);
    let bow = random.within([-5.0, 2.0]);
    let pipe = [[0.0, 10.0, 165.0, air], [bow, 0.0, 90.0, air], [bow, -10.0, 38.0, air]];
    plane.tube(&curve(pipe, 24).collect::<Vec<_>>(), thorax.turn, -0.9);
    for side in SIDES {
        let bronchus = [[bow, -10.0, 38.0, 0.8 * air], [side * 34.0, -12.0, 14.0, 0.65 * air]];
        plane.tube(&bronchus, thorax.turn, -0.6);
    }
}
