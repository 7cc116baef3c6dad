//! DICOM in, DICOM out. What a reader must refuse is tested where it is refused, in the reading crate; here it is
//! that the program says so, with the right exit code, and leaves nothing.

use std::path::{Path, PathBuf};
use std::process::Command;

use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject, open_file};

use crate::support::{
    Run, anomalens, listing, one_channel, one_pass, run, tiny, told, translate, translate_by,
};

const SIDE: u16 = 24;
/// The map of a stack that has a place.
const MAP: &str = "parametric-map.dcm";

/// An MR slice at height `z`; `pixel` gives the value at (row, column).
pub fn mr(z: u16, pixel: impl Fn(u16, u16) -> u16) -> InMemDicomObject {
    let mut object = InMemDicomObject::new_empty();
    for (tag, vr, value) in [
        (tags::SOP_CLASS_UID, VR::UI, uids::MR_IMAGE_STORAGE.to_owned()),
        (tags::SOP_INSTANCE_UID, VR::UI, format!("1.2.3.9.{}", z + 1)),
        (tags::STUDY_INSTANCE_UID, VR::UI, "1.2.3.4".into()),
        (tags::SERIES_INSTANCE_UID, VR::UI, "1.2.3.4.1".into()),
        (tags::FRAME_OF_REFERENCE_UID, VR::UI, "1.2.3.5".into()),
        (tags::MODALITY, VR::CS, "MR".into()),
        (tags::SCANNING_SEQUENCE, VR::CS, "SE".into()),
        (tags::SEQUENCE_VARIANT, VR::CS, "NONE".into()),
        (tags::SERIES_DESCRIPTION, VR::LO, "ax FLAIR".into()),
        (tags::PATIENT_NAME, VR::PN, "Phantom^Test".into()),
        (tags::PATIENT_ID, VR::LO, "P1".into()),
        (tags::IMAGE_ORIENTATION_PATIENT, VR::DS, "1\\0\\0\\0\\1\\0".into()),
        (tags::IMAGE_POSITION_PATIENT, VR::DS, format!("-10\\-20\\{}", 3 * z)),
        (tags::PIXEL_SPACING, VR::DS, "1\\0.5".into()),
        (tags::SLICE_THICKNESS, VR::DS, "3".into()),
        (tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2".into()),
    ] {
        object.put(DataElement::new(tag, vr, PrimitiveValue::from(value)));
    }
    for (tag, value) in [
        (tags::SAMPLES_PER_PIXEL, 1),
        (tags::ROWS, SIDE),
        (tags::COLUMNS, SIDE),
        (tags::BITS_ALLOCATED, 16),
        (tags::BITS_STORED, 12),
        (tags::HIGH_BIT, 11),
        (tags::PIXEL_REPRESENTATION, 0),
    ] {
        short(&mut object, tag, value);
    }
    let pixels: Vec<u16> = (0..SIDE * SIDE).map(|i| pixel(i / SIDE, i % SIDE)).collect();
    object.put(DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(pixels.into())));
    object
}

fn short(object: &mut InMemDicomObject, tag: Tag, value: u16) {
    object.put(DataElement::new(tag, VR::US, PrimitiveValue::from(value)));
}

pub fn tissue(row: u16, column: u16) -> u16 {
    if row.abs_diff(12) + column.abs_diff(12) < 9 { 300 + 20 * row + 7 * column } else { 0 }
}

pub fn save(folder: &Path, name: &str, object: InMemDicomObject) -> PathBuf {
    let path = folder.join(name);
    let meta = FileMetaTableBuilder::new().transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN);
    object.with_meta(meta).unwrap().write_to_file(&path).unwrap();
    path
}

/// One series for all four channels.
pub fn four(path: &Path) -> Vec<String> {
    let each = ["t1", "t1ce", "t2", "flair"].map(|name| format!("--channel={name}={}", path.display()));
    each.to_vec()
}

