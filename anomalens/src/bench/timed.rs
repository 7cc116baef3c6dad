//! An engine whose sessions note how long each run took.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anomalens_models::graph::Tensor;
use anomalens_runtime::engine::{Engine, EngineError, Port, Session, StepNumbers, StepSession};
use ndarray::{Array4, ArrayD};

/// The runs of each graph, by its file's name without the ending; of a guided step both of its graphs together.
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

    fn load_steps(&self, graphs: &[&Path]) -> Result<Option<Box<dyn StepSession>>, EngineError> {
        let runs = self.runs.clone();
        let timed = |session| Box::new(TimedSteps { session, runs }) as Box<dyn StepSession>;
        Ok(self.engine.load_steps(graphs)?.map(timed))
    }
}

/// Notes how long a run took.
fn note(runs: &Mutex<Runs>, graph: &str, took: Duration) {
    runs.lock().unwrap_or_else(PoisonError::into_inner).entry(graph.to_owned()).or_default().push(took);
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
        note(&self.runs, &self.graph, began.elapsed());
        outputs
    }
}

/// Steps on the device, each timed as a whole.
struct TimedSteps {
    session: Box<dyn StepSession>,
    runs: Arc<Mutex<Runs>>,
}

impl StepSession for TimedSteps {
    fn ports(&self) -> Vec<(&[Port], &[Port])> {
        self.session.ports()
    }

    fn begin(&mut self, x: &Array4<f32>) -> Result<(), EngineError> {
        self.session.begin(x)
    }

    fn step(&mut self, numbers: &StepNumbers) -> Result<(), EngineError> {
        let began = Instant::now();
        let made = self.session.step(numbers);
        note(&self.runs, if numbers.guided { "guided_step" } else { "encode_step" }, began.elapsed());
        made
    }

    fn images(&mut self) -> Result<Array4<f32>, EngineError> {
        self.session.images()
    }

    fn describe(&self) -> String {
        self.session.describe()
    }

    fn notes(&mut self) -> Vec<String> {
        self.session.notes()
    }
}
