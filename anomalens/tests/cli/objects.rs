//! What `translate` writes of DICOM: every object passes the standard's checkers, holds the values of the run, and lies
//! where its source lies; volumes do, too.

use std::path::{Path, PathBuf};
use std::process::Command;

use dicom_core::VR;
use dicom_dictionary_std::tags;
use ndarray::ArrayD;
use tempfile::TempDir;

use crate::sources::{Slice, dx, entities, files, have, have_python, real, validate};
use crate::support::{Run, golden, listing, one_channel, translate};

/// Every kind, and arrays and volumes beside them.
const ALL: [&str; 2] = [
    "--objects=reconstruction,map,float-map,mask,picture,pictures,map-image,mask-image",
    "--arrays=npy,nifti",
];

/// Without what wants a place.
const OF_RADIOGRAPHS: [&str; 2] =
    ["--objects=reconstruction,map,mask,picture,pictures,map-image,mask-image", "--arrays=npy"];

/// A study and its translation.
pub struct Done {
    folder: TempDir,
    /// In the order of the slices.
    sources: Vec<PathBuf>,
}

impl Done {
    /// Translates slices, which are given along their normal, by the networks of one channel.
    fn of(slices: Vec<Slice>, options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let study = folder.path().join("study");
        std::fs::create_dir(&study).unwrap();
        let mut sources = Vec::new();
        for (i, slice) in slices.into_iter().enumerate() {
            // In another order than by name.
            sources.push(study.join(format!("{}.dcm", 9 - i)));
            slice.in_study().save(&sources[i]);
        }
        let done = Self { folder, sources };
        let slices = done.sources.len();
        done.run(options).expect(0, &[&format!("{slices} of {slices} slices translated")]);
        done
    }

    fn run(&self, options: &[&str]) -> Run {
        let study = self.folder.path().join("study");
        let channel = format!("--channel=radiograph={}", study.display());
        translate(&study, one_channel(), &self.out(), &[&[channel.as_str()], options].concat())
    }

    pub fn out(&self) -> PathBuf {
        self.folder.path().join("out")
    }

    pub fn objects(&self) -> Vec<PathBuf> {
        let dicom = |path: &PathBuf| path.extension().is_some_and(|e| e == "dcm");
        files(&self.out()).into_iter().filter(dicom).collect()
    }
}

fn stack() -> Vec<Slice> {
    let slice = |z| {
        Slice::new("t1", z).with(tags::SCANNING_SEQUENCE, VR::CS, "SE").with(
            tags::SEQUENCE_VARIANT,
            VR::CS,
            "NONE",
        )
    };
    [0.0, 2.5, 5.0].map(slice).into()
}

