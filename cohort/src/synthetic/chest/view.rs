//! The detector: where its pixels look, how it shows attenuation, blur, noise and the marker.

use ndarray::Array2;

use super::anatomy::{Thorax, rotation};
use super::confounders::marker;
use super::parameters::Parameters;
use super::plane::Plane;
use crate::synthetic::field::{Bounds, Field};
use crate::synthetic::random::Stream;

/// The smooth fields over the detector cover this, mm.
const BOUNDS: Bounds = [[-250.0, -250.0, 0.0], [250.0, 250.0, 1.0]];
/// Pixels along an edge for which the number of samples is meant.
const USUAL_SIZE: usize = 64;
/// Beyond white the display rises this slowly, and up to this.
const SHOULDER: [f32; 2] = [0.25, 1.12];
/// Brightness of the marker.
const MARKER: f32 = 1.1;
/// The most that one pass of the three-point blur can do: its variance, pixels.
const MOST_BLUR: f32 = 0.5;

/// One exposure's.
pub struct View {
    size: usize,
    pixel: f32,
    /// Where the samples of each pixel look, (x, z) of the body.
    samples: Vec<[f32; 2]>,
    black: f32,
    white: f32,
    curve: f32,
    fog: f32,
    /// Added to each pixel: shading and noise.
    added: Array2<f32>,
    blur: f32,
    marker: Option<[[f32; 4]; 2]>,
}

impl View {
    /// Draws one of a thorax: position from `shape`, exposure from `contrast`, noise from `noise`, the marker from
    /// `things`.
    pub fn draw(
        [shape, contrast, noise, things]: [&mut Stream; 4],
        set: &Parameters,
        thorax: &Thorax,
        size: usize,
    ) -> Self {
        let anatomy = &set.anatomy;
        let edge = shape.within(set.field_of_view_mm);
        let pixel = edge / size as f32;
        let shift = [0; 2].map(|_| shape.within(anatomy.shift_mm));
        let [cosine, sine] = rotation(shape.within([-anatomy.half_roll, anatomy.half_roll]));
        let elastic: Field<2> = Field::draw(shape, BOUNDS, anatomy.elastic_mm[0]);
        let along = (set.samples * USUAL_SIZE / size).clamp(1, set.samples);
        let mut samples = Vec::with_capacity(size * size * along * along);
        for (row, column) in (0..size * size).map(|i| (i / size, i % size)) {
            for (j, i) in (0..along * along).map(|i| (i / along, i % along)) {
                let place = |index: usize, sub: usize| {
                    (index as f32 + (sub as f32 + 0.5) / along as f32 - 0.5 * size as f32) * pixel
                };
                let [u, v] = [place(column, i) - shift[0], -place(row, j) - shift[1]];
                let p =
                    [(cosine * u + sine * v) / thorax.scale[0], (cosine * v - sine * u) / thorax.scale[1]];
                let off = elastic.at([p[0], p[1], 0.0]);
                samples.push([p[0] + anatomy.elastic_mm[1] * off[0], p[1] + anatomy.elastic_mm[1] * off[1]]);
            }
        }
        let detector = &set.detector;
        let shading: Field<1> = Field::draw(contrast, BOUNDS, detector.shading[1]);
        let deviation = noise.within(detector.noise);
        let place = |index: usize| (index as f32 + 0.5 - 0.5 * size as f32) * pixel;
        let added = Array2::from_shape_fn((size, size), |(row, column)| {
            detector.shading[0] * shading.at([place(column), -place(row), 0.0])[0]
                + deviation * noise.normal()
        });
        Self {
            size,
            pixel,
            samples,
            black: contrast.within(detector.black_mm),
            white: contrast.within(detector.white_mm),
            curve: contrast.within(detector.curve),
            fog: contrast.within(detector.fog),
            added,
            blur: contrast.within(detector.blur_mm),
            marker: marker(things, &set.confounders, edge),
        }
    }

    /// Edge of a pixel, mm.
    pub fn pixel(&self) -> f32 {
        self.pixel
    }

    /// The mean of a map over each pixel, [H, W].
    pub fn project(&self, plane: &Plane) -> Array2<f32> {
        let each = self.samples.len() / (self.size * self.size);
        let mut pixels = self
            .samples
            .chunks_exact(each)
            .map(|points| points.iter().map(|&p| plane.at(p)).sum::<f32>() / each as f32);
        Array2::from_shape_simple_fn((self.size, self.size), || pixels.next().unwrap_or(0.0))
    }

    /// The picture of an attenuation, [H, W], at least 0, where `mean` is shown at a medium grey.
    pub fn develop(&self, attenuation: Array2<f32>, mean: f32) -> Array2<f32> {
        let [slope, most] = SHOULDER;
        let mut image = self.blurred(attenuation).mapv(|v| {
            let t = ((v - mean + self.black) / (self.black + self.white)).max(0.0);
            let shown = if t < 1.0 {
                (1.0 - self.curve) * t + self.curve * t * t * (3.0 - 2.0 * t)
            } else {
                (1.0 + slope * (t - 1.0)).min(most)
            };
            self.fog + (1.0 - self.fog) * shown
        });
        image = (image + &self.added).mapv(|v| v.max(0.0));
        for [left, low, right, high] in self.marker.into_iter().flatten() {
            let place = |index: usize| (index as f32 + 0.5 - 0.5 * self.size as f32) * self.pixel;
            // The share of a pixel that an interval covers.
            let cover = |at: f32, low: f32, high: f32| {
                let half = 0.5 * self.pixel;
                ((at + half).min(high) - (at - half).max(low)).max(0.0) / self.pixel
            };
            for ((row, column), v) in image.indexed_iter_mut() {
                let share = cover(place(column), left, right) * cover(-place(row), low, high);
                *v += share * (MARKER - *v);
            }
        }
        image
    }

    /// Blurred by a Gaussian, to that of repeated three-point means.
    fn blurred(&self, mut image: Array2<f32>) -> Array2<f32> {
        let variance = self.blur * self.blur / (self.pixel * self.pixel);
        let passes = (variance / MOST_BLUR).ceil().max(1.0);
        let side = 0.5 * variance / passes;
        let last = self.size - 1;
        for _ in 0..passes as usize {
            for step in [[0, 1], [1, 0]] {
                let from = image.clone();
                image = Array2::from_shape_fn(from.dim(), |(r, c)| {
                    let before = [r.saturating_sub(step[0]), c.saturating_sub(step[1])];
                    let after = [(r + step[0]).min(last), (c + step[1]).min(last)];
                    from[[r, c]] + side * (from[before] + from[after] - 2.0 * from[[r, c]])
                });
            }
        }
        image
    }
}
