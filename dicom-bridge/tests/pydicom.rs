//! Reading, proved on the real files of pydicom and pydicom-data.

mod common;

use anomalens_dicom_bridge::{Study, read};
use common::{one_channel, real};
use dicom_dictionary_std::tags;

fn study(name: &str) -> Option<Study> {
    Some(read(&real(name)?, &one_channel(), &[]).unwrap_or_else(|e| panic!("{e}")))
}

#[test]
fn all_encodings_of_one_image_give_the_same_pixels() {
    let families: [(&str, &[&str]); 5] = [
        (
            "MR_small.dcm",
            &[
                "MR_small_RLE.dcm",
                "MR_small_bigendian.dcm",
                "MR_small_expb.dcm",
                "MR_small_implicit.dcm",
                "MR_small_jp2klossless.dcm",
                "MR_small_padded.dcm",
            ],
        ),
        ("MR2_UNCR.dcm", &["MR2_J2KR.dcm"]),
        ("MR2_UNCI.dcm", &["MR2_J2KI.dcm"]),
        ("RG3_UNCR.dcm", &["RG3_J2KR.dcm"]),
        ("693_UNCR.dcm", &["693_J2KR.dcm"]),
    ];
    for (name, variants) in families {
        let Some(original) = study(name) else { continue };
        for variant in variants {
            let Some(other) = study(variant) else { continue };
            assert!(original.slices[0].pixels == other.slices[0].pixels, "{variant} differs from {name}");
        }
    }
}

#[test]
fn values_are_those_that_pydicom_gives() {
    // pydicom 3.0.2: apply_modality_lut(pixel_array) in float64; for MONOCHROME1 mirrored in the range of Bits Stored.
    for (name, shape, sum, first, largest) in [
        ("MR_small.dcm", (1, 64, 64), 2_125_338.0, 905.0, 2145.0),
        ("CT_small.dcm", (1, 128, 128), -1_950_906.0, -849.0, 1167.0),
        ("RG3_UNCR.dcm", (1, 1760, 1760), 2_138_227_811.0, 1023.0, 1023.0),
    ] {
        let Some(study) = study(name) else { continue };
        let pixels = &study.slices[0].pixels;
        assert_eq!(pixels.dim(), shape, "{name}");
        let found: f64 = pixels.iter().map(|v| f64::from(*v)).sum();
        assert_eq!(found, sum, "{name}: sum");
        assert_eq!(pixels[[0, 0, 0]], first, "{name}: first pixel");
        assert_eq!(pixels.iter().copied().fold(f32::MIN, f32::max), largest, "{name}: largest");
    }
}

/// Nearly every attribute of this one is of unknown VR (UN).
#[test]
fn forgotten_types_are_restored() {
    let Some(study) = study("explicit_VR-UN.dcm") else { return };
    let geometry = &study.slices[0].sources[0].geometry;
    assert_eq!((geometry.size, geometry.spacing), ([512, 512], Some([0.859375, 0.859375])));
    assert_eq!(geometry.orientation, Some([1.0, 0.0, 0.0, 0.0, -1.0, 0.0]));
    assert_eq!(study.slices[0].sources[0].charset.as_deref(), Some(&b"ISO_IR 100"[..]));
    assert_eq!(study.floors, [-1024.0]);
}

#[test]
fn pad_values_are_cut_off_and_mentioned() {
    let Some(study) = study("MR_small_padded.dcm") else { return };
    assert!(
        study.decisions.iter().any(|d| d.contains("128 bytes after the pixels")),
        "{:?}",
        study.decisions
    );
}

#[test]
fn what_would_be_read_wrongly_is_refused() {
    let cases = [
        ("MR_small_jpeg_ls_lossless.dcm", "transfer-syntax", "JPEG-LS Lossless (1.2.840.10008.1.2.4.80)"),
        ("MR_truncated.dcm", "damaged", "copy it again"),
        ("JPEG-lossy.dcm", "not-an-image", "Secondary Capture"),
        ("emri_small.dcm", "unplaced", "(0020,0032)"),
        ("eCT_Supplemental.dcm", "attribute", "Pixel Presentation"),
        ("mlut_18.dcm", "not-an-image", ""),
        ("SC_rgb_rle_32bit.dcm", "not-an-image", "Secondary Capture"),
        ("SC_ybr_full_422_uncompressed.dcm", "not-an-image", ""),
        ("test-SR.dcm", "not-an-image", ""),
        ("rtplan.dcm", "not-an-image", "RT Plan"),
        ("no_meta.dcm", "not-dicom", ""),
        ("liver_1frame.dcm", "not-an-image", "Segmentation"),
    ];
    for (name, kind, words) in cases {
        let Some(path) = real(name) else { continue };
        let e = match read(&path, &one_channel(), &[]) {
            Ok(_) => panic!("{name}: read, expected the error '{kind}'"),
            Err(e) => e,
        };
        assert!(e.kind() == kind && e.to_string().contains(words), "{name}: {}: {e}", e.kind());
    }
}

/// The objects of classes that are not read at all, dressed up as MR: the second line of defence.
#[test]
fn the_same_behind_an_mr_image() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dressed.dcm");
    let cases = [
        ("JPEG-lossy.dcm", "decode", "SamplePrecision(12)"),
        ("JPGExtended.dcm", "decode", "SamplePrecision(12)"),
        ("SC_rgb_rle_32bit.dcm", "attribute", "Samples per Pixel"),
        ("SC_ybr_full_422_uncompressed.dcm", "attribute", "Samples per Pixel"),
        ("emri_small.dcm", "attribute", "Number of Frames"),
        ("liver_1frame.dcm", "attribute", "Bits Allocated"),
        ("rtdose_rle_1frame.dcm", "attribute", "Bits Allocated"),
    ];
    for (name, kind, words) in cases {
        let Some(source) = real(name) else { continue };
        let mut object = dicom_object::open_file(&source).unwrap();
        object.put_str(tags::SOP_CLASS_UID, dicom_core::VR::UI, dicom_dictionary_std::uids::MR_IMAGE_STORAGE);
        object.write_to_file(&path).unwrap();
        let e = read(&path, &one_channel(), &[]).map(|_| ()).expect_err(name);
        assert!(e.kind() == kind && e.to_string().contains(words), "{name}: {}: {e}", e.kind());
    }
}

/// A whole study on disk: several series, a DICOMDIR, nothing lost without a word.
#[test]
fn the_dicomdir_folder_is_taken_apart() {
    let Some(index) = real("dicomdirtests/DICOMDIR") else { return };
    let text = anomalens_dicom_bridge::scan(index.parent().unwrap()).unwrap().to_string();
    // Most of its images have lost their pixels.
    for words in ["CR series 'Cervical LAT': 1 image(s)", "x an image without pixel data", "x a DICOMDIR"] {
        assert!(text.contains(words), "'{text}' lacks '{words}'");
    }
    assert_eq!(anomalens_dicom_bridge::scan(&index).unwrap_err().kind(), "not-an-image");
}
