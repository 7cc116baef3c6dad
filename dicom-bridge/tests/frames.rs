//! Multi-frame objects: segmentations and parametric maps pass the standard's checkers, and what reads them gets the
//! same values at the same places.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use anomalens_dicom_bridge::write::{self, Frame, MapNumbers};
use anomalens_dicom_bridge::{MapOf, MapScale, SourceSlice, Study, WriteError, Written, read};
use common::{Slice, dx, entities, files, have, have_python, inspect, one_channel, provenance, real};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;
use image::{Rgb, RgbImage};
use ndarray::Array2;
use tempfile::TempDir;

/// The largest value of [`values`].
const MAXIMUM: f32 = 1.5;
/// Of highdicom 0.28 for the same objects; for pictures, which it makes none of, an unknown laterality.
const WARNINGS: [(&str, usize); 5] =
    [("segmentation", 1), ("fractional-map", 1), ("parametric-map", 4), ("float-map", 4), ("pictures", 1)];

const MAPS: [MapOf; 2] = [MapOf::Difference, MapOf::Gradient];

/// A map with another value in each pixel of a slice, and others in each slice.
fn values(slice: &SourceSlice) -> Array2<f32> {
    let [h, w] = slice.size();
    let part = 1.0 / (slice.index + 1) as f32;
    Array2::from_shape_fn((h, w), |(r, c)| MAXIMUM * part * (r * w + c) as f32 / (h * w - 1) as f32)
}

/// A source to be written for, with its files in the order of its slices.
struct Case {
    name: String,
    study: Study,
    _folder: Option<TempDir>,
}

impl Case {
    fn of_file(path: &Path) -> Self {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        Self { name, study: read(path, &one_channel(), &[]).unwrap(), _folder: None }
    }

    fn of_slices(name: &str, slices: Vec<Slice>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (i, slice) in slices.into_iter().enumerate() {
            slice.in_study().save(&folder.path().join(format!("{i}.dcm")));
        }
        let study = read(folder.path(), &one_channel(), &[]).unwrap();
        Self { name: name.to_owned(), study, _folder: Some(folder) }
    }

    fn files(&self) -> Vec<PathBuf> {
        self.study.slices.iter().map(|slice| slice.sources[0].path.clone()).collect()
    }

    fn placed(&self) -> bool {
        self.study.slices[0].sources[0].geometry.place().is_some()
    }

    /// Segmentation, then the maps that this source can have, each with its values and their factor and tolerance.
    fn write(&self, of: MapOf) -> Vec<Object> {
        let slices = &self.study.slices;
        let maps: Vec<_> = slices.iter().map(values).collect();
        let masks: Vec<_> = maps.iter().map(|map| map.mapv(|v| v > 0.7)).collect();
        let scale = MapScale::for_maximum(MAXIMUM, of);
        let frames = frames(slices, &maps);
        let p = provenance();
        let flat = |maps: &[Array2<f32>]| maps.iter().flatten().copied().collect::<Vec<f32>>();
        let mask = masks.iter().map(|mask| mask.mapv(|set| f32::from(u8::from(set)))).collect::<Vec<_>>();
        let map = |written, factor, tolerance| Object { written, values: flat(&maps), factor, tolerance };
        let unit = f64::from(MAXIMUM);
        let mut objects = vec![
            Object {
                written: write::segmentation(&self::frames(slices, &masks), "map > 0.7", &p).unwrap(),
                values: flat(&mask),
                factor: 1.0,
                tolerance: 0.0,
            },
            // Half a step of 255.
            map(write::fractional_map(&frames, &scale, &p).unwrap(), unit, unit / 255.0 * 0.501),
        ];
        if self.placed() {
            let integer = write::parametric_map(&frames, &scale, MapNumbers::Integer, &p).unwrap();
            objects.push(map(integer, 1.0, unit / 65_535.0 * 0.501));
            objects.push(map(
                write::parametric_map(&frames, &scale, MapNumbers::Float, &p).unwrap(),
                1.0,
                0.0,
            ));
        }
        objects
    }
}

struct Object {
    written: Written,
    values: Vec<f32>,
    factor: f64,
    tolerance: f64,
}

fn frames<'a, T>(slices: &'a [SourceSlice], values: &'a [Array2<T>]) -> Vec<Frame<'a, T>> {
    slices.iter().zip(values).map(|(slice, values)| (slice, values.view())).collect()
}

