use ndarray::Axis;

use super::*;
use crate::testing::*;

/// Halves what is brighter than 0.5, and remembers how many images it was given at once.
struct Halves {
    batches: Vec<usize>,
    /// What is left of each image's rows.
    rows: usize,
}

impl Halves {
    fn new() -> Self {
        Self { batches: Vec::new(), rows: 4 }
    }
}

impl Healer for Halves {
    fn healthy(&mut self, x: &Array4<f32>) -> Result<Array4<f32>, NetworkError> {
        self.batches.push(x.len_of(Axis(0)));
        Ok(x.slice(s![.., .., ..self.rows, ..]).mapv(|v| if v > 0.5 { v / 2.0 } else { v }))
    }
}

fn unit_images(n: usize) -> Vec<UnitImage> {
    images((n, 2, 4, 4)).outer_iter().map(|image| UnitImage::new("test", image.to_owned()).unwrap()).collect()
}

fn run(net: &mut dyn Healer, images: &[UnitImage], batch: usize) -> Result<Healed, TranslateError> {
    heal(net, images, batch, &mut |_, _| ControlFlow::Continue(()))
}

#[test]
fn the_map_is_what_the_network_has_changed() {
    let images = unit_images(3);
    let healed = run(&mut Halves::new(), &images, 2).unwrap();
    assert_eq!((healed.healthy.dim(), healed.maps.len(), healed.calls), ((3, 2, 4, 4), 3, 2));
    for (i, image) in images.iter().enumerate() {
        let pixels = image.pixels();
        for ((h, w), &found) in healed.maps[i].values().indexed_iter() {
            let lost = |c: usize| if pixels[[c, h, w]] > 0.5 { pixels[[c, h, w]] / 2.0 } else { 0.0 };
            assert!((found - (lost(0) + lost(1))).abs() < 1e-6, "image {i}, [{h}, {w}]: {found}");
        }
        // Another image's map is another one.
        assert_ne!(healed.maps[i], healed.maps[(i + 1) % 3]);
    }
}

#[test]
fn results_do_not_depend_on_the_batch() {
    let images = unit_images(5);
    for (batch, calls) in [(1, vec![1; 5]), (2, vec![2, 2, 1]), (3, vec![3, 2]), (9, vec![5])] {
        let mut net = Halves::new();
        let healed = run(&mut net, &images, batch).unwrap();
        assert_eq!((healed.calls, &net.batches), (calls.len(), &calls));
        let alone = run(&mut Halves::new(), &images, 1).unwrap();
        assert_eq!((healed.healthy, healed.maps), (alone.healthy, alone.maps), "batch {batch}");
    }
}

#[test]
fn cancelling_stops_between_batches() {
    let (images, mut net, mut heard) = (unit_images(5), Halves::new(), Vec::new());
    let result = heal(&mut net, &images, 2, &mut |done, total| {
        heard.push((done, total));
        if done == 4 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let error = result.unwrap_err();
    assert!(error.cancelled(), "{error}");
    assert_eq!((heard, net.batches), (vec![(2, 5), (4, 5)], vec![2, 2]));
}

#[test]
fn what_cannot_be_is_refused() {
    let images = unit_images(2);
    assert!(matches!(run(&mut Halves::new(), &[], 1), Err(TranslateError::NoImages)));
    assert!(matches!(run(&mut Halves::new(), &images, 0), Err(TranslateError::NoBatch)));
    let other = UnitImage::new("test", images[0].pixels().slice(s![.., ..3, ..]).to_owned()).unwrap();
    let mixed = [images[0].clone(), other];
    assert!(matches!(run(&mut Halves::new(), &mixed, 1), Err(TranslateError::ImageShape { index: 1, .. })));
    let error = run(&mut Halves { rows: 3, ..Halves::new() }, &images, 1).unwrap_err().to_string();
    assert!(error.contains("healthy version: shape [1, 2, 3, 4]"), "{error}");
}
