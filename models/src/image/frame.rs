//! The network's square input and the way back to the source's grid.
//!
//! An image that fits is padded with zeros, centred: going back cuts the same pixels out again, bit for bit. A
//! larger one is averaged down (area-weighted, so that nothing aliases) to the largest size that fits with its
//! aspect kept, then padded; going back interpolates linearly. The sampler's result never replaces the source's
//! pixels: [`Frame::reconstruct`] *adds the change* to them, so no detail is lost.

use ndarray::{Array2, Array3, ArrayView2, Axis, Zip, s};

use super::ImageError;

/// How an image [height, width] sits in a square of `size` pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    source: [usize; 2],
    inner: [usize; 2],
    offset: [usize; 2],
    size: usize,
}

/// Source coordinates live on a grid of 2⁻²⁰ pixel, far finer than any measurement, so that the way into the
/// frame and back is exact although the ratio of the sizes is no binary fraction.
const GRID: f64 = (1u32 << 20) as f64;

impl Frame {
    /// Fits an image of `source` = [height, width] into a square of `size` pixels.
    ///
    /// Errors: [`ImageError::Shape`] where a side is zero.
    pub fn fit(source: [usize; 2], size: usize) -> Result<Self, ImageError> {
        if source.contains(&0) || size == 0 {
            return Err(ImageError::Shape {
                what: "image and frame, which may not be empty".into(),
                found: source.to_vec(),
                expected: vec![size, size],
            });
        }
        let longest = source[0].max(source[1]);
        let inner = if longest <= size {
            source
        } else {
            source.map(|n| ((n * size) as f64 / longest as f64).round().max(1.0) as usize)
        };
        let offset = inner.map(|n| (size - n) / 2);
        Ok(Self { source, inner, offset, size })
    }

    /// Height and width of the source.
    pub fn source(&self) -> [usize; 2] {
        self.source
    }

    /// Side of the square.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Whether the image fits without resizing.
    pub fn pads_only(&self) -> bool {
        self.inner == self.source
    }

    /// One sentence for a person, e.g. `512 x 480 averaged down to 256 x 240, then padded to 256 x 256`.
    pub fn describe(&self) -> String {
        let ([h, w], [ih, iw], n) = (self.source, self.inner, self.size);
        match (self.pads_only(), self.inner == [n, n]) {
            (true, true) => format!("{h} x {w} taken as it is"),
            (true, false) => format!("{h} x {w} padded with zeros to {n} x {n}"),
            (false, true) => format!("{h} x {w} averaged down to {n} x {n}"),
            (false, false) => format!("{h} x {w} averaged down to {ih} x {iw}, then padded to {n} x {n}"),
        }
    }

    /// Source pixel coordinates [row, column] (0 is the centre of the first pixel) to those of the frame.
    pub fn to_frame(&self, source: [f64; 2]) -> [f64; 2] {
        [0, 1].map(|a| {
            let scale = self.inner[a] as f64 / self.source[a] as f64;
            (source[a] + 0.5) * scale - 0.5 + self.offset[a] as f64
        })
    }

    /// Frame coordinates [row, column] to those of the source, rounded to 2⁻²⁰ pixel: what [`Frame::to_frame`]
    /// made of a coordinate on that grid comes back exactly.
    pub fn to_source(&self, frame: [f64; 2]) -> [f64; 2] {
        [0, 1].map(|a| {
            let scale = self.source[a] as f64 / self.inner[a] as f64;
            let exact = (frame[a] - self.offset[a] as f64 + 0.5) * scale - 0.5;
            (exact * GRID).round() / GRID
        })
    }

    /// An image [C, height, width] into the frame: [C, size, size], zero outside the image.
    ///
    /// Errors: [`ImageError::Shape`].
    pub fn apply(&self, image: &Array3<f32>) -> Result<Array3<f32>, ImageError> {
        let channels = image.dim().0;
        check("image to be framed", image.shape(), &[channels, self.source[0], self.source[1]])?;
        let mut framed = Array3::zeros((channels, self.size, self.size));
        let [top, left] = self.offset;
        let [h, w] = self.inner;
        for (plane, mut out) in image.axis_iter(Axis(0)).zip(framed.axis_iter_mut(Axis(0))) {
            let mut inside = out.slice_mut(s![top..top + h, left..left + w]);
            if self.pads_only() {
                inside.assign(&plane);
            } else {
                let rows = averaging(self.source[0], h);
                let columns = averaging(self.source[1], w);
                inside.assign(&resample(plane, &rows, &columns));
            }
        }
        Ok(framed)
    }

    /// A mask [height, width] into the frame: a pixel is set where at least half of it is; outside the image none is.
    ///
    /// Errors: [`ImageError::Shape`].
    pub fn apply_mask(&self, mask: &Array2<bool>) -> Result<Array2<bool>, ImageError> {
        let plane = mask.mapv(|set| if set { 1.0 } else { 0.0 }).insert_axis(Axis(0));
        Ok(self.apply(&plane)?.index_axis(Axis(0), 0).mapv(|v| v >= 0.5))
    }

