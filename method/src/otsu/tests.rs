use ndarray::{Array2, Array3, Array4, Axis, array};

use super::*;
use crate::testing::{golden, images, read_npy};

#[test]
fn thresholds_are_those_of_skimage() {
    struct Case {
        name: &'static str,
        map: Array2<f32>,
        threshold: f32,
        above: usize,
    }
    let plane = images((1, 1, 64, 64)).index_axis_move(Axis(0), 0).index_axis_move(Axis(0), 0);
    // By skimage 0.26.0's threshold_otsu on the same values.
    let cases = [
        Case { name: "uniform", map: plane.clone(), threshold: 0.4941463, above: 2060 },
        Case { name: "squared", map: plane.mapv(|v| v * v), threshold: 0.40429336, above: 1495 },
        Case {
            name: "two groups",
            map: plane.mapv(|v| if v > 0.9 { v * 5.0 } else { v * 0.1 }),
            threshold: 0.08789176,
            above: 496,
        },
        Case { name: "offset", map: plane.mapv(|v| v * 1e-3 + 2.0), threshold: 2.0005019, above: 2024 },
    ];
    for case in cases {
        let (threshold, mask) = mask(&AnomalyMap::from_values(case.map)).unwrap();
        assert_eq!(threshold, case.threshold, "{}", case.name);
        assert_eq!(mask.iter().filter(|m| **m).count(), case.above, "{}", case.name);
    }
}

#[test]
fn golden_metrics_are_reproduced() {
    let Some(folder) = golden("metrics_a") else { return };
    let meta = std::fs::read_to_string(folder.join("meta.json")).unwrap();
    let meta: serde_json::Value = serde_json::from_str(&meta).unwrap();
    let (original, healthy): (Array4<f32>, _) =
        (read_npy(folder.join("org.npy")), read_npy(folder.join("rec.npy")));
    for (i, expected) in meta["per_image"].as_array().unwrap().iter().enumerate() {
        let image = |images: &Array4<f32>| -> Array3<f32> { images.index_axis(Axis(0), i).to_owned() };
        let map = AnomalyMap::between(&image(&original), &image(&healthy)).unwrap();
        let (threshold, mask) = mask(&map).unwrap();
        let otsu = expected["otsu"].as_f64().unwrap();
        assert_eq!(f64::from(threshold), otsu, "image {i}");
        let pixels = mask.iter().filter(|m| **m).count() as u64;
        assert_eq!(pixels, expected["mask_pixels"].as_u64().unwrap(), "image {i}");
    }
}

#[test]
fn a_constant_map_has_an_empty_mask() {
    let (threshold, mask) = mask(&AnomalyMap::from_values(Array2::from_elem((3, 3), 0.25))).unwrap();
    assert_eq!(threshold, 0.25);
    assert!(mask.iter().all(|m| !m));
}

#[test]
fn two_values_are_told_apart() {
    let map = AnomalyMap::from_values(array![[0.0, 0.0, 0.0], [0.0, 4.0, 4.0]]);
    let (threshold, mask) = mask(&map).unwrap();
    assert_eq!(threshold, 4.0 / 512.0, "the centre of the first bin");
    assert_eq!(mask, array![[false, false, false], [false, true, true]]);
}

#[test]
fn maps_without_a_threshold_are_refused() {
    assert_eq!(threshold(&AnomalyMap::from_values(Array2::zeros((0, 0)))), Err(OtsuError::Empty));
    let map = AnomalyMap::from_values(array![[0.0, 1.0], [f32::INFINITY, 1.0]]);
    assert_eq!(threshold(&map), Err(OtsuError::NotFinite { row: 1, column: 0, found: f32::INFINITY }));
}

#[test]
fn inside_a_mask_the_rest_has_no_say() {
    let plane = images((1, 1, 64, 64)).index_axis_move(Axis(0), 0).index_axis_move(Axis(0), 0);
    let inside = Array2::from_shape_fn((64, 64), |(r, c)| r >= 8 && c < 40);
    // Outside of the mask there are values beyond all others.
    let mut map = plane.clone();
    map.zip_mut_with(&inside, |v, inside| *v = if *inside { *v } else { 50.0 });
    let (found, mask) = mask_within(&AnomalyMap::from_values(map.clone()), &inside).unwrap();
    let cut = plane.slice(ndarray::s![8.., ..40]).to_owned();
    let (expected, above) = super::mask(&AnomalyMap::from_values(cut)).unwrap();
    assert_eq!(found, expected);
    let set = |mask: &Array2<bool>| mask.iter().filter(|m| **m).count();
    assert_eq!(set(&mask), set(&above));
    assert!(mask.iter().zip(&inside).all(|(set, inside)| *inside || !set));
    assert_ne!(threshold(&AnomalyMap::from_values(map)).unwrap(), expected);
    let nowhere = Array2::from_elem((64, 64), false);
    assert_eq!(mask_within(&AnomalyMap::from_values(plane), &nowhere), Err(OtsuError::Empty));
}
