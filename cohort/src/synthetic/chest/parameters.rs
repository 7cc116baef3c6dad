//! The numbers behind the synthetic radiographs, in one place. They are written into every cohort.json.
//!
//! Version 1 was frozen before any network was trained on it. A change makes a new version: results on cohorts of two
//! versions cannot be compared. Lengths are in millimetres; an attenuation of 1 is that of as much soft tissue.

use serde::Serialize;

use crate::synthetic::parameters::Range;

/// Everything that shapes a cohort of radiographs but for seed and size.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Parameters {
    /// Counts up when any number here changes.
    pub version: u32,
    /// Edge of the square field of view, mm.
    pub field_of_view_mm: Range,
    /// Samples a pixel along each edge.
    pub samples: usize,
    /// Percentile of the normalisation.
    pub percentile: f64,
    /// Share of subjects with an effusion.
    pub diseased_share: f32,
    /// A pixel belongs to the mask where the effusion changed the normalised image by more than this.
    pub mask_change: f32,
    /// An effusion must cover this share of the pixels (12 of 64 x 64); a smaller one is drawn anew.
    pub least_lesion_share: f32,
    /// A pixel is evaluated where the ray goes through this much of the thorax's cavity, mm.
    pub field_mm: f32,
    /// Size, shape and position.
    pub anatomy: Anatomy,
    /// Ribs, collar bones, spine, shoulders.
    pub bones: Bones,
    /// Vessels and airways.
    pub vessels: Vessels,
    /// What is bright in healthy radiographs too.
    pub confounders: Confounders,
    /// Effusions.
    pub effusion: Effusion,
    /// Exposure, display, blur and noise.
    pub detector: Detector,
}

/// The thorax and what it holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Anatomy {
    /// Scale of the whole body.
    pub scale: Range,
    /// Further scale of width and height.
    pub axis_scale: Range,
    /// Shift in plane, within ± mm.
    pub shift_mm: Range,
    /// Tangent of half the roll in plane, within ±.
    pub half_roll: f32,
    /// Sine of the body's turn about its long axis, within ±; and that of badly turned patients, and their share.
    pub turn: [f32; 3],
    /// Elastic displacement in plane: [length over which it changes, standard deviation], mm.
    pub elastic_mm: [f32; 2],
    /// Soft tissue around the rib cage, mm.
    pub wall_mm: Range,
    /// Attenuation of the lung.
    pub lung: Range,
    /// Standard deviation of the lung's attenuation from place to place, relative, and its length in mm.
    pub lung_texture: [f32; 2],
    /// Height of the right dome of the diaphragm, mm, and how much lower the left one lies.
    pub dome_mm: [Range; 2],
    /// How far the dome stands above the costophrenic angle, mm.
    pub dome_rise_mm: Range,
    /// Scale of the heart, and of an enlarged one, and the share of those.
    pub heart: Range,
    /// See `heart`.
    pub large_heart: Range,
    /// See `heart`.
    pub large_heart_share: f32,
    /// Half width of the upper mediastinum, mm.
    pub mediastinum_mm: Range,
}

/// Bones; attenuations are above that of soft tissue.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bones {
    /// Distance of two ribs at the spine, mm.
    pub rib_distance_mm: Range,
    /// Radius of a rib, mm.
    pub rib_radius_mm: Range,
    /// Their attenuation.
    pub rib: Range,
    /// How far a rib comes down from spine to front, mm, the first and the last.
    pub rib_drop_mm: [Range; 2],
    /// Attenuation of the spine.
    pub spine: Range,
    /// Attenuation of collar bones, shoulder blades and upper arms.
    pub shoulder: Range,
    /// Height of the collar bones' inner ends above the carina, mm.
    pub clavicle_mm: Range,
    /// How far the collar bones rise to the outside, mm.
    pub clavicle_rise_mm: Range,
}

/// Vessels and airways.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Vessels {
    /// Main branches a lung.
    pub branches: [u32; 2],
    /// Their radius at the hilum, mm.
    pub radius_mm: Range,
    /// Their length, mm.
    pub length_mm: Range,
    /// Radius of the hilum, mm.
    pub hilum_mm: Range,
    /// Radius of the aortic arch, mm.
    pub aorta_mm: Range,
    /// Radius of the windpipe, mm.
    pub trachea_mm: Range,
}

/// Bright, yet no effusion.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Confounders {
    /// Share of subjects with breast shadows.
    pub breasts: f32,
    /// Their thickness, mm.
    pub breast_mm: Range,
    /// Their half width, mm.
    pub breast_radius_mm: Range,
    /// Share of subjects with poor inspiration: both domes are higher, the heart is wider.
    pub poor_inspiration: f32,
    /// By how much the domes are higher then, mm.
    pub poor_inspiration_mm: Range,
    /// Share of subjects with one high dome.
    pub high_dome: f32,
    /// By how much it is higher, mm.
    pub high_dome_mm: Range,
    /// Share of subjects with a pacemaker.
    pub pacemaker: f32,
    /// Share of subjects with wires and electrodes on the skin.
    pub wires: f32,
    /// How many wires.
    pub wire_count: [u32; 2],
    /// Share of subjects with a central line.
    pub line: f32,
    /// Share of subjects with a fat pad between heart and diaphragm.
    pub fat_pad: f32,
    /// Share of subjects with gas in the stomach.
    pub gas: f32,
    /// Share of radiographs with a marker of the side.
    pub marker: f32,
}

