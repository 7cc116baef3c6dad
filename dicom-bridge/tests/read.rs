//! Reading, proved on synthetic series, so that a plain clone shows it: order, grid, gaps, channels, bad input.

mod common;

use std::path::{Path, PathBuf};

use anomalens_dicom_bridge::{ReadError, Study, read, scan};
use anomalens_models::preset::ImageSpec;
use common::{SIDE, Slice, channel, one_channel};
use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::{tags, uids};
use tempfile::TempDir;

/// Saves slices as `0.dcm`, `1.dcm`, … into a new folder.
fn folder(slices: Vec<Slice>) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (i, slice) in slices.into_iter().enumerate() {
        slice.save(&folder.path().join(format!("{i}.dcm")));
    }
    folder
}

fn read_one(slices: Vec<Slice>) -> Result<Study, ReadError> {
    read(folder(slices).path(), &one_channel(), &[])
}

fn two_channels() -> ImageSpec {
    ImageSpec { channels: vec![channel("t1", "t1"), channel("t2", "t2")], ..one_channel() }
}

/// Checks the kind of an error and that its message has each of `words`.
fn refused(name: &str, found: Result<Study, ReadError>, kind: &str, words: &[&str]) {
    let e = match found {
        Ok(study) => panic!("{name}: read {} slices, expected the error '{kind}'", study.slices.len()),
        Err(e) => e,
    };
    let message = e.to_string();
    assert_eq!(e.kind(), kind, "{name}: {message}");
    for word in words {
        assert!(message.contains(word), "{name}: '{message}' lacks '{word}'");
    }
}

#[test]
fn slices_are_sorted_along_the_normal() {
    let half = std::f64::consts::FRAC_1_SQRT_2;
    let oblique = format!("1\\0\\0\\0\\{half:.6}\\{half:.6}");
    let sagittal = "0\\1\\0\\0\\0\\-1".to_owned();
    for (name, orientation, step, sign) in [
        ("axial", "1\\0\\0\\0\\1\\0".to_owned(), [0.0, 0.0, 2.0], 1.0),
        ("oblique", oblique, [0.0, -half * 2.0, half * 2.0], 1.0),
        // Row × column of a sagittal slice looks to the right: against +x.
        ("sagittal", sagittal, [2.0, 0.0, 0.0], -1.0),
    ] {
        let slices = [3.0, 0.0, 4.0, 1.0, 2.0].map(|k: f64| {
            let position = step.map(|s| format!("{:.6}", s * k)).join("\\");
            Slice::new("t1", k).with(tags::IMAGE_ORIENTATION_PATIENT, VR::DS, &orientation).with(
                tags::IMAGE_POSITION_PATIENT,
                VR::DS,
                &position,
            )
        });
        let study = read_one(slices.into()).unwrap();
        let places: Vec<f64> = study.slices.iter().map(|s| s.sources[0].geometry.place().unwrap()).collect();
        let expected = [0.0, 2.0, 4.0, 6.0, 8.0].map(|v| if sign > 0.0 { v } else { v - 8.0 });
        for (found, expected) in places.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-4, "{name}: found {places:?}");
        }
        assert!(
            study.decisions.iter().any(|d| d.contains("5 slices, 2.000 mm apart")),
            "{:?}",
            study.decisions
        );
    }
}

#[test]
fn each_slice_is_rescaled_by_its_own_values() {
    let slice = |z, slope: &str| {
        Slice::new("t1", z)
            .with(tags::RESCALE_SLOPE, VR::DS, slope)
            .with(tags::RESCALE_INTERCEPT, VR::DS, "-0.25")
            .pixels((0..SIDE * SIDE).collect())
    };
    let study = read_one(vec![slice(0.0, "0.5"), slice(1.0, "0.125")]).unwrap();
    assert_eq!([study.slices[0].pixels[[0, 0, 3]], study.slices[1].pixels[[0, 0, 3]]], [1.25, 0.125]);
}