/// MR, CT, CR and DX, real and synthetic, single slices and stacks.
fn cases() -> Vec<Case> {
    let names = ["MR_small.dcm", "CT_small.dcm", "RG1_UNCI.dcm", "RG3_UNCI.dcm"];
    let mut cases: Vec<_> = names.iter().filter_map(|name| real(name)).map(|p| Case::of_file(&p)).collect();
    cases.push(Case::of_slices("dx", vec![dx()]));
    // Of a part that has a side, which is said of the series, or not at all.
    let hand = || dx().without(tags::IMAGE_LATERALITY).with(tags::BODY_PART_EXAMINED, VR::CS, "HAND");
    cases.push(Case::of_slices("right hand", vec![hand().with(tags::LATERALITY, VR::CS, "R")]));
    cases.push(Case::of_slices("hand", vec![hand()]));
    let stack = |change: &dyn Fn(Slice, f64) -> Slice| {
        (0..3).map(|i| f64::from(i) * 2.5).map(|z| change(Slice::new("t1", z), z)).collect()
    };
    cases.push(Case::of_slices("axial", stack(&|slice, _| slice)));
    cases.push(Case::of_slices(
        "ct",
        stack(&|slice, _| {
            slice.with(tags::SOP_CLASS_UID, VR::UI, uids::CT_IMAGE_STORAGE).with(tags::MODALITY, VR::CS, "CT")
        }),
    ));
    cases.push(Case::of_slices(
        "breast",
        stack(&|slice, _| {
            slice.with(tags::BODY_PART_EXAMINED, VR::CS, "BREAST").with(tags::LATERALITY, VR::CS, "L")
        }),
    ));
    // Cut obliquely, numbered against the normal, sheared: 2.5 mm in z are 2.05 mm along the normal.
    cases.push(Case::of_slices(
        "oblique",
        stack(&|slice, z| {
            slice.with(tags::IMAGE_ORIENTATION_PATIENT, VR::DS, "1\\0\\0\\0\\0.822001\\-0.569486").with(
                tags::IMAGE_POSITION_PATIENT,
                VR::DS,
                &format!("-10.123456\\-20.5\\{}", 100.0 - z),
            )
        }),
    ));
    cases
}

/// All objects of a stack: those of its frames, and its pictures.
fn whole(case: &Case, of: MapOf) -> Vec<Written> {
    let picture = |slice: &SourceSlice| RgbImage::from_pixel(33, 21, Rgb([slice.index as u8, 90, 7]));
    let pictures: Vec<_> = case.study.slices.iter().map(picture).collect();
    let frames: Vec<_> = case.study.slices.iter().zip(&pictures).collect();
    let pictures = write::pictures(&frames, &provenance()).unwrap();
    case.write(of).into_iter().map(|object| object.written).chain([pictures]).collect()
}

