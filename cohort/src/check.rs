//! Looks a cohort through, image by image: what it holds, and what about it cannot be right.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::path::Path;

use ndarray::{Array3, Axis};
use sha2::{Digest, Sha256};

use crate::arrays::splits::{NAMES, SPLITS, Splits};
use crate::{Cohort, CohortError, Counts};

/// Bins of a histogram between 0 and 1.
const BINS: usize = 32;
/// Lines of one kind that are printed.
const MOST_LINES: usize = 20;
/// Heights of a histogram's bars.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The values of one channel over all images.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// The channel.
    pub channel: String,
    /// How many values are exactly 0: the background.
    pub zeros: u64,
    /// How many are exactly 1: cut off by the normalisation.
    pub ones: u64,
    /// How many of those above 0 fall into each of equal parts of (0, 1].
    pub bins: [u64; BINS],
    sum: f64,
}

/// What was found in a cohort.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Kind, note, channels, size, percentile.
    heading: Vec<String>,
    /// Images of each class.
    pub counts: Counts,
    /// Subjects; those with diseased images.
    pub subjects: [usize; 2],
    /// One a channel.
    pub histograms: Vec<Histogram>,
    /// What cannot be right.
    pub errors: Vec<String>,
    /// What may be right, but is odd.
    pub warnings: Vec<String>,
    /// The items that can be drawn.
    pub readable: Vec<usize>,
}

/// Looks through a cohort, or one split of it. `progress` is told how many of how many images are done; where it says
/// false, the work stops.
///
/// Errors: those of opening the cohort; [`CohortError::Interrupted`]. What is wrong with single images and with
/// splits.json is part of the report.
pub fn check(
    dir: &Path,
    split: Option<&str>,
    mut progress: impl FnMut(usize, usize) -> bool,
) -> Result<(Cohort, Report), CohortError> {
    let cohort = Cohort::open_split(dir, split)?;
    let mut report = Report::new(&cohort);
    let mut splits = HashMap::new();
    if dir.join(SPLITS).exists() {
        let whole = Cohort::open(dir)?;
        match Splits::read(dir) {
            Ok(found) => {
                report
                    .errors
                    .extend(found.faults(whole.items()).into_iter().map(|f| format!("{SPLITS}: {f}")));
                splits.extend(found.subjects);
            }
            Err(error) => report.errors.push(error.to_string()),
        }
        report.tell_splits(&whole, &splits);
    }
    // Where an image was seen first.
    let mut seen: HashMap<[u8; 32], usize> = HashMap::new();
    for index in 0..cohort.len() {
        if !progress(index, cohort.len()) {
            return Err(CohortError::Interrupted);
        }
        if let Err(error) = cohort.mask(index) {
            report.errors.push(error.to_string());
        }
        let image = match cohort.image(index) {
            Ok(image) => image,
            Err(error) => {
                report.errors.push(error.to_string());
                continue;
            }
        };
        report.count(&cohort, index, &image);
        let bytes: Vec<u8> = image.iter().flat_map(|v| v.to_le_bytes()).collect();
        if let Some(&first) = seen.get::<[u8; 32]>(&Sha256::digest(&bytes).into()) {
            report.twice(&cohort, [first, index], &splits);
        } else {
            seen.insert(Sha256::digest(&bytes).into(), index);
        }
    }
    if !progress(cohort.len(), cohort.len()) {
        return Err(CohortError::Interrupted);
    }
    Ok((cohort, report))
}

impl Report {
    fn new(cohort: &Cohort) -> Self {
        let subjects: BTreeSet<&str> = cohort.items().iter().map(|item| item.subject.as_str()).collect();
        let diseased: BTreeSet<&str> =
            cohort.items().iter().filter(|item| item.diseased).map(|item| item.subject.as_str()).collect();
        let (size, counts) = (cohort.size(), cohort.counts());
        let mut warnings = Vec::new();
        if counts.healthy == 0 || counts.diseased == 0 {
            let missing = if counts.healthy == 0 { "healthy" } else { "diseased" };
            warnings.push(format!("no {missing} image: a classifier needs both"));
        }
        let histogram = |channel: &String| Histogram {
            channel: channel.clone(),
            zeros: 0,
            ones: 0,
            bins: [0; BINS],
            sum: 0.0,
        };
        Self {
            heading: vec![
                format!(
                    "{}{}: {}",
                    cohort.dir().display(),
                    cohort.split().map_or(String::new(), |s| format!(", split {s}")),
                    cohort.kind()
                ),
                cohort.note().to_owned(),
                format!(
                    "{} channels ({}), {size} x {size} pixels, percentile {}, {} masks",
                    cohort.channels().len(),
                    cohort.channels().join(", "),
                    cohort.percentile(),
                    if cohort.has_masks() { "with" } else { "without" }
                ),
            ],
            counts,
            subjects: [subjects.len(), diseased.len()],
            histograms: cohort.channels().iter().map(histogram).collect(),
            errors: Vec::new(),
            warnings,
            readable: Vec::new(),
        }
    }

