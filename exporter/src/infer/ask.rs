//! What names and shapes do not tell: the questions, what would fit each, and a person's answers.

use std::collections::BTreeSet;

use anomalens_models::preset::{ChannelSpec, Heads, Multiplier, Pool, Preset, QkvOrder, ScheduleKind};

use super::InferError;
use super::head::{Classifier, Unet};
use super::origin;
use super::trunk::Trunk;
use crate::checkpoint::Origin;

/// Image sizes that are named where any would do.
const SIZES: [usize; 5] = [32, 64, 128, 256, 512];
/// How guided-diffusion chooses the levels by the image size.
const REFERENCE_LEVELS: [(usize, &[f64]); 4] = [
    (64, &[1.0, 2.0, 3.0, 4.0]),
    (128, &[1.0, 1.0, 2.0, 3.0, 4.0]),
    (256, &[1.0, 1.0, 2.0, 2.0, 4.0, 4.0]),
    (512, &[0.5, 1.0, 1.0, 2.0, 2.0, 4.0, 4.0]),
];
/// Beyond this no list of candidates goes.
const LISTED: usize = 16;

/// What is known of a checkpoint beside its tensors: whose the U-Net is, and what a person says; nothing, where the tensors
/// are to tell.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answers {
    /// Whose the U-Net is: something stands in no tensor, but is always so, or is said beside the file.
    pub origin: Origin,
    /// Height and width of the images.
    pub image_size: Option<usize>,
    /// Names of the channels, in network order; empty for no answer.
    pub channels: Vec<String>,
    /// The sequence of β.
    pub schedule: Option<ScheduleKind>,
    /// T.
    pub timesteps: Option<usize>,
    /// The class that means "healthy".
    pub healthy_class: Option<usize>,
    /// The U-Net's heads.
    pub heads: Option<Heads>,
    /// The U-Net's heads on the way up, where they are others; nothing is asked.
    pub heads_up: Option<Heads>,
    /// The U-Net's order of q, k and v.
    pub qkv_order: Option<QkvOrder>,
    /// Groups of the U-Net's group norms; nothing is asked where they are always the same.
    pub norm_groups: Option<usize>,
    /// What the U-Net's group norms add to the variance; likewise.
    pub norm_epsilon: Option<f64>,
    /// The classifier's heads.
    pub classifier_heads: Option<Heads>,
    /// The classifier's order of q, k and v.
    pub classifier_qkv_order: Option<QkvOrder>,
    /// The classifier's residual blocks a level, where they look like those between levels.
    pub classifier_res_blocks: Option<usize>,
}

/// Something that names and shapes do not tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The option that answers it, e.g. `--heads`.
    pub option: &'static str,
    /// The preset's key, e.g. `unet.heads`.
    pub key: &'static str,
    /// What is asked, and what it was called in training.
    pub ask: String,
    /// The answers that fit, as the option takes them; empty where any number does.
    pub candidates: Vec<String>,
}

/// A value, and where it comes from: a tensor or an option.
#[derive(Debug, Clone)]
pub(super) struct Sourced<T> {
    pub value: T,
    pub from: String,
}

impl<T> Sourced<T> {
    pub(super) fn new(value: T, from: impl Into<String>) -> Self {
        Self { value, from: from.into() }
    }
}

/// What no shape shows of attention.
#[derive(Debug, Clone)]
pub(super) struct Attention {
    pub heads: Sourced<Heads>,
    pub heads_up: Option<Heads>,
    pub order: Sourced<QkvOrder>,
}

impl Attention {
    /// What stands there until somebody answers: it fits any channels.
    pub(super) fn one_head() -> Self {
        let order = Sourced::new(QkvOrder::HeadFirst, "with one head both orders are the same");
        Self { heads: Sourced::new(Heads::Count(1), ""), heads_up: None, order }
    }
}

/// Takes answers, checks that they fit, and keeps the questions that are open. Where nobody answered, something that
/// fits stands in, so that the rest can be read and asked too.
pub(super) struct Desk<'a> {
    pub(super) answers: &'a Answers,
    pub open: Vec<Question>,
}

impl<'a> Desk<'a> {
    pub(super) fn new(answers: &'a Answers) -> Self {
        Self { answers, open: Vec::new() }
    }

