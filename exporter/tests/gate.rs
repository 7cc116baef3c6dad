//! The parity gate refuses what it must refuse.

mod support;

use std::ops::ControlFlow;
use std::path::Path;

use anomalens_exporter::bundle::{Request, Source, WriteError, write};
use anomalens_exporter::checkpoint::Checkpoint;
use anomalens_exporter::compare;
use anomalens_exporter::gate::{self, Gate, GateError, Subject, Written};
use anomalens_exporter::lower::{Lowering, WeightsAt, lower};
use anomalens_exporter::onnx::{ModelProto, tensor_proto};
use anomalens_exporter::parts::Part;
use anomalens_exporter::target::Target;
use anomalens_models::graph::reference::{self, Value};
use anomalens_models::graph::{DType, Graph, ParamSource, Tensor};
use anomalens_models::manifest::{UNET, Verification, WEIGHTS};
use anomalens_models::nets;
use anomalens_models::preset::{Preset, QkvOrder};
use anomalens_models::weights::{Precision, RandomWeights, UNET_PREFIX, Weights};
use ndarray::{ArrayD, IxDyn};
use prost::Message;
use support::listing;

fn checkpoint() -> Checkpoint {
    Checkpoint::open(&support::tiny().join("unet/state_dict.pt"), None).unwrap()
}

/// A bundle of the tiny U-Net whose graph has been replaced by the one that `make` makes; what the gate says to it.
fn judged(make: impl FnOnce(&Path, &Preset) -> Vec<u8>) -> Result<Verification, GateError> {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("bundle");
    let preset = Preset::load("tiny").unwrap();
    let request = Request {
        preset: &preset,
        unet: Some(Source::Checkpoint(checkpoint())),
        classifier: None,
        network: None,
        output: &folder,
        target: Target::Portable,
        precision: Precision::F32,
        gate: Gate::None,
        held_out: None,
        note: None,
        card: None,
    };
    write(&request, &mut |_| ControlFlow::Continue(())).unwrap();
    let graph = make(&folder, &preset);
    std::fs::write(folder.join(UNET), graph).unwrap();
    let network = nets::unet(&preset).unwrap();
    let subject = Subject {
        file: UNET,
        graph: &network,
        params: &checkpoint(),
        prefix: UNET_PREFIX,
        timesteps: 1000,
        classes: 2,
        target: Target::Portable,
        precision: Precision::F32,
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

fn lowered(folder: &Path, graph: &Graph) -> Vec<u8> {
    let weights = Weights::open(&folder.join(WEIGHTS)).unwrap();
    let part = weights.part(UNET_PREFIX);
    let lowering = Lowering {
        target: Target::Portable,
        precision: Precision::F32,
        plain: &[],
        weights: WeightsAt::Beside { file: WEIGHTS, locate: &|name| part.location(name).ok() },
        metadata: &[],
    };
    lower(graph, &lowering).unwrap().encode_to_vec()
}

/// What the gate holds the graphs against: no parameter of either network may be zero without the outputs telling.
#[test]
fn every_layer_counts() {
    let mut preset = Preset::load("tiny").unwrap();
    preset.image.size = 16;
    // At 32 channels a group of a norm is one channel, which loses its mean there: a bias before it has no effect.
    let pair = preset.guided_mut().unwrap();
    (pair.unet.model_channels, pair.classifier.model_channels) = (64, 64);
    for part in
        [Part::unet(&preset, Target::Portable, Precision::F32).unwrap(), Part::classifier(&preset).unwrap()]
    {
        let weights = RandomWeights::new(7, part.graph.params());
        let inputs: Vec<(&str, Value)> = part
            .run
            .inputs()
            .map(|(name, id)| {
                let shape = IxDyn(&part.run.node(id).ty.shape.concrete(1));
                let value = match part.run.node(id).ty.dtype {
                    DType::F32 => Tensor::F32(ArrayD::from_shape_fn(shape.clone(), |i| {
                        (i[2] * 5 + i[3]) as f32 / 99.0 - 0.5
                    })),
                    DType::I64 => Tensor::I64(ArrayD::from_elem(shape.clone(), 1)),
                };
                (name, value.into())
            })
            .collect();
        let whole = reference::run(&part.run, &weights, &inputs).unwrap();
        let mut unnoticed = Vec::new();
        for param in part.graph.params() {
            let zeroed = ZeroedIn { weights: &weights, name: &param.name };
            let found = reference::run(&part.run, &zeroed, &inputs).unwrap();
            let noticed = found.iter().zip(&whole).any(|((name, found), (_, whole))| {
                compare::difference(found, whole).unwrap().max_abs
                    > compare::tolerance(name, whole, Precision::F32)
            });
            if !noticed {
                unnoticed.push(param.name.clone());
            }
        }
        assert!(unnoticed.is_empty(), "{}: {unnoticed:?}", part.file);
    }
}

/// The same weights, but one of them is zero.
struct ZeroedIn<'a> {
    weights: &'a RandomWeights,
    name: &'a str,
}

impl ParamSource for ZeroedIn<'_> {
    fn param(&self, name: &str) -> Option<ArrayD<f32>> {
        let value = self.weights.param(name)?;
        Some(if name == self.name { value * 0.0 } else { value })
    }
}

