//! Enhanced multi-frame objects: a slice a frame, with what the functional groups say of it.

mod common;

use std::path::Path;

use anomalens_dicom_bridge::{MapOf, MapScale, ReadError, StoredPixels, Study, read, scan, write};
use common::{SIDE, Slice, have, one_channel, provenance, real, validate};
use dicom_core::value::DataSetSequence;
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;
use ndarray::{Array2, Axis};

fn item(elements: &[(Tag, VR, PrimitiveValue)]) -> InMemDicomObject {
    let elements = elements.iter().map(|(tag, vr, value)| DataElement::new(*tag, *vr, value.clone()));
    InMemDicomObject::from_element_iter(elements)
}

fn sequence(object: &mut InMemDicomObject, tag: Tag, items: Vec<InMemDicomObject>) {
    object.put(DataElement::new(tag, VR::SQ, DataSetSequence::from(items)));
}

/// Shared: axial, spacing 0.5 and 0.75, a spin echo of 90 ms; of its own a frame has place and slope.
fn groups(object: &mut InMemDicomObject, frames: &[(f64, &str)]) {
    let text = |value: &str| PrimitiveValue::from(value);
    let mut shared = InMemDicomObject::new_empty();
    let measures =
        item(&[(tags::PIXEL_SPACING, VR::DS, text("0.5\\0.75")), (tags::SLICE_THICKNESS, VR::DS, text("2"))]);
    sequence(&mut shared, tags::PIXEL_MEASURES_SEQUENCE, vec![measures]);
    let orientation = item(&[(tags::IMAGE_ORIENTATION_PATIENT, VR::DS, text("1\\0\\0\\0\\1\\0"))]);
    sequence(&mut shared, tags::PLANE_ORIENTATION_SEQUENCE, vec![orientation]);
    let timing = item(&[(tags::REPETITION_TIME, VR::DS, text("4000"))]);
    sequence(&mut shared, tags::MR_TIMING_AND_RELATED_PARAMETERS_SEQUENCE, vec![timing]);
    let echo = item(&[(tags::EFFECTIVE_ECHO_TIME, VR::FD, PrimitiveValue::from(90.0f64))]);
    sequence(&mut shared, tags::MR_ECHO_SEQUENCE, vec![echo]);
    sequence(object, tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, vec![shared]);
    let each = frames.iter().map(|(z, slope)| {
        let mut groups = InMemDicomObject::new_empty();
        let place = item(&[(tags::IMAGE_POSITION_PATIENT, VR::DS, text(&format!("-10\\-20\\{z}")))]);
        sequence(&mut groups, tags::PLANE_POSITION_SEQUENCE, vec![place]);
        let values = item(&[
            (tags::RESCALE_SLOPE, VR::DS, text(slope)),
            (tags::RESCALE_INTERCEPT, VR::DS, text("0")),
            (tags::RESCALE_TYPE, VR::LO, text("US")),
        ]);
        sequence(&mut groups, tags::PIXEL_VALUE_TRANSFORMATION_SEQUENCE, vec![values]);
        groups
    });
    let each = each.collect();
    sequence(object, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, each);
}

/// An Enhanced MR object of frames at heights, each with a slope; frame n holds 100·n + the place of the pixel.
fn enhanced(frames: &[(f64, &str)]) -> Slice {
    let side = usize::from(SIDE);
    let words =
        (0..frames.len() * side * side).map(|i| (100 * (i / (side * side)) + i % (side * side)) as u16);
    let mut slice = Slice::new("", 0.0)
        .with(tags::SOP_CLASS_UID, VR::UI, uids::ENHANCED_MR_IMAGE_STORAGE)
        .with(tags::NUMBER_OF_FRAMES, VR::IS, &frames.len().to_string())
        .with(tags::ECHO_PULSE_SEQUENCE, VR::CS, "SPIN")
        .without(tags::IMAGE_POSITION_PATIENT)
        .without(tags::IMAGE_ORIENTATION_PATIENT)
        .without(tags::PIXEL_SPACING)
        .pixels(words.collect());
    groups(&mut slice.object, frames);
    slice
}