#[test]
fn uncompressed_transfer_syntaxes_give_the_same_pixels() {
    let syntaxes = [
        uids::EXPLICIT_VR_LITTLE_ENDIAN,
        uids::IMPLICIT_VR_LITTLE_ENDIAN,
        uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
        "1.2.840.10008.1.2.2",
    ];
    let pixels = syntaxes.map(|syntax| {
        let mut slice = Slice::new("t1", 3.0);
        slice.transfer_syntax = syntax;
        read_one(vec![slice]).unwrap().slices.remove(0).pixels
    });
    for (syntax, found) in syntaxes.iter().zip(&pixels) {
        assert!(*found == pixels[0] && found[[0, 7, 7]] == 471.0, "{syntax}: {found}");
    }
}

#[test]
fn stacks_that_are_none() {
    let z = |places: &[f64]| places.iter().map(|z| Slice::new("t1", *z)).collect::<Vec<_>>();
    let missing = read_one(z(&[0.0, 2.0, 4.0, 8.0, 10.0]));
    refused(
        "gap",
        missing,
        "gap",
        &["found 4.000 mm", "expected 2.000 mm", "1 slice(s) missing", "2.dcm", "3.dcm"],
    );
    refused("three missing", read_one(z(&[0.0, 2.0, 4.0, 12.0])), "gap", &["3 slice(s) missing"]);
    refused("uneven", read_one(z(&[0.0, 2.0, 4.0, 6.5, 8.5])), "gap", &["uneven"]);
    refused("duplicate", read_one(z(&[0.0, 2.0, 2.0, 4.0])), "duplicate", &["1.dcm", "2.dcm", "2.000 mm"]);

    let declared = |z: f64| Slice::new("t1", z).with(tags::SPACING_BETWEEN_SLICES, VR::DS, "2");
    refused("two slices", read_one(vec![declared(0.0), declared(4.0)]), "gap", &["1 slice(s) missing"]);
    let study = read_one(vec![declared(0.0), declared(4.0), declared(8.0)]).unwrap();
    assert!(study.warnings[0].contains("every second one missing"), "{:?}", study.warnings);

    let coronal = Slice::new("t1", 4.0).with(tags::IMAGE_ORIENTATION_PATIENT, VR::DS, "1\\0\\0\\0\\0\\-1");
    let mut mixed = z(&[0.0, 2.0]);
    mixed.push(coronal);
    refused("mixed orientation", read_one(mixed), "grid", &["orientation", "localiser"]);

    let mut spacing = z(&[0.0, 2.0]);
    spacing.push(Slice::new("t1", 4.0).with(tags::PIXEL_SPACING, VR::DS, "0.75\\0.5"));
    refused("swapped spacing", read_one(spacing), "grid", &["pixel spacing", "0.75", "2.dcm"]);

    let mut unplaced = z(&[0.0, 2.0]);
    unplaced.push(Slice::new("t1", 4.0).without(tags::IMAGE_POSITION_PATIENT));
    refused("no position", read_one(unplaced), "unplaced", &["(0020,0032)", "3 slices", "2.dcm"]);

    // Alone, a slice needs no position.
    let alone = read_one(vec![Slice::new("t1", 4.0).without(tags::IMAGE_POSITION_PATIENT)]);
    assert_eq!(alone.unwrap().slices.len(), 1);
}

