//! Checkpoints to a bundle: check, write the weights once, lower both graphs onto them, pass the parity gate.
//!
//! ```text
//! unet.pt ───────┐ check_keys            ┌─ unet.onnx ─────────────────┐
//!                ├───────────> weights ──┤                             ├─> gate ─> card, manifest ─> rename
//! classifier.pt ─┘ one tensor at a time  └─ classifier_gradient.onnx ──┘
//! ```
//!
//! For `ort-cuda` the same weights serve `encode_step.onnx` and `guided_step.onnx` too, whole steps: see [`crate::step`].
//!
//! A network that makes images healthy in one pass goes the same way, to `network.onnx`.
//!
//! Everything happens in a hidden folder beside the bundle's, so that a bundle appears whole or not at all.

mod card;
mod source;

pub use source::{Source, StatsMismatch};

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use anomalens_models::graph::{GraphError, ParamSource, ParamSpec};
use anomalens_models::held_out::{HeldOut, HeldOutError};
use anomalens_models::manifest::{
    CLASSIFIER_GRADIENT, FORMAT, FileEntry, MANIFEST, MODEL_CARD, Manifest, WEIGHTS,
};
use anomalens_models::output::{OutputError, OutputFolder};
use anomalens_models::preset::{MethodName, Preset};
use anomalens_models::weights::{Precision, Weights, WeightsError, WeightsWriter};
use ndarray::ArrayD;
use prost::Message;

use crate::checkpoint::CheckpointError;
use crate::gate::{self, Gate, GateError, Subject, Written};
use crate::gradient::GradientError;
use crate::lower::{Lowering, MissingParameter, WeightsAt, lower, of_params};
use crate::parts::Part;
use crate::step::Step;
use crate::target::Target;

/// The program that writes bundles, with its version.
const TOOL: &str = concat!("anomalens-export ", env!("CARGO_PKG_VERSION"));

/// What to write.
pub struct Request<'a> {
    /// The networks' definition.
    pub preset: &'a Preset,
    /// The U-Net's parameters; without them the bundle cannot translate.
    pub unet: Option<Source>,
    /// The classifier's parameters; without them there is no guidance.
    pub classifier: Option<Source>,
    /// The parameters of the network that makes images healthy in one pass: of a preset of such a method, and then these
    /// alone.
    pub network: Option<Source>,
    /// The bundle's folder: new or empty.
    pub output: &'a Path,
    /// What the U-Net is lowered for; the classifier's gradient is always portable.
    pub target: Target,
    /// What the U-Net is stored in and computes in; the classifier's gradient is always f32: in fewer bits it is a fifth off.
    pub precision: Precision,
    /// How thoroughly the graphs are compared.
    pub gate: Gate,
    /// Folder of held-out images, see [`anomalens_models::held_out`]: without it no U-Net but a portable f32 one passes the gate.
    pub held_out: Option<&'a Path>,
    /// Where the weights come from, in a person's words.
    pub note: Option<&'a str>,
    /// Markdown that is put at the end of the model card: figures, limits.
    pub card: Option<&'a str>,
}

/// What is being done, for a progress bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// Parameters written, of all.
    Weights {
        /// Scalars written.
        done: usize,
        /// Scalars in all.
        total: usize,
    },
    /// What is done next, e.g. `unet.onnx: ort 1.31.1 (cpu)`.
    Next(&'a str),
}

/// Hears of each event, and may stop the work.
pub type Progress<'a> = dyn FnMut(Event<'_>) -> ControlFlow<()> + 'a;

/// Why no bundle was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// What the trainer says beside the weights does not fit.
    #[error(transparent)]
    Stats(#[from] StatsMismatch),
    /// No network was given.
    #[error(
        "bundle '{output}': found no checkpoint, expected a U-Net, a classifier or both, or the network of a method of one pass; give --unet or --classifier, or --network"
    )]
    Nothing {
        /// The bundle.
        output: String,
    },
    /// Another target or precision than the one that every machine has.
    #[error(
        "preset '{preset}' of method {method}: found --target {target} --precision {}, expected portable f32: its one network runs once an image; leave both options out",
        precision.name()
    )]
    Plain {
        /// The preset.
        preset: String,
        /// Its method.
        method: MethodName,
        /// What it was to be lowered for.
        target: Target,
        /// What it was to compute in.
        precision: Precision,
    },
    /// A checkpoint cannot be used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The preset's switches do not fit together.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The classifier cannot be differentiated.
    #[error(transparent)]
    Gradient(#[from] GradientError),
    /// A graph wants a parameter that its network does not have.
    #[error(transparent)]
    Lower(#[from] MissingParameter),
    /// A parameter that f16 cannot hold.
    #[error(
        "parameter '{name}' holds {found}, expected at most 65504 for f16; write the bundle with --precision f32"
    )]
    Overflow {
        /// The parameter.
        name: String,
        /// Its value.
        found: f32,
    },
    /// The held-out images cannot be used.
    #[error(transparent)]
    HeldOut(#[from] HeldOutError),
    /// The folder cannot be written.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The weights could not be read back.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The graphs do not compute what they should.
    #[error(transparent)]
    Gate(#[from] GateError),
    /// A person stopped it.
    #[error("stopped; nothing was written")]
    Stopped,
}

/// One network on its way into a bundle.
struct Network<'a> {
    part: Part,
    source: &'a Source,
}

