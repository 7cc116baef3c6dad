//! Writing: every object passes the standard's checker, lies where its source lies, and says what it is.

mod common;

use std::path::Path;
use std::process::Command;

use anomalens_dicom_bridge::{MapOf, MapScale, SourceSlice, Study, Written, read, write};
use anomalens_models::preset::ImageSpec;
use common::{Slice, channel, dx, have, have_python, one_channel, provenance, real, validate};
use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::DefaultDicomObject;
use image::{Rgb, RgbImage};
use ndarray::{Array2, Axis};

/// The maximum of [`values`].
const MAXIMUM: f32 = 1.5;

fn values(slice: &SourceSlice) -> Array2<f32> {
    let [h, w] = slice.size();
    Array2::from_shape_fn((h, w), |(r, c)| MAXIMUM * (r * w + c) as f32 / (h * w - 1) as f32)
}

/// One object of each kind; the reconstruction is the source itself.
fn all(study: &Study, slice: &SourceSlice) -> Vec<Written> {
    let p = provenance();
    let map = values(slice);
    let mask = map.mapv(|v| v > 1.0);
    let scale = MapScale::for_maximum(MAXIMUM, MapOf::Difference);
    let picture = RgbImage::from_fn(33, 21, |x, y| Rgb([x as u8, y as u8, 7]));
    vec![
        write::reconstruction(slice, 0, &study.channels[0], slice.pixels.index_axis(Axis(0), 0), &p).unwrap(),
        write::map(slice, map.view(), &scale, &p).unwrap(),
        write::mask(slice, mask.view(), "Otsu, 256 bins: map > 1", &p).unwrap(),
        write::picture(slice, &picture, &p).unwrap(),
    ]
}

fn open(written: &Written) -> DefaultDicomObject {
    dicom_object::from_reader(written.bytes.as_slice()).unwrap()
}

fn text(object: &DefaultDicomObject, tag: dicom_core::Tag) -> String {
    object.element(tag).map(|e| e.to_str().unwrap().into_owned()).unwrap_or_default()
}

/// Real sources: the four of the acceptance list, then what others write.
const REAL: [&str; 8] = [
    "MR_small.dcm",
    "MR2_UNCI.dcm",
    "RG3_UNCI.dcm",
    "CT_small.dcm",
    "RG1_UNCI.dcm",
    "MR-SIEMENS-DICOM-WithOverlays.dcm",
    "explicit_VR-UN.dcm",
    "examples_overlay.dcm",
];

