use ndarray::{Array3, Array4, Axis};
use proptest::prelude::*;

use super::*;
use crate::otsu;
use crate::testing::{golden, read_npy};
use anomalens_models::image::AnomalyMap;

/// Sums of at most some ten thousand terms in f64, in another order.
const TOLERANCE: f64 = 1e-12;

fn bits(text: &str) -> Vec<bool> {
    text.bytes().map(|b| b == b'1').collect()
}

#[test]
fn values_are_those_of_scikit_learn() {
    struct Case {
        scores: &'static [f32],
        truth: &'static str,
        auroc: Option<f64>,
        auprc: Option<f64>,
        best_dice: Option<f64>,
    }
    // scikit-learn 1.9.1: auroc by roc_auc_score, auprc by average_precision_score, best_dice the largest f1_score over all
    // thresholds. None: it raises or warns, as there is no such number.
    let cases = [
        Case {
            scores: &[0.1, 0.4, 0.35, 0.8],
            truth: "0011",
            auroc: Some(0.75),
            auprc: Some(5.0 / 6.0),
            best_dice: Some(0.8),
        },
        Case {
            scores: &[0.5; 6],
            truth: "010011",
            auroc: Some(0.5),
            auprc: Some(0.5),
            best_dice: Some(2.0 / 3.0),
        },
        Case {
            scores: &[1.0, 2.0, 3.0],
            truth: "001",
            auroc: Some(1.0),
            auprc: Some(1.0),
            best_dice: Some(1.0),
        },
        Case {
            scores: &[3.0, 2.0, 1.0],
            truth: "001",
            auroc: Some(0.0),
            auprc: Some(1.0 / 3.0),
            best_dice: Some(0.5),
        },
        Case {
            scores: &[0.0, 0.0, 0.2, 0.2, 0.2, 0.7, 0.7, 0.9, 0.9, 0.1],
            truth: "0101101010",
            auroc: Some(0.54),
            auprc: Some(0.528_571_428_571_428_5),
            best_dice: Some(2.0 / 3.0),
        },
        Case {
            scores: &[-1.0, -0.0, 0.0, 2.5],
            truth: "0101",
            auroc: Some(0.875),
            auprc: Some(5.0 / 6.0),
            best_dice: Some(0.8),
        },
        Case { scores: &[0.1, 0.2], truth: "00", auroc: None, auprc: None, best_dice: None },
        Case { scores: &[0.1, 0.2], truth: "11", auroc: None, auprc: Some(1.0), best_dice: Some(1.0) },
        Case { scores: &[], truth: "", auroc: None, auprc: None, best_dice: None },
    ];
    let close = |found: Option<f64>, expected: Option<f64>| match (found, expected) {
        (Some(a), Some(b)) => (a - b).abs() <= TOLERANCE,
        (a, b) => a == b,
    };
    let wrong: Vec<_> = cases
        .iter()
        .filter_map(|case| {
            let truth = bits(case.truth);
            let found = ranking(case.scores, &truth).unwrap();
            let right = close(found.auroc, case.auroc)
                && close(found.auprc, case.auprc)
                && close(found.best_dice, case.best_dice);
            (!right).then_some((case.scores, case.truth, found))
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn dice_counts_the_overlap_twice() {
    for (mask, truth, expected) in [
        ("1100", "1100", 1.0),
        ("1100", "0011", 0.0),
        ("1110", "0110", 0.8),
        ("1000", "1111", 0.4),
        ("0000", "0100", 0.0),
        ("0000", "0000", 1.0),
        ("", "", 1.0),
    ] {
        assert_eq!(dice(&bits(mask), &bits(truth)), Ok(expected), "{mask} {truth}");
        assert_eq!(dice(&bits(truth), &bits(mask)), Ok(expected), "{truth} {mask}");
    }
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let length = |what, found| MetricError::Length { what, found, expected: 3 };
    assert_eq!(dice(&[true; 2], &[true; 3]), Err(length("mask", 2)));
    assert_eq!(auroc(&[0.0; 4], &[true; 3]), Err(length("scores", 4)));
    assert_eq!(ranking(&[], &[true; 3]), Err(length("scores", 0)));
    assert_eq!(Pool::default().push(&[0.0; 3], &[true; 3], &[true; 2]), Err(length("region", 2)));
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let error = auroc(&[0.0, bad], &[true, false]).unwrap_err();
        assert!(matches!(error, MetricError::NotFinite { index: 1, .. }), "{error}");
        assert!(Pool::default().push(&[0.0, bad], &[true, false], &[true; 2]).is_err());
    }
}

#[test]
fn golden_metrics_are_reproduced() {
    /// The reference scales its map to [0, 1] first, in f32: that may part or join a few ties.
    const ROUNDED: f64 = 1e-6;
    let Some(folder) = golden("metrics_a") else { return };
    let meta = std::fs::read_to_string(folder.join("meta.json")).unwrap();
    let meta: serde_json::Value = serde_json::from_str(&meta).unwrap();
    let (original, healthy): (Array4<f32>, Array4<f32>) =
        (read_npy(folder.join("org.npy")), read_npy(folder.join("rec.npy")));
    let label: Array3<f32> = ndarray_npy::read_npy(folder.join("label.npy")).unwrap();
    for (i, expected) in meta["per_image"].as_array().unwrap().iter().enumerate() {
        let plane = |array: &Array4<f32>| array.index_axis(Axis(0), i).to_owned();
        let map = AnomalyMap::between(&plane(&original), &plane(&healthy)).unwrap();
        let truth: Vec<bool> = label.index_axis(Axis(0), i).iter().map(|v| *v > 0.0).collect();
        let (_, mask) = otsu::mask(&map).unwrap();
        let mask: Vec<bool> = mask.into_iter().collect();
        let found = dice(&mask, &truth).unwrap();
        assert!((found - expected["dice"].as_f64().unwrap()).abs() <= TOLERANCE, "image {i}: {found}");
        let scores: Vec<f32> = map.values().iter().copied().collect();
        let found = auroc(&scores, &truth).unwrap().unwrap();
        assert!((found - expected["auroc"].as_f64().unwrap()).abs() <= ROUNDED, "image {i}: {found}");
    }
}

/// Images of `size` pixels whose scores look random and are often tied, the truth among the higher ones.
fn pool(images: usize, size: usize) -> Vec<(Vec<f32>, Vec<bool>, Vec<bool>)> {
    let pixels = crate::testing::images((1, 3, images, size));
    let row = |c: usize, i: usize| pixels.slice(ndarray::s![0, c, i, ..]).to_vec();
    (0..images)
        .map(|i| {
            let scores: Vec<f32> = row(0, i).iter().map(|v| (v * 400.0).round() / 400.0).collect();
            let truth = scores.iter().zip(row(1, i)).map(|(s, v)| v < 0.3 * s * s).collect();
            (scores, truth, row(2, i).iter().map(|v| *v < 0.6).collect())
        })
        .collect()
}

#[test]
fn a_pool_ranks_as_one_long_list_does() {
    let images = pool(6, 300);
    let mut all = Pool::default();
    images.iter().for_each(|(scores, truth, inside)| all.push(scores, truth, inside).unwrap());
    let ranked = all.rank();
    // Images 0 and 2 are of subject 0, image 4 of subject 1, the others of none.
    let subject = |image: usize| image.is_multiple_of(2).then_some(image / 4);
    let list = |region: Region, weights: &[usize]| {
        let (mut scores, mut truth) = (vec![], vec![]);
        for (i, image) in images.iter().enumerate() {
            for _ in 0..subject(i).map_or(0, |s| weights[s]) {
                for ((score, t), inside) in image.0.iter().zip(&image.1).zip(&image.2) {
                    if region == Region::Whole || *inside {
                        scores.push(*score);
                        truth.push(*t);
                    }
                }
            }
        }
        ranking(&scores, &truth).unwrap()
    };
    for region in [Region::Whole, Region::Inside] {
        let curve = ranked.curve(region, 2, subject);
        assert_eq!(curve.ranking(), list(region, &[1, 1]));
        assert_eq!(curve.marked_subjects(), 2);
        // Scores are 401 at most, so that every step is one and nothing is lost.
        assert_eq!(curve.weighted(&[3, 1]), list(region, &[3, 1]));
        assert_ne!(curve.weighted(&[3, 1]), list(region, &[1, 3]));
    }
    let marked = ranked.marked(0.5);
    for (image, found) in images.iter().zip(marked) {
        let above = image.0.iter().zip(&image.1).filter(|(score, _)| **score > 0.5);
        let both = above.clone().filter(|(_, truth)| **truth).count() as u64;
        assert_eq!(found, (both, above.count() as u64));
    }
    let nothing = Pool::default().rank().curve(Region::Whole, 3, Some);
    assert_eq!((nothing.ranking(), nothing.weighted(&[1, 1, 1])), (Ranking::default(), Ranking::default()));
}

#[test]
fn steps_change_an_area_by_little() {
    /// Pairs within a step are one in 512, and count as ties instead of as what they are.
    const TOLERANCE: f64 = 1e-3;
    let mut all = Pool::default();
    for (mut scores, truth, inside) in pool(4, 20_000) {
        scores.iter_mut().zip(0..).for_each(|(score, i)| *score += 1e-7 * (i % 1009) as f32);
        all.push(&scores, &truth, &inside).unwrap();
    }
    let curve = all.rank().curve(Region::Whole, 4, Some);
    let (exact, by_steps) = (curve.ranking(), curve.weighted(&[1; 4]));
    assert_ne!(exact, by_steps);
    for (name, of) in [
        ("auroc", (|r| r.auroc) as fn(Ranking) -> Option<f64>),
        ("auprc", |r| r.auprc),
        ("best Dice", |r| r.best_dice),
    ] {
        let (exact, by_steps) = (of(exact).unwrap(), of(by_steps).unwrap());
        assert!((exact - by_steps).abs() < TOLERANCE, "{name}: {by_steps}, exactly {exact}");
    }
}

/// Every pair, one by one.
fn auroc_by_pairs(scores: &[f32], truth: &[bool]) -> Option<f64> {
    let (mut won, mut pairs) = (0.0, 0.0);
    for (a, _) in scores.iter().zip(truth).filter(|(_, t)| **t) {
        for (b, _) in scores.iter().zip(truth).filter(|(_, t)| !**t) {
            pairs += 1.0;
            won += if a > b { 1.0 } else { 0.0 } + if a == b { 0.5 } else { 0.0 };
        }
    }
    (pairs > 0.0).then(|| won / pairs)
}

proptest! {
    /// Whole numbers from few values, so that there are many ties.
    #[test]
    fn ranks_equal_pairs_and_every_threshold(pixels in prop::collection::vec((-6i8..6, any::<bool>()), 0..80)) {
        let scores: Vec<f32> = pixels.iter().map(|p| f32::from(p.0) / 3.0).collect();
        let truth: Vec<bool> = pixels.iter().map(|p| p.1).collect();
        let found = ranking(&scores, &truth).unwrap();
        prop_assert_eq!(found.auroc, auroc_by_pairs(&scores, &truth));
        let at = |threshold: &f32| {
            let mask: Vec<bool> = scores.iter().map(|v| v >= threshold).collect();
            dice(&mask, &truth).unwrap()
        };
        let best = scores.iter().map(at).fold(0.0, f64::max);
        prop_assert_eq!(found.best_dice, truth.contains(&true).then_some(best));
    }
}