fn read_object(slice: Slice) -> Result<Study, ReadError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.dcm");
    slice.save(&path);
    read(&path, &one_channel(), &[])
}

#[test]
fn frames_become_slices_along_the_normal() {
    let study = read_object(enhanced(&[(4.0, "1"), (0.0, "0.5"), (2.0, "2")])).unwrap();
    let found: Vec<_> = study
        .slices
        .iter()
        .map(|slice| {
            let source = &slice.sources[0];
            (source.frame, source.geometry.position.unwrap()[2], slice.pixels[[0, 0, 1]])
        })
        .collect();
    // Each by its own slope.
    assert_eq!(found, [(Some(1), 0.0, 50.5), (Some(2), 2.0, 402.0), (Some(0), 4.0, 1.0)]);
    assert_eq!(study.slices[0].sources[0].geometry.spacing, Some([0.5, 0.75]));
    assert!(study.decisions.iter().any(|d| d.contains("3 slices, 2.000 mm apart")), "{:?}", study.decisions);
}

#[test]
fn the_acquisition_is_found_in_the_functional_groups() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.dcm");
    enhanced(&[(0.0, "1"), (2.0, "1")]).save(&path);
    let text = scan(&path).unwrap().to_string();
    assert!(text.contains("acquired as T2: spin echo, TR 4000 ms, TE 90 ms"), "{text}");
    assert!(text.contains("2 image(s)"), "{text}");
}

#[test]
fn objects_that_cannot_be_taken_apart() {
    let short = {
        let mut slice = enhanced(&[(0.0, "1"), (2.0, "1"), (4.0, "1")]);
        slice.text(tags::NUMBER_OF_FRAMES, VR::IS, "2");
        slice
    };
    let colour = enhanced(&[(0.0, "1")]).with(tags::PIXEL_PRESENTATION, VR::CS, "COLOR");
    let few_pixels = enhanced(&[(0.0, "1"), (2.0, "1")]).pixels(vec![0; 64]);
    let unplaced = enhanced(&[(0.0, "1"), (2.0, "1")]).without(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE);
    for (name, slice, kind, words) in [
        ("groups", short, "damaged", "functional groups of 3 frames"),
        ("colour", colour, "attribute", "Pixel Presentation"),
        ("pixels", few_pixels, "damaged", "expected 256"),
        ("places", unplaced, "unplaced", "(0020,0032)"),
        ("gap", enhanced(&[(0.0, "1"), (2.0, "1"), (6.0, "1"), (8.0, "1")]), "gap", "1 slice(s) missing"),
        ("two echoes", enhanced(&[(0.0, "1"), (2.0, "1"), (2.0, "1")]), "duplicate", "2.000 mm"),
    ] {
        let e = read_object(slice).map(|_| ()).expect_err(name);
        assert!(e.kind() == kind && e.to_string().contains(words), "{name}: {}: {e}", e.kind());
    }
}

/// Results of a frame are single images, refer to the frame, and never share a UID.
#[test]
fn results_refer_to_their_frame() {
    let study = read_object(enhanced(&[(0.0, "1"), (2.0, "1")])).unwrap();
    let mut uids_seen = Vec::new();
    for slice in &study.slices {
        let empty = Array2::from_elem((8, 8), false);
        let written = write::mask(slice, empty.view(), "Otsu", &provenance()).unwrap();
        let object = dicom_object::from_reader(written.bytes.as_slice()).unwrap();
        let text = |tag| object.element(tag).unwrap().to_str().unwrap().into_owned();
        assert_eq!(text(tags::SOP_CLASS_UID), uids::MR_IMAGE_STORAGE);
        assert_eq!(text(tags::IMAGE_POSITION_PATIENT), format!("-10\\-20\\{}", 2 * slice.index));
        let sources = object.element(tags::SOURCE_IMAGE_SEQUENCE).unwrap().items().unwrap();
        let number = sources[0].element(tags::REFERENCED_FRAME_NUMBER).unwrap().to_int::<usize>().unwrap();
        assert_eq!(number, slice.index + 1);
        assert_eq!(
            sources[0].element(tags::REFERENCED_SOP_CLASS_UID).unwrap().to_str().unwrap(),
            uids::ENHANCED_MR_IMAGE_STORAGE
        );
        uids_seen.push(written.sop_instance_uid);
    }
    assert_ne!(uids_seen[0], uids_seen[1]);
}

