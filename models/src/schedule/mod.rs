//! The noise schedule: how much of the image is left at each noise level, in f64.
//!
//! Two numbers are easily confused, so they are two types. A [`NoiseLevel`] 0..=T is the paper's t: level 0 is
//! the clean image, `alpha_bar[0] = 1`. A [`Timestep`] 0..T is the number that the networks were trained on; the
//! one conversion is [`NoiseLevel::timestep`].
//!
//! ```text
//! level      0    1       2       …   T          alpha_bar(level): 1, 0.9999, 0.99978, …, 4.0e-5 (linear, T = 1000)
//! timestep   0    0       1       …   T - 1      max(level - 1, 0)
//! ```
//!
//! A [`Trajectory`] is the list of levels that a translation visits; [`Respacing`] the reference's `ddimN`.

mod respacing;
mod trajectory;

pub use respacing::Respacing;
pub use trajectory::Trajectory;

use std::f64::consts::FRAC_PI_2;
use std::fmt;

use crate::preset::{ScheduleKind, ScheduleSpec};

/// The paper's t: how many of the T noising steps an image has gone through, 0 (clean) ..= T.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NoiseLevel(usize);

/// The number that a network is given, 0..T: the index of the noising step that it was trained to undo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestep(usize);

impl NoiseLevel {
    /// The clean image.
    pub const CLEAN: Self = Self(0);

    /// A level; whether a schedule has it, the schedule says.
    pub const fn new(level: usize) -> Self {
        Self(level)
    }

    /// The level as a number.
    pub const fn get(self) -> usize {
        self.0
    }

    /// The network index of this level: `max(level - 1, 0)`. The clean image has none of its own and takes that
    /// of level 1, as the reference does.
    pub const fn timestep(self) -> Timestep {
        Timestep(self.0.saturating_sub(1))
    }
}

impl Timestep {
    /// A network index.
    pub const fn new(timestep: usize) -> Self {
        Self(timestep)
    }

    /// The index as a number.
    pub const fn get(self) -> usize {
        self.0
    }

    /// The level that this step leads to: `timestep + 1`.
    pub const fn level(self) -> NoiseLevel {
        NoiseLevel(self.0 + 1)
    }
}

impl fmt::Display for NoiseLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Timestep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a schedule, a level or a list of levels cannot be.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ScheduleError {
    /// No steps at all.
    #[error("schedule: T = 0, expected at least 1 step; correct schedule.timesteps in the preset")]
    Empty,
    /// A β that leaves nothing of the image.
    #[error(
        "schedule: beta[{timestep}] = {found}, expected (0, 1); a linear schedule is scaled by 1000/T and needs T > 20"
    )]
    Beta {
        /// Which step.
        timestep: Timestep,
        /// The β found.
        found: f64,
    },
    /// L = 0: nothing would be encoded.
    #[error("noise level 0 is the clean image, expected 1..={most}; choose a higher --noise-level")]
    NothingToDo {
        /// The highest level.
        most: usize,
    },
    /// L > T, or beyond the last respaced step.
    #[error("noise level {found}, expected 1..={most} ({counts}); choose a lower --noise-level")]
    LevelTooHigh {
        /// The level asked for.
        found: usize,
        /// The highest level.
        most: usize,
        /// What levels count here.
        counts: String,
    },
    /// A level between two steps.
    #[error(
        "noise level {found} is not one of the steps to level {most}; take one that is, or add it to them"
    )]
    NotVisited {
        /// The level asked for.
        found: usize,
        /// The level that the steps lead to.
        most: usize,
    },
    /// More steps than levels, or none.
    #[error(
        "{found} steps to noise level {level}, expected 1..={level}; a step moves at least one level: choose fewer --steps or a higher --noise-level"
    )]
    Steps {
        /// The steps asked for.
        found: usize,
        /// L.
        level: usize,
    },
    /// An exponent that would space the steps out of order, or not finite.
    #[error(
        "spacing {found}, expected a number from {} to {}; 1 makes equal steps, more puts more of them near the clean image: correct --spacing",
        Trajectory::SPACING.start(), Trajectory::SPACING.end()
    )]
    Spacing {
        /// The exponent found.
        found: f64,
    },
    /// Not `ddimN`.
    #[error("respacing '{found}', expected ddimN with a number N, e.g. ddim10")]
    RespacingText {
        /// The text found.
        found: String,
    },
    /// No integer stride gives N steps.
    #[error(
        "respacing ddim{found}: no integer stride over T = {timesteps} gives {found} steps; possible are {}",
        list(possible)
    )]
    RespacingCount {
        /// N.
        found: usize,
        /// T.
        timesteps: usize,
        /// Every N that some stride gives, ascending.
        possible: Vec<usize>,
    },
}

