use ndarray::{Array1, Array4};

use super::*;
use crate::testing::images;
use crate::testing::onnx::{write_classifier, write_group_norm, write_norm, write_unet, write_weights};

/// tract, and ONNX Runtime where its library is found.
fn engines() -> Vec<Box<dyn Engine>> {
    let mut engines = Vec::new();
    for choice in [EngineChoice::Tract, EngineChoice::Ort] {
        match open(&EngineOptions { choice, threads: Some(2), ..EngineOptions::default() }) {
            Ok(engine) => engines.push(engine),
            Err(why @ EngineError::LibraryNotFound { .. }) => eprintln!("without ONNX Runtime: {why}"),
            Err(why) => panic!("{why}"),
        }
    }
    engines
}

fn labels(values: &[i64]) -> Tensor {
    Tensor::I64(Array1::from(values.to_vec()).into_dyn())
}

fn image_tensor(x: &Array4<f32>) -> Tensor {
    Tensor::F32(x.clone().into_dyn())
}

#[test]
fn graphs_run_at_any_batch_with_their_weights_outside() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("unet.onnx");
    write_weights(folder.path(), 3);
    write_unet(&path, 3, 4, true);
    for engine in engines() {
        let name = engine.describe();
        let mut session = engine.load(&path).unwrap_or_else(|e| panic!("{name}: {e}"));
        let ports: Vec<_> = session.inputs().iter().map(|p| format!("{} {p}", p.name)).collect();
        assert_eq!(ports, ["x f32 [N, 3, 4, 4]", "t i64 [N]", "y i64 [N]"], "{name}");
        assert_eq!(session.outputs()[0].to_string(), "f32 [N, 6, 4, 4]", "{name}");
        // Batches in turn, so that what was compiled for one is not taken for another; inputs in any order.
        for n in [1, 3, 1, 2] {
            let x = images((n, 3, 4, 4));
            let (t, y): (Vec<_>, Vec<_>) = (0..n as i64).map(|i| (100 + i, i % 2)).unzip();
            let inputs = [("y", labels(&y)), ("x", image_tensor(&x)), ("t", labels(&t))];
            let outputs = session.run(&inputs).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!((outputs.len(), outputs[0].0.as_str()), (1, "out"), "{name}");
            assert_eq!(outputs[0].1.shape(), [n, 6, 4, 4], "{name}");
            for ((i, c, h, w), x) in x.indexed_iter() {
                let expected = x * (c + 1) as f32 + t[i] as f32 + 10.0 * y[i] as f32;
                assert!((outputs[0].1[[i, c, h, w]] - expected).abs() < 1e-4, "{name}: batch {n}");
                assert_eq!(outputs[0].1[[i, c + 3, h, w]], *x, "{name}: batch {n}");
            }
        }
    }
}

#[test]
fn an_array_that_is_not_contiguous_is_read_right() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("unet.onnx");
    write_weights(folder.path(), 2);
    write_unet(&path, 2, 4, false);
    let x = images((1, 2, 4, 4));
    let mut turned = x.clone();
    turned.swap_axes(2, 3);
    for engine in engines() {
        let mut session = engine.load(&path).unwrap();
        let inputs = [("x", image_tensor(&turned)), ("t", labels(&[0]))];
        let found = &session.run(&inputs).unwrap()[0].1;
        assert_eq!(found[[0, 2, 1, 3]], x[[0, 0, 3, 1]], "{}", engine.describe());
    }
}

#[test]
fn outputs_come_in_the_graphs_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("classifier_gradient.onnx");
    write_classifier(&path, 2, 4, false);
    for engine in engines() {
        let mut session = engine.load(&path).unwrap();
        let inputs =
            [("x", image_tensor(&images((2, 2, 4, 4)))), ("t", labels(&[3, 4])), ("y", labels(&[0, 1]))];
        let outputs = session.run(&inputs).unwrap();
        assert_eq!(outputs.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["logits", "gradient"]);
        assert_eq!(outputs[0].1, ndarray::array![[3.0, 0.0], [4.0, 1.0]].into_dyn(), "{}", engine.describe());
    }
}

#[test]
fn wrong_inputs_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("unet.onnx");
    write_weights(folder.path(), 3);
    write_unet(&path, 3, 4, false);
    let x = |dim| image_tensor(&images(dim));
    let (good, t) = (x((2, 3, 4, 4)), labels(&[0, 0]));
    type Inputs = Vec<(&'static str, Tensor)>;
    let cases: [(Inputs, &str, &str); 8] = [
        (vec![("x", good.clone())], "t", "nothing"),
        (vec![("x", good.clone()), ("t", t.clone()), ("y", t.clone())], "y", "no such input"),
        (vec![("x", good.clone()), ("t", t.clone()), ("t", t.clone())], "t", "given twice"),
        (vec![("x", x((2, 1, 4, 4))), ("t", t.clone())], "x", "f32 [2, 1, 4, 4]"),
        (vec![("x", x((2, 3, 4, 5))), ("t", t.clone())], "x", "f32 [2, 3, 4, 5]"),
        (vec![("x", x((0, 3, 4, 4))), ("t", labels(&[]))], "x", "f32 [0, 3, 4, 4]"),
        (vec![("x", good.clone()), ("t", good.clone())], "t", "f32 [2, 3, 4, 4]"),
        (vec![("x", good.clone()), ("t", labels(&[0, 0, 0]))], "t", "i64 [3]"),
    ];
    for engine in engines() {
        let mut session = engine.load(&path).unwrap();
        for (inputs, name, wrong) in &cases {
            match session.run(inputs).unwrap_err() {
                EngineError::Input { input, found, .. } => {
                    assert_eq!((input.as_str(), found.as_str()), (*name, *wrong))
                }
                other => panic!("{}: {other}", engine.describe()),
            }
        }
    }
}

