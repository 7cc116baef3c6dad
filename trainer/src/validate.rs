//! Held-out images, looked at while a network is trained: what its averaged weights make of them so far.
//!
//! | trained | with the other network | without |
//! |---|---|---|
//! | ddpm | translates: Dice, AUROC | encodes and decodes: what the round trip loses |
//! | classifier | translates: Dice, AUROC; accuracy | accuracy |
//!
//! The masks of the held-out images are read for the scores alone.

use std::ops::ControlFlow;
use std::path::Path;

use anomalens_cohort::Cohort;
use anomalens_method::ddim::GradientScale;
use anomalens_method::metrics::{auroc, dice};
use anomalens_method::otsu;
use anomalens_method::translate::{Options, Steps, Translation, translate};
use anomalens_models::graph::Graph;
use anomalens_models::image::UnitImage;
use anomalens_models::nets;
use anomalens_models::preset::Preset;
use anomalens_models::schedule::Schedule;
use anomalens_models::weights::{Weights, check_keys};
use image::RgbImage;
use ndarray::{Array2, Axis, stack};
use tch::{Device, Tensor};

use crate::batches::{self, Batch};
use crate::error::TrainError;
use crate::guided::{Classifier, Net, Unet};
use crate::interpret::Precision;
use crate::run::check_fit;
use crate::samples;
use crate::task::{Figure, Network, Task};
use crate::weights::Named;

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