/// Writes a bundle. Returns its manifest.
///
/// Errors: [`WriteError`]; then nothing is left of it.
pub fn write(request: &Request<'_>, progress: &mut Progress<'_>) -> Result<Manifest, WriteError> {
    let networks = networks(request)?;
    let mut training = Vec::new();
    for network in &networks {
        let graph = &network.part.graph;
        let name = format!("{} of preset '{}'", graph.name(), request.preset.name);
        network.source.check(&name, graph.params())?;
        training.extend(network.source.training(request.preset)?);
    }
    let held_out = request.held_out.map(|folder| HeldOut::read(folder, request.preset)).transpose()?;
    let folder = OutputFolder::create(request.output)?;
    write_weights(&folder, &networks, progress)?;
    let subjects: Vec<Subject<'_>> = networks.iter().map(|n| n.part.subject(n.source)).collect();
    let (steps, whole) = (steps(request, &networks)?, Whole(&networks));
    let steps: Vec<Subject<'_>> =
        steps.iter().map(|step| step.subject(&whole, request.target, request.precision)).collect();
    write_graphs(&folder, request.preset, subjects.iter().chain(&steps), progress)?;
    let written = Written {
        folder: folder.path(),
        preset: request.preset,
        subjects: &subjects,
        steps: &steps,
        origin: "the checkpoint",
        held_out: held_out.as_ref(),
    };
    let verification = gate::run(&written, request.gate, &mut |next| progress(Event::Next(next)))?;

    next(progress, "hash the files")?;
    let guided = !request.preset.method.is_one_pass();
    let mut manifest = Manifest {
        format: FORMAT,
        tool: TOOL.into(),
        preset: request.preset.clone(),
        provenance: provenance(request.note, &networks),
        training,
        step_convention: if guided { "max(level - 1, 0)" } else { "none" }.into(),
        clamp: "none".into(),
        target: request.target.name().into(),
        precision: request.precision.name().into(),
        verification,
        files: Default::default(),
    };
    folder.write(MODEL_CARD, card::text(&manifest, &networks, &steps, request.card).as_bytes())?;
    for file in subjects.iter().chain(&steps).map(|s| s.file).chain([WEIGHTS, MODEL_CARD]) {
        let entry = FileEntry::of(&folder.path().join(file)).map_err(|e| folder.error(file, e))?;
        manifest.files.insert(file.to_owned(), entry);
    }
    folder.write(MANIFEST, manifest.to_json().as_bytes())?;
    folder.finish()?;
    Ok(manifest)
}

/// The networks that were given. None but those of the preset's method can be made.
fn networks<'a>(request: &'a Request<'_>) -> Result<Vec<Network<'a>>, WriteError> {
    let &Request { preset, target, precision, .. } = request;
    let mut networks = Vec::new();
    if let Some(source) = &request.unet {
        networks.push(Network { part: Part::unet(preset, target, precision)?, source });
    }
    if let Some(source) = &request.classifier {
        let part = match source {
            Source::Onnx(guide) => Part::brought(preset, guide.graph.clone())?,
            Source::Checkpoint(_) | Source::Random(_) => Part::classifier(preset)?,
        };
        networks.push(Network { part, source });
    }
    if let Some(source) = &request.network {
        let part = Part::one_pass(preset)?;
        if (target, precision) != (part.target, part.precision) {
            let (preset, method) = (preset.name.clone(), preset.method.name());
            return Err(WriteError::Plain { preset, method, target, precision });
        }
        networks.push(Network { part, source });
    }
    if networks.is_empty() {
        return Err(WriteError::Nothing { output: request.output.display().to_string() });
    }
    Ok(networks)
}

