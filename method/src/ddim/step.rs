//! One step: the networks, then the update from one ᾱ to another.

use anomalens_models::schedule::{NoiseLevel, Timestep};
use ndarray::{Array4, Zip};

use super::{ClassLabel, DdimError, GradientScale, Guide, NoisePredictor};

/// One step from an ᾱ to another; upwards and downwards are the same formula.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// ᾱ of the image that goes in, (0, 1].
    pub from_alpha_bar: f64,
    /// ᾱ of the image that comes out, [0, 1].
    pub to_alpha_bar: f64,
    /// The level of the image that comes out.
    pub to: NoiseLevel,
    /// What the noise predictor is given.
    pub unet: Timestep,
    /// What the guide is given.
    pub classifier: Timestep,
    /// Whether the x₀ that ε implies is clamped to [−1, 1]; the x₀ after guidance never is.
    pub clip: bool,
}

/// A guide and how strongly it pulls.
pub struct Guidance<'a> {
    /// The classifier's gradient.
    pub guide: &'a mut dyn Guide,
    /// s.
    pub scale: GradientScale,
}

impl Step {
    /// Makes the step for a batch `x` [N, C, H, W].
    ///
    /// Errors: [`DdimError::Network`]; [`DdimError::Shape`] if a network gives another shape than it got.
    pub fn make(
        &self,
        net: &mut dyn NoisePredictor,
        guidance: Option<&mut Guidance<'_>>,
        y: ClassLabel,
        x: &Array4<f32>,
    ) -> Result<Array4<f32>, DdimError> {
        let eps = net.eps(x, self.unet, y)?;
        check_shape("noise prediction", &eps, x)?;
        match guidance {
            Some(Guidance { guide, scale }) if scale.get() > 0.0 => {
                let gradient = guide.gradient(x, self.classifier, y)?;
                check_shape("gradient", &gradient, x)?;
                Ok(self.update(x, &eps, Some((&gradient, *scale))))
            }
            Some(_) | None => Ok(self.update(x, &eps, None)),
        }
    }

    /// `x0 = (x - sqrt(1 - a) eps') / sqrt(a)`, then `sqrt(b) x0 + sqrt(1 - b) eps'`, with a and b the two ᾱ and
    /// `eps' = eps - s sqrt(1 - a) grad` (Algorithm 1). In f64 a pixel, rounded once: the steps at low levels differ
    /// from one another by 1e-5, which f32 coefficients would blur.
    fn update(
        &self,
        x: &Array4<f32>,
        eps: &Array4<f32>,
        pull: Option<(&Array4<f32>, GradientScale)>,
    ) -> Array4<f32> {
        let (a, b) = (self.from_alpha_bar, self.to_alpha_bar);
        let (sqrt_a, sqrt_1a) = (a.sqrt(), (1.0 - a).sqrt());
        let (sqrt_b, sqrt_1b) = (b.sqrt(), (1.0 - b).sqrt());
        let clean = |x: f64, eps: f64| (x - sqrt_1a * eps) / sqrt_a;
        // What the clamp changes in x0 is handed on to eps, so that x stays on the line between the two. Where a = 1
        // the image is clean and eps is free.
        let clipped = |x: f64, eps: f64| {
            if self.clip && a < 1.0 { (x - sqrt_a * clean(x, eps).clamp(-1.0, 1.0)) / sqrt_1a } else { eps }
        };
        let towards = |x: f64, eps: f64| (sqrt_b * clean(x, eps) + sqrt_1b * eps) as f32;
        match pull {
            None => Zip::from(x).and(eps).map_collect(|&x, &eps| {
                let x = f64::from(x);
                towards(x, clipped(x, f64::from(eps)))
            }),
            Some((gradient, s)) => Zip::from(x).and(eps).and(gradient).map_collect(|&x, &eps, &g| {
                let x = f64::from(x);
                towards(x, clipped(x, f64::from(eps)) - s.get() * sqrt_1a * f64::from(g))
            }),
        }
    }
}

/// A network's output, or noise, has the shape of the images.
///
/// Errors: [`DdimError::Shape`].
pub(crate) fn check_shape(what: &'static str, found: &Array4<f32>, x: &Array4<f32>) -> Result<(), DdimError> {
    if found.dim() == x.dim() {
        return Ok(());
    }
    Err(DdimError::Shape { what, found: found.shape().to_vec(), expected: x.shape().to_vec() })
}
