//! One patient before the tube: attenuation along the rays, with and without an effusion.

use ndarray::Array2;

use super::anatomy::{Level, Thorax};
use super::effusion::Effusion;
use super::parameters::Parameters;
use super::plane::Plane;
use super::view::View;
use super::{bones, confounders, vessels};
use crate::synthetic::random::{Part, Stream};

/// Distance of two points along a ray, mm, and how far they reach to the front and to the back.
const DEPTH_MM: [f32; 2] = [5.0, 105.0];
/// Distance of two rays: this share of a pixel, within these limits, mm.
const STEP: (f32, [f32; 2]) = (1.0 / 3.0, [1.0, 2.0]);

/// Vessels are seen in full through this much lung, mm.
const VESSELS_MM: f32 = 110.0;

/// Everything but the effusion.
pub struct Patient {
    thorax: Thorax,
    view: View,
    /// Attenuation of all but the vessels inside the lungs.
    still: Plane,
    /// That of those vessels.
    branches: Plane,
    /// Path length through lung, mm.
    lung: Plane,
    /// Path length through the cavity, mm, [H, W].
    cavity: Array2<f32>,
    /// Mean attenuation where the cavity is, without an effusion.
    mean: f32,
}

impl Patient {
    /// Draws patient `number` (from 1) of a seed, seen at `size` pixels along an edge.
    pub fn draw(set: &Parameters, seed: u64, number: u64, size: usize) -> Self {
        let stream = |part| Stream::new(seed, number, part);
        let [mut shape, mut contrast] = [stream(Part::Shape), stream(Part::Contrast)];
        let [mut things, mut noise] = [stream(Part::Confounders), stream(Part::Noise)];
        let thorax = Thorax::draw(&mut shape, &set.anatomy, &set.confounders);
        let texture = thorax.texture(&mut shape, &set.anatomy);
        let streams = [&mut shape, &mut contrast, &mut noise, &mut things];
        let view = View::draw(streams, set, &thorax, size);
        let (part, [least, most]) = STEP;
        let step = (view.pixel() * part).clamp(least, most);

        let [mut still, mut branches] = [Plane::new(step), Plane::new(step)];
        bones::draw(&mut contrast, &set.bones, &thorax, &mut still);
        vessels::great(&mut contrast, &set.vessels, &thorax, &mut still);
        vessels::branches(&mut contrast, &set.vessels, &thorax, &mut branches);
        confounders::draw(&mut things, &set.confounders, &thorax, &mut still);
        let [mut cavity, mut lung] = [Plane::new(step), Plane::new(step)];
        for row in 0..still.edge() {
            let z = still.place(row);
            let level = thorax.level(z);
            for column in 0..still.edge() {
                let x = still.place(column);
                let [mut whole, mut air] = [0.0; 2];
                along(&thorax, &level, x, |x, y| {
                    whole += DEPTH_MM[0];
                    if thorax.in_lung(&level, x, y) {
                        air += DEPTH_MM[0];
                    }
                });
                *cavity.value_mut(row, column) = whole;
                *lung.value_mut(row, column) = air;
                let density = if air > 0.0 { thorax.lung * texture([x, z]) } else { 0.0 };
                *still.value_mut(row, column) += thorax.body(x, z) - (1.0 - density) * air;
            }
        }
        let cavity = view.project(&cavity);
        let mut patient = Self { thorax, view, still, branches, lung, cavity, mean: 0.0 };
        let healthy = patient.view.project(&patient.attenuation(None));
        let inside: Vec<f32> = healthy
            .iter()
            .zip(&patient.cavity)
            .filter(|(_, path)| **path > set.field_mm)
            .map(|(v, _)| *v)
            .collect();
        patient.mean = inside.iter().sum::<f32>() / inside.len().max(1) as f32;
        patient
    }

    /// Its thorax.
    pub fn thorax(&self) -> &Thorax {
        &self.thorax
    }

    /// Path length through the cavity that holds lungs, heart and mediastinum, mm, [H, W].
    pub fn cavity(&self) -> &Array2<f32> {
        &self.cavity
    }

    /// The radiograph before normalisation, [H, W], at least 0. Position, exposure and noise are the same with an
    /// effusion and without.
    pub fn expose(&self, effusion: Option<&Effusion>) -> Array2<f32> {
        self.view.develop(self.view.project(&self.attenuation(effusion)), self.mean)
    }

    fn attenuation(&self, effusion: Option<&Effusion>) -> Plane {
        let mut sum = self.still.clone();
        for row in 0..sum.edge() {
            let z = sum.place(row);
            let level = self.thorax.level(z);
            for column in 0..sum.edge() {
                let [lung, branches] = [self.lung.value(row, column), self.branches.value(row, column)];
                let fluid = match effusion {
                    Some(effusion) if lung > 0.0 => self.fluid(effusion, &level, sum.place(column), z),
                    _ => 0.0,
                };
                // Vessels are seen where there is air around them; fluid takes the place of both.
                let seen = ((lung - fluid) / VESSELS_MM).min(1.0);
                let denser = effusion.map_or(0.0, |effusion| effusion.fluid - self.thorax.lung);
                *sum.value_mut(row, column) += seen * branches + denser * fluid;
            }
        }
        sum
    }

    /// Path length through fluid, mm.
    fn fluid(&self, effusion: &Effusion, level: &Level, x: f32, z: f32) -> f32 {
        let mut path = 0.0;
        along(&self.thorax, level, x, |x, y| {
            if self.thorax.in_lung(level, x, y) && effusion.holds(&self.thorax, level, x, y, z) {
                path += DEPTH_MM[0];
            }
        });
        path
    }
}

/// Calls `each` for the points (x, y) of the cavity on the ray that meets the detector at `x`.
fn along(thorax: &Thorax, level: &Level, x: f32, mut each: impl FnMut(f32, f32)) {
    let [step, reach] = DEPTH_MM;
    // A turned patient's front moves to one side: close to a rotation while the angle is small.
    if x.abs() > level.half[0] + reach * thorax.turn.abs() {
        return;
    }
    for i in 0..(2.0 * reach / step) as usize {
        let y = (i as f32 + 0.5) * step - reach;
        let x = x - thorax.turn * y;
        if thorax.in_cavity(level, x, y) {
            each(x, y);
        }
    }
}