/// In one frame of reference they are resampled, see `grids.rs`; without one nobody knows where they lie.
#[test]
fn channels_must_be_on_one_grid() {
    let all = |change: fn(Slice) -> Slice| {
        let slices = [("t1", 0.0), ("t1", 2.0)].map(|(name, z)| Slice::new(name, z));
        let moved = [("t2", 0.0), ("t2", 2.0)].map(|(name, z)| change(Slice::new(name, z)));
        read(folder(slices.into_iter().chain(moved).collect()).path(), &two_channels(), &[])
    };
    let study = all(|s| s).unwrap();
    assert_eq!((study.slices.len(), study.slices[1].pixels.dim()), (2, (2, 8, 8)));
    assert!(!study.slices[0].sources[1].resampled);
    let other = all(|s| s.with(tags::PATIENT_ID, VR::LO, "P2"));
    refused("another patient", other, "grid", &["Patient ID"]);
    let moved = all(|s| s.with(tags::FRAME_OF_REFERENCE_UID, VR::UI, "1.2.3.6"));
    refused("frame of reference", moved, "grid", &["frame of reference"]);

    let nowhere = |change: fn(Slice) -> Slice| {
        let slice = |name, z| Slice::new(name, z).without(tags::FRAME_OF_REFERENCE_UID);
        let slices =
            vec![slice("t1", 0.0), slice("t1", 2.0), change(slice("t2", 0.0)), change(slice("t2", 2.0))];
        read(folder(slices).path(), &two_channels(), &[])
    };
    assert_eq!(nowhere(|s| s).unwrap().slices.len(), 2);
    let small = nowhere(|s| s.with_short(tags::ROWS, 4).pixels(vec![0; usize::from(SIDE) * 4]));
    refused("size", small, "grid", &["rows and columns", "[4, 8]", "[8, 8]", "frame of reference"]);
    let spaced = nowhere(|s| s.with(tags::PIXEL_SPACING, VR::DS, "0.75\\0.5"));
    refused("spacing", spaced, "grid", &["pixel spacing"]);
    let tilted = nowhere(|s| s.with(tags::IMAGE_ORIENTATION_PATIENT, VR::DS, "1\\0\\0\\0\\0.999950\\0.01"));
    refused("orientation", tilted, "grid", &["orientation"]);
    let slice = |name, z| Slice::new(name, z).without(tags::FRAME_OF_REFERENCE_UID);
    let fewer = folder(vec![slice("t1", 0.0), slice("t1", 2.0), slice("t2", 0.0)]);
    refused("number", read(fewer.path(), &two_channels(), &[]), "grid", &["number of slices", "found 1"]);
    let shifted = slice("t2", 2.0).with(tags::IMAGE_POSITION_PATIENT, VR::DS, "-9\\-20\\2");
    let shifted = folder(vec![slice("t1", 0.0), slice("t1", 2.0), slice("t2", 0.0), shifted]);
    refused("shifted", read(shifted.path(), &two_channels(), &[]), "grid", &["position"]);
}

#[test]
fn series_are_assigned_to_channels() {
    let both = folder(vec![Slice::new("AX T1", 0.0), Slice::new("AX T2", 0.0).pixels(vec![7; 64])]);
    let study = read(both.path(), &two_channels(), &[]).unwrap();
    assert_eq!(study.channels, ["t1", "t2"]);
    assert_eq!(study.slices[0].pixels[[1, 0, 0]], 7.0);
    assert!(study.decisions.iter().any(|d| d.contains("channel 't2': MR series 'AX T2', 1 image(s)")));

    let one = folder(vec![Slice::new("AX T1", 0.0)]);
    let found = read(one.path(), &two_channels(), &[]);
    refused(
        "wrong channel count",
        found,
        "channel",
        &["'t2' of 2", "none among 1 series", "--channel t2=PATH"],
    );
    let twice = folder(vec![Slice::new("AX T1", 0.0), Slice::new("SAG T1", 0.0), Slice::new("t2", 0.0)]);
    refused("ambiguous", read(twice.path(), &two_channels(), &[]), "channel", &["'t1'", "found 2", "SAG T1"]);

    let named = |name: &str, path: &Path| (name.to_owned(), path.to_owned());
    let file = one.path().join("0.dcm");
    let missing = PathBuf::from("not looked at");
    let overrides = [named("t1", &file), named("t2", &file)];
    let study = read(&missing, &two_channels(), &overrides).unwrap();
    assert_eq!(study.slices[0].pixels.dim(), (2, 8, 8));
    assert!(study.warnings.iter().any(|w| w.contains("same series")), "{:?}", study.warnings);
    let study = read(one.path(), &two_channels(), &overrides[1..]).unwrap();
    assert!(study.decisions.iter().any(|d| d.contains("given as")), "{:?}", study.decisions);

    let bad = |overrides: &[(String, PathBuf)]| read(one.path(), &two_channels(), overrides);
    refused("unknown name", bad(&[named("t3", &file)]), "override", &["no such channel", "t1, t2"]);
    refused("twice", bad(&[named("t1", &file), named("t1", &file)]), "override", &["named twice"]);
    refused("many series", bad(&[named("t2", both.path())]), "ambiguous", &["found 2 series"]);
    refused("no such path", bad(&[named("t2", &missing)]), "io", &["not looked at"]);
}