fn translated(input: &Path, out: &Path) -> Run {
    let more = four(input);
    translate(input, tiny(), out, &more.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn a_study_becomes_derived_objects() {
    let folder = tempfile::tempdir().unwrap();
    let study = folder.path().join("study");
    std::fs::create_dir(&study).unwrap();
    for z in 0..3 {
        save(&study, &format!("{z}.dcm"), mr(z, |row, column| tissue(row, column + z)));
    }
    let (out, again) = (folder.path().join("out"), folder.path().join("again"));
    translated(&study, &out).expect(0, &["3 of 3 slices translated", "warning: "]);
    let files = listing(&out);
    let objects: Vec<_> = files.iter().filter(|name| name.ends_with(".dcm")).collect();
    assert_eq!(objects.len(), 3 * (4 + 1) + 2, "{files:?}");
    assert_eq!(files.len(), objects.len() + 3 + 1, "{files:?}");
    for name in objects {
        let object = open_file(out.join(name)).unwrap();
        let text = |tag| object.element(tag).unwrap().to_str().unwrap().trim_end_matches('\0').to_owned();
        assert_eq!(text(tags::STUDY_INSTANCE_UID), "1.2.3.4", "{name}");
        assert_ne!(text(tags::SERIES_INSTANCE_UID), "1.2.3.4.1", "{name}");
        assert!(text(tags::SERIES_DESCRIPTION).contains("NOT FOR DIAGNOSTIC USE"), "{name}");
        validate(&out.join(name));
    }
    // The same run gives the same UIDs.
    translated(&study, &again).expect(0, &[]);
    let uid = |folder: &Path| {
        let object = open_file(folder.join(MAP)).unwrap();
        object.element(tags::SOP_INSTANCE_UID).unwrap().to_str().unwrap().into_owned()
    };
    assert_eq!(uid(&out), uid(&again));
    // Our own results are no input.
    translated(&out.join(MAP), &folder.path().join("loop")).expect(1, &["error: "]);

    let told = run(&[
        vec!["inspect", study.to_str().unwrap(), "--bundle", tiny().to_str().unwrap()],
        four(&study).iter().map(String::as_str).collect(),
    ]
    .concat());
    told.expect(0, &["3 slice(s) for bundle 'tiny'", "percentile 99.5", "24 x 24 padded", "3 of 3 slices"]);
    run(&[Path::new("inspect"), &study])
        .expect(0, &["MR series 'ax FLAIR': 3 image(s), 24 x 24", "--bundle DIR"]);
}

#[test]
fn saliency_gives_a_map_and_a_mask_that_say_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let (input, out) = (save(folder.path(), "x.dcm", mr(0, tissue)), folder.path().join("out"));
    let mut command = anomalens();
    command.arg("translate").arg(&input).arg("--bundle").arg(tiny()).arg("--out").arg(&out);
    told(command.args(["--method", "saliency"]).args(four(&input)))
        .expect(0, &["makes no healthy version", "1 of 1 slices"]);
    let objects = ["0001-picture.dcm", MAP, "segmentation.dcm"];
    let mut files = objects.to_vec();
    files.extend(["0001-picture.png", "report.html"]);
    files.sort();
    assert_eq!(listing(&out), files);
    objects.iter().for_each(|name| validate(&out.join(name)));
    let how = |out: &Path| {
        let object = open_file(out.join(MAP)).unwrap();
        object.element(tags::DERIVATION_DESCRIPTION).unwrap().to_str().unwrap().into_owned()
    };
    assert!(how(&out).contains("gradient of a classifier's log p(healthy)"), "{}", how(&out));
    let whole = folder.path().join("whole");
    translated(&input, &whole).expect(0, &[]);
    assert!(how(&whole).contains("pseudo-healthy image|"), "{}", how(&whole));
}

#[test]
fn a_network_of_one_pass_gives_the_same_objects() {
    let folder = tempfile::tempdir().unwrap();
    let (input, out) = (save(folder.path(), "x.dcm", mr(0, tissue)), folder.path().join("out"));
    let channels = four(&input);
    let channels: Vec<_> = channels.iter().map(String::as_str).collect();
    translate_by(&input, one_pass("tiny_vae"), &out, &channels).expect(0, &["1 of 1 slices"]);
    let files = listing(&out);
    let objects: Vec<_> = files.iter().filter(|name| name.ends_with(".dcm")).collect();
    assert_eq!(objects.len(), 4 + 1 + 2, "{files:?}");
    for name in objects {
        let object = open_file(out.join(name)).unwrap();
        let how = object.element(tags::DERIVATION_DESCRIPTION).unwrap().to_str().unwrap().into_owned();
        assert!(how.contains("method vae, in one pass") && !how.contains("noise level"), "{name}: {how}");
        validate(&out.join(name));
    }
}

/// The standard's checker, where it is there; in CI it is.
fn validate(path: &Path) {
    let Ok(output) = Command::new("dciodvfy").arg("-new").arg(path).output() else {
        assert!(std::env::var_os("CI").is_none(), "CI must have dciodvfy");
        return;
    };
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let errors: Vec<_> = text.lines().filter(|line| line.starts_with("Error")).collect();
    assert!(errors.is_empty() && output.status.success(), "{}: {text}", path.display());
}

#[test]
fn a_slice_that_fails_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let study = folder.path().join("study");
    std::fs::create_dir(&study).unwrap();
    save(&study, "a.dcm", mr(0, tissue));
    save(&study, "b.dcm", mr(1, |_, _| 0));
    save(&study, "c.dcm", mr(2, tissue));
    let out = folder.path().join("out");
    translated(&study, &out).expect(3, &["slice 2 failed: b.dcm: channel 0 is constant", "2 of 3 slices"]);
    let files = listing(&out);
    assert!(files.iter().any(|name| name == "0003-picture.dcm"), "{files:?}");
    assert!(!files.iter().any(|name| name.starts_with("0002")), "{files:?}");
    assert!(std::fs::read_to_string(out.join("report.html")).unwrap().contains("failed: b.dcm"));
    let told = run(&[
        vec!["inspect", study.to_str().unwrap(), "--bundle", tiny().to_str().unwrap()],
        four(&study).iter().map(String::as_str).collect(),
    ]
    .concat());
    told.expect(1, &["slice 2 would fail: b.dcm", "2 of 3 slices can be translated"]);
}

