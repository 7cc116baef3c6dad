use std::collections::BTreeSet;

use super::*;

/// Slices of (subject, lesion's pixels, Dice, level): each has two pixels, of which the first is the lesion.
fn scores(slices: &[(usize, usize, f64, f64)]) -> Scores {
    let subjects = slices.iter().map(|s| s.0 + 1).max().unwrap_or(0);
    let mut pool = Pool::default();
    let mut facts = Vec::new();
    let mut scored = Vec::new();
    for (index, &(volume, lesion_pixels, dice, level)) in slices.iter().enumerate() {
        let sick = lesion_pixels > 0;
        pool.push(&[dice as f32, 0.5], &[sick, false], &[true, sick]).unwrap();
        facts.push(Facts { index, volume, lesion_pixels, region_pixels: 2 });
        scored.push(SliceScore {
            dice: sick.then_some(dice),
            mean_region: level,
            mean_lesion: sick.then_some(2.0 * level),
            ..SliceScore::default()
        });
    }
    let volumes = vec![VolumeScore { mean_healthy: Some(0.25), ..VolumeScore::default() }; subjects];
    Scores { facts, slices: scored, volumes, one_threshold: None, pixels: pool.rank() }
}

fn figure(scores: &Scores, key: &str) -> Figure {
    figures(scores).unwrap()[ROWS.iter().position(|row| row.key == key).unwrap()]
}

#[test]
fn rows_have_names_of_their_own() {
    let keys: BTreeSet<_> = ROWS.iter().map(|row| row.key).collect();
    assert_eq!(keys.len(), ROWS.len());
    let titles: BTreeSet<_> = ROWS.iter().map(|row| (row.section.title(), row.title)).collect();
    assert_eq!(titles.len(), ROWS.len());
    // Rows of a section stand together.
    let mut sections: Vec<_> = ROWS.iter().map(|row| row.section).collect();
    sections.dedup();
    assert_eq!(sections.len(), 6);
}

#[test]
fn slices_are_averaged_and_split_by_the_lesions_size() {
    let all = scores(&[
        (0, 0, 0.1, 0.1),
        (0, 50, 0.9, 2.0),
        (1, 10, 0.3, 1.0),
        (2, 0, 0.2, 0.2),
        (3, 20, 0.6, 1.5),
    ]);
    let value = |key: &str| figure(&all, key).value.unwrap();
    let close = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-12, "{found}, {expected}");
    close(value("dice_otsu"), 0.6);
    close(value("dice_otsu_small"), 0.3);
    close(value("dice_otsu_medium"), 0.6);
    close(value("dice_otsu_large"), 0.9);
    assert_eq!(
        thirds(&all.facts).map(|third| third.pixels),
        [Some((10, 10)), Some((20, 20)), Some((50, 50))]
    );
    close(value("level_healthy"), 0.15);
    close(value("level_lesion"), 3.0);
    close(value("level_ratio"), 0.05);
    close(value("level_healthy_volumes"), 0.25);
    // Lesions 0.9, 0.6, 0.3 against three times 0.5, and against 0.1 and 0.2 and two more 0.5 of healthy slices.
    close(value("auroc_pooled"), 6.0 / 9.0);
    close(value("auroc_all"), (7.0 + 7.0 + 2.0) / 21.0);
    // Every diseased slice's level is above every healthy one's.
    close(value("auroc_image"), 1.0);
    assert_eq!(figure(&all, "auroc_mean").value, None);
}

#[test]
fn intervals_are_wide_where_subjects_differ_and_not_where_slices_do() {
    // Ten subjects of two slices: within each 0.2 and 0.8.
    let alike: Vec<_> = (0..20).map(|i| (i / 2, 9, [0.2, 0.8][i % 2], 1.0)).collect();
    let dice = figure(&scores(&alike), "dice_otsu");
    assert!((dice.value.unwrap() - 0.5).abs() < 1e-12);
    let Interval { low, high } = dice.interval.unwrap();
    assert!((low - 0.5).abs() < 1e-12 && (high - 0.5).abs() < 1e-12, "{low} {high}");
    // The same slices, as ten subjects of one kind each: the mean of ten that are 0.2 or 0.8 has a standard error of 0.095.
    let apart: Vec<_> = (0..20).map(|i| (i / 2, 9, [0.2, 0.8][i / 2 % 2], 1.0)).collect();
    let Interval { low, high } = figure(&scores(&apart), "dice_otsu").interval.unwrap();
    assert!((0.26..0.38).contains(&low) && (0.62..0.74).contains(&high), "{low} {high}");
    // Of one subject there is none.
    let one: Vec<_> = (0..6).map(|i| (0, 9, [0.2, 0.8][i % 2], 1.0)).collect();
    assert_eq!(figure(&scores(&one), "dice_otsu").interval, None);
    // Nor of many of whom one alone has a lesion.
    let one: Vec<_> = (0..6).map(|i| (i, if i == 2 { 9 } else { 0 }, 0.5, 1.0)).collect();
    for key in ["dice_otsu", "dice_otsu_large", "auroc_pooled", "level_ratio"] {
        assert_eq!(figure(&scores(&one), key).interval, None, "{key}");
    }
    assert!(figure(&scores(&one), "level_healthy").interval.is_some());
}

#[test]
fn intervals_of_pooled_pixels_hold_the_value() {
    let slices: Vec<_> = (0..40).map(|i| (i / 2, i % 2 * 7, (i * 37 % 100) as f64 / 100.0, 1.0)).collect();
    let all = scores(&slices);
    for key in ["auroc_pooled", "auprc_pooled", "dice_pooled_best", "auroc_all", "auprc_all_region"] {
        let found = figure(&all, key);
        let (value, Interval { low, high }) = (found.value.unwrap(), found.interval.unwrap());
        // A bound is the largest of many, and so as low as it can be in most resamples.
        let inside = if key == "dice_pooled_best" { low <= value } else { low < value };
        assert!(inside && value < high && low < high, "{key}: {found:?}");
    }
}

#[test]
fn one_class_alone_has_no_ratio() {
    for slices in [vec![(0, 0, 0.0, 0.1)], vec![(0, 5, 0.5, 0.1)], vec![]] {
        let all = scores(&slices);
        assert_eq!(figure(&all, "level_ratio"), Figure::default());
        assert_eq!(figure(&all, "auroc_image").value, None);
    }
}
