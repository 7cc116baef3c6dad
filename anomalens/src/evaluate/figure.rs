//! What the slices score together: the rows of every table, each a figure with its interval.

use anomalens_method::metrics::{Bootstrap, Curve, Interval, MetricError, Pool, Ranking, Region};

use super::score::{Facts, Scores, SliceScore, VolumeScore};

/// The seed of the resamples.
const SEED: u64 = 0;

/// Parts of the table, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// Means over diseased slices.
    Slices,
    /// The same by the lesions' sizes.
    Sizes,
    /// All pixels together.
    Pixels,
    /// Whole images, healthy or diseased.
    Images,
    /// Means over volumes.
    Volumes,
    /// How high the map is.
    Levels,
}

impl Section {
    /// Its heading.
    pub fn title(self) -> &'static str {
        match self {
            Self::Slices => "diseased slices, mean",
            Self::Sizes => "diseased slices by the lesion's size, mean of each third",
            Self::Pixels => "pixels of many slices together",
            Self::Images => "whole slices, diseased or healthy",
            Self::Volumes => "volumes with a lesion, mean",
            Self::Levels => "level of the map",
        }
    }
}

/// A row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Its name in JSON.
    pub key: &'static str,
    /// Its name for people.
    pub title: &'static str,
    /// Where it stands.
    pub section: Section,
    of: Of,
}

#[derive(Debug, Clone, Copy)]
enum Of {
    /// A mean over slices.
    Slices(fn(&SliceScore) -> Option<f64>),
    /// A mean over one third of the diseased slices, 0 the smallest lesions.
    Third(usize, fn(&SliceScore) -> Option<f64>),
    /// Of the pixels of diseased slices, or of all.
    Pixels(Part, Region, fn(Ranking) -> Option<f64>),
    /// Of the slices' levels.
    Images(fn(Ranking) -> Option<f64>),
    /// A mean over volumes.
    Volumes(fn(&VolumeScore) -> Option<f64>),
    /// The mean over healthy slices.
    Healthy,
    /// The level of healthy slices over that in lesions.
    Ratio,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Diseased,
    All,
}

impl Row {
    /// Whether methods are compared by it: the larger value wins. A level of a map is in units of its own.
    pub fn compared(&self) -> bool {
        self.section != Section::Levels
    }
}

const fn row(key: &'static str, title: &'static str, section: Section, of: Of) -> Row {
    Row { key, title, section, of }
}

const fn slices(key: &'static str, title: &'static str, of: fn(&SliceScore) -> Option<f64>) -> Row {
    row(key, title, Section::Slices, Of::Slices(of))
}

const fn third(
    key: &'static str,
    title: &'static str,
    third: usize,
    of: fn(&SliceScore) -> Option<f64>,
) -> Row {
    row(key, title, Section::Sizes, Of::Third(third, of))
}

const fn pixels(
    key: &'static str,
    title: &'static str,
    (part, region): (Part, Region),
    of: fn(Ranking) -> Option<f64>,
) -> Row {
    row(key, title, Section::Pixels, Of::Pixels(part, region, of))
}

const fn volumes(key: &'static str, title: &'static str, of: fn(&VolumeScore) -> Option<f64>) -> Row {
    row(key, title, Section::Volumes, Of::Volumes(of))
}

use Part::{All, Diseased};
use Region::{Inside, Whole};