/// A stack and a radiograph, with all that can be made of them.
pub fn both() -> [(&'static str, Done); 2] {
    [("mr", Done::of(stack(), &ALL)), ("dx", Done::of(vec![dx()], &OF_RADIOGRAPHS))]
}

#[test]
fn every_object_passes_the_checkers() {
    if !have("dciodvfy") || !have("dcentvfy") {
        return;
    }
    for (name, done) in both() {
        let objects = done.objects();
        // Of MR there are two maps, a mask and pictures of the whole stack; of a radiograph one map less.
        let (slices, stacks) = (done.sources.len(), if name == "mr" { 4 } else { 3 });
        assert_eq!(objects.len(), 4 * slices + stacks, "{name}: {objects:?}");
        for object in &objects {
            assert!(validate(object).is_empty(), "{}: {:?}", object.display(), validate(object));
        }
        assert_eq!(entities(objects.iter().chain(&done.sources).cloned()), "", "{name}");
    }
}

/// By highdicom and pydicom, compared with the arrays of the same run.
#[test]
fn segmentations_and_maps_hold_the_values_of_the_run() {
    if !have_python("highdicom") {
        return;
    }
    let (mut lines, mut expected) = (String::new(), Vec::new());
    let studies = both();
    for (name, done) in &studies {
        let out = done.out();
        let maps: ArrayD<f32> = ndarray_npy::read_npy(out.join("map.npy")).unwrap();
        let masks: ArrayD<bool> = ndarray_npy::read_npy(out.join("mask.npy")).unwrap();
        let masks = masks.mapv(|set| f32::from(u8::from(set)));
        let most = maps.iter().copied().fold(0.0, f32::max);
        assert!(most > 0.0 && masks.sum() > 0.0, "{name}: there is something to compare");
        for (file, values, factor, tolerance) in [
            ("segmentation.dcm", &masks, 1.0, 0.0),
            // Half a step.
            ("parametric-map.dcm", &maps, 1.0, most / 65_535.0 * 0.51),
            ("float-map.dcm", &maps, 1.0, 0.0),
            ("fractional-map.dcm", &maps, most, most / 255.0 * 0.51),
        ] {
            let path = out.join(file);
            if !path.exists() {
                continue;
            }
            let mut add = |what: &str, values: &ArrayD<f32>, sources: &[PathBuf], same: bool| {
                let raw = out.join(format!("{file}-{}.f32", expected.len()));
                std::fs::write(&raw, values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>())
                    .unwrap();
                lines += &format!("{}\t{}\t{factor}\t{tolerance}", path.display(), raw.display());
                sources.iter().for_each(|source| lines += &format!("\t{}", source.display()));
                lines += "\n";
                expected.push((format!("{name}: {file}{what}"), same));
            };
            add("", values, &done.sources, true);
            // What is wrong must be seen: another value, slices in another order.
            let mut changed = values.clone();
            changed.mapv_inplace(|v| if v == values[[0, 3, 3]] { most - v } else { v });
            add(", another value", &changed, &done.sources, false);
            if done.sources.len() > 1 {
                let turned: Vec<_> = done.sources.iter().rev().cloned().collect();
                add(", slices turned round", values, &turned, false);
            }
        }
    }
    assert_eq!(expected.iter().filter(|(_, same)| *same).count(), 3 + 2);
    let list = studies[0].1.folder.path().join("list");
    std::fs::write(&list, lines).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dicom-bridge/tests/frames.py");
    compare(Command::new("python3").arg(script).arg(list), &expected);
}

/// Runs a script that says a line for each comparison, `same` where nothing differs.
#[track_caller]
pub fn compare(command: &mut Command, expected: &[(String, bool)]) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let said: Vec<_> = said.lines().collect();
    assert_eq!(said.len(), expected.len(), "{said:?}");
    let wrong = expected.iter().zip(said).filter(|((_, same), said)| *same != (*said == "same"));
    let failures: Vec<_> = wrong.map(|((name, _), said)| format!("{name}: {said}")).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// By nibabel, against places that pydicom reads.
#[test]
fn volumes_lie_where_their_slices_do() {
    if !have_python("nibabel") || !have_python("pydicom") {
        return;
    }
    let placed = |orientation: &str, step: [f64; 3]| -> Vec<Slice> {
        (0..3)
            .map(|k| {
                let at =
                    [-10.5, 20.25, 7.0].iter().zip(step).map(|(p, s)| (p + f64::from(k) * s).to_string());
                let at = at.collect::<Vec<_>>().join("\\");
                Slice::new("t1", f64::from(k))
                    .with(tags::IMAGE_ORIENTATION_PATIENT, VR::DS, orientation)
                    .with(tags::IMAGE_POSITION_PATIENT, VR::DS, &at)
            })
            .collect()
    };
    let cases = [
        ("axial", placed("1\\0\\0\\0\\1\\0", [0.0, 0.0, 2.5])),
        // Slices are given along the normal: here from the right to the left, and downwards.
        ("sagittal", placed("0\\1\\0\\0\\0\\-1", [-3.0, 0.0, 0.0])),
        ("reversed", placed("-1\\0\\0\\0\\1\\0", [0.0, 0.0, -2.5])),
        ("oblique", placed("1\\0\\0\\0\\0.8\\-0.6", [0.0, 1.5, 2.0])),
        ("doubly oblique", placed("0.6\\0.64\\0.48\\-0.8\\0.48\\0.36", [0.0, -1.8, 2.4])),
        // A gantry's tilt: slices lean over each other.
        ("sheared", placed("1\\0\\0\\0\\0.8\\-0.6", [0.0, 0.0, 2.5])),
        ("single", vec![Slice::new("t1", 4.0).with(tags::SLICE_THICKNESS, VR::DS, "5")]),
    ];
    let mut expected = Vec::new();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/volumes.py");
    let mut command = Command::new("python3");
    command.arg(script);
    let mut kept = Vec::new();
    for (name, slices) in cases {
        let done = Done::of(slices, &["--arrays=npy,nifti"]);
        let mut add = |what: &str, sources: &[PathBuf], same| {
            command.arg("--folder").arg(done.out()).args(sources);
            expected.push((format!("{name}{what}"), same));
        };
        add("", &done.sources, true);
        if done.sources.len() > 1 {
            let turned: Vec<_> = done.sources.iter().rev().cloned().collect();
            add(", slices turned round", &turned, false);
        }
        kept.push(done);
    }
    // Another volume's values.
    std::fs::copy(kept[0].out().join("mask.nii.gz"), kept[1].out().join("map.nii.gz")).unwrap();
    command.arg("--folder").arg(kept[0].out()).args(&kept[0].sources);
    expected.push(("axial again".into(), true));
    compare(&mut command, &{
        // The sagittal one was spoilt.
        expected[2].1 = false;
        expected
    });
}

#[test]
fn a_slice_that_failed_is_no_frame_and_no_voxel() {
    let mut slices = stack();
    slices[1] = Slice::new("t1", 2.5).pixels(vec![0; 64]);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    for (i, slice) in slices.into_iter().enumerate() {
        slice.save(&folder.path().join(format!("{i}.dcm")));
    }
    let channel = format!("--channel=radiograph={}", folder.path().display());
    translate(folder.path(), one_channel(), &out, &[&channel, "--objects=mask,map", "--arrays=npy"])
        .expect(3, &["slice 2 failed", "2 of 3 slices"]);
    let files = ["0001-picture.png", "0003-picture.png", "healthy.npy", "map.npy", "mask.npy"];
    let objects = ["parametric-map.dcm", "report.html", "segmentation.dcm"];
    assert_eq!(listing(&out), [&files[..], &objects].concat());
    for name in ["segmentation.dcm", "parametric-map.dcm"] {
        let object = dicom_object::open_file(out.join(name)).unwrap();
        assert_eq!(object.element(tags::NUMBER_OF_FRAMES).unwrap().to_int::<u32>().unwrap(), 2, "{name}");
    }
    let map: ArrayD<f32> = ndarray_npy::read_npy(out.join("map.npy")).unwrap();
    let missing = map.outer_iter().map(|slice| slice.iter().all(|v| v.is_nan()));
    assert_eq!(missing.collect::<Vec<_>>(), [false, true, false]);
}

#[test]
fn the_choice_is_kept_and_told() {
    let done = Done::of(stack(), &["--objects", "mask,pictures"]);
    let names: Vec<_> = listing(&done.out()).into_iter().filter(|name| !name.ends_with(".png")).collect();
    assert_eq!(names, ["pictures.dcm", "report.html", "segmentation.dcm"]);
    let report = std::fs::read_to_string(done.out().join("report.html")).unwrap();
    for words in ["<h2>Written", "segmentation.dcm", "3 files, 0001-picture.png to 0003-picture.png"] {
        assert!(report.contains(words), "no {words}");
    }
    // The threshold of each slice is its own.
    let object = dicom_object::open_file(done.out().join("segmentation.dcm")).unwrap();
    let how = object.element(tags::DERIVATION_DESCRIPTION).unwrap().to_str().unwrap().into_owned();
    assert!(how.contains("each slice by itself: map > "), "{how}");
}

#[test]
fn what_cannot_be_written_is_usage() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let (mr, radiograph) = (folder.path().join("mr.dcm"), folder.path().join("dx.dcm"));
    Slice::new("t1", 0.0).save(&mr);
    dx().save(&radiograph);
    let saliency = ["--method", "saliency", "--objects", "reconstruction,map"];
    for (input, more, words) in [
        (golden("ddim/x0.npy"), &["--objects", "mask"][..], "--objects mask: the input is an array"),
        (golden("ddim/x0.npy"), &["--arrays", "npy"], "whose results are .npy files always"),
        (mr.clone(), &["--objects", "maps"], "expected some of reconstruction, map"),
        (mr.clone(), &["--objects", ""], "expected some of reconstruction, map"),
        (mr, &["--arrays", "png"], "[possible values: npy, nifti]"),
        (radiograph.clone(), &["--objects", "float-map"], "write a fractional segmentation instead"),
        (radiograph.clone(), &["--arrays", "nifti"], "choose --arrays npy"),
        (radiograph, &saliency, "leave reconstruction out"),
    ] {
        let channel = format!("--channel=radiograph={}", input.display());
        let dicom = input.extension().is_some_and(|e| e == "dcm");
        let bundle = if dicom { one_channel() } else { crate::support::tiny() };
        let channel: &[&str] = if dicom { &[&channel] } else { &[] };
        let run = if more.contains(&"saliency") {
            crate::support::translate_by(&input, bundle, &out, &[channel, more].concat())
        } else {
            translate(&input, bundle, &out, &[channel, more].concat())
        };
        run.expect(2, &["error: ", words]);
        assert!(!out.exists(), "{more:?}");
    }
}

/// A real CR image, whose results by default are a reconstruction, two segmentations and a picture.
#[test]
fn a_real_radiograph_by_default() {
    let Some(source) = real("RG1_UNCI.dcm") else { return };
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    translate(&source, one_channel(), &out, &[]).expect(0, &["1 of 1 slices"]);
    let objects =
        ["0001-picture.dcm", "0001-reconstruction-radiograph.dcm", "fractional-map.dcm", "segmentation.dcm"];
    let found: Vec<_> = listing(&out).into_iter().filter(|name| name.ends_with(".dcm")).collect();
    assert_eq!(found, objects);
    if have("dciodvfy") && have("dcentvfy") {
        let paths: Vec<_> = objects.iter().map(|name| out.join(name)).collect();
        for path in &paths {
            assert!(validate(path).is_empty(), "{}: {:?}", path.display(), validate(path));
        }
        assert_eq!(entities(paths.into_iter().chain([source])), "");
    }
}
