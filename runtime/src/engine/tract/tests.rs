use super::*;
use crate::testing::images;
use crate::testing::onnx::{write_group_norm, write_unet, write_weights};

/// What a group norm becomes, operator by operator.
fn operators(tapped: bool) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("group_norm.onnx");
    write_weights(folder.path(), 6);
    write_group_norm(&path, 6, 5, 3, tapped);
    let model = reader().model_for_path(&path).unwrap();
    let model = optimised(model, [(f32::datum_type(), [2, 6, 5, 5].as_slice())].into_iter()).unwrap();
    let words = |node: &TypedNode| format!("{} {}", node.op.name(), node.op.info().unwrap().join(" "));
    model.nodes.iter().map(words).collect()
}

#[test]
fn a_group_norm_takes_in_what_follows_it() {
    let whole = operators(false);
    assert_eq!(whole.last().unwrap(), "Norm scale shift silu", "{whole:?}");
    // What others use stays outside.
    let tapped = operators(true);
    assert!(tapped.iter().any(|operator| operator == "Norm scale shift"), "{tapped:?}");
    assert!(tapped.len() > whole.len(), "{tapped:?}");
}

#[test]
fn every_size_of_batch_is_computed_by_the_model_for_one_image() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("unet.onnx");
    write_weights(folder.path(), 3);
    write_unet(&path, 3, 4, true);
    let mut session = TractEngine::open(&EngineOptions::default(), None).unwrap().session(&path).unwrap();
    let x = images((3, 3, 4, 4)).into_dyn();
    let labels = ndarray::arr1(&[0i64, 1, 1]).into_dyn();
    let mut outputs = |images: std::ops::Range<usize>| {
        let slice = ndarray::Slice::from(images);
        let [t, y] = [0; 2].map(|_| Tensor::I64(labels.slice_axis(Axis(0), slice).to_owned()));
        let x = Tensor::F32(x.slice_axis(Axis(0), slice).to_owned());
        let found = session.run(&[("x", x), ("t", t), ("y", y)]).unwrap().remove(0).1;
        (found, session.compiled.as_ref().unwrap().0.clone())
    };
    let (whole, plan) = outputs(0..3);
    assert_eq!(plan, [vec![1, 3, 4, 4], vec![1], vec![1]]);
    for image in 0..3 {
        assert_eq!(outputs(image..image + 1).0, whole.slice_axis(Axis(0), (image..image + 1).into()));
    }
}