    /// One line a split, for the heading.
    fn tell_splits(&mut self, cohort: &Cohort, splits: &HashMap<String, String>) {
        for name in NAMES {
            let mine = |subject: &str| splits.get(subject).is_some_and(|split| split == name);
            let items: Vec<_> = cohort.items().iter().filter(|item| mine(&item.subject)).collect();
            let subjects: BTreeSet<&str> = items.iter().map(|item| item.subject.as_str()).collect();
            let diseased = items.iter().filter(|item| item.diseased).count();
            self.heading.push(format!(
                "split {name}: {} images ({} healthy, {diseased} diseased) of {} subjects",
                items.len(),
                items.len() - diseased,
                subjects.len()
            ));
        }
    }

    /// Adds an image to the histograms, and says so where a channel is constant.
    fn count(&mut self, cohort: &Cohort, index: usize, image: &Array3<f32>) {
        self.readable.push(index);
        let mut constant = Vec::new();
        for (plane, histogram) in image.axis_iter(Axis(0)).zip(&mut self.histograms) {
            let first = plane[[0, 0]];
            if plane.iter().all(|&v| v == first) {
                constant.push(format!("{} is {first} everywhere", histogram.channel));
            }
            for &v in plane {
                histogram.sum += f64::from(v);
                histogram.ones += u64::from(v == 1.0);
                match v > 0.0 {
                    false => histogram.zeros += 1,
                    true => histogram.bins[((v * BINS as f32).ceil() as usize).clamp(1, BINS) - 1] += 1,
                }
            }
        }
        if !constant.is_empty() {
            self.warnings.push(format!("{}: {}", name(cohort, index), constant.join(", ")));
        }
    }

    /// Tells of two equal images: an error where that spoils training or its measurement.
    fn twice(&mut self, cohort: &Cohort, both: [usize; 2], splits: &HashMap<String, String>) {
        let [a, b] = both.map(|index| cohort.item(index));
        let same = format!("{} and {} are the same image", name(cohort, both[0]), name(cohort, both[1]));
        match () {
            () if a.diseased != b.diseased => self.errors.push(format!("{same}, with different labels")),
            () if splits.get(&a.subject) != splits.get(&b.subject) => {
                self.errors.push(format!("{same}, in different splits"));
            }
            () => self.warnings.push(same),
        }
    }
}

fn name(cohort: &Cohort, index: usize) -> String {
    let item = cohort.item(index);
    format!("item {} ({}, slice {})", cohort.place(index), item.subject, item.slice)
}

impl Histogram {
    /// The values that were counted.
    pub fn values(&self) -> u64 {
        self.zeros + self.bins.iter().sum::<u64>()
    }

    /// Bars from 0 to 1, scaled to the highest.
    pub fn bars(&self) -> String {
        let highest = self.bins.iter().max().copied().unwrap_or(0).max(1);
        // A bin with anything in it has a bar.
        let bar = |&n: &u64| {
            if n == 0 { ' ' } else { BARS[((n * BARS.len() as u64).div_ceil(highest) as usize) - 1] }
        };
        self.bins.iter().map(bar).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.heading.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        let Counts { healthy, diseased } = self.counts;
        let [subjects, with] = self.subjects;
        writeln!(f, "{} images: {healthy} healthy, {diseased} diseased", healthy + diseased)?;
        writeln!(f, "{subjects} subjects, {with} of them with diseased images")?;
        for histogram in &self.histograms {
            let n = histogram.values().max(1) as f64;
            let share = |count: u64| 100.0 * count as f64 / n;
            writeln!(
                f,
                "{:>12} 0 [{}] 1  mean {:.3}, {:.1} % are 0, {:.2} % are 1",
                histogram.channel,
                histogram.bars(),
                histogram.sum / n,
                share(histogram.zeros),
                share(histogram.ones)
            )?;
        }
        for (what, lines) in [("error", &self.errors), ("warning", &self.warnings)] {
            lines.iter().take(MOST_LINES).try_for_each(|line| writeln!(f, "{what}: {line}"))?;
            if lines.len() > MOST_LINES {
                writeln!(f, "{what}: and {} more", lines.len() - MOST_LINES)?;
            }
        }
        write!(f, "{} errors, {} warnings", self.errors.len(), self.warnings.len())
    }
}
