//! The trainer's interpreter and losses against the golden vectors, and the three gradients against each other:
//! libtorch's autograd, the exported gradient graph, the reference implementation's.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::Path;

use anomalens_exporter::gradient::classifier_gradient;
use anomalens_method::ddim::{
    ClassLabel, GradientScale, Images, OnHost, Plan, StepDone, decode_guided, encode,
};
use anomalens_models::graph::{Graph, ParamSource, reference};
use anomalens_models::nets;
use anomalens_models::preset::Preset;
use anomalens_models::schedule::{NoiseLevel, Respacing, Schedule, Trajectory};
use anomalens_models::weights::RandomWeights;
use anomalens_tests::family::members;
use anomalens_tests::{golden, max_abs, npy, npy_i64, params, root, tiny};
use anomalens_trainer::guided::{Classifier, Net, Unet};
use anomalens_trainer::interpret::{self, Precision};
use anomalens_trainer::losses::Diffusion;
use anomalens_trainer::weights::{tensor, values};
use ndarray::{ArrayD, Axis, Ix4, IxDyn};
use tch::{Device, Kind, Tensor};

/// Outputs and logits: the golden vectors are f32, up to 3.4e-6 from f64.
const OUTPUT: f64 = 2e-5;
/// Gradient, absolute; it is itself about 1e-3.
const GRADIENT: f64 = 1e-6;
/// Gradients on random weights, in units of their largest value: f32 through the whole network and back.
const RELATIVE: f64 = 1e-4;
/// Terms of the hybrid loss: the golden vectors are f32, up to 2.4e-6 from f64.
const LOSS: f64 = 1e-5;

/// A network with its golden weights and inputs.
struct Case {
    graph: Graph,
    weights: HashMap<String, Tensor>,
    inputs: Vec<(&'static str, Tensor)>,
}

impl Case {
    fn new(graph: Graph, folder: &Path) -> Self {
        let weights = params(&folder.join("state_dict.pt"), graph.params());
        let weights = weights.iter().map(|(name, array)| (name.clone(), tensor(array))).collect();
        let mut inputs = vec![("x", tensor(&npy(&folder.join("x.npy"))))];
        for name in ["t", "y"] {
            let file = folder.join(format!("{name}.npy"));
            if file.exists() {
                inputs.push((name, Tensor::from_slice(npy_i64(&file).as_slice().unwrap())));
            }
        }
        Self { graph, weights, inputs }
    }

    fn run(&self, graph: &Graph, precision: Precision) -> Vec<Tensor> {
        let inputs: Vec<_> = self.inputs.iter().map(|(name, tensor)| (*name, tensor)).collect();
        interpret::run(graph, &self.weights, &inputs, precision).unwrap()
    }