/// Fluid between lung and chest wall.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Effusion {
    /// Share of effusions on both sides.
    pub both: f32,
    /// Height of the fluid above the costophrenic angle, mm.
    pub height_mm: Range,
    /// The height is drawn evenly, but for this share, where the place within the range is squared: nearer to small.
    pub small_share: f32,
    /// How far the fluid climbs the wall above that height: a fixed part, mm, and a share of the height.
    pub climb_mm: Range,
    /// See `climb_mm`.
    pub climb_share: Range,
    /// Thickness of the fluid at the wall at its height, mm.
    pub wall_mm: Range,
    /// By how much it gets thicker a millimetre further down.
    pub slope: Range,
    /// How much higher the fluid stands at the wall than in the middle of the lung, mm.
    pub tilt_mm: Range,
    /// Thickness over the diaphragm, as a share of the height.
    pub base_share: Range,
    /// Attenuation of the fluid.
    pub fluid: Range,
    /// Standard deviation of the upper border, mm, and its length in mm.
    pub rough_mm: [f32; 2],
}

/// From attenuation to pixels.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Detector {
    /// Attenuation below the thorax's mean that is shown black, mm of soft tissue.
    pub black_mm: Range,
    /// Attenuation above it that is shown white.
    pub white_mm: Range,
    /// Share of the display curve that is S-shaped.
    pub curve: Range,
    /// Brightness of black.
    pub fog: Range,
    /// Standard deviation of brightness from place to place, and its length in mm.
    pub shading: [f32; 2],
    /// Radius of the blur, mm.
    pub blur_mm: Range,
    /// Standard deviation of the noise.
    pub noise: Range,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            version: 1,
            field_of_view_mm: [308.0, 352.0],
            samples: 3,
            percentile: 99.5,
            diseased_share: 0.5,
            mask_change: 0.05,
            least_lesion_share: 12.0 / 4096.0,
            field_mm: 20.0,
            anatomy: Anatomy {
                scale: [0.93, 1.05],
                axis_scale: [0.95, 1.05],
                shift_mm: [-9.0, 9.0],
                half_roll: 0.025,
                turn: [0.05, 0.17, 0.2],
                elastic_mm: [70.0, 2.5],
                wall_mm: [14.0, 36.0],
                lung: [0.22, 0.34],
                lung_texture: [0.10, 28.0],
                dome_mm: [[-62.0, -44.0], [2.0, 16.0]],
                dome_rise_mm: [40.0, 58.0],
                heart: [0.88, 1.08],
                large_heart: [1.12, 1.35],
                large_heart_share: 0.2,
                mediastinum_mm: [18.0, 27.0],
            },
            bones: Bones {
                rib_distance_mm: [21.5, 24.5],
                rib_radius_mm: [5.0, 6.8],
                rib: [0.75, 1.35],
                rib_drop_mm: [[30.0, 40.0], [72.0, 96.0]],
                spine: [0.12, 0.28],
                shoulder: [1.0, 1.8],
                clavicle_mm: [82.0, 100.0],
                clavicle_rise_mm: [8.0, 36.0],
            },
            vessels: Vessels {
                branches: [7, 10],
                radius_mm: [5.0, 7.5],
                length_mm: [55.0, 110.0],
                hilum_mm: [11.0, 17.0],
                aorta_mm: [13.0, 20.0],
                trachea_mm: [7.0, 9.5],
            },
            confounders: Confounders {
                breasts: 0.5,
                breast_mm: [12.0, 45.0],
                breast_radius_mm: [48.0, 72.0],
                poor_inspiration: 0.2,
                poor_inspiration_mm: [15.0, 38.0],
                high_dome: 0.15,
                high_dome_mm: [18.0, 50.0],
                pacemaker: 0.1,
                wires: 0.25,
                wire_count: [2, 4],
                line: 0.15,
                fat_pad: 0.35,
                gas: 0.6,
                marker: 0.5,
            },
            effusion: Effusion {
                both: 0.3,
                height_mm: [8.0, 125.0],
                small_share: 0.5,
                climb_mm: [14.0, 36.0],
                climb_share: [0.12, 0.35],
                wall_mm: [6.0, 14.0],
                slope: [0.5, 1.1],
                tilt_mm: [10.0, 35.0],
                base_share: [0.15, 0.45],
                fluid: [0.95, 1.05],
                rough_mm: [4.0, 35.0],
            },
            detector: Detector {
                black_mm: [95.0, 125.0],
                white_mm: [105.0, 150.0],
                curve: [0.2, 0.8],
                fog: [0.01, 0.07],
                shading: [0.025, 160.0],
                blur_mm: [0.5, 2.5],
                noise: [0.008, 0.024],
            },
        }
    }
}
