//! What follows from whose a network is, and the group norms, which differ by that.

use std::collections::BTreeSet;

use anomalens_models::preset::{Norm, QkvOrder};

use super::ask::{Answers, Desk, Question, Sourced};
use super::trunk::Trunk;
use super::{Finding, InferError};
use crate::checkpoint::{Config, Family, Origin};

const GROUPS: &str = "--norm-groups";
const EPSILON: &str = "--norm-epsilon";

/// The group norms of a network, where they are not those that are always the same.
#[derive(Debug, Clone)]
pub(super) struct Norms {
    pub groups: Sourced<usize>,
    pub epsilon: Sourced<f64>,
}

impl Norms {
    pub(super) fn findings(&self, table: &str) -> [Finding; 2] {
        let Self { groups, epsilon } = self;
        [
            Finding::new(format!("{table}.norm_groups"), groups.value, &groups.from),
            Finding::new(format!("{table}.norm_epsilon"), spelled(&epsilon.value), &epsilon.from),
        ]
    }
}

/// As TOML and the option take it.
fn spelled(epsilon: &f64) -> String {
    format!("{epsilon:e}")
}

/// What is known without an answer; an answer that says something else does not fit.
pub(super) fn known<T: PartialEq>(
    option: &'static str,
    answer: Option<T>,
    known: T,
    from: &str,
    spelled: impl Fn(&T) -> String,
) -> Result<Sourced<T>, InferError> {
    match answer {
        Some(other) if other != known => {
            let expected = format!("{}, or no answer: {from}", spelled(&known));
            Err(InferError::Answer { option, found: spelled(&other), expected })
        }
        _ => Ok(Sourced::new(known, from)),
    }
}

/// The order of q, k and v of a U-Net whose layers of these stand apart, or of MONAI's one layer of all three: one behind
/// the other.
pub(super) fn order(answers: &Answers) -> Result<Option<Sourced<QkvOrder>>, InferError> {
    let family = answers.origin.family();
    if family == Family::GuidedDiffusion {
        return Ok(None);
    }
    let spelled = |order: &QkvOrder| match order {
        QkvOrder::HeadFirst => "head-first".to_owned(),
        QkvOrder::QkvFirst => "qkv-first".to_owned(),
    };
    let from = format!("always so in {family}");
    known("--qkv-order", answers.qkv_order, QkvOrder::QkvFirst, &from, spelled).map(Some)
}

impl Desk<'_> {
    /// What diffusers says beside the U-Net.
    pub(super) fn config(&self) -> Option<Config> {
        match self.answers.origin {
            Origin::Diffusers(config) => Some(config),
            Origin::GuidedDiffusion | Origin::Monai => None,
        }
    }

    /// The group norms of a U-Net; `None` for those of guided-diffusion.
    pub(super) fn norms(&mut self, trunk: &Trunk) -> Result<Option<Norms>, InferError> {
        let answers = self.answers;
        let Norm { groups, epsilon } = Norm::default();
        match answers.origin {
            Origin::GuidedDiffusion if (answers.norm_groups, answers.norm_epsilon) == (None, None) => {
                Ok(None)
            }
            Origin::GuidedDiffusion => {
                let other = "guided-diffusion's";
                let groups = match answers.norm_groups {
                    Some(_) => self.groups(trunk)?,
                    None => Sourced::new(groups, other),
                };
                let epsilon = match answers.norm_epsilon {
                    Some(_) => self.epsilon()?,
                    None => Sourced::new(epsilon, other),
                };
                Ok(Some(Norms { groups, epsilon }))
            }
            Origin::Monai => Ok(Some(Norms { groups: self.groups(trunk)?, epsilon: self.epsilon()? })),
            Origin::Diffusers(Config { norm, .. }) => {
                let from = ["norm_num_groups of config.json", "norm_eps of config.json"];
                let groups = known(GROUPS, answers.norm_groups, norm.groups, from[0], usize::to_string)?;
                let epsilon = known(EPSILON, answers.norm_epsilon, norm.epsilon, from[1], spelled)?;
                Ok(Some(Norms { groups, epsilon }))
            }
        }
    }

    fn groups(&mut self, trunk: &Trunk) -> Result<Sourced<usize>, InferError> {
        let widths: BTreeSet<usize> = trunk.levels.iter().map(|level| level.width).collect();
        let fits = |groups: &usize| *groups > 0 && widths.iter().all(|width| width.is_multiple_of(*groups));
        let least = widths.first().copied().unwrap_or(1);
        let question = Question {
            option: GROUPS,
            key: "unet.norm_groups",
            ask: "groups of every group norm (norm_num_groups in training; 32 unless it was given)".into(),
            candidates: (1..=least).filter(fits).map(|groups| groups.to_string()).collect(),
        };
        let answer = self.answers.norm_groups.map(|groups| (groups, groups.to_string()));
        self.decide(answer, fits, 1, question)
    }

    fn epsilon(&mut self) -> Result<Sourced<f64>, InferError> {
        let question = Question {
            option: EPSILON,
            key: "unet.norm_epsilon",
            ask:
                "what every group norm adds to the variance (norm_eps in training; 1e-6 unless it was given)"
                    .into(),
            candidates: vec![],
        };
        let answer = self.answers.norm_epsilon.map(|epsilon| (epsilon, epsilon.to_string()));
        self.decide(answer, |&epsilon| epsilon > 0.0, Norm::default().epsilon, question)
    }
}
