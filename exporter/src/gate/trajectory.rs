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

use anomalens_method::ddim::{GradientScale, Guide, OnHost};
use anomalens_method::metrics::dice;
use anomalens_method::otsu::{self, OtsuError};
use anomalens_method::translate::{self, Options, Steps, TranslateError};
use anomalens_models::image::AnomalyMap;
use anomalens_models::manifest::{CLASSIFIER_GRADIENT, Trajectory, UNET, WEIGHTS};
use anomalens_models::schedule::Schedule;
use anomalens_models::weights::{Precision, Weights, WeightsWriter};
use anomalens_runtime::bundle::{ClassifierGradient, Unet};
use anomalens_runtime::engine::Engine;
use prost::Message;

use super::{GateError, Subject, Written, next, short_name};
use crate::held_out::HeldOut;
use crate::lower::{Lowering, WeightsAt, lower};
use crate::target::Target;

/// Steps of each loop: as many as the demo's presets take, and enough for an error to add up.
const STEPS: usize = 50;
/// Mean difference of the maps inside the brain, in units of the mean map there.
const MAP_LIMIT: f64 = 0.01;
/// Change of Dice: less than what is left out when a figure is given with two decimals.
const DICE_LIMIT: f64 = 0.005;

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
    let (map_change, dice_change) = changes(&found, &expected, held_out)?;
    Ok(Trajectory {
        images: held_out.positions().to_vec(),
        sha256: held_out.sha256().to_owned(),
        noise_level: options.noise_level.get(),
        steps: steps(&options),
        solver: options.solver,
        scale: options.scale.get(),
        engine: engine.describe(),
        against: format!("the network of {} in portable f32 on the same engine", written.origin),
        map_change,
        map_limit: MAP_LIMIT,
        dice_with: if held_out.truths().is_some() { "truth" } else { "each other" }.into(),
        dice_change,
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

/// The change of the maps inside the brain, of all images together; and that of Dice, mean of the images.
fn changes(
    found: &[AnomalyMap],
    expected: &[AnomalyMap],
    held_out: &HeldOut,
) -> Result<(f64, f64), OtsuError> {
    let (mut apart, mut whole, mut dice_change) = (0.0, 0.0, 0.0);
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let pixels = found.values().iter().zip(expected.values());
        for ((&found, &expected), _) in pixels.zip(&held_out.brain(i)).filter(|(_, inside)| **inside) {
            apart += f64::from((found - expected).abs());
            whole += f64::from(expected);
        }
        let [found, expected] = [found, expected].map(otsu::mask);
        let (found, expected) =
            (found?.1.into_raw_vec_and_offset().0, expected?.1.into_raw_vec_and_offset().0);
        let dice = |mask: &[bool], truth: &[bool]| dice(mask, truth).expect("planes of one image's size");
        dice_change += match held_out.truths() {
            Some(truths) => (dice(&found, &truths[i]) - dice(&expected, &truths[i])).abs(),
            None => 1.0 - dice(&found, &expected),
        };
    }
    let map_change = if apart == 0.0 { 0.0 } else { apart / whole };
    Ok((map_change, dice_change / expected.len().max(1) as f64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use anomalens_models::preset::Preset;
    use ndarray::{Array2, Array3, Array4, s};
    use ndarray_npy::write_npy;

    /// One image of 4 × 4 pixels, the last column outside the brain; if `marked`, the first pixel is the truth.
    fn held_out(marked: bool) -> HeldOut {
        let folder = tempfile::tempdir().unwrap();
        let mut preset = Preset::load("tiny").unwrap();
        preset.image.size = 4;
        let mut image = Array4::<f32>::from_elem((1, 4, 4, 4), 0.5);
        image.slice_mut(s![.., .., .., 3]).fill(0.0);
        write_npy(folder.path().join("images.npy"), &image).unwrap();
        let mut mask = Array3::<u8>::zeros((1, 4, 4));
        mask[[0, 0, 0]] = u8::from(marked);
        write_npy(folder.path().join("masks.npy"), &mask).unwrap();
        HeldOut::read(folder.path(), &preset).unwrap()
    }

    /// A map that is 1 in the brain and 9 in its first pixel.
    fn map(change: impl FnOnce(&mut Array2<f32>)) -> [AnomalyMap; 1] {
        let mut values = Array2::ones((4, 4));
        values[[0, 0]] = 9.0;
        change(&mut values);
        [AnomalyMap::from_values(values)]
    }

    #[test]
    fn changes_are_those_inside_the_brain() {
        // Twelve pixels inside, 20 in sum; the masks are the first pixel alone, but for the last two cases.
        let found =
            |marked, change: fn(&mut Array2<f32>)| changes(&map(change), &map(|_| ()), &held_out(marked));
        for marked in [true, false] {
            assert_eq!(found(marked, |_| ()).unwrap(), (0.0, 0.0));
            assert_eq!(found(marked, |m| m[[1, 3]] = 2.0).unwrap(), (0.0, 0.0));
            assert_eq!(found(marked, |m| m[[1, 1]] = 1.5).unwrap(), (0.5 / 20.0, 0.0));
            assert_eq!(found(marked, |m| m[[1, 1]] = 0.5).unwrap(), (0.5 / 20.0, 0.0));
            // One pixel more in the mask: Dice falls from 1 to 2/3, with the truth as with the other mask.
            let (map_change, dice_change) = found(marked, |m| m[[1, 1]] = 9.0).unwrap();
            assert!(map_change == 8.0 / 20.0 && (dice_change - 1.0 / 3.0).abs() < 1e-12, "{dice_change}");
            // Another pixel instead.
            let (_, dice_change) = found(marked, |m| m.swap([0, 0], [1, 1])).unwrap();
            assert_eq!(dice_change, 1.0);
        }
        let nothing = [AnomalyMap::from_values(Array2::zeros((4, 4)))];
        assert_eq!(changes(&nothing, &nothing, &held_out(true)).unwrap(), (0.0, 0.0));
        assert_eq!(changes(&map(|_| ()), &nothing, &held_out(true)).unwrap().0, f64::INFINITY);
    }
}
