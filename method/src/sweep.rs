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

use anomalens_models::schedule::{NoiseLevel, Schedule, Trajectory};
use ndarray::Array4;

use crate::ddim::{
    self, ClassLabel, DdimError, GradientScale, Guidance, Guide, NoisePredictor, NoisyImage, Plan, StepDone,
};

/// Which L and which s; every pair is run.
#[derive(Debug, Clone, PartialEq)]
pub struct Grid {
    /// The steps of the longest run; a run to a smaller level makes those below it. It holds every level of `levels`.
    pub trajectory: Trajectory,
    /// L.
    pub levels: Vec<NoiseLevel>,
    /// s; 0 makes round trips.
    pub scales: Vec<GradientScale>,
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
    /// Steps that [`sweep`] makes on one batch: calls of the noise predictor.
    pub fn steps(&self) -> usize {
        let to = |level: &NoiseLevel| self.trajectory.levels().iter().filter(|l| *l <= level).count() - 1;
        let up = self.levels.iter().map(to).max().unwrap_or(0);
        up + self.scales.len() * self.levels.iter().map(to).sum::<usize>()
    }
}

/// Runs a grid on a batch of images [N, C, H, W]; `found` is given each pair as it is done, by rising level and then by the order
/// of the scales. Without a guide only s = 0 has a meaning.
///
/// Errors: [`DdimError::Schedule`] for a level that is not one of the trajectory's, and those of [`ddim::decode_guided`].
pub fn sweep(
    net: &mut dyn NoisePredictor,
    mut guide: Option<&mut dyn Guide>,
    schedule: &Schedule,
    grid: &Grid,
    images: Array4<f32>,
    on_step: &mut dyn FnMut(&StepDone<'_>) -> ControlFlow<()>,
    found: &mut dyn FnMut(Point),
) -> Result<(), DdimError> {
    let mut levels = grid.levels.clone();
    levels.sort_unstable();
    levels.dedup();
    let plans: Vec<Plan> = levels
        .iter()
        .map(|&level| Plan::paper(schedule, &grid.trajectory.up_to(level)?))
        .collect::<Result<_, DdimError>>()?;
    let Some(longest) = plans.last() else { return Ok(()) };
    let mut encoded: Vec<NoisyImage> = Vec::with_capacity(levels.len());
    let start = longest.start(images, None)?;
    ddim::encode(longest, net, grid.healthy_class, start, &mut |step| {
        if levels.contains(&step.image.level()) {
            encoded.push(step.image.clone());
        }
        on_step(step)
    })?;
    for (plan, x) in plans.iter().zip(&encoded) {
        for &scale in &grid.scales {
            let guidance =
                guide.as_deref_mut().map(|guide| Guidance { guide: guide as &mut dyn Guide, scale });
            let healthy =
                ddim::decode_guided(plan, net, guidance, grid.healthy_class, x.clone(), &mut *on_step)?;
            found(Point { level: x.level(), scale, healthy: healthy.into_pixels() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