#[test]
fn every_object_passes_dciodvfy() {
    if !have("dciodvfy") {
        return;
    }
    let mut failures = Vec::new();
    let folder = tempfile::tempdir().unwrap();
    let synthetic = folder.path().join("synthetic.dcm");
    dx().save(&synthetic);
    let mut sources: Vec<_> = REAL.iter().filter_map(|name| real(name)).collect();
    sources.push(synthetic);
    for source in sources {
        let study = read(&source, &one_channel(), &[]).unwrap();
        // A weak map too: its window is narrower than 1.
        let slice = &study.slices[0];
        let weak = values(slice).mapv(|v| v * 1e-3);
        let weak = write::map(
            slice,
            weak.view(),
            &MapScale::for_maximum(MAXIMUM * 1e-3, MapOf::Difference),
            &provenance(),
        )
        .unwrap();
        for written in all(&study, slice).into_iter().chain([weak]) {
            let path = written.save(folder.path()).unwrap();
            for error in validate(&path) {
                failures.push(format!("{} of {}: {error}", written.file_name, source.display()));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The checker's verdict must be able to fail.
#[test]
fn dciodvfy_finds_a_missing_attribute() {
    if !have("dciodvfy") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bare.dcm");
    Slice::new("t1", 0.0).save(&path);
    assert!(!validate(&path).is_empty());
}

#[test]
fn an_unchanged_reconstruction_has_the_sources_stored_values() {
    let mut sources: Vec<_> = REAL.iter().filter_map(|name| real(name)).collect();
    let folder = tempfile::tempdir().unwrap();
    for (name, slice) in [
        ("plain", Slice::new("t1", 3.0)),
        ("dx", dx()),
        (
            "rescaled",
            Slice::new("t1", 3.0).with(tags::RESCALE_SLOPE, VR::DS, "3.774114").with(
                tags::RESCALE_INTERCEPT,
                VR::DS,
                "0.000061",
            ),
        ),
    ] {
        let path = folder.path().join(format!("{name}.dcm"));
        slice.save(&path);
        sources.push(path);
    }
    for source in sources {
        let study = read(&source, &one_channel(), &[]).unwrap();
        let written = open(&all(&study, &study.slices[0])[0]);
        let original = dicom_object::open_file(&source).unwrap();
        if original.meta().transfer_syntax() != uids::EXPLICIT_VR_LITTLE_ENDIAN {
            continue;
        }
        let words =
            |o: &DefaultDicomObject| o.element(tags::PIXEL_DATA).unwrap().to_bytes().unwrap().into_owned();
        assert!(words(&written) == words(&original), "{}", source.display());
        for tag in
            [tags::PHOTOMETRIC_INTERPRETATION, tags::SOP_CLASS_UID, tags::MODALITY, tags::RESCALE_SLOPE]
        {
            assert_eq!(text(&written, tag), text(&original, tag), "{}: {tag}", source.display());
        }
    }
}

#[test]
fn padding_and_tables_in_a_reconstruction() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.dcm");
    let words: Vec<u16> = (0..64).collect();
    Slice::new("t1", 0.0).with_short(tags::PIXEL_PADDING_VALUE, 63).pixels(words.clone()).save(&path);
    let study = read(&path, &one_channel(), &[]).unwrap();
    let slice = &study.slices[0];
    let changed = slice.pixels.index_axis(Axis(0), 0).mapv(|v| v + 1.0);
    let object = open(&write::reconstruction(slice, 0, "image", changed.view(), &provenance()).unwrap());
    let stored: Vec<u16> = object.element(tags::PIXEL_DATA).unwrap().to_multi_int().unwrap();
    assert_eq!((stored[0], stored[62], stored[63]), (1, 63, 63));
    assert_eq!(text(&object, tags::PIXEL_PADDING_VALUE), "63");

    let mut item = dicom_object::InMemDicomObject::new_empty();
    let entries: Vec<u16> = (0..64).map(|i| 1000 + 3 * i).collect();
    for (tag, words) in [(tags::LUT_DESCRIPTOR, vec![64, 0, 16]), (tags::LUT_DATA, entries.clone())] {
        item.put(DataElement::new(tag, VR::US, PrimitiveValue::U16(words.into())));
    }
    let mut ct =
        Slice::new("ct", 0.0).with(tags::SOP_CLASS_UID, VR::UI, uids::CT_IMAGE_STORAGE).pixels(words);
    let items = dicom_core::value::DataSetSequence::from(vec![item]);
    ct.object.put(DataElement::new(tags::MODALITY_LUT_SEQUENCE, VR::SQ, items));
    ct.save(&path);
    let study = read(&path, &one_channel(), &[]).unwrap();
    let slice = &study.slices[0];
    let unchanged = slice.pixels.index_axis(Axis(0), 0);
    let object = open(&write::reconstruction(slice, 0, "image", unchanged, &provenance()).unwrap());
    let stored: Vec<u16> = object.element(tags::PIXEL_DATA).unwrap().to_multi_int().unwrap();
    assert_eq!(stored, entries, "the table's values are stored");
    assert_eq!(
        (text(&object, tags::RESCALE_SLOPE), text(&object, tags::RESCALE_INTERCEPT)),
        ("1".into(), "0".into())
    );
    assert!(object.element(tags::MODALITY_LUT_SEQUENCE).is_err());
}

#[test]
fn a_changed_value_is_stored_and_clamped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.dcm");
    Slice::new("t1", 0.0)
        .with(tags::RESCALE_SLOPE, VR::DS, "2")
        .with(tags::RESCALE_INTERCEPT, VR::DS, "-10")
        .save(&path);
    let study = read(&path, &one_channel(), &[]).unwrap();
    let slice = &study.slices[0];
    let mut pixels = slice.pixels.index_axis(Axis(0), 0).to_owned();
    pixels[[0, 0]] = 90.9;
    pixels[[0, 1]] = -1e6;
    pixels[[0, 2]] = 1e6;
    let written = open(&write::reconstruction(slice, 0, "image", pixels.view(), &provenance()).unwrap());
    let stored: Vec<u16> = written.element(tags::PIXEL_DATA).unwrap().to_multi_int().unwrap();
    assert_eq!(stored[..4], [50, 0, 4095, 21]);
}

#[test]
fn the_map_gives_its_values_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.dcm");
    let ct = || Slice::new("ct", 0.0).with(tags::SOP_CLASS_UID, VR::UI, uids::CT_IMAGE_STORAGE);
    for slice in [Slice::new("t1", 0.0), ct().with(tags::MODALITY, VR::CS, "CT"), dx()] {
        slice.save(&path);
        let study = read(&path, &one_channel(), &[]).unwrap();
        let written = open(&all(&study, &study.slices[0])[1]);
        let mapping = &written.element(tags::REAL_WORLD_VALUE_MAPPING_SEQUENCE).unwrap().items().unwrap()[0];
        let slope = mapping.element(tags::REAL_WORLD_VALUE_SLOPE).unwrap().to_float64().unwrap();
        if text(&written, tags::MODALITY) == "CT" {
            assert_eq!(written.element(tags::RESCALE_SLOPE).unwrap().to_float64().unwrap(), slope);
        }
        let stored: Vec<u16> = written.element(tags::PIXEL_DATA).unwrap().to_multi_int().unwrap();
        for (stored, expected) in stored.iter().zip(&values(&study.slices[0])) {
            let found = f64::from(*stored) * slope;
            assert!(
                (found - f64::from(*expected)).abs() <= 0.51 * slope,
                "found {found}, expected {expected}"
            );
        }
    }
}

#[test]
fn every_object_says_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.dcm");
    Slice::new("t1", 0.0).save(&path);
    let study = read(&path, &one_channel(), &[]).unwrap();
    let mut series = std::collections::BTreeSet::new();
    for written in all(&study, &study.slices[0]) {
        let object = open(&written);
        let name = &written.file_name;
        assert!(text(&object, tags::SERIES_DESCRIPTION).contains("NOT FOR DIAGNOSTIC USE"), "{name}");
        assert!(text(&object, tags::IMAGE_TYPE).starts_with("DERIVED\\SECONDARY"), "{name}");
        assert!(text(&object, tags::DERIVATION_DESCRIPTION).contains("untrained weights"), "{name}");
        assert_eq!(text(&object, tags::STUDY_INSTANCE_UID), "1.2.3.4", "{name}");
        assert_eq!(text(&object, tags::MANUFACTURER), "anomalens", "{name}");
        let sources = object.element(tags::SOURCE_IMAGE_SEQUENCE).unwrap().items().unwrap();
        assert_eq!(sources.len(), 1, "{name}");
        let referenced = sources[0].element(tags::REFERENCED_SOP_INSTANCE_UID).unwrap().to_str().unwrap();
        assert_eq!(referenced, "1.2.3.2.0", "{name}");
        assert_eq!(
            object.element(tags::CONTRIBUTING_EQUIPMENT_SEQUENCE).unwrap().items().unwrap().len(),
            2,
            "{name}"
        );
        assert_eq!(object.meta().media_storage_sop_instance_uid(), written.sop_instance_uid, "{name}");
        series.insert(written.series_instance_uid.clone());
    }
    assert_eq!(series.len(), 4, "each kind has its own series");
}