    /// The answer, if it is one of those that fit; else `stand_in`, and the question stays open.
    pub(super) fn decide<T>(
        &mut self,
        answer: Option<(T, String)>,
        fits: impl Fn(&T) -> bool,
        stand_in: T,
        question: Question,
    ) -> Result<Sourced<T>, InferError> {
        let option = question.option;
        match answer {
            Some((value, _)) if fits(&value) => Ok(Sourced::new(value, option)),
            Some((_, found)) => {
                let expected = match question.candidates.as_slice() {
                    [] => "a positive number".to_owned(),
                    some => format!("what fits the tensors: {}", some.join(", ")),
                };
                Err(InferError::Answer { option, found, expected })
            }
            None => {
                self.open.push(question);
                Ok(Sourced::new(stand_in, option))
            }
        }
    }

    /// The one of several ways to read a classifier's levels.
    pub(super) fn levels(&mut self, mut fitting: Vec<Classifier>) -> Result<Classifier, InferError> {
        const OPTION: &str = "--classifier-res-blocks";
        if let Some(size) = self.answers.image_size {
            let sizes: Vec<String> =
                fitting.iter().filter_map(|c| c.size).map(|size| size.to_string()).collect();
            fitting.retain(|c| c.size.is_none_or(|own| own == size));
            if fitting.is_empty() {
                let expected = format!("what fits the tensors: {}", sizes.join(", "));
                return Err(InferError::Answer { option: "--image-size", found: size.to_string(), expected });
            }
        }
        let answer = self.answers.classifier_res_blocks;
        if fitting.len() == 1 && answer.is_none() {
            return Ok(fitting.swap_remove(0));
        }
        let candidates = fitting.iter().map(|c| c.trunk.res_blocks.to_string()).collect();
        let levels = |c: &Classifier| format!("{} in {} levels", c.trunk.res_blocks, c.trunk.levels.len());
        let question = Question {
            option: OPTION,
            key: "classifier.res_blocks",
            ask: format!(
                "residual blocks a level ({}); classifier_depth in training",
                fitting.iter().map(levels).collect::<Vec<_>>().join(", ")
            ),
            candidates,
        };
        let counts: BTreeSet<usize> = fitting.iter().map(|c| c.trunk.res_blocks).collect();
        let answer = answer.map(|n| (n, n.to_string()));
        let stand_in = fitting[0].trunk.res_blocks;
        let chosen = self.decide(answer, |n| counts.contains(n), stand_in, question)?;
        fitting.retain(|c| c.trunk.res_blocks == chosen.value);
        let mut classifier = fitting.swap_remove(0);
        classifier.trunk.split_from = chosen.from;
        Ok(classifier)
    }

    /// Height and width of the images.
    pub(super) fn size(
        &mut self,
        unet: Option<&Unet>,
        classifier: Option<&Classifier>,
    ) -> Result<Sourced<usize>, InferError> {
        let trunks: Vec<&Trunk> =
            unet.map(|u| &u.trunk).into_iter().chain(classifier.map(|c| &c.trunk)).collect();
        let least = trunks.iter().map(|trunk| trunk.shrinks()).max().unwrap_or(1);
        if let Some(size) = classifier.and_then(|c| c.size) {
            if !size.is_multiple_of(least) {
                return Err(InferError::Size { size, least });
            }
            if let Some(unet) = self.config().and_then(|config| config.image_size).filter(|&own| own != size)
            {
                return Err(InferError::Apart { what: "image size", unet, classifier: size });
            }
            return Ok(Sourced::new(size, "out.2.positional_embedding of the classifier"));
        }
        if let Some(size) = self.config().and_then(|config| config.image_size) {
            let answer = self.answers.image_size;
            return origin::known(
                "--image-size",
                answer,
                size,
                "sample_size of config.json",
                usize::to_string,
            );
        }
        let usual = REFERENCE_LEVELS.iter().find(|(_, mult)| {
            let mult: Vec<Multiplier> = mult.iter().map(|&factor| factor.into()).collect();
            trunks.first().is_some_and(|trunk| trunk.channel_mult() == mult)
        });
        let usual =
            usual.map_or(String::new(), |(size, _)| format!("; guided-diffusion has these levels at {size}"));
        let question = Question {
            option: "--image-size",
            key: "image.size",
            ask: format!("height and width in pixels, a multiple of {least} (image_size in training{usual})"),
            candidates: SIZES
                .iter()
                .filter(|size| size.is_multiple_of(least))
                .map(ToString::to_string)
                .collect(),
        };
        let answer = self.answers.image_size.map(|size| (size, size.to_string()));
        self.decide(answer, |&size| size > 0 && size.is_multiple_of(least), least, question)
    }

