//! Every rule against finite differences in f64, on odd shapes, and a wrong rule that must fail.

use std::collections::{BTreeSet, HashMap};

use anomalens_models::graph::reference::{self, Value};
use anomalens_models::graph::{Builder, DType, Graph, GraphError, Init, NodeId, Op, Primitive, Shape};
use anomalens_models::nets;
use anomalens_models::preset::{Pool, Preset};
use ndarray::{ArrayD, IxDyn};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use super::{GradientError, Rule, Step, backward, rules};

/// Central differences with h = 1e-5 in f64: truncation about h² = 1e-10, rounding about 1e-16 / h = 1e-11.
const FINITE_DIFFERENCE: f64 = 1e-7;
const STEP: f64 = 1e-5;
const BATCH: usize = 2;

type Build = fn(&mut Builder, NodeId, NodeId) -> Result<NodeId, GraphError>;

/// A graph of two inputs `[N, …]`; both are differentiated, one at a time.
struct Case {
    name: &'static str,
    x: &'static [usize],
    z: &'static [usize],
    build: Build,
}

fn p(b: &mut Builder, op: Primitive, inputs: &[NodeId]) -> Result<NodeId, GraphError> {
    b.primitive(op, inputs)
}

/// 1.5 + x²: a positive value, for roots and divisors.
fn positive(b: &mut Builder, x: NodeId) -> Result<NodeId, GraphError> {
    let (square, shift) = (b.mul(x, x)?, b.scalar(1.5));
    b.add(square, shift)
}

fn cases() -> Vec<Case> {
    vec![
        Case { name: "Add", x: &[3, 2], z: &[3, 1], build: |b, x, z| b.add(x, z) },
        Case { name: "Sub", x: &[3, 2], z: &[1, 2], build: |b, x, z| b.sub(x, z) },
        Case { name: "Mul", x: &[3, 2], z: &[3, 1], build: |b, x, z| b.mul(x, z) },
        Case {
            name: "Div",
            x: &[3, 2],
            z: &[1, 2],
            build: |b, x, z| {
                let z = positive(b, z)?;
                b.div(x, z)
            },
        },
        Case {
            name: "Sqrt",
            x: &[5],
            z: &[1],
            build: |b, x, z| {
                let x = positive(b, x)?;
                let root = p(b, Primitive::Sqrt, &[x])?;
                b.mul(root, z)
            },
        },
        Case { name: "Sigmoid", x: &[5], z: &[1], build: |b, x, z| unary(b, Primitive::Sigmoid, x, z) },
        Case { name: "Relu", x: &[5], z: &[1], build: |b, x, z| unary(b, Primitive::Relu, x, z) },
        Case {
            name: "LeakyRelu",
            x: &[5],
            z: &[1],
            build: |b, x, z| unary(b, Primitive::LeakyRelu { slope: 0.2 }, x, z),
        },
        Case { name: "Exp", x: &[5], z: &[1], build: |b, x, z| unary(b, Primitive::Exp, x, z) },
        Case { name: "Tanh", x: &[5], z: &[1], build: |b, x, z| unary(b, Primitive::Tanh, x, z) },
        Case { name: "Cos", x: &[5], z: &[1], build: |b, x, z| unary(b, Primitive::Cos, x, z) },
        Case { name: "Sin", x: &[5], z: &[1], build: |b, x, z| unary(b, Primitive::Sin, x, z) },
        Case {
            name: "Softmax",
            x: &[3, 5],
            z: &[1, 1],
            build: |b, x, z| unary(b, Primitive::Softmax { axis: 2 }, x, z),
        },
        Case {
            name: "LogSoftmax",
            x: &[3, 5],
            z: &[1, 1],
            build: |b, x, z| unary(b, Primitive::LogSoftmax { axis: 1 }, x, z),
        },
        Case {
            name: "InstanceNormalization",
            x: &[3, 5, 7],
            z: &[1, 1, 1],
            build: |b, x, z| unary(b, Primitive::InstanceNormalization { epsilon: 1e-5 }, x, z),
        },
        Case {
            name: "Gemm",
            x: &[3],
            z: &[5],
            build: |b, x, z| {
                let (w, bias) = (b.param("w", &[5, 3], Init::Zeros), b.param("b", &[5], Init::Zeros));
                let y = p(b, Primitive::Gemm, &[x, w, bias])?;
                b.mul(y, z)
            },
        },
        Case { name: "MatMul", x: &[2, 3, 5], z: &[1, 5, 4], build: |b, x, z| b.matmul(x, z) },
        Case {
            name: "MatMul by a parameter",
            x: &[3, 5],
            z: &[1, 1],
            build: |b, x, z| {
                let w = b.param("w", &[4, 3], Init::Zeros);
                let y = b.matmul(w, x)?;
                b.mul(y, z)
            },
        },
        Case { name: "Conv", x: &[2, 5, 7], z: &[1, 1, 1], build: |b, x, z| convolution(b, x, z, 3, 1, 1) },
        Case {
            name: "Conv stride 2, odd",
            x: &[2, 5, 7],
            z: &[1, 1, 1],
            build: |b, x, z| convolution(b, x, z, 3, 2, 1),
        },
        Case {
            name: "Conv stride 2, even",
            x: &[2, 6, 8],
            z: &[1, 1, 1],
            build: |b, x, z| convolution(b, x, z, 3, 2, 1),
        },
        Case {
            name: "Conv kernel 1",
            x: &[2, 3, 5],
            z: &[1, 1, 1],
            build: |b, x, z| convolution(b, x, z, 1, 1, 0),
        },
        Case {
            name: "ConvTranspose",
            x: &[4, 3, 4],
            z: &[1, 1, 1],
            build: |b, x, z| {
                let w = b.param("w", &[4, 2, 3, 3], Init::Zeros);
                let op = Primitive::ConvTranspose { stride: 2, pad: 1, output_padding: [1, 0] };
                let y = p(b, op, &[x, w])?;
                b.mul(y, z)
            },
        },
        Case {
            name: "AveragePool",
            x: &[2, 6, 4],
            z: &[1, 1, 1],
            build: |b, x, z| unary(b, Primitive::AveragePool { size: 2 }, x, z),
        },
        Case {
            name: "Resize",
            x: &[2, 3, 2],
            z: &[1, 1, 1],
            build: |b, x, z| unary(b, Primitive::Resize { factor: 2 }, x, z),
        },
        Case {
            name: "Reshape",
            x: &[2, 6],
            z: &[3, 4],
            build: |b, x, z| {
                let x = b.reshape(x, Shape::batch(&[3, 4]))?;
                b.mul(x, z)
            },
        },
        Case {
            name: "Transpose",
            x: &[2, 3, 4],
            z: &[4, 2, 3],
            build: |b, x, z| {
                let x = p(b, Primitive::Transpose { perm: vec![0, 3, 1, 2] }, &[x])?;
                b.mul(x, z)
            },
        },
        Case {
            name: "Concat",
            x: &[2, 3],
            z: &[4, 3],
            build: |b, x, z| {
                let y = b.concat(&[x, z, x], 1)?;
                b.mul(y, y)
            },
        },
        Case {
            name: "Slice",
            x: &[5, 3],
            z: &[2, 3],
            build: |b, x, z| {
                let x = b.slice(x, 1, 2, 4)?;
                b.mul(x, z)
            },
        },
        Case {
            name: "Pad",
            x: &[2, 3],
            z: &[5, 3],
            build: |b, x, z| {
                let x = p(b, Primitive::Pad { axis: 1, before: 1, after: 2 }, &[x])?;
                b.mul(x, z)
            },
        },
        Case {
            name: "Expand",
            x: &[2, 1],
            z: &[2, 5],
            build: |b, x, z| {
                let x = p(b, Primitive::Expand { shape: Shape::batch(&[2, 5]) }, &[x])?;
                b.mul(x, z)
            },
        },
        Case {
            name: "ReduceSum",
            x: &[3, 5],
            z: &[1, 1],
            build: |b, x, z| unary(b, Primitive::ReduceSum { axes: vec![1, 2] }, x, z),
        },
        Case {
            name: "ReduceMean",
            x: &[3, 5],
            z: &[3, 1],
            build: |b, x, z| unary(b, Primitive::ReduceMean { axes: vec![2] }, x, z),
        },
    ]
}

