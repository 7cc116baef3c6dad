//! What is bright in healthy radiographs too: breasts, fat, pacemakers, wires, lines, markers; and gas, which is dark.

use super::anatomy::{SIDES, Thorax};
use super::parameters::Confounders;
use super::plane::{Plane, curve};
use crate::synthetic::random::Stream;

/// Attenuation of metal and of a cable's core and insulation.
const METAL: f32 = 8.0;
const CABLE: f32 = 14.0;
/// Attenuation of a line's plastic.
const PLASTIC: f32 = 7.0;

/// Adds a subject's.
pub fn draw(random: &mut Stream, set: &Confounders, thorax: &Thorax, plane: &mut Plane) {
    if random.chance(set.breasts) {
        breasts(random, set, thorax, plane);
    }
    if random.chance(set.fat_pad) {
        fat_pad(random, thorax, plane);
    }
    if random.chance(set.gas) {
        gas(random, thorax, plane);
    }
    if random.chance(set.pacemaker) {
        pacemaker(random, thorax, plane);
    }
    if random.chance(set.wires) {
        for _ in 0..random.count(set.wire_count) {
            wire(random, plane);
        }
    }
    if random.chance(set.line) {
        line(random, thorax, plane);
    }
}

/// Half ellipsoids in front of the chest, fuller below.
fn breasts(random: &mut Stream, set: &Confounders, thorax: &Thorax, plane: &mut Plane) {
    let thick = random.within(set.breast_mm);
    let radius = random.within(set.breast_radius_mm);
    let low = random.within([-72.0, -30.0]);
    for side in SIDES {
        let radius = radius * random.within([0.93, 1.07]);
        let centre = [
            side * (80.0 + random.within([-6.0, 8.0])) + 100.0 * thorax.turn,
            low + random.within([-7.0, 7.0]),
        ];
        let (above, below) = (1.5 * radius, 0.72 * radius);
        plane.each_near(centre, [radius, above], |[x, z]| {
            let (u, v) = (x / radius, z / if z > 0.0 { above } else { below });
            // Flatter than an ellipsoid: its border is soft.
            thick * (1.0 - u * u - v * v).max(0.0)
        });
    }
}

/// Fat beside the heart's tip, on the diaphragm.
fn fat_pad(random: &mut Stream, thorax: &Thorax, plane: &mut Plane) {
    let side = usize::from(random.chance(0.65));
    let x = SIDES[side] * if side == 1 { random.within([62.0, 84.0]) } else { random.within([34.0, 46.0]) };
    let z = thorax.dome[side] - random.within([4.0, 12.0]);
    let radius = [random.within([16.0, 30.0]), random.within([12.0, 22.0])];
    let thick = random.within([20.0, 45.0]);
    plane.each_near([x + 70.0 * thorax.turn, z], radius, |[x, z]| {
        let (u, v) = (x / radius[0], z / radius[1]);
        thick * (1.0 - u * u - v * v).max(0.0).sqrt()
    });
}

/// A bubble under the left dome.
fn gas(random: &mut Stream, thorax: &Thorax, plane: &mut Plane) {
    let radius = [random.within([16.0, 36.0]), random.within([9.0, 20.0])];
    let thick = random.within([25.0, 90.0]);
    let x = random.within([50.0, 85.0]);
    let z = thorax.diaphragm(x, 12.0) - radius[1] - random.within([5.0, 9.0]);
    plane.each_near([x, z], radius, |[x, z]| {
        let (u, v) = (x / radius[0], z / radius[1]);
        -thick * (1.0 - u * u - v * v).max(0.0).sqrt()
    });
}

/// A case under the left or right collar bone and one or two leads to the heart.
fn pacemaker(random: &mut Stream, thorax: &Thorax, plane: &mut Plane) {
    let side = if random.chance(0.8) { 1.0 } else { -1.0 };
    let at = [side * random.within([88.0, 112.0]) + 100.0 * thorax.turn, random.within([52.0, 84.0])];
    let half = [random.within([19.0, 25.0]), random.within([17.0, 24.0])];
    plane.each_near(at, half, |[x, z]| {
        // A rounded square.
        let (u, v) = (x / half[0], z / half[1]);
        if u * u * u * u + v * v * v * v < 1.0 { 8.0 * METAL } else { 0.0 }
    });
    for _ in 0..random.count([1, 2]) {
        let tip = [random.within([-15.0, 60.0]), 40.0, random.within([-75.0, -35.0]), 1.2];
        let bend = [-22.0, 40.0, random.within([55.0, 85.0]), 1.2];
        let first = [at[0] - side * 15.0, 60.0, at[1] + 15.0, 1.2];
        let over = [side * 45.0, 60.0, 104.0, 1.2];
        plane.tube(
            &curve([first, over, [side * 12.0, 40.0, 84.0, 1.2]], 24).collect::<Vec<_>>(),
            thorax.turn,
            CABLE,
        );
        plane.tube(
            &curve([[side * 12.0, 40.0, 84.0, 1.2], bend, tip], 32).collect::<Vec<_>>(),
            thorax.turn,
            CABLE,
        );
    }
}

/// A cable on the skin and its electrode.
fn wire(random: &mut Stream, plane: &mut Plane) {
    let side = if random.chance(0.5) { 1.0 } else { -1.0 };
    let pad = [side * random.within([40.0, 135.0]), 0.0, random.within([-90.0, 95.0]), 1.1];
    let bend = [random.within([-110.0, 110.0]), 0.0, random.within([-80.0, 90.0]), 1.1];
    let away = [random.within([-150.0, 150.0]), 0.0, if random.chance(0.7) { -220.0 } else { 220.0 }, 1.1];
    plane.tube(&curve([pad, bend, away], 60).collect::<Vec<_>>(), 0.0, CABLE);
    plane.ball([pad[0], pad[2]], 5.5, 0.5 * METAL);
}

/// A central line from the neck or below a collar bone to the vena cava.
fn line(random: &mut Stream, thorax: &Thorax, plane: &mut Plane) {
    let end = [-24.0, 10.0, random.within([-2.0, 40.0]), 1.4];
    let from = if random.chance(0.6) { [-38.0, 10.0, 190.0, 1.4] } else { [-125.0, 60.0, 84.0, 1.4] };
    let points: Vec<_> = curve([from, [-26.0, 20.0, 105.0, 1.4], end], 40).collect();
    plane.tube(&points, thorax.turn, PLASTIC);
}

/// A lead L beside the patient's left shoulder, as two bars: left, low, right, high, mm of the detector; `edge` is that
/// of the field of view.
pub fn marker(random: &mut Stream, set: &Confounders, edge: f32) -> Option<[[f32; 4]; 2]> {
    random.chance(set.marker).then(|| {
        let [x, z] = [edge * random.within([0.38, 0.45]), edge * random.within([0.30, 0.44])];
        [[x - 6.0, z - 8.0, x - 2.5, z + 8.0], [x - 6.0, z - 8.0, x + 5.0, z - 4.5]]
    })
}
