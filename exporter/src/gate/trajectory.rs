//! Translations of held-out images by a U-Net that is not portable f32, against the same network that is.
//!
//! ```text
//! bundle's unet.onnx ─────────────────────────────┐                                        ┌─ |Δmap| inside the brain
//!                                                 ├─> method: 50 + 50 guided steps ─> maps ─┤
//! its parameters ─> weights, unet.onnx in f32 ────┘                                        └─ Otsu's masks ─> Dice
//! ```
//!
//! Both sides have the same engine, the same guide (the bundle's, portable f32 always) and the same options: L and s of
//! the preset. What differs is what the bundle's target and precision make of one network.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use anomalens_method::agreement::{Change, DICE_LIMIT, MAP_LIMIT};
use anomalens_method::ddim::{GradientScale, Guide, OnHost};
use anomalens_method::translate::{self, Options, Steps, TranslateError};
use anomalens_models::held_out::HeldOut;
use anomalens_models::image::AnomalyMap;
use anomalens_models::manifest::{CLASSIFIER_GRADIENT, Trajectory, UNET, WEIGHTS};
use anomalens_models::schedule::Schedule;
use anomalens_models::weights::{Precision, Weights, WeightsWriter};
use anomalens_runtime::bundle::{ClassifierGradient, Unet};
use anomalens_runtime::engine::Engine;
use prost::Message;

use super::{GateError, Subject, Written, next, short_name};
use crate::lower::{Lowering, WeightsAt, lower};
use crate::target::Target;

/// Steps of each loop: as many as the demo's presets take, and enough for an error to add up.
const STEPS: usize = 50;

/// Translates by both and compares. Being over a limit is no error: see [`Trajectory::passed`].
///
/// Errors: [`GateError`].
pub(super) fn hold(
    written: &Written<'_>,
    unet: &Subject<'_>,
    held_out: &HeldOut,
    engine: &dyn Engine,
    say: &mut dyn FnMut(&str) -> ControlFlow<()>,
) -> Result<Trajectory, GateError> {
    let options = options(written)?;
    let plain =
        tempfile::tempdir().map_err(|source| GateError::Scratch { path: std::env::temp_dir(), source })?;
    next(say, "translations: write the f32 side")?;
    write_plain(plain.path(), unet)?;
    let mut maps = |name: &str, folder: &Path| {
        translate(written, folder, &options, held_out, engine, &mut |done, total| {
            next(say, &format!("translations: {}, {name}: {done} of {total} steps", short_name(engine)))
        })
    };
    let found = maps(unet.precision.name(), written.folder)?;
    let expected = maps("f32 to compare with", plain.path())?;
    let change = Change::between(&found, &expected, held_out.images(), held_out.truths())?;
    Ok(Trajectory {
        images: held_out.positions().to_vec(),
        sha256: held_out.sha256().to_owned(),
        noise_level: options.noise_level.get(),
        steps: steps(&options),
        solver: options.solver,
        scale: options.scale.get(),
        engine: engine.describe(),
        against: format!("the network of {} in portable f32 on the same engine", written.origin),
        map_change: change.map,
        map_limit: MAP_LIMIT,
        dice_with: if held_out.truths().is_some() { "truth" } else { "each other" }.into(),
        dice_change: change.dice,
        dice_limit: DICE_LIMIT,
    })
}

/// [`STEPS`], where L has so many.
fn steps(options: &Options) -> usize {
    STEPS.min(options.noise_level.get())
}

/// L, s, solver and the healthy class of the preset, pulled at every level; without a classifier nothing pulls.
fn options(written: &Written<'_>) -> Result<Options, GateError> {
    let defaults = Options::defaults(written.preset).map_err(TranslateError::from)?;
    let spacing = written.preset.guided().map_err(|e| TranslateError::Ddim(e.into()))?.translate.spacing;
    let guided = written.subjects.iter().any(|subject| subject.file == CLASSIFIER_GRADIENT);
    Ok(Options {
        steps: Steps::Spaced { n: steps(&defaults), spacing },
        scale: if guided { defaults.scale } else { GradientScale::NONE },
        guidance_interval: None,
        ..defaults
    })
}

/// Writes the network of `unet` into `folder` as the portable f32 bundle would have it.
fn write_plain(folder: &Path, unet: &Subject<'_>) -> Result<(), GateError> {
    let scratch = |source: io::Error| GateError::Scratch { path: folder.to_owned(), source };
    let path = folder.join(WEIGHTS);
    let file = File::create(&path).map_err(scratch)?;
    let mut writer = WeightsWriter::new(file, unet.graph.params().to_vec()).map_err(scratch)?;
    for param in unet.graph.params() {
        let missing = || GateError::Parameter { name: format!("{}{}", unet.prefix, param.name) };
        let values = unet.params.param(&param.name).ok_or_else(missing)?;
        let values = values.as_standard_layout();
        writer
            .write(&param.name, values.as_slice().expect("made contiguous by the line above"))
            .map_err(scratch)?;
    }
    writer.finish().map_err(scratch)?;
    let weights = Weights::open(&path)?;
    let model = lower(
        unet.graph,
        &Lowering {
            target: Target::Portable,
            precision: Precision::F32,
            plain: &[],
            weights: WeightsAt::Beside { file: WEIGHTS, locate: &|name| weights.location(name).ok() },
            metadata: &[],
        },
    )?;
    std::fs::write(folder.join(UNET), model.encode_to_vec()).map_err(scratch)
}

/// The maps of the held-out images by the U-Net that lies in `folder` and the written classifier.
fn translate(
    written: &Written<'_>,
    folder: &Path,
    options: &Options,
    held_out: &HeldOut,
    engine: &dyn Engine,
    done: &mut dyn FnMut(usize, usize) -> Result<(), GateError>,
) -> Result<Vec<AnomalyMap>, GateError> {
    let preset = written.preset;
    let guided = preset.guided().map_err(|e| TranslateError::Ddim(e.into()))?;
    let schedule = Schedule::new(&guided.schedule).map_err(|e| TranslateError::Ddim(e.into()))?;
    let mut net = Unet::load(folder, preset, engine)?;
    let guided = options.scale > GradientScale::NONE;
    let mut guide = guided.then(|| ClassifierGradient::load(written.folder, preset, engine)).transpose()?;
    let guide = guide.as_mut().map(|guide| guide as &mut dyn Guide);
    let images = held_out.images();
    let mut stepper = OnHost::new(&mut net, guide);
    let translation = translate::translate(&mut stepper, &schedule, images, options, &mut |step| match done(
        step.done, step.total,
    ) {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    });
    match translation {
        Err(error) if error.cancelled() => Err(GateError::Stopped),
        other => Ok(other?.maps),
    }
}