/// Held-out images, and the network that is not trained.
pub struct Validation {
    network: Network,
    preset: Preset,
    schedule: Schedule,
    task: Task,
    partner: Option<(Graph, Named)>,
    device: Device,
    images: Vec<UnitImage>,
    labels: Vec<bool>,
    masks: Vec<Option<Array2<bool>>>,
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
        let mut held = Self {
            network,
            preset: preset.clone(),
            schedule: Schedule::new(&preset.guided()?.schedule)?,
            task: Task::new(network, preset, device)?,
            partner: None,
            device,
            images: Vec::new(),
            labels: Vec::new(),
            masks: Vec::new(),
        };
        for item in chosen {
            let image = cohort.image(item)?;
            held.images.push(UnitImage::new("validation", image).expect("a cohort checks its pixels"));
            held.labels.push(cohort.item(item).diseased);
            held.masks.push(cohort.mask(item)?);
        }
        if let Some(file) = partner {
            let graph = match network {
                Network::Ddpm => nets::classifier(preset)?,
                Network::Classifier => nets::unet(preset)?,
            };
            let weights = Weights::open(file)?;
            let shown = file.display().to_string();
            check_keys(&shown, graph.name(), &weights.shapes(), graph.params())
                .map_err(|source| TrainError::Partner { source })?;
            let params = Named::initial(&graph, 0, Some(&weights), device)?.copied();
            held.partner = Some((graph, params));
        }
        Ok(held)
    }

    /// Scores the weights of the trained network, which lie on the validation's device.
    ///
    /// Errors: [`TrainError`]: of the networks, the sampler or the scores.
    pub fn score(&self, weights: &Named) -> Result<Scores, TrainError> {
        let weights = weights.copied();
        let mut scores = Scores { figures: Vec::new(), merit: f64::NAN, picture: None };
        if self.network == Network::Classifier {
            self.accuracy(&weights, &mut scores)?;
        }
        if self.network == Network::Ddpm || self.partner.is_some() {
            self.translation(&weights, &mut scores)?;
        }
        Ok(scores)
    }

    /// How often the classifier is right, at noise that is the same every time.
    fn accuracy(&self, weights: &Named, scores: &mut Scores) -> Result<(), TrainError> {
        let views: Vec<_> = self.images.iter().map(|image| image.pixels().view()).collect();
        let images = stack(Axis(0), &views).expect("images of one cohort");
        let images = crate::weights::tensor(&images.into_dyn()).to_device(self.device);
        let labels: Vec<i64> = self.labels.iter().map(|&diseased| i64::from(diseased)).collect();
        let labels = Tensor::from_slice(&labels).to_device(self.device);
        let highest = self.preset.guided()?.translate.noise_level.max(1);
        // Each image at several levels: a few images say little at one.
        let times = highest.min(LEVELS_EACH);
        let batch =
            Batch { images: images.repeat([times as i64, 1, 1, 1]), labels: labels.repeat([times as i64]) };
        let (_, noise) = batches::noise(&batch.images, highest, 0, 0);
        let n = self.images.len();
        let t: Vec<i64> = (0..times * n).map(|i| ((i / n) * highest / times) as i64).collect();
        let t = Tensor::from_slice(&t).to_device(self.device);
        let loss = tch::no_grad(|| self.task.loss(weights, &batch, &t, highest, &noise, Precision::F32))?;
        scores.merit = -loss.guard;
        scores
            .figures
            .extend(loss.figures.into_iter().map(|figure| Figure { name: held_out(figure.name), ..figure }));
        Ok(())
    }

    fn translation(&self, weights: &Named, scores: &mut Scores) -> Result<(), TrainError> {
        let translation = self.translate(weights)?;
        let images = self.images.len();
        let figure = |name, value: f64| Figure { name, value, images };
        if self.partner.is_none() {
            let lost =
                mean(translation.maps.iter().flat_map(|map| map.values().iter().map(|&v| f64::from(v))));
            scores.figures.push(figure("validation_round_trip", lost / self.preset.channels() as f64));
            scores.merit = -lost;
        } else {
            let (mut dices, mut areas) = (Vec::new(), Vec::new());
            let diseased = translation
                .maps
                .iter()
                .zip(&self.masks)
                .filter_map(|(map, mask)| Some((map, mask.as_ref()?)));
            for (map, mask) in diseased.filter(|(_, mask)| mask.iter().any(|&m| m)) {
                let truth: Vec<bool> = mask.iter().copied().collect();
                let scores: Vec<f32> = map.values().iter().copied().collect();
                let (_, found) = otsu::mask(map)?;
                dices.push(dice(&found.into_iter().collect::<Vec<_>>(), &truth)?);
                areas.extend(auroc(&scores, &truth)?);
            }
            if !dices.is_empty() {
                scores.merit = mean(dices.iter().copied());
                scores.figures.push(figure("validation_dice", scores.merit));
                scores.figures.push(figure("validation_auroc", mean(areas.iter().copied())));
            }
        }
        scores.picture = Some(samples::draw(&self.images, &translation, &self.masks));
        Ok(())
    }

    fn translate(&self, weights: &Named) -> Result<Translation, TrainError> {
        let mut options = Options::defaults(&self.preset)?;
        options.steps = match options.steps {
            Steps::Spaced { n, spacing } => Steps::Spaced { n: n.min(STEPS), spacing },
            _ => Steps::Spaced { n: STEPS.min(options.noise_level.get()), spacing: 1.0 },
        };
        options.batch = self.images.len();
        let partner = self.partner.as_ref().map(|(graph, params)| Net { graph, params, device: self.device });
        let trained = Net { graph: self.task.graph(), params: weights, device: self.device };
        let (unet, classifier) = match self.network {
            Network::Ddpm => (trained, partner),
            Network::Classifier => {
                (partner.expect("only with a U-Net is anything translated"), Some(trained))
            }
        };
        if classifier.is_none() {
            options.scale = GradientScale::NONE;
        }
        let mut unet = Unet { net: unet, conditional: self.preset.guided()?.unet.classes.is_some() };
        let mut guide = classifier.map(|net| Classifier { net });
        let guide = guide.as_mut().map(|guide| guide as &mut dyn anomalens_method::ddim::Guide);
        Ok(translate(&mut unet, guide, &self.schedule, &self.images, &options, &mut |_| {
            ControlFlow::Continue(())
        })?)
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
