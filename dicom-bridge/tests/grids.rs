//! Series of one frame of reference on other grids: resampled onto the first channel's, proved on volumes that hold a
//! known function of the place in the patient.

mod common;

use std::path::Path;

use anomalens_dicom_bridge::{ReadError, Study, read, write};
use anomalens_models::preset::ImageSpec;
use common::{Slice, channel, one_channel, provenance};
use dicom_core::VR;
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;
use ndarray::{Array2, Axis};

/// Half a stored unit, and as much again for the six digits of positions and cosines.
const QUANTISED: f64 = 0.02;
const SLOPE: f64 = 0.02;

type Function = fn([f64; 3]) -> f64;

/// Trilinear interpolation gives a linear function back as it is.
fn linear([x, y, z]: [f64; 3]) -> f64 {
    200.0 + 3.0 * x - 2.0 * y + 1.5 * z
}

/// Of a curved one it misses at most h²/8 · |f''| for each axis: 3 · (1.5² / 8) · (60 / 64) = 0.8.
fn curved([x, y, z]: [f64; 3]) -> f64 {
    200.0 + 60.0 * (x / 8.0).sin() + 60.0 * (y / 8.0).cos() + 60.0 * (z / 8.0).sin()
}
const CURVED: f64 = 0.8;

/// A series of slices, evenly spaced.
#[derive(Clone)]
struct Stack {
    name: &'static str,
    /// Directions of a row and of a column.
    directions: [[f64; 3]; 2],
    /// Row spacing, column spacing.
    spacing: [f64; 2],
    /// Slices, rows, columns.
    size: [usize; 3],
    /// From slice to slice.
    step: [f64; 3],
    /// What the header says of the spacing; not the truth in one that must fail.
    declared: [f64; 2],
    frame: &'static str,
}

