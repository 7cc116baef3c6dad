//! The levels that a translation visits.

use std::ops::RangeInclusive;

use super::{NoiseLevel, Respacing, Schedule, ScheduleError};

/// A strictly increasing list of noise levels that starts at 0 (clean) and ends at the level to encode to. Encoding
/// walks it upwards, decoding downwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trajectory {
    levels: Vec<NoiseLevel>,
}

impl Trajectory {
    /// The exponents that [`Trajectory::spaced`] takes. Below 1 the steps near the clean image, where detail is
    /// decided, would be the longest; beyond 4 the last step alone would go down from L to L/2 and less.
    pub const SPACING: RangeInclusive<f64> = 1.0..=4.0;

    /// Every level 0..=L.
    ///
    /// Errors: [`ScheduleError::NothingToDo`] (L = 0), [`ScheduleError::LevelTooHigh`] (L > T).
    pub fn every(schedule: &Schedule, level: NoiseLevel) -> Result<Self, ScheduleError> {
        schedule.check_target(level)?;
        Ok(Self { levels: (0..=level.get()).map(NoiseLevel::new).collect() })
    }

    /// n steps of equal size: level i is `round(L * i / n)`, halves upwards.
    ///
    /// Errors: as [`Trajectory::every`], and [`ScheduleError::Steps`] unless 1 ≤ n ≤ L.
    pub fn steps(schedule: &Schedule, level: NoiseLevel, n: usize) -> Result<Self, ScheduleError> {
        Self::spaced(schedule, level, n, 1.0)
    }

    /// n steps whose size grows with the noise: level j is `max(round(L (j/n)^p), level j-1 + 1)`, halves upwards.
    /// p = 1 makes them equal; p > 1 puts more of them near the clean image.
    ///
    /// Errors: as [`Trajectory::steps`], and [`ScheduleError::Spacing`] unless p lies in [`Trajectory::SPACING`].
    pub fn spaced(
        schedule: &Schedule,
        level: NoiseLevel,
        n: usize,
        exponent: f64,
    ) -> Result<Self, ScheduleError> {
        schedule.check_target(level)?;
        let l = level.get();
        if n == 0 || n > l {
            return Err(ScheduleError::Steps { found: n, level: l });
        }
        if !Self::SPACING.contains(&exponent) {
            return Err(ScheduleError::Spacing { found: exponent });
        }
        let mut levels = vec![NoiseLevel::CLEAN];
        for j in 1..=n {
            // L j^p / n^p rather than L (j/n)^p: with p = 1 halves are exact, and are rounded upwards. As n <= L and
            // p >= 1, pushing levels apart never pushes the last one beyond L.
            let exact = l as f64 * (j as f64).powf(exponent) / (n as f64).powf(exponent);
            levels.push(NoiseLevel::new((exact.round() as usize).max(levels[j - 1].get() + 1)));
        }
        Ok(Self { levels })
    }

    /// The first L steps of a respaced schedule: level 0, then index + 1 of each kept step. For `ddim10` of
    /// T = 1000: 0, 1, 101, 201, …; here L counts respaced steps, 1..=N.
    ///
    /// Errors: [`ScheduleError::RespacingCount`], [`ScheduleError::NothingToDo`], [`ScheduleError::LevelTooHigh`]
    /// (L > N).
    pub fn respaced(
        schedule: &Schedule,
        respacing: Respacing,
        level: NoiseLevel,
    ) -> Result<Self, ScheduleError> {
        let kept = respacing.timesteps(schedule.timesteps())?;
        let (found, most) = (level.get(), kept.len());
        if found == 0 {
            return Err(ScheduleError::NothingToDo { most });
        }
        if found > most {
            let counts = format!("{respacing} has {most} steps, and the level counts them");
            return Err(ScheduleError::LevelTooHigh { found, most, counts });
        }
        let levels =
            std::iter::once(NoiseLevel::CLEAN).chain(kept.iter().take(found).map(|t| t.level())).collect();
        Ok(Self { levels })
    }

    /// The same steps, and a stop at each of `levels`.
    ///
    /// Errors: [`ScheduleError::NothingToDo`] and [`ScheduleError::LevelTooHigh`] for a level that cannot be encoded to.
    pub fn through(&self, schedule: &Schedule, levels: &[NoiseLevel]) -> Result<Self, ScheduleError> {
        let mut all = self.levels.clone();
        for &level in levels {
            schedule.check_target(level)?;
            all.push(level);
        }
        all.sort_unstable();
        all.dedup();
        Ok(Self { levels: all })
    }

    /// The steps to `level`, which is one of these.
    ///
    /// Errors: [`ScheduleError::NotVisited`], [`ScheduleError::NothingToDo`] for level 0.
    pub fn up_to(&self, level: NoiseLevel) -> Result<Self, ScheduleError> {
        let most = self.last().get();
        match self.levels.binary_search(&level) {
            Ok(0) => Err(ScheduleError::NothingToDo { most }),
            Ok(place) => Ok(Self { levels: self.levels[..=place].to_vec() }),
            Err(_) => Err(ScheduleError::NotVisited { found: level.get(), most }),
        }
    }

    /// The levels, ascending, from 0.
    pub fn levels(&self) -> &[NoiseLevel] {
        &self.levels
    }

    /// The level that encoding reaches.
    pub fn last(&self) -> NoiseLevel {
        *self.levels.last().expect("a trajectory holds at least levels 0 and L")
    }
}