#[test]
fn a_right_graph_passes() {
    let verification = judged(|folder, preset| lowered(folder, &nets::unet(preset).unwrap())).unwrap();
    assert!(verification.passed() && verification.checks.len() > 2);
}

#[test]
fn a_swapped_qkv_order_does_not() {
    let result = judged(|folder, preset| {
        let mut swapped = preset.clone();
        assert_eq!(swapped.guided().unwrap().unet.qkv_order, QkvOrder::HeadFirst);
        swapped.guided_mut().unwrap().unet.qkv_order = QkvOrder::QkvFirst;
        lowered(folder, &nets::unet(&swapped).unwrap())
    });
    let error = result.unwrap_err();
    // golden/README.md: the other order changes the output by 0.96.
    let GateError::OverTolerance { difference, .. } = &error else { panic!("{error}") };
    assert!(difference.max_abs > 0.1, "{error}");
    assert!(error.to_string().contains("nothing was written"), "{error}");
}

#[test]
fn a_zeroed_layer_in_the_graph_does_not() {
    let zeroed = "input_blocks.3.0.out_layers.3.weight";
    let result = judged(|folder, preset| {
        let bytes = lowered(folder, &nets::unet(preset).unwrap());
        let mut model = ModelProto::decode(bytes.as_slice()).unwrap();
        let graph = model.graph.as_mut().unwrap();
        let tensor = graph.initializer.iter_mut().find(|t| t.name() == zeroed).unwrap();
        tensor.external_data.clear();
        tensor.data_location = Some(tensor_proto::DataLocation::Default as i32);
        tensor.raw_data = Some(vec![0; 4 * tensor.dims.iter().product::<i64>() as usize]);
        model.encode_to_vec()
    });
    let error = result.unwrap_err();
    assert!(matches!(error, GateError::OverTolerance { .. }), "{error}");
}

#[test]
fn a_zeroed_layer_in_the_weights_does_not() {
    let zeroed = "unet.input_blocks.3.0.out_layers.3.weight";
    let result = judged(|folder, preset| {
        let path = folder.join(WEIGHTS);
        let at = Weights::open(&path).unwrap().location(zeroed).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[at.offset as usize..(at.offset + at.length) as usize].fill(0);
        std::fs::write(&path, bytes).unwrap();
        lowered(folder, &nets::unet(preset).unwrap())
    });
    let error = result.unwrap_err();
    assert!(matches!(&error, GateError::Parameter { name } if name == zeroed), "{error}");
}

#[test]
fn whatever_fails_nothing_is_left() {
    let place = tempfile::tempdir().unwrap();
    let preset = Preset::load("tiny").unwrap();
    let random = |graph: &Graph| Some(Source::Random(RandomWeights::new(1, graph.params())));
    let (unet, classifier) = (nets::unet(&preset).unwrap(), nets::classifier(&preset).unwrap());
    let output = place.path().join("deep/bundle");
    let request = |unet, classifier, gate| Request {
        preset: &preset,
        unet,
        classifier,
        network: None,
        output: &output,
        target: Target::Portable,
        precision: Precision::F32,
        gate,
        held_out: None,
        note: None,
        card: None,
    };
    // Stopped at each step in turn, until one run gets through.
    let mut steps = 0;
    loop {
        let mut left = steps;
        let result = write(&request(random(&unet), random(&classifier), Gate::None), &mut |event| {
            // Parameters are many and alike: the first (4096 values) stands for all.
            if matches!(event, anomalens_exporter::bundle::Event::Weights { done, .. } if done > 4096) {
                return ControlFlow::Continue(());
            }
            left -= 1;
            if left < 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        match result {
            Ok(_) => break,
            Err(WriteError::Stopped | WriteError::Gate(GateError::Stopped)) => {
                assert!(listing(place.path()).is_empty(), "after {steps} steps")
            }
            Err(other) => panic!("{other}"),
        }
        steps += 1;
    }
    assert!(steps > 3, "{steps}");
    // Another network's parameters.
    std::fs::remove_dir_all(place.path().join("deep")).unwrap();
    let result = write(&request(random(&classifier), None, Gate::None), &mut |_| ControlFlow::Continue(()));
    assert!(matches!(result, Err(WriteError::Checkpoint(_))));
    let result = write(&request(None, None, Gate::None), &mut |_| ControlFlow::Continue(()));
    assert!(matches!(result, Err(WriteError::Nothing { .. })));
    assert!(listing(place.path()).is_empty());
}
