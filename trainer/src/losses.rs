//! What is minimised: the hybrid loss of the noise predictor and the cross-entropy of the noisy classifier.
//!
//! The hybrid loss (Nichol and Dhariwal 2021, Eq. 16) is the mean squared error of ε plus a variational bound that
//! trains the variances alone: ε is detached in it. A network that learns no variance has the first term alone.

use anomalens_models::schedule::{NoiseLevel, Schedule, Timestep};
use tch::{Device, Kind, Tensor};

/// The two terms of the hybrid loss, one value an image, `[N]`.
#[derive(Debug)]
pub struct HybridTerms {
    /// Mean over channels and pixels of (ε − ε̂)².
    pub mse: Tensor,
    /// The variational bound of the step t → t − 1, in bits a dimension.
    pub bound: Tensor,
}

impl HybridTerms {
    /// L_simple + L_vlb, `[N]`; the bound is not weighted, since timesteps are drawn evenly.
    pub fn total(&self) -> Tensor {
        &self.mse + &self.bound
    }
}

/// A diffusion process as tensors of one device: what noising an image and the bound need, one value a timestep.
#[derive(Debug)]
pub struct Diffusion {
    sqrt_alpha_bar: Tensor,
    sqrt_one_minus_alpha_bar: Tensor,
    sqrt_recip_alpha_bar: Tensor,
    sqrt_recip_alpha_bar_minus_one: Tensor,
    posterior_x0: Tensor,
    posterior_xt: Tensor,
    posterior_log_variance: Tensor,
    log_beta: Tensor,
    timesteps: usize,
}

impl Diffusion {
    /// The process of a schedule (Ho et al. 2020, Eqs. 4, 6 and 7), computed in f64 and kept in f32.
    pub fn new(schedule: &Schedule, device: Device) -> Self {
        let timesteps = schedule.timesteps();
        let alpha_bar: Vec<f64> = (0..=timesteps)
            .map(|level| schedule.alpha_bar(NoiseLevel::new(level)).expect("a level of this schedule"))
            .collect();
        let table = |f: &dyn Fn(usize) -> f64| {
            let values: Vec<f32> = (0..timesteps).map(|t| f(t) as f32).collect();
            Tensor::from_slice(&values).to_device(device)
        };
        // Timestep t leads from level t to level t + 1.
        let at = |t: usize| alpha_bar[Timestep::new(t).level().get()];
        let before = |t: usize| alpha_bar[t];
        let beta = |t: usize| 1.0 - at(t) / before(t);
        let variance = |t: usize| beta(t) * (1.0 - before(t)) / (1.0 - at(t));
        Self {
            sqrt_alpha_bar: table(&|t| at(t).sqrt()),
            sqrt_one_minus_alpha_bar: table(&|t| (1.0 - at(t)).sqrt()),
            sqrt_recip_alpha_bar: table(&|t| (1.0 / at(t)).sqrt()),
            sqrt_recip_alpha_bar_minus_one: table(&|t| (1.0 / at(t) - 1.0).sqrt()),
            posterior_x0: table(&|t| beta(t) * before(t).sqrt() / (1.0 - at(t))),
            posterior_xt: table(&|t| (1.0 - before(t)) * (1.0 - beta(t)).sqrt() / (1.0 - at(t))),
            // The first variance is 0; the second stands in for it (Nichol and Dhariwal 2021's code).
            posterior_log_variance: table(&|t| variance(t.max(1).min(timesteps - 1)).ln()),
            log_beta: table(&|t| beta(t).ln()),
            timesteps,
        }
    }

    /// T.
    pub fn timesteps(&self) -> usize {
        self.timesteps
    }

    /// x_t = √ᾱ x₀ + √(1 − ᾱ) ε, images [N, C, H, W], timesteps `[N]` (integer, 0..T): Ho et al. 2020, Eq. 4.
    pub fn noised(&self, x0: &Tensor, t: &Tensor, noise: &Tensor) -> Tensor {
        at(&self.sqrt_alpha_bar, t) * x0 + at(&self.sqrt_one_minus_alpha_bar, t) * noise
    }

