//! The numbers behind the synthetic brains, in one place. They are written into every cohort.json.
//!
//! Version 1 was frozen before any network was trained on it. A change makes a new version: results on cohorts of two
//! versions cannot be compared.

use serde::Serialize;

/// [low, high] of a uniform distribution.
pub type Range = [f32; 2];
/// One number for each of T1, T1ce, T2, FLAIR.
pub type PerChannel = [f32; 4];

/// The channels' names, in order.
pub const CHANNELS: [&str; 4] = ["t1", "t1ce", "t2", "flair"];
/// Place of FLAIR among the channels.
pub const FLAIR: usize = 3;

/// Everything that shapes a synthetic cohort but for seed, size and anatomy.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Parameters {
    /// Counts up when any number here changes.
    pub version: u32,
    /// Slices a subject.
    pub slab_slices: usize,
    /// Distance between slices, mm.
    pub slice_spacing_mm: Range,
    /// Thickness of a slice, mm.
    pub slice_thickness_mm: f32,
    /// Height of the lowest slice above the template's origin, mm.
    pub lowest_slice_mm: Range,
    /// Edge of the square field of view, mm.
    pub field_of_view_mm: Range,
    /// Samples a pixel, in plane along each edge at 64 pixels, and through the slice.
    pub samples: [usize; 2],
    /// Percentile of the normalisation.
    pub percentile: f64,
    /// A slice counts as diseased from this share of its pixels on (12 of 64 x 64); with fewer but some it is left out.
    pub least_lesion_share: f32,
    /// Size and shape of the head.
    pub shape: Shape,
    /// Healthy tissue.
    pub tissue: Tissue,
    /// What is bright in healthy brains too.
    pub confounders: Confounders,
    /// Lesions.
    pub lesions: Lesions,
    /// Bias and noise.
    pub degrade: Degrade,
}

/// How the template is bent into a subject.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shape {
    /// Scale of the whole head.
    pub scale: Range,
    /// Further scale of each axis.
    pub axis_scale: Range,
    /// Tangent of half the rotation about x, y and z: within ± these.
    pub half_tangent: [f32; 3],
    /// Shear, within ±.
    pub shear: f32,
    /// Shift in plane, within ± mm.
    pub shift_mm: f32,
    /// Elastic displacement: [length over which it changes, standard deviation], mm, coarse and fine.
    pub elastic_mm: [[f32; 2]; 2],
    /// Share by which the middle of the brain, with the ventricles, is widened.
    pub ventricle_growth: Range,
    /// Reach of that widening, mm.
    pub ventricle_reach_mm: f32,
}

/// Healthy tissue: grey matter, white matter, fluid.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tissue {
    /// White matter's intensity.
    pub white: PerChannel,
    /// Grey matter's intensity.
    pub grey: PerChannel,
    /// Fluid's intensity.
    pub fluid: PerChannel,
    /// Standard deviation of each intensity's factor between subjects.
    pub jitter: f32,
    /// Standard deviation of fluid's factor between subjects.
    pub fluid_jitter: f32,
    /// Individual folding: standard deviation of the log-like weight of each tissue, and its length in mm.
    pub folding: [f32; 2],
    /// Factor on the weight of fluid, a subject: wide or narrow sulci.
    pub fluid_weight: Range,
    /// Share of the template's own T1 detail that is taken over by T1, T1ce, T2, FLAIR.
    pub detail: PerChannel,
    /// Regional variation that no bias explains: standard deviation a channel, and its length in mm.
    pub regional: PerChannel,
    /// Length of the regional variation, mm.
    pub regional_mm: f32,
}

/// Bright or dark things that healthy and diseased slices share.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Confounders {
    /// Added to FLAIR along the ventricles.
    pub ventricle_rim: Range,
    /// Added to FLAIR along the brain's surface.
    pub surface_rim: Range,
    /// Share of the rims' FLAIR that T2 gets too.
    pub rim_t2: f32,
    /// Bright spots in white matter, a subject.
    pub spots: [u32; 2],
    /// Their radius, mm.
    pub spot_radius_mm: Range,
    /// Their intensity in FLAIR.
    pub spot_flair: Range,
    /// Added to T2 in spots.
    pub spot_t2: Range,
    /// Vessels, a subject.
    pub vessels: [u32; 2],
    /// Their radius, mm.
    pub vessel_radius_mm: Range,
    /// Their length, mm.
    pub vessel_length_mm: Range,
    /// Their intensity: bright with contrast agent, a flow void in T2.
    pub vessel: PerChannel,
    /// Half width of the sinus that runs along the midline at the surface, mm.
    pub sinus_half_width_mm: Range,
}

