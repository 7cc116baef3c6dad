//! For operators that are not read: what would do in their place.

/// The operator, and the nearest form that is read.
const NEAR: &[(&str, &str)] = &[
    ("ArgMax", "the logits themselves: an index has no gradient"),
    ("ArgMin", "the logits themselves: an index has no gradient"),
    ("Attention", "MatMul, Softmax, MatMul: export for opset 21 or earlier"),
    ("Celu", "Elu"),
    ("ConvInteger", "Conv of the model before it was quantised"),
    ("CumSum", "MatMul by a triangle of ones"),
    ("DequantizeLinear", "the model before it was quantised"),
    ("GatherElements", "Gather by the same indices along one axis (index_select)"),
    ("GatherND", "Gather by the same indices along one axis (index_select)"),
    ("GlobalLpPool", "ReduceL2"),
    ("GridSample", "Resize"),
    ("If", "the branch that is taken: export the model with the condition as a constant"),
    ("Loop", "the steps one after the other: export the model with a fixed count"),
    ("LpNormalization", "ReduceL2 and Div"),
    ("LpPool", "Mul, AveragePool, Sqrt"),
    ("MaxUnpool", "Resize"),
    ("Mish", "Mul of Tanh of Log of 1 + Exp"),
    ("QLinearConv", "Conv of the model before it was quantised"),
    ("QLinearMatMul", "MatMul of the model before it was quantised"),
    ("QuantizeLinear", "the model before it was quantised"),
    ("RMSNormalization", "Mul, ReduceMean, Sqrt, Div: export for opset 21 or earlier"),
    ("ReduceL1", "Abs and ReduceSum"),
    ("ReduceLogSumExp", "Exp, ReduceSum, Log"),
    ("ReduceMin", "Neg, ReduceMax, Neg"),
    ("ReduceSumSquare", "Mul and ReduceSum"),
    ("Scan", "the steps one after the other: export the model with a fixed count"),
    ("ScatterElements", "Concat of slices"),
    ("ScatterND", "Concat of slices"),
    ("Selu", "Elu and Mul"),
    ("Softplus", "Log of 1 + Exp"),
    ("Softsign", "Div by 1 + Abs"),
    ("Sum", "Add"),
    ("Swish", "Sigmoid and Mul"),
    ("ThresholdedRelu", "Where of Greater"),
    ("TopK", "ReduceMax"),
    ("Upsample", "Resize"),
];

/// What would do in the place of an operator, if anything is near.
pub(super) fn near(op: &str) -> Option<&'static str> {
    NEAR.iter().find(|(name, _)| *name == op).map(|(_, near)| *near)
}

#[cfg(test)]
mod tests {
    use super::NEAR;
    use crate::import::ops::names;

    #[test]
    fn what_is_near_is_not_read_itself_and_stands_in_order() {
        assert!(NEAR.iter().all(|(name, _)| !names().any(|read| read == *name)));
        assert!(NEAR.is_sorted_by_key(|(name, _)| *name));
    }
}
