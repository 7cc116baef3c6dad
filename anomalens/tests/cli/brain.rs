//! Brain masks and the skull strip. A head, of which the mask leaves the brain, is translated as the brain alone is.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anomalens_cohort::synthetic::{self, Format, Settings, Source, head};
use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::tags;
use dicom_object::{DefaultDicomObject, open_file};
use ndarray::{Array1, Array2, Array3, Array4, Array5, Axis, Ix3, s};
use ndarray_npy::{NpzReader, write_npy};

use crate::support::{Run, listing, max_abs, npy, run, tiny, translate, translate_by, x0};

const CHANNELS: [&str; 4] = ["t1", "t1ce", "t2", "flair"];
/// What white matter of 1 is stored as.
const UNIT: f32 = 10_000.0;
const SLICES: usize = 8;

/// A study of a brain, the same brain in a head, and where it is.
struct Studies {
    folder: tempfile::TempDir,
    brain: Array3<bool>,
}

impl Studies {
    fn make(source: Source, size: usize, seed: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings { slices: SLICES, seed, size, source, first: 1 };
        synthetic::write(&folder.path().join("made"), Format::Dicom, &settings, |_, _| true).unwrap();
        let truth: Array3<u8> =
            ndarray_npy::read_npy(folder.path().join("made/truth/s0001-brain.npy")).unwrap();
        let studies = Self { folder, brain: truth.mapv(|v| v == 1) };
        let (n, h, w) = studies.brain.dim();
        let mut image = Array4::zeros((4, n, h, w));
        for (c, name) in CHANNELS.iter().enumerate() {
            for k in 0..n {
                let object = open_file(studies.file("made/s0001", name, k)).unwrap();
                let stored = object.element(tags::PIXEL_DATA).unwrap().to_multi_int::<u16>().unwrap();
                let values = stored.iter().map(|v| f32::from(*v) / UNIT).collect();
                image.slice_mut(s![c, k, .., ..]).assign(&Array2::from_shape_vec((h, w), values).unwrap());
            }
        }
        let sides = studies.sides();
        head::wrap(&mut image, &studies.brain, sides, seed, 1);
        for (c, name) in CHANNELS.iter().enumerate() {
            for k in 0..n {
                let plane = image.slice(s![c, k, .., ..]);
                studies.save("head", name, k, plane.iter().map(|v| (v * UNIT).round() as u16).collect());
            }
        }
        studies
    }

    fn path(&self, study: &str) -> PathBuf {
        self.folder.path().join(study)
    }

    fn brain_alone(&self) -> PathBuf {
        self.path("made/s0001")
    }

    fn file(&self, study: &str, channel: &str, slice: usize) -> PathBuf {
        self.path(study).join(channel).join(format!("{:04}.dcm", slice + 1))
    }

    fn sides(&self) -> [f32; 3] {
        let object = open_file(self.file("made/s0001", "t1", 0)).unwrap();
        let number = |tag| object.element(tag).unwrap().to_multi_float64().unwrap()[0] as f32;
        let pixel = number(tags::PIXEL_SPACING);
        [number(tags::SPACING_BETWEEN_SLICES), pixel, pixel]
    }

    /// A slice of the brain alone with other pixels.
    fn save(&self, study: &str, channel: &str, slice: usize, pixels: Vec<u16>) {
        let mut object = open_file(self.file("made/s0001", channel, slice)).unwrap();
        object.put(DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(pixels.into())));
        let path = self.file(study, channel, slice);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        object.write_to_file(path).unwrap();
    }

    /// Masks of the brain, as other programs write them; none without these.
    fn masks(&self) -> Option<PathBuf> {
        for (k, plane) in self.brain.outer_iter().enumerate() {
            self.save("label", "t1", k, plane.iter().map(|inside| if *inside { 1000 } else { 0 }).collect());
        }
        let out = self.path("masks");
        fs::create_dir(&out).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dicom-bridge/tests/masks.py");
        let mut command = Command::new("python3");
        let done = command.arg(script).arg(self.path("label/t1")).arg("500").arg(&out).output();
        match done {
            Ok(done) if done.status.success() => Some(out),
            failed => {
                assert!(std::env::var_os("CI").is_none(), "CI must have highdicom and nibabel: {failed:?}");
                eprintln!("skipped: python3 cannot import highdicom and nibabel");
                None
            }
        }
    }
}