#[test]
fn a_modality_that_the_bundle_does_not_know_is_not_taken() {
    let mut spec = one_channel();
    spec.channels[0].modality = vec!["CR".into(), "DX".into()];
    let one = folder(vec![Slice::new("t1", 0.0)]);
    refused("rule", read(one.path(), &spec, &[]), "channel", &["CR or DX", "none among 1 series: MR"]);
    let file = one.path().join("0.dcm");
    let study = read(&file, &spec, &[("image".into(), file.clone())]).unwrap();
    assert!(
        study.warnings[0].contains("filled by MR, the networks were trained on CR or DX"),
        "{:?}",
        study.warnings
    );
}

#[test]
fn a_folder_is_searched_and_what_is_left_out_is_said() {
    let folder = folder(vec![Slice::new("t1", 0.0)]);
    let deep = folder.path().join("a/b");
    std::fs::create_dir_all(&deep).unwrap();
    Slice::new("t1", 1.0).save(&deep.join("no extension"));
    std::fs::write(folder.path().join("notes.txt"), "not DICOM").unwrap();
    std::fs::write(folder.path().join("empty.dcm"), "").unwrap();
    let other = |class: &str| Slice::new("other", 0.0).with(tags::SOP_CLASS_UID, VR::UI, class);
    other(uids::MEDIA_STORAGE_DIRECTORY_STORAGE).save(&folder.path().join("DICOMDIR"));
    other(uids::SEGMENTATION_STORAGE).save(&folder.path().join("seg.dcm"));
    let inventory = scan(folder.path()).unwrap();
    assert_eq!(inventory.series.len(), 1);
    assert_eq!(inventory.series[0].images.len(), 2);
    let text = inventory.to_string();
    for words in
        ["MR series 't1': 2 image(s), 8 x 8", "2 x not a DICOM file", "1 x a DICOMDIR", "Segmentation"]
    {
        assert!(text.contains(words), "'{text}' lacks '{words}'");
    }
    let study = read(folder.path(), &one_channel(), &[]).unwrap();
    assert!(study.decisions.iter().any(|d| d.contains("2 x not a DICOM file")), "{:?}", study.decisions);
    assert_eq!(study.slices.len(), 2);

    let nothing = tempfile::tempdir().unwrap();
    refused("empty folder", read(nothing.path(), &one_channel(), &[]), "empty", &["among 0 files"]);
    std::fs::write(nothing.path().join("notes.txt"), "not DICOM").unwrap();
    let found = read(nothing.path(), &one_channel(), &[]);
    refused("no image", found, "empty", &["among 1 files", "1 x not a DICOM file"]);
}

