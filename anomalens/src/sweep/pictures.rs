//! Slices as the paper's figures show them: all channels with their healthy version and what has changed (Fig. 3, and of a healthy
//! subject Fig. 7), one channel over s at one L (Fig. 5) and over L at one s (Fig. 6).

use anomalens_cohort::Cohort;
use anomalens_plot::Panels;
use anyhow::Result;

use super::grid::Grid;
use crate::evaluate::gallery::{Shown, middle};
use crate::evaluate::store::Store;

/// A picture, and the name of its file.
pub struct Picture {
    /// Without what says PNG.
    pub name: &'static str,
    /// What it shows.
    pub panels: Panels,
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
    let diseased = middle(&grid.results, true, |place| scores[place].dice.unwrap_or_default());
    let healthy = middle(&grid.results, false, |place| scores[place].mean_region);
    if let Some(place) = diseased {
        let dice = scores[place].dice.unwrap_or_default();
        let why = format!("the slice in the middle by Dice {at}: {dice:.3}");
        let shown = Shown::new(cohort, store, &grid.results, place, &[grid.best])?;
        pictures.push(Picture {
            name: "channels",
            panels: shown.channels(format!("A diseased slice {at}"), &why),
        });
        let places: Vec<_> = grid.scales().into_iter().map(|s| grid.place(level, s)).collect();
        let heads: Vec<_> = grid.scales().iter().map(|s| format!("s = {}", s.get())).collect();
        let shown = Shown::new(cohort, store, &grid.results, place, &places)?;
        let title = format!("Over the gradient scale s, L = {level}");
        pictures.push(Picture { name: "scales", panels: shown.beside(title, heads, true, &why) });
        let places: Vec<_> = grid.levels().into_iter().map(|l| grid.place(l, scale)).collect();
        let heads: Vec<_> = grid.levels().iter().map(|l| format!("L = {l}")).collect();
        let shown = Shown::new(cohort, store, &grid.results, place, &places)?;
        let title = format!("Over the noise level L, s = {}", scale.get());
        pictures.push(Picture { name: "levels", panels: shown.beside(title, heads, true, &why) });
    }
    if let Some(place) = healthy {
        let why = format!("the healthy slice in the middle by the mean of its map {at}");
        let shown = Shown::new(cohort, store, &grid.results, place, &[grid.best])?;
        pictures
            .push(Picture { name: "healthy", panels: shown.channels(format!("A healthy slice {at}"), &why) });
    }
    Ok(pictures)
}
