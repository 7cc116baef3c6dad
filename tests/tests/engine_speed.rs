//! How long tract takes beside ONNX Runtime, on the same processor and threads.

use std::path::Path;
use std::time::{Duration, Instant};

use anomalens_models::graph::{DType, Tensor};
use anomalens_models::manifest::{CLASSIFIER_GRADIENT, UNET};
use anomalens_runtime::engine::{self, EngineChoice, EngineOptions, Port, Session};
use anomalens_tests::root;
use ndarray::{ArrayD, IxDyn};

/// tract has no layout of images in blocks, and multiplies matrices that it has written out first.
const MOST: f64 = 2.5;
/// Calls of each engine, in turns.
const ROUNDS: usize = 21;

fn load(choice: EngineChoice, threads: usize, graph: &Path) -> Box<dyn Session> {
    let options = EngineOptions { choice, threads: Some(threads), ..EngineOptions::default() };
    engine::open(&options).unwrap().load(graph).unwrap()
}

/// One image, one timestep, one class.
fn input(port: &Port) -> Tensor {
    let shape: Vec<usize> = port.dims.iter().map(|length| length.unwrap_or(1)).collect();
    match port.dtype {
        Some(DType::I64) => Tensor::I64(ArrayD::from_elem(shape, 1)),
        _ => {
            let mut pixels = 0u32..;
            let next = || (pixels.next().unwrap_or(0) as f32).sin();
            Tensor::F32(ArrayD::from_shape_simple_fn(IxDyn(&shape), next))
        }
    }
}

#[test]
#[ignore = "timing, which wants a quiet machine; run with --ignored --nocapture"]
fn tract_is_not_far_behind() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    for file in [UNET, CLASSIFIER_GRADIENT] {
        for threads in [1, cores] {
            let graph = root().join("models/demo").join(file);
            let mut sessions =
                [EngineChoice::Ort, EngineChoice::Tract].map(|choice| load(choice, threads, &graph));
            let ports = sessions[0].inputs().to_vec();
            let inputs: Vec<_> = ports.iter().map(|port| (port.name.as_str(), input(port))).collect();
            let mut call = |session: usize| {
                let began = Instant::now();
                sessions[session].run(&inputs).unwrap();
                began.elapsed()
            };
            // Graphs are made ready by the first call.
            let _ = [call(0), call(1)];
            let mut times = [vec![], vec![]];
            for round in 0..2 * ROUNDS {
                times[round % 2].push(call(round % 2));
            }
            let [ort, tract] = times.map(median);
            let ratio = tract.as_secs_f64() / ort.as_secs_f64();
            println!("{file}, threads: {threads}: ort {ort:.1?}, tract {tract:.1?}, ratio {ratio:.2}");
            assert!(ratio < MOST, "{file}, threads: {threads}: ort {ort:.1?}, tract {tract:.1?}: {ratio:.2}");
        }
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
