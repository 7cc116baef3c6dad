//! Lesions: a rough ball of core, rim and oedema.

use super::anatomy::Point;
use super::contrast::Shares;
use super::field::Field;
use super::parameters::{FLAIR, Lesions, PerChannel, Range};
use super::random::Stream;

/// Attempts to find a place in solid tissue.
const ATTEMPTS: usize = 2000;
/// Lengths over which the borders stray, in radii.
const ROUGH_SCALE: f32 = 0.6;
/// The border of a lesion stays within this many radii of its middle.
const REACH: f32 = 1.9;
/// Length over which the texture changes, mm.
const TEXTURE_MM: f32 = 5.0;

/// One lesion.
pub struct Lesion {
    centre: [f32; 3],
    radius: f32,
    axes: [[f32; 3]; 3],
    core_centre: [f32; 3],
    core: Option<f32>,
    oedema: bool,
    rim_mm: f32,
    rough: [f32; 2],
    border: [Field<2>; 2],
    texture: Field<1>,
    texture_deviation: f32,
    soft: f32,
    iso_flair: bool,
    /// Of core, rim, oedema.
    levels: [PerChannel; 3],
    opacity: [f32; 2],
}

impl Lesion {
    /// Draws the lesions of a subject whose slices lie between two heights, mm; perhaps none.
    pub fn draw(
        random: &mut Stream,
        set: &Lesions,
        [low, high]: [f32; 2],
        look: &impl Fn([f32; 3]) -> (Point, Shares),
    ) -> Vec<Self> {
        if !random.chance(set.share) {
            return Vec::new();
        }
        let count = if random.chance(set.second) { 2 } else { 1 };
        (0..count).filter_map(|_| Self::draw_one(random, set, [low, high], look)).collect()
    }

    fn draw_one(
        random: &mut Stream,
        set: &Lesions,
        [low, high]: [f32; 2],
        look: &impl Fn([f32; 3]) -> (Point, Shares),
    ) -> Option<Self> {
        let t = random.unit();
        let t = if random.chance(set.small_share) { t * t } else { t };
        let radius = set.radius_mm[0] + (set.radius_mm[1] - set.radius_mm[0]) * t;
        let centre = (0..ATTEMPTS).find_map(|_| {
            let p = [random.within([-75.0, 75.0]), random.within([-110.0, 75.0]), random.within([low, high])];
            let (point, shares) = look(p);
            let inside = point.brain > 0.99 && point.surface < 0.12;
            (inside && shares.fluid < 0.1 && point.ventricle < 0.5).then_some(p)
        })?;
        let first = random.direction();
        let second = loop {
            let other = random.direction();
            let along = dot(first, other);
            let off: [f32; 3] = std::array::from_fn(|a| other[a] - along * first[a]);
            let norm = dot(off, off).sqrt();
            if norm > 0.3 {
                break off.map(|x| x / norm);
            }
        };
        let third = cross(first, second);
        let axes = [first, second, third].map(|axis| {
            let length = radius * random.within(set.axes);
            axis.map(|x| x / length)
        });
        let (without_core, without_oedema) =
            (random.chance(set.without_core), random.chance(set.without_oedema));
        let enhancing = random.chance(set.enhancing);
        let iso_flair = random.chance(set.iso_flair);
        let core_share = if without_oedema && !without_core { 1.0 } else { random.within(set.core) };
        let off = random.direction().map(|x| x * (1.0 - core_share) * 0.4 * radius);
        let mut pick = |ranges: &[Range; 4]| ranges.map(|range| random.within(range));
        let mut levels = [pick(&set.core_level), pick(&set.rim_level), pick(&set.oedema_level)];
        if enhancing {
            levels[1][1] = random.within(set.enhancing_level);
        }
        let reach = REACH * radius;
        let bounds = [centre.map(|x| x - reach), centre.map(|x| x + reach)];
        let scale = ROUGH_SCALE * radius;
        Some(Self {
            centre,
            radius,
            axes,
            core_centre: std::array::from_fn(|a| centre[a] + off[a]),
            core: (!without_core).then_some(core_share),
            oedema: !without_oedema || without_core,
            rim_mm: random.within(set.rim_mm),
            rough: set.rough,
            border: [Field::draw(random, bounds, scale), Field::draw(random, bounds, scale / 2.0)],
            texture: Field::draw(random, bounds, TEXTURE_MM),
            texture_deviation: set.texture,
            soft: set.border_mm,
            iso_flair,
            levels,
            opacity: set.opacity.map(|range| random.within(range)),
        })
    }

    /// Whether FLAIR does not show it.
    pub fn iso_flair(&self) -> bool {
        self.iso_flair
    }

    /// Whether it can be met between two heights, mm.
    pub fn meets(&self, low: f32, high: f32) -> bool {
        let reach = REACH * self.radius;
        self.centre[2] - reach < high && self.centre[2] + reach > low
    }

    /// Changes the intensities at `p`, mm, and returns which share of the point is lesion, 0 to 1.
    pub fn apply(&self, p: [f32; 3], point: &Point, shares: &Shares, at: &mut PerChannel) -> f32 {
        let d: [f32; 3] = std::array::from_fn(|a| p[a] - self.centre[a]);
        let far = self.axes.iter().map(|&axis| dot(axis, d)).map(|x| x * x).sum::<f32>().sqrt();
        if far > REACH {
            return 0.0;
        }
        let [coarse, fine] = [0, 1].map(|i| self.border[i].at(p));
        let stray = |i: usize| self.rough[i] * (coarse[i] + 0.5 * fine[i]).clamp(-2.5, 2.5);
        // Signed distances, mm, positive inside.
        let outer = self.radius * (1.0 + stray(0) - far);
        let inside = |distance: f32| (0.5 + distance / self.soft).clamp(0.0, 1.0);
        let (mut core, mut rim) = (0.0, 0.0);
        if let Some(share) = self.core {
            let d: [f32; 3] = std::array::from_fn(|a| p[a] - self.core_centre[a]);
            let far = self.axes.iter().map(|&axis| dot(axis, d)).map(|x| x * x).sum::<f32>().sqrt();
            let mut inner = self.radius * (share * (1.0 + stray(1)) - far);
            if self.oedema {
                inner = inner.min(outer);
            }
            let whole = inside(inner);
            core = inside(inner - self.rim_mm);
            rim = (whole - core).max(0.0);
        }
        // Oedema follows tissue: neither ventricles nor sulci swell. Core and rim displace both.
        let spared = 1.0 - (point.ventricle * 1.4 - 0.4).clamp(0.0, 1.0);
        let oedema = match self.oedema {
            true => (inside(outer) - core - rim).max(0.0) * (1.0 - shares.fluid),
            false => 0.0,
        };
        let parts = [core * spared, rim * spared, oedema];
        let texture = 1.0 + self.texture_deviation * self.texture.at(p)[0].clamp(-2.0, 2.0);
        let healthy = *at;
        for (i, part) in parts.iter().enumerate() {
            let opacity = part * self.opacity[i / 2];
            for (c, v) in at.iter_mut().enumerate() {
                if !(self.iso_flair && c == FLAIR) {
                    *v += opacity * (self.levels[i][c] * texture - healthy[c]);
                }
            }
        }
        parts.iter().sum::<f32>().min(1.0)
    }
}

fn dot(a: [f32; 3], b: [f32; 3]) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

fn cross(a: [f32; 3], b: [f32; 3]) -> [f32; 3] {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}
