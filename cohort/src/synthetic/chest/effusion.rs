//! Pleural effusion: fluid between lung and chest wall, as gravity and the lung's recoil leave it in a person who stands.
//!
//! Fluid is a cup around the lung: thick below its height, thinner up the wall. Rays that graze the wall go through
//! more of it than those that meet it head-on, so its upper border seems to rise to the side: the meniscus.

use super::anatomy::{Level, Thorax};
use super::parameters::Effusion as Set;
use crate::synthetic::field::{Bounds, Field};
use crate::synthetic::random::Stream;

/// The field that makes the upper border uneven covers this.
const BOUNDS: Bounds = [[-160.0, -120.0, 0.0], [160.0, 120.0, 1.0]];
/// The costophrenic angle lies this much above its deepest point, mm: fluid up to there is hidden behind the dome.
const ANGLE_MM: f32 = 4.0;

/// The fluid of one side.
#[derive(Debug)]
struct Cup {
    /// The height that the fluid reaches, mm of the body.
    height: f32,
    /// How far it climbs the wall above.
    climb: f32,
    wall: f32,
    slope: f32,
    tilt: f32,
    base: f32,
}

/// One subject's.
pub struct Effusion {
    /// Right and left.
    cups: [Option<Cup>; 2],
    rough: Field<1>,
    rough_mm: f32,
    /// Attenuation of the fluid.
    pub fluid: f32,
}

impl Effusion {
    /// Draws a subject's: on one side at least.
    pub fn draw(random: &mut Stream, set: &Set, thorax: &Thorax) -> Self {
        let both = random.chance(set.both);
        let first = usize::from(random.chance(0.5));
        let mut cups = [None, None];
        for side in [first, 1 - first].into_iter().take(if both { 2 } else { 1 }) {
            let t = random.unit();
            let t = if random.chance(set.small_share) { t * t } else { t };
            let height = set.height_mm[0] + (set.height_mm[1] - set.height_mm[0]) * t;
            cups[side] = Some(Cup {
                height: thorax.angle(side) + ANGLE_MM + height,
                climb: random.within(set.climb_mm) + height * random.within(set.climb_share),
                wall: random.within(set.wall_mm),
                slope: random.within(set.slope),
                tilt: random.within(set.tilt_mm),
                base: height * random.within(set.base_share),
            });
        }
        let rough = Field::draw(random, BOUNDS, set.rough_mm[1]);
        Self { cups, rough, rough_mm: set.rough_mm[0], fluid: random.within(set.fluid) }
    }

    /// Whether there is fluid on the right and on the left.
    pub fn sides(&self) -> [bool; 2] {
        [0, 1].map(|side| self.cups[side].is_some())
    }

    /// Whether a point of the lung is fluid instead.
    pub fn holds(&self, thorax: &Thorax, level: &Level, x: f32, y: f32, z: f32) -> bool {
        let Some(cup) = &self.cups[usize::from(x > 0.0)] else { return false };
        let above = z - cup.height;
        if above > cup.climb + cup.tilt + 3.0 * self.rough_mm {
            return false;
        }
        let [a, b] = level.half;
        let [u, v] = [x * x / (a * a), y * y / (b * b)];
        let above = above - cup.tilt * (2.0 * u * x.abs() / a - 0.5)
            + self.rough_mm * self.rough.at([x, y, 0.0])[0].clamp(-2.5, 2.5);
        let thick = if above > 0.0 {
            let left = (1.0 - above / cup.climb).max(0.0);
            // Most of it beside the lung, less in front of it and behind.
            cup.wall * left * left * (0.3 + 0.7 * u / (u + v))
        } else {
            cup.wall - above * (cup.slope - above / 60.0)
        };
        thorax.to_wall(level, x, y) < thick || (above < 0.0 && z - thorax.diaphragm(x, y) < cup.base)
    }
}
