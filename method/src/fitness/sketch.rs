//! What is kept of an image to compare it: means of cells, and a few figures.

use anomalens_models::fitness::{Direction, Look, cells};
use anomalens_models::image::UnitImage;
use ndarray::{Array3, ArrayView2, Axis, s};

/// An image, coarsely.
#[derive(Debug, Clone, PartialEq)]
pub struct Sketch {
    /// The mean of each cell, [C, n, n].
    pub(super) cells: Array3<f32>,
    /// The share that is filled; then mean, deviation and detail of each channel.
    figures: Vec<f64>,
}

impl Sketch {
    /// Of an image [C, H, W], a square.
    ///
    /// *Filled* is where some channel is above 0. A channel's mean and deviation are of the filled pixels. Its detail is the mean
    /// absolute difference of a pixel and the one below it, over as many pixels as are filled.
    pub fn of(image: &UnitImage) -> Self {
        let pixels = image.pixels();
        let (c, size, _) = pixels.dim();
        let (n, area) = (cells(size), (size * size) as f64);
        let side = size / n;
        let cells = Array3::from_shape_fn((c, n, n), |(c, i, j)| {
            let cell = pixels.slice(s![c, i * side..(i + 1) * side, j * side..(j + 1) * side]);
            (sum(cell, f64::from) / (side * side) as f64) as f32
        });
        let filled = pixels.lanes(Axis(0)).into_iter().filter(|lane| lane.iter().any(|&v| v > 0.0)).count();
        let mut figures = vec![filled as f64 / area];
        let filled = filled.max(1) as f64;
        for plane in pixels.outer_iter() {
            // Where nothing is filled the channel is 0, and adds nothing.
            let mean = sum(plane, f64::from) / filled;
            let square = sum(plane, |v| f64::from(v).powi(2)) / filled;
            let steps = &plane.slice(s![1.., ..]) - &plane.slice(s![..-1, ..]);
            let detail = sum(steps.view(), |v| f64::from(v).abs()) / filled;
            figures.extend([mean, (square - mean * mean).max(0.0).sqrt(), detail]);
        }
        Self { cells, figures }
    }

    /// The image upside down. The detail is taken for the same.
    pub(super) fn upside_down(&self) -> Self {
        Self { cells: self.cells.slice(s![.., ..;-1, ..]).to_owned(), ..self.clone() }
    }

    /// The image turned by a quarter: rows become columns. The detail is taken for the same.
    pub(super) fn on_its_side(&self) -> Self {
        let turned = self.cells.view().permuted_axes([0, 2, 1]);
        Self { cells: turned.as_standard_layout().into_owned(), ..self.clone() }
    }

    /// The mean of each cell and its mirror image, left to right: [C, n, n/2 rounded up] in a row. An image and its mirror image
    /// are the same so.
    pub(super) fn folded(&self) -> Vec<f64> {
        let (c, n, _) = self.cells.dim();
        let half = n.div_ceil(2);
        let pair = |(c, i, j): (usize, usize, usize)| {
            f64::from(self.cells[[c, i, j]] + self.cells[[c, i, n - 1 - j]]) / 2.0
        };
        Array3::from_shape_fn((c, n, half), pair).into_iter().collect()
    }

    /// Every statistic, in the order of [`anomalens_models::fitness::look_statistics`].
    pub(super) fn statistics(&self, look: &Look) -> Vec<f64> {
        let cells = self.cells.iter().zip(&look.mean).zip(&look.deviation);
        let squares = cells.map(|((v, mean), deviation)| f64::from((v - mean) / deviation).powi(2));
        let layout = (squares.sum::<f64>() / self.cells.len() as f64).sqrt();
        let folded = self.folded();
        let mut statistics = self.figures.clone();
        statistics.extend([layout, score(&look.upside_down, &folded), score(&look.on_its_side, &folded)]);
        statistics
    }
}

fn score(direction: &Direction, folded: &[f64]) -> f64 {
    direction.offset + direction.weights.iter().zip(folded).map(|(w, v)| f64::from(*w) * v).sum::<f64>()
}

fn sum(plane: ArrayView2<'_, f32>, of: impl Fn(f32) -> f64) -> f64 {
    plane.iter().map(|&v| of(v)).sum()
}
