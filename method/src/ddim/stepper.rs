//! What makes steps: two networks and the update between them, however they are computed.

use ndarray::{Array4, Zip, aview0};

use super::{ClassLabel, DdimError, GradientScale, Guide, NoisePredictor, Step, check_shape};

/// The two networks.
pub struct Networks<'a> {
    /// The U-Net.
    pub net: &'a mut dyn NoisePredictor,
    /// The classifier's gradient; without one nothing pulls.
    pub guide: Option<&'a mut dyn Guide>,
}

impl Networks<'_> {
    /// The same, for a shorter time.
    pub fn reborrow(&mut self) -> Networks<'_> {
        Networks {
            net: &mut *self.net,
            guide: self.guide.as_mut().map(|guide| &mut **guide as &mut dyn Guide),
        }
    }
}

/// Makes the steps of a leg, and holds the images [N, C, H, W] meanwhile: on the host, as [`OnHost`] does, or on a device.
pub trait Stepper {
    /// Takes the images with which a leg begins, and forgets every earlier slope.
    ///
    /// Errors: those of whoever computes.
    fn begin(&mut self, x: Array4<f32>) -> Result<(), DdimError>;

    /// Makes a step towards class `y`: `x' = x + (x · cx + e · ce + e_previous · cp)` by [`Step::coefficients`], with e the slope
    /// `ε - s sqrt(1 - ᾱ) ∇ log p`, which it remembers for the next step. At s = 0, or without a guide, the classifier is not asked.
    ///
    /// Errors: [`DdimError::Network`], [`DdimError::Shape`].
    fn step(&mut self, step: &Step, scale: GradientScale, y: ClassLabel) -> Result<(), DdimError>;

    /// The images as they are now.
    ///
    /// Errors: those of whoever computes.
    fn images(&mut self) -> Result<Array4<f32>, DdimError>;

    /// Whether there is a guide.
    fn guided(&self) -> bool;

    /// The networks themselves, for what is no step along the ODE: DDPM sampling.
    ///
    /// Errors: those of whoever computes.
    fn networks(&mut self) -> Result<Networks<'_>, DdimError>;
}

/// The networks by turns, and the update in f64 a pixel, rounded once: the steps at low levels differ from one another by
/// 1e-5, which f32 coefficients would blur.
pub struct OnHost<'a> {
    networks: Networks<'a>,
    x: Array4<f32>,
    /// e of the step before.
    slope: Option<Array4<f32>>,
}

impl<'a> OnHost<'a> {
    /// A stepper over two networks.
    pub fn new(net: &'a mut dyn NoisePredictor, guide: Option<&'a mut dyn Guide>) -> Self {
        Self { networks: Networks { net, guide }, x: Array4::zeros((0, 0, 0, 0)), slope: None }
    }
}

impl Stepper for OnHost<'_> {
    fn begin(&mut self, x: Array4<f32>) -> Result<(), DdimError> {
        (self.x, self.slope) = (x, None);
        Ok(())
    }

    fn step(&mut self, step: &Step, scale: GradientScale, y: ClassLabel) -> Result<(), DdimError> {
        let Networks { net, guide } = &mut self.networks;
        let x = &mut self.x;
        let mut slope = net.eps(x, step.unet, y)?;
        check_shape("noise prediction", &slope, x)?;
        let gradient = match guide {
            Some(guide) if scale > GradientScale::NONE => {
                let gradient = guide.gradient(x, step.classifier, y)?;
                check_shape("gradient", &gradient, x)?;
                Some(gradient)
            }
            Some(_) | None => None,
        };
        let (zero, dim) = (aview0(&0.0), x.dim());
        let nothing = || zero.broadcast(dim).expect("one value has every shape");
        let gradient = gradient.as_ref().map_or_else(nothing, |gradient| gradient.view());
        // Without an earlier slope a step is Euler's, whatever its plan wants.
        let step =
            &Step { previous_alpha_bar: step.previous_alpha_bar.filter(|_| self.slope.is_some()), ..*step };
        let previous = self.slope.as_ref().map_or_else(nothing, |slope| slope.view());
        let coefficients = step.coefficients();
        Zip::from(x).and(&mut slope).and(gradient).and(previous).for_each(
            |x, slope, &gradient, &previous| {
                let before = f64::from(*x);
                let e = step.slope(before, f64::from(*slope), scale.get() * f64::from(gradient));
                *slope = e as f32;
                let after = match step.previous_alpha_bar {
                    None => step.as_printed(before, e),
                    Some(_) => coefficients.apply(before, e, f64::from(previous)),
                };
                *x = after as f32;
            },
        );
        self.slope = Some(slope);
        Ok(())
    }

    fn images(&mut self) -> Result<Array4<f32>, DdimError> {
        Ok(self.x.clone())
    }

    fn guided(&self) -> bool {
        self.networks.guide.is_some()
    }

    fn networks(&mut self) -> Result<Networks<'_>, DdimError> {
        Ok(self.networks.reborrow())
    }
}