/// Results of all frames refer to each frame where it is the source, and once to the object where objects are listed.
#[test]
fn results_of_a_stack_refer_to_its_frames() {
    // Against the normal, so that frames and slices are numbered differently.
    let study = read_object(enhanced(&[(4.0, "1"), (2.0, "1"), (0.0, "1")])).unwrap();
    let masks = vec![Array2::from_elem((8, 8), true); 3];
    let maps = vec![Array2::from_elem((8, 8), 0.5f32); 3];
    let frames: Vec<_> = study.slices.iter().zip(&masks).map(|(s, mask)| (s, mask.view())).collect();
    let segmentation = write::segmentation(&frames, "Otsu", &provenance()).unwrap();
    let frames: Vec<_> = study.slices.iter().zip(&maps).map(|(s, map)| (s, map.view())).collect();
    let scale = MapScale::for_maximum(1.0, MapOf::Difference);
    let map = write::anomaly_map(&frames, &scale, &provenance()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for written in [segmentation, map] {
        let object = dicom_object::from_reader(written.bytes.as_slice()).unwrap();
        let items = |object: &InMemDicomObject, tag| object.element(tag).unwrap().items().unwrap().to_vec();
        let numbers = |object: &InMemDicomObject| {
            let number =
                |item: &InMemDicomObject| item.element(tags::REFERENCED_FRAME_NUMBER).unwrap().to_int();
            let sources = items(object, tags::SOURCE_IMAGE_SEQUENCE);
            sources.iter().map(|item| number(item).unwrap()).collect::<Vec<u32>>()
        };
        assert_eq!(numbers(&object), [3, 2, 1]);
        for (i, groups) in items(&object, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE).iter().enumerate() {
            assert_eq!(numbers(&items(groups, tags::DERIVATION_IMAGE_SEQUENCE)[0]), [3 - i as u32]);
        }
        let series = items(&object, tags::REFERENCED_SERIES_SEQUENCE);
        assert_eq!(items(&series[0], tags::REFERENCED_INSTANCE_SEQUENCE).len(), 1);
        if have("dciodvfy") {
            assert_eq!(validate(&written.save(folder.path()).unwrap()), Vec::<String>::new());
        }
    }
}

/// The frames of a real scanner. Its file has lost its functional groups, so that it is refused as it stands.
#[test]
fn a_real_object_with_places() {
    let Some(path) = real("emri_small.dcm") else { return };
    let e = read(&path, &one_channel(), &[]).map(|_| ()).unwrap_err();
    assert_eq!(e.kind(), "unplaced", "{e}");
    let folder = tempfile::tempdir().unwrap();
    let placed = folder.path().join("placed.dcm");
    let mut object = dicom_object::open_file(&path).unwrap();
    let frames: Vec<(f64, &str)> = (0..10).map(|k| (f64::from(9 - k) * 1.2, "1")).collect();
    groups(&mut object, &frames);
    object.write_to_file(&placed).unwrap();
    let study = read(&placed, &one_channel(), &[]).unwrap();
    let stored = StoredPixels::open(&path).unwrap();
    for (k, slice) in study.slices.iter().enumerate() {
        let expected = stored.frame(9 - k).unwrap();
        assert!(slice.pixels.iter().zip(expected).all(|(a, b)| f64::from(*a) == b), "slice {k}");
    }
    if have("dciodvfy") {
        let slice = &study.slices[4];
        let pixels = slice.pixels.index_axis(Axis(0), 0);
        let written = write::reconstruction(slice, 0, "image", pixels, &provenance()).unwrap();
        let path: &Path = &written.save(folder.path()).unwrap();
        assert_eq!(validate(path), Vec::<String>::new());
    }
}