#[test]
fn files_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.dcm");
    let read_file = || read(&path, &one_channel(), &[]);
    refused("absent", read_file(), "io", &["a.dcm", "No such file"]);
    std::fs::write(&path, vec![7; 300]).unwrap();
    refused("not DICOM", read_file(), "not-dicom", &["no 'DICM' at byte 128"]);
    let mr = || Slice::new("t1", 0.0);
    mr().save(&path);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 20]).unwrap();
    refused("cut off", read_file(), "damaged", &["copy it again"]);
    refused("cut off, in a folder", read(folder.path(), &one_channel(), &[]), "damaged", &["a.dcm"]);

    // Nothing is reserved for what cannot be there: the parser's own message would be another.
    for (syntax, head) in [
        (uids::EXPLICIT_VR_LITTLE_ENDIAN, &b"\xe0\x7f\x10\0OW\0\0"[..]),
        (uids::IMPLICIT_VR_LITTLE_ENDIAN, b"\xe0\x7f\x10\0"),
        ("1.2.840.10008.1.2.2", b"\x7f\xe0\0\x10OW\0\0"),
    ] {
        let mut slice = mr();
        slice.transfer_syntax = syntax;
        slice.save(&path);
        let mut bytes = std::fs::read(&path).unwrap();
        let length = bytes.windows(head.len()).position(|w| w == head).unwrap() + head.len();
        bytes[length..length + 4].fill(0x70);
        std::fs::write(&path, bytes).unwrap();
        refused(syntax, read_file(), "damaged", &["(7FE0,0010) is said to be 1886417008 bytes long"]);
    }

    let put = |tag, vr, value| {
        let mut slice = mr();
        slice.object.put(DataElement::new(tag, vr, value));
        slice
    };
    let sequence = || {
        let mut slice = mr();
        let items =
            dicom_core::value::DataSetSequence::from(vec![dicom_object::InMemDicomObject::new_empty()]);
        slice.object.put(DataElement::new(tags::MODALITY_LUT_SEQUENCE, VR::SQ, items));
        slice
    };
    let text = |tag, vr, value: &str| mr().with(tag, vr, value);
    let thirty_two = mr().with_short(tags::BITS_ALLOCATED, 32).with_short(tags::BITS_STORED, 32);
    let floats =
        || put(tags::FLOAT_PIXEL_DATA, VR::OF, PrimitiveValue::from(1.0f32)).without(tags::PIXEL_DATA);
    let cases: Vec<(&str, Slice, &str, &[&str])> = vec![
        ("no pixels", mr().without(tags::PIXEL_DATA), "no-pixel-data", &["(7FE0,0010)"]),
        ("float pixels", floats(), "attribute", &["Float Pixel Data"]),
        ("few pixels", mr().pixels(vec![1; 63]), "damaged", &["found 126 bytes", "expected 128"]),
        ("32 bit", thirty_two.with_short(tags::HIGH_BIT, 31), "attribute", &["Bits Allocated", "found 32"]),
        ("high bit", mr().with_short(tags::HIGH_BIT, 15), "attribute", &["High Bit", "found 15"]),
        ("bits above", mr().pixels(vec![0x1234; 64]), "attribute", &["no bit set above High Bit"]),
        (
            "colour",
            text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "YBR_FULL_422"),
            "attribute",
            &["YBR_FULL_422"],
        ),
        ("three samples", mr().with_short(tags::SAMPLES_PER_PIXEL, 3), "attribute", &["Samples per Pixel"]),
        ("frames", text(tags::NUMBER_OF_FRAMES, VR::IS, "2"), "attribute", &["Number of Frames", "split it"]),
        ("modality LUT", sequence(), "attribute", &["Modality LUT Sequence"]),
        ("slope 0", text(tags::RESCALE_SLOPE, VR::DS, "0"), "attribute", &["Rescale Slope"]),
        ("slope text", text(tags::RESCALE_SLOPE, VR::DS, "one"), "attribute", &["'one'"]),
        ("intercept nan", text(tags::RESCALE_INTERCEPT, VR::DS, "nan"), "attribute", &["Rescale Intercept"]),
        ("spacing", text(tags::PIXEL_SPACING, VR::DS, "0\\1"), "attribute", &["Pixel Spacing", "positive"]),
        ("position", text(tags::IMAGE_POSITION_PATIENT, VR::DS, "1\\2"), "attribute", &["'1\\2'"]),
        (
            "skewed",
            text(tags::IMAGE_ORIENTATION_PATIENT, VR::DS, "1\\0\\0\\1\\0\\0"),
            "attribute",
            &["unit vectors"],
        ),
        ("no rows", mr().without(tags::ROWS), "attribute", &["Rows (0028,0010)"]),
        ("no UID", mr().without(tags::SERIES_INSTANCE_UID), "attribute", &["Series Instance UID"]),
        (
            "another class",
            text(tags::SOP_CLASS_UID, VR::UI, uids::SECONDARY_CAPTURE_IMAGE_STORAGE),
            "not-an-image",
            &["Secondary Capture", "expected an MR"],
        ),
    ];
    for (name, slice, kind, words) in cases {
        slice.save(&path);
        refused(name, read_file(), kind, words);
    }
}