    /// The hybrid loss of a prediction `out` [N, 2C, H, W] (ε̂, then v) for images `x0` that became `x_t` by `noise`,
    /// all [N, C, H, W]. The discretised first step counts values in bins of ±1/255, as the reference does.
    pub fn hybrid(&self, x0: &Tensor, x_t: &Tensor, t: &Tensor, noise: &Tensor, out: &Tensor) -> HybridTerms {
        let parts = out.chunk(2, 1);
        let (eps, v) = (&parts[0], &parts[1]);
        let mse = squared_error(noise, eps);

        let eps = eps.detach();
        let predicted =
            at(&self.sqrt_recip_alpha_bar, t) * x_t - at(&self.sqrt_recip_alpha_bar_minus_one, t) * &eps;
        let mean_from = |x: &Tensor| at(&self.posterior_x0, t) * x + at(&self.posterior_xt, t) * x_t;
        let (true_mean, mean) = (mean_from(x0), mean_from(&predicted));
        let least = at(&self.posterior_log_variance, t);
        let fraction: Tensor = (v + 1.0) / 2.0;
        let log_variance = &fraction * at(&self.log_beta, t) + (1.0 - &fraction) * &least;

        let kl = mean_of_each(&normal_kl(&true_mean, &least, &mean, &log_variance));
        let likelihood = -mean_of_each(&discretised_log_likelihood(x0, &mean, &(&log_variance * 0.5)));
        let first = t.eq(0);
        let bound = likelihood.where_self(&first, &kl) / std::f64::consts::LN_2;
        HybridTerms { mse, bound }
    }
}

/// Mean over channels and pixels of (ε − ε̂)², [N, C, H, W] both, one value an image, `[N]`.
pub fn squared_error(noise: &Tensor, eps: &Tensor) -> Tensor {
    mean_of_each(&(noise - eps).square())
}

/// Cross-entropy of logits [N, K] for labels `[N]` (integer), one value an image, `[N]`.
pub fn cross_entropy(logits: &Tensor, labels: &Tensor) -> Tensor {
    let log_probs = logits.log_softmax(1, Kind::Float);
    -log_probs.gather(1, &labels.unsqueeze(1), false).squeeze_dim(1)
}

/// A table's values at timesteps `[N]`, as [N, 1, 1, 1].
fn at(table: &Tensor, t: &Tensor) -> Tensor {
    table.index_select(0, t).reshape([-1, 1, 1, 1])
}

/// Mean over all axes but the first.
fn mean_of_each(x: &Tensor) -> Tensor {
    x.flatten(1, -1).mean_dim([1i64].as_slice(), false, Kind::Float)
}

/// KL divergence of two normal distributions by mean and log-variance, in nats.
fn normal_kl(mean1: &Tensor, log_variance1: &Tensor, mean2: &Tensor, log_variance2: &Tensor) -> Tensor {
    let spread = (log_variance1 - log_variance2).exp();
    let distance = (mean1 - mean2).square() * (-log_variance2).exp();
    (log_variance2 - log_variance1 + spread + distance - 1.0) * 0.5
}

/// Log-likelihood of values in [−1, 1] in 256 bins under a normal distribution (Ho et al. 2020, Eq. 13), with the
/// reference's tanh approximation of the cumulative normal.
fn discretised_log_likelihood(x: &Tensor, mean: &Tensor, log_scale: &Tensor) -> Tensor {
    let centred = x - mean;
    let inverse = (-log_scale).exp();
    let above = cumulative_normal(&(&inverse * (&centred + 1.0 / 255.0)));
    let below = cumulative_normal(&(&inverse * (&centred - 1.0 / 255.0)));
    let safe_log = |p: &Tensor| p.clamp_min(1e-12).log();
    let (low, high) = (safe_log(&above), safe_log(&(1.0 - &below)));
    let between = safe_log(&(&above - &below));
    let upper = high.where_self(&x.gt(0.999), &between);
    low.where_self(&x.lt(-0.999), &upper)
}

fn cumulative_normal(x: &Tensor) -> Tensor {
    let inner = (x + x.pow_tensor_scalar(3) * 0.044715) * (2.0 / std::f64::consts::PI).sqrt();
    (inner.tanh() + 1.0) * 0.5
}
