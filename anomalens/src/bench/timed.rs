//! An engine whose sessions note how long each run took.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anomalens_models::graph::Tensor;
use anomalens_runtime::engine::{Engine, EngineError, Port, Session};
use ndarray::ArrayD;

/// The runs of each graph, by its file's name without the ending.
pub type Runs = BTreeMap<String, Vec<Duration>>;

/// Another engine, timed.
pub struct TimedEngine {
    engine: Box<dyn Engine>,
    runs: Arc<Mutex<Runs>>,
}

impl TimedEngine {
    /// Times `engine`.
    pub fn new(engine: Box<dyn Engine>) -> Self {
        Self { engine, runs: Arc::default() }
    }

    /// What has run since the last call.
    pub fn take(&self) -> Runs {
        std::mem::take(&mut self.runs.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Engine for TimedEngine {
    fn describe(&self) -> String {
        self.engine.describe()
    }

    fn can_run(&self, target: &str, precision: &str) -> bool {
        self.engine.can_run(target, precision)
    }

    fn load(&self, onnx: &Path) -> Result<Box<dyn Session>, EngineError> {
        let graph = onnx.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Box::new(TimedSession { session: self.engine.load(onnx)?, graph, runs: self.runs.clone() }))
    }
}

struct TimedSession {
    session: Box<dyn Session>,
    graph: String,
    runs: Arc<Mutex<Runs>>,
}

impl Session for TimedSession {
    fn inputs(&self) -> &[Port] {
        self.session.inputs()
    }

    fn outputs(&self) -> &[Port] {
        self.session.outputs()
    }

    fn run(&mut self, inputs: &[(&str, Tensor)]) -> Result<Vec<(String, ArrayD<f32>)>, EngineError> {
        let began = Instant::now();
        let outputs = self.session.run(inputs);
        let took = began.elapsed();
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        runs.entry(self.graph.clone()).or_default().push(took);
        outputs
    }
}