/// What the networks were given and gave back.
struct Seen {
    x: Array4<f32>,
    x0: Array4<f32>,
    slices: Array1<i64>,
}

impl Seen {
    fn read(path: &Path) -> Self {
        let mut npz = NpzReader::new(File::open(path).unwrap()).unwrap();
        let encode: Array5<f32> = npz.by_name("encode").unwrap();
        let decode: Array5<f32> = npz.by_name("decode").unwrap();
        let last = decode.len_of(Axis(0)) - 1;
        let first = |steps: Array5<f32>, step| steps.index_axis_move(Axis(0), step);
        Self { x: first(encode, 0), x0: first(decode, last), slices: npz.by_name("slices").unwrap() }
    }

    fn map(&self) -> Array3<f32> {
        (&self.x - &self.x0).mapv(f32::abs).sum_axis(Axis(1))
    }
}

/// Translates a study, keeping what the networks saw.
fn translated(studies: &Studies, study: &Path, name: &str, more: &[&str]) -> (Run, PathBuf, PathBuf) {
    let (out, steps) = (studies.path(name), studies.path(&format!("{name}.npz")));
    let channels = CHANNELS.map(|name| format!("--channel={name}={}", study.join(name).display()));
    let trajectory = format!("--trajectory={}", steps.display());
    let mut all: Vec<&str> = channels.iter().map(String::as_str).collect();
    all.push(&trajectory);
    all.extend(more);
    (translate(study, tiny(), &out, &all), out, steps)
}

fn object(out: &Path, name: &str) -> DefaultDicomObject {
    open_file(out.join(name)).unwrap()
}

fn text(object: &DefaultDicomObject, tag: dicom_core::Tag) -> String {
    object.element(tag).unwrap().to_str().unwrap().into_owned()
}

const RECONSTRUCTION: &str = "0004-reconstruction-t1.dcm";

#[test]
fn a_head_with_a_mask_is_translated_as_the_brain_alone() {
    let studies = Studies::make(Source::Phantom, 64, 3);
    let Some(masks) = studies.masks() else { return };
    let (alone, _, steps) = translated(&studies, &studies.brain_alone(), "alone", &[]);
    alone.expect(0, &[]);
    let expected = Seen::read(&steps);
    let head = studies.path("head");
    let (whole, whole_out, steps) = translated(&studies, &head, "whole", &[]);
    whole.expect(0, &[]);
    let whole = Seen::read(&steps);
    assert!(max_abs(&whole.x, &expected.x) > 0.5, "a head is no brain");
    let mut uids = vec![text(&object(&whole_out, RECONSTRUCTION), tags::SOP_INSTANCE_UID)];
    for name in ["binary.dcm", "turned.dcm", "plain.nii.gz", "turned.nii", "scaled.nii.gz"] {
        let file = masks.join(name);
        let more = ["--mask", file.to_str().unwrap()];
        let (masked, out, steps) = translated(&studies, &head, &format!("out-{name}"), &more);
        masked.expect(0, &["8 of 8 slices translated"]);
        let seen = Seen::read(&steps);
        assert_eq!(seen.x, expected.x, "{name}");
        assert_eq!(seen.x0, expected.x0, "{name}");
        let report = fs::read_to_string(out.join("report.html")).unwrap();
        assert!(report.contains("<h2>Brain mask</h2>") && report.contains("given, sha256 "), "{name}");
        let object = object(&out, RECONSTRUCTION);
        assert!(text(&object, tags::DERIVATION_DESCRIPTION).contains("brain mask given, sha256 "), "{name}");
        uids.push(text(&object, tags::SOP_INSTANCE_UID));
        // Outside of the mask the source stays as it is.
        let source = open_file(studies.file("head", "t1", 3)).unwrap();
        let stored = |object: &DefaultDicomObject| {
            object.element(tags::PIXEL_DATA).unwrap().to_multi_int::<u16>().unwrap()
        };
        let (source, found) = (stored(&source), stored(&object));
        let brain = studies.brain.index_axis(Axis(0), 3);
        let changed = |inside: bool| {
            let pixels = source.iter().zip(&found).zip(&brain);
            pixels.filter(|((a, b), at)| **at == inside && a != b).count()
        };
        assert_eq!(changed(false), 0, "{name}");
        assert!(changed(true) > 500, "{name}: {} changed", changed(true));
    }
    uids.sort();
    uids.dedup();
    assert_eq!(uids.len(), 6, "another mask gives other objects");
    // A flipped mask is another one.
    let file = masks.join("flipped.nii.gz");
    let (flipped, _, steps) = translated(&studies, &head, "flipped", &["--mask", file.to_str().unwrap()]);
    flipped.expect(0, &[]);
    let off = max_abs(&Seen::read(&steps).x, &expected.x);
    assert!(off > 0.2, "off by {off} only");
    for (name, words) in [
        ("elsewhere.dcm", "found 0 of the study's"),
        ("empty.dcm", "being empty"),
        ("template.nii.gz", "no place in the patient"),
        ("nowhere.nii.gz", "no place in the patient"),
    ] {
        let file = masks.join(name);
        let (refused, out, _) = translated(&studies, &head, name, &["--mask", file.to_str().unwrap()]);
        refused.expect(1, &["error: mask ", words]);
        assert!(!out.exists(), "{name}");
    }
}

