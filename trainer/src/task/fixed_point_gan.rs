//! The Fixed-Point GAN: a critic and a generator, trained by turns (Siddiquee et al. 2019, Sec. 3).

use anomalens_models::graph::{Graph, ParamSpec};
use anomalens_models::nets;
use anomalens_models::preset::Preset;
use tch::{Kind, Tensor};

use super::{CRITIC, Figure, Loss, Part, Phase, Task, mean};
use crate::adam::Betas;
use crate::batches::{self, Batch};
use crate::error::TrainError;
use crate::interpret::{self, Params, Precision};
use crate::losses::{cross_entropy, gradient_penalty};

/// Steps of the critic for one of the generator: n_critic of the published code, and of StarGAN's.
pub const CRITIC_STEPS: usize = 5;
/// Weights of the losses: λ_cls, and λ_gp, λ_id and λ_rec, which are all the same (Wolleb et al. 2022, Sec. 3).
const CLASS: f64 = 1.0;
const OTHERS: f64 = 10.0;

/// Generator and critic, and their losses.
#[derive(Debug)]
pub struct GanTask {
    generator: Graph,
    critic: Graph,
}

/// The critic's parameters, by their names in the critic.
struct CriticParams<'a> {
    all: &'a dyn Params,
}

impl Params for CriticParams<'_> {
    fn get(&self, name: &str) -> Option<&Tensor> {
        self.all.get(&format!("{CRITIC}{name}"))
    }
}

/// Domains to translate to, and places between a real and a made image.
struct Drawn<'a> {
    /// `[N]`, integer.
    target: &'a Tensor,
    /// [N, 1, 1, 1] in [0, 1).
    between: &'a Tensor,
}

impl GanTask {
    /// The networks of a preset.
    ///
    /// Errors: [`TrainError::Graph`].
    pub fn new(preset: &Preset) -> Result<Self, TrainError> {
        Ok(Self {
            generator: nets::fixed_point_generator(preset)?,
            critic: nets::fixed_point_critic(preset)?,
        })
    }

    fn generate(
        &self,
        params: &dyn Params,
        x: &Tensor,
        y: &Tensor,
        p: Precision,
    ) -> Result<Tensor, TrainError> {
        Ok(interpret::run(&self.generator, params, &[("x", x), ("y", y)], p)?.swap_remove(0))
    }

    /// Sources, the mean of each image's map, `[N]`; and logits [N, K].
    fn judge(&self, params: &dyn Params, x: &Tensor, p: Precision) -> Result<(Tensor, Tensor), TrainError> {
        let mut out = interpret::run(&self.critic, &CriticParams { all: params }, &[("x", x)], p)?;
        let logits = out.pop().expect("a critic has two outputs");
        let source = out.pop().expect("a critic has two outputs");
        Ok((source.flatten(1, -1).mean_dim([1i64].as_slice(), false, Kind::Float), logits))
    }

    /// What the critic minimises: made images are to score low, real ones high and by their domain, and its gradient
    /// between both is to have a norm of 1 (Gulrajani et al. 2017, Eq. 3).
    fn critic_loss(
        &self,
        params: &dyn Params,
        batch: &Batch,
        drawn: &Drawn<'_>,
        p: Precision,
    ) -> Result<Loss, TrainError> {
        let images = batch.labels.numel();
        let real = signed(&batch.images);
        let made = tch::no_grad(|| self.generate(params, &real, drawn.target, p))?;
        let (sources, logits) = self.judge(params, &Tensor::cat(&[&real, &made], 0), p)?;
        let n = images as i64;
        let (of_real, of_made) = (sources.narrow(0, 0, n), sources.narrow(0, n, n));
        let distance = (&of_real - &of_made).mean(Kind::Float);
        let entropy = cross_entropy(&logits.narrow(0, 0, n), &batch.labels).mean(Kind::Float);
        let mixed = drawn.between * &real + (1.0 - drawn.between) * &made;
        // The published code sums the map: its gradient, not its mean's, is what is held at a norm of 1. In f32 always.
        let penalty = gradient_penalty(&mixed, |x| {
            let mut out =
                interpret::run(&self.critic, &CriticParams { all: params }, &[("x", x)], Precision::F32)?;
            Ok(out.swap_remove(0))
        })?
        .mean(Kind::Float);
        let total = &entropy * CLASS + &penalty * OTHERS - &distance;
        let figure = |name, value: &Tensor| Figure { name, value: mean(value), images };
        let figures = vec![
            figure("source_distance", &distance),
            figure("gradient_penalty", &penalty),
            figure("critic_cross_entropy", &entropy),
        ];
        Ok(Loss { guard: mean(&penalty), total, figures })
    }