#[test]
fn channels_of_one_slice_have_their_own_series() {
    let folder = tempfile::tempdir().unwrap();
    Slice::new("t1", 0.0).save(&folder.path().join("t1.dcm"));
    Slice::new("t2", 0.0)
        .with(tags::SOP_INSTANCE_UID, VR::UI, "1.2.3.99")
        .save(&folder.path().join("t2.dcm"));
    let names = ["t1", "t2", "again"];
    let channels = names.map(|name| channel(name, name)).to_vec();
    let image = ImageSpec { channels, ..one_channel() };
    let study = read(folder.path(), &image, &[("again".into(), folder.path().join("t2.dcm"))]).unwrap();
    let slice = &study.slices[0];
    let written: Vec<Written> = (0..3)
        .map(|c| {
            let pixels = slice.pixels.index_axis(Axis(0), c);
            write::reconstruction(slice, c, names[c], pixels, &provenance()).unwrap()
        })
        .collect();
    let distinct =
        |f: fn(&Written) -> &String| written.iter().map(f).collect::<std::collections::BTreeSet<_>>().len();
    assert_eq!(distinct(|w| &w.file_name), 3);
    assert_eq!(distinct(|w| &w.series_instance_uid), 3);
    assert_eq!(distinct(|w| &w.sop_instance_uid), 3);
    assert!(text(&open(&written[1]), tags::SERIES_DESCRIPTION).ends_with("t2"));
    // Every result was made from both source images.
    assert_eq!(open(&written[0]).element(tags::SOURCE_IMAGE_SEQUENCE).unwrap().items().unwrap().len(), 2);
}

