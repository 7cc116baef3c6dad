//! The brain that every subject deforms: tissue maps on a grid.

mod mni152;
mod phantom;

use std::path::{Path, PathBuf};

use crate::CohortError;

/// The name of the environment variable that says where the MNI152 maps lie.
pub const MNI152_VARIABLE: &str = "ANOMALENS_MNI152";

/// Fluid counts as ventricle inside this ellipsoid: centre and half axes, mm in MNI space. It leaves the sulci and
/// the Sylvian fissures out.
const VENTRICLES: [[f32; 3]; 2] = [[0.0, -20.0, 12.0], [36.0, 55.0, 30.0]];
/// Reach of the two soft maps (rim of the ventricles, surface of the brain), mm.
const RIM_MM: f32 = 5.0;

/// Which brain; or a chest, which needs no template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The maps of the MNI ICBM152 template, in this folder.
    Mni152(PathBuf),
    /// Ellipsoids: needs no file, for tests.
    Phantom,
    /// No brain: radiographs of the chest.
    Chest,
}

impl Source {
    /// The name as on the command line.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Mni152(_) => "mni152",
            Self::Phantom => "phantom",
            Self::Chest => "chest",
        }
    }

    /// What must be said wherever results on such a cohort stand.
    pub fn note(&self) -> &'static str {
        match self {
            Self::Mni152(_) | Self::Phantom => super::NOTE,
            Self::Chest => super::chest::NOTE,
        }
    }

    /// The MNI152 maps where the environment says that they are.
    ///
    /// Errors: [`CohortError::Template`].
    pub fn mni152_from_environment() -> Result<Self, CohortError> {
        match std::env::var_os(MNI152_VARIABLE).filter(|value| !value.is_empty()) {
            Some(path) => Ok(Self::Mni152(path.into())),
            None => Err(CohortError::Template {
                path: Path::new(MNI152_VARIABLE).to_owned(),
                found: "the variable is not set".into(),
            }),
        }
    }
}

/// What the template says of one point; each from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Point {
    /// Share of grey matter.
    pub grey: f32,
    /// Share of white matter.
    pub white: f32,
    /// Inside the brain (fluid included) from 0.5 on.
    pub brain: f32,
    /// T1 intensity, white matter about 0.88.
    pub t1: f32,
    /// Nearness of the ventricles: 1 inside them, falling to 0 over a few millimetres.
    pub ventricle: f32,
    /// Nearness of the surface: falling from about 0.5 at the surface to 0 some millimetres inside.
    pub surface: f32,
}

/// A template: tissue maps on a regular grid, in MNI coordinates (mm; x to the right, y to the front, z up).
pub struct Anatomy {
    origin: [f32; 3],
    step: f32,
    dims: [usize; 3],
    /// grey, white, brain, t1, ventricle, surface: 0..=255; two to spare.
    voxels: Vec<[u8; 8]>,
}

impl Anatomy {
    /// Loads a template.
    ///
    /// Errors: [`CohortError::Template`]; [`CohortError::Setting`] for the chest, which has none.
    pub fn load(source: &Source) -> Result<Self, CohortError> {
        match source {
            Source::Mni152(folder) => mni152::load(folder),
            Source::Phantom => Ok(phantom::make()),
            Source::Chest => Err(CohortError::Setting {
                what: "the brain",
                found: source.name().into(),
                expected: "mni152 or phantom: radiographs are made without a template".into(),
            }),
        }
    }

    /// Takes `maps` (grey, white, brain, t1; x fastest varying last) and derives the two soft ones.
    fn new(origin: [f32; 3], step: f32, dims: [usize; 3], maps: &[[u8; 4]]) -> Self {
        let radius = (RIM_MM / step / 2.0).round() as usize;
        let place = |index: usize| {
            let z = index % dims[2];
            let y = index / dims[2] % dims[1];
            let x = index / dims[2] / dims[1];
            [x, y, z].map(|i| i as f32)
        };
        let ventricle: Vec<f32> = maps
            .iter()
            .enumerate()
            .map(|(index, &[grey, white, brain, _])| {
                let at = place(index);
                let far: f32 = (0..3)
                    .map(|a| (origin[a] + step * at[a] - VENTRICLES[0][a]) / VENTRICLES[1][a])
                    .map(|r| r * r)
                    .sum();
                let fluid = (f32::from(brain) - f32::from(grey) - f32::from(white)) / 255.0;
                // Steep, so that half fluid counts in full: the average of many brains is soft.
                if far < 1.0 { (fluid * 2.0 - 0.3).clamp(0.0, 1.0) } else { 0.0 }
            })
            .collect();
        let outside: Vec<f32> = maps.iter().map(|m| 1.0 - f32::from(m[2]) / 255.0).collect();
        let near = |map: Vec<f32>| blur(blur(map, dims, radius), dims, radius);
        let (ventricle, surface) = (near(ventricle), near(outside));
        let byte = |v: f32| (v.clamp(0.0, 1.0) * 255.0).round() as u8;
        let voxels = maps
            .iter()
            .zip(ventricle.iter().zip(&surface))
            .map(|(m, (&v, &s))| [m[0], m[1], m[2], m[3], byte(v), byte(s), 0, 0])
            .collect();
        Self { origin, step, dims, voxels }
    }

    /// The template at `p`, mm; nothing outside the grid.
    pub fn at(&self, p: [f32; 3]) -> Point {
        let (mut cell, mut part) = ([0; 3], [0.0; 3]);
        for a in 0..3 {
            let x = (p[a] - self.origin[a]) / self.step;
            if !(x >= 0.0 && x < (self.dims[a] - 1) as f32) {
                return Point::default();
            }
            cell[a] = x as usize;
            part[a] = x - cell[a] as f32;
        }
        let mut sum = [0.0; 8];
        for corner in 0..8usize {
            let (dx, dy, dz) = (corner >> 2, corner >> 1 & 1, corner & 1);
            let side = |d: usize, f: f32| if d == 1 { f } else { 1.0 - f };
            let weight = side(dx, part[0]) * side(dy, part[1]) * side(dz, part[2]) / 255.0;
            let index = ((cell[0] + dx) * self.dims[1] + cell[1] + dy) * self.dims[2] + cell[2] + dz;
            for (s, &v) in sum.iter_mut().zip(&self.voxels[index]) {
                *s += weight * f32::from(v);
            }
        }
        let [grey, white, brain, t1, ventricle, surface, ..] = sum;
        Point { grey, white, brain, t1, ventricle, surface }
    }
}

/// The mean over a cube of 2 `radius` + 1 voxels, at the border over what there is of it.
fn blur(mut map: Vec<f32>, dims: [usize; 3], radius: usize) -> Vec<f32> {
    let strides = [dims[1] * dims[2], dims[2], 1];
    for axis in 0..3 {
        let (n, stride) = (dims[axis], strides[axis]);
        let mut line = vec![0.0f64; n + 1];
        for start in 0..map.len() {
            if start / stride % n != 0 {
                continue;
            }
            for i in 0..n {
                line[i + 1] = line[i] + f64::from(map[start + i * stride]);
            }
            for i in 0..n {
                let (low, high) = (i.saturating_sub(radius), (i + radius + 1).min(n));
                map[start + i * stride] = ((line[high] - line[low]) / (high - low) as f64) as f32;
            }
        }
    }
    map
}
