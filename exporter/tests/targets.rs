//! Graphs for other kernels and in other precisions: what they say is proved without what they run on.

mod support;

use std::ops::ControlFlow;
use std::path::Path;

use anomalens_exporter::bundle::{Request, Source, write};
use anomalens_exporter::gate::{self, Gate, GateError, Subject, Written};
use anomalens_exporter::onnx::{ModelProto, NodeProto};
use anomalens_exporter::target::Target;
use anomalens_models::graph::Graph;
use anomalens_models::manifest::{
    CLASSIFIER_GRADIENT, ENCODE_STEP, GUIDED_STEP, Manifest, UNET, Verification, WEIGHTS,
};
use anomalens_models::nets;
use anomalens_models::preset::Preset;
use anomalens_models::weights::{Precision, RandomWeights, UNET_PREFIX, WeightsWriter};
use prost::Message;
use support::{load, program, run, tiny};

fn random(graph: &Graph) -> RandomWeights {
    RandomWeights::new(11, graph.params())
}

/// A bundle with random weights in every layer; its classifier too, if that is wanted.
fn bundle(
    preset: &Preset,
    classifier: bool,
    target: Target,
    precision: Precision,
    output: &Path,
) -> Manifest {
    let source = |graph: &Graph| Some(Source::Random(random(graph)));
    let request = Request {
        preset,
        unet: source(&nets::unet(preset).unwrap()),
        classifier: classifier.then(|| source(&nets::classifier(preset).unwrap())).flatten(),
        network: None,
        output,
        target,
        precision,
        gate: Gate::Full,
        held_out: None,
        note: None,
        card: None,
    };
    write(&request, &mut |_| ControlFlow::Continue(())).unwrap()
}

/// Small, with an even number of channels in each of the 32 groups and two residual blocks in a row.
fn even() -> Preset {
    let mut preset = load("tiny");
    preset.image.size = 16;
    preset.guided_mut().unwrap().unet.channel_mult = [2.0, 2.0].map(Into::into).into();
    preset.guided_mut().unwrap().unet.res_blocks = 2;
    preset.guided_mut().unwrap().unet.attention_resolutions = vec![8];
    preset
}

fn model(bundle: &Path) -> ModelProto {
    ModelProto::decode(std::fs::read(bundle.join(UNET)).unwrap().as_slice()).unwrap()
}

fn count(model: &ModelProto, op: &str) -> usize {
    model.graph.as_ref().unwrap().node.iter().filter(|n| n.op_type() == op).count()
}

#[test]
fn ort_cuda_is_equal_to_portable() {
    use Precision::{F16, F32};
    let cases = [("tiny", F32), ("tiny", F16), ("golden_a", F32), ("golden_b", F32), ("golden_b", F16)];
    for (name, precision) in cases {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("bundle");
        let manifest = bundle(&load(name), name == "tiny", Target::OrtCuda, precision, &folder);
        assert_eq!((manifest.target.as_str(), manifest.precision.as_str()), ("ort-cuda", precision.name()));
        let Verification { gate, note, wanting, checks, .. } = &manifest.verification;
        let imported: Vec<_> = checks.iter().filter(|c| c.between == "imported back vs reference").collect();
        // The U-Net, and whole steps with it, which have two outputs each.
        let [check, steps @ ..] = &imported[..] else { panic!("{name}: {checks:?}") };
        println!("{name} {}: {:.1e} of {:.1e}", precision.name(), check.max_abs, check.tolerance);
        assert_eq!(
            (check.output.as_str(), steps.len()),
            ("unet.onnx:out", if name == "tiny" { 4 } else { 2 })
        );
        // This machine has no GPU, or it has, and then the kernels themselves were compared.
        let gpu = checks.iter().any(|c| c.output.starts_with(UNET) && c.between.starts_with("ort"));
        assert!(gpu || note.contains("ort-cuda"), "{note}");
        // Without images to translate it is unverified on either.
        let [wanting] = &wanting[..] else { panic!("{wanting:?}") };
        assert!(wanting.contains(if gpu { "--held-out" } else { "an engine for unet.onnx" }), "{wanting}");
        assert_eq!(gate, "none", "{note}");
        // The classifier's gradient is the portable f32 one, and was compared as ever.
        let gradient = checks.iter().filter(|c| c.output.starts_with(CLASSIFIER_GRADIENT));
        let pairs: Vec<_> = gradient.map(|c| c.between.as_str()).collect();
        assert_eq!(pairs.contains(&"tract vs reference"), name == "tiny", "{pairs:?}");
    }
}

