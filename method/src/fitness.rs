//! Is an image like those that the networks were trained on?
//!
//! ```text
//! cohort ──> Sketch of each ──> look: cells, two discriminants, ranges     ┐
//!        └─> noise_errors   ──> ranges                                     ┴─> Fitness, in the bundle
//! image  ──> Sketch, noise_errors ──> judge: how far out, in which statistic ──> Judgement
//! ```
//!
//! A statistic's distance is how far it lies from the cohort's median, in units of the way from there to the end of the cohort's
//! range on that side; an image's distance is the largest of them. The limit is what one in 200 of the cohort's images exceeds:
//! not of those that cells and discriminants were fitted to, but of others, held back. The median, rather than a mean, and
//! quantiles, rather than the extremes, keep a few odd images of a cohort from widening it.
//!
//! Statistics of the pixels ([`Sketch`]) cost nothing and serve every method; the error of the noise prediction asks the U-Net
//! itself (Graham et al., "Denoising diffusion models for out-of-distribution detection", 2023, use its reconstructions so).

mod discriminant;
mod noise;
mod sketch;
#[cfg(test)]
mod tests;

use anomalens_models::fitness::{
    Expected, Fitness, Look, Noise, Noised, Range, look_statistics, noise_statistics,
};
use ndarray::{Array2, Axis, s};

pub use noise::{levels, noise_errors};
pub use sketch::Sketch;

use discriminant::discriminate;

/// Images of a cohort that are needed, at least.
pub const LEAST: usize = 8;
/// Share of the cohort below a range, and above it.
const TAIL: f64 = 0.005;
/// Share of the cohort that is beyond the limit.
const BEYOND: f64 = 0.005;
/// The least way to a range's end, as a share of the median: what does not vary in a cohort may differ by this much.
const LEAST_WAY: f64 = 0.02;
/// The least deviation of a cell: what does not vary in a cohort may differ by about this much of full scale.
const LEAST_DEVIATION: f64 = 0.02;

/// A cohort too small to say what its images look like.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("found {found} images, expected at least {LEAST}, better hundreds; take a larger cohort")]
pub struct TooFew {
    /// Images that there are.
    pub found: usize,
}

/// How an image compares with a cohort.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// The distance in units of the limit: above 1 the image is unlike anything in the cohort.
    pub distance: f64,
    /// The statistic that lies furthest out.
    pub statistic: String,
    /// What it is.
    pub found: f64,
    /// What it is in the cohort, up to the limit.
    pub expected: [f64; 2],
}

impl Judgement {
    /// Whether the image is like those of the cohort.
    pub fn fits(&self) -> bool {
        self.distance <= 1.0
    }

    /// What it may mean that the statistic lies where it does.
    pub fn meaning(&self) -> &'static str {
        match self.statistic.rsplit(": ").next().unwrap_or_default() {
            "filled" => "another field of view, or something around what is imaged, such as a skull",
            "mean" | "deviation" => "another contrast or modality, or inverted intensities",
            "detail" => "noise, blur or another resolution, or something with edges, such as a skull",
            "layout" => "another part of the body or another position",
            "upright" => "upside down",
            "level" => "turned by a quarter",
            _ => "something that the network has not seen",
        }
    }
}

/// What images look like, by their sketches; `channels`: the names, in order.
///
/// Errors: [`TooFew`].
pub fn look(sketches: &[Sketch], channels: &[&str]) -> Result<Look, TooFew> {
    let found = sketches.len();
    if found < LEAST {
        return Err(TooFew { found });
    }
    // Every other one is held back: what is fitted to images fits these better than any others.
    let fitted: Vec<&Sketch> = sketches.iter().step_by(2).collect();
    let held_back = sketches.iter().skip(1).step_by(2);
    let cells = rows(fitted.iter().map(|sketch| sketch.cells.iter().map(|&v| f64::from(v)).collect()));
    let mean = cells.mean_axis(Axis(0)).expect("there are images");
    let deviation = cells.std_axis(Axis(0), 0.0).mapv(|d| d.max(LEAST_DEVIATION));
    let as_they_are = rows(fitted.iter().map(|sketch| sketch.folded()));
    let turned = |turn: fn(&Sketch) -> Sketch| rows(fitted.iter().map(|sketch| turn(sketch).folded()));
    let mut look = Look {
        images: found,
        mean: mean.mapv(|v| v as f32).to_vec(),
        deviation: deviation.mapv(|v| v as f32).to_vec(),
        upside_down: discriminate(&as_they_are, &turned(Sketch::upside_down)),
        on_its_side: discriminate(&as_they_are, &turned(Sketch::on_its_side)),
        expected: Expected { ranges: Vec::new(), limit: 0.0 },
    };
    let values = rows(held_back.map(|sketch| sketch.statistics(&look)));
    look.expected = expected(look_statistics(channels), &values);
    Ok(look)
}

