use anomalens_models::image::AnomalyMap;
use ndarray::{Array3, array};

use super::*;

/// Two by four; the region is the three columns on the left.
fn slice(index: usize, truth: Array2<bool>) -> Slice {
    Slice {
        index,
        name: format!("s{index}"),
        image: Array3::zeros((1, 2, 4)),
        truth,
        region: array![[true, true, true, false], [true, true, true, false]],
    }
}

/// Otsu's threshold is the centre of a bin, so the upper value of the darker class stands below that of its own bin.
fn found() -> Found {
    let map = array![[0.098f32, 1.0, 0.9, 0.0], [0.098, 0.098, 0.098, 0.8]];
    Found { map: AnomalyMap::from_values(map), healthy: None, domain: None }
}

fn lesion() -> Array2<bool> {
    array![[false, true, true, false], [false, false, false, false]]
}

fn healthy() -> Array2<bool> {
    Array2::from_elem((2, 4), false)
}

#[test]
fn a_diseased_slice_by_hand() {
    let (facts, s, _) = one(&slice(3, lesion()), &found(), 5).unwrap();
    assert_eq!(facts, Facts { index: 3, volume: 5, lesion_pixels: 2, region_pixels: 6 });
    // Otsu marks 1.0, 0.9, 0.8: 2 * 2 / (3 + 2).
    assert_eq!(s.dice, Some(0.8));
    let perfect = Ranking { auroc: Some(1.0), auprc: Some(1.0), best_dice: Some(1.0) };
    assert_eq!((s.whole, s.inside), (perfect, perfect));
    assert!((s.mean_region - 2.292 / 6.0).abs() < 1e-6 && (s.mean_lesion.unwrap() - 0.95).abs() < 1e-6);
}

#[test]
fn a_method_that_looks_inside_alone_marks_nothing_outside() {
    let map = array![[0.2f32, 0.9, 0.2995, 0.0], [0.2, 0.8, 0.2995, 0.0]];
    let domain = Some(slice(0, healthy()).region);
    let inside = Found { map: AnomalyMap::from_values(map), healthy: None, domain };
    let (_, s, pixels) = one(&slice(0, lesion()), &inside, 0).unwrap();
    // Otsu inside marks 0.9 and 0.8; with the zeros outside, which belong to the darker class, its threshold is another.
    assert_eq!(pixels.mask.iter().filter(|m| **m).count(), 2);
    assert_ne!(s.threshold, otsu::threshold(&inside.map).unwrap());
    assert_eq!((s.dice, s.whole.best_dice), (Some(0.5), Some(2.0 / 3.0)));
    // 0.9 wins against all 6, 0.2995 against 4 and ties with 1; inside the region 4 of 4, and 2 and a tie.
    assert_eq!((s.whole.auroc, s.inside.auroc), (Some(10.5 / 12.0), Some(6.5 / 8.0)));
}

#[test]
fn a_healthy_slice_has_a_map_level_alone() {
    let (facts, s, _) = one(&slice(0, healthy()), &found(), 0).unwrap();
    assert!(!facts.diseased());
    assert_eq!(
        (s.mean_lesion, s.dice, s.whole, s.inside),
        (None, None, Ranking::default(), Ranking::default())
    );
    assert!(s.mean_region > 0.0 && s.threshold > 0.0);
}

#[test]
fn a_slice_without_a_region_is_refused() {
    let mut empty = slice(0, healthy());
    empty.region.fill(false);
    let error = one(&empty, &found(), 0).err().unwrap();
    assert!(error.to_string().contains("no pixel inside the region"), "{error}");
}

#[test]
fn slices_of_a_subject_are_one_volume() {
    let mut pool = Pool::default();
    let (mut facts, mut slices, mut together) = (vec![], vec![], Pixels::default());
    for (index, truth) in [lesion(), healthy()].into_iter().enumerate() {
        let (fact, score, pixels) = one(&slice(index, truth), &found(), 0).unwrap();
        pool.push(&pixels.map, &pixels.truth, &pixels.inside).unwrap();
        together.append(pixels);
        facts.push(fact);
        slices.push(score);
    }
    let volume = together.volume(&facts, &slices).unwrap();
    // Three are marked in either slice, two of them rightly: 2 * 2 / (6 + 2).
    assert_eq!(volume.dice, Some(0.5));
    // Of 14 others 1.0 wins against 13 and ties with that of the healthy slice; 0.9 wins against 12 and ties with one.
    assert_eq!(volume.whole.auroc, Some((13.5 + 12.5) / 28.0));
    assert_eq!(
        (volume.mean_healthy, volume.mean_region),
        (Some(slices[1].mean_region), slices[0].mean_region)
    );

    let volumes = vec![volume];
    let mut scores = Scores { facts, slices, volumes, one_threshold: None, pixels: pool.rank() };
    scores.by_one_threshold();
    // The threshold is that of the one diseased slice, and so is its Dice.
    assert_eq!(scores.one_threshold, Some(scores.slices[0].threshold));
    assert_eq!((scores.slices[0].dice_one, scores.slices[1].dice_one), (Some(0.8), None));
    assert_eq!(scores.volumes[0].dice_one, Some(0.5));
}

#[test]
fn one_threshold_is_the_mean_of_the_diseased_slices() {
    let mut pool = Pool::default();
    let (mut facts, mut slices) = (vec![], vec![]);
    // The same map by 1, 3 and, healthy, 100: thresholds are in proportion.
    for (index, (times, truth)) in
        [(1.0, lesion()), (3.0, lesion()), (100.0, healthy())].into_iter().enumerate()
    {
        let map = found().map.values().mapv(|v| v * times);
        let found = Found { map: AnomalyMap::from_values(map), healthy: None, domain: None };
        let (fact, score, pixels) = one(&slice(index, truth), &found, index).unwrap();
        pool.push(&pixels.map, &pixels.truth, &pixels.inside).unwrap();
        facts.push(fact);
        slices.push(score);
    }
    let first = slices[0].threshold;
    let volumes = vec![VolumeScore::default(); 3];
    let mut scores = Scores { facts, slices, volumes, one_threshold: None, pixels: pool.rank() };
    scores.by_one_threshold();
    assert!((scores.one_threshold.unwrap() - 2.0 * first).abs() < 1e-6);
    // 0.2 and more are marked, in the first slice as by its own threshold, and 0.294 of the second wrongly.
    assert_eq!(scores.slices[0].dice_one, Some(0.8));
    assert_eq!(scores.slices[1].dice_one, Some(2.0 * 2.0 / (7.0 + 2.0)));
    assert_eq!(scores.volumes[2].dice_one, None);
}