#[test]
fn uids_follow_from_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.dcm");
    Slice::new("t1", 0.0).save(&path);
    let study = read(&path, &one_channel(), &[]).unwrap();
    let slice = &study.slices[0];
    let (first, again) = (all(&study, slice), all(&study, slice));
    assert_eq!(first, again);
    // Another hour, the same run: the UIDs stay.
    let later = write::Provenance { created: ["20261124".into(), "235959".into()], ..provenance() };
    let scale = MapScale::for_maximum(MAXIMUM, MapOf::Difference);
    let map = |values: Array2<f32>, p| write::map(slice, values.view(), &scale, &p).unwrap().sop_instance_uid;
    let uid = &first[1].sop_instance_uid;
    assert_eq!(*uid, map(values(slice), later));
    let mut changed = values(slice);
    changed[[0, 0]] = 0.5;
    let other = |f: fn(&mut write::Provenance)| {
        let mut p = provenance();
        f(&mut p);
        map(values(slice), p)
    };
    for (name, found) in [
        ("pixels", map(changed, provenance())),
        ("bundle", other(|p| p.bundle_hash = "f".repeat(64))),
        ("parameters", other(|p| p.parameters = "noise level 51".into())),
        ("tool", other(|p| p.tool = "anomalens 0.2.0".into())),
    ] {
        assert_ne!(*uid, found, "{name}");
    }
}

#[test]
fn patient_and_character_set_are_copied_byte_for_byte() {
    // Ideographic and phonetic names with ISO 2022 escapes (PS3.5 H.3.1), GB 18030 with a 0x5C byte inside a character,
    // UTF-8, and bytes that are valid in none of them.
    let cases: [(&str, &[u8]); 4] = [
        (
            "\\ISO 2022 IR 87",
            b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
        ),
        ("GB18030 ", b"Wang^XiaoDong=\xcd\xf5^\x81\x5c"),
        ("ISO_IR 192", "Buc^Jérôme=Αθηνά".as_bytes()),
        ("ISO_IR 192", b"\xff\xfe^\xc3"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.dcm");
    for (charset, name) in cases {
        for syntax in
            [uids::EXPLICIT_VR_LITTLE_ENDIAN, uids::IMPLICIT_VR_LITTLE_ENDIAN, "1.2.840.10008.1.2.2"]
        {
            let mut slice = Slice::new("t1", 0.0);
            slice.transfer_syntax = syntax;
            let mut name = name.to_vec();
            if name.len() % 2 == 1 {
                name.push(b' ');
            }
            let raw = |tag, vr, bytes: &[u8]| DataElement::new(tag, vr, PrimitiveValue::U8(bytes.into()));
            slice.object.put(raw(tags::SPECIFIC_CHARACTER_SET, VR::CS, charset.as_bytes()));
            slice.object.put(raw(tags::PATIENT_NAME, VR::PN, &name));
            slice.save(&path);
            let study = read(&path, &one_channel(), &[]).unwrap();
            for written in all(&study, &study.slices[0]) {
                for value in [&name[..], charset.as_bytes()] {
                    let found = written.bytes.windows(value.len()).any(|w| w == value);
                    assert!(found, "{charset:?}, {syntax}: {} lost {value:02x?}", written.file_name);
                }
            }
        }
    }
}

#[test]
fn our_own_results_are_not_taken_as_input() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.dcm");
    Slice::new("t1", 0.0).save(&path);
    let study = read(&path, &one_channel(), &[]).unwrap();
    let mut saved = Vec::new();
    for written in all(&study, &study.slices[0]) {
        saved.push(written.save(folder.path()).unwrap());
    }
    let again = read(folder.path(), &one_channel(), &[]).unwrap();
    assert_eq!(again.slices.len(), 1);
    assert!(
        again.decisions.iter().any(|d| d.contains("4 x a result written by anomalens itself")),
        "{again:?}"
    );
    let e = read(&saved[0], &one_channel(), &[]).unwrap_err();
    assert_eq!(e.kind(), "not-an-image");
}

#[test]
fn what_does_not_fit_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.dcm");
    Slice::new("t1", 0.0).save(&path);
    let study = read(&path, &one_channel(), &[]).unwrap();
    let slice = &study.slices[0];
    let p = provenance();
    let scale = MapScale::for_maximum(1.0, MapOf::Difference);
    let small = Array2::<f32>::zeros((3, 3));
    let mut wrong = values(slice);
    wrong[[2, 1]] = f32::NAN;
    let mut negative = values(slice);
    negative[[1, 2]] = -0.5;
    let found = [
        write::map(slice, small.view(), &scale, &p),
        write::map(slice, wrong.view(), &scale, &p),
        write::map(slice, negative.view(), &scale, &p),
        write::reconstruction(slice, 0, "image", wrong.view(), &p),
        write::reconstruction(slice, 1, "image", values(slice).view(), &p),
        write::mask(slice, small.mapv(|_| true).view(), "", &p),
    ];
    let expected = [
        "shape [3, 3], expected [8, 8]",
        "[row 2, column 1] is NaN",
        "[row 1, column 2] is -0.5",
        "[row 2, column 1] is NaN",
        "channel 1, expected below 1",
        "shape [3, 3], expected [8, 8]",
    ];
    for (found, expected) in found.into_iter().zip(expected) {
        let message = found.unwrap_err().to_string();
        assert!(message.contains(expected), "{message}, expected {expected}");
    }
    let written = write::map(slice, values(slice).view(), &scale, &p).unwrap();
    let e = written.save(&folder.path().join("missing")).unwrap_err().to_string();
    assert!(e.contains("missing") && e.contains("writable folder"), "{e}");
}

