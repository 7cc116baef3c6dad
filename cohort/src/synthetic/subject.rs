//! One subject: a slab of slices in four contrasts, with and without its lesions.

use ndarray::{Array2, Array3};

use super::anatomy::Anatomy;
use super::confounders::Confounders;
use super::contrast::Contrast;
use super::deform::Deformation;
use super::degrade::{Bias, rician};
use super::lesion::Lesion;
use super::parameters::Parameters;
use super::random::{Part, Stream};

/// Room around the slices that deformation and lesions may reach into, mm.
const MARGIN_MM: f32 = 12.0;
/// The number of channels.
const C: usize = 4;
/// Pixels along an edge for which the number of samples is meant.
const USUAL_SIZE: usize = 64;
/// The height of the field of view's middle above the template's origin, mm: brains lie behind the origin.
const MIDDLE_Y: f32 = -18.0;

/// Where the slices lie. Patient coordinates, mm: x to the right, y to the front, z up.
#[derive(Debug, Clone, PartialEq)]
pub struct Geometry {
    /// Edge of a pixel, mm.
    pub pixel_mm: f32,
    /// The middle of the lowest slice, mm.
    pub lowest_mm: f32,
    /// From slice to slice, mm.
    pub spacing_mm: f32,
    /// Thickness of a slice, mm.
    pub thickness_mm: f32,
}

impl Geometry {
    /// The middle of a pixel. Rows go from front to back, columns from the patient's right to the left.
    pub fn place(&self, size: usize, slice: usize, row: f32, column: f32) -> [f32; 3] {
        let middle = (size as f32 - 1.0) / 2.0;
        [
            (middle - column) * self.pixel_mm,
            MIDDLE_Y + (middle - row) * self.pixel_mm,
            self.lowest_mm + slice as f32 * self.spacing_mm,
        ]
    }
}

/// One slice before normalisation.
#[derive(Debug, Clone, PartialEq)]
pub struct RawSlice {
    /// [C, H, W], at least 0; 0 outside the brain.
    pub image: Array3<f32>,
    /// The same anatomy, bias and noise without the lesions.
    pub healthy: Array3<f32>,
    /// Share of each pixel that is lesion, [H, W].
    pub lesion: Array2<f32>,
    /// The brain, [H, W].
    pub brain: Array2<bool>,
}

/// One subject.
#[derive(Debug, Clone, PartialEq)]
pub struct Subject {
    /// Number, from 1.
    pub number: u64,
    /// Where the slices lie.
    pub geometry: Geometry,
    /// From low to high.
    pub slices: Vec<RawSlice>,
    /// Whether FLAIR does not show its lesions; `None` without lesions or where they differ.
    pub iso_flair: Option<bool>,
}

impl Subject {
    /// Its name, e.g. `s0001`.
    pub fn name(&self) -> String {
        format!("s{:04}", self.number)
    }

