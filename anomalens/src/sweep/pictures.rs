//! Slices as the paper's figures show them: all channels with their healthy version and what has changed (Fig. 3, and of a healthy
//! subject Fig. 7), one channel over s at one L (Fig. 5) and over L at one s (Fig. 6).

use anomalens_cohort::Cohort;
use anomalens_plot::{Bar, Panels, Row, digits};
use anyhow::Result;
use image::RgbImage;
use ndarray::{Array2, Array3, Axis};

use super::grid::Grid;
use crate::evaluate::column::{Slice, thresholded};
use crate::evaluate::score::threshold;
use crate::evaluate::store::Store;
use crate::picture::colour::inferno;
use crate::picture::tile::{self, TileSize};

/// The longer side of a tile, near this many pixels.
pub const TILE: u32 = 128;
/// Of so many pixels, one is brighter than the brightest colour, so that a few do not darken all others.
const BRIGHTEST: usize = 100;

/// A picture, and the name of its file.
pub struct Picture {
    /// Without what says PNG.
    pub name: &'static str,
    /// What it shows.
    pub panels: Panels,
}

/// A slice at some points: its map, mask and healthy version by each.
struct Shown {
    slice: Slice,
    /// The channel where lesions are bright, or the first.
    under: usize,
    made: Vec<Made>,
}

struct Made {
    healthy: Array3<f32>,
    map: Array2<f32>,
    mask: Array2<bool>,
}

/// Every picture: of the diseased slice that is in the middle by Dice at the best point, and of the healthy one that is in the middle by the
/// level of its map there, if there is one.
///
/// Errors: those of the cohort and the store.
pub fn all(cohort: &Cohort, store: &mut Store, grid: &Grid) -> Result<Vec<Picture>> {
    let best = grid.points[grid.best];
    let (level, scale) = best.pair();
    let at = format!("at {}", best.words());
    let scores = &grid.results.methods[grid.best].slices;
    let mut pictures = Vec::new();
    let diseased = middle(grid, true, |place| scores[place].dice.unwrap_or_default());
    let healthy = middle(grid, false, |place| scores[place].mean_region);
    if let Some(place) = diseased {
        let dice = scores[place].dice.unwrap_or_default();
        let why = format!("the slice in the middle by Dice {at}: {dice:.3}");
        let shown = Shown::new(cohort, store, grid, place, &[grid.best])?;
        pictures.push(Picture {
            name: "channels",
            panels: shown.channels(cohort, grid, format!("A diseased slice {at}"), &why),
        });
        let places: Vec<_> = grid.scales().into_iter().map(|s| grid.place(level, s)).collect();
        let heads: Vec<_> = grid.scales().iter().map(|s| format!("s = {}", s.get())).collect();
        let shown = Shown::new(cohort, store, grid, place, &places)?;
        let title = format!("Over the gradient scale s, L = {level}");
        pictures.push(Picture { name: "scales", panels: shown.over(cohort, grid, title, heads, &why) });
        let places: Vec<_> = grid.levels().into_iter().map(|l| grid.place(l, scale)).collect();
        let heads: Vec<_> = grid.levels().iter().map(|l| format!("L = {l}")).collect();
        let shown = Shown::new(cohort, store, grid, place, &places)?;
        let title = format!("Over the noise level L, s = {}", scale.get());
        pictures.push(Picture { name: "levels", panels: shown.over(cohort, grid, title, heads, &why) });
    }
    if let Some(place) = healthy {
        let why = format!("the healthy slice in the middle by the mean of its map {at}");
        let shown = Shown::new(cohort, store, grid, place, &[grid.best])?;
        pictures.push(Picture {
            name: "healthy",
            panels: shown.channels(cohort, grid, format!("A healthy slice {at}"), &why),
        });
    }
    Ok(pictures)
}

/// The slice in the middle by a value, of those with or without a lesion.
fn middle(grid: &Grid, diseased: bool, value: impl Fn(usize) -> f64) -> Option<usize> {
    let facts = &grid.results.facts;
    let mut places: Vec<usize> = (0..facts.len()).filter(|&i| facts[i].diseased() == diseased).collect();
    places.sort_by(|&a, &b| value(a).total_cmp(&value(b)));
    places.get(places.len().saturating_sub(1) / 2).copied()
}