/// Lesions: core, rim and oedema.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Lesions {
    /// Share of subjects with a lesion.
    pub share: f32,
    /// Share of those with a second one.
    pub second: f32,
    /// Radius of the whole lesion, mm.
    pub radius_mm: Range,
    /// The radius is drawn evenly, but for this share, where the place within the range is squared: nearer to small.
    pub small_share: f32,
    /// Axis lengths relative to the radius.
    pub axes: Range,
    /// How far the border strays, in radii (standard deviation of the outer and the inner border).
    pub rough: [f32; 2],
    /// Radius of core and rim relative to the whole.
    pub core: Range,
    /// Shares of lesions without core and rim, and without oedema.
    pub without_core: f32,
    /// See `without_core`.
    pub without_oedema: f32,
    /// Thickness of the rim, mm.
    pub rim_mm: Range,
    /// Share of lesions whose rim takes contrast agent up.
    pub enhancing: f32,
    /// Share of lesions that FLAIR does not show.
    pub iso_flair: f32,
    /// Intensities of the core.
    pub core_level: [Range; 4],
    /// Intensities of the rim.
    pub rim_level: [Range; 4],
    /// Intensities of the rim in T1ce where it takes contrast agent up.
    pub enhancing_level: Range,
    /// Intensities of the oedema.
    pub oedema_level: [Range; 4],
    /// How far the lesion replaces the tissue that it grows in: core and rim, oedema.
    pub opacity: [Range; 2],
    /// Standard deviation of the lesion's own texture.
    pub texture: f32,
    /// Width of its borders, mm.
    pub border_mm: f32,
}

/// What the scanner does.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Degrade {
    /// Amplitude of the bias field, a channel: intensities are multiplied by 1 ± this.
    pub bias: Range,
    /// Length over which it changes, mm.
    pub bias_mm: f32,
    /// Standard deviation of the noise in both parts of the complex signal.
    pub noise: Range,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            version: 1,
            slab_slices: 8,
            slice_spacing_mm: [6.0, 7.0],
            slice_thickness_mm: 5.0,
            lowest_slice_mm: [-2.0, 9.0],
            field_of_view_mm: [200.0, 235.0],
            samples: [4, 3],
            percentile: 99.5,
            least_lesion_share: 12.0 / 4096.0,
            shape: Shape {
                scale: [0.92, 1.06],
                axis_scale: [0.95, 1.05],
                half_tangent: [0.03, 0.03, 0.06],
                shear: 0.04,
                shift_mm: 4.0,
                elastic_mm: [[45.0, 3.0], [16.0, 1.0]],
                ventricle_growth: [-0.15, 0.4],
                ventricle_reach_mm: 50.0,
            },
            tissue: Tissue {
                white: [0.85, 0.62, 0.16, 0.28],
                grey: [0.64, 0.50, 0.27, 0.35],
                fluid: [0.20, 0.19, 0.92, 0.16],
                jitter: 0.05,
                fluid_jitter: 0.10,
                folding: [0.35, 9.0],
                fluid_weight: [0.9, 2.2],
                detail: [0.7, 0.7, -0.4, 0.0],
                regional: [0.02, 0.02, 0.04, 0.05],
                regional_mm: 24.0,
            },
            confounders: Confounders {
                ventricle_rim: [0.05, 0.40],
                surface_rim: [0.05, 0.35],
                rim_t2: 0.3,
                spots: [3, 14],
                spot_radius_mm: [1.5, 3.5],
                spot_flair: [0.70, 1.10],
                spot_t2: [0.05, 0.25],
                vessels: [8, 18],
                vessel_radius_mm: [0.8, 1.8],
                vessel_length_mm: [15.0, 60.0],
                vessel: [0.75, 1.10, 0.08, 0.30],
                sinus_half_width_mm: [1.5, 3.0],
            },
            lesions: Lesions {
                share: 0.9,
                second: 0.15,
                radius_mm: [9.0, 28.0],
                small_share: 0.35,
                axes: [0.75, 1.3],
                rough: [0.16, 0.18],
                core: [0.4, 0.7],
                without_core: 0.15,
                without_oedema: 0.1,
                rim_mm: [1.5, 4.0],
                enhancing: 0.7,
                iso_flair: 0.25,
                core_level: [[0.28, 0.45], [0.25, 0.42], [0.55, 0.90], [0.30, 0.75]],
                rim_level: [[0.45, 0.60], [0.30, 0.42], [0.45, 0.60], [0.60, 1.04]],
                enhancing_level: [0.85, 1.15],
                oedema_level: [[0.44, 0.56], [0.33, 0.43], [0.45, 0.68], [0.60, 1.04]],
                opacity: [[0.9, 1.0], [0.75, 1.0]],
                texture: 0.06,
                border_mm: 1.5,
            },
            degrade: Degrade { bias: [0.20, 0.38], bias_mm: 75.0, noise: [0.008, 0.018] },
        }
    }
}
