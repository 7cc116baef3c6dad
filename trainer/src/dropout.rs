//! Dropout (Srivastava et al. 2014), which is no part of a network as a value: only training does it.
//!
//! guided-diffusion drops in each residual block, `out_layers.2`: after the SiLU and before the last convolution,
//! `out_layers.3`. That convolution is where the graph says the place.

use anomalens_models::graph::{Node, Op, Primitive};
use tch::{TchError, Tensor};

/// Module of the convolution whose operand is dropped from.
const BEFORE: &str = "out_layers.3";

/// Whether dropout acts on the operand of a node.
fn acts_on(node: &Node) -> bool {
    matches!(node.op, Op::Primitive(Primitive::Conv { .. }))
        && node.scope.strip_suffix(BEFORE).is_some_and(|block| block.ends_with('.'))
}

/// Sets a share `rate` of the values before each block's last convolution to 0 and divides the others by 1 − rate, by
/// libtorch's generator. For [`interpret::run_with`](crate::interpret::run_with). At rate 0 nothing is drawn.
pub fn dropout(rate: f64) -> impl Fn(&Node, &Tensor) -> Result<Option<Tensor>, TchError> {
    move |node, x| (rate > 0.0 && acts_on(node)).then(|| x.f_dropout(rate, true)).transpose()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use anomalens_models::graph::{Composite, Graph, ParamSource};
    use anomalens_models::nets;
    use anomalens_models::preset::Preset;
    use anomalens_models::weights::RandomWeights;
    use tch::{Device, Kind};

    use super::*;
    use crate::interpret::{Precision, run, run_with};
    use crate::weights::{Named, tensor};

    fn graphs() -> [Graph; 2] {
        let preset = Preset::load("tiny").unwrap();
        [nets::unet(&preset).unwrap(), nets::classifier(&preset).unwrap()]
    }

    /// Each residual block once, and there between the SiLU and the last convolution.
    #[test]
    fn it_stands_where_the_reference_has_it() {
        for graph in graphs() {
            let weight = |name: &str| name.ends_with(".out_layers.3.weight");
            let blocks = graph.params().iter().filter(|p| weight(&p.name)).count();
            let places: Vec<&Node> = graph.nodes().iter().filter(|node| acts_on(node)).collect();
            assert!(blocks > 4 && places.len() == blocks, "{}: {} of {blocks}", graph.name(), places.len());
            for node in places {
                let before = &graph.node(node.inputs[0]).op;
                assert_eq!(*before, Op::Composite(Composite::Silu), "{}", node.scope);
                // The block's first convolution follows a SiLU too, and is none of the places.
                assert!(!node.scope.contains("in_layers"), "{}", node.scope);
            }
        }
    }

    #[test]
    fn the_share_and_the_mean_are_right_and_rate_0_is_nothing() {
        const RATE: f64 = 0.3;
        let [graph, _] = graphs();
        let random = RandomWeights::new(1, graph.params());
        let named = graph.params().iter().map(|p| (p.name.clone(), tensor(&random.param(&p.name).unwrap())));
        let params = Named::new(named.collect());
        tch::manual_seed(1);
        let x = Tensor::rand([2, 4, 32, 32], (Kind::Float, Device::Cpu));
        let (t, y) = (Tensor::from_slice(&[10i64, 500]), Tensor::from_slice(&[0i64, 1]));
        let inputs = [("x", &x), ("t", &t), ("y", &y)];
        let plain = run(&graph, &params, &inputs, Precision::F32).unwrap().remove(0);
        let with = |rate| {
            let seen = RefCell::new(Vec::new());
            let drop = dropout(rate);
            let hook = |node: &Node, x: &Tensor| {
                let dropped = drop(node, x)?;
                if let Some(dropped) = &dropped {
                    seen.borrow_mut().push((x.copy(), dropped.copy()));
                }
                Ok(dropped)
            };
            let out = run_with(&graph, &params, &inputs, Precision::F32, &hook).unwrap().remove(0);
            (out, seen.into_inner())
        };
        let (out, seen) = with(0.0);
        assert!(seen.is_empty() && out == plain);

        let (out, seen) = with(RATE);
        assert!(out != plain);
        for (x, dropped) in &seen {
            let (n, zero) = (x.numel() as f64, dropped.eq(0.0).sum(Kind::Float).double_value(&[]));
            // Five deviations of a binomial.
            let tolerance = 5.0 * (RATE * (1.0 - RATE) / n).sqrt();
            assert!((zero / n - RATE).abs() < tolerance, "{} of {n} are zero", zero);
            let kept = dropped.ne(0.0);
            let error = (dropped.masked_select(&kept) - x.masked_select(&kept) / (1.0 - RATE)).abs().max();
            assert!(error.double_value(&[]) < 1e-5);
        }
        // Over many masks the mean is what there is without.
        let (x, _) = &seen[0];
        let many = 400;
        let sum = (0..many).fold(x.zeros_like(), |sum, _| sum + x.dropout(RATE, true));
        let error = (sum / f64::from(many) - x).abs().mean(Kind::Float) / x.abs().mean(Kind::Float);
        // The deviation of one mask is sqrt(0.3 / 0.7) of a value.
        assert!(error.double_value(&[]) < 0.05, "{error:?}");
    }
}