#[test]
fn values_that_are_no_numbers_are_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("classifier_gradient.onnx");
    write_classifier(&path, 2, 4, true);
    for engine in engines() {
        let mut session = engine.load(&path).unwrap();
        let inputs = [("x", image_tensor(&images((1, 2, 4, 4)))), ("t", labels(&[3])), ("y", labels(&[0]))];
        match session.run(&inputs).unwrap_err() {
            EngineError::NotFinite { graph, output, index, .. } => {
                assert_eq!((graph.as_str(), output.as_str()), ("classifier_gradient.onnx", "gradient"));
                assert_eq!(index, [0, 0, 0, 0]);
            }
            other => panic!("{}: {other}", engine.describe()),
        }
    }
}

#[test]
fn what_is_no_graph_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text.onnx");
    std::fs::write(&text, "not a graph").unwrap();
    let lone = folder.path().join("unet.onnx");
    write_unet(&lone, 3, 4, false);
    for engine in engines() {
        for path in [&text, &lone, &folder.path().join("missing.onnx")] {
            match engine.load(path) {
                Err(error @ EngineError::Model { .. }) => {
                    assert!(error.to_string().contains("beside it"), "{error}");
                }
                Err(other) => panic!("{}: {other}", engine.describe()),
                Ok(_) => panic!("{}: {} was loaded", engine.describe(), path.display()),
            }
        }
    }
}

#[test]
fn tract_knows_only_the_processor() {
    let options =
        EngineOptions { choice: EngineChoice::Tract, device: Device::Cuda(0), ..EngineOptions::default() };
    let error = open(&options).map(|engine| engine.describe()).unwrap_err();
    assert!(error.to_string().contains("--engine ort"), "{error}");
}

