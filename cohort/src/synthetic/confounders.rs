//! What is bright or dark in healthy brains too: rims in FLAIR, spots, vessels.

use super::anatomy::Point;
use super::contrast::Shares;
use super::field::{Bounds, Field};
use super::parameters::{self as set, FLAIR, PerChannel};
use super::random::Stream;

/// Length over which rims come and go, mm.
const PATCH_MM: f32 = 18.0;
/// Attempts to find a place.
const ATTEMPTS: usize = 200;
/// Width of the borders of spots and vessels, mm.
const BORDER_MM: f32 = 0.8;

/// A bar with round ends; a spot if both ends are one point.
struct Bar {
    from: [f32; 3],
    to: [f32; 3],
    radius: f32,
}

impl Bar {
    /// 1 inside, 0 outside, between them at the border.
    fn share(&self, p: [f32; 3]) -> f32 {
        let along: [f32; 3] = std::array::from_fn(|a| self.to[a] - self.from[a]);
        let d: [f32; 3] = std::array::from_fn(|a| p[a] - self.from[a]);
        let length = dot(along, along);
        let t = if length > 0.0 { (dot(d, along) / length).clamp(0.0, 1.0) } else { 0.0 };
        let off: [f32; 3] = std::array::from_fn(|a| d[a] - t * along[a]);
        let reach = self.radius + BORDER_MM;
        let squared = dot(off, off);
        if squared > reach * reach {
            return 0.0;
        }
        (0.5 + (self.radius - squared.sqrt()) / BORDER_MM).clamp(0.0, 1.0)
    }

    /// Whether it may reach the slab's part between two heights.
    fn meets(&self, low: f32, high: f32) -> bool {
        let reach = self.radius + BORDER_MM;
        self.from[2].min(self.to[2]) - reach < high && self.from[2].max(self.to[2]) + reach > low
    }
}

struct Spot {
    place: Bar,
    flair: f32,
    t2: f32,
}

/// One subject's.
pub struct Confounders {
    ventricle_rim: f32,
    surface_rim: f32,
    rim_t2: f32,
    sinus: f32,
    vessel: PerChannel,
    patches: Field<2>,
    spots: Vec<Spot>,
    vessels: Vec<Bar>,
}

impl Confounders {
    /// Draws a subject's; `look` says what tissue a point of the slab has.
    pub fn draw(
        random: &mut Stream,
        set: &set::Confounders,
        bounds: Bounds,
        look: &impl Fn([f32; 3]) -> (Point, Shares),
    ) -> Self {
        let ventricle_rim = random.within(set.ventricle_rim);
        let surface_rim = random.within(set.surface_rim);
        let sinus = random.within(set.sinus_half_width_mm);
        let patches = Field::draw(random, bounds, PATCH_MM);
        let find = |random: &mut Stream, good: &dyn Fn(&Point, &Shares) -> bool| {
            (0..ATTEMPTS).find_map(|_| {
                let p = std::array::from_fn(|a| random.within([bounds[0][a], bounds[1][a]]));
                let (point, shares) = look(p);
                (point.brain > 0.9 && good(&point, &shares)).then_some(p)
            })
        };
        let mut spots = Vec::new();
        for _ in 0..random.count(set.spots) {
            let radius = random.within(set.spot_radius_mm);
            let (flair, t2) = (random.within(set.spot_flair), random.within(set.spot_t2));
            if let Some(p) = find(random, &|_, shares| shares.white > 0.9) {
                spots.push(Spot { place: Bar { from: p, to: p, radius }, flair, t2 });
            }
        }
        let mut vessels = Vec::new();
        for _ in 0..random.count(set.vessels) {
            let radius = random.within(set.vessel_radius_mm);
            let length = random.within(set.vessel_length_mm);
            let direction = random.direction();
            // Mostly in sulci and at the surface, some anywhere.
            let anywhere = random.chance(0.25);
            if let Some(from) =
                find(random, &|point, shares| anywhere || point.surface > 0.15 || shares.fluid > 0.5)
            {
                let to = std::array::from_fn(|a| from[a] + length * direction[a]);
                vessels.push(Bar { from, to, radius });
            }
        }
        Self {
            ventricle_rim,
            surface_rim,
            rim_t2: set.rim_t2,
            sinus,
            vessel: set.vessel,
            patches,
            spots,
            vessels,
        }
    }

    /// Those that can be met between two heights, mm.
    pub fn within(&self, low: f32, high: f32) -> Nearby<'_> {
        Nearby {
            all: self,
            spots: self.spots.iter().filter(|spot| spot.place.meets(low, high)).collect(),
            vessels: self.vessels.iter().filter(|vessel| vessel.meets(low, high)).collect(),
        }
    }
}

/// A subject's confounders in one slice.
pub struct Nearby<'a> {
    all: &'a Confounders,
    spots: Vec<&'a Spot>,
    vessels: Vec<&'a Bar>,
}

impl Nearby<'_> {
    /// Changes the intensities at `p`, mm; `q` is its place in the template.
    pub fn apply(&self, p: [f32; 3], q: [f32; 3], point: &Point, shares: &Shares, at: &mut PerChannel) {
        let all = self.all;
        let solid = 1.0 - shares.fluid;
        let [patch, other] = all.patches.at(p).map(|n| (0.5 + 0.5 * n).clamp(0.0, 1.0));
        let ventricle = all.ventricle_rim * patch * (point.ventricle * 2.0).min(1.0) * solid;
        let surface = all.surface_rim * other * (point.surface * 3.0).min(1.0) * solid;
        at[FLAIR] += ventricle + surface;
        at[2] += all.rim_t2 * (ventricle + surface);
        for spot in &self.spots {
            let share = spot.place.share(p) * solid;
            if share > 0.0 {
                at[FLAIR] += share * (spot.flair - at[FLAIR]);
                at[2] += share * spot.t2;
            }
        }
        let sinus = if q[0].abs() < all.sinus && point.surface > 0.3 { 1.0 } else { 0.0 };
        let vessel = self.vessels.iter().map(|vessel| vessel.share(p)).fold(sinus, f32::max);
        if vessel > 0.0 {
            for (v, level) in at.iter_mut().zip(all.vessel) {
                *v += vessel * (level - *v);
            }
        }
    }
}

fn dot(a: [f32; 3], b: [f32; 3]) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}
