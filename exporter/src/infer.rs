//! The preset of a checkpoint of guided-diffusion, or of one that has its names, from the names and shapes of its tensors.
//!
//! ```text
//! names and shapes ── trunk, head ──> what they tell ──┐
//!                                                      ├─> preset as text, each key with where it comes from
//! a person's answers ── what they cannot tell ─────────┘
//! ```
//!
//! Channels, levels, blocks, attention, conditioning, classes and pool stand in the tensors. Some things do not: heads
//! and the order of q, k and v change no shape, nor does the image size as a rule, and schedule and channels are no part
//! of a network. These are asked for, all at once and with what would fit: a guess would go unnoticed. Some follow from
//! whose the network is (`origin.rs`).

mod ask;
mod head;
mod origin;
mod text;
mod trunk;

use std::fmt;

use anomalens_models::graph::{Graph, GraphError};
use anomalens_models::nets;
use anomalens_models::preset::{Preset, PresetError, ScheduleKind};
use anomalens_models::weights::{KeyMismatch, Shapes, check_keys};

use ask::Desk;
pub use ask::{Answers, Question};
use head::{Classifier, Unet};
use trunk::Tensors;

use crate::checkpoint::Family;

/// Why there is no preset.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InferError {
    /// Neither network was given.
    #[error("found no checkpoint, expected a U-Net, a classifier or both; give --unet or --classifier")]
    Nothing,
    /// The tensors are none of a guided-diffusion network.
    #[error(
        "{network}: {place}: found {found}, expected {expected}; these are not the tensors of a {network} of guided-diffusion"
    )]
    Foreign {
        /// `unet` or `classifier`.
        network: &'static str,
        /// The tensor.
        place: String,
        /// What is there.
        found: String,
        /// What would be there.
        expected: String,
    },
    /// The two networks do not belong together.
    #[error(
        "{what}: found {unet} in the unet and {classifier} in the classifier, expected the same; bring two networks that were trained for the same images"
    )]
    Apart {
        /// What was compared.
        what: &'static str,
        /// The U-Net's.
        unet: usize,
        /// The classifier's.
        classifier: usize,
    },
    /// The classifier was made for a size that the levels do not divide.
    #[error(
        "image size: found {size} by out.2.positional_embedding of the classifier, expected a multiple of {least}, as the \
         levels need it; bring two networks that were trained for the same images"
    )]
    Size {
        /// The classifier's height and width.
        size: usize,
        /// What the levels of both networks divide a side by.
        least: usize,
    },
    /// An answer that the tensors contradict.
    #[error("{option}: found {found}, expected {expected}")]
    Answer {
        /// The option.
        option: &'static str,
        /// What was given.
        found: String,
        /// What would fit.
        expected: String,
    },
    /// What the tensors do not tell, and nobody said.
    #[error("{}", Questions(.0))]
    Open(Vec<Question>),
    /// What came out is no preset.
    #[error(transparent)]
    Preset(#[from] PresetError),
}

struct Questions<'a>(&'a [Question]);

impl fmt::Display for Questions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(open) = self;
        write!(
            f,
            "found {} things that names and shapes do not tell, expected an answer to each",
            open.len()
        )?;
        for Question { option, key, ask, candidates } in *open {
            write!(f, "\n  {option:<24} {key}: {ask}")?;
            if !candidates.is_empty() {
                write!(f, "; fits: {}", candidates.join(", "))?;
            }
        }
        Ok(())
    }
}

/// A key of the preset, its value, and where that comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// E.g. `unet.model_channels`.
    pub key: String,
    /// As TOML.
    pub value: String,
    /// E.g. `time_embed.0.weight`, or `--heads`.
    pub from: String,
}

impl Finding {
    fn new(key: impl Into<String>, value: impl ToString, from: impl Into<String>) -> Self {
        Self { key: key.into(), value: value.to_string(), from: from.into() }
    }
}

/// A preset, and where each of its keys comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct Inferred {
    /// The preset.
    pub preset: Preset,
    /// Its keys in order.
    pub findings: Vec<Finding>,
    /// The preset as a TOML file, with the findings as comments.
    pub text: String,
}