#[test]
fn a_provider_goes_with_its_engine_and_device_alone() {
    let (choice, device) = (EngineChoice::Auto, Device::Cuda(0));
    for provider in [Provider::OpenVino, Provider::OpenVinoBf16] {
        for (options, words) in [
            (
                EngineOptions { choice: EngineChoice::Tract, provider, ..EngineOptions::default() },
                "--engine ort",
            ),
            (EngineOptions { choice, device, provider, ..EngineOptions::default() }, "--device cpu"),
        ] {
            match open(&options).map(|engine| engine.describe()) {
                Err(error @ EngineError::Provider { .. }) => {
                    assert!(error.to_string().contains(words), "{error}");
                    assert!(error.to_string().contains("or leave --provider out"), "{error}");
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn a_missing_gpu_is_an_error_with_the_way_out() {
    let options =
        EngineOptions { choice: EngineChoice::Auto, device: Device::Cuda(99), ..EngineOptions::default() };
    match open(&options).map(|engine| engine.describe()) {
        Err(error @ EngineError::Device { device: Device::Cuda(99), .. }) => {
            assert!(error.to_string().contains("make deps DEVICE=cuda"), "{error}");
        }
        Err(error @ EngineError::LibraryNotFound { .. }) => eprintln!("without ONNX Runtime: {error}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn auto_says_what_it_took() {
    let engine = open(&EngineOptions::default()).unwrap().describe();
    match probe().ort {
        Ok(library) => assert_eq!(engine, format!("ort {} (cpu)", library.version)),
        Err(_) => assert!(engine.starts_with("tract ") && engine.contains("ONNX Runtime"), "{engine}"),
    }
}

#[test]
fn zero_threads_are_refused() {
    let options = EngineOptions { threads: Some(0), ..EngineOptions::default() };
    assert_eq!(open(&options).map(drop), Err(EngineError::Threads));
}

#[test]
fn names_are_read_and_written() {
    for choice in [EngineChoice::Auto, EngineChoice::Ort, EngineChoice::Tract] {
        assert_eq!(choice.to_string().parse(), Ok(choice));
    }
    for device in [Device::Cpu, Device::Cuda(0), Device::Cuda(3)] {
        assert_eq!(device.to_string().parse(), Ok(device));
    }
    assert_eq!("cuda".parse(), Ok(Device::Cuda(0)));
    for text in ["gpu", "cuda:", "cuda:x", "", "CPU"] {
        assert!(matches!(text.parse::<Device>(), Err(EngineError::Name { what: "device", .. })), "{text}");
    }
    assert!("onnx".parse::<EngineChoice>().is_err());
    for provider in [Provider::Default, Provider::OpenVino, Provider::OpenVinoBf16] {
        assert_eq!(provider.to_string().parse(), Ok(provider));
    }
    assert!(matches!("bf16".parse::<Provider>(), Err(EngineError::Name { what: "provider", .. })));
}

#[test]
fn the_version_of_tract_is_the_one_that_is_locked() {
    let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock")).unwrap();
    assert!(lock.contains(&format!("name = \"tract-onnx\"\nversion = \"{TRACT_VERSION}\"")));
}

/// (x − mean) / √(variance + ε), with sums as `sum` makes them.
fn normalised(x: &[f32], sum: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let n = x.len() as f64;
    let x: Vec<f64> = x.iter().map(|&v| f64::from(v)).collect();
    let mean = sum(&x) / n;
    let difference: Vec<f64> = x.iter().map(|v| v - mean).collect();
    let squares: Vec<f64> = difference.iter().map(|v| v * v).collect();
    let factor = 1.0 / (sum(&squares) / n + 1e-5).sqrt();
    difference.iter().map(|v| v * factor).collect()
}

/// Values are 2 at most, and f32 rounds each by 1e-7 in each of the few steps.
const NORMALISED: f64 = 2e-6;

#[test]
fn tract_normalises_a_long_row_as_exactly_as_a_short_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("norm.onnx");
    let tract = EngineOptions { choice: EngineChoice::Tract, ..EngineOptions::default() };
    for length in [512, 262_144] {
        write_norm(&path, length);
        let x = images((1, 1, 1, length)).into_shape_with_order(length).unwrap();
        let mut session = open(&tract).unwrap().load(&path).unwrap();
        let row = Tensor::F32(x.clone().into_shape_with_order((1, 1, length)).unwrap().into_dyn());
        let found: Vec<_> = session.run(&[("x", row)]).unwrap()[0].1.mapv(f64::from).into_iter().collect();
        let x = x.to_vec();
        let exact = normalised(&x, |values| values.iter().sum());
        let apart =
            |found: &[f64]| found.iter().zip(&exact).fold(0.0f64, |most, (a, b)| most.max((a - b).abs()));
        assert!(apart(&found) < NORMALISED, "{length} values: {:.1e}", apart(&found));
        let in_turn = normalised(&x, |values| f64::from(values.iter().fold(0.0f32, |s, &v| s + v as f32)));
        // What is guarded against: one value after the other in f32.
        assert_eq!(
            apart(&in_turn) > NORMALISED,
            length == 262_144,
            "{length} values: {:.1e}",
            apart(&in_turn)
        );
    }
}

#[test]
fn a_group_norm_is_scaled_channel_by_channel() {
    let folder = tempfile::tempdir().unwrap();
    let (batch, channels, size, groups) = (2, 6, 5, 3);
    write_weights(folder.path(), channels);
    let x = images((batch, channels, size, size));
    let length = channels / groups * size * size;
    let rows: Vec<f32> = x.iter().copied().collect();
    let normal: Vec<f64> =
        rows.chunks(length).flat_map(|row| normalised(row, |values| values.iter().sum())).collect();
    let apart = |found: &ArrayD<f32>, exact: &mut dyn Iterator<Item = f64>| {
        found.iter().zip(exact).fold(0.0f64, |most, (a, b)| most.max((f64::from(*a) - b).abs()))
    };
    for engine in engines() {
        for tapped in [false, true] {
            let path = folder.path().join("group_norm.onnx");
            write_group_norm(&path, channels, size, groups, tapped);
            let found = engine.load(&path).unwrap().run(&[("x", image_tensor(&x))]).unwrap();
            let (by, plus) = if tapped { (2.0, 1.0) } else { (1.0, 0.0) };
            let silu = |(i, v): (usize, &f64), channel_of: &dyn Fn(usize) -> usize| {
                let channel = channel_of(i / (size * size) % channels) as f64;
                let v = (v * by + plus) * (channel + 1.0) - channel;
                v / (1.0 + (-v).exp())
            };
            let case = format!("{}, tapped: {tapped}", engine.describe());
            // Values are 30 at most.
            let off = apart(&found[0].1, &mut normal.iter().enumerate().map(|v| silu(v, &|c| c)));
            assert!(off < 15.0 * NORMALISED, "{case}: {off:.1e}");
            // What is guarded against: the scale of the group instead of the channel's.
            let wrong = apart(&found[0].1, &mut normal.iter().enumerate().map(|v| silu(v, &|c| c / 2)));
            assert!(wrong > 0.1, "{case}: {wrong:.1e}");
            if tapped {
                let off = apart(&found[1].1, &mut normal.iter().map(|v| v * by + plus));
                assert!(off < 2.0 * NORMALISED, "{case}: {off:.1e}");
            }
        }
    }
}
