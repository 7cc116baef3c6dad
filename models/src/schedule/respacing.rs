//! `ddimN`: the reference's way to visit fewer steps.

use std::fmt;
use std::str::FromStr;

use super::{ScheduleError, Timestep};

/// `ddimN`: N evenly spaced steps 0, i, 2i, … of the T, i the smallest integer stride that gives exactly N.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Respacing {
    count: usize,
}

impl Respacing {
    /// N steps; whether some stride gives them depends on T, see [`Respacing::timesteps`].
    pub const fn new(count: usize) -> Self {
        Self { count }
    }

    /// N.
    pub const fn count(self) -> usize {
        self.count
    }

    /// The kept steps, ascending: the network index of respaced step k is the k-th of them.
    ///
    /// Errors: [`ScheduleError::RespacingCount`], which lists every possible N.
    pub fn timesteps(self, timesteps: usize) -> Result<Vec<Timestep>, ScheduleError> {
        // The reference tries strides below T only, so that ddim1 is impossible there too.
        let stride = (1..timesteps).find(|stride| timesteps.div_ceil(*stride) == self.count);
        match stride {
            Some(stride) => Ok((0..timesteps).step_by(stride).map(Timestep::new).collect()),
            None => {
                let mut possible: Vec<_> = (1..timesteps).map(|stride| timesteps.div_ceil(stride)).collect();
                possible.sort_unstable();
                possible.dedup();
                Err(ScheduleError::RespacingCount { found: self.count, timesteps, possible })
            }
        }
    }
}

impl FromStr for Respacing {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        text.strip_prefix("ddim")
            .filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|digits| digits.parse().ok())
            .map(Self::new)
            .ok_or_else(|| ScheduleError::RespacingText { found: text.to_owned() })
    }
}

impl fmt::Display for Respacing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ddim{}", self.count)
    }
}