/// The rows, in order.
pub const ROWS: [Row; 42] = [
    slices("dice_otsu", "Dice, Otsu's threshold of each slice", |s| s.dice),
    slices("dice_one_threshold", "Dice, one threshold: the mean of Otsu's", |s| s.dice_one),
    slices("dice_best", "Dice, best threshold of each slice (a bound)", |s| s.whole.best_dice),
    slices("auroc_mean", "pixel AUROC", |s| s.whole.auroc),
    slices("auroc_mean_region", "pixel AUROC inside the region", |s| s.inside.auroc),
    slices("auprc_mean", "pixel AUPRC", |s| s.whole.auprc),
    slices("auprc_mean_region", "pixel AUPRC inside the region", |s| s.inside.auprc),
    third("dice_otsu_small", "Dice, Otsu: small lesions", 0, |s| s.dice),
    third("dice_otsu_medium", "Dice, Otsu: medium", 1, |s| s.dice),
    third("dice_otsu_large", "Dice, Otsu: large", 2, |s| s.dice),
    third("dice_one_threshold_small", "Dice, one threshold: small lesions", 0, |s| s.dice_one),
    third("dice_one_threshold_medium", "Dice, one threshold: medium", 1, |s| s.dice_one),
    third("dice_one_threshold_large", "Dice, one threshold: large", 2, |s| s.dice_one),
    third("dice_best_small", "Dice, best threshold: small lesions", 0, |s| s.whole.best_dice),
    third("dice_best_medium", "Dice, best threshold: medium", 1, |s| s.whole.best_dice),
    third("dice_best_large", "Dice, best threshold: large", 2, |s| s.whole.best_dice),
    third("auprc_region_small", "pixel AUPRC inside the region: small lesions", 0, |s| s.inside.auprc),
    third("auprc_region_medium", "pixel AUPRC inside the region: medium", 1, |s| s.inside.auprc),
    third("auprc_region_large", "pixel AUPRC inside the region: large", 2, |s| s.inside.auprc),
    pixels("auroc_pooled", "AUROC, diseased slices", (Diseased, Whole), |r| r.auroc),
    pixels("auroc_pooled_region", "AUROC, diseased slices, inside the region", (Diseased, Inside), |r| {
        r.auroc
    }),
    pixels("auprc_pooled", "AUPRC, diseased slices", (Diseased, Whole), |r| r.auprc),
    pixels("auprc_pooled_region", "AUPRC, diseased slices, inside the region", (Diseased, Inside), |r| {
        r.auprc
    }),
    pixels(
        "dice_pooled_best",
        "Dice, diseased slices, best single threshold (a bound)",
        (Diseased, Whole),
        |r| r.best_dice,
    ),
    pixels("auroc_all", "AUROC, all slices", (All, Whole), |r| r.auroc),
    pixels("auroc_all_region", "AUROC, all slices, inside the region", (All, Inside), |r| r.auroc),
    pixels("auprc_all", "AUPRC, all slices", (All, Whole), |r| r.auprc),
    pixels("auprc_all_region", "AUPRC, all slices, inside the region", (All, Inside), |r| r.auprc),
    pixels("dice_all_best", "Dice, all slices, best single threshold (a bound)", (All, Whole), |r| {
        r.best_dice
    }),
    row(
        "auroc_image",
        "image AUROC by the map's mean inside the region",
        Section::Images,
        Of::Images(|r| r.auroc),
    ),
    volumes("volume_dice_otsu", "Dice, Otsu's threshold of each slice", |v| v.dice),
    volumes("volume_dice_one_threshold", "Dice, one threshold", |v| v.dice_one),
    volumes("volume_dice_best", "Dice, best threshold of each volume (a bound)", |v| v.whole.best_dice),
    volumes("volume_auroc", "pixel AUROC", |v| v.whole.auroc),
    volumes("volume_auroc_region", "pixel AUROC inside the region", |v| v.inside.auroc),
    volumes("volume_auprc", "pixel AUPRC", |v| v.whole.auprc),
    volumes("volume_auprc_region", "pixel AUPRC inside the region", |v| v.inside.auprc),
    row("level_healthy", "inside the region, healthy slices, mean of slices", Section::Levels, Of::Healthy),
    row(
        "level_healthy_volumes",
        "inside the region, healthy slices, mean of volumes",
        Section::Levels,
        Of::Volumes(|v| v.mean_healthy),
    ),
    row(
        "level_volumes",
        "inside the region, all slices, mean of volumes",
        Section::Levels,
        Of::Volumes(|v| Some(v.mean_region)),
    ),
    row("level_lesion", "inside lesions", Section::Levels, Of::Slices(|s| s.mean_lesion)),
    row("level_ratio", "healthy slices over lesions", Section::Levels, Of::Ratio),
];

/// A value and where it would lie with other subjects.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Figure {
    /// `None` where there is nothing to average.
    pub value: Option<f64>,
    /// `None` where fewer than two subjects have what it is about, for these cannot differ.
    pub interval: Option<Interval>,
}

/// A third of the diseased slices, by the lesion's size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Third {
    /// Its smallest and its largest lesion, pixels.
    pub pixels: Option<(usize, usize)>,
    /// Its slices, as places in the facts.
    places: Vec<usize>,
}

/// The thirds, smallest lesions first.
pub fn thirds(facts: &[Facts]) -> [Third; 3] {
    let mut diseased: Vec<usize> = (0..facts.len()).filter(|&place| facts[place].diseased()).collect();
    // Lesions of one size stay in the cohort's order, so that the thirds are always the same.
    diseased.sort_by_key(|&place| (facts[place].lesion_pixels, facts[place].index));
    let n = diseased.len();
    std::array::from_fn(|third| {
        let places = diseased[n * third / 3..n * (third + 1) / 3].to_vec();
        let pixels = |place: Option<&usize>| place.map(|&place| facts[place].lesion_pixels);
        Third { pixels: pixels(places.first()).zip(pixels(places.last())), places }
    })
}