/// The graphs of steps, which are for engines that keep images where they compute: elsewhere a graph more is no gain, and
/// would hold the weights once more.
fn steps(request: &Request<'_>, networks: &[Network<'_>]) -> Result<Vec<Step>, WriteError> {
    let &Request { preset, target, .. } = request;
    let mut steps = Vec::new();
    if target == Target::OrtCuda && request.unet.is_some() {
        steps.push(Step::encode(preset)?);
        for Network { part, .. } in networks.iter().filter(|n| n.part.file == CLASSIFIER_GRADIENT) {
            steps.push(Step::guided(preset, &part.run)?);
        }
    }
    Ok(steps)
}

/// The parameters of every network, by the names that they have in the bundle's weights.
struct Whole<'a>(&'a [Network<'a>]);

impl ParamSource for Whole<'_> {
    fn param(&self, name: &str) -> Option<ArrayD<f32>> {
        self.0.iter().find_map(|Network { part, source }| source.param(name.strip_prefix(part.prefix)?))
    }
}

fn write_weights(
    folder: &OutputFolder,
    networks: &[Network<'_>],
    progress: &mut Progress<'_>,
) -> Result<(), WriteError> {
    let full = |error: io::Error| folder.error(WEIGHTS, error);
    let named = |n: &Part, p: &ParamSpec| ParamSpec { name: format!("{}{}", n.prefix, p.name), ..p.clone() };
    let parts = || networks.iter().map(|n| &n.part);
    let stored: Vec<_> = parts().map(|part| of_params(&part.graph, part.precision, &[])).collect();
    let specs = parts().zip(&stored).flat_map(|(part, stored)| {
        part.graph.params().iter().map(move |p| (named(part, p), stored[&p.name]))
    });
    let total = parts().map(|n| n.graph.param_count()).sum();
    let file = File::create(folder.path().join(WEIGHTS)).map_err(full)?;
    let mut writer = WeightsWriter::mixed(file, specs.collect()).map_err(full)?;
    let mut done = 0;
    for (Network { part, source }, stored) in networks.iter().zip(&stored) {
        for param in part.graph.params() {
            let values = source.read(&param.name)?;
            let values = values.as_standard_layout();
            let values = values.as_slice().expect("made contiguous by the line above");
            let (name, precision) = (named(part, param).name, stored[&param.name]);
            let overflows = |v: &&f32| v.is_finite() && precision.round(**v).is_infinite();
            if let Some(&found) = values.iter().find(overflows) {
                return Err(WriteError::Overflow { name, found });
            }
            writer.write(&name, values).map_err(full)?;
            done += values.len();
            if progress(Event::Weights { done, total }).is_break() {
                return Err(WriteError::Stopped);
            }
        }
    }
    writer.finish().map_err(full)?;
    Ok(())
}

fn write_graphs<'a>(
    folder: &OutputFolder,
    preset: &Preset,
    graphs: impl Iterator<Item = &'a Subject<'a>>,
    progress: &mut Progress<'_>,
) -> Result<(), WriteError> {
    let weights = Weights::open(&folder.path().join(WEIGHTS))?;
    for written in graphs {
        next(progress, &format!("lower {}", written.file))?;
        let part = weights.part(written.prefix);
        let model = lower(
            written.graph,
            &Lowering {
                target: written.target,
                precision: written.precision,
                plain: written.plain,
                weights: WeightsAt::Beside { file: WEIGHTS, locate: &|name| part.location(name).ok() },
                metadata: &[
                    ("anomalens.graph", written.file.trim_end_matches(".onnx").to_owned()),
                    ("anomalens.preset", preset.name.clone()),
                    ("anomalens.tool", TOOL.to_owned()),
                ],
            },
        )?;
        folder.write(written.file, &model.encode_to_vec())?;
    }
    Ok(())
}

fn next(progress: &mut Progress<'_>, what: &str) -> Result<(), WriteError> {
    if progress(Event::Next(what)).is_break() { Err(WriteError::Stopped) } else { Ok(()) }
}

/// A person's words, then the files.
fn provenance(note: Option<&str>, networks: &[Network<'_>]) -> String {
    let origin = networks.iter().map(|n| format!("{}: {}", n.part.graph.name(), n.source));
    note.map(str::to_owned).into_iter().chain(origin).collect::<Vec<_>>().join("; ")
}
