//! BRATS imported: the volumes of synthetic brains give their arrays back, and what is wrong is refused by name.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use anomalens_cohort::Cohort;
use anomalens_cohort::import::brats::{self, Slices};
use anomalens_cohort::import::{Settings, brats_slices};
use anomalens_cohort::synthetic::{self, Format};
use common::{arrays, contents, phantom};
use ndarray::{Array2, Array3, Axis, s};
use nifti::writer::WriterOptions;
use nifti::{IntoNdArray, NiftiObject, ReaderOptions};
use tempfile::tempdir;

const SEED: u64 = 11;
const SIZE: usize = 24;
/// Stored values have 10000 steps an intensity, q is above half an intensity, and value and q are each off by half a step.
const ROUNDING: f32 = 1.001 / 5000.0;
const ALL: Slices = Slices { first: 0, last: 7 };
const AS_IS: Settings = Settings { size: SIZE, percentile: 99.5 };

/// Two subjects as NIfTI, made once and copied.
fn volumes(dir: &Path) {
    static MADE: OnceLock<BTreeMap<String, Vec<u8>>> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let place = tempdir().unwrap();
        let made = place.path().join("volumes");
        synthetic::write(&made, Format::Nifti, &phantom(12, SEED, SIZE), |_, _| true).unwrap();
        contents(&made)
    });
    for (name, bytes) in made {
        let file = dir.join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, bytes).unwrap();
    }
}

fn import(from: &Path, to: &Path, settings: Settings) -> Cohort {
    brats::write(from, to, settings, ALL, |_, _| true).unwrap();
    Cohort::open(to).unwrap()
}

fn find(cohort: &Cohort, subject: &str, slice: usize) -> Option<usize> {
    cohort.items().iter().position(|item| item.subject == subject && item.slice == slice)
}

fn apart(a: &Array3<f32>, b: &Array3<f32>) -> f32 {
    (a - b).iter().fold(0f32, |most, v| most.max(v.abs()))
}

#[test]
fn synthetic_volumes_give_their_arrays_back() {
    let place = tempdir().unwrap();
    let made = arrays(&place.path().join("arrays"), &phantom(12, SEED, SIZE));
    volumes(&place.path().join("volumes"));
    let cohort = import(&place.path().join("volumes"), &place.path().join("imported"), AS_IS);
    assert_eq!(cohort.channels(), ["t1", "t1ce", "t2", "flair"]);
    assert_eq!((cohort.kind(), cohort.size(), cohort.percentile()), ("brats", SIZE, 99.5));
    let mut compared = 0;
    for index in 0..made.len() {
        let item = made.item(index);
        // Volumes of twelve slices are two subjects; the arrays' last slices may be of a third.
        if !cohort.items().iter().any(|other| other.subject == item.subject) {
            continue;
        }
        let other = find(&cohort, &item.subject, item.slice).unwrap();
        compared += 1;
        assert_eq!(cohort.item(other).diseased, item.diseased);
        assert_eq!(cohort.mask(other).unwrap(), made.mask(index).unwrap());
        let (found, expected) = (cohort.image(other).unwrap(), made.image(index).unwrap());
        let off = apart(&found, &expected);
        assert!(off <= ROUNDING, "{} slice {}: {off}", item.subject, item.slice);
        assert_eq!(cohort.brain(other).unwrap(), expected.map_axis(Axis(0), |v| v.iter().any(|&v| v > 0.0)));
        // Another slice or another channel would not pass.
        if let Some(next) = find(&cohort, &item.subject, (item.slice + 1) % 8) {
            assert!(apart(&cohort.image(next).unwrap(), &expected) > 0.05);
        }
        let mut swapped = found.clone();
        swapped.slice_mut(s![0, .., ..]).assign(&found.slice(s![2, .., ..]));
        assert!(apart(&swapped, &expected) > 0.05);
    }
    assert!(compared >= 8, "{compared}");
    // Nor would another percentile.
    let other = import(
        &place.path().join("volumes"),
        &place.path().join("p90"),
        Settings { percentile: 90.0, ..AS_IS },
    );
    assert!(apart(&other.image(0).unwrap(), &cohort.image(0).unwrap()) > 0.05);
}

#[test]
fn smaller_images_are_padded_and_larger_averaged() {
    let place = tempdir().unwrap();
    let from = place.path().join("volumes");
    volumes(&from);
    let cohort = import(&from, &place.path().join("same"), AS_IS);
    let padded = import(&from, &place.path().join("padded"), Settings { size: SIZE + 8, ..AS_IS });
    let inside = s![.., 4..SIZE + 4, 4..SIZE + 4];
    for index in 0..cohort.len() {
        let (whole, image) = (padded.image(index).unwrap(), cohort.image(index).unwrap());
        assert_eq!(whole.slice(inside), image);
        assert_eq!(whole.sum(), image.sum(), "zero outside");
    }
    // Half the size: the mean of 2 x 2 pixels. Slices whose lesion vanishes are left out.
    let half = import(&from, &place.path().join("half"), Settings { size: SIZE / 2, ..AS_IS });
    for index in 0..half.len() {
        let item = half.item(index);
        let image = cohort.image(find(&cohort, &item.subject, item.slice).unwrap()).unwrap();
        let mean = Array3::from_shape_fn((4, SIZE / 2, SIZE / 2), |(c, h, w)| {
            image.slice(s![c, 2 * h..2 * h + 2, 2 * w..2 * w + 2]).sum() / 4.0
        });
        assert!(apart(&half.image(index).unwrap(), &mean) < 1e-6);
        half.mask(index).unwrap();
    }
    assert!(half.len() <= cohort.len() && half.counts().diseased > 0);
}

