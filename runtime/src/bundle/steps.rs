//! The steps of a bundle as graphs, so that images stay on the device from the beginning of a leg to its end.

use std::path::Path;

use anomalens_method::ddim::{ClassLabel, DdimError, GradientScale, NetworkError, Networks, Step, Stepper};
use anomalens_models::graph::DType;
use anomalens_models::manifest::{CLASSIFIER_GRADIENT, ENCODE_STEP, GUIDED_STEP, Manifest};
use anomalens_models::step::{
    C_GRADIENT, C_PREVIOUS, C_SLOPE, C_X, COEFFICIENT_COUNT, COEFFICIENTS, EPS, PREVIOUS, SLOPE, T,
    T_CLASSIFIER, X, X_NEXT, Y,
};
use ndarray::Array4;

use super::{OpenError, compare, guided, image_port, port};
use crate::engine::{Engine, EngineError, Port, StepNumbers, StepSession};

/// The steps of a bundle, loaded.
pub struct Steps {
    session: Box<dyn StepSession>,
}

impl Steps {
    /// Loads the steps of a bundle's folder. `None` where it has none, where it has none for its classifier, or where the engine
    /// keeps no images where it computes.
    ///
    /// Errors: [`OpenError::Engine`], [`OpenError::ForeignGraph`], [`OpenError::Method`].
    pub fn load(folder: &Path, manifest: &Manifest, engine: &dyn Engine) -> Result<Option<Self>, OpenError> {
        let files =
            match (manifest.has(ENCODE_STEP), manifest.has(CLASSIFIER_GRADIENT), manifest.has(GUIDED_STEP)) {
                (true, false, _) => vec![ENCODE_STEP],
                (true, true, true) => vec![ENCODE_STEP, GUIDED_STEP],
                (true, true, false) | (false, _, _) => return Ok(None),
            };
        let paths: Vec<_> = files.iter().map(|file| folder.join(file)).collect();
        let paths: Vec<&Path> = paths.iter().map(|path| path.as_path()).collect();
        let fault = |source| OpenError::Engine { bundle: folder.to_owned(), source };
        let Some(session) = engine.load_steps(&paths).map_err(fault)? else { return Ok(None) };
        for (file, (inputs, outputs)) in files.into_iter().zip(session.ports()) {
            let [expected_inputs, expected_outputs] = ports(folder, manifest, file)?;
            let foreign = |(what, found, expected)| OpenError::ForeignGraph {
                bundle: folder.to_owned(),
                file,
                what,
                found,
                expected,
            };
            compare("input", inputs, &expected_inputs).map_err(foreign)?;
            compare("output", outputs, &expected_outputs).map_err(foreign)?;
        }
        Ok(Some(Self { session }))
    }

    /// How steps are made, in words.
    pub fn describe(&self) -> String {
        self.session.describe()
    }

    /// What a person should know of it, each said once.
    pub fn notes(&mut self) -> Vec<String> {
        self.session.notes()
    }
}

/// What the graph of a step takes and gives by the preset.
fn ports(folder: &Path, manifest: &Manifest, file: &str) -> Result<[Vec<Port>; 2], OpenError> {
    let preset = &manifest.preset;
    let image = |name: &str| image_port(name, preset, preset.channels());
    let number = |name: &str| port(name, DType::I64, &[None]);
    let coefficients = port(COEFFICIENTS, DType::F32, &[None, Some(COEFFICIENT_COUNT)]);
    let mut inputs = vec![image(X), image(PREVIOUS), coefficients];
    let guided_step = file == GUIDED_STEP;
    inputs.extend(if guided_step { vec![image(EPS), number(T_CLASSIFIER)] } else { vec![number(T)] });
    if guided_step || guided(folder, preset)?.unet.classes.is_some() {
        inputs.push(number(Y));
    }
    Ok([inputs, vec![image(X_NEXT), image(SLOPE)]])
}

/// Makes steps by [`Steps`]. Rounded to f32 a step is as exact as on the host but for the last bits: see
/// [`anomalens_models::step`].
pub struct OnDevice<'a> {
    steps: &'a mut Steps,
    networks: Networks<'a>,
    /// Whether there is a slope of an earlier step.
    sloped: bool,
}

impl<'a> OnDevice<'a> {
    /// A stepper over the steps of a bundle and its networks themselves.
    pub fn new(steps: &'a mut Steps, networks: Networks<'a>) -> Self {
        Self { steps, networks, sloped: false }
    }
}

fn fault(error: EngineError) -> DdimError {
    NetworkError::new(error).into()
}

impl Stepper for OnDevice<'_> {
    fn begin(&mut self, x: Array4<f32>) -> Result<(), DdimError> {
        self.sloped = false;
        self.steps.session.begin(&x).map_err(fault)
    }

    fn step(&mut self, step: &Step, scale: GradientScale, y: ClassLabel) -> Result<(), DdimError> {
        let number = |value: usize| i64::try_from(value).expect("timesteps and classes are small");
        let pulled = self.guided() && scale > GradientScale::NONE;
        // Without an earlier slope a step is Euler's, whatever its plan wants.
        let previous_alpha_bar = step.previous_alpha_bar.filter(|_| self.sloped);
        let by = Step { previous_alpha_bar, ..*step }.coefficients();
        let mut coefficients = [0.0; COEFFICIENT_COUNT];
        coefficients[C_X] = by.x as f32;
        coefficients[C_SLOPE] = by.slope as f32;
        coefficients[C_PREVIOUS] = by.previous as f32;
        if pulled {
            coefficients[C_GRADIENT] = (scale.get() * (1.0 - step.from_alpha_bar).sqrt()) as f32;
        }
        let numbers = StepNumbers {
            guided: pulled,
            t: number(step.unet.get()),
            t_classifier: number(step.classifier.get()),
            y: number(y.get()),
            coefficients,
        };
        self.steps.session.step(&numbers).map_err(fault)?;
        self.sloped = true;
        Ok(())
    }

    fn images(&mut self) -> Result<Array4<f32>, DdimError> {
        self.steps.session.images().map_err(fault)
    }

    fn guided(&self) -> bool {
        self.networks.guide.is_some()
    }

    fn networks(&mut self) -> Result<Networks<'_>, DdimError> {
        Ok(self.networks.reborrow())
    }
}