fn list(counts: &[usize]) -> String {
    counts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// A noise schedule: `alpha_bar` of every level, in f64.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// Indexed by level, 0..=T; the first is 1.
    alpha_bar: Vec<f64>,
}

impl Schedule {
    /// The schedule that a preset names.
    ///
    /// Errors: [`ScheduleError::Empty`], [`ScheduleError::Beta`]. Linear: Ho et al. 2020, scaled by 1000/T;
    /// cosine: Nichol and Dhariwal 2021, Eq. (17).
    pub fn new(spec: &ScheduleSpec) -> Result<Self, ScheduleError> {
        let timesteps = spec.timesteps;
        if timesteps == 0 {
            return Err(ScheduleError::Empty);
        }
        let mut alpha_bar = Vec::with_capacity(timesteps + 1);
        let mut product = 1.0;
        alpha_bar.push(product);
        for i in 0..timesteps {
            let beta = match spec.kind {
                ScheduleKind::Linear => linear_beta(i, timesteps),
                ScheduleKind::Cosine => cosine_beta(i, timesteps),
            };
            if !(beta > 0.0 && beta < 1.0) {
                return Err(ScheduleError::Beta { timestep: Timestep(i), found: beta });
            }
            product *= 1.0 - beta;
            alpha_bar.push(product);
        }
        Ok(Self { alpha_bar })
    }

    /// T, the number of noising steps and the highest level.
    pub fn timesteps(&self) -> usize {
        self.alpha_bar.len() - 1
    }

    /// ᾱ of a level: the share of the clean image's variance that is left, 1 at level 0.
    ///
    /// Errors: [`ScheduleError::LevelTooHigh`].
    pub fn alpha_bar(&self, level: NoiseLevel) -> Result<f64, ScheduleError> {
        self.alpha_bar.get(level.0).copied().ok_or_else(|| self.too_high(level))
    }

    /// Checks that L lies in 1..=T.
    fn check_target(&self, level: NoiseLevel) -> Result<(), ScheduleError> {
        if level == NoiseLevel::CLEAN {
            return Err(ScheduleError::NothingToDo { most: self.timesteps() });
        }
        self.alpha_bar(level).map(drop)
    }

    fn too_high(&self, level: NoiseLevel) -> ScheduleError {
        let most = self.timesteps();
        ScheduleError::LevelTooHigh { found: level.0, most, counts: format!("T = {most}") }
    }
}

/// β from 1e-4 to 0.02 in equal steps, both scaled by 1000/T.
fn linear_beta(i: usize, timesteps: usize) -> f64 {
    let scale = 1000.0 / timesteps as f64;
    let (first, last) = (scale * 1e-4, scale * 0.02);
    // The order of operations is that of numpy.linspace: ᾱ then equals the reference's bit by bit.
    match i {
        0 => first,
        i if i + 1 == timesteps => last,
        i => i as f64 * ((last - first) / (timesteps - 1) as f64) + first,
    }
}

fn cosine_beta(i: usize, timesteps: usize) -> f64 {
    let squared_cosine = |t: f64| ((t + 0.008) / 1.008 * FRAC_PI_2).cos().powi(2);
    let (from, to) = (i as f64 / timesteps as f64, (i + 1) as f64 / timesteps as f64);
    (1.0 - squared_cosine(to) / squared_cosine(from)).min(0.999)
}

#[cfg(test)]
mod tests;