    /// The channels, known by their names.
    pub(super) fn channels(&mut self, count: usize) -> Result<Sourced<Vec<ChannelSpec>>, InferError> {
        let names = self.answers.channels.clone();
        if count == 1 && names.is_empty() {
            return Ok(Sourced::new(vec![channel("image")], "one channel; --channels gives it a name"));
        }
        let distinct = |names: &Vec<String>| {
            names.len() == count
                && names.iter().all(|name| !name.trim().is_empty())
                && names.iter().collect::<BTreeSet<_>>().len() == count
        };
        let question = Question {
            option: "--channels",
            key: "image.channels",
            ask: format!("{count} names in network order: which image is which"),
            candidates: vec![if count == 4 {
                "t1,t1ce,t2,flair (BRATS)".into()
            } else {
                format!("{count} different names")
            }],
        };
        let text = names.join(",");
        let answer = (!names.is_empty()).then_some((names, text));
        let stand_in = (0..count).map(|i| i.to_string()).collect();
        let Sourced { value, from } = self.decide(answer, distinct, stand_in, question)?;
        Ok(Sourced::new(value.iter().map(|name| channel(name)).collect(), from))
    }

    /// The sequence of β.
    pub(super) fn schedule(&mut self) -> Result<Sourced<ScheduleKind>, InferError> {
        let question = Question {
            option: "--schedule",
            key: "schedule.kind",
            ask: "the sequence of beta (noise_schedule in training; linear unless it was given)".into(),
            candidates: vec!["linear".into(), "cosine".into()],
        };
        let answer = self.answers.schedule.map(|kind| (kind, String::new()));
        self.decide(answer, |_| true, ScheduleKind::Linear, question)
    }

    /// T.
    pub(super) fn timesteps(&mut self) -> Result<Sourced<usize>, InferError> {
        let question = Question {
            option: "--timesteps",
            key: "schedule.timesteps",
            ask: "T (diffusion_steps in training; 1000 unless it was given)".into(),
            candidates: vec![],
        };
        let answer = self.answers.timesteps.map(|t| (t, t.to_string()));
        self.decide(answer, |&t| t > 0, 1000, question)
    }

    /// The class that means "healthy": one that both networks know.
    pub(super) fn healthy_class(
        &mut self,
        unet: Option<&Unet>,
        classifier: Option<&Classifier>,
    ) -> Result<Sourced<usize>, InferError> {
        let counts = unet.and_then(|u| u.classes).into_iter().chain(classifier.map(|c| c.classes));
        let Some(classes) = counts.min() else {
            return Ok(Sourced::new(0, "no network here has classes"));
        };
        let question = Question {
            option: "--healthy-class",
            key: "translate.healthy_class",
            ask: format!("the class, of {classes}, that means healthy"),
            candidates: (0..classes.min(LISTED)).map(|class| class.to_string()).collect(),
        };
        let answer = self.answers.healthy_class.map(|class| (class, class.to_string()));
        self.decide(answer, |&class| class < classes, 0, question)
    }

    /// Heads and order of a U-Net.
    pub(super) fn unet_attention(&mut self, unet: &Unet) -> Result<Attention, InferError> {
        let widths = unet.trunk.attention_widths();
        let answers = self.answers;
        let question = heads_question(
            "--heads",
            "unet.heads",
            "num_heads (count:N) or num_head_channels (channels:N) in training",
            &widths,
            true,
        );
        let heads = match self.config() {
            Some(config) => {
                let from = "attention_head_dim of config.json";
                origin::known("--heads", answers.heads, config.heads, from, |&heads| spelled(heads))?
            }
            None => self.heads(answers.heads, &widths, true, question)?,
        };
        if let Some(up) = answers.heads_up.filter(|&up| !divides(up, &widths)) {
            let expected = format!("what divides {} channels", list(&widths));
            return Err(InferError::Answer { option: "--heads-up", found: spelled(up), expected });
        }
        let all = [Some(heads.value), answers.heads_up];
        let order = match origin::order(answers)? {
            Some(order) => order,
            None => self.order("--qkv-order", "unet.qkv_order", answers.qkv_order, &all, &widths)?,
        };
        Ok(Attention { heads, heads_up: answers.heads_up, order })
    }

