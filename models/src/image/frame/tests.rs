use super::*;
use proptest::prelude::*;

fn noise(channels: usize, [h, w]: [usize; 2]) -> Array3<f32> {
    let mut state = 1u32;
    Array3::from_shape_fn((channels, h, w), |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32
    })
}

#[test]
fn the_three_ways_to_fit() {
    for (source, size, inner, offset, text) in [
        ([64, 64], 64, [64, 64], [0, 0], "64 x 64 taken as it is"),
        ([61, 50], 64, [61, 50], [1, 7], "61 x 50 padded with zeros to 64 x 64"),
        (
            [1955, 1841],
            256,
            [256, 241],
            [0, 7],
            "1955 x 1841 averaged down to 256 x 241, then padded to 256 x 256",
        ),
        ([64, 64], 32, [32, 32], [0, 0], "64 x 64 averaged down to 32 x 32"),
        ([1000, 1], 10, [10, 1], [0, 4], "1000 x 1 averaged down to 10 x 1, then padded to 10 x 10"),
    ] {
        let f = Frame::fit(source, size).unwrap();
        assert_eq!((f.inner, f.offset, f.describe().as_str()), (inner, offset, text), "{source:?} in {size}");
    }
    assert!(matches!(Frame::fit([0, 4], 8), Err(ImageError::Shape { .. })));
}

#[test]
fn averaging_keeps_the_mean_and_does_not_alias() {
    let f = Frame::fit([90, 70], 30).unwrap();
    let image = noise(2, [90, 70]);
    let framed = f.apply(&image).unwrap();
    let inside = framed.slice(s![.., .., f.offset[1]..f.offset[1] + f.inner[1]]);
    assert!((inside.mean().unwrap() - image.mean().unwrap()).abs() < 1e-5);
    // A checkerboard is the worst case of aliasing: its mean everywhere, not one of its two values.
    let board = Array3::from_shape_fn((1, 64, 64), |(_, r, c)| ((r + c) % 2) as f32);
    let framed = Frame::fit([64, 64], 32).unwrap().apply(&board).unwrap();
    assert!(framed.iter().all(|v| (v - 0.5).abs() < 1e-6));
}

#[test]
fn a_linear_ramp_survives_the_way_there_and_back() {
    // Averaging and linear interpolation both keep a ramp, away from the border: shows that no half pixel is lost. A
    // fractional ratio averages a staircase, which is the ramp within an eighth of a step; half a pixel would be 1.5.
    for (source, tolerance) in [([120, 90], 1e-3), ([100, 80], 0.3)] {
        let f = Frame::fit(source, 40).unwrap();
        let ramp = Array3::from_shape_fn((1, source[0], source[1]), |(_, r, c)| (2 * r + c) as f32);
        let back = f.undo(f.apply(&ramp).unwrap().index_axis(Axis(0), 0)).unwrap();
        for r in 3..source[0] - 3 {
            for c in 3..source[1] - 3 {
                let (found, expected) = (back[[r, c]], ramp[[0, r, c]]);
                let error = (found - expected).abs();
                assert!(error < tolerance, "{source:?} at [{r}, {c}]: found {found}, expected {expected}");
            }
        }
    }
}

#[test]
fn a_mask_comes_back_where_it_was() {
    let f = Frame::fit([128, 128], 32).unwrap();
    let mask = Array2::from_shape_fn((32, 32), |(r, c)| (8..16).contains(&r) && (4..20).contains(&c));
    let expected = Array2::from_shape_fn((128, 128), |(r, c)| (32..64).contains(&r) && (16..80).contains(&c));
    assert_eq!(f.apply_mask(&expected).unwrap(), mask);
    let found = f.undo_mask(&mask).unwrap();
    let wrong = found.iter().zip(&expected).filter(|(a, b)| a != b).count();
    // Linear interpolation rounds the four corners.
    assert!(wrong <= 4 * 4, "{wrong} pixels differ");
}

#[test]
fn wrong_shapes_are_refused() {
    let f = Frame::fit([10, 12], 8).unwrap();
    let (image, x) = (noise(2, [10, 12]), noise(2, [8, 8]));
    assert!(f.apply(&noise(2, [12, 10])).is_err());
    assert!(f.undo(noise(1, [8, 9]).index_axis(Axis(0), 0)).is_err());
    assert!(f.reconstruct(&image, &x, &noise(1, [8, 8]), &[1.0, 1.0]).is_err());
    assert!(f.reconstruct(&image, &x, &x, &[1.0]).is_err());
    assert!(f.reconstruct(&image, &x, &x, &[1.0, 1.0]).is_ok());
}

proptest! {
    #[test]
    fn coordinates_round_trip_exactly(
        h in 1usize..3000, w in 1usize..3000, size in 1usize..600,
        at in (0.0f64..1.0, 0.0f64..1.0),
    ) {
        let f = Frame::fit([h, w], size).unwrap();
        let whole = [(at.0 * h as f64).floor(), (at.1 * w as f64).floor()];
        prop_assert_eq!(f.to_source(f.to_frame(whole)), whole);
        let fine = [at.0 * h as f64, at.1 * w as f64].map(|v| (v * GRID).round() / GRID);
        prop_assert_eq!(f.to_source(f.to_frame(fine)), fine);
    }

    #[test]
    fn padding_is_undone_bit_for_bit(h in 1usize..40, w in 1usize..40, more in 0usize..9) {
        let f = Frame::fit([h, w], h.max(w) + more).unwrap();
        let image = noise(2, [h, w]);
        let framed = f.apply(&image).unwrap();
        for c in 0..2 {
            let back = f.undo(framed.index_axis(Axis(0), c)).unwrap();
            prop_assert!(back.iter().zip(image.index_axis(Axis(0), c)).all(|(a, b)| a.to_bits() == b.to_bits()));
        }
        prop_assert_eq!(framed.iter().filter(|v| **v != 0.0).count(), image.iter().filter(|v| **v != 0.0).count());
    }

    #[test]
    fn no_change_gives_the_original_bit_for_bit(h in 1usize..60, w in 1usize..60, size in 1usize..40) {
        let f = Frame::fit([h, w], size).unwrap();
        let original = noise(1, [h, w]).mapv(|v| 4000.0 * v - 1000.0);
        let x = f.apply(&noise(1, [h, w])).unwrap();
        let out = f.reconstruct(&original, &x, &x, &[731.5]).unwrap();
        prop_assert!(out.iter().zip(&original).all(|(a, b)| a.to_bits() == b.to_bits()));
    }
}