/// How far the map of a head, its brain stripped, may be from the map of the brain alone: the sum of their differences in the
/// brain, of the sum of the latter. Without the strip it is more than [`UNLIKE`].
const ALIKE: f32 = 0.25;
const UNLIKE: f32 = 0.5;

#[test]
fn a_stripped_head_has_nearly_the_map_of_the_brain_alone() {
    let Ok(source) = Source::mni152_from_environment() else {
        assert!(std::env::var_os("CI").is_none(), "CI must have the template");
        eprintln!("skipped: no template");
        return;
    };
    let studies = Studies::make(source, 128, 2000);
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/demo");
    let translated = |study: &Path, name: &str, more: &[&str]| {
        let steps = studies.path(&format!("{name}.npz"));
        let all = ["--noise-level", "200", "--steps", "4", "--trajectory", steps.to_str().unwrap()];
        let told = translate_by(study, &demo, &studies.path(name), &[&all[..], more].concat());
        (told, Seen::read(&steps))
    };
    let (alone, expected) = translated(&studies.brain_alone(), "alone", &[]);
    alone.expect(0, &[]);
    let off = |seen: &Seen| {
        let (mut difference, mut sum) = (0.0, 0.0);
        for (i, slice) in seen.slices.iter().enumerate() {
            let brain = studies.brain.index_axis(Axis(0), *slice as usize);
            let at = expected.slices.iter().position(|other| other == slice).unwrap();
            let (map, reference) = (seen.map(), expected.map());
            for ((r, c), value) in map.index_axis(Axis(0), i).indexed_iter() {
                if brain[[2 * r, 2 * c]] && brain[[2 * r + 1, 2 * c + 1]] {
                    difference += (value - reference[[at, r, c]]).abs();
                    sum += reference[[at, r, c]];
                }
            }
        }
        difference / sum
    };
    let (told, whole) = translated(&studies.path("head"), "whole", &[]);
    told.expect(0, &[]);
    let (told, stripped) = translated(&studies.path("head"), "stripped", &["--skull-strip"]);
    told.expect(0, &["warning: brain mask by a classical skull strip, not checked"]);
    let (whole, stripped) = (off(&whole), off(&stripped));
    println!("maps in the brain, off by: stripped {stripped:.3}, as it is {whole:.3}");
    assert!(stripped <= ALIKE && whole >= UNLIKE, "stripped {stripped}, as it is {whole}");
    let out = studies.path("stripped");
    let report = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(
        report.contains("by a classical skull strip, not checked") && report.contains("<h2>Brain mask</h2>")
    );
    let how = text(&object(&out, RECONSTRUCTION), tags::DERIVATION_DESCRIPTION);
    assert!(how.contains("brain mask by a classical skull strip, not checked"), "{how}");
}