    /// A plane [size, size] (a map, or one channel) back to the source's grid [height, width]: cut out where the
    /// image was padded, else interpolated linearly.
    ///
    /// Errors: [`ImageError::Shape`].
    pub fn undo(&self, plane: ArrayView2<'_, f32>) -> Result<Array2<f32>, ImageError> {
        check("framed plane", plane.shape(), &[self.size, self.size])?;
        let [top, left] = self.offset;
        let [h, w] = self.inner;
        let inside = plane.slice_move(s![top..top + h, left..left + w]);
        if self.pads_only() {
            return Ok(inside.to_owned());
        }
        Ok(resample(inside, &interpolation(h, self.source[0]), &interpolation(w, self.source[1])))
    }

    /// A mask [size, size] back to the source's grid: a pixel is set where the interpolated mask is at least ½.
    ///
    /// Errors: [`ImageError::Shape`].
    pub fn undo_mask(&self, mask: &Array2<bool>) -> Result<Array2<bool>, ImageError> {
        let plane = mask.mapv(|set| if set { 1.0 } else { 0.0 });
        Ok(self.undo(plane.view())?.mapv(|v| v >= 0.5))
    }

    /// The healthy version in the source's grid and units: `original + q · upsample(x₀ − x)`.
    ///
    /// `original`: [C, height, width] in the source's units; `x`, `healthy`: [C, size, size] in the units of
    /// [0, 1]; `q`: what 1 is worth in the source's units, one a channel. Where x₀ = x the original comes back
    /// bit for bit.
    ///
    /// Errors: [`ImageError::Shape`].
    pub fn reconstruct(
        &self,
        original: &Array3<f32>,
        x: &Array3<f32>,
        healthy: &Array3<f32>,
        q: &[f32],
    ) -> Result<Array3<f32>, ImageError> {
        let channels = original.dim().0;
        check("original image", original.shape(), &[channels, self.source[0], self.source[1]])?;
        check("framed image", x.shape(), &[channels, self.size, self.size])?;
        check("healthy version", healthy.shape(), x.shape())?;
        check("q, one a channel", &[q.len()], &[channels])?;
        let mut out = original.clone();
        for (c, mut plane) in out.axis_iter_mut(Axis(0)).enumerate() {
            let change = &healthy.index_axis(Axis(0), c) - &x.index_axis(Axis(0), c);
            let change = self.undo(change.view())?;
            Zip::from(&mut plane).and(&change).for_each(|v, &d| {
                // Adding 0.0 would turn −0.0 into 0.0.
                if d != 0.0 {
                    *v += q[c] * d;
                }
            });
        }
        Ok(out)
    }
}

fn check(what: &str, found: &[usize], expected: &[usize]) -> Result<(), ImageError> {
    if found == expected {
        return Ok(());
    }
    Err(ImageError::Shape { what: what.to_owned(), found: found.to_vec(), expected: expected.to_vec() })
}

/// One axis of a resampling: for each output pixel the first input pixel and the weights, which sum to 1.
type Weights = Vec<(usize, Vec<f64>)>;

/// Each of `to` pixels is the mean over its extent in `from` ≥ `to` pixels.
fn averaging(from: usize, to: usize) -> Weights {
    (0..to)
        .map(|i| {
            // In units of 1/to input pixel everything is an integer.
            let (start, end) = (i * from, (i + 1) * from);
            let (first, last) = (start / to, (end - 1) / to);
            let weight = |j: usize| (end.min((j + 1) * to) - start.max(j * to)) as f64 / from as f64;
            (first, (first..=last).map(weight).collect())
        })
        .collect()
}

/// Each of `to` pixels is interpolated linearly between the centres of `from` pixels; the border is extended.
fn interpolation(from: usize, to: usize) -> Weights {
    (0..to)
        .map(|i| {
            let place = ((i as f64 + 0.5) * from as f64 / to as f64 - 0.5).clamp(0.0, (from - 1) as f64);
            let first = (place.floor() as usize).min(from.saturating_sub(2));
            let t = place - first as f64;
            (first, if from == 1 { vec![1.0] } else { vec![1.0 - t, t] })
        })
        .collect()
}

/// Separable resampling, rows first, summed in f64.
fn resample(plane: ArrayView2<'_, f32>, rows: &Weights, columns: &Weights) -> Array2<f32> {
    let mut half = Array2::<f64>::zeros((rows.len(), plane.ncols()));
    for (mut out, (first, weights)) in half.rows_mut().into_iter().zip(rows) {
        for (k, &weight) in weights.iter().enumerate() {
            Zip::from(&mut out).and(plane.row(first + k)).for_each(|o, &v| *o += weight * f64::from(v));
        }
    }
    Array2::from_shape_fn((rows.len(), columns.len()), |(r, c)| {
        let (first, weights) = &columns[c];
        weights.iter().enumerate().map(|(k, w)| w * half[[r, first + k]]).sum::<f64>() as f32
    })
}

#[cfg(test)]
mod tests;