/// z · op(x)², so that the cotangent that reaches the rule is not constant.
fn unary(b: &mut Builder, op: Primitive, x: NodeId, z: NodeId) -> Result<NodeId, GraphError> {
    let y = p(b, op, &[x])?;
    let square = b.mul(y, y)?;
    b.mul(square, z)
}

fn convolution(
    b: &mut Builder,
    x: NodeId,
    z: NodeId,
    kernel: usize,
    stride: usize,
    pad: usize,
) -> Result<NodeId, GraphError> {
    let (w, bias) = (b.param("w", &[4, 2, kernel, kernel], Init::Zeros), b.param("b", &[4], Init::Zeros));
    let y = p(b, Primitive::Conv { stride, pad }, &[x, w, bias])?;
    b.mul(y, z)
}

fn normal(rng: &mut ChaCha8Rng, shape: &[usize]) -> ArrayD<f64> {
    ArrayD::from_shape_simple_fn(IxDyn(shape), || StandardNormal.sample(rng))
}

/// |⟨gradient, d⟩ − (f(x + hd) − f(x − hd)) / 2h| with f = ⟨c, graph⟩, over the size of the right-hand side.
fn error(case: &Case, wrt: usize, rule: &Rule) -> Result<f64, GradientError> {
    let mut rng = ChaCha8Rng::seed_from_u64(7 + wrt as u64);
    let mut b = Builder::new(case.name);
    let ids =
        [("x", case.x), ("z", case.z)].map(|(name, shape)| b.input(name, DType::F32, Shape::batch(shape)));
    let out = (case.build)(&mut b, ids[0], ids[1])?;
    let shape = b.shape(out).clone();
    let c = b.input("c", DType::F32, shape.clone());
    let gradient = backward(&mut b, out, c, ids[wrt], rule)?;
    b.output("out", out);
    b.output("gradient", gradient);
    let graph = b.finish();

    let params: HashMap<String, ArrayD<f32>> = graph
        .params()
        .iter()
        .map(|s| (s.name.clone(), normal(&mut rng, &s.shape).mapv(|v| v as f32)))
        .collect();
    let full = |shape: &[usize]| [&[BATCH], shape].concat();
    let point = [normal(&mut rng, &full(case.x)), normal(&mut rng, &full(case.z))];
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
    const NONE: [&str; 7] = ["Input", "Param", "Constant", "Cast", "Sign", "Gather", "OneHot"];
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
