use ndarray::s;

use super::*;
use crate::testing::{images, linear1000, max_abs_difference};

#[test]
fn an_images_noise_is_a_function_of_the_seed_and_its_pixels() {
    let all = images((3, 1, 4, 4));
    let draw = |seed, images: &Array4<f32>| {
        let mut noise = Noise::new(seed, images);
        [noise.draw(images.dim()), noise.draw(images.dim())]
    };
    let together = draw(1, &all);
    let turned = all.slice(s![..;-1, .., .., ..]).to_owned();
    for (a, b) in together.iter().zip(draw(1, &turned)) {
        assert_eq!(a.slice(s![..;-1, .., .., ..]), b, "the order");
    }
    let alone = all.slice(s![1..2, .., .., ..]).to_owned();
    for (a, b) in together.iter().zip(draw(1, &alone)) {
        assert_eq!(a.slice(s![1..2, .., .., ..]), b, "the batch");
    }
    assert_ne!(together[0], together[1]);
    assert_ne!(together, draw(2, &all));
}

#[test]
fn noise_is_standard_normal_and_mixed_to_its_level() {
    let all = images((2, 1, 64, 64));
    let noise = Noise::new(3, &all).draw(all.dim());
    let mean = noise.mapv(f64::from).mean().unwrap();
    let deviation = noise.mapv(f64::from).std(0.0);
    // The deviation of the mean of 8192 values is 0.011.
    assert!(mean.abs() < 0.04 && (deviation - 1.0).abs() < 0.04, "{mean} {deviation}");

    let schedule = linear1000();
    let level = NoiseLevel::new(500);
    let alpha_bar = schedule.alpha_bar(level).unwrap();
    let noised = noised(&schedule, level, &all, &noise).unwrap();
    let expected = &all * alpha_bar.sqrt() as f32 + &noise * (1.0 - alpha_bar).sqrt() as f32;
    assert!(max_abs_difference(noised.pixels(), &expected) < 1e-6);
    assert_eq!(noised.level(), level);
    let error = super::noised(&schedule, level, &all, &images((1, 1, 2, 2))).unwrap_err();
    assert!(matches!(error, DdimError::Shape { what: "noise", .. }), "{error}");
}
