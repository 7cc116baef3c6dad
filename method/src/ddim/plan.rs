//! Which steps a translation makes.

use anomalens_models::preset::{GuidanceInterval, Solver};
use anomalens_models::schedule::{NoiseLevel, Respacing, Schedule, Timestep, Trajectory};
use ndarray::{Array4, ArrayView4, Zip};

use super::{DdimError, NoisyImage, Step};

/// The steps of both legs, and how the images begin.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    encode: Vec<Step>,
    decode: Vec<Step>,
    start: Start,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Start {
    Clean,
    Noised { level: NoiseLevel, alpha_bar: f64 },
}

impl Plan {
    /// Algorithm 1: x itself is encoded along the trajectory's levels upwards and decoded downwards; both networks
    /// get `max(level - 1, 0)`; nothing is clipped.
    ///
    /// Errors: [`DdimError::Schedule`] if the trajectory is not one of this schedule.
    pub fn paper(schedule: &Schedule, trajectory: &Trajectory) -> Result<Self, DdimError> {
        let step = |from: NoiseLevel, to: NoiseLevel| -> Result<Step, DdimError> {
            let t = from.timestep();
            Ok(Step {
                from_alpha_bar: schedule.alpha_bar(from)?,
                to_alpha_bar: schedule.alpha_bar(to)?,
                previous_alpha_bar: None,
                to,
                unet: t,
                classifier: t,
                guided: to < from,
                clip: false,
            })
        };
        let pairs = trajectory.levels().windows(2);
        let encode = pairs.clone().map(|pair| step(pair[0], pair[1])).collect::<Result<_, _>>()?;
        let decode = pairs.rev().map(|pair| step(pair[1], pair[0])).collect::<Result<_, _>>()?;
        Ok(Self { encode, decode, start: Start::Clean })
    }

    /// The same steps otherwise: the classifier pulls within `interval` only, and `solver` goes from level to level. Of
    /// [`Solver::Ab2`] a loop's first step is one of Euler's, and so is the first of those that are pulled, and of those that are
    /// not again: there the slope jumps, and to go on with the one before would be wrong.
    pub fn by(mut self, solver: Solver, interval: Option<GuidanceInterval>) -> Self {
        for step in &mut self.decode {
            let from = step.unet.level().get();
            step.guided = interval.is_none_or(|i| (i.lowest()..=i.highest()).contains(&from));
        }
        for steps in [&mut self.encode, &mut self.decode] {
            for i in 1..steps.len() {
                let before = steps[i - 1];
                let smooth = solver == Solver::Ab2 && before.guided == steps[i].guided;
                steps[i].previous_alpha_bar = smooth.then_some(before.from_alpha_bar);
            }
        }
        self
    }

    /// The published script (`ddim_sample_loop_known`), with its indices as they are: noise of level 1 is added;
    /// encoding makes the steps of index 1..=L−1, decoding those of index L−2..=0, as if it began there; under
    /// respacing the U-Net gets the mapped index, the classifier the unmapped one. `level` counts respaced steps.
    /// `clip`: x₀ is clamped to [−1, 1] before guidance. At L = T the last ᾱ is 0, as in the script, and the level
    /// that it leads to is called T.
    ///
    /// Errors: [`DdimError::Schedule`], [`DdimError::ReferenceLevel`].
    pub fn reference(
        schedule: &Schedule,
        respacing: Option<Respacing>,
        level: NoiseLevel,
        clip: bool,
    ) -> Result<Self, DdimError> {
        let kept: Vec<Timestep> = match respacing {
            Some(respacing) => respacing.timesteps(schedule.timesteps())?,
            None => (0..schedule.timesteps()).map(Timestep::new).collect(),
        };
        let l = level.get();
        if l < 2 || l > kept.len() {
            return Err(DdimError::ReferenceLevel { found: l, most: kept.len() });
        }
        // The script's index k stands at the level that kept step k leads to.
        let at = |k: usize| -> Result<(NoiseLevel, f64), DdimError> {
            let level = kept[k].level();
            Ok((level, schedule.alpha_bar(level)?))
        };
        let step = |k: usize, (to, to_alpha_bar): (NoiseLevel, f64)| -> Result<Step, DdimError> {
            let (from, from_alpha_bar) = at(k)?;
            Ok(Step {
                from_alpha_bar,
                to_alpha_bar,
                previous_alpha_bar: None,
                to,
                unet: kept[k],
                classifier: Timestep::new(k),
                guided: to < from,
                clip,
            })
        };
        let beyond = (NoiseLevel::new(schedule.timesteps()), 0.0);
        let above = |k: usize| if k + 1 < kept.len() { at(k + 1) } else { Ok(beyond) };
        let below = |k: usize| if k > 0 { at(k - 1) } else { Ok((NoiseLevel::CLEAN, 1.0)) };
        let encode = (1..l).map(|k| step(k, above(k)?)).collect::<Result<_, _>>()?;
        let decode = (0..=l - 2).rev().map(|k| step(k, below(k)?)).collect::<Result<_, _>>()?;
        let (level, alpha_bar) = at(0)?;
        Ok(Self { encode, decode, start: Start::Noised { level, alpha_bar } })
    }

    /// The steps of the way up, in order.
    pub fn encode(&self) -> &[Step] {
        &self.encode
    }

    /// The steps of the way down, in order.
    pub fn decode(&self) -> &[Step] {
        &self.decode
    }

    /// Whether the images begin with noise, that is, whether [`Plan::start`] wants an array of it.
    pub fn begins_with_noise(&self) -> bool {
        self.start != Start::Clean
    }

    /// The level at which encoding begins.
    pub fn first_level(&self) -> NoiseLevel {
        match self.start {
            Start::Clean => NoiseLevel::CLEAN,
            Start::Noised { level, .. } => level,
        }
    }

    /// The level at which encoding ends and decoding begins.
    pub fn top_level(&self) -> NoiseLevel {
        self.encode.last().map_or(self.first_level(), |step| step.to)
    }

    /// Images [N, C, H, W] as encoding begins with them: as they are, or noised by `first_noise` [N, C, H, W], standard
    /// normal.
    ///
    /// Errors: [`DdimError::FirstNoise`], [`DdimError::Shape`].
    pub fn start(
        &self,
        images: Array4<f32>,
        first_noise: Option<ArrayView4<'_, f32>>,
    ) -> Result<NoisyImage, DdimError> {
        let (level, alpha_bar, noise) = match (self.start, first_noise) {
            (Start::Clean, None) => return Ok(NoisyImage::new(NoiseLevel::CLEAN, images)),
            (Start::Clean, Some(_)) => {
                return Err(DdimError::FirstNoise { found: "an array", expected: "none" });
            }
            (Start::Noised { .. }, None) => {
                return Err(DdimError::FirstNoise { found: "none", expected: "an array" });
            }
            (Start::Noised { level, alpha_bar }, Some(noise)) => (level, alpha_bar, noise),
        };
        if noise.dim() != images.dim() {
            let (found, expected) = (noise.shape().to_vec(), images.shape().to_vec());
            return Err(DdimError::Shape { what: "first noise", found, expected });
        }
        let (signal, spread) = (alpha_bar.sqrt(), (1.0 - alpha_bar).sqrt());
        let mut pixels = images;
        Zip::from(&mut pixels)
            .and(&noise)
            .for_each(|x, &n| *x = (signal * f64::from(*x) + spread * f64::from(n)) as f32);
        Ok(NoisyImage::new(level, pixels))
    }
}