    fn input(&mut self, name: &str) -> &mut Tensor {
        &mut self.inputs.iter_mut().find(|(n, _)| *n == name).unwrap().1
    }
}

fn array(tensor: &Tensor) -> ArrayD<f32> {
    let shape: Vec<usize> = tensor.size().iter().map(|&d| d as usize).collect();
    ArrayD::from_shape_vec(IxDyn(&shape), values(tensor)).unwrap()
}

fn error(found: &Tensor, expected: &Path) -> f64 {
    max_abs(&array(found), &npy(expected))
}

fn preset(name: &str) -> Preset {
    let own = root().join(format!("tests/presets/{name}.toml"));
    Preset::load(&if own.exists() { own.display().to_string() } else { name.to_owned() }).unwrap()
}

fn unet(name: &str, folder: &Path) {
    let mut case = Case::new(nets::unet(&preset(name)).unwrap(), folder);
    let expected = folder.join("out.npy");
    // Composites by libtorch's own kernels, and walked into.
    for (form, graph) in [("whole", case.graph.clone()), ("expanded", case.graph.expanded())] {
        let error = error(&case.run(&graph, Precision::F32)[0], &expected);
        println!("{} {form}: {error:.1e}", folder.display());
        assert!(error <= OUTPUT, "{} {form}: {error:.1e}", folder.display());
    }
    // bf16 is another number, but not far: 8 bits of mantissa through the whole network.
    let largest = npy(&expected).iter().fold(0.0f64, |m, v| m.max(f64::from(v.abs())));
    let half = error(&case.run(&case.graph, Precision::Bf16)[0], &expected) / largest;
    println!("{} bf16: {half:.1e} of the largest value", folder.display());
    assert!(half > OUTPUT && half < 0.1, "{}: bf16 {half:.1e}", folder.display());
    // The comparer notices a timestep that is off by one.
    *case.input("t") = case.inputs.iter().find(|(n, _)| *n == "t").unwrap().1.shallow_clone() + 1;
    assert!(error(&case.run(&case.graph, Precision::F32)[0], &expected) > OUTPUT, "a wrong timestep passes");
}

fn classifier(name: &str, folder: &Path) {
    let graph = nets::classifier(&preset(name)).unwrap();
    let exported = classifier_gradient(&graph).unwrap();
    let mut case = Case::new(graph, folder);
    let x = case.input("x").shallow_clone().set_requires_grad(true);
    *case.input("x") = x.shallow_clone();
    let outputs = case.run(&case.graph, Precision::F32);
    let logits = error(&outputs[0], &folder.join("logits.npy"));
    let y = case.input("y").shallow_clone();
    outputs[1].gather(1, &y.unsqueeze(1), false).sum(Kind::Float).backward();
    let autograd = x.grad();
    let by_graph = tch::no_grad(|| case.run(&exported, Precision::F32));
    let golden = folder.join("grad.npy");
    let errors = [
        ("autograd against golden", error(&autograd, &golden)),
        ("exported against golden", error(&by_graph[1], &golden)),
        ("exported against autograd", max_abs(&array(&by_graph[1]), &array(&autograd))),
    ];
    println!("{}: logits {logits:.1e}, {errors:?}", folder.display());
    assert!(logits <= OUTPUT, "{}: logits {logits:.1e}", folder.display());
    for (between, error) in errors {
        assert!(error <= GRADIENT, "{}: {between}: {error:.1e}", folder.display());
    }
    // The gradient of the other class is another one, and noticed.
    *case.input("y") = 1 - y;
    let wrong = tch::no_grad(|| case.run(&exported, Precision::F32));
    assert!(error(&wrong[1], &golden) > GRADIENT, "the gradient of another class passes");
}

#[test]
fn tiny_networks() {
    unet("tiny", &tiny().join("unet"));
    classifier("tiny", &tiny().join("classifier"));
}

#[test]
fn golden_networks() {
    let Some(golden) = golden() else { return };
    unet("golden_a", &golden.join("unet_a"));
    unet("golden_b", &golden.join("unet_b"));
    classifier("golden_a", &golden.join("classifier_a"));
}

/// Every switch of the architecture, with random numbers in every layer: libtorch against the reference interpreter, and
/// autograd against the exported gradient.
#[test]
fn the_whole_family() {
    for member in members() {
        let build = if member.network == "unet" { nets::unet } else { nets::classifier };
        let graph = build(&member.preset).unwrap();
        let random = RandomWeights::new(5, graph.params());
        let weights =
            graph.params().iter().map(|p| (p.name.clone(), tensor(&random.param(&p.name).unwrap())));
        let (size, channels) = (member.preset.image.size as i64, member.preset.channels() as i64);
        tch::manual_seed(3);
        let x = Tensor::randn([2, channels, size, size], (Kind::Float, Device::Cpu));
        let (t, y) = (Tensor::from_slice(&[999i64, 20]), Tensor::from_slice(&[0i64, 1]));
        let plain = [
            ("x", reference::Value::Float(array(&x).mapv(f64::from))),
            ("t", reference::Value::Int(ndarray::arr1(&[999, 20]).into_dyn())),
            ("y", reference::Value::Int(ndarray::arr1(&[0, 1]).into_dyn())),
        ];
        let x = x.set_requires_grad(true);
        let inputs = vec![("x", x.shallow_clone()), ("t", t), ("y", y.shallow_clone())];
        let case = Case { weights: weights.collect(), inputs, graph };
        let outputs = case.run(&case.graph, Precision::F32);
        let mut differences = Vec::new();
        if member.network == "unet" {
            let expected = reference::run(&case.graph, &random, &plain).unwrap();
            differences.push(("out", max_abs(&array(&outputs[0]), &expected[0].1), OUTPUT));
        } else {
            let gradient = classifier_gradient(&case.graph).unwrap();
            let expected = reference::run(&gradient, &random, &plain).unwrap();
            outputs[1].gather(1, &y.unsqueeze(1), false).sum(Kind::Float).backward();
            let largest = expected[1].1.iter().fold(0.0f64, |most, v| most.max(v.abs()));
            differences.push(("logits", max_abs(&array(&outputs[0]), &expected[0].1), OUTPUT));
            differences.push(("gradient", max_abs(&array(&x.grad()), &expected[1].1), RELATIVE * largest));
        }
        println!("{} {}: {differences:?}", member.network, member.name);
        for (output, error, tolerance) in differences {
            assert!(error <= tolerance, "{} {output}: {error:.1e}, tolerance {tolerance:.1e}", member.name);
        }
    }
}

/// The networks of the comparison methods, as they are trained and as they are used, with random numbers in every layer.
#[test]
fn networks_of_the_comparison_methods() {
    let [vae, gan] = ["demo-vae", "demo-fpgan"].map(|name| Preset::load(name).unwrap());
    for graph in [
        nets::vae(&vae),
        nets::one_pass(&vae),
        nets::fixed_point_generator(&gan),
        nets::fixed_point_critic(&gan),
        nets::one_pass(&gan),
    ] {
        let graph = graph.unwrap();
        let random = RandomWeights::new(5, graph.params());
        let weights =
            graph.params().iter().map(|p| (p.name.clone(), tensor(&random.param(&p.name).unwrap())));
        tch::manual_seed(3);
        let (mut inputs, mut plain) = (Vec::new(), Vec::new());
        for (name, id) in graph.inputs() {
            if name == "y" {
                inputs.push(("y", Tensor::from_slice(&[0i64, 1])));
                plain.push(("y", reference::Value::Int(ndarray::arr1(&[0, 1]).into_dyn())));
            } else {
                let name = if name == "x" { "x" } else { "noise" };
                let shape = graph.node(id).ty.shape.concrete(2);
                let shape: Vec<i64> = shape.iter().map(|&d| d as i64).collect();
                let x = Tensor::rand(shape, (Kind::Float, Device::Cpu));
                plain.push((name, reference::Value::Float(array(&x).mapv(f64::from))));
                inputs.push((name, x));
            }
        }
        let expected = reference::run(&graph, &random, &plain).unwrap();
        let case = Case { weights: weights.collect(), inputs, graph };
        let outputs = case.run(&case.graph, Precision::F32);
        for (found, (output, expected)) in outputs.iter().zip(&expected) {
            let largest = expected.iter().fold(1.0f64, |most, v| most.max(v.abs()));
            let error = max_abs(&array(found), expected) / largest;
            println!("{} {output}: {error:.1e}", case.graph.name());
            assert!(error <= OUTPUT, "{} {output}: {error:.1e}", case.graph.name());
            let wrong = max_abs(&array(&(found * 1.001)), expected) / largest;
            assert!(wrong > OUTPUT, "{} {output}: a value that is off by 0.1 % passes", case.graph.name());
        }
    }
}

#[test]
fn the_hybrid_loss_is_the_references() {
    let Some(golden) = golden() else { return };
    let (folder, preset) = (golden.join("loss_a"), preset("golden_a"));
    let read = |name: &str| tensor(&npy(&folder.join(name)));
    let t = Tensor::from_slice(npy_i64(&folder.join("t.npy")).as_slice().unwrap());
    let y = Tensor::from_slice(npy_i64(&folder.join("y.npy")).as_slice().unwrap());
    let (x0, noise) = (read("x0.npy"), read("noise.npy"));
    let diffusion = Diffusion::new(&Schedule::new(&preset.guided().unwrap().schedule).unwrap(), Device::Cpu);
    let x_t = diffusion.noised(&x0, &t, &noise);
    let noised = error(&x_t, &folder.join("x_t.npy"));
    assert!(noised <= 1e-6, "x_t: {noised:.1e}");

    let graph = nets::unet(&preset).unwrap();
    let case = Case::new(graph, &golden.join("unet_a"));
    let inputs = [("x", &x_t), ("t", &t), ("y", &y)];
    let out = interpret::run(&case.graph, &case.weights, &inputs, Precision::F32).unwrap();
    let terms = diffusion.hybrid(&x0, &x_t, &t, &noise, &out[0]);
    // Rows mse, bound and their sum, one column an image at t = 0, 1, 500, 999.
    let expected = npy(&folder.join("terms_mse_vb_loss.npy"));
    for (row, (name, found)) in
        [("mse", &terms.mse), ("bound", &terms.bound), ("loss", &terms.total())].into_iter().enumerate()
    {
        let error = max_abs(&array(found), &expected.index_axis(ndarray::Axis(0), row));
        println!("{name}: {error:.1e}");
        assert!(error <= LOSS, "{name}: {error:.1e}");
    }
    // A prediction that is 0.1 % off is noticed in the bound.
    let wrong = diffusion.hybrid(&x0, &x_t, &t, &noise, &(&out[0] * 0.999));
    assert!(max_abs(&array(&wrong.bound), &expected.index_axis(ndarray::Axis(0), 1)) > LOSS);
}

/// ε is detached in the bound: the bound alone gives no gradient to it, but does to the variances.
#[test]
fn the_bound_trains_the_variances_alone() {
    let schedule = Schedule::new(&preset("tiny").guided().unwrap().schedule).unwrap();
    let diffusion = Diffusion::new(&schedule, Device::Cpu);
    let shape = [3, 1, 4, 4];
    let options = (Kind::Float, Device::Cpu);
    let (x0, noise) = (Tensor::rand(shape, options), Tensor::randn(shape, options));
    let t = Tensor::from_slice(&[0i64, 10, 999]);
    let x_t = diffusion.noised(&x0, &t, &noise);
    let out = (Tensor::randn([3, 2, 4, 4], options) * 0.1).set_requires_grad(true);
    diffusion.hybrid(&x0, &x_t, &t, &noise, &out).bound.sum(Kind::Float).backward();
    let largest = |part: &Tensor| part.abs().max().double_value(&[]);
    let parts = out.grad().chunk(2, 1);
    assert_eq!(largest(&parts[0]), 0.0, "eps");
    assert!(largest(&parts[1]) > 0.0, "v");
}

/// Every operation that the golden networks' graphs hold, against the reference interpreter in f64.
#[test]
fn the_interpreter_agrees_with_the_reference_interpreter() {
    for (name, graph) in [
        ("unet", nets::unet(&preset("tiny")).unwrap()),
        ("gradient", classifier_gradient(&nets::classifier(&preset("tiny")).unwrap()).unwrap()),
    ] {
        let folder = tiny().join(if name == "unet" { "unet" } else { "classifier" });
        let case = Case::new(graph, &folder);
        let inputs: Vec<_> = ["x", "t", "y"]
            .into_iter()
            .map(|input| {
                let file = folder.join(format!("{input}.npy"));
                let value = match input {
                    "x" => anomalens_models::graph::Tensor::F32(npy(&file)),
                    _ => anomalens_models::graph::Tensor::I64(npy_i64(&file)),
                };
                (input, reference::Value::from(value))
            })
            .collect();
        let weights = params(&folder.join("state_dict.pt"), case.graph.params());
        let expected = reference::run(&case.graph, &weights, &inputs).unwrap();
        for (found, (output, expected)) in case.run(&case.graph, Precision::F32).iter().zip(&expected) {
            let error = max_abs(&array(found), expected);
            println!("{name} {output}: {error:.1e}");
            assert!(error <= OUTPUT, "{name} {output}: {error:.1e}");
        }
    }
}

/// What validation translates by: the sampler on both networks by libtorch, against the golden trajectories' ends.
#[test]
fn tiny_trajectories() {
    let preset = preset("tiny");
    let schedule = Schedule::new(&preset.guided().unwrap().schedule).unwrap();
    let unet = Case::new(nets::unet(&preset).unwrap(), &tiny().join("unet"));
    let classifier = Case::new(nets::classifier(&preset).unwrap(), &tiny().join("classifier"));
    let net = |case: &'static str| match case {
        "unet" => Net { graph: &unet.graph, params: &unet.weights, device: Device::Cpu },
        _ => Net { graph: &classifier.graph, params: &classifier.weights, device: Device::Cpu },
    };
    let file = |name: &str| npy(&tiny().join("ddim").join(name));
    let x0 = file("x0.npy").into_dimensionality::<Ix4>().unwrap();
    let go = &mut |_: &StepDone, _: &mut Images<'_>| Ok(ControlFlow::Continue(()));
    let level = NoiseLevel::new(4);
    let respaced: Respacing = "ddim10".parse().unwrap();
    // Long steps divide errors of the networks by the root of a small number.
    for (name, trajectory, tolerance) in [
        ("full1000", Trajectory::every(&schedule, level), 1e-5),
        ("ddim10", Trajectory::respaced(&schedule, respaced, level), 3e-3),
    ] {
        let plan = Plan::paper(&schedule, &trajectory.unwrap()).unwrap();
        let mut eps = Unet { net: net("unet"), conditional: true };
        let mut guide = Classifier { net: net("classifier") };
        let mut end = |scale: f64| {
            let start = plan.start(x0.clone(), None).unwrap();
            let mut stepper = OnHost::new(&mut eps, Some(&mut guide));
            let top = encode(&plan, &mut stepper, ClassLabel::new(0), start, go).unwrap();
            let scale = GradientScale::new(scale).unwrap();
            decode_guided(&plan, &mut stepper, scale, ClassLabel::new(0), top, go).unwrap().into_pixels()
        };
        let expected = file(&format!("{name}_dec_s100.npy"));
        let expected = expected.index_axis(Axis(0), expected.len_of(Axis(0)) - 1);
        let difference = |found: ndarray::Array4<f32>| max_abs(&found.into_dyn(), &expected.to_owned());
        let (guided, unguided) = (difference(end(100.0)), difference(end(0.0)));
        println!("{name}: {guided:.1e}; without guidance {unguided:.1e}");
        assert!(guided <= tolerance, "{name}: {guided:.1e}, tolerance {tolerance:.0e}");
        assert!(unguided > tolerance, "{name}: an end without guidance passed with {unguided:.1e}");
    }
}
