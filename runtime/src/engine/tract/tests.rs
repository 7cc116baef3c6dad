use super::*;
use crate::testing::onnx::{write_group_norm, write_weights};

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
