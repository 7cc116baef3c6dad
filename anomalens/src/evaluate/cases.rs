//! Which slices a person should see, and how they look: best, median, worst and some between; and healthy ones.

use anomalens_cohort::Cohort;
use anomalens_plot::Panels;
use anyhow::Result;

use super::column::{Slice, thresholded};
use super::gallery::{Shown, middle};
use super::results::Results;
use super::score::threshold;
use super::store::Store;
use crate::parts::Settings;
use crate::picture::{Sheet, SheetMap, SheetRow};

/// Diseased slices on the sheet; odd, so that the median is one.
const DISEASED: usize = 7;
/// Healthy slices on the sheet.
const HEALTHY: usize = 5;

/// A slice to be shown: which of the scored ones, and why it was chosen.
pub type Choice = (usize, &'static str);

/// Chooses by rank: diseased slices from the largest Dice to the smallest, healthy ones from the lowest map to the
/// highest. Each slice is (diseased, rank value): Dice, or the map's mean inside the region.
pub fn choose(slices: &[(bool, f64)]) -> Vec<Choice> {
    let order = |diseased: bool| {
        let mut order: Vec<usize> = (0..slices.len()).filter(|&i| slices[i].0 == diseased).collect();
        let falling = |a: &usize, b: &usize| slices[*b].1.total_cmp(&slices[*a].1);
        order.sort_by(|a, b| if diseased { falling(a, b) } else { falling(b, a) });
        order
    };
    let names = |diseased: bool| match diseased {
        true => ["best Dice", "median Dice", "worst Dice", "Dice between"],
        false => ["lowest map", "median map", "highest map", "map between"],
    };
    let mut chosen = Vec::new();
    for (diseased, most) in [(true, DISEASED), (false, HEALTHY)] {
        let (order, [first, median, last, between]) = (order(diseased), names(diseased));
        let n = order.len();
        let shown = n.min(most);
        for k in 0..shown {
            let rank = if shown == 1 { 0 } else { k * (n - 1) / (shown - 1) };
            let why = match k {
                0 => first,
                k if k + 1 == shown => last,
                k if 2 * k + 1 == shown => median,
                _ => between,
            };
            chosen.push((order[rank], why));
        }
    }
    chosen
}

/// The sheet of the chosen slices, by the first method's scores, with what every method found in them.
///
/// Errors: those of the cohort and the store.
pub fn sheet(cohort: &Cohort, store: &mut Store, results: &Results) -> Result<Sheet> {
    let ours = &results.methods[0];
    let ranked: Vec<_> = results
        .facts
        .iter()
        .zip(&ours.slices)
        .map(|(fact, score)| (fact.diseased(), score.dice.unwrap_or(score.mean_region)))
        .collect();
    let mut rows = Vec::new();
    for (place, why) in choose(&ranked) {
        let fact = &results.facts[place];
        let slice = Slice::read(cohort, fact.index)?;
        let mut maps = Vec::new();
        for method in &results.methods {
            let ready = method.column.prepare(cohort, &results.volumes[fact.volume].all)?;
            let found = ready.find(&slice, store)?;
            let threshold = threshold(&found)?;
            let map = found.map.values().clone();
            let mask = map.mapv(|value| value > threshold);
            maps.push(SheetMap { name: method.column.name.clone(), healthy: found.healthy, map, mask });
        }
        let label = label(results, place, why, &slice.name);
        rows.push(SheetRow { label, input: slice.image, maps, truth: slice.truth });
    }
    let origin = &results.origin;
    let listed = |settings: &Settings| {
        let each = settings.iter().filter(|(name, _)| name != "cohort");
        each.map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", ")
    };
    let mut lines = Vec::new();
    for network in &origin.networks {
        let (name, hash) = (network.source.name(), network.sha256.chars().take(12).collect::<String>());
        lines.push(format!("{name}: bundle {} {hash} - {}", network.bundle, network.provenance));
        lines.push(format!("{name}: {}", listed(&network.settings)));
    }
    lines.push(format!("cohort {}: {}", origin.cohort[0], origin.cohort[1]));
    lines.push(format!("{}, {}", origin.tool, listed(&origin.settings)));
    let under = thresholded(cohort.channels()).unwrap_or(0);
    Ok(Sheet { lines, channels: cohort.channels().to_vec(), under, rows })
}

/// All methods beside each other, on the diseased slice that is in the middle by the first one's Dice, if there is one.
///
/// Errors: those of the cohort and the store.
pub fn methods(cohort: &Cohort, store: &mut Store, results: &Results) -> Result<Option<Panels>> {
    let ours = &results.methods[0];
    let dice = |place: usize| ours.slices[place].dice.unwrap_or_default();
    let Some(place) = middle(results, true, dice) else { return Ok(None) };
    let all: Vec<usize> = (0..results.methods.len()).collect();
    let heads = results.methods.iter().map(|method| method.column.name.clone()).collect();
    let why = format!("the slice in the middle by Dice of {}: {:.3}", ours.column.name, dice(place));
    let shown = Shown::new(cohort, store, results, place, &all)?;
    Ok(Some(shown.beside("A diseased slice by every method".to_owned(), heads, false, &why)))
}

/// What is to be said of a case.
fn label(results: &Results, place: usize, why: &str, name: &str) -> String {
    let score = |value: Option<f64>| value.map_or("-".into(), |v| format!("{v:.3}"));
    let ours = &results.methods[0].slices[place];
    match results.facts[place].lesion_pixels {
        0 => format!("healthy, {why}: mean {:.4} inside the region - {name}", ours.mean_region),
        pixels => {
            let each = results.methods.iter().map(|method| {
                let dice = score(method.slices[place].dice);
                format!("{} {dice}", method.column.name)
            });
            format!(
                "diseased, {why}: Dice {}; AUROC {} - {name}, lesion {pixels} pixels",
                each.collect::<Vec<_>>().join(", "),
                score(ours.whole.auroc)
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn best_median_and_worst_are_shown() {
        let mut slices: Vec<(bool, f64)> = (0..41).map(|i| (true, f64::from(i) / 41.0)).collect();
        slices.extend((0..9).map(|i| (false, f64::from(i))));
        let chosen = choose(&slices);
        assert_eq!(chosen.len(), DISEASED + HEALTHY);
        for expected in [
            (40, "best Dice"),
            (20, "median Dice"),
            (0, "worst Dice"),
            (41, "lowest map"),
            (49, "highest map"),
        ] {
            assert!(chosen.contains(&expected), "{expected:?} not in {chosen:?}");
        }
    }

    #[test]
    fn few_slices_are_all_shown_once() {
        for n in 0..6 {
            let chosen = choose(&(0..n).map(|i| (true, i as f64)).collect::<Vec<_>>());
            let mut places: Vec<_> = chosen.iter().map(|c| c.0).collect();
            places.sort_unstable();
            assert_eq!(places, (0..n).collect::<Vec<_>>());
        }
    }
}
