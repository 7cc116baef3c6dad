//! Adam with its moments as named tensors, so that a run can be saved and goes on exactly.

use tch::Tensor;

use crate::task::{Part, Phase};
use crate::weights::Named;

/// Adam (Kingma and Ba 2015, Algorithm 1) without weight decay; ε = 1e-8.
#[derive(Debug)]
pub struct Adam {
    first: Named,
    second: Named,
}

/// β₁ and β₂.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Betas(pub f64, pub f64);

impl Betas {
    /// The authors' own.
    pub const USUAL: Self = Self(0.9, 0.999);
    /// StarGAN's, and so the Fixed-Point GAN's.
    pub const GAN: Self = Self(0.5, 0.999);
}

const EPSILON: f64 = 1e-8;

impl Adam {
    /// Moments of zero for these parameters.
    pub fn new(params: &Named) -> Self {
        Self { first: params.zeros(), second: params.zeros() }
    }

    /// Moments of a run that goes on.
    pub fn resume(first: Named, second: Named) -> Self {
        Self { first, second }
    }

    /// The first and second moments, named as the parameters.
    pub fn moments(&self) -> (&Named, &Named) {
        (&self.first, &self.second)
    }

    /// One step of a phase down the gradients that its own parameters hold; these are left as they are, and so is
    /// everything of the other parameters, whatever gradients they hold.
    pub fn step(&mut self, params: &mut Named, phase: Phase, learning_rate: f64) {
        let Phase { part, count, betas: Betas(beta_1, beta_2) } = phase;
        let (c1, c2) = (1.0 - beta_1.powi(count as i32), 1.0 - beta_2.powi(count as i32));
        tch::no_grad(|| {
            for (((name, p), (_, m)), (_, v)) in
                params.iter_mut().zip(self.first.iter_mut()).zip(self.second.iter_mut())
            {
                if !part.owns(name) {
                    continue;
                }
                let g = p.grad();
                if !g.defined() {
                    continue;
                }
                let _ = m.lerp_(&g, 1.0 - beta_1);
                let _ = v.g_mul_scalar_(beta_2).addcmul_(&g, &(&g * (1.0 - beta_2)));
                let denominator = v.sqrt() / c2.sqrt() + EPSILON;
                let _ = p.addcdiv_(&(&*m * (-learning_rate / c1)), &denominator);
            }
        });
    }
}

/// The norm of all gradients of a part's parameters together; if it is above `most`, they are scaled down to it (Pascanu
/// et al. 2013). Those of other parameters do not count.
pub fn clip_gradients(params: &mut Named, part: Part, most: Option<f64>) -> f64 {
    let own = params.iter().filter(|(name, _)| part.owns(name));
    let norms: Vec<Tensor> = own.map(|(_, p)| p.grad()).filter(Tensor::defined).map(|g| g.norm()).collect();
    if norms.is_empty() {
        return 0.0;
    }
    let norm = Tensor::stack(&norms, 0).norm().double_value(&[]);
    if let Some(most) = most
        && norm > most
    {
        for (_, p) in params.iter_mut().filter(|(name, _)| part.owns(name)) {
            let mut g = p.grad();
            if g.defined() {
                let _ = g.g_mul_scalar_(most / norm);
            }
        }
    }
    norm
}

/// Moves an average of a part's parameters (Polyak and Juditsky 1992) by one step: a ← rate · a + (1 − rate) · p.
pub fn average(average: &mut Named, params: &Named, part: Part, rate: f64) {
    tch::no_grad(|| {
        let pairs = average.iter_mut().zip(params.iter());
        for ((_, a), (_, p)) in pairs.filter(|((name, _), _)| part.owns(name)) {
            let _ = a.lerp_(p, 1.0 - rate);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Kind;

    /// The values of `torch.optim.Adam(lr=0.1)` on f(p) = Σ p³ from [1, -2], three steps; PyTorch 2.11.
    #[test]
    fn steps_are_pytorchs() {
        let start = Tensor::from_slice(&[1.0f32, -2.0]).set_requires_grad(true);
        let mut params = Named::new(vec![("p".into(), start)]);
        let mut adam = Adam::new(&params);
        for step in 1..=3 {
            params.zero_grad();
            params.iter().for_each(|(_, p)| p.pow_tensor_scalar(3).sum(Kind::Float).backward());
            adam.step(&mut params, Phase { part: Part::Whole, count: step, betas: Betas::USUAL }, 0.1);
        }
        let found = Vec::<f32>::try_from(params.iter().next().unwrap().1).unwrap();
        for (found, expected) in found.iter().zip(PYTORCH) {
            assert!((found - expected).abs() < 1e-6, "{found} against {expected}");
        }
    }

    const PYTORCH: [f32; 2] = [0.704_153_7, -2.300_493_7];

    #[test]
    fn gradients_are_scaled_to_the_norm_and_only_down() {
        let p = Tensor::from_slice(&[0.0f32, 0.0]).set_requires_grad(true);
        (&p * Tensor::from_slice(&[3.0f32, 4.0])).sum(Kind::Float).backward();
        let mut params = Named::new(vec![("p".into(), p)]);
        for (most, expected) in [(None, 3.0), (Some(10.0), 3.0), (Some(1.0), 0.6)] {
            assert_eq!(clip_gradients(&mut params, Part::Whole, most), 5.0, "{most:?}");
            let first = params.iter().next().unwrap().1.grad().double_value(&[0]);
            assert!((first - expected).abs() < 1e-6, "{most:?}: {first}");
        }
    }
}