#[test]
fn what_is_no_image_is_refused() {
    type Make = fn(&Path) -> PathBuf;
    let cases: [(&str, Make, &str); 7] = [
        (
            "not DICOM",
            |f| {
                std::fs::write(f.join("x.dcm"), [7; 400]).unwrap();
                f.join("x.dcm")
            },
            "not a DICOM file",
        ),
        (
            "no pixel data",
            |f| {
                let mut object = mr(0, tissue);
                object.remove_element(tags::PIXEL_DATA);
                save(f, "x.dcm", object)
            },
            "no pixel data",
        ),
        ("constant", |f| save(f, "x.dcm", mr(0, |_, _| 9)), "every pixel of the series is 9"),
        ("empty folder", |f| f.to_owned(), "found no MR, CT, CR or DX image"),
        (
            "different grids",
            |f| {
                save(f, "a.dcm", mr(0, tissue));
                let mut object = mr(1, tissue);
                object.put(DataElement::new(tags::PIXEL_SPACING, VR::DS, PrimitiveValue::from("2\\2")));
                save(f, "b.dcm", object);
                f.to_owned()
            },
            "b.dcm",
        ),
        (
            "a gap",
            |f| {
                for z in [0, 1, 2, 4] {
                    save(f, &format!("{z}.dcm"), mr(z, tissue));
                }
                f.to_owned()
            },
            "expected",
        ),
        (
            "a duplicate",
            |f| {
                save(f, "a.dcm", mr(0, tissue));
                save(f, "b.dcm", mr(0, tissue));
                f.to_owned()
            },
            "b.dcm",
        ),
    ];
    let out = tempfile::tempdir().unwrap();
    for (name, make, words) in cases {
        let folder = tempfile::tempdir().unwrap();
        let input = make(folder.path());
        let run = translated(&input, &out.path().join("out"));
        println!("{name}: {}", run.stderr);
        run.expect(1, &["error: ", words]);
        assert!(listing(out.path()).is_empty(), "{name}");
    }
}

#[test]
fn channels_are_found_or_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let input = save(folder.path(), "flair.dcm", mr(0, tissue));
    let out = folder.path().join("out");
    // One series is no four channels.
    translate(&input, tiny(), &out, &[]).expect(1, &["channel 't1' of 4", "--channel t1=PATH"]);
    translate(&input, tiny(), &out, &["--channel", "pd=x.dcm"])
        .expect(1, &["--channel pd", "t1, t1ce, t2, flair"]);
    assert!(!out.exists());
}

#[test]
fn a_real_image() {
    let Some(folder) = std::env::var_os("ANOMALENS_PYDICOM") else {
        assert!(std::env::var_os("CI").is_none(), "CI must set ANOMALENS_PYDICOM");
        eprintln!("skipped: ANOMALENS_PYDICOM is not set");
        return;
    };
    let folder = PathBuf::from(folder);
    let out = tempfile::tempdir().unwrap();
    let map = |name: &str| {
        let out = out.path().join(name);
        translated(&folder.join(name), &out).expect(0, &["1 of 1 slices"]);
        let object = open_file(out.join(MAP)).unwrap();
        object.element(tags::PIXEL_DATA).unwrap().to_bytes().unwrap().into_owned()
    };
    let plain = map("MR_small.dcm");
    for name in ["MR_small_RLE.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm"] {
        assert_eq!(map(name), plain, "{name}");
    }
}

/// A radiograph of 1760 x 1760 as it is, and an MR image of 1024 x 1024 that is named for the one channel.
#[test]
fn large_real_images_by_one_channel() {
    let Some(folder) = std::env::var_os("ANOMALENS_PYDICOM_DATA") else {
        assert!(std::env::var_os("CI").is_none(), "CI must set ANOMALENS_PYDICOM_DATA");
        eprintln!("skipped: ANOMALENS_PYDICOM_DATA is not set");
        return;
    };
    let temp = tempfile::tempdir().unwrap();
    for (name, side, named) in [("RG3_UNCI.dcm", 1760, false), ("MR2_UNCI.dcm", 1024, true)] {
        let (input, out) = (Path::new(&folder).join(name), temp.path().join(name));
        let channel = format!("--channel=radiograph={}", input.display());
        let more: &[&str] = if named { &[&channel] } else { &[] };
        translate(&input, one_channel(), &out, more).expect(0, &["1 of 1 slices translated"]);
        let source = open_file(&input).unwrap();
        for file in listing(&out).iter().filter(|file| file.ends_with(".dcm")) {
            validate(&out.join(file));
            let object = open_file(out.join(file)).unwrap();
            if !file.ends_with("picture.dcm") {
                assert_eq!(
                    object.element(tags::ROWS).unwrap().to_int::<u32>().unwrap(),
                    side,
                    "{name} {file}"
                );
            }
            let study = |o: &dicom_object::DefaultDicomObject| {
                o.element(tags::STUDY_INSTANCE_UID).unwrap().to_str().unwrap().into_owned()
            };
            assert_eq!(study(&object), study(&source), "{name} {file}");
        }
    }
}
