//! What the tests share.
#![allow(dead_code)] // Each test binary uses its part.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anomalens_cohort::synthetic::{self, Format, Settings, Source};
use anomalens_cohort::{Cohort, CohortInfo, CohortWriter, Item, Sample};
use ndarray::{Array2, Array3, ArrayView2};

/// Settings of a cohort of the phantom.
pub fn phantom(slices: usize, seed: u64, size: usize) -> Settings {
    Settings { slices, seed, size, source: Source::Phantom, first: 1 }
}

/// Makes a cohort of arrays and opens it.
pub fn arrays(dir: &Path, settings: &Settings) -> Cohort {
    synthetic::write(dir, Format::Arrays, settings, |_, _| true).unwrap();
    Cohort::open(dir).unwrap()
}

/// Every file under a folder, with its content.
pub fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(dir: &Path, root: &Path, into: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, root, into);
            } else {
                let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
                into.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    let mut into = BTreeMap::new();
    walk(dir, dir, &mut into);
    into
}

/// A cohort of two channels, 4 x 4 pixels, one healthy and one diseased item.
pub fn small(dir: &Path) {
    let mut writer = CohortWriter::create(dir, info()).unwrap();
    writer.push(sample(false)).unwrap();
    writer.push(sample(true)).unwrap();
    writer.finish().unwrap();
}

pub fn info() -> CohortInfo {
    CohortInfo {
        kind: "test".into(),
        note: "a test; not for diagnostic use".into(),
        channels: vec!["a".into(), "b".into()],
        size: 4,
        percentile: 99.5,
        generator: serde_json::Value::Null,
    }
}

pub fn sample(diseased: bool) -> Sample {
    let item =
        Item { subject: "s1".into(), slice: usize::from(diseased), diseased, extra: Default::default() };
    let image = Array3::from_shape_fn((2, 4, 4), |(c, h, w)| (c * 16 + h * 4 + w) as f32 / 32.0);
    let mask = Array2::from_shape_fn((4, 4), |(h, w)| diseased && h + w > 4);
    Sample { item, image, mask: Some(mask), brain: Some(Array2::from_elem((4, 4), true)) }
}

/// Whether a pixel is above Otsu's threshold of the pixels inside the brain, as skimage.filters.threshold_otsu: 256
/// bins between the smallest and the largest value, the threshold in the middle of a bin.
pub fn otsu_inside(plane: ArrayView2<f32>, brain: &Array2<bool>) -> Array2<bool> {
    let inside: Vec<f32> = plane.iter().zip(brain).filter(|(_, b)| **b).map(|(v, _)| *v).collect();
    let (low, high) = inside.iter().fold((f32::MAX, f32::MIN), |(l, h), &v| (l.min(v), h.max(v)));
    let step = (high - low) / 256.0;
    let mut counts = [0f64; 256];
    for v in &inside {
        counts[(((v - low) / step) as usize).min(255)] += 1.0;
    }
    let middle = |bin: usize| f64::from(low + (bin as f32 + 0.5) * step);
    let (all, sum) = counts.iter().enumerate().fold((0.0, 0.0), |(n, s), (i, c)| (n + c, s + c * middle(i)));
    let (mut n, mut s, mut best, mut threshold) = (0.0, 0.0, f64::MIN, middle(0));
    for (bin, count) in counts.iter().enumerate().take(255) {
        n += count;
        s += count * middle(bin);
        let apart = s / n - (sum - s) / (all - n);
        let between = n * (all - n) * apart * apart;
        if between > best {
            (best, threshold) = (between, middle(bin));
        }
    }
    Array2::from_shape_fn(plane.dim(), |at| brain[at] && f64::from(plane[at]) > threshold)
}

/// 2 |A and B| / (|A| + |B|).
pub fn dice(a: &Array2<bool>, b: &Array2<bool>) -> f64 {
    let count = |m: &Array2<bool>| m.iter().filter(|&&v| v).count();
    let both = a.iter().zip(b).filter(|(a, b)| **a && **b).count();
    2.0 * both as f64 / (count(a) + count(b)) as f64
}
