//! Held-out images, looked at while a network is trained: what its averaged weights make of them so far.
//!
//! | trained | with the other network | without |
//! |---|---|---|
//! | ddpm | translates: Dice, AUROC | encodes and decodes: what the round trip loses |
//! | classifier | translates: Dice, AUROC; accuracy | accuracy |
//! | vae, fpgan | – | translates: Dice, AUROC |
//!
//! The masks of the held-out images are read for the scores alone.

use std::ops::ControlFlow;
use std::path::Path;

use anomalens_cohort::Cohort;
use anomalens_method::ddim::{GradientScale, Guide, OnHost};
use anomalens_method::metrics::{auroc, dice};
use anomalens_method::otsu;
use anomalens_method::translate::{Options, Steps, TranslateError, Translation, translate};
use anomalens_models::graph::Graph;
use anomalens_models::image::{AnomalyMap, UnitImage};
use anomalens_models::nets;
use anomalens_models::preset::Preset;
use anomalens_models::schedule::Schedule;
use anomalens_models::weights::{Weights, check_keys};
use image::RgbImage;
use ndarray::{Array2, Array4, Axis, stack};
use tch::{Device, Tensor};

use crate::batches::{self, Batch};
use crate::error::TrainError;
use crate::guided::{Classifier, Net, Unet};
use crate::interpret::{self, Precision};
use crate::run::check_fit;
use crate::samples;
use crate::task::{Figure, GuidedTask, Network, Task};
use crate::weights::{Named, values};

/// Steps of each loop: enough to tell one checkpoint from another, and soon done.
const STEPS: usize = 20;

/// What validation says of some weights.
#[derive(Debug)]
pub struct Scores {
    /// Named figures for the metrics, e.g. `validation_dice`.
    pub figures: Vec<Figure>,
    /// What weights are compared by; more is better. Dice where there is one, else what the network has.
    pub merit: f64,
    /// A row an image: its channels, their healthy version, the map, the lesion. None where nothing was translated.
    pub picture: Option<RgbImage>,
}

/// Held-out images, and what is made of them.
pub struct Validation {
    method: Trained,
    preset: Preset,
    device: Device,
    images: Vec<UnitImage>,
    labels: Vec<bool>,
    masks: Vec<Option<Array2<bool>>>,
}

/// The network that is trained, and how it is tried.
enum Trained {
    /// One of the guided pair.
    Guided(Box<Pair>),
    /// The network of a one-pass method as it is used.
    OnePass(Graph),
}

/// A network of the guided pair, and the other one if its weights are there.
struct Pair {
    network: Network,
    task: GuidedTask,
    schedule: Schedule,
    partner: Option<(Graph, Named)>,
}

/// What became of the images.
struct Translated {
    /// [N, C, H, W].
    healthy: Array4<f32>,
    maps: Vec<AnomalyMap>,
}

impl Validation {
    /// Takes `count` images, diseased and healthy by turns, from all over the cohort; `partner` is the other network's
    /// weights.
    ///
    /// Errors: [`TrainError`]: a cohort that does not fit the preset, weights that are not the other network's.
    pub fn open(
        network: Network,
        preset: &Preset,
        cohort: &Cohort,
        count: usize,
        partner: Option<&Path>,
        device: Device,
    ) -> Result<Self, TrainError> {
        check_fit(preset, cohort)?;
        let chosen = spread(cohort, count);
        let method = match network {
            Network::Ddpm | Network::Classifier => {
                Trained::Guided(Box::new(Pair::open(network, preset, partner, device)?))
            }
            Network::Vae | Network::FixedPointGan => {
                if let Some(file) = partner {
                    return Err(TrainError::Option {
                        what: "--partner".into(),
                        found: format!("'{}'", file.display()),
                        expected: format!("none: a {} has no other network", network.name()),
                    });
                }
                Trained::OnePass(nets::one_pass(preset)?)
            }
        };
        let (images, labels, masks) = (Vec::new(), Vec::new(), Vec::new());
        let mut held = Self { method, preset: preset.clone(), device, images, labels, masks };
        for item in chosen {
            let image = cohort.image(item)?;
            held.images.push(UnitImage::new("validation", image).expect("a cohort checks its pixels"));
            held.labels.push(cohort.item(item).diseased);
            held.masks.push(cohort.mask(item)?);
        }
        Ok(held)
    }

