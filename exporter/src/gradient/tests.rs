//! Every rule against finite differences in f64, on odd shapes, and a wrong rule that must fail.

pub(super) mod cases;
mod windows;

use std::collections::{BTreeSet, HashMap};

use anomalens_models::graph::reference::{self, Value};
use anomalens_models::graph::{Builder, DType, Graph, GraphError, NodeId, Op, ParamSpec, Shape};
use anomalens_models::nets;
use anomalens_models::preset::{Pool, Preset};
use ndarray::{ArrayD, IxDyn};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use super::{GradientError, Rule, Step, backward, norm, rules};
use cases::{Case, cases};

/// Central differences with h = 1e-5 in f64: truncation about h² = 1e-10, rounding about 1e-16 / h = 1e-11.
pub(super) const FINITE_DIFFERENCE: f64 = 1e-7;
const STEP: f64 = 1e-5;
const BATCH: usize = 2;

fn normal(rng: &mut ChaCha8Rng, shape: &[usize]) -> ArrayD<f64> {
    ArrayD::from_shape_simple_fn(IxDyn(shape), || StandardNormal.sample(rng))
}

fn random_params(rng: &mut ChaCha8Rng, graph: &Graph) -> HashMap<String, ArrayD<f32>> {
    let value = |spec: &ParamSpec| normal(rng, &spec.shape).mapv(|v| v as f32);
    let names = graph.params().iter().map(|spec| spec.name.clone());
    names.zip(graph.params().iter().map(value)).collect()
}

/// The graph of two inputs `x` and `z` and an output `out`, as it is built.
fn closed(
    name: &str,
    shapes: [&[usize]; 2],
    build: &dyn Fn(&mut Builder, NodeId, NodeId) -> Result<NodeId, GraphError>,
) -> Result<Graph, GraphError> {
    let mut b = Builder::new(name);
    let [x, z] = [("x", shapes[0]), ("z", shapes[1])]
        .map(|(name, shape)| b.input(name, DType::F32, Shape::batch(shape)));
    let out = build(&mut b, x, z)?;
    b.output("out", out);
    Ok(b.finish())
}

/// What a case's graph computes, and what it computes with its norms opened.
pub(super) fn forward(case: &Case) -> [ArrayD<f64>; 2] {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let graph = closed(case.name, [case.x, case.z], &case.build).unwrap();
    let params = random_params(&mut rng, &graph);
    let [x, z] = [case.x, case.z].map(|s| Value::Float(normal(&mut rng, &[&[BATCH], s].concat())));
    let opened = norm::opened(&graph).unwrap();
    let inputs = [("x", x), ("z", z)];
    [graph, opened].map(|graph| reference::run(&graph, &params, &inputs).unwrap().remove(0).1)
}

/// [`error_of`] for a case.
pub(super) fn error(case: &Case, wrt: usize, rule: &Rule) -> Result<f64, GradientError> {
    error_of(case.name, [case.x, case.z], &case.build, wrt, rule)
}

/// |⟨gradient, d⟩ − (f(x + hd) − f(x − hd)) / 2h| with f = ⟨c, graph⟩, over the size of the right-hand side.
fn error_of(
    name: &str,
    shapes: [&[usize]; 2],
    build: &dyn Fn(&mut Builder, NodeId, NodeId) -> Result<NodeId, GraphError>,
    wrt: usize,
    rule: &Rule,
) -> Result<f64, GradientError> {
    let mut rng = ChaCha8Rng::seed_from_u64(7 + wrt as u64);
    let opened = norm::opened(&closed(name, shapes, build)?)?;
    let out = opened.output("out")?;
    let ids: Vec<NodeId> = opened.inputs().map(|(_, id)| id).collect();
    let mut b = Builder::extend(opened, name);
    let shape = b.shape(out).clone();
    let c = b.input("c", DType::F32, shape.clone());
    let gradient = backward(&mut b, out, c, ids[wrt], rule)?;
    b.output("out", out);
    b.output("gradient", gradient);
    let graph = b.finish();

    let params = random_params(&mut rng, &graph);
    let point = shapes.map(|shape| normal(&mut rng, &[&[BATCH], shape].concat()));
    let direction = normal(&mut rng, point[wrt].shape());
    let c = normal(&mut rng, &shape.concrete(BATCH));
    let run = |offset: f64| {
        let mut at = point.clone();
        at[wrt] = &at[wrt] + &(&direction * offset);
        let [x, z] = at.map(Value::Float);
        reference::run(&graph, &params, &[("x", x), ("z", z), ("c", Value::Float(c.clone()))]).unwrap()
    };
    let f = |offset: f64| (&run(offset)[0].1 * &c).sum();
    let expected = (f(STEP) - f(-STEP)) / (2.0 * STEP);
    let found = (&run(0.0)[1].1 * &direction).sum();
    Ok((found - expected).abs() / expected.abs().max(1.0))
}