    /// What the generator minimises: images of the target domain and of the image's own are to score as real and by their
    /// domain, the latter are to be the image itself (the fixed point), and both are to lead back to it.
    fn generator_loss(
        &self,
        params: &dyn Params,
        batch: &Batch,
        drawn: &Drawn<'_>,
        p: Precision,
    ) -> Result<Loss, TrainError> {
        let images = batch.labels.numel();
        let n = images as i64;
        let real = signed(&batch.images);
        let (twice, own) = (Tensor::cat(&[&real, &real], 0), Tensor::cat(&[&batch.labels, &batch.labels], 0));
        let domains = Tensor::cat(&[drawn.target, &batch.labels], 0);
        let made = self.generate(params, &twice, &domains, p)?;
        let (sources, logits) = self.judge(params, &made, p)?;
        // Means over both halves, each of which counts as one: hence the 2.
        let source = sources.mean(Kind::Float) * 2.0;
        let entropy = cross_entropy(&logits, &domains).mean(Kind::Float) * 2.0;
        let apart = |a: &Tensor, b: &Tensor| (a - b).abs().mean(Kind::Float);
        let identity = apart(&made.narrow(0, n, n), &real);
        let back = self.generate(params, &made, &own, p)?;
        let reconstruction = apart(&back, &twice) * 2.0;
        let total = &entropy * CLASS + (&identity + &reconstruction) * OTHERS - &source;
        let figure = |name, value: f64| Figure { name, value, images };
        let figures = vec![
            figure("identity", mean(&identity)),
            figure("reconstruction", 0.5 * mean(&reconstruction)),
            figure("generator_cross_entropy", 0.5 * mean(&entropy)),
        ];
        Ok(Loss { guard: mean(&reconstruction), total, figures })
    }
}

impl Task for GanTask {
    fn graph(&self) -> &Graph {
        &self.generator
    }

    fn params(&self) -> Vec<ParamSpec> {
        let critic = self
            .critic
            .params()
            .iter()
            .map(|spec| ParamSpec { name: format!("{CRITIC}{}", spec.name), ..spec.clone() });
        self.generator.params().iter().cloned().chain(critic).collect()
    }

    fn phases(&self, step: usize) -> Vec<Phase> {
        let phase = |part, count| Phase { part, count, betas: Betas::GAN };
        let mut phases = vec![phase(Part::Critic, step)];
        if step.is_multiple_of(CRITIC_STEPS) {
            phases.push(phase(Part::Generator, step / CRITIC_STEPS));
        }
        phases
    }

    fn draw(&self, batch: &Batch, seed: u64, step: usize) -> Vec<Tensor> {
        batches::set_generator(seed, step);
        let n = batch.labels.size()[0];
        // The labels of the batch in another order, as the published code has it.
        let order = Tensor::randperm(n, (Kind::Int64, batch.labels.device()));
        let between = Tensor::rand([n, 1, 1, 1], (Kind::Float, batch.images.device()));
        vec![batch.labels.index_select(0, &order), between]
    }

    fn loss(
        &self,
        part: Part,
        params: &dyn Params,
        batch: &Batch,
        drawn: &[Tensor],
        precision: Precision,
    ) -> Result<Loss, TrainError> {
        let drawn = Drawn { target: &drawn[0], between: &drawn[1] };
        match part {
            Part::Critic => self.critic_loss(params, batch, &drawn, precision),
            Part::Generator | Part::Whole => self.generator_loss(params, batch, &drawn, precision),
        }
    }
}

/// From [0, 1] to [−1, 1].
fn signed(images: &Tensor) -> Tensor {
    images * 2.0 - 1.0
}
