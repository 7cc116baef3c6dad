//! How a loop goes from level to level, and where the classifier has a say.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The method by which the ODE of the noise is solved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Solver {
    /// Euler's method, which is DDIM: Algorithm 1.
    #[default]
    Euler,
    /// The second-order method of Adams and Bashforth for steps of different lengths: each step also uses the slope of the step
    /// before, so that it asks the networks no oftener than Euler's.
    Ab2,
}

impl Solver {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Euler => "euler",
            Self::Ab2 => "ab2",
        }
    }

    /// Whether it is that of Algorithm 1, which files need not name.
    pub(crate) fn is_euler(&self) -> bool {
        *self == Self::Euler
    }
}

impl fmt::Display for Solver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is no solver, or no interval.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("found '{found}', expected {expected}")]
pub struct NotThat {
    found: String,
    expected: &'static str,
}

impl FromStr for Solver {
    type Err = NotThat;

    fn from_str(text: &str) -> Result<Self, NotThat> {
        let known = [Self::Euler, Self::Ab2].into_iter().find(|solver| solver.name() == text);
        known.ok_or_else(|| NotThat { found: text.to_owned(), expected: "euler or ab2" })
    }
}

/// The noise levels from which a guided step is pulled by the classifier, both ends among them (Kynkäänniemi et al. 2024); a step
/// from another level does not ask it. Written `LO:HI`, in presets `[LO, HI]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "[usize; 2]", try_from = "[usize; 2]")]
pub struct GuidanceInterval {
    lowest: usize,
    highest: usize,
}

impl GuidanceInterval {
    /// Levels `lowest..=highest`.
    ///
    /// Errors: [`NotThat`] where there are none.
    pub fn new(lowest: usize, highest: usize) -> Result<Self, NotThat> {
        let range = Self { lowest, highest };
        if lowest <= highest {
            Ok(range)
        } else {
            Err(NotThat { found: range.to_string(), expected: "two noise levels LO:HI, LO at most HI" })
        }
    }

    /// The lowest level.
    pub const fn lowest(self) -> usize {
        self.lowest
    }

    /// The highest level.
    pub const fn highest(self) -> usize {
        self.highest
    }
}

impl From<GuidanceInterval> for [usize; 2] {
    fn from(interval: GuidanceInterval) -> Self {
        [interval.lowest, interval.highest]
    }
}

impl TryFrom<[usize; 2]> for GuidanceInterval {
    type Error = NotThat;

    fn try_from([lowest, highest]: [usize; 2]) -> Result<Self, NotThat> {
        Self::new(lowest, highest)
    }
}

impl fmt::Display for GuidanceInterval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.lowest, self.highest)
    }
}

impl FromStr for GuidanceInterval {
    type Err = NotThat;

    fn from_str(text: &str) -> Result<Self, NotThat> {
        let ends = text.split_once(':').and_then(|(low, high)| Some((low.parse().ok()?, high.parse().ok()?)));
        let (lowest, highest) =
            ends.ok_or_else(|| NotThat { found: text.to_owned(), expected: "two noise levels LO:HI" })?;
        Self::new(lowest, highest)
    }
}