#[test]
fn ort_cuda_uses_the_kernels() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("bundle");
    let preset = even();
    bundle(&preset, false, Target::OrtCuda, Precision::F32, &folder);
    let model = model(&folder);
    let graph = nets::unet(&preset).unwrap();
    let norms = graph.nodes().iter().filter(|n| n.op.name() == "GroupNorm").count();
    let convs = graph.nodes().iter().filter(|n| n.op.name() == "Conv").count();
    assert_eq!(count(&model, "GroupNorm") + count(&model, "SkipGroupNorm"), norms);
    assert_eq!((count(&model, "NhwcConv"), count(&model, "Conv")), (convs, 0));
    assert_eq!(count(&model, "InstanceNormalization"), 0);
    // Every residual block adds the embedding just before its second norm, and some sums of blocks go into a norm too.
    let blocks = graph.params().iter().filter(|p| p.name.ends_with("emb_layers.1.weight")).count();
    assert!(count(&model, "SkipGroupNorm") > blocks, "{}", count(&model, "SkipGroupNorm"));
    // Beside weights, when the graph is loaded, only input, output and attention are transposed: the norm's value on the
    // way in, the projection's on the way out, and those of its products.
    let attention = graph.nodes().iter().filter(|n| n.op.name() == "Attention").count();
    let stored = |n: &&NodeProto| n.input[0].ends_with("weight");
    let nodes = &model.graph.as_ref().unwrap().node;
    let moved = nodes.iter().filter(|n| n.op_type() == "Transpose" && !stored(n)).count();
    assert!(moved <= 2 + 4 * attention, "{moved} for {attention} attentions");
}

/// What the gate says of a bundle's U-Net after `spoil` has had its nodes.
fn judged(precision: Precision, spoil: &dyn Fn(&mut Vec<NodeProto>)) -> Result<Verification, GateError> {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("bundle");
    let preset = even();
    bundle(&preset, false, Target::OrtCuda, precision, &folder);
    let mut model = model(&folder);
    spoil(&mut model.graph.as_mut().unwrap().node);
    std::fs::write(folder.join(UNET), model.encode_to_vec()).unwrap();
    let graph = nets::unet(&preset).unwrap();
    let subject = Subject {
        file: UNET,
        graph: &graph,
        params: &random(&graph),
        prefix: UNET_PREFIX,
        timesteps: 1000,
        classes: 2,
        target: Target::OrtCuda,
        precision,
        plain: &[],
    };
    let written = Written {
        folder: &folder,
        preset: &preset,
        subjects: &[subject],
        steps: &[],
        origin: "the checkpoint",
        held_out: None,
    };
    gate::run(&written, Gate::Quick, &mut |_| ControlFlow::Continue(()))
}

fn first<'a>(nodes: &'a mut [NodeProto], op: &str) -> &'a mut NodeProto {
    nodes.iter_mut().find(|n| n.op_type() == op).unwrap_or_else(|| panic!("no {op}"))
}

fn set(node: &mut NodeProto, attribute: &str, value: i64) {
    node.attribute.iter_mut().find(|a| a.name() == attribute).unwrap().i = Some(value);
}

#[test]
fn a_wrong_graph_does_not_pass() {
    type Spoil = fn(&mut Vec<NodeProto>);
    let cases: [(&str, Spoil); 6] = [
        ("activation left out", |n| set(first(n, "SkipGroupNorm"), "activation", 0)),
        ("activation too much", |n| {
            let plain = n.iter_mut().find(|n| {
                n.op_type() == "GroupNorm"
                    && n.attribute.iter().any(|a| a.name() == "activation" && a.i() == 0)
            });
            set(plain.unwrap(), "activation", 1);
        }),
        ("gamma and beta swapped", |n| first(n, "GroupNorm").input.swap(1, 2)),
        ("another number of groups", |n| set(first(n, "SkipGroupNorm"), "groups", 16)),
        ("another epsilon", |n| {
            let node = first(n, "SkipGroupNorm");
            node.attribute.iter_mut().find(|a| a.name() == "epsilon").unwrap().f = Some(2e-5);
        }),
        ("the norm taken for the sum", |n| {
            let skip = n.iter_mut().find(|n| n.output.len() == 2).expect("a residual sum");
            let (norm, sum) = (skip.output[0].clone(), skip.output[1].clone());
            let user = n.iter_mut().find(|n| n.input.contains(&sum)).expect("the sum is used");
            user.input.iter_mut().filter(|i| **i == sum).for_each(|i| *i = norm.clone());
        }),
    ];
    for precision in Precision::ALL {
        assert!(judged(precision, &|_| ()).is_ok());
        for (case, spoil) in &cases {
            let error = judged(precision, spoil).expect_err(case);
            assert!(matches!(&error, GateError::OverTolerance { .. }), "{case}: {error}");
            assert!(error.to_string().contains("imported back vs reference"), "{case}: {error}");
        }
    }
}