/// Position, orientation, spacing and frame of reference, read back by pydicom.
#[test]
fn geometry_is_the_sources() {
    let has_pydicom = have_python("pydicom");
    let folder = tempfile::tempdir().unwrap();
    let oblique = folder.path().join("oblique.dcm");
    Slice::new("t1", 0.0)
        .with(tags::IMAGE_ORIENTATION_PATIENT, VR::DS, "0.569486\\0.822001\\0\\0\\0\\-1")
        .with(tags::SLICE_THICKNESS, VR::DS, "3.0000")
        .save(&oblique);
    let mut sources: Vec<_> = REAL.iter().filter_map(|name| real(name)).collect();
    sources.push(oblique);
    for source in sources {
        let study = read(&source, &one_channel(), &[]).unwrap();
        let written = all(&study, &study.slices[0]);
        let images = &written[..3];
        let original = dicom_object::open_file(&source).unwrap();
        for image in images {
            let object = open(image);
            // Compared by readback.py alone: spacing, where 0 means absent, and everything of unknown VR.
            if original.element(tags::IMAGE_POSITION_PATIENT).is_ok_and(|e| e.vr() == VR::UN) {
                continue;
            }
            for tag in [
                tags::IMAGE_POSITION_PATIENT,
                tags::IMAGE_ORIENTATION_PATIENT,
                tags::FRAME_OF_REFERENCE_UID,
                tags::SLICE_THICKNESS,
                tags::ROWS,
                tags::COLUMNS,
            ] {
                assert_eq!(text(&object, tag), text(&original, tag), "{}: {tag}", image.file_name);
            }
        }
        if !has_pydicom {
            continue;
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/readback.py");
        let readback = |written: &Path| {
            Command::new("python3").arg(&script).arg(&source).arg(written).output().unwrap().status.code()
        };
        for image in images {
            let path = image.save(folder.path()).unwrap();
            assert_eq!(readback(&path), Some(0), "{} of {}", image.file_name, source.display());
        }
        let moved = folder.path().join("moved.dcm");
        Slice::new("t1", 77.0).save(&moved);
        assert_eq!(readback(&moved), Some(1), "readback.py must see a difference");
    }
}