/// What the errors [N, levels] of the noise prediction are in a cohort that is noised so.
///
/// Errors: [`TooFew`].
pub fn noise(noised: Noised, errors: &Array2<f64>) -> Result<Noise, TooFew> {
    let images = errors.nrows();
    if images < LEAST {
        return Err(TooFew { found: images });
    }
    let expected = expected(noise_statistics(&noised.levels), errors);
    Ok(Noise { images, noised, expected })
}

/// Compares an image with a cohort. `errors`: of the noise prediction, one a level, if they were measured.
pub fn judge(fitness: &Fitness, sketch: &Sketch, errors: Option<&[f64]>) -> Judgement {
    let by_look = furthest(&fitness.look.expected, &sketch.statistics(&fitness.look));
    let by_noise =
        fitness.noise.as_ref().zip(errors).map(|(noise, errors)| furthest(&noise.expected, errors));
    match by_noise {
        Some(by_noise) if by_noise.distance > by_look.distance => by_noise,
        _ => by_look,
    }
}

/// Ranges and limit of statistics `values` [N, statistics].
fn expected(names: Vec<String>, values: &Array2<f64>) -> Expected {
    let range = |(name, values): (String, ndarray::ArrayView1<'_, f64>)| {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let [low, median, high] = [TAIL, 0.5, 1.0 - TAIL].map(|p| quantile(&sorted, p));
        Range { name, low, median, high }
    };
    let ranges: Vec<Range> = names.into_iter().zip(values.columns()).map(range).collect();
    let furthest = |row: ndarray::ArrayView1<'_, f64>| {
        ranges.iter().zip(row).map(|(range, &value)| distance(range, value)).fold(0.0, f64::max)
    };
    let mut distances: Vec<f64> = values.rows().into_iter().map(furthest).collect();
    distances.sort_by(f64::total_cmp);
    // A cohort of one image many times over is at no distance from itself.
    let limit = quantile(&distances, 1.0 - BEYOND).max(1.0);
    Expected { ranges, limit }
}

/// The statistic that lies furthest out.
fn furthest(expected: &Expected, values: &[f64]) -> Judgement {
    let limit = expected.limit;
    let judged = expected.ranges.iter().zip(values).map(|(range, &found)| {
        let [below, above] = ways(range);
        Judgement {
            distance: distance(range, found) / limit,
            statistic: range.name.clone(),
            found,
            expected: [range.median - limit * below, range.median + limit * above],
        }
    });
    judged
        .max_by(|a, b| a.distance.total_cmp(&b.distance))
        .expect("a bundle's statistics were checked when it was read")
}

fn distance(range: &Range, value: f64) -> f64 {
    let [below, above] = ways(range);
    let offset = value - range.median;
    offset.abs() / if offset < 0.0 { below } else { above }
}

/// The ways from the median to the ends of a range, both above 0.
fn ways(range: &Range) -> [f64; 2] {
    let least = (LEAST_WAY * range.median.abs()).max(1e-6);
    [range.median - range.low, range.high - range.median].map(|way| way.max(least))
}

/// The quantile p in [0, 1] of sorted values, linear between two neighbours.
fn quantile(sorted: &[f64], p: f64) -> f64 {
    let place = p * (sorted.len() - 1) as f64;
    let (below, share) = (place.floor() as usize, place.fract());
    let above = sorted[(below + 1).min(sorted.len() - 1)];
    sorted[below] + share * (above - sorted[below])
}

/// Rows of one length as an array.
fn rows(rows: impl Iterator<Item = Vec<f64>>) -> Array2<f64> {
    let rows: Vec<_> = rows.collect();
    let width = rows.first().map_or(0, Vec::len);
    let mut array = Array2::zeros((rows.len(), width));
    for (i, row) in rows.into_iter().enumerate() {
        array.slice_mut(s![i, ..]).assign(&ndarray::Array1::from(row));
    }
    array
}