/// The preset `name` of the networks that have these tensors.
///
/// Errors: [`InferError`]; [`InferError::Open`] holds every question that is open, not the first alone.
pub fn infer(
    name: &str,
    unet: Option<&Shapes>,
    classifier: Option<&Shapes>,
    answers: &Answers,
) -> Result<Inferred, InferError> {
    let tensors = |network, shapes| Tensors { network, shapes };
    let unet = unet.map(|shapes| tensors("unet", shapes));
    let classifier = classifier.map(|shapes| tensors("classifier", shapes));
    let mut desk = Desk::new(answers);
    let mut u = unet.map(head::unet).transpose()?;
    let mut c = classifier.map(|tensors| desk.levels(head::classifiers(tensors)?)).transpose()?;
    let (trunk, size) = match (&u, &c) {
        (None, None) => return Err(InferError::Nothing),
        (Some(u), Some(c)) if u.trunk.in_channels != c.trunk.in_channels => {
            let (unet, classifier) = (u.trunk.in_channels, c.trunk.in_channels);
            return Err(InferError::Apart { what: "input channels", unet, classifier });
        }
        (Some(Unet { trunk, .. }), _) | (None, Some(Classifier { trunk, .. })) => {
            (trunk.clone(), desk.size(u.as_ref(), c.as_ref())?)
        }
    };
    let channels = desk.channels(trunk.in_channels)?;
    let (kind, timesteps) = (desk.schedule()?, desk.timesteps()?);
    if let Some(u) = &mut u {
        u.attention = desk.unet_attention(u)?;
        u.norms = desk.norms(&u.trunk)?;
    }
    if let Some(c) = &mut c {
        c.attention = desk.classifier_attention(c)?;
    }
    let healthy = desk.healthy_class(u.as_ref(), c.as_ref())?;

    let family = answers.origin.family();
    let other = (family != Family::GuidedDiffusion)
        .then(|| format!("The tensors of {family}, by guided-diffusion's names."));
    let mut notes: Vec<(&str, &str)> = other.iter().map(|note| ("unet", note.as_str())).collect();
    let mut findings = vec![
        Finding::new("image.size", size.value, &size.from),
        Finding::new(
            "image.percentile",
            PERCENTILE,
            "a default: min(x, q) / q, q this percentile; as in training",
        ),
        Finding::new("schedule.kind", text::quoted(schedule_name(kind.value)), &kind.from),
        Finding::new("schedule.timesteps", timesteps.value, &timesteps.from),
    ];
    match &u {
        Some(u) => findings.extend(u.findings(size.value)),
        None => stand_in("unet", Unet::stand_in(&trunk).findings(size.value), &mut findings, &mut notes),
    }
    match &c {
        Some(c) => findings.extend(c.findings(size.value)),
        None => stand_in(
            "classifier",
            u.as_ref()
                .map_or_else(
                    || Classifier::stand_in(&trunk, None, None),
                    |u| Classifier::stand_in(&trunk, u.classes, u.norms.clone()),
                )
                .findings(size.value),
            &mut findings,
            &mut notes,
        ),
    }
    findings.extend([
        Finding::new(
            "translate.noise_level",
            (timesteps.value / 2).max(1),
            "a default: T / 2, as in the paper",
        ),
        Finding::new("translate.scale", "100.0", "a default: the paper's"),
        Finding::new("translate.healthy_class", healthy.value, &healthy.from),
    ]);
    let text = text::text(name, &findings, &channels.value, &notes);
    let preset = Preset::parse(name, &text)?;
    // Before anything is asked: no answer makes other tensors a network of guided-diffusion.
    unet.map(|tensors| check(tensors, nets::unet(&preset))).transpose()?;
    classifier.map(|tensors| check(tensors, nets::classifier(&preset))).transpose()?;
    if desk.open.is_empty() {
        Ok(Inferred { preset, findings, text })
    } else {
        Err(InferError::Open(desk.open))
    }
}

/// As [`ImageSpec`](anomalens_models::preset::ImageSpec) has it.
const PERCENTILE: f64 = 99.5;

/// The table of a network that was not brought: no tensor shows what is in it.
fn stand_in<'a>(
    table: &'a str,
    lines: Vec<Finding>,
    findings: &mut Vec<Finding>,
    notes: &mut Vec<(&'a str, &'a str)>,
) {
    notes.push((
        table,
        "No checkpoint was given: a stand-in with the levels of the other network, which no bundle reads.",
    ));
    findings.extend(lines.into_iter().map(|line| Finding { from: String::new(), ..line }));
}

fn schedule_name(kind: ScheduleKind) -> &'static str {
    match kind {
        ScheduleKind::Linear => "linear",
        ScheduleKind::Cosine => "cosine",
    }
}

/// Whether the tensors are those of the network that was made of them, all of them and no others.
fn check(tensors: Tensors<'_>, graph: Result<Graph, GraphError>) -> Result<(), InferError> {
    let graph =
        graph.map_err(|e| tensors.foreign("its blocks", e.to_string(), "blocks that fit together"))?;
    check_keys("", tensors.network, tensors.shapes, graph.params()).map_err(|mismatch| {
        let KeyMismatch { missing, extra, shapes, .. } = *mismatch;
        match (shapes.into_iter().next(), missing.into_iter().next(), extra.into_iter().next()) {
            (Some((name, found, expected)), ..) => {
                tensors.foreign(name, format!("{found:?}"), format!("{expected:?}"))
            }
            (None, Some(name), _) => tensors.foreign(name, "nothing", "a tensor"),
            (None, None, extra) => {
                tensors.foreign(extra.unwrap_or_default(), "a tensor", "none of this name")
            }
        }
    })
}
