//! What is minimised: the hybrid loss of the noise predictor, cross-entropies, and the parts of the comparison methods'
//! losses.
//!
//! The hybrid loss (Nichol and Dhariwal 2021, Eq. 16) is the mean squared error of ε plus a variational bound that
//! trains the variances alone: ε is detached in it. A network that learns no variance has the first term alone.

use anomalens_models::schedule::{NoiseLevel, Schedule, Timestep};
use tch::{Device, Kind, Tensor};

use crate::error::TrainError;
use crate::interpret::InterpretError;

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

/// Standard deviation of the autoencoder's Gaussian decoder, in units of the images: a fixed one, as in Chen and
/// Konukoglu 2018, whose images have another unit.
pub const DECODER_DEVIATION: f64 = 0.1;

/// KL divergence of independent normal distributions, [N, …] both, from standard ones: the sum of each image, `[N]`, in
/// nats (Kingma and Welling 2014, App. B).
pub fn divergence_from_standard(mean: &Tensor, log_variance: &Tensor) -> Tensor {
    let each = (mean.square() + log_variance.exp() - 1.0 - log_variance) * 0.5;
    each.flatten(1, -1).sum_dim_intlist([1i64].as_slice(), false, Kind::Float)
}

/// (‖∇ₓ Σ f(x)‖ − 1)² of each image x [N, C, H, W], `[N]` (Gulrajani et al. 2017, Eq. 3), with its history for
/// autograd; `f` gives any number of values an image, each of which depends on that image alone.
///
/// Errors: those of `f`; [`TrainError::Interpret`] where libtorch cannot differentiate it.
pub fn gradient_penalty(
    x: &Tensor,
    f: impl FnOnce(&Tensor) -> Result<Tensor, TrainError>,
) -> Result<Tensor, TrainError> {
    let x = x.detach().set_requires_grad(true);
    let total = f(&x)?.sum(x.kind());
    let gradient =
        Tensor::f_run_backward(&[total], &[&x], true, true).map_err(|source| InterpretError::Torch {
            graph: "critic".into(),
            scope: "gradient penalty".into(),
            op: "backward",
            source: source.into(),
        })?;
    let squares = gradient[0].flatten(1, -1).square();
    let norm = squares.sum_dim_intlist([1i64].as_slice(), false, x.kind()).sqrt();
    Ok((norm - 1.0).square())
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Central differences in f64 with h = 1e-5: truncation about h², rounding about 1e-16 / h.
    const FINITE_DIFFERENCE: f64 = 1e-7;
    const STEP: f64 = 1e-5;

    const DOUBLE: (Kind, Device) = (Kind::Double, Device::Cpu);

    /// A critic of two convolutions with a bend between them; `weight` [3, 2, 3, 3] is the first's.
    fn critic(x: &Tensor, weight: &Tensor, last: &Tensor) -> Tensor {
        let h = x.conv2d(weight, None::<Tensor>, [1, 1], [1, 1], [1, 1], 1);
        let h = h.maximum(&(&h * 0.01)).tanh();
        h.conv2d(last, None::<Tensor>, [1, 1], [1, 1], [1, 1], 1)
    }

    /// `x` with one of its numbers changed.
    fn moved(x: &Tensor, place: i64, by: f64) -> Tensor {
        let moved = x.detach().copy();
        let _ = moved.view(-1).narrow(0, place, 1).g_add_scalar_(by);
        moved
    }

    /// (‖gradient‖ − 1)² of each image, the gradient by differences of one pixel after the other.
    fn by_differences(x: &Tensor, f: impl Fn(&Tensor) -> Tensor) -> Vec<f64> {
        let (images, pixels) = (x.size()[0], x.numel() as i64 / x.size()[0]);
        let norm = |image: i64| {
            let one = x.narrow(0, image, 1).contiguous();
            let at = |place, by| f(&moved(&one, place, by)).sum(Kind::Double).double_value(&[]);
            let slope = |place| (at(place, STEP) - at(place, -STEP)) / (2.0 * STEP);
            (0..pixels).map(|place| slope(place).powi(2)).sum::<f64>().sqrt()
        };
        (0..images).map(|image| (norm(image) - 1.0).powi(2)).collect()
    }

    #[test]
    fn the_gradient_penalty_equals_finite_differences() {
        tch::manual_seed(5);
        let [x, weight, last] =
            [[2, 2, 5, 5], [3, 2, 3, 3], [1, 3, 3, 3]].map(|shape| Tensor::randn(shape, DOUBLE));
        let weight = weight.set_requires_grad(true);
        let penalty = gradient_penalty(&x, |x| Ok(critic(x, &weight, &last))).unwrap();
        let expected = by_differences(&x, |x| tch::no_grad(|| critic(x, &weight, &last)));
        for (image, expected) in expected.iter().enumerate() {
            let found = penalty.double_value(&[image as i64]);
            let apart = (found - expected).abs() / expected.max(1.0);
            assert!(apart <= FINITE_DIFFERENCE, "image {image}: {found} against {expected}");
            // The penalty of the map's mean, not of its sum, is another.
            let of_mean = ((found.sqrt() + 1.0) / 25.0 - 1.0).powi(2);
            assert!((of_mean - expected).abs() > FINITE_DIFFERENCE, "image {image}");
        }
        // What training follows: its gradient with respect to a weight, through the gradient inside it.
        penalty.sum(Kind::Double).backward();
        let total = |by: f64| {
            let moved = moved(&weight, 7, by);
            let penalty = gradient_penalty(&x, |x| Ok(critic(x, &moved, &last))).unwrap();
            penalty.sum(Kind::Double).double_value(&[])
        };
        let expected = (total(STEP) - total(-STEP)) / (2.0 * STEP);
        let found = weight.grad().view(-1).double_value(&[7]);
        let apart = (found - expected).abs() / expected.abs().max(1.0);
        assert!(apart <= FINITE_DIFFERENCE, "{found} against {expected}");
        assert!(expected.abs() > 1e-3, "a slope that a missing term would not change: {expected}");
    }

    /// Against the mean of log q − log p over 200,000 draws.
    #[test]
    fn the_divergence_is_that_of_two_normals() {
        tch::manual_seed(6);
        let mean = Tensor::from_slice(&[0.7f64, -0.2, 0.0]).reshape([1, 3]);
        let log_variance = Tensor::from_slice(&[-1.0f64, 0.5, 0.0]).reshape([1, 3]);
        let found = divergence_from_standard(&mean, &log_variance).double_value(&[0]);
        let noise = Tensor::randn([200_000, 3], DOUBLE);
        let z = &mean + (&log_variance * 0.5).exp() * &noise;
        let each = (z.square() - noise.square() - &log_variance) * 0.5;
        let expected = each.sum(Kind::Double).double_value(&[]) / 200_000.0;
        // Five standard errors of the mean of so many draws, whose deviation is about 1.
        assert!((found - expected).abs() < 0.012, "{found} against {expected}");
        let standard = Tensor::zeros([1, 3], DOUBLE);
        assert_eq!(divergence_from_standard(&standard, &standard).double_value(&[0]), 0.0);
    }
}