    /// Heads and order of a classifier.
    pub(super) fn classifier_attention(&mut self, classifier: &Classifier) -> Result<Attention, InferError> {
        let widths = classifier.trunk.attention_widths();
        let answers = self.answers;
        // The attention pool has heads of a fixed width alone.
        let counts = classifier.pool != Pool::Attention;
        let key = if counts { "classifier.head_channels or head_count" } else { "classifier.head_channels" };
        let question = heads_question(
            "--classifier-heads",
            key,
            "guided-diffusion makes classifiers with heads of 64 channels",
            &widths,
            counts,
        );
        let heads = self.heads(answers.classifier_heads, &widths, counts, question)?;
        let (option, key) = ("--classifier-qkv-order", "classifier.qkv_order");
        let order = self.order(option, key, answers.classifier_qkv_order, &[Some(heads.value)], &widths)?;
        Ok(Attention { heads, heads_up: None, order })
    }

    fn heads(
        &mut self,
        answer: Option<Heads>,
        widths: &BTreeSet<usize>,
        counts: bool,
        question: Question,
    ) -> Result<Sourced<Heads>, InferError> {
        let fits = |heads: &Heads| divides(*heads, widths) && (counts || matches!(heads, Heads::Channels(_)));
        // Of one channel, so that the order is asked for too.
        self.decide(answer.map(|heads| (heads, spelled(heads))), fits, Heads::Channels(1), question)
    }

    /// The order of q, k and v, which is one and the same where there is one head.
    fn order(
        &mut self,
        option: &'static str,
        key: &'static str,
        answer: Option<QkvOrder>,
        heads: &[Option<Heads>],
        widths: &BTreeSet<usize>,
    ) -> Result<Sourced<QkvOrder>, InferError> {
        let one = heads.iter().flatten().all(|heads| widths.iter().all(|&width| heads.at(width) == Some(1)));
        if one && answer.is_none() {
            return Ok(Attention::one_head().order);
        }
        let question = Question {
            option,
            key,
            ask: "the order of q, k and v (qkv-first if use_new_attention_order was set in training, else head-first)"
                .into(),
            candidates: vec!["head-first".into(), "qkv-first".into()],
        };
        self.decide(answer.map(|order| (order, String::new())), |_| true, QkvOrder::HeadFirst, question)
    }
}

/// A channel of a name that a built-in preset knows is recognised as it is there; any other takes any series.
fn channel(name: &str) -> ChannelSpec {
    let known = Preset::builtin_names().into_iter().filter_map(|preset| Preset::load(preset).ok());
    let known = known.flat_map(|preset| preset.image.channels).find(|channel| channel.name == name);
    let any = || ChannelSpec { name: name.to_owned(), modality: vec![], any_of: vec![], none_of: vec![] };
    known.unwrap_or_else(any)
}

fn heads_question(
    option: &'static str,
    key: &'static str,
    called: &str,
    widths: &BTreeSet<usize>,
    counts: bool,
) -> Question {
    let divisors = |sort: fn(usize) -> Heads| {
        let most = widths.first().copied().unwrap_or(1);
        (1..=most).map(sort).filter(|&heads| divides(heads, widths)).map(spelled)
    };
    let by_count = counts.then(|| divisors(Heads::Count).take(LISTED)).into_iter().flatten();
    Question {
        option,
        key,
        ask: format!("attention heads at {} channels ({called})", list(widths)),
        candidates: by_count.chain(divisors(Heads::Channels)).collect(),
    }
}

fn divides(heads: Heads, widths: &BTreeSet<usize>) -> bool {
    widths.iter().all(|&width| heads.at(width).is_some())
}

/// As the options take it.
fn spelled(heads: Heads) -> String {
    match heads {
        Heads::Count(n) => format!("count:{n}"),
        Heads::Channels(c) => format!("channels:{c}"),
    }
}

fn list(widths: &BTreeSet<usize>) -> String {
    widths.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