    /// Scores the weights of the trained network, which lie on the validation's device.
    ///
    /// Errors: [`TrainError`]: of the networks, the sampler or the scores.
    pub fn score(&self, weights: &Named) -> Result<Scores, TrainError> {
        let weights = weights.copied();
        let mut scores = Scores { figures: Vec::new(), merit: f64::NAN, picture: None };
        match &self.method {
            Trained::Guided(pair) => {
                if pair.network == Network::Classifier {
                    self.accuracy(pair, &weights, &mut scores)?;
                }
                if pair.network == Network::Ddpm || pair.partner.is_some() {
                    let translated = self.translate(pair, &weights)?;
                    if pair.partner.is_some() {
                        self.compare(&translated, &mut scores)?;
                    } else {
                        self.round_trip(&translated, &mut scores);
                    }
                    scores.picture = Some(self.draw(&translated));
                }
            }
            Trained::OnePass(graph) => {
                let translated = self.one_pass(graph, &weights)?;
                self.compare(&translated, &mut scores)?;
                scores.picture = Some(self.draw(&translated));
            }
        }
        Ok(scores)
    }

    fn stacked(&self) -> Array4<f32> {
        let views: Vec<_> = self.images.iter().map(|image| image.pixels().view()).collect();
        stack(Axis(0), &views).expect("images of one cohort")
    }

    fn draw(&self, translated: &Translated) -> RgbImage {
        samples::draw(&self.images, &translated.healthy, &translated.maps, &self.masks)
    }

    /// How often the classifier is right, at noise that is the same every time.
    fn accuracy(&self, pair: &Pair, weights: &Named, scores: &mut Scores) -> Result<(), TrainError> {
        let images = crate::weights::tensor(&self.stacked().into_dyn()).to_device(self.device);
        let labels: Vec<i64> = self.labels.iter().map(|&diseased| i64::from(diseased)).collect();
        let labels = Tensor::from_slice(&labels).to_device(self.device);
        let highest = pair.task.highest();
        // Each image at several levels: a few images say little at one.
        let times = highest.min(LEVELS_EACH);
        let batch =
            Batch { images: images.repeat([times as i64, 1, 1, 1]), labels: labels.repeat([times as i64]) };
        let (_, noise) = batches::noise(&batch.images, highest, 0, 0);
        let n = self.images.len();
        let t: Vec<i64> = (0..times * n).map(|i| ((i / n) * highest / times) as i64).collect();
        let t = Tensor::from_slice(&t).to_device(self.device);
        let loss = tch::no_grad(|| pair.task.loss_at(weights, &batch, &t, &noise, Precision::F32))?;
        scores.merit = -loss.guard;
        scores
            .figures
            .extend(loss.figures.into_iter().map(|figure| Figure { name: held_out(figure.name), ..figure }));
        Ok(())
    }

    /// What encoding and decoding lose of an image.
    fn round_trip(&self, translated: &Translated, scores: &mut Scores) {
        let lost = mean(translated.maps.iter().flat_map(|map| map.values().iter().map(|&v| f64::from(v))));
        let (name, value) = ("validation_round_trip", lost / self.preset.channels() as f64);
        scores.figures.push(Figure { name, value, images: self.images.len() });
        scores.merit = -lost;
    }

    /// Maps against masks, where there is a lesion.
    fn compare(&self, translated: &Translated, scores: &mut Scores) -> Result<(), TrainError> {
        let (mut dices, mut areas) = (Vec::new(), Vec::new());
        let diseased =
            translated.maps.iter().zip(&self.masks).filter_map(|(map, mask)| Some((map, mask.as_ref()?)));
        for (map, mask) in diseased.filter(|(_, mask)| mask.iter().any(|&m| m)) {
            let truth: Vec<bool> = mask.iter().copied().collect();
            let scores: Vec<f32> = map.values().iter().copied().collect();
            let (_, found) = otsu::mask(map)?;
            dices.push(dice(&found.into_iter().collect::<Vec<_>>(), &truth)?);
            areas.extend(auroc(&scores, &truth)?);
        }
        if !dices.is_empty() {
            let images = self.images.len();
            scores.merit = mean(dices.iter().copied());
            let auroc = mean(areas.iter().copied());
            scores.figures.push(Figure { name: "validation_dice", value: scores.merit, images });
            scores.figures.push(Figure { name: "validation_auroc", value: auroc, images });
        }
        Ok(())
    }

