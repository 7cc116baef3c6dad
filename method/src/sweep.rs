//! The grid over noise levels L and gradient scales s (the paper's Fig. 4 to 6), encoding once.
//!
//! ```text
//! x ──> encode ──> x_L1 ──> x_L2 ──> … ──> x_Lmax          one walk up
//!                   │        │               │
//!                   └──── decode with each s ┘             one walk down each
//! ```
//!
//! Encoding to L passes through every smaller level on the same steps, so that x_L is that of a run to L alone, bit by bit.

use std::ops::ControlFlow;

use anomalens_models::preset::{GuidanceInterval, Solver};
use anomalens_models::schedule::{NoiseLevel, Schedule, Trajectory};
use ndarray::Array4;

use crate::ddim::{self, ClassLabel, DdimError, GradientScale, NoisyImage, Plan, StepDone, Stepper};

/// Which pairs of L and s are run.
#[derive(Debug, Clone, PartialEq)]
pub struct Grid {
    /// The steps of the longest run; a run to a smaller level makes those below it. It holds every level of `pairs`.
    pub trajectory: Trajectory,
    /// L and s; s = 0 makes round trips.
    pub pairs: Vec<(NoiseLevel, GradientScale)>,
    /// How a loop goes from level to level.
    pub solver: Solver,
    /// Where the classifier pulls; none: at every level.
    pub guidance_interval: Option<GuidanceInterval>,
    /// The class that means "healthy".
    pub healthy_class: ClassLabel,
}

/// One pair, run.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// L.
    pub level: NoiseLevel,
    /// s.
    pub scale: GradientScale,
    /// The healthy version [N, C, H, W].
    pub healthy: Array4<f32>,
}

impl Grid {
    /// Every one of `levels` with every one of `scales`.
    pub fn product(levels: &[NoiseLevel], scales: &[GradientScale]) -> Vec<(NoiseLevel, GradientScale)> {
        levels.iter().flat_map(|&level| scales.iter().map(move |&scale| (level, scale))).collect()
    }

    /// The levels, rising, each once.
    pub fn levels(&self) -> Vec<NoiseLevel> {
        let mut levels: Vec<_> = self.pairs.iter().map(|pair| pair.0).collect();
        levels.sort_unstable();
        levels.dedup();
        levels
    }

    /// The largest s.
    pub fn largest_scale(&self) -> GradientScale {
        self.pairs.iter().map(|pair| pair.1).fold(GradientScale::NONE, |a, b| if b > a { b } else { a })
    }

    /// Steps that [`sweep`] makes on one batch: calls of the noise predictor.
    pub fn steps(&self) -> usize {
        let to = |level: &NoiseLevel| self.trajectory.levels().iter().filter(|l| *l <= level).count() - 1;
        let up = self.levels().last().map_or(0, to);
        up + self.pairs.iter().map(|(level, _)| to(level)).sum::<usize>()
    }
}

/// Runs a grid on a batch of images [N, C, H, W]; `found` is given each pair as it is done, by rising level and then in the order
/// of the pairs; [`ControlFlow::Break`] cancels. Without a guide only s = 0 has a meaning.
///
/// Errors: [`DdimError::Schedule`] for a level that is not one of the trajectory's, and those of [`ddim::decode_guided`].
pub fn sweep(
    stepper: &mut dyn Stepper,
    schedule: &Schedule,
    grid: &Grid,
    images: Array4<f32>,
    on_step: &mut dyn FnMut(&StepDone) -> ControlFlow<()>,
    found: &mut dyn FnMut(Point) -> ControlFlow<()>,
) -> Result<(), DdimError> {
    let levels = grid.levels();
    let plans: Vec<Plan> = levels
        .iter()
        .map(|&level| {
            let plan = Plan::paper(schedule, &grid.trajectory.up_to(level)?)?;
            Ok(plan.by(grid.solver, grid.guidance_interval))
        })
        .collect::<Result<_, DdimError>>()?;
    let Some(longest) = plans.last() else { return Ok(()) };
    let mut encoded: Vec<NoisyImage> = Vec::with_capacity(levels.len());
    let start = longest.start(images, None)?;
    ddim::encode(longest, stepper, grid.healthy_class, start, &mut |step, images| {
        if levels.contains(&step.level) {
            encoded.push(images()?);
        }
        Ok(on_step(step))
    })?;
    for (plan, x) in plans.iter().zip(&encoded) {
        let scales = grid.pairs.iter().filter(|pair| pair.0 == x.level()).map(|pair| pair.1);
        for scale in scales {
            let mut on_step = |step: &StepDone, _: &mut ddim::Images<'_>| Ok(on_step(step));
            let healthy =
                ddim::decode_guided(plan, stepper, scale, grid.healthy_class, x.clone(), &mut on_step)?;
            let point = Point { level: x.level(), scale, healthy: healthy.into_pixels() };
            if found(point).is_break() {
                let total = plan.decode().len();
                return Err(DdimError::Cancelled { done: total, total });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