#[test]
fn files_without_preamble_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, bare) = (folder.path().join("whole.dcm"), folder.path().join("bare.dcm"));
    // The group of the meta elements has its length in its first, which is 12 bytes long.
    let after_meta =
        |bytes: &[u8]| 132 + 12 + u32::from_le_bytes(bytes[140..144].try_into().unwrap()) as usize;
    for syntax in [uids::EXPLICIT_VR_LITTLE_ENDIAN, uids::IMPLICIT_VR_LITTLE_ENDIAN, "1.2.840.10008.1.2.2"] {
        let mut slice = Slice::new("t1", 3.0);
        slice.transfer_syntax = syntax;
        slice.save(&whole);
        let bytes = std::fs::read(&whole).unwrap();
        let expected = read(&whole, &one_channel(), &[]).unwrap();
        for (what, from) in [("preamble", 132), ("meta elements", after_meta(&bytes))] {
            std::fs::write(&bare, &bytes[from..]).unwrap();
            let found =
                read(&bare, &one_channel(), &[]).unwrap_or_else(|e| panic!("{syntax} without {what}: {e}"));
            assert!(found.slices[0].pixels == expected.slices[0].pixels, "{syntax} without {what}");
            assert_eq!(found.slices[0].sources[0].geometry, expected.slices[0].sources[0].geometry);
        }
    }
}

#[test]
fn padding_is_left_out_of_the_normalisation() {
    let slice = |value: Option<&str>| {
        let mut pixels: Vec<u16> = (0..64).collect();
        pixels[60..].fill(4000);
        let slice = Slice::new("t1", 0.0).pixels(pixels);
        match value {
            Some("value") => slice.with_short(tags::PIXEL_PADDING_VALUE, 4000),
            Some(_) => slice
                .with_short(tags::PIXEL_PADDING_VALUE, 3900)
                .with_short(tags::PIXEL_PADDING_RANGE_LIMIT, 4095),
            None => slice,
        }
    };
    for value in ["value", "range"] {
        let study = read_one(vec![slice(Some(value))]).unwrap();
        let normalisers = study.normalisers(100.0).unwrap();
        assert_eq!(normalisers[0].q, 59.0, "{value}");
        let unit = study.slices[0].normalised(&normalisers);
        assert_eq!([unit[[0, 7, 3]], unit[[0, 7, 4]], unit[[0, 7, 7]]], [1.0, 0.0, 0.0], "{value}");
        assert!(study.decisions.iter().any(|d| d.contains("padding (stored value")), "{:?}", study.decisions);
        assert_eq!(study.slices[0].pixels[[0, 7, 7]], 4000.0, "{value}: the source's values stay");
    }
    // Without the attribute it would be the brightest of all.
    let study = read_one(vec![slice(None)]).unwrap();
    assert_eq!(study.normalisers(100.0).unwrap()[0].q, 4000.0);
}

#[test]
fn what_counts_as_zero() {
    let ct = |z| {
        Slice::new("ct", z)
            .with(tags::SOP_CLASS_UID, VR::UI, uids::CT_IMAGE_STORAGE)
            .with(tags::MODALITY, VR::CS, "CT")
            .with(tags::RESCALE_INTERCEPT, VR::DS, "-1024")
            .pixels((0..64).map(|i| i * 32).collect())
    };
    let study = read_one(vec![ct(0.0), ct(1.0)]).unwrap();
    let normalisers = study.normalisers(100.0).unwrap();
    assert_eq!((normalisers[0].floor, normalisers[0].q), (-1024.0, 2016.0));
    let unit = study.slices[0].normalised(&normalisers);
    assert_eq!((unit[[0, 0, 0]], unit[[0, 7, 7]]), (0.0, 1.0));
    let blank = read_one(vec![Slice::new("t1", 0.0).pixels(vec![0; 64])]).unwrap();
    let e = blank.normalisers(99.5).unwrap_err().to_string();
    assert!(e.contains("channel 'image'") && e.contains("every pixel of the series is 0"), "{e}");
}