#[test]
fn f16_is_stored_once_and_computes_what_f32_does() {
    for name in ["tiny", "golden_b"] {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("f16");
        let preset = load(name);
        let verification = bundle(&preset, true, Target::Portable, Precision::F16, &folder).verification;
        for check in &verification.checks {
            let (output, between) = (&check.output, &check.between);
            println!(
                "{name} {output} {between} batch {}: {:.1e} of {:.1e}",
                check.batch, check.max_abs, check.tolerance
            );
        }
        let ort =
            verification.checks.iter().any(|c| c.output.starts_with(UNET) && c.between == "ort vs reference");
        assert!(ort || std::env::var_os("CI").is_none(), "CI must have ONNX Runtime");
        // Comparisons alone do not verify it.
        let [wanting] = &verification.wanting[..] else { panic!("{:?}", verification.wanting) };
        assert!(wanting.contains(if ort { "--held-out" } else { "an engine for unet.onnx" }), "{wanting}");
        assert!(!verification.passed() && verification.trajectory.is_none());
        let size = std::fs::metadata(folder.join(WEIGHTS)).unwrap().len() as f64;
        let (unet, classifier) = (nets::unet(&preset).unwrap(), nets::classifier(&preset).unwrap());
        let [unet, classifier] = [unet, classifier].map(|g| 4.0 * g.param_count() as f64);
        // What computes on the embedding stays f32: in networks as small as these up to a third of the parameters.
        assert!(size > 0.5 * unet + classifier && size < 0.7 * unet + 1.1 * classifier, "{size} of {unet}");
    }
}

#[test]
fn what_f16_cannot_hold_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let preset = load("tiny");
    let graph = nets::unet(&preset).unwrap();
    let path = place.path().join("large.safetensors");
    let file = std::fs::File::create(&path).unwrap();
    let mut writer = WeightsWriter::new(file, graph.params().to_vec()).unwrap();
    for param in graph.params() {
        let value = if param.name == "input_blocks.0.0.weight" { 7e4 } else { 0.5 };
        writer.write(&param.name, &vec![value; param.shape.iter().product()]).unwrap();
    }
    writer.finish().unwrap();
    let mut command = program();
    command.args(["bundle", "--preset", "tiny", "--precision", "f16", "--unet"]).arg(&path);
    let (code, text) = run(command.arg("-o").arg(place.path().join("out")));
    assert_eq!(code, 1, "{text}");
    for part in ["unet.input_blocks.0.0.weight", "70000", "65504", "--precision f32"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!place.path().join("out").exists());
}

#[test]
fn a_person_is_told_how_to_verify_elsewhere() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("cuda");
    let mut command = program();
    command.args(["bundle", "--preset", "tiny", "--target", "ort-cuda", "--precision", "f16", "--unet"]);
    command.arg(tiny().join("unet/state_dict.pt")).arg("-o").arg(&folder);
    let (code, text) = run(&mut command);
    assert_eq!(code, 0, "{text}");
    let manifest = Manifest::read(&folder).unwrap();
    assert!(!manifest.verification.passed());
    let way_out = format!("anomalens-export verify {} --device cuda --held-out IMAGES", folder.display());
    assert!(text.contains("unverified") && text.contains(&way_out), "{text}");
    let card = std::fs::read_to_string(folder.join("MODEL_CARD.md")).unwrap();
    assert!(card.contains("imported back vs reference") && card.contains("`ort-cuda`"), "{card}");
}

/// Operators that ONNX Runtime's CUDA provider has kernels for as they are in operator set 18 (its docs/OperatorKernels.md), in
/// f32 and f16.
const WITH_KERNELS: [&str; 28] = [
    "Add",
    "AveragePool",
    "Cast",
    "Concat",
    "Conv",
    "ConvTranspose",
    "Cos",
    "Div",
    "Expand",
    "Gather",
    "Gemm",
    "InstanceNormalization",
    "MatMul",
    "Mul",
    "OneHot",
    "Pad",
    "ReduceMean",
    "ReduceSum",
    "Reshape",
    "Resize",
    "Sigmoid",
    "Sin",
    "Slice",
    "Softmax",
    "Sqrt",
    "Sub",
    "Transpose",
    // ONNX Runtime's own.
    "NhwcConv",
];

#[test]
fn whole_steps_have_a_kernel_for_each_node() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("bundle");
    bundle(&load("tiny"), true, Target::OrtCuda, Precision::F16, &folder);
    for file in [UNET, ENCODE_STEP, GUIDED_STEP] {
        let model = ModelProto::decode(std::fs::read(folder.join(file)).unwrap().as_slice()).unwrap();
        let sets: Vec<_> = model.opset_import.iter().map(|o| (o.domain(), o.version())).collect();
        assert_eq!(sets, [("", 18), ("com.microsoft", 1)], "{file}");
        let nodes = &model.graph.as_ref().unwrap().node;
        let strange: Vec<_> = nodes
            .iter()
            .map(NodeProto::op_type)
            .filter(|op| !WITH_KERNELS.contains(op) && !["GroupNorm", "SkipGroupNorm"].contains(op))
            .collect();
        assert!(strange.is_empty(), "{file}: {strange:?}");
    }
}