impl Shown {
    fn new(cohort: &Cohort, store: &mut Store, grid: &Grid, place: usize, points: &[usize]) -> Result<Self> {
        let fact = &grid.results.facts[place];
        let slice = Slice::read(cohort, fact.index)?;
        let mut made = Vec::new();
        for &point in points {
            let ready =
                grid.results.methods[point].column.prepare(cohort, &grid.results.volumes[fact.volume].all)?;
            let found = ready.find(&slice, store)?;
            let threshold = threshold(&found)?;
            let map = found.map.values().clone();
            let mask = map.mapv(|value| value > threshold);
            let healthy = found.healthy.unwrap_or_else(|| slice.image.clone());
            made.push(Made { healthy, map, mask });
        }
        Ok(Self { slice, under: thresholded(cohort.channels()).unwrap_or(0), made })
    }

    fn size(&self) -> TileSize {
        TileSize::near(TILE, self.slice.truth.dim(), 1.0)
    }

    fn truth(&self) -> RgbImage {
        let under = self.slice.image.index_axis(Axis(0), self.under);
        tile::outline_over(under, self.slice.truth.view(), self.size())
    }

    fn notes(&self, grid: &Grid, channel: &str, why: &str) -> Vec<String> {
        let network = &grid.results.origin.networks[0];
        let hash: String = network.sha256.chars().take(12).collect();
        let truth = if self.slice.truth.iter().any(|v| *v) { "truth and mask are" } else { "the mask is" };
        vec![
            format!("{}: {why}", self.slice.name),
            format!("{truth} outlined over {channel}; the mask is the map above its Otsu threshold"),
            format!("bundle {} {hash}, cohort {}", network.bundle, grid.results.origin.cohort[0]),
        ]
    }

    /// All channels at the first point.
    fn channels(&self, cohort: &Cohort, grid: &Grid, title: String, why: &str) -> Panels {
        let (size, made, image) = (self.size(), &self.made[0], &self.slice.image);
        let changed = (image - &made.healthy).mapv(f32::abs);
        let full = brightest(made.map.iter());
        let grey = |planes: &Array3<f32>| -> Vec<_> {
            planes.outer_iter().map(|plane| Some(tile::image(plane, size))).collect()
        };
        let heat = changed.outer_iter().map(|plane| Some(tile::heat(plane, full, size)));
        let under = image.index_axis(Axis(0), self.under);
        let last = |mut row: Vec<Option<RgbImage>>, tile| {
            row.push(Some(tile));
            row
        };
        let row = |label: &str, images| Row { label: label.to_owned(), images };
        let rows = vec![
            row("input", last(grey(image), self.truth())),
            row(
                "healthy version",
                last(grey(&made.healthy), tile::outline_over(under, made.mask.view(), size)),
            ),
            row("|difference|", last(heat.collect(), tile::heat(made.map.view(), full, size))),
        ];
        let mut heads = cohort.channels().to_vec();
        heads.push("truth, mask, map".to_owned());
        let channel = &cohort.channels()[self.under];
        let mut notes = self.notes(grid, channel, why);
        notes.push("the map is the sum of the differences".to_owned());
        Panels { title, notes, heads, rows, bar: Some(bar(full)) }
    }

    /// One channel at every point.
    fn over(&self, cohort: &Cohort, grid: &Grid, title: String, points: Vec<String>, why: &str) -> Panels {
        let (size, channel) = (self.size(), &cohort.channels()[self.under]);
        let full = brightest(self.made.iter().flat_map(|made| made.map.iter()));
        let under = self.slice.image.index_axis(Axis(0), self.under);
        let row = |label: &str, first: Option<RgbImage>, of: &dyn Fn(&Made) -> RgbImage| Row {
            label: label.to_owned(),
            images: std::iter::once(first).chain(self.made.iter().map(|made| Some(of(made)))).collect(),
        };
        let rows = vec![
            row("healthy version", Some(tile::image(under, size)), &|made| {
                tile::image(made.healthy.index_axis(Axis(0), self.under), size)
            }),
            row("mask", Some(self.truth()), &|made| tile::outline_over(under, made.mask.view(), size)),
            row("anomaly map", None, &|made| tile::heat(made.map.view(), full, size)),
        ];
        let heads = std::iter::once("input, truth".to_owned()).chain(points).collect();
        let mut notes = self.notes(grid, channel, why);
        notes.push(format!("shown is {channel}; the map is of all channels"));
        Panels { title, notes, heads, rows, bar: Some(bar(full)) }
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