    fn one_pass(&self, graph: &Graph, weights: &Named) -> Result<Translated, TrainError> {
        let x = self.stacked();
        let input = crate::weights::tensor(&x.clone().into_dyn()).to_device(self.device);
        let out = tch::no_grad(|| interpret::run(graph, weights, &[("x", &input)], Precision::F32))?;
        let healthy = Array4::from_shape_vec(x.dim(), values(&out[0])).expect("as the graph says");
        let pairs = x.outer_iter().zip(healthy.outer_iter());
        let maps = pairs.map(|(x, healthy)| AnomalyMap::between(&x.to_owned(), &healthy.to_owned()));
        let maps = maps.collect::<Result<_, _>>().map_err(TranslateError::from)?;
        Ok(Translated { healthy, maps })
    }

    fn translate(&self, pair: &Pair, weights: &Named) -> Result<Translated, TrainError> {
        let mut options = Options::defaults(&self.preset)?;
        options.steps = match options.steps {
            Steps::Spaced { n, spacing } => Steps::Spaced { n: n.min(STEPS), spacing },
            _ => Steps::Spaced { n: STEPS.min(options.noise_level.get()), spacing: 1.0 },
        };
        options.batch = self.images.len();
        let partner = pair.partner.as_ref().map(|(graph, params)| Net { graph, params, device: self.device });
        let trained = Net { graph: pair.task.graph(), params: weights, device: self.device };
        let (unet, classifier) = match (pair.network, partner) {
            (Network::Classifier, Some(unet)) => (unet, Some(trained)),
            (_, partner) => (trained, partner),
        };
        if classifier.is_none() {
            options.scale = GradientScale::NONE;
        }
        let conditional = self.preset.guided()?.unet.classes.is_some();
        let mut unet = Unet { net: unet, conditional };
        let mut guide = classifier.map(|net| Classifier { net });
        let guide = guide.as_mut().map(|guide| guide as &mut dyn Guide);
        let mut stepper = OnHost::new(&mut unet, guide);
        let Translation { healthy, maps, .. } =
            translate(&mut stepper, &pair.schedule, &self.images, &options, &mut |_| {
                ControlFlow::Continue(())
            })?;
        Ok(Translated { healthy, maps })
    }
}

impl Pair {
    fn open(
        network: Network,
        preset: &Preset,
        partner: Option<&Path>,
        device: Device,
    ) -> Result<Self, TrainError> {
        let guided = preset.guided()?;
        let highest = guided.translate.noise_level.max(1);
        let task = GuidedTask::new(network, preset, device)?.with_highest(highest);
        let partner = match partner {
            None => None,
            Some(file) => {
                let graph =
                    if network == Network::Ddpm { nets::classifier(preset)? } else { nets::unet(preset)? };
                let weights = Weights::open(file)?;
                let shown = file.display().to_string();
                check_keys(&shown, graph.name(), &weights.shapes(), graph.params())
                    .map_err(|source| TrainError::Partner { source })?;
                let params = Named::initial(graph.name(), graph.params(), 0, Some(&weights), device)?;
                Some((graph, params.copied()))
            }
        };
        Ok(Self { network, task, schedule: Schedule::new(&guided.schedule)?, partner })
    }
}

/// Levels that a held-out image is classified at.
const LEVELS_EACH: usize = 8;

/// The name of a figure of held-out images.
fn held_out(name: &'static str) -> &'static str {
    match name {
        "cross_entropy" => "validation_cross_entropy",
        "accuracy" => "validation_accuracy",
        "accuracy_1" => "validation_accuracy_1",
        "accuracy_2" => "validation_accuracy_2",
        "accuracy_3" => "validation_accuracy_3",
        "accuracy_4" => "validation_accuracy_4",
        other => other,
    }
}

/// `count` items, diseased and healthy by turns, each class evenly spread over the cohort.
fn spread(cohort: &Cohort, count: usize) -> Vec<usize> {
    let of =
        |diseased| (0..cohort.len()).filter(|&i| cohort.item(i).diseased == diseased).collect::<Vec<_>>();
    let even = |items: Vec<usize>, count: usize| {
        let count = count.min(items.len());
        (0..count).map(|k| items[k * items.len() / count]).collect::<Vec<_>>()
    };
    let (diseased, healthy) = (even(of(true), count.div_ceil(2)), even(of(false), count / 2));
    let longest = diseased.len().max(healthy.len());
    (0..longest)
        .flat_map(|i| diseased.get(i).into_iter().chain(healthy.get(i)).copied().collect::<Vec<_>>())
        .collect()
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0usize), |(sum, count), value| (sum + value, count + 1));
    sum / count.max(1) as f64
}
