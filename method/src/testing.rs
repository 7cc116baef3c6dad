//! What several tests share: networks that are functions, and the golden vectors.

use std::path::PathBuf;

use anomalens_models::preset::{ScheduleKind, ScheduleSpec};
use anomalens_models::schedule::{NoiseLevel, Schedule, Timestep};
use ndarray::{Array4, ArrayD, Ix4};

use crate::ddim::{ClassLabel, Guide, NetworkError, NoisePredictor};

/// The golden vectors, where `ANOMALENS_GOLDEN` points to them; a test that needs them passes without them and says so.
pub(crate) fn golden(path: &str) -> Option<PathBuf> {
    match std::env::var_os("ANOMALENS_GOLDEN") {
        Some(folder) => Some(PathBuf::from(folder).join(path)),
        None => {
            eprintln!("ANOMALENS_GOLDEN is not set: nothing compared with {path}");
            None
        }
    }
}

/// An array of rank 4 from a `.npy` file.
pub(crate) fn read_npy(path: PathBuf) -> Array4<f32> {
    let array: ArrayD<f32> =
        ndarray_npy::read_npy(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    array.into_dimensionality::<Ix4>().unwrap()
}

pub(crate) fn linear1000() -> Schedule {
    Schedule::new(&ScheduleSpec { kind: ScheduleKind::Linear, timesteps: 1000 }).unwrap()
}

/// A call of a network: t and y.
pub(crate) type Call = (usize, usize);

/// A network that is a function of x and t, and remembers what it was given.
pub(crate) struct Fake<F> {
    pub(crate) function: F,
    pub(crate) calls: Vec<Call>,
}

impl<F: Fn(f64, Timestep) -> f64> Fake<F> {
    pub(crate) fn new(function: F) -> Self {
        Self { function, calls: Vec::new() }
    }

    fn compute(&mut self, x: &Array4<f32>, t: Timestep, y: ClassLabel) -> Array4<f32> {
        self.calls.push((t.get(), y.get()));
        x.mapv(|x| (self.function)(f64::from(x), t) as f32)
    }
}

impl<F: Fn(f64, Timestep) -> f64> NoisePredictor for Fake<F> {
    fn eps(&mut self, x: &Array4<f32>, t: Timestep, y: ClassLabel) -> Result<Array4<f32>, NetworkError> {
        Ok(self.compute(x, t, y))
    }
}

impl<F: Fn(f64, Timestep) -> f64> Guide for Fake<F> {
    fn gradient(&mut self, x: &Array4<f32>, t: Timestep, y: ClassLabel) -> Result<Array4<f32>, NetworkError> {
        Ok(self.compute(x, t, y))
    }
}

/// Images [n, c, h, w] with values in [0, 1] that look random and are always the same.
pub(crate) fn images(dim: (usize, usize, usize, usize)) -> Array4<f32> {
    let mut state = 1u32;
    Array4::from_shape_simple_fn(dim, || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1u32 << 24) as f32
    })
}

pub(crate) fn max_abs_difference(a: &Array4<f32>, b: &Array4<f32>) -> f64 {
    assert_eq!(a.dim(), b.dim());
    a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs()).fold(0.0, f64::max)
}

/// The closed solution of the noise ODE for data N(mean, deviation²): ε of the exact score, and x at any level.
pub(crate) struct Gaussian {
    pub(crate) mean: f64,
    pub(crate) deviation: f64,
    pub(crate) schedule: Schedule,
}

impl Gaussian {
    fn at(&self, level: NoiseLevel) -> (f64, f64, f64) {
        let alpha_bar = self.schedule.alpha_bar(level).unwrap();
        let variance = alpha_bar * self.deviation.powi(2) + 1.0 - alpha_bar;
        (alpha_bar, alpha_bar.sqrt() * self.mean, variance)
    }

    /// ε = −sqrt(1 − ᾱ) ∇ log p_t, at the level that `t` was trained to undo.
    pub(crate) fn eps(&self, x: f64, t: Timestep) -> f64 {
        let (alpha_bar, mean, variance) = self.at(t.level());
        (1.0 - alpha_bar).sqrt() * (x - mean) / variance
    }

    /// Where the ODE takes the clean x: the standardised value stays.
    pub(crate) fn solution(&self, x: f64, level: NoiseLevel) -> f64 {
        let (_, mean, variance) = self.at(level);
        mean + variance.sqrt() / self.deviation * (x - self.mean)
    }
}
