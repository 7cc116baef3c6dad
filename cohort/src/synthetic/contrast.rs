//! What healthy tissue looks like in the four contrasts.

use super::anatomy::Point;
use super::field::{Bounds, Field};
use super::parameters::{PerChannel, Tissue};
use super::random::Stream;

/// T1 of white matter, grey matter and fluid in the MNI152 template, of 1.
const TEMPLATE_T1: [f32; 3] = [0.88, 0.655, 0.25];
/// The template's own detail counts up to this share of the intensity.
const DETAIL_LIMIT: f32 = 0.15;

/// Shares of tissue at a point; they sum to 1.
#[derive(Debug, Clone, Copy)]
pub struct Shares {
    pub white: f32,
    pub grey: f32,
    pub fluid: f32,
}

/// One subject's tissue.
pub struct Contrast {
    levels: [[f32; 3]; 4],
    folding: Field<3>,
    folding_deviation: f32,
    fluid_weight: f32,
    detail: PerChannel,
    regional: Field<4>,
    regional_deviation: PerChannel,
}

impl Contrast {
    /// Draws a subject's.
    pub fn draw(random: &mut Stream, tissue: &Tissue, bounds: Bounds) -> Self {
        let levels = std::array::from_fn(|c| {
            let mut jitter = |deviation: f32| 1.0 + deviation * random.normal().clamp(-2.0, 2.0);
            [
                tissue.white[c] * jitter(tissue.jitter),
                tissue.grey[c] * jitter(tissue.jitter),
                tissue.fluid[c] * jitter(tissue.fluid_jitter),
            ]
        });
        Self {
            levels,
            folding: Field::draw(random, bounds, tissue.folding[1]),
            folding_deviation: tissue.folding[0],
            fluid_weight: random.within(tissue.fluid_weight),
            detail: tissue.detail,
            regional: Field::draw(random, bounds, tissue.regional_mm),
            regional_deviation: tissue.regional,
        }
    }

    /// The tissue of one brain at a subject's point `p`, mm, where the average of many says `point`.
    ///
    /// Cubing the probabilities sharpens them, and weights that differ from place to place decide where it is close:
    /// so no two subjects fold alike.
    pub fn shares(&self, p: [f32; 3], point: &Point) -> Shares {
        let weights = self.folding.at(p).map(|n| 1.0 + self.folding_deviation * n.clamp(-2.0, 2.0));
        let fluid = (1.0 - point.grey - point.white).max(0.0) * self.fluid_weight;
        let raw = [point.white, point.grey, fluid];
        let [white, grey, fluid]: [f32; 3] = std::array::from_fn(|i| {
            let v = raw[i] * weights[i];
            v * v * v
        });
        let sum = white + grey + fluid;
        if sum > 0.0 {
            Shares { white: white / sum, grey: grey / sum, fluid: fluid / sum }
        } else {
            Shares { white: 0.0, grey: 0.0, fluid: 1.0 }
        }
    }

    /// Intensities of T1, T1ce, T2, FLAIR.
    pub fn intensities(&self, p: [f32; 3], point: &Point, shares: &Shares) -> PerChannel {
        let usual = TEMPLATE_T1[0] * point.white
            + TEMPLATE_T1[1] * point.grey
            + TEMPLATE_T1[2] * (1.0 - point.white - point.grey).max(0.0);
        let detail = (point.t1 / usual - 1.0).clamp(-DETAIL_LIMIT, DETAIL_LIMIT);
        let regional = self.regional.at(p);
        std::array::from_fn(|c| {
            let [white, grey, fluid] = self.levels[c];
            let mixed = white * shares.white + grey * shares.grey + fluid * shares.fluid;
            let region = 1.0 + self.regional_deviation[c] * regional[c].clamp(-2.0, 2.0);
            mixed * region * (1.0 + self.detail[c] * detail)
        })
    }
}