#[test]
fn slices_of_the_references_layout_are_those_of_the_volumes() {
    let place = tempdir().unwrap();
    let from = place.path().join("volumes");
    volumes(&from);
    let whole = import(&from, &place.path().join("whole"), AS_IS);
    let (layout, labels) = (place.path().join("layout"), place.path().join("labels"));
    fs::create_dir_all(&labels).unwrap();
    for (s, subject) in ["s0001", "s0002"].iter().enumerate() {
        for what in ["t1", "t1ce", "t2", "flair", "seg"] {
            let file = from.join(subject).join(format!("{subject}_{what}.nii.gz"));
            let volume =
                ReaderOptions::new().read_file(file).unwrap().into_volume().into_ndarray::<f32>().unwrap();
            for slice in 0..8 {
                let folder = layout.join(format!("{:06}", 8 * s + slice));
                fs::create_dir_all(&folder).unwrap();
                // Rows along the first axis.
                let plane = Array2::from_shape_fn((SIZE, SIZE), |(h, w)| volume[[w, h, slice]]);
                let file = match what {
                    // The second subject is a test set.
                    "seg" if s == 1 => labels.join(format!("{:06}-label.nii.gz", 8 + slice)),
                    _ => folder.join(format!("x_{subject}_{what}_{slice:03}_w.nii.gz")),
                };
                WriterOptions::new(file).write_nifti(&plane).unwrap();
            }
        }
    }
    let out = place.path().join("slices");
    let missing = brats_slices::write(&layout, None, &out, AS_IS, |_, _| true).unwrap_err().to_string();
    assert!(missing.contains("000008': found no segmentation") && missing.contains("--labels"), "{missing}");
    assert!(!out.exists());
    brats_slices::write(&layout, Some(&labels), &out, AS_IS, |_, _| true).unwrap();
    let slices = Cohort::open(&out).unwrap();
    assert_eq!(slices.len(), whole.len());
    for index in 0..slices.len() {
        let (found, expected) = (slices.item(index), whole.item(index));
        assert_eq!(
            (found.subject.as_str(), found.slice),
            (format!("x_{}", expected.subject).as_str(), expected.slice)
        );
        assert_eq!(slices.image(index).unwrap(), whole.image(index).unwrap());
        assert_eq!(slices.mask(index).unwrap(), whole.mask(index).unwrap());
    }
    fs::remove_file(layout.join("000003/x_s0001_t2_003_w.nii.gz")).unwrap();
    let missing = brats_slices::write(&layout, Some(&labels), &place.path().join("b"), AS_IS, |_, _| true);
    let missing = missing.unwrap_err().to_string();
    assert!(missing.contains("slice 3 of x_s0001 has no file 't2'"), "{missing}");
}

#[test]
fn what_is_wrong_is_refused_by_name() {
    type Damage = fn(&Path);
    fn write(file: &Path, fill: f32, slices: usize) {
        let values = Array3::from_shape_fn((SIZE, SIZE, slices), |(x, y, _)| if x == y { fill } else { 1.0 });
        WriterOptions::new(file).write_nifti(&values).unwrap();
    }
    let cases: [(&str, Damage, &str); 7] = [
        (
            "no t1ce",
            |d| fs::remove_file(d.join("s0002/s0002_t1ce.nii.gz")).unwrap(),
            "subject s0002 has no volume 't1ce'",
        ),
        ("no seg", |d| fs::remove_file(d.join("s0001/s0001_seg.nii.gz")).unwrap(), "labels follow from it"),
        (
            "cut short",
            |d| {
                let file = d.join("s0002/s0002_flair.nii.gz");
                let bytes = fs::read(&file).unwrap();
                fs::write(file, &bytes[..bytes.len() / 2]).unwrap();
            },
            "s0002_flair.nii.gz': ",
        ),
        (
            "no NIfTI",
            |d| fs::write(d.join("s0001/s0001_t1.nii.gz"), "hello").unwrap(),
            "a whole NIfTI-1 volume",
        ),
        (
            "another shape",
            |d| write(&d.join("s0002/s0002_t2.nii.gz"), 2.0, 9),
            "found 24 x 24 voxels in 9 slices",
        ),
        (
            "NaN",
            |d| write(&d.join("s0001/s0001_t2.nii.gz"), f32::NAN, 8),
            "s0001_t2.nii.gz: value at [slice 0, row 0, column 0] is NaN",
        ),
        (
            "NaN in seg",
            |d| write(&d.join("s0001/s0001_seg.nii.gz"), f32::NAN, 8),
            "found NaN at row 0, column 0",
        ),
    ];
    for (name, damage, expected) in cases {
        let place = tempdir().unwrap();
        let (from, out) = (place.path().join("volumes"), place.path().join("out"));
        volumes(&from);
        damage(&from);
        let error = brats::write(&from, &out, AS_IS, ALL, |_, _| true).unwrap_err().to_string();
        assert!(error.contains(expected), "{name}: {error}");
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1, "{name}: something was left");
    }
    let place = tempdir().unwrap();
    let (from, out) = (place.path().join("volumes"), place.path().join("out"));
    volumes(&from);
    let paper = Slices { first: brats::FIRST_SLICE, last: brats::LAST_SLICE };
    let upside_down = Slices { first: 3, last: 2 };
    for (slices, expected) in
        [(paper, "found 8 slices, expected more than 128"), (upside_down, "the first slice is 3")]
    {
        let error = brats::write(&from, &out, AS_IS, slices, |_, _| true).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let stopped = brats::write(&from, &out, AS_IS, ALL, |done, _| done < 1).unwrap_err().to_string();
    assert!(stopped.contains("interrupted"), "{stopped}");
    let empty = brats::write(&place.path().join("volumes/s0001/none"), &out, AS_IS, ALL, |_, _| true);
    assert!(empty.unwrap_err().to_string().contains("none': "));
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
}