#[test]
fn every_rule_agrees_with_finite_differences() {
    let mut failures = Vec::new();
    for case in cases() {
        for wrt in 0..2 {
            let error = error(&case, wrt, &rules::rule).unwrap();
            if error > FINITE_DIFFERENCE {
                failures.push(format!("{} with respect to operand {wrt}: {error:.1e}", case.name));
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

/// The checker must notice a rule that is off by a factor, whichever primitive it is for.
#[test]
fn a_wrong_rule_is_noticed() {
    for case in cases() {
        let primitive: &'static str = case.name.split(' ').next().unwrap();
        let wrong = move |b: &mut Builder, step: &Step<'_>, i: usize| {
            let right = rules::rule(b, step, i)?;
            if step.op.name() == primitive { Ok(b.scale(right, 1.001)?) } else { Ok(right) }
        };
        let worst = (0..2).map(|wrt| error(&case, wrt, &wrong).unwrap()).fold(0.0, f64::max);
        assert!(worst > 100.0 * FINITE_DIFFERENCE, "{}: a wrong rule passed with {worst:.1e}", case.name);
    }
}

/// Every primitive that the networks use is either checked above or says why it has no gradient.
#[test]
fn every_primitive_of_the_networks_is_checked() {
    const NONE: [&str; 8] =
        ["Input", "Param", "Constant", "Cast", "Sign", "Gather", "OneHot", "InstanceNormalization"];
    let checked: BTreeSet<&str> = cases().iter().map(|c| c.name.split(' ').next().unwrap()).collect();
    let mut preset = Preset::load("tiny").unwrap();
    let mut graphs = vec![nets::unet(&preset).unwrap()];
    for pool in [Pool::Attention, Pool::Adaptive, Pool::Spatial, Pool::SpatialV2] {
        preset.guided_mut().unwrap().classifier.pool = pool;
        let classifier = nets::classifier(&preset).unwrap();
        graphs.extend([super::classifier_gradient(&classifier).unwrap(), classifier]);
    }
    let [vae, gan] = ["demo-vae", "demo-fpgan"].map(|name| Preset::load(name).unwrap());
    graphs.extend([nets::vae(&vae), nets::one_pass(&vae)].map(Result::unwrap));
    graphs.extend([nets::fixed_point_generator(&gan), nets::fixed_point_critic(&gan)].map(Result::unwrap));
    for node in graphs.iter().map(Graph::expanded).flat_map(|graph| graph.nodes().to_vec()) {
        let name = node.op.name();
        assert!(checked.contains(name) || NONE.contains(&name), "{name} has no case");
    }
}

#[test]
fn the_gradient_keeps_the_classifiers_parameters() {
    let classifier = nets::classifier(&Preset::load("tiny").unwrap()).unwrap();
    let gradient: Graph = super::classifier_gradient(&classifier).unwrap();
    assert_eq!(gradient.params(), classifier.params());
    assert_eq!(gradient.inputs().map(|(n, _)| n).collect::<Vec<_>>(), ["x", "t", "y"]);
    assert!(gradient.nodes().iter().all(|n| matches!(n.op, Op::Primitive(_))));
}

#[test]
fn an_output_that_does_not_depend_on_the_input_is_an_error() {
    let mut b = Builder::new("apart");
    let [x, z] = ["x", "z"].map(|name| b.input(name, DType::F32, Shape::batch(&[3])));
    let out = b.mul(x, x).unwrap();
    let error = backward(&mut b, out, x, z, &rules::rule).unwrap_err();
    assert_eq!(error, GradientError::NoPath { graph: "apart".into(), input: "z".into() });
}
