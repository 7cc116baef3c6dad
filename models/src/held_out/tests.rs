use ndarray::{Array, Array3, Array4, Dimension, s};
use ndarray_npy::{WritableElement, WriteNpyExt};

use super::*;

/// Four channels of 4 × 4 pixels.
fn preset() -> Preset {
    let mut preset = Preset::load("tiny").unwrap();
    preset.image.size = 4;
    preset
}

fn write<A: WritableElement, D: Dimension>(path: &Path, array: &Array<A, D>) {
    array.write_npy(std::fs::File::create(path).unwrap()).unwrap();
}

/// Images whose first pixel, times 100, is their number, black in the last column.
fn images(n: usize) -> Array4<f32> {
    Array4::from_shape_fn((n, 4, 4, 4), |(i, _, row, column)| match (row, column) {
        (0, 0) => i as f32 / 100.0,
        (_, 3) => 0.0,
        _ => 0.5,
    })
}

#[test]
fn marked_images_are_taken_evenly() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join(IMAGES), &images(60));
    // Without masks, of all.
    let held_out = HeldOut::read(folder.path(), &preset()).unwrap();
    assert_eq!(held_out.positions(), [0, 7, 15, 22, 30, 37, 45, 52]);
    assert!(held_out.truths().is_none());
    // Nothing is marked: the same.
    let mut masks = Array3::<u8>::zeros((60, 4, 4));
    write(&folder.path().join(MASKS), &masks);
    let unmarked = HeldOut::read(folder.path(), &preset()).unwrap();
    assert_eq!((unmarked.positions(), unmarked.truths()), (held_out.positions(), None));
    // Every third image is: of those alone.
    masks.slice_mut(s![..;3, 1, 2]).fill(4);
    write(&folder.path().join(MASKS), &masks);
    let held_out = HeldOut::read(folder.path(), &preset()).unwrap();
    assert_eq!(held_out.positions(), [0, 6, 15, 21, 30, 36, 45, 51]);
    for (i, (image, truth)) in held_out.images().iter().zip(held_out.truths().unwrap()).enumerate() {
        assert_eq!(image.pixels()[[2, 0, 0]], held_out.positions()[i] as f32 / 100.0);
        assert_eq!(truth.iter().position(|&v| v), Some(6));
    }
    assert_ne!(held_out.sha256(), unmarked.sha256());
    // Few images are all taken.
    write(&folder.path().join(MASKS), &masks.slice(s![..2, .., ..]).to_owned());
    write(&folder.path().join(IMAGES), &images(2));
    assert_eq!(HeldOut::read(folder.path(), &preset()).unwrap().positions(), [0]);
}

#[test]
fn the_hash_is_of_the_pixels() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join(IMAGES), &images(2));
    let found = HeldOut::read(folder.path(), &preset()).unwrap();
    let file = std::fs::read(folder.path().join(IMAGES)).unwrap();
    // Both images are taken, so what is hashed is what stands at the end of the file.
    let pixels = &file[file.len() - 2 * 4 * 4 * 4 * 4..];
    let expected: String = Sha256::digest(pixels).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(found.sha256(), expected);
}

#[test]
fn what_does_not_fit_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (images_path, masks_path) = (folder.path().join(IMAGES), folder.path().join(MASKS));
    let refusal = || HeldOut::read(folder.path(), &preset()).map(drop).unwrap_err().to_string();
    assert!(refusal().contains("images.npy") && refusal().contains("anomalens-cohort"), "{}", refusal());
    std::fs::write(&images_path, "no array").unwrap();
    assert!(refusal().contains("expected an .npy array of f32"), "{}", refusal());
    std::fs::write(&images_path, "").unwrap();
    assert!(refusal().contains("expected an .npy array of f32"), "{}", refusal());
    write(&images_path, &images(2).mapv(f64::from));
    assert!(refusal().contains("expected an .npy array of f32"), "{}", refusal());
    write(&images_path, &images(3).slice(s![.., ..2, .., ..]).to_owned());
    assert!(refusal().contains("shape [3, 2, 4, 4], expected [N, 4, 4, 4]"), "{}", refusal());
    write(&images_path, &images(0));
    assert!(refusal().contains("N at least 1"), "{}", refusal());
    write(&images_path, &images(1).mapv(|v| v + 0.7));
    assert!(refusal().contains("image 0") && refusal().contains("expected [0, 1]"), "{}", refusal());
    write(&images_path, &images(3));
    write(&masks_path, &Array3::<u8>::zeros((2, 4, 4)));
    assert!(refusal().contains("masks.npy': shape [2, 4, 4], expected [3, 4, 4]"), "{}", refusal());
    write(&masks_path, &Array3::<f32>::zeros((3, 4, 4)));
    assert!(refusal().contains("masks.npy") && refusal().contains("u8 [N, H, W]"), "{}", refusal());
    // A file that ends early: its header promises more than it holds.
    std::fs::remove_file(&masks_path).unwrap();
    let file = std::fs::read(&images_path).unwrap();
    std::fs::write(&images_path, &file[..file.len() - 4]).unwrap();
    assert!(refusal().contains("images.npy"), "{}", refusal());
}
