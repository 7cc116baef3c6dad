use ndarray::{Array2, Array3, s};

use super::*;

/// A disc of tissue with a bright spot, and a healthy version without the spot.
fn example(channels: usize, size: usize) -> (Array3<f32>, Array3<f32>) {
    let distance = |y: usize, x: usize, cy: f32, cx: f32| {
        let (y, x) = (y as f32 / size as f32 - cy, x as f32 / size as f32 - cx);
        (y * y + x * x).sqrt()
    };
    let healthy = Array3::from_shape_fn((channels, size, size), |(c, y, x)| {
        let tissue = if distance(y, x, 0.5, 0.5) < 0.42 { 0.35 + 0.08 * c as f32 } else { 0.0 };
        tissue + if distance(y, x, 0.5, 0.5) < 0.12 { 0.15 } else { 0.0 }
    });
    let mut input = healthy.clone();
    for ((c, y, x), v) in input.indexed_iter_mut() {
        if distance(y, x, 0.35, 0.65) < 0.1 {
            *v += 0.1 + 0.12 * c as f32;
        } else {
            *v += 0.03 * ((y * 7 + x * 13 + c) % 11) as f32 / 11.0;
        }
    }
    (input, healthy)
}

fn draw(channels: usize, size: usize, aspect: f64) -> RgbImage {
    let (input, healthy) = example(channels, size);
    let map: Array2<f32> = (&input - &healthy).mapv(f32::abs).sum_axis(Axis(0));
    let full_scale = map.iter().copied().fold(0.0, f32::max);
    let threshold = full_scale / 2.0;
    let mask = map.mapv(|v| v > threshold);
    let names: Vec<String> =
        ["t1", "t1ce", "t2", "flair"][..channels].iter().map(|n| (*n).to_owned()).collect();
    Scene {
        title: "slice 3 of 12 - bundle demo 0123456789ab - untrained weights",
        channels: &names,
        input: input.view(),
        healthy: Some(healthy.view()),
        map: map.view(),
        mask: mask.view(),
        threshold,
        full_scale,
        aspect,
    }
    .draw()
}

/// Set `ANOMALENS_PICTURES` to a folder to look at what the tests draw.
fn keep(name: &str, picture: &RgbImage) {
    if let Some(folder) = std::env::var_os("ANOMALENS_PICTURES") {
        std::fs::write(std::path::Path::new(&folder).join(name), png(picture).unwrap()).unwrap();
    }
}

#[test]
fn pictures_show_every_tile() {
    for (channels, size, aspect, tiles) in
        [(1, 64, 1.0, 4), (4, 64, 1.0, 4), (2, 240, 1.0, 3), (1, 1024, 2.0, 4)]
    {
        let picture = draw(channels, size, aspect);
        keep(&format!("{channels}x{size}.png"), &picture);
        let target = if channels == 1 { 384 } else { 256 };
        let tile = TileSize::near(target, (size, size), aspect);
        assert!(picture.width() >= tiles * tile.width, "{channels} channels of {size}: {}", picture.width());
        for (colour, what) in [(WARNING, "warning"), (OUTLINE, "outline"), (TEXT, "label")] {
            assert!(picture.pixels().any(|p| *p == colour), "{channels} channels of {size}: no {what}");
        }
    }
}

#[test]
fn the_map_lies_over_the_channel_that_changed_most() {
    let (input, healthy) = example(3, 32);
    let (map, mask) = (Array2::zeros((32, 32)), Array2::from_elem((32, 32), false));
    let names: Vec<String> = ["a", "b", "c"].iter().map(|n| (*n).to_owned()).collect();
    let mut scene = Scene {
        title: "",
        channels: &names,
        input: input.view(),
        healthy: Some(healthy.view()),
        map: map.view(),
        mask: mask.view(),
        threshold: 0.0,
        full_scale: 0.0,
        aspect: 1.0,
    };
    assert_eq!(scene.most_changed(), 2);
    scene.healthy = Some(input.view());
    assert_eq!(scene.most_changed(), 0, "a tie goes to the first");
    let whole = scene.draw(); // a map of zeros has no full scale, and must not divide by it
    scene.healthy = None;
    // A row less.
    assert!(scene.draw().height() + 256 <= whole.height());
}

#[test]
fn the_warning_survives_a_narrow_picture() {
    let (input, healthy) = example(1, 8);
    let (input, healthy) = (input.slice(s![.., .., ..1]), healthy.slice(s![.., .., ..1]));
    let (map, mask) = (Array2::zeros((8, 1)), Array2::from_elem((8, 1), false));
    let names = ["x".to_owned()];
    let picture = Scene {
        title: "",
        channels: &names,
        input,
        healthy: Some(healthy),
        map: map.view(),
        mask: mask.view(),
        threshold: 0.0,
        full_scale: 1.0,
        aspect: 1.0,
    }
    .draw();
    assert!(picture.width() > Style::Headline.width(NOT_FOR_DIAGNOSTIC_USE));
}

#[test]
fn labels_of_numbers_are_short() {
    for (value, expected) in
        [(0.0, "0"), (0.5, "0.500"), (0.000_012, "1e-5"), (123.456, "123.456"), (5000.0, "5e3")]
    {
        assert_eq!(number(value), expected);
    }
}
