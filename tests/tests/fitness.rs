//! Whether images are like a bundle's training cohort: the shipped bundles, on images that no training has seen.

use anomalens_cohort::Cohort;
use anomalens_cohort::synthetic::{self, Format, Settings, Source};
use anomalens_method::fitness::{Sketch, judge};
use anomalens_models::fitness::Fitness;
use anomalens_models::image::UnitImage;
use anomalens_models::manifest::Manifest;
use anomalens_runtime::bundle::Bundle;
use anomalens_runtime::engine::{self, EngineOptions};
use anomalens_runtime::fitness::noise_errors;
use anomalens_tests::root;
use ndarray::{Array2, Array3, Axis, concatenate, s};

/// Held-out images are wrongly warned of at most so often.
const MOST_FALSE: f64 = 0.05;
/// Images that are unlike the cohort are warned of at least so often.
const LEAST_FOUND: f64 = 0.95;
/// Held-out images of a kind.
const IMAGES: usize = 200;

/// Images of another seed than any training's; `None`, said aloud, where the template of the brains is not there.
fn held_out(anatomy: &str) -> Option<Vec<Array3<f32>>> {
    let source = match anatomy {
        "chest" => Source::Chest,
        _ => match Source::mni152_from_environment() {
            Ok(source) => source,
            Err(error) => {
                assert!(std::env::var_os("CI").is_none(), "CI must have the template: {error}");
                eprintln!("SKIPPED: {error}");
                return None;
            }
        },
    };
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("cohort");
    let settings = Settings { slices: IMAGES, seed: 1000, size: 64, source, first: 1 };
    synthetic::write(&folder, Format::Arrays, &settings, |_, _| true).unwrap();
    let cohort = Cohort::open(&folder).unwrap();
    Some((0..IMAGES).map(|i| cohort.image(i).unwrap()).collect())
}

fn unit(pixels: &Array3<f32>) -> UnitImage {
    UnitImage::new("test", pixels.clone()).unwrap()
}

/// A bundle's manifest and what its cohort looks like.
fn shipped(bundle: &str) -> (Manifest, Fitness) {
    let folder = root().join("models").join(bundle);
    let manifest = Manifest::read(&folder).unwrap();
    manifest.check_files(&folder).unwrap();
    let fitness = Fitness::read(&folder, &manifest).unwrap();
    (manifest, fitness.unwrap_or_else(|| panic!("{bundle} has no fitness.json")))
}

/// The share that is warned of; with `errors` [N, levels], also by them.
fn warned(fitness: &Fitness, images: &[Array3<f32>], errors: Option<&Array2<f64>>) -> f64 {
    let fits = |(i, image): (usize, &Array3<f32>)| {
        let errors = errors.map(|errors| errors.row(i).to_vec());
        judge(fitness, &Sketch::of(&unit(image)), errors.as_deref()).fits()
    };
    images.iter().enumerate().filter(|pair| !fits(*pair)).count() as f64 / images.len() as f64
}

/// The image in a ring of dark bone and one of bright skin, some pixels wide each.
fn with_skull(image: &Array3<f32>) -> Array3<f32> {
    let (c, h, w) = image.dim();
    let mut inside =
        Array2::from_shape_fn((h, w), |(i, j)| image.slice(s![.., i, j]).iter().any(|&v| v > 0.0));
    // Without holes.
    for mut row in inside.rows_mut() {
        let filled = |row: &ndarray::ArrayViewMut1<'_, bool>| row.iter().position(|&v| v);
        if let Some(first) = filled(&row) {
            let last = row.iter().rposition(|&v| v).unwrap_or(first);
            row.slice_mut(s![first..=last]).fill(true);
        }
    }
    let mut out = image.clone();
    for step in 0..5 {
        let near = |i: usize, j: usize| {
            let (rows, columns) = (i.saturating_sub(1)..(i + 2).min(h), j.saturating_sub(1)..(j + 2).min(w));
            inside.slice(s![rows, columns]).iter().any(|&v| v)
        };
        let grown = Array2::from_shape_fn((h, w), |(i, j)| near(i, j));
        for (i, j) in (0..h).flat_map(|i| (0..w).map(move |j| (i, j))) {
            if grown[[i, j]] && !inside[[i, j]] && step > 0 {
                (0..c).for_each(|c| out[[c, i, j]] = if step < 3 { 0.1 } else { 0.8 });
            }
        }
        inside = grown;
    }
    out
}