    /// Makes subject `number` (from 1) of a seed at `size` pixels along an edge.
    pub fn make(anatomy: &Anatomy, set: &Parameters, seed: u64, number: u64, size: usize) -> Self {
        let mut shape = Stream::new(seed, number, Part::Shape);
        let round = |v: f32, unit: f32| (v / unit).round() * unit;
        let geometry = Geometry {
            pixel_mm: round(shape.within(set.field_of_view_mm) / size as f32, 1.0 / 256.0),
            lowest_mm: round(shape.within(set.lowest_slice_mm), 1.0 / 16.0),
            spacing_mm: round(shape.within(set.slice_spacing_mm), 1.0 / 16.0),
            thickness_mm: set.slice_thickness_mm,
        };
        let (low, high) = (geometry.lowest_mm, geometry.place(size, set.slab_slices - 1, 0.0, 0.0)[2]);
        let bounds = [[-90.0, -128.0, low - MARGIN_MM], [90.0, 92.0, high + MARGIN_MM]];
        let deformation = Deformation::draw(&mut shape, &set.shape, bounds);
        let mut random = Stream::new(seed, number, Part::Contrast);
        let contrast = Contrast::draw(&mut random, &set.tissue, bounds);
        let bias = Bias::draw(&mut random, &set.degrade, bounds);
        let look = |p| {
            let point = anatomy.at(deformation.apply(p));
            (point, contrast.shares(p, &point))
        };
        let mut random = Stream::new(seed, number, Part::Confounders);
        let confounders = Confounders::draw(&mut random, &set.confounders, bounds, &look);
        let mut random = Stream::new(seed, number, Part::Lesions);
        let lesions = Lesion::draw(&mut random, &set.lesions, [low - 4.0, high + 4.0], &look);

        let mut noise = Stream::new(seed, number, Part::Noise);
        let deviation = [0; C].map(|_| noise.within(set.degrade.noise));
        let [in_plane, through] = set.samples;
        let in_plane = (in_plane * USUAL_SIZE / size).clamp(2, 2 * in_plane);
        let total = (in_plane * in_plane * through) as f32;
        let offset = |i: usize, n: usize| (i as f32 + 0.5) / n as f32 - 0.5;
        let slices = (0..set.slab_slices)
            .map(|slice| {
                let z = geometry.place(size, slice, 0.0, 0.0)[2];
                let half = geometry.thickness_mm / 2.0;
                let confounders = confounders.within(z - half, z + half);
                let lesions: Vec<_> = lesions.iter().filter(|l| l.meets(z - half, z + half)).collect();
                let mut raw = RawSlice {
                    image: Array3::zeros((C, size, size)),
                    healthy: Array3::zeros((C, size, size)),
                    lesion: Array2::zeros((size, size)),
                    brain: Array2::default((size, size)),
                };
                for row in 0..size {
                    for column in 0..size {
                        let (mut with, mut without, mut ill, mut inside) = ([0.0; C], [0.0; C], 0.0, 0.0);
                        for i in 0..in_plane * in_plane * through {
                            let (k, j, i) = (i / in_plane / in_plane, i / in_plane % in_plane, i % in_plane);
                            let (r, c) =
                                (row as f32 + offset(j, in_plane), column as f32 + offset(i, in_plane));
                            let mut p = geometry.place(size, slice, r, c);
                            p[2] += offset(k, through) * geometry.thickness_mm;
                            let q = deformation.apply(p);
                            let point = anatomy.at(q);
                            if point.brain < 0.5 {
                                continue;
                            }
                            inside += 1.0;
                            let shares = contrast.shares(p, &point);
                            let mut at = contrast.intensities(p, &point, &shares);
                            confounders.apply(p, q, &point, &shares, &mut at);
                            let mut changed = at;
                            let mut share = 0.0f32;
                            for lesion in &lesions {
                                share = share.max(lesion.apply(p, &point, &shares, &mut changed));
                            }
                            ill += share;
                            for c in 0..C {
                                with[c] += changed[c];
                                without[c] += at[c];
                            }
                        }
                        if inside < total / 2.0 {
                            continue;
                        }
                        raw.brain[[row, column]] = true;
                        raw.lesion[[row, column]] = ill / inside;
                        let factor = bias.at(geometry.place(size, slice, row as f32, column as f32));
                        for c in 0..C {
                            let draws = [noise.normal(), noise.normal()];
                            let scan = |sum: f32| rician(sum / total * factor[c], deviation[c], draws);
                            raw.image[[c, row, column]] = scan(with[c]);
                            raw.healthy[[c, row, column]] = scan(without[c]);
                        }
                    }
                }
                raw
            })
            .collect();
        let iso: Vec<bool> = lesions.iter().map(Lesion::iso_flair).collect();
        let iso_flair = iso.first().copied().filter(|first| iso.iter().all(|other| other == first));
        Self { number, geometry, slices, iso_flair }
    }
}
