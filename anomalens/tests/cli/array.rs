//! Arrays in, arrays out: parity with the reference, partial failure, every x_t.

use std::path::Path;

use ndarray::{Array, Array1, Array4, Array5, ArrayD, Axis, Dimension, Ix4, concatenate, s};
use ndarray_npy::{NpzReader, write_npy};

use crate::support::{golden, listing, max_abs, npy, run, tiny, translate, x0};

/// End to end, in f32, against the reference's f32 (golden README: 7e-4 and 5e-6 between f32 and f64).
const DDIM10: f32 = 3e-3;
const FULL1000: f32 = 1e-5;

fn save<D: Dimension>(folder: &Path, array: &Array<f32, D>) -> std::path::PathBuf {
    let path = folder.join("input.npy");
    write_npy(&path, array).unwrap();
    path
}

fn many(n: usize) -> Array4<f32> {
    let x = x0().into_dimensionality::<Ix4>().unwrap();
    concatenate(Axis(0), &vec![x.view(); n]).unwrap()
}

#[test]
fn trajectories_are_the_references() {
    struct Case {
        name: &'static str,
        options: &'static [&'static str],
        tolerance: f32,
    }
    let cases = [
        Case { name: "ddim10", options: &["--respacing", "ddim10"], tolerance: DDIM10 },
        Case { name: "full1000", options: &[], tolerance: FULL1000 },
    ];
    let folder = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    for case in &cases {
        for engine in ["ort", "tract"] {
            for scale in ["0", "100"] {
                let out = folder.path().join(format!("{}-{engine}-{scale}", case.name));
                let steps = out.join("steps.npz");
                let mut options = vec!["--noise-level", "4", "--engine", engine, "--scale", scale];
                options.extend(["--trajectory", steps.to_str().unwrap()]);
                options.extend(case.options);
                translate(&golden("ddim/x0.npy"), tiny(), &out, &options).expect(0, &[]);

                let expected = |scale: &str| npy(&golden(&format!("ddim/{}_dec_s{scale}.npy", case.name)));
                let end = |array: &ArrayD<f32>| array.index_axis(Axis(0), 3).to_owned();
                let healthy = npy(&out.join("healthy.npy"));
                let off = max_abs(&healthy, &end(&expected(scale)));
                let other = if scale == "0" { "100" } else { "0" };
                let confused = max_abs(&healthy, &end(&expected(other)));
                let mut npz = NpzReader::new(std::fs::File::open(&steps).unwrap()).unwrap();
                let encode: Array5<f32> = npz.by_name("encode").unwrap();
                let up = max_abs(&encode, &npy(&golden(&format!("ddim/{}_enc.npy", case.name))));
                let decode: Array5<f32> = npz.by_name("decode").unwrap();
                let down = max_abs(&decode, &expected(scale));
                println!("{} {engine} s={scale}: end {off:.1e}, up {up:.1e}, down {down:.1e}", case.name);
                if off.max(up).max(down) > case.tolerance {
                    wrong.push(format!("{} {engine} s={scale}: {off:.1e} {up:.1e} {down:.1e}", case.name));
                }
                assert!(confused > case.tolerance, "{}: s = {other} would pass: {confused:.1e}", case.name);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn results_have_the_inputs_shape() {
    let folder = tempfile::tempdir().unwrap();
    let single = save(folder.path(), &many(1).index_axis(Axis(0), 0).to_owned());
    let out = folder.path().join("single");
    translate(&single, tiny(), &out, &[]).expect(0, &["not for diagnostic use", "random <weights>"]);
    assert_eq!(npy(&out.join("healthy.npy")).shape(), [4, 32, 32]);
    let map = npy(&out.join("map.npy"));
    assert_eq!(map.shape(), [32, 32]);
    let mask: ArrayD<bool> = ndarray_npy::read_npy(out.join("mask.npy")).unwrap();
    let inside = mask.iter().filter(|set| **set).count();
    assert!(inside > 0 && inside < 32 * 32, "{inside}");
    assert_eq!(listing(&out), ["0001-picture.png", "healthy.npy", "map.npy", "mask.npy", "report.html"]);
    let healthy = npy(&out.join("healthy.npy"));
    let sum = (&many(1).index_axis(Axis(0), 0) - &healthy).mapv(f32::abs).sum_axis(Axis(0));
    assert!(max_abs(&sum, &map) < 1e-6);

    let report = std::fs::read_to_string(out.join("report.html")).unwrap();
    for words in
        ["NOT FOR DIAGNOSTIC USE", "random &lt;weights&gt;", "data:image/png;base64,", "gradient scale"]
    {
        assert!(report.contains(words), "no '{words}'");
    }
    assert!(!report.contains("http:") && !report.contains("https:"), "the report is self-contained");
}

#[test]
fn smaller_images_are_padded_and_larger_ones_resized() {
    let folder = tempfile::tempdir().unwrap();
    for (side, what) in [(20, "padded"), (50, "averaged down")] {
        let image = Array4::from_shape_fn((1, 4, side, side), |(_, c, y, x)| {
            ((c + 3 * y + 5 * x) % 17) as f32 / 17.0
        });
        let out = folder.path().join(what);
        translate(&save(folder.path(), &image), tiny(), &out, &[]).expect(0, &[]);
        assert_eq!(npy(&out.join("healthy.npy")).shape(), [1, 4, side, side]);
        assert_eq!(npy(&out.join("map.npy")).shape(), [1, side, side]);
        assert!(std::fs::read_to_string(out.join("report.html")).unwrap().contains(what));
    }
}

#[test]
fn what_fails_is_left_out_and_said() {
    let folder = tempfile::tempdir().unwrap();
    let mut images = many(3);
    images.slice_mut(s![0, 2, .., ..]).fill(0.5);
    let input = save(folder.path(), &images);
    let (out, steps) = (folder.path().join("out"), folder.path().join("steps.npz"));
    let more = ["--batch", "2", "--trajectory", steps.to_str().unwrap()];
    let done = translate(&input, tiny(), &out, &more);
    done.expect(
        3,
        &["slice 1 failed: input.npy[0]: channel 2 is constant (0.5 everywhere)", "2 of 3 slices"],
    );
    let healthy = npy(&out.join("healthy.npy"));
    assert!(healthy.index_axis(Axis(0), 0).iter().all(|v| v.is_nan()));
    assert!(healthy.index_axis(Axis(0), 2).iter().all(|v| v.is_finite()));
    assert!(
        std::fs::read_to_string(out.join("report.html")).unwrap().contains("failed: input.npy[0]: channel 2")
    );
    let mut npz = NpzReader::new(std::fs::File::open(&steps).unwrap()).unwrap();
    for (name, expected) in
        [("slices", vec![1i64, 2]), ("encode_levels", vec![0, 1, 2]), ("decode_levels", vec![1, 0])]
    {
        let found: Array1<i64> = npz.by_name(name).unwrap();
        assert_eq!(found.to_vec(), expected, "{name}");
    }
    let decode: Array5<f32> = npz.by_name("decode").unwrap();
    assert_eq!(decode.dim(), (2, 2, 4, 32, 32));
}

#[test]
fn no_image_left_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    let nan = {
        let mut images = many(1);
        images[[0, 1, 2, 3]] = f32::NAN;
        images
    };
    let cases = [
        (nan, "error: input.npy[0]: value at [channel 1, row 2, column 3] is NaN"),
        (
            Array4::from_elem((2, 4, 32, 32), 0.25),
            "all 2 slices failed; the first: input.npy[0]: channel 0 is constant",
        ),
        (many(1) * 2.0, "expected [0, 1]"),
        (
            many(1).slice(s![.., ..3, .., ..]).to_owned(),
            "3 channel(s), bundle 'tiny' wants 4 (t1, t1ce, t2, flair)",
        ),
    ];
    for (images, words) in cases {
        let out = folder.path().join("out");
        translate(&save(folder.path(), &images), tiny(), &out, &[]).expect(1, &["error: ", words]);
        assert_eq!(listing(folder.path()), ["input.npy"], "{words}");
    }
}

#[test]
fn noise_of_the_published_script() {
    let folder = tempfile::tempdir().unwrap();
    let noise = folder.path().join("noise.npy");
    write_npy(&noise, &Array4::<f32>::zeros((1, 4, 32, 32))).unwrap();
    let translated = |name: &str, more: &[&str]| {
        let out = folder.path().join(name);
        let options = [&["--noise-level", "4", "--schedule", "reference"], more].concat();
        translate(&golden("ddim/x0.npy"), tiny(), &out, &options)
            .expect(0, &["reference (published script)"]);
        npy(&out.join("healthy.npy"))
    };
    let seeded = translated("seeded", &["--seed", "7"]);
    assert_eq!(seeded, translated("again", &["--seed", "7"]));
    assert_ne!(seeded, translated("other", &["--seed", "8"]));
    assert_ne!(seeded, translated("zeros", &["--first-noise", noise.to_str().unwrap()]));

    write_npy(&noise, &Array4::<f32>::zeros((2, 4, 32, 32))).unwrap();
    let out = folder.path().join("shape");
    let more = ["--noise-level", "4", "--schedule", "reference", "--first-noise", noise.to_str().unwrap()];
    translate(&golden("ddim/x0.npy"), tiny(), &out, &more).expect(1, &["first noise: shape [2, 4, 32, 32]"]);
    assert!(!out.exists());
}

#[test]
fn ddpm_sampling_is_repeated_by_its_seed() {
    let folder = tempfile::tempdir().unwrap();
    let translated = |name: &str, more: &[&str]| {
        let out = folder.path().join(name);
        let options = [&["--noise-level", "4", "--method", "ddpm"], more].concat();
        translate(&golden("ddim/x0.npy"), tiny(), &out, &options)
            .expect(0, &["DDPM sampling, noise from seed"]);
        npy(&out.join("healthy.npy"))
    };
    let seeded = translated("seeded", &["--seed", "7"]);
    assert_eq!(seeded, translated("again", &["--seed", "7"]));
    assert_ne!(seeded, translated("other", &[]));
}

#[test]
fn inspect_says_what_an_array_is() {
    let x = golden("ddim/x0.npy");
    run(&[Path::new("inspect"), &x]).expect(0, &["1 image(s) of 4 channel(s), 32 x 32"]);
    run(&[Path::new("inspect"), &x, Path::new("--bundle"), tiny()])
        .expect(0, &["32 x 32 taken as it is", "1 of 1 slices can be translated"]);
}