/// Uniform noise, another for each image.
fn noise(image: &Array3<f32>) -> Array3<f32> {
    let mut state = image.iter().fold(1u32, |state, v| state.wrapping_mul(31).wrapping_add(v.to_bits()));
    image.mapv(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1u32 << 24) as f32
    })
}

type Change = fn(&Array3<f32>) -> Array3<f32>;

const UNLIKE: [(&str, Change); 5] = [
    ("upside down", |x| x.slice(s![.., ..;-1, ..]).to_owned()),
    ("turned by a quarter", |x| x.view().permuted_axes([0, 2, 1]).as_standard_layout().into_owned()),
    ("inverted", |x| x.mapv(|v| 1.0 - v)),
    ("inverted where it is filled", |x| x.mapv(|v| if v > 0.0 { 1.0 - v } else { v })),
    ("noise", noise),
];

/// One channel of a brain, or a radiograph in the place of every channel.
fn other_anatomy(images: &[Array3<f32>], channels: usize) -> Vec<Array3<f32>> {
    let one = |image: &Array3<f32>| {
        let last = image.slice(s![-1.., .., ..]);
        (1..channels).fold(last.to_owned(), |all, _| concatenate![Axis(0), all, last])
    };
    images.iter().map(one).collect()
}

/// The U-Net's error is left out here: `judge` takes the larger distance, so that with it no fewer are found.
#[test]
fn what_the_shipped_bundles_have_not_seen_is_warned_of() {
    let (Some(brains), Some(chests)) = (held_out("mni152"), held_out("chest")) else { return };
    let mut wrong = Vec::new();
    for (bundle, own, other) in [
        ("demo", &brains, &chests),
        ("demo-radiograph", &chests, &brains),
        ("demo-vae", &brains, &chests),
        ("demo-radiograph-vae", &chests, &brains),
    ] {
        let (manifest, fitness) = shipped(bundle);
        let is_brain = own == &brains;
        let mut cases = vec![("another anatomy", other_anatomy(other, manifest.preset.channels()))];
        cases.extend(UNLIKE.map(|(case, change)| (case, own.iter().map(change).collect())));
        if is_brain {
            cases.push(("with a skull", own.iter().map(with_skull).collect()));
        }
        for (case, images) in cases {
            let share = warned(&fitness, &images, None);
            println!("{bundle}, {case}: {share:.3}");
            if share < LEAST_FOUND {
                wrong.push(format!("{bundle}, {case}: {share}"));
            }
        }
        let mirrored: Vec<_> = own.iter().map(|x| x.slice(s![.., .., ..;-1]).to_owned()).collect();
        for (case, images) in [("held out", own), ("left to right", &mirrored)] {
            let share = warned(&fitness, images, None);
            println!("{bundle}, {case}: {share:.3}");
            if share > MOST_FALSE {
                wrong.push(format!("{bundle}, {case}: {share}"));
            }
        }
        // Ranges that are those of other statistics.
        let mut shuffled = fitness;
        shuffled.look.expected.ranges.rotate_left(1);
        assert!(warned(&shuffled, own, None) > 0.5, "{bundle}");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn held_out_images_are_rarely_warned_of_by_the_noise_prediction() {
    let engine = engine::open(&EngineOptions::default()).unwrap();
    for (bundle, anatomy, other) in [("demo", "mni152", "chest"), ("demo-radiograph", "chest", "mni152")] {
        let (Some(own), Some(other)) = (held_out(anatomy), held_out(other)) else { return };
        let (manifest, fitness) = shipped(bundle);
        let noise = fitness.noise.clone().unwrap();
        let mut opened = Bundle::open(&root().join("models").join(bundle), engine.as_ref(), false).unwrap();
        let mut errors = |images: &[Array3<f32>]| {
            let images: Vec<_> = images.iter().map(unit).collect();
            let go_on = &mut |_, _| std::ops::ControlFlow::Continue(());
            noise_errors(&mut opened, &images, &noise.noised, 4, go_on).unwrap().unwrap()
        };
        let own = &own[..IMAGES / 2];
        let share = warned(&fitness, own, Some(&errors(own)));
        println!("{bundle}, held out: {share:.3}");
        assert!(share <= MOST_FALSE, "{bundle}: {share}");
        // Errors of another anatomy, beside images that look as they should: it is the noise that tells.
        let strange = other_anatomy(&other[..16], manifest.preset.channels());
        let share = warned(&fitness, &own[..16], Some(&errors(&strange)));
        println!("{bundle}, noise prediction of another anatomy: {share:.3}");
        assert!(share >= LEAST_FOUND, "{bundle}: {share}");
    }
}
