use super::*;
use crate::testing::images;
use crate::testing::onnx::{write_group_norm, write_products, write_unet, write_weights};

/// What a graph of f32 inputs becomes, operator by operator.
fn operators(path: &Path, shapes: &[&[usize]]) -> Vec<String> {
    let model = reader().model_for_path(path).unwrap();
    let model = optimised(model, shapes.iter().map(|shape| (f32::datum_type(), *shape))).unwrap();
    let words = |node: &TypedNode| format!("{} {}", node.op.name(), node.op.info().unwrap().join(" "));
    model.nodes.iter().map(words).collect()
}

#[test]
fn a_group_norm_takes_in_what_follows_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("group_norm.onnx");
    write_weights(folder.path(), 6);
    let of_norm = |tapped: bool| {
        write_group_norm(&path, 6, 5, 3, tapped);
        operators(&path, &[&[2, 6, 5, 5]])
    };
    let whole = of_norm(false);
    assert_eq!(whole.last().unwrap(), "Norm scale shift silu", "{whole:?}");
    // What others use stays outside.
    let tapped = of_norm(true);
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

/// Of a sum of 262,144 products, each rounded: in f64 blocks of a few dozen additions in f32.
const SUMMED: f64 = 1e-6;

#[test]
fn a_row_times_a_column_is_summed_in_one_pass() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("products.onnx");
    let length = 262_144;
    for columns in [1, 2] {
        write_products(&path, 3, length, columns);
        let found = operators(&path, &[&[1, 3, length], &[1, 3, length * columns]]);
        assert_eq!(found.iter().any(|op| op.starts_with("Dot")), columns == 1, "{found:?}");
    }
    write_products(&path, 3, length, 1);
    let [x, z] = [1, 2].map(|n| images((n, 1, 3, length)).slice_move(ndarray::s![n - 1.., 0, .., ..]));
    let inputs = [("x", &x), ("z", &z)].map(|(name, a)| (name, Tensor::F32(a.to_owned().into_dyn())));
    let mut session = TractEngine::open(&EngineOptions::default(), None).unwrap().session(&path).unwrap();
    let found = session.run(&inputs).unwrap().remove(0).1;
    for (channel, found) in found.iter().enumerate() {
        let products = || {
            let [x, z] = [&x, &z].map(|a| a.slice(ndarray::s![0, channel, ..]));
            x.into_iter().zip(z).map(|(x, z)| f64::from(x * z)).collect::<Vec<_>>()
        };
        let exact: f64 = products().iter().sum();
        let off = |sum: f32| (f64::from(sum) - exact).abs() / exact;
        assert!(off(*found) < SUMMED, "channel {channel}: {:.1e}", off(*found));
        // What is guarded against: one product after the other in f32.
        let in_turn = products().iter().fold(0f32, |sum, p| sum + *p as f32);
        assert!(off(in_turn) > SUMMED, "channel {channel}: {:.1e}", off(in_turn));
    }
}