#[test]
fn every_object_passes_dciodvfy() {
    if !have("dciodvfy") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut failures = Vec::new();
    let cases = cases();
    for (case, of) in cases.iter().flat_map(|case| MAPS.map(|of| (case, of))) {
        for written in whole(case, of) {
            let path = written.save(folder.path()).unwrap();
            let mut told = inspect(&path);
            // Whatever the source says of the patient, and names of physicians, are taken over, be they as old as they may.
            told.warnings.retain(|warning| !warning.contains("(0010,") && !warning.contains("VR [PN]"));
            // A code of our own stands in every frame of a gradient; that the checker does not know its scheme is no news.
            told.warnings.retain(|warning| !warning.contains("<99ANOMALENS>"));
            let (_, most) = WARNINGS.iter().find(|(word, _)| written.file_name.starts_with(word)).unwrap();
            if !told.errors.is_empty() || told.warnings.len() > *most {
                failures.push(format!("{} of {}: {told:?}", written.file_name, case.name));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Values and places as highdicom and pydicom read them.
#[test]
fn highdicom_and_pydicom_read_the_same() {
    if !have_python("highdicom") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut lines = String::new();
    // What is compared, and whether it is the same.
    let mut expected = Vec::new();
    let mut add = |name: String, path: &Path, object: &Object, sources: &[PathBuf], same| {
        let values = folder.path().join(format!("{}.f32", expected.len()));
        let bytes: Vec<u8> = object.values.iter().flat_map(|v| v.to_le_bytes()).collect();
        std::fs::write(&values, bytes).unwrap();
        let [written, values] = [path, &values].map(|path| path.display());
        lines += &format!("{written}\t{values}\t{}\t{}", object.factor, object.tolerance);
        for source in sources {
            lines += &format!("\t{}", source.display());
        }
        lines += "\n";
        expected.push((name, same));
    };
    let cases = cases();
    for (number, case) in cases.iter().enumerate() {
        let place = folder.path().join(number.to_string());
        std::fs::create_dir(&place).unwrap();
        for mut object in case.write(MapOf::Difference) {
            let path = object.written.save(&place).unwrap();
            let (name, mut files) = (format!("{} of {}", object.written.file_name, case.name), case.files());
            add(name.clone(), &path, &object, &files, true);
            // What is wrong must be seen: slices in another order, another value.
            if case.name == "axial" {
                files.reverse();
                add(format!("{name}, slices turned round"), &path, &object, &files, false);
                files.reverse();
                object.values[70] = if object.values[70] > 0.5 { 0.0 } else { 1.0 };
                add(format!("{name}, another value"), &path, &object, &files, false);
            }
        }
    }
    let list = folder.path().join("list");
    std::fs::write(&list, lines).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/frames.py");
    let output = Command::new("python3").arg(&script).arg(&list).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let said: Vec<_> = said.lines().collect();
    assert_eq!(said.len(), expected.len());
    let told = expected.iter().zip(said).filter(|((_, same), said)| *same != (*said == "same"));
    let failures: Vec<_> = told.map(|((name, _), said)| format!("{name}: {said}")).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The study as a whole: sources and all that was made of them agree on patient, study, series and frame of reference.
#[test]
fn dcentvfy_finds_nothing_in_the_study() {
    if !have("dcentvfy") {
        return;
    }
    for case in cases() {
        let folder = tempfile::tempdir().unwrap();
        for (i, file) in case.files().iter().enumerate() {
            std::fs::copy(file, folder.path().join(format!("source-{i}.dcm"))).unwrap();
        }
        for written in whole(&case, MapOf::Difference) {
            written.save(folder.path()).unwrap();
        }
        assert_eq!(entities(files(folder.path())), "", "{}", case.name);
        // The checker must be able to fail: one series with two descriptions.
        if case.name == "axial" {
            let wrong = Slice::new("t1", 0.0).with(tags::SOP_INSTANCE_UID, VR::UI, "1.2.3.77");
            wrong.with(tags::SERIES_DESCRIPTION, VR::LO, "other").save(&folder.path().join("wrong.dcm"));
            assert!(!entities(files(folder.path())).is_empty());
        }
    }
}

/// The tools of DCMTK, as the lightest of viewers.
#[test]
fn dcmtk_opens_every_object() {
    if !have("dcmdump") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let picture = folder.path().join("frame.pnm");
    for case in cases() {
        for written in whole(&case, MapOf::Difference) {
            let path = written.save(folder.path()).unwrap();
            let mut commands = vec![Command::new("dcmdump")];
            commands[0].args(["-q", "-M"]).arg(&path);
            // Floating point is more than dcm2pnm can show.
            if text(&written, tags::BITS_ALLOCATED) != "32" {
                let mut show = Command::new("dcm2pnm");
                show.args(["-q", "--write-8-bit-pnm", "--frame", "1"]).arg(&path).arg(&picture);
                commands.push(show);
            }
            for mut command in commands {
                let output = command.output().unwrap();
                let said = String::from_utf8_lossy(&output.stderr);
                let well = output.status.success() && !said.contains("E:");
                assert!(well, "{command:?} of {}: {said}", case.name);
            }
        }
    }
}

fn open(written: &Written) -> InMemDicomObject {
    dicom_object::from_reader(written.bytes.as_slice()).unwrap().into_inner()
}

fn text(written: &Written, tag: Tag) -> String {
    open(written).element(tag).map(|e| e.to_str().unwrap().into_owned()).unwrap_or_default()
}

fn first(object: &InMemDicomObject, tag: Tag) -> InMemDicomObject {
    object.element(tag).unwrap().items().unwrap()[0].clone()
}

#[test]
fn a_segmentation_says_what_it_is_and_what_made_it() {
    let case = Case::of_slices("axial", vec![Slice::new("t1", 0.0), Slice::new("t1", 2.0)]);
    let written = &case.write(MapOf::Difference)[0].written;
    let object = open(written);
    assert_eq!(written.file_name, "segmentation.dcm");
    assert!(text(written, tags::SERIES_DESCRIPTION).contains("NOT FOR DIAGNOSTIC USE"));
    let segment = first(&object, tags::SEGMENT_SEQUENCE);
    let algorithm = first(&segment, tags::SEGMENTATION_ALGORITHM_IDENTIFICATION_SEQUENCE);
    let say = |object: &InMemDicomObject, tag| object.element(tag).unwrap().to_str().unwrap().into_owned();
    assert_eq!(say(&first(&algorithm, tags::ALGORITHM_FAMILY_CODE_SEQUENCE), tags::CODE_VALUE), "123110");
    assert_eq!(say(&algorithm, tags::ALGORITHM_VERSION), "0.1.0");
    assert!(say(&algorithm, tags::ALGORITHM_PARAMETERS).contains("noise level 50"));
    assert!(say(&segment, tags::SEGMENT_DESCRIPTION).contains("map > 0.7"));
    let frames = object.element(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE).unwrap().items().unwrap();
    assert_eq!(frames.len(), 2);
    for (frame, slice) in frames.iter().zip(&case.study.slices) {
        let segment = first(frame, tags::SEGMENT_IDENTIFICATION_SEQUENCE);
        assert_eq!(segment.element(tags::REFERENCED_SEGMENT_NUMBER).unwrap().to_int::<u16>().unwrap(), 1);
        let source = first(&first(frame, tags::DERIVATION_IMAGE_SEQUENCE), tags::SOURCE_IMAGE_SEQUENCE);
        let expected = say(&slice.sources[0].object, tags::SOP_INSTANCE_UID);
        assert_eq!(say(&source, tags::REFERENCED_SOP_INSTANCE_UID), expected);
    }
    let series = first(&object, tags::REFERENCED_SERIES_SEQUENCE);
    assert_eq!(series.element(tags::REFERENCED_INSTANCE_SEQUENCE).unwrap().items().unwrap().len(), 2);
}

/// Every object that holds a map says, wherever it says anything of that, whether it is a difference or a gradient.
#[test]
fn a_map_says_what_it_is() {
    let case = Case::of_slices("axial", vec![Slice::new("t1", 0.0), Slice::new("t1", 2.0)]);
    let words = [
        (MapOf::Difference, ["113062", "|image - ", "SUBTRACTION", "differences", "ANOMAP"]),
        (MapOf::Gradient, ["SALIENCY", "|gradient of", "QUANTITY", "gradients", "SALMAP"]),
    ];
    let say = |object: &InMemDicomObject, tag| object.element(tag).unwrap().to_str().unwrap().into_owned();
    for (of, [code, how, contrast, explanation, quantity]) in words {
        for Object { written, .. } in &case.write(of)[1..] {
            let (name, object) = (&written.file_name, open(written));
            let check = |what: &str, found: String, expected: &str| {
                assert!(
                    found.contains(expected),
                    "{of:?}: {name}: {what}: found {found}, expected {expected}"
                );
            };
            let frame = first(&object, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE);
            let frame = first(&frame, tags::DERIVATION_IMAGE_SEQUENCE);
            for object in [&object, &frame] {
                check("code", say(&first(object, tags::DERIVATION_CODE_SEQUENCE), tags::CODE_VALUE), code);
                check("description", say(object, tags::DERIVATION_DESCRIPTION), how);
            }
            if name.starts_with("fractional") {
                let segment = first(&object, tags::SEGMENT_SEQUENCE);
                check("segment", say(&segment, tags::SEGMENT_DESCRIPTION), how);
                continue;
            }
            check("image type", text(written, tags::IMAGE_TYPE), contrast);
            let shared = first(&object, tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE);
            let frame_type = first(&shared, tags::PARAMETRIC_MAP_FRAME_TYPE_SEQUENCE);
            check("frame type", say(&frame_type, tags::FRAME_TYPE), contrast);
            let mapping = first(&shared, tags::REAL_WORLD_VALUE_MAPPING_SEQUENCE);
            check("explanation", say(&mapping, tags::LUT_EXPLANATION), explanation);
            let concept = first(&mapping, tags::QUANTITY_DEFINITION_SEQUENCE);
            let concept = first(&concept, tags::CONCEPT_CODE_SEQUENCE);
            check("quantity", say(&concept, tags::CODE_VALUE), quantity);
        }
    }
}

/// What a modality gets where nothing is chosen.
#[test]
fn the_map_is_what_the_modality_can_have() {
    for (case, expected) in [
        (Case::of_slices("mr", vec![Slice::new("t1", 0.0)]), "parametric-map.dcm"),
        (Case::of_slices("dx", vec![dx()]), "fractional-map.dcm"),
    ] {
        let slices = &case.study.slices;
        let maps = [values(&slices[0])];
        let scale = MapScale::for_maximum(MAXIMUM, MapOf::Difference);
        let written = write::anomaly_map(&frames(slices, &maps), &scale, &provenance()).unwrap();
        assert_eq!(written.file_name, expected, "{}", case.name);
        // What is wrong with the values is not taken for a missing place.
        let wrong = [maps[0].mapv(|v| -v)];
        let e = write::anomaly_map(&frames(slices, &wrong), &scale, &provenance()).unwrap_err().to_string();
        assert!(e.contains("at least 0"), "{e}");
    }
}

#[test]
fn loss_is_inherited() {
    let lossy = |slice: Slice| {
        slice
            .with(tags::LOSSY_IMAGE_COMPRESSION, VR::CS, "01")
            .with(tags::LOSSY_IMAGE_COMPRESSION_RATIO, VR::DS, "10")
            .with(tags::LOSSY_IMAGE_COMPRESSION_METHOD, VR::CS, "ISO_15444_1")
    };
    // The second slice alone.
    let one = Case::of_slices("one", vec![Slice::new("t1", 0.0), lossy(Slice::new("t1", 2.0))]);
    let none = Case::of_slices("none", vec![Slice::new("t1", 0.0), Slice::new("t1", 2.0)]);
    for (case, expected) in [(one, ["01", "10", "ISO_15444_1"]), (none, ["00", "", ""])] {
        for object in case.write(MapOf::Difference) {
            let found = [
                tags::LOSSY_IMAGE_COMPRESSION,
                tags::LOSSY_IMAGE_COMPRESSION_RATIO,
                tags::LOSSY_IMAGE_COMPRESSION_METHOD,
            ]
            .map(|tag| text(&object.written, tag));
            assert_eq!(found, expected, "{} of {}", object.written.file_name, case.name);
        }
    }
}

#[test]
fn uids_follow_from_the_run() {
    let case = Case::of_slices("axial", vec![Slice::new("t1", 0.0), Slice::new("t1", 2.0)]);
    let (first, again) = (case.write(MapOf::Difference), case.write(MapOf::Difference));
    for (a, b) in first.iter().zip(&again) {
        assert_eq!(a.written, b.written);
    }
    let distinct =
        |f: &dyn Fn(&Object) -> String| first.iter().map(f).collect::<std::collections::BTreeSet<_>>().len();
    assert_eq!(distinct(&|o| o.written.sop_instance_uid.clone()), 4);
    assert_eq!(distinct(&|o| o.written.series_instance_uid.clone()), 4);
    assert_eq!(distinct(&|o| o.written.file_name.clone()), 4);
    let slices = &case.study.slices;
    let masks: Vec<_> = slices.iter().map(|slice| values(slice).mapv(|v| v > 0.7)).collect();
    let mut changed = masks.clone();
    changed[1][[0, 0]] = true;
    let uid = |masks: &[Array2<bool>], p| {
        write::segmentation(&frames(slices, masks), "map > 0.7", &p).unwrap().sop_instance_uid
    };
    let same = first[0].written.sop_instance_uid.clone();
    assert_eq!(same, uid(&masks, provenance()));
    assert_ne!(same, uid(&changed, provenance()));
    assert_ne!(same, uid(&masks, write::Provenance { parameters: "noise level 51".into(), ..provenance() }));
    let single = write::segmentation(&frames(&slices[..1], &masks), "map > 0.7", &provenance()).unwrap();
    assert_ne!(same, single.sop_instance_uid);
}

#[test]
fn what_does_not_fit_is_refused() {
    let (case, radiograph) =
        (Case::of_slices("axial", vec![Slice::new("t1", 0.0)]), Case::of_slices("dx", vec![dx()]));
    let (slices, p, scale) =
        (&case.study.slices, provenance(), MapScale::for_maximum(1.0, MapOf::Difference));
    let small = [Array2::<f32>::zeros((3, 3))];
    let mut negative = [values(&slices[0])];
    negative[0][[1, 2]] = -0.5;
    let map = |slices, values: &[Array2<f32>]| {
        write::parametric_map(&frames(slices, values), &scale, MapNumbers::Integer, &p)
    };
    let found: [Result<Written, WriteError>; 6] = [
        map(slices, &small),
        map(slices, &negative),
        write::fractional_map(&frames(slices, &negative), &scale, &p),
        write::segmentation(&frames(slices, &[small[0].mapv(|_| true)]), "", &p),
        write::segmentation(&[], "", &p),
        map(&radiograph.study.slices, &[values(&radiograph.study.slices[0])]),
    ];
    let expected = [
        "parametric-map: shape [3, 3], expected [8, 8]",
        "parametric-map: value at [row 1, column 2] is -0.5",
        "fractional-map: value at [row 1, column 2] is -0.5",
        "segmentation: shape [3, 3], expected [8, 8]",
        "segmentation: found no slice, expected at least one",
        "Image Orientation (Patient) (0020,0037) is missing in",
    ];
    for (found, expected) in found.into_iter().zip(expected) {
        let message = found.unwrap_err().to_string();
        assert!(message.contains(expected), "{message}, expected {expected}");
    }
}