#[test]
fn an_array_takes_a_mask_of_its_shape() {
    let folder = tempfile::tempdir().unwrap();
    let image = x0().into_dimensionality::<ndarray::Ix4>().unwrap();
    let inside = Array2::from_shape_fn((32, 32), |(r, c)| (6..25).contains(&r) && c >= 9);
    let mut cut = image.clone();
    for ((_, _, r, c), value) in cut.indexed_iter_mut() {
        if !inside[[r, c]] {
            *value = 0.0;
        }
    }
    let save = |name: &str, array: &Array4<f32>| {
        let path = folder.path().join(name);
        write_npy(&path, array).unwrap();
        path
    };
    let (image, cut) = (save("image.npy", &image), save("cut.npy", &cut));
    let mask = folder.path().join("mask.npy");
    write_npy(&mask, &inside.mapv(u8::from)).unwrap();
    let each = folder.path().join("each.npy");
    write_npy(&each, &inside.clone().insert_axis(Axis(0))).unwrap();
    let out = |name: &str| folder.path().join(name);
    translate(&cut, tiny(), &out("expected"), &[]).expect(0, &[]);
    let expected = npy(&out("expected").join("map.npy")).into_dimensionality::<Ix3>().unwrap();
    for (name, mask) in [("one", &mask), ("each", &each)] {
        let done = translate(&image, tiny(), &out(name), &["--mask", mask.to_str().unwrap()]);
        done.expect(0, &["1 of 1 slices"]);
        let map = npy(&out(name).join("map.npy")).into_dimensionality::<Ix3>().unwrap();
        let marked: Array3<bool> = ndarray_npy::read_npy(out(name).join("mask.npy")).unwrap();
        let healthy = npy(&out(name).join("healthy.npy"));
        for ((_, r, c), value) in map.indexed_iter() {
            let expected = if inside[[r, c]] { expected[[0, r, c]] } else { 0.0 };
            assert_eq!(*value, expected, "{name} at {r}, {c}");
            assert!(inside[[r, c]] || (!marked[[0, r, c]] && healthy[[0, 0, r, c].as_slice()] == 0.0));
        }
        // By the threshold of the inside alone.
        let map = anomalens_models::image::AnomalyMap::from_values(map.index_axis_move(Axis(0), 0));
        let (_, above) = anomalens_method::otsu::mask_within(&map, &inside).unwrap();
        assert_eq!(marked.index_axis(Axis(0), 0), above, "{name}");
    }
    let wrong = folder.path().join("wrong.npy");
    write_npy(&wrong, &Array2::<u8>::ones((32, 31))).unwrap();
    let empty = folder.path().join("empty.npy");
    write_npy(&empty, &Array2::<u8>::zeros((32, 32))).unwrap();
    for (more, code, words) in [
        (vec!["--mask", wrong.to_str().unwrap()], 1, "shape [32, 31], expected [32, 32] or [1, 32, 32]"),
        (vec!["--mask", empty.to_str().unwrap()], 1, "found 0 of 1024 pixels inside it"),
        (vec!["--mask", "brain.nii.gz"], 1, "expected a mask in a .npy file"),
        (vec!["--skull-strip"], 2, "how large a pixel is"),
        (vec!["--skull-strip", "--mask", "x"], 2, "cannot be used with"),
    ] {
        translate(&image, tiny(), &out("refused"), &more).expect(code, &[words]);
        assert!(!out("refused").exists());
    }
}

#[test]
fn what_a_mask_leaves_nothing_of_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let image = x0().into_dimensionality::<ndarray::Ix4>().unwrap();
    let images = ndarray::concatenate(Axis(0), &[image.view(), image.view()]).unwrap();
    let input = folder.path().join("images.npy");
    write_npy(&input, &images).unwrap();
    let mut inside = Array3::<u8>::zeros((2, 32, 32));
    inside.slice_mut(s![1, 4..28, 4..28]).fill(1);
    let mask = folder.path().join("mask.npy");
    write_npy(&mask, &inside).unwrap();
    let out = folder.path().join("out");
    translate(&input, tiny(), &out, &["--mask", mask.to_str().unwrap()])
        .expect(3, &["slice 1 failed: images.npy[0]: no pixel lies inside the brain mask", "1 of 2 slices"]);
    assert!(!listing(&out).contains(&"0001-picture.png".to_owned()));
    run(&["translate", "x.dcm", "--bundle", "b", "--out", "o", "--mask", "x", "--skull-strip"])
        .expect(2, &[]);
}