/// The figures of one method, one for each of [`ROWS`].
///
/// Errors: [`MetricError`].
pub fn figures(scores: &Scores) -> Result<Vec<Figure>, MetricError> {
    let subjects = scores.volumes.len();
    let bootstrap = Bootstrap::new(subjects, SEED);
    let thirds = thirds(&scores.facts);
    let curve = |part: Part, region: Region| {
        let facts = &scores.facts;
        let subject =
            |image: usize| (part == Part::All || facts[image].diseased()).then_some(facts[image].volume);
        Resampled::new(&scores.pixels.curve(region, subjects, subject), &bootstrap)
    };
    let curves = [(Diseased, Whole), (Diseased, Inside), (All, Whole), (All, Inside)]
        .map(|(part, region)| ((part, region), curve(part, region)));
    let images = Resampled::new(&images(scores)?, &bootstrap);
    let interval = |enough: bool, of: &dyn Fn(&[u32]) -> Option<f64>| {
        enough.then(|| Interval::of(bootstrap.map(of))).flatten()
    };
    let mean = |values: Means| Figure {
        value: values.mean(&vec![1; subjects]),
        interval: interval(values.subjects() > 1, &|weights| values.mean(weights)),
    };
    let over = |places: &mut dyn Iterator<Item = usize>, of: &dyn Fn(&SliceScore) -> Option<f64>| {
        Means::new(subjects, places.map(|place| (scores.facts[place].volume, of(&scores.slices[place]))))
    };
    let healthy = || {
        let mut places = (0..scores.facts.len()).filter(|&place| !scores.facts[place].diseased());
        over(&mut places, &|score| Some(score.mean_region))
    };
    let figure = |row: &Row| match row.of {
        Of::Slices(of) => mean(over(&mut (0..scores.slices.len()), &of)),
        Of::Third(third, of) => mean(over(&mut thirds[third].places.iter().copied(), &of)),
        Of::Volumes(of) => mean(Means::new(subjects, scores.volumes.iter().map(of).enumerate())),
        Of::Healthy => mean(healthy()),
        Of::Pixels(part, region, of) => {
            let curve = curves.iter().find(|curve| curve.0 == (part, region)).expect("every one was made");
            curve.1.figure(of)
        }
        Of::Images(of) => images.figure(of),
        Of::Ratio => {
            let (healthy, lesion) = (healthy(), over(&mut (0..scores.slices.len()), &|s| s.mean_lesion));
            let ratio = |weights: &[u32]| {
                let (healthy, lesion) = (healthy.mean(weights)?, lesion.mean(weights)?);
                (lesion > 0.0).then(|| healthy / lesion)
            };
            let enough = healthy.subjects() > 1 && lesion.subjects() > 1;
            Figure { value: ratio(&vec![1; subjects]), interval: interval(enough, &ratio) }
        }
    };
    Ok(ROWS.iter().map(figure).collect())
}

/// A ranking, and what it would be with other subjects.
struct Resampled {
    ranking: Ranking,
    resamples: Vec<Ranking>,
}

impl Resampled {
    fn new(curve: &Curve, bootstrap: &Bootstrap) -> Self {
        let resamples = match curve.marked_subjects() {
            0 | 1 => Vec::new(),
            _ => bootstrap.map(|weights| curve.weighted(weights)),
        };
        Self { ranking: curve.ranking(), resamples }
    }

    fn figure(&self, of: fn(Ranking) -> Option<f64>) -> Figure {
        Figure { value: of(self.ranking), interval: Interval::of(self.resamples.iter().map(|r| of(*r))) }
    }
}

/// Each slice as if it were a pixel: its score is the map's mean inside the region, its truth whether it is diseased.
fn images(scores: &Scores) -> Result<Curve, MetricError> {
    let mut pool = Pool::default();
    for (fact, score) in scores.facts.iter().zip(&scores.slices) {
        pool.push(&[score.mean_region as f32], &[fact.diseased()], &[true])?;
    }
    let facts = &scores.facts;
    Ok(pool.rank().curve(Whole, scores.volumes.len(), |image| Some(facts[image].volume)))
}

/// Sum and number of the values of each subject.
struct Means(Vec<(f64, f64)>);

impl Means {
    /// Takes (subject, value); what has no value does not count.
    fn new(subjects: usize, values: impl Iterator<Item = (usize, Option<f64>)>) -> Self {
        let mut sums = vec![(0.0, 0.0); subjects];
        for (subject, value) in values {
            if let Some(value) = value {
                sums[subject].0 += value;
                sums[subject].1 += 1.0;
            }
        }
        Self(sums)
    }

    /// How many subjects have a value.
    fn subjects(&self) -> usize {
        self.0.iter().filter(|(_, n)| *n > 0.0).count()
    }

    /// The mean if subject i were there `weights[i]` times.
    fn mean(&self, weights: &[u32]) -> Option<f64> {
        let (sum, n) = self.0.iter().zip(weights).fold((0.0, 0.0), |(sum, n), ((s, k), weight)| {
            (sum + f64::from(*weight) * s, n + f64::from(*weight) * k)
        });
        (n > 0.0).then(|| sum / n)
    }
}

#[cfg(test)]
mod tests;