impl Stack {
    /// Around the origin, `distance` mm from slice to slice along the normal.
    fn new(
        name: &'static str,
        directions: [[f64; 3]; 2],
        spacing: [f64; 2],
        size: [usize; 3],
        distance: f64,
    ) -> Self {
        let [a, b] = directions;
        let normal = [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
        let step = normal.map(|n| n * distance);
        Self { name, directions, spacing, size, step, declared: spacing, frame: "1.2.3.5" }
    }

    fn place(&self, k: usize, r: usize, c: usize) -> [f64; 3] {
        let middle = |n: usize, i: usize| i as f64 - (n - 1) as f64 / 2.0;
        let [k, r, c] = [middle(self.size[0], k), middle(self.size[1], r), middle(self.size[2], c)];
        let [row, column] = self.directions;
        [0, 1, 2].map(|i| k * self.step[i] + r * self.spacing[0] * column[i] + c * self.spacing[1] * row[i])
    }

    /// Writes the series into a folder, its slices in no order.
    fn save(&self, folder: &Path, f: Function) {
        let text = |values: &[f64]| values.iter().map(|v| format!("{v:.6}")).collect::<Vec<_>>().join("\\");
        let [n, h, w] = self.size;
        for k in 0..n {
            let stored = |i: usize| (f(self.place(k, i / w, i % w)) / SLOPE).round() as u16;
            let mut slice = Slice::new(self.name, k as f64)
                .with(tags::IMAGE_POSITION_PATIENT, VR::DS, &text(&self.place(k, 0, 0)))
                .with(tags::IMAGE_ORIENTATION_PATIENT, VR::DS, &text(&self.directions.concat()))
                .with(tags::PIXEL_SPACING, VR::DS, &text(&self.declared))
                .with(tags::FRAME_OF_REFERENCE_UID, VR::UI, self.frame)
                .with(tags::RESCALE_SLOPE, VR::DS, &SLOPE.to_string())
                .with_short(tags::ROWS, h as u16)
                .with_short(tags::COLUMNS, w as u16)
                .with_short(tags::BITS_STORED, 16)
                .with_short(tags::HIGH_BIT, 15);
            slice = slice.pixels((0..h * w).map(stored).collect());
            slice.save(&folder.join(format!("{}-{}.dcm", self.name, (k * 7) % n)));
        }
    }
}

/// The reference: axial, of other spacing along rows than along columns.
fn reference() -> Stack {
    Stack::new("t1", [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], [1.5, 1.0], [5, 9, 12], 2.0)
}

/// Large enough to cover the reference, in any orientation.
fn around(directions: [[f64; 3]; 2]) -> Stack {
    Stack::new("t2", directions, [0.9, 1.1], [23, 31, 27], 1.3)
}

fn read_pair(reference: &Stack, other: &Stack, f: Function) -> Result<Study, ReadError> {
    let folder = tempfile::tempdir().unwrap();
    reference.save(folder.path(), f);
    other.save(folder.path(), f);
    let image = ImageSpec { channels: vec![channel("t1", "t1"), channel("t2", "t2")], ..one_channel() };
    read(folder.path(), &image, &[])
}

/// The largest error of channel 1 at the places of the reference; none where all of it is padding.
fn error(study: &Study, reference: &Stack, f: Function) -> Option<f64> {
    let mut largest = None::<f64>;
    for (k, slice) in study.slices.iter().enumerate() {
        for r in 0..reference.size[1] {
            for c in 0..reference.size[2] {
                if !slice.padding.as_ref().is_some_and(|padding| padding[[1, r, c]]) {
                    let error = (f64::from(slice.pixels[[1, r, c]]) - f(reference.place(k, r, c))).abs();
                    largest = Some(largest.map_or(error, |l| l.max(error)));
                }
            }
        }
    }
    largest
}

#[test]
fn a_resampled_volume_is_the_function_it_holds() {
    let (s, c) = 0.4f64.sin_cos();
    let (t, d) = 0.7f64.sin_cos();
    // A gantry tilt shifts each slice along its columns.
    let mut tilted = around([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]);
    tilted.step[1] += 0.3;
    for (name, other) in [
        ("axial", around([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])),
        ("sagittal", around([[0.0, 1.0, 0.0], [0.0, 0.0, -1.0]])),
        ("coronal", around([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])),
        ("upside down", around([[1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])),
        ("oblique", around([[c, s, 0.0], [-s, c, 0.0]])),
        ("doubly oblique", around([[c, s * d, s * t], [-s, c * d, c * t]])),
        ("tilted", tilted),
    ] {
        for (f, bound) in [(linear as Function, QUANTISED), (curved, CURVED)] {
            let study = read_pair(&reference(), &other, f).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(study.slices[0].pixels.dim(), (2, 9, 12), "{name}");
            assert!(
                study.slices.iter().all(|slice| slice.padding.is_none()),
                "{name}: it covers the reference"
            );
            let found = error(&study, &reference(), f).unwrap();
            assert!(found <= bound, "{name}: off by {found}, expected {bound} at most");
        }
    }
}

#[test]
fn a_swapped_spacing_is_seen() {
    let mut swapped = around([[0.0, 1.0, 0.0], [0.0, 0.0, -1.0]]);
    swapped.declared.swap(0, 1);
    // Corner and centre of the slices no longer agree with the header, so places move by millimetres.
    let study = read_pair(&reference(), &swapped, linear).unwrap();
    let found = error(&study, &reference(), linear).unwrap();
    assert!(found > 3.0, "off by {found} only");
}

#[test]
fn what_was_resampled_says_so_and_lies_on_the_reference_grid() {
    let study = read_pair(&reference(), &around([[0.0, 1.0, 0.0], [0.0, 0.0, -1.0]]), linear).unwrap();
    assert!(study.warnings.iter().any(|w| w.contains("'t2' was resampled onto the grid of channel 't1'")));
    assert!(
        study
            .decisions
            .iter()
            .any(|d| d.contains("23 x 31 x 27 voxels") && d.contains("100.0 % of it covered"))
    );
    for slice in &study.slices {
        let [a, b] = [&slice.sources[0], &slice.sources[1]];
        assert_eq!((a.resampled, b.resampled), (false, true));
        assert_eq!(a.geometry, b.geometry);
        let text = |tag| b.object.element(tag).unwrap().to_str().unwrap().into_owned();
        assert_eq!(text(tags::SERIES_DESCRIPTION), "t2");
        assert_eq!(
            text(tags::IMAGE_POSITION_PATIENT),
            a.object.element(tags::IMAGE_POSITION_PATIENT).unwrap().to_str().unwrap()
        );
        let p = provenance();
        let written = write::reconstruction(slice, 1, "t2", slice.pixels.index_axis(Axis(0), 1), &p);
        let object = dicom_object::from_reader(written.unwrap().bytes.as_slice()).unwrap();
        let text = |tag| object.element(tag).unwrap().to_str().unwrap().into_owned();
        assert!(text(tags::DERIVATION_DESCRIPTION).contains("1 of 2 channels resampled"));
        assert_eq!(
            text(tags::PIXEL_SPACING),
            a.object.element(tags::PIXEL_SPACING).unwrap().to_str().unwrap()
        );
    }
}

#[test]
fn a_frame_keeps_the_places_of_the_reference_alone() {
    let study = read_pair(&reference(), &around([[0.0, 1.0, 0.0], [0.0, 0.0, -1.0]]), linear).unwrap();
    let masks: Vec<_> = study.slices.iter().map(|slice| Array2::from_elem(slice.size(), true)).collect();
    let frames: Vec<_> = study.slices.iter().zip(&masks).map(|(slice, mask)| (slice, mask.view())).collect();
    let written = write::segmentation(&frames, "Otsu", &provenance()).unwrap();
    let object = dicom_object::from_reader(written.bytes.as_slice()).unwrap().into_inner();
    let text = |object: &InMemDicomObject, tag| object.element(tag).unwrap().to_str().unwrap().into_owned();
    let items = |object: &InMemDicomObject, tag| object.element(tag).unwrap().items().unwrap().to_vec();
    assert!(text(&object, tags::DERIVATION_DESCRIPTION).contains("1 of 2 channels resampled"));
    for frame in items(&object, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE) {
        let derivation = &items(&frame, tags::DERIVATION_IMAGE_SEQUENCE)[0];
        let sources = items(derivation, tags::SOURCE_IMAGE_SEQUENCE);
        let preserved: Vec<_> =
            sources.iter().map(|source| text(source, tags::SPATIAL_LOCATIONS_PRESERVED)).collect();
        assert_eq!(preserved, ["YES", "NO"]);
    }
}

#[test]
fn outside_of_the_other_series_there_is_padding() {
    let mut short = around([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]);
    // It reaches 2.6 mm to both sides, and half a slice more; the reference 4 mm.
    short.size[0] = 5;
    let study = read_pair(&reference(), &short, linear).unwrap();
    let padded: Vec<bool> =
        study.slices.iter().map(|s| s.padding.as_ref().is_some_and(|p| p[[1, 4, 6]])).collect();
    assert_eq!(padded, [true, false, false, false, true]);
    assert!(error(&study, &reference(), linear).unwrap() <= QUANTISED);
    let normalisers = study.normalisers(100.0).unwrap();
    assert_eq!(study.slices[0].normalised(&normalisers)[[1, 4, 6]], 0.0);
    assert!(study.decisions.iter().any(|d| d.contains("60.0 % of it covered")), "{:?}", study.decisions);
}

#[test]
fn what_cannot_be_brought_together_is_refused() {
    let axial = || around([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]);
    let other_frame = Stack { frame: "1.2.3.6", ..axial() };
    let short = Stack { size: [1, 31, 27], ..axial() };
    for (name, other, what) in [
        ("another frame of reference", other_frame, "frame of reference: found another"),
        ("too short", short, "20 % covered"),
    ] {
        let e = read_pair(&reference(), &other, linear).map(|_| ()).expect_err(name);
        assert!(e.kind() == "grid" && e.to_string().contains(what), "{name}: {e}");
    }
}
