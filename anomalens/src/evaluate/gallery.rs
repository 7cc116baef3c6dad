//! A slice as the paper's figures show them: all channels with their healthy version and what has changed, or one channel by several
//! methods beside each other.

use anomalens_cohort::Cohort;
use anomalens_plot::{Bar, Panels, Row, digits};
use anyhow::Result;
use image::RgbImage;
use ndarray::{Array2, Array3, Axis};

use super::column::{Slice, thresholded};
use super::results::Results;
use super::score::threshold;
use super::store::Store;
use crate::picture::colour::inferno;
use crate::picture::tile::{self, TileSize};

/// The longer side of a tile, near this many pixels.
pub const TILE: u32 = 128;
/// Of so many pixels, one is brighter than the brightest colour, so that a few do not darken all others.
const BRIGHTEST: usize = 100;

/// A slice, and what some of the methods have made of it.
pub struct Shown<'a> {
    results: &'a Results,
    channels: &'a [String],
    slice: Slice,
    /// The channel where lesions are bright, or the first.
    under: usize,
    made: Vec<Made>,
}

struct Made {
    healthy: Option<Array3<f32>>,
    map: Array2<f32>,
    mask: Array2<bool>,
}

/// The place of the slice in the middle by a value, of those with or without a lesion.
pub fn middle(results: &Results, diseased: bool, value: impl Fn(usize) -> f64) -> Option<usize> {
    let facts = &results.facts;
    let mut places: Vec<usize> = (0..facts.len()).filter(|&i| facts[i].diseased() == diseased).collect();
    places.sort_by(|&a, &b| value(a).total_cmp(&value(b)));
    places.get(places.len().saturating_sub(1) / 2).copied()
}

impl<'a> Shown<'a> {
    /// The slice at `place` of the scored ones, by the methods at `methods`.
    ///
    /// Errors: those of the cohort and the store.
    pub fn new(
        cohort: &'a Cohort,
        store: &mut Store,
        results: &'a Results,
        place: usize,
        methods: &[usize],
    ) -> Result<Self> {
        let fact = &results.facts[place];
        let slice = Slice::read(cohort, fact.index)?;
        let mut made = Vec::new();
        for &method in methods {
            let column = &results.methods[method].column;
            let found = column.prepare(cohort, &results.volumes[fact.volume].all)?.find(&slice, store)?;
            let threshold = threshold(&found)?;
            let map = found.map.values().clone();
            let mask = map.mapv(|value| value > threshold);
            made.push(Made { healthy: found.healthy, map, mask });
        }
        let under = thresholded(cohort.channels()).unwrap_or(0);
        Ok(Self { results, channels: cohort.channels(), slice, under, made })
    }

    fn size(&self) -> TileSize {
        TileSize::near(TILE, self.slice.truth.dim(), 1.0)
    }

    fn truth(&self) -> RgbImage {
        let under = self.slice.image.index_axis(Axis(0), self.under);
        tile::outline_over(under, self.slice.truth.view(), self.size())
    }

    fn notes(&self, why: &str, more: &str) -> Vec<String> {
        let origin = &self.results.origin;
        let mut bundles: Vec<String> = Vec::new();
        for network in &origin.networks {
            let hash: String = network.sha256.chars().take(12).collect();
            let bundle = format!("{} {hash}", network.bundle);
            if !bundles.contains(&bundle) {
                bundles.push(bundle);
            }
        }
        let truth = if self.slice.truth.iter().any(|v| *v) { "truth and mask are" } else { "the mask is" };
        vec![
            format!("{}: {why}", self.slice.name),
            format!(
                "{truth} outlined over {}; a mask is a map above its Otsu threshold",
                self.channels[self.under]
            ),
            more.to_owned(),
            format!("bundle {}; cohort {}", bundles.join(", "), origin.cohort[0]),
        ]
    }

    /// All channels by the first method, which has a healthy version.
    pub fn channels(&self, title: String, why: &str) -> Panels {
        let (size, made, image) = (self.size(), &self.made[0], &self.slice.image);
        let healthy = made.healthy.as_ref().unwrap_or(image);
        let changed = (image - healthy).mapv(f32::abs);
        let full = brightest(made.map.iter());
        let grey = |planes: &Array3<f32>| -> Vec<_> {
            planes.outer_iter().map(|plane| Some(tile::image(plane, size))).collect()
        };
        let heat = changed.outer_iter().map(|plane| Some(tile::heat(plane, full, size)));
        let mask = tile::outline_over(image.index_axis(Axis(0), self.under), made.mask.view(), size);
        let row = |label: &str, mut images: Vec<Option<RgbImage>>, last: RgbImage| {
            images.push(Some(last));
            Row { label: label.to_owned(), images }
        };
        let rows = vec![
            row("input", grey(image), self.truth()),
            row("healthy version", grey(healthy), mask),
            row("|difference|", heat.collect(), tile::heat(made.map.view(), full, size)),
        ];
        let mut heads = self.channels.to_vec();
        heads.push("truth, mask, map".to_owned());
        let notes = self.notes(why, "the map is the sum of the differences");
        Panels { title, notes, heads, rows, bar: Some(bar(full)) }
    }

    /// One channel by every method, below the `heads`. With `one_scale` the maps have one scale, which is shown; else each its own.
    pub fn beside(&self, title: String, heads: Vec<String>, one_scale: bool, why: &str) -> Panels {
        let size = self.size();
        let full = brightest(self.made.iter().flat_map(|made| made.map.iter()));
        let under = self.slice.image.index_axis(Axis(0), self.under);
        let row = |label: &str, first: Option<RgbImage>, of: &dyn Fn(&Made) -> Option<RgbImage>| Row {
            label: label.to_owned(),
            images: std::iter::once(first).chain(self.made.iter().map(of)).collect(),
        };
        let rows = vec![
            row("healthy version", Some(tile::image(under, size)), &|made| {
                Some(tile::image(made.healthy.as_ref()?.index_axis(Axis(0), self.under), size))
            }),
            row("mask", Some(self.truth()), &|made| Some(tile::outline_over(under, made.mask.view(), size))),
            row("anomaly map", None, &|made| {
                let full = if one_scale { full } else { brightest(made.map.iter()) };
                Some(tile::heat(made.map.view(), full, size))
            }),
        ];
        let heads = std::iter::once("input, truth".to_owned()).chain(heads).collect();
        let scale = if one_scale { "" } else { ", each on a scale of its own" };
        let notes = self
            .notes(why, &format!("shown is {}; a map is of all channels{scale}", self.channels[self.under]));
        Panels { title, notes, heads, rows, bar: one_scale.then(|| bar(full)) }
    }
}

/// The value with the brightest colour.
pub fn brightest<'a>(values: impl Iterator<Item = &'a f32>) -> f32 {
    let mut values: Vec<f32> = values.copied().collect();
    values.sort_unstable_by(f32::total_cmp);
    let place = values.len().saturating_sub(1 + values.len() / BRIGHTEST);
    values.get(place).copied().filter(|value| *value > 0.0).unwrap_or(1.0)
}

/// What the colours of heat mean.
pub fn bar(full: f32) -> Bar {
    let colours = (0..=255).map(|i| inferno(i as f32 / 255.0)).collect();
    Bar { colours, ends: ("0".to_owned(), digits(f64::from(full))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_pixel_does_not_darken_the_others() {
        let mut values = vec![0.5f32; 199];
        values.push(100.0);
        assert_eq!(brightest(values.iter()), 0.5);
        assert_eq!(brightest([0.0f32; 4].iter()), 1.0, "nothing has changed");
        assert_eq!(brightest([].iter()), 1.0);
    }
}
