//! Folders and CheXpert imported: the same image in every kind of file gives the same array.

mod common;

use std::fs;
use std::path::Path;

use anomalens_cohort::import::chexpert::{self, Choice, Uncertain};
use anomalens_cohort::import::folder::{self, Layout};
use anomalens_cohort::import::{Imported, Settings};
use anomalens_cohort::{Cohort, CohortError};
use dicom_core::{PrimitiveValue, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use image::{GrayImage, ImageBuffer, Luma, Rgb, RgbImage};
use ndarray::{Array2, Array3, Axis};
use nifti::writer::WriterOptions;
use tempfile::tempdir;

const SIZE: usize = 16;
/// q is the largest value, so that the image is x / max.
const PLAIN: Settings = Settings { size: SIZE, percentile: 100.0 };

/// The image that every file holds: 0 to 255, no symmetry.
fn pixel(row: usize, column: usize) -> u8 {
    (row * 16 + column * 7 % 16) as u8
}

fn grey8() -> GrayImage {
    GrayImage::from_fn(16, 16, |x, y| Luma([pixel(y as usize, x as usize)]))
}

fn dicom(file: &Path, photometric: &str, bytes: Vec<u8>) {
    let mut object = InMemDicomObject::new_empty();
    let instance = "2.25.1";
    for (tag, vr, value) in [
        (tags::SOP_CLASS_UID, VR::UI, uids::SECONDARY_CAPTURE_IMAGE_STORAGE),
        (tags::SOP_INSTANCE_UID, VR::UI, instance),
        (tags::MODALITY, VR::CS, "DX"),
        (tags::PHOTOMETRIC_INTERPRETATION, VR::CS, photometric),
    ] {
        object.put_str(tag, vr, value);
    }
    for (tag, value) in [
        (tags::SAMPLES_PER_PIXEL, 1),
        (tags::ROWS, 16),
        (tags::COLUMNS, 16),
        (tags::BITS_ALLOCATED, 8),
        (tags::BITS_STORED, 8),
        (tags::HIGH_BIT, 7),
        (tags::PIXEL_REPRESENTATION, 0),
    ] {
        object.put_element(dicom_core::DataElement::new(tag, VR::US, PrimitiveValue::from(value as u16)));
    }
    object.put_element(dicom_core::DataElement::new(
        tags::PIXEL_DATA,
        VR::OB,
        PrimitiveValue::U8(bytes.into()),
    ));
    let meta = FileMetaTableBuilder::new()
        .media_storage_sop_class_uid(uids::SECONDARY_CAPTURE_IMAGE_STORAGE)
        .media_storage_sop_instance_uid(instance)
        .transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN);
    object.with_meta(meta).unwrap().write_to_file(file).unwrap();
}

fn folders(place: &Path) -> [std::path::PathBuf; 3] {
    let from = place.join("from");
    let classes = ["healthy", "diseased"].map(|class| from.join(class));
    classes.iter().for_each(|class| fs::create_dir_all(class).unwrap());
    let [healthy, diseased] = classes;
    [from, healthy, diseased]
}

fn import(from: &Path, out: &Path) -> Result<Imported, CohortError> {
    folder::write(from, out, PLAIN, Layout::Any, "radiograph", |_, _| true)
}

#[test]
fn every_kind_of_file_gives_the_same_image() {
    let place = tempdir().unwrap();
    let [from, healthy, diseased] = folders(place.path());
    let bytes = || grey8().into_raw();
    grey8().save(healthy.join("a_1.png")).unwrap();
    grey8().save(healthy.join("a_2.tif")).unwrap();
    let wide = |x: u32, y: u32| Luma([u16::from(pixel(y as usize, x as usize)) * 257]);
    ImageBuffer::from_fn(16, 16, wide).save(healthy.join("b.png")).unwrap();
    ImageBuffer::from_fn(16, 16, wide).save(diseased.join("a_3.tiff")).unwrap();
    RgbImage::from_fn(16, 16, |x, y| Rgb([pixel(y as usize, x as usize); 3]))
        .save(diseased.join("colours.png"))
        .unwrap();
    let array = Array3::from_shape_fn((16, 16, 1), |(h, w, _)| pixel(h, w));
    ndarray_npy::write_npy(diseased.join("npy8.npy"), &array).unwrap();
    ndarray_npy::write_npy(diseased.join("npy64.npy"), &array.mapv(f64::from).index_axis(Axis(2), 0).t())
        .unwrap();
    let volume = Array2::from_shape_fn((16, 16), |(x, y)| pixel(y, x));
    WriterOptions::new(diseased.join("volume.nii.gz")).write_nifti(&volume).unwrap();
    dicom(&diseased.join("object.dcm"), "MONOCHROME2", bytes());
    dicom(&diseased.join("mirrored.dcm"), "MONOCHROME1", bytes().into_iter().map(|v| 255 - v).collect());
    let out = place.path().join("out");
    let imported = import(&from, &out).unwrap();
    assert_eq!((imported.healthy, imported.diseased), (3, 7));
    let cohort = Cohort::open(&out).unwrap();
    assert_eq!(cohort.channels(), ["radiograph"]);
    let expected = Array2::from_shape_fn((16, 16), |(h, w)| f32::from(pixel(h, w)) / 255.0);
    let transposed = expected.t();
    for index in 0..cohort.len() {
        let file = cohort.item(index).extra["file"].as_str().unwrap();
        // That one was written across.
        let expected = if file.contains("npy64") { transposed } else { expected.view() };
        let found = cohort.image(index).unwrap();
        let off = (&found.index_axis(Axis(0), 0) - &expected).iter().fold(0f32, |m, v| m.max(v.abs()));
        assert!(off < 1e-6, "{file}: {off}");
    }
    let subjects: Vec<_> = cohort.items().iter().map(|i| (i.subject.as_str(), i.slice, i.diseased)).collect();
    assert_eq!(subjects[..4], [("a", 0, false), ("a", 1, false), ("b", 0, false), ("a", 2, true)]);
}

#[test]
fn masks_go_with_their_images() {
    let place = tempdir().unwrap();
    let [from, healthy, diseased] = folders(place.path());
    grey8().save(healthy.join("a.png")).unwrap();
    grey8().save(diseased.join("b.png")).unwrap();
    grey8().save(diseased.join("c.png")).unwrap();
    let masks = from.join("masks");
    fs::create_dir(&masks).unwrap();
    GrayImage::from_fn(16, 16, |x, y| Luma([if x > 9 && y < 4 { 255 } else { 0 }]))
        .save(masks.join("b.png"))
        .unwrap();
    let without = import(&from, &place.path().join("out")).unwrap_err().to_string();
    assert!(without.contains("c.png': found no mask"), "{without}");
    ndarray_npy::write_npy(masks.join("c.npy"), &Array2::from_shape_fn((16, 16), |(h, w)| h == 2 && w < 3))
        .unwrap();
    import(&from, &place.path().join("out")).unwrap();
    let cohort = Cohort::open(&place.path().join("out")).unwrap();
    let expected = [
        Array2::from_elem((16, 16), false),
        Array2::from_shape_fn((16, 16), |(h, w)| w > 9 && h < 4),
        Array2::from_shape_fn((16, 16), |(h, w)| h == 2 && w < 3),
    ];
    for (index, expected) in expected.iter().enumerate() {
        assert_eq!(cohort.mask(index).unwrap().as_ref(), Some(expected));
    }
}

#[test]
fn what_is_wrong_is_refused_by_name() {
    type Damage = fn(&Path);
    let cases: [(&str, Damage, &str); 11] = [
        (
            "coloured",
            |d| RgbImage::from_pixel(16, 16, Rgb([1, 2, 3])).save(d.join("x.png")).unwrap(),
            "a grey picture",
        ),
        ("cut PNG", |d| cut(d, "x.png", |f| grey8().save(f).unwrap()), "x.png': "),
        (
            "cut NPY",
            |d| cut(d, "x.npy", |f| ndarray_npy::write_npy(f, &Array2::<u8>::ones((16, 16))).unwrap()),
            "x.npy': ",
        ),
        ("cut DICOM", |d| cut(d, "x.dcm", |f| dicom(f, "MONOCHROME2", grey8().into_raw())), "x.dcm': "),
        (
            "palette",
            |d| dicom(&d.join("x.dcm"), "PALETTE COLOR", grey8().into_raw()),
            "Photometric Interpretation is PALETTE COLOR",
        ),
        (
            "three channels",
            |d| ndarray_npy::write_npy(d.join("x.npy"), &Array3::<u8>::ones((16, 16, 3))).unwrap(),
            "found the shape [16, 16, 3]",
        ),
        (
            "another type",
            |d| ndarray_npy::write_npy(d.join("x.npy"), &Array2::<i64>::ones((16, 16))).unwrap(),
            "found another type",
        ),
        (
            "a volume",
            |d| WriterOptions::new(d.join("x.nii.gz")).write_nifti(&Array3::<u8>::ones((16, 16, 2))).unwrap(),
            "found 2 slices",
        ),
        ("a text", |d| fs::write(d.join("x.txt"), "hello").unwrap(), "found a file named *.txt"),
        (
            "constant",
            |d| GrayImage::from_pixel(16, 16, Luma([7])).save(d.join("x.png")).unwrap(),
            "every pixel of the series is 7",
        ),
        ("no class", |d| fs::remove_dir_all(d).unwrap(), "diseased': found no such folder"),
    ];
    for (name, damage, expected) in cases {
        let place = tempdir().unwrap();
        let [from, healthy, diseased] = folders(place.path());
        grey8().save(healthy.join("a.png")).unwrap();
        damage(&diseased);
        let error = import(&from, &place.path().join("out")).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(expected), "{name}: {error}");
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1, "{name}: something was left");
    }
}

/// Writes a file and takes its second half away.
fn cut(folder: &Path, name: &str, write: impl FnOnce(&Path)) {
    let file = folder.join(name);
    write(&file);
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
}

const HEADER: &str =
    "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Cardiomegaly,Pleural Effusion,\"Support, Devices\"";
const ROWS: [(&str, &str, &str, &str); 7] = [
    ("patient00001/study1/view1_frontal.jpg", "Frontal", "", "1.0"),
    ("patient00001/study1/view2_lateral.jpg", "Lateral", "", "1.0"),
    ("patient00002/study1/view1_frontal.png", "Frontal", "1.0", ""),
    ("patient00002/study2/view1_frontal.png", "Frontal", "1.0", "0.0"),
    ("patient00003/study1/view1_frontal.jpg", "Frontal", "", "-1.0"),
    ("patient00004/study1/view1_frontal.jpg", "Frontal", "", ""),
    ("patient00005/study1/view1_frontal.jpg", "Frontal", "1.0", "1.0"),
];

/// A table and its pictures, 20 x 16 pixels.
fn table(folder: &Path) -> std::path::PathBuf {
    let mut text = HEADER.to_owned() + "\n";
    for (path, view, healthy, effusion) in ROWS {
        text +=
            &format!("CheXpert-small/train/{path},Female,61,{view},AP,{healthy},1.0,{effusion},\"x, y\"\n");
        let file = folder.join("CheXpert-small/train").join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        GrayImage::from_fn(20, 16, |x, y| Luma([(x * 12 + y) as u8])).save(file).unwrap();
    }
    let file = folder.join("CheXpert-small/train.csv");
    fs::write(&file, text).unwrap();
    file
}

fn choice(uncertain: Uncertain) -> Choice {
    Choice { uncertain, skip_missing: false, channel: "radiograph".into() }
}

#[test]
fn chexpert_takes_effusions_and_no_findings() {
    let place = tempdir().unwrap();
    let table = table(place.path());
    for (uncertain, counts) in
        [(Uncertain::Ignore, (2, 1)), (Uncertain::Healthy, (3, 1)), (Uncertain::Diseased, (2, 2))]
    {
        let out = place.path().join(format!("{uncertain:?}"));
        let imported = chexpert::write(&table, &out, PLAIN, &choice(uncertain), |_, _| true).unwrap();
        assert_eq!((imported.healthy, imported.diseased), counts, "{uncertain:?}");
        assert_eq!(imported.left_out["lateral views"], 1);
        assert_eq!(imported.left_out["other findings"], 1);
        assert_eq!(imported.left_out["rows with both an effusion and no finding"], 1);
        assert_eq!(imported.left_out.contains_key("uncertain effusions"), uncertain == Uncertain::Ignore);
    }
    let cohort = Cohort::open(&place.path().join("Ignore")).unwrap();
    let items: Vec<_> = cohort.items().iter().map(|i| (i.subject.as_str(), i.slice, i.diseased)).collect();
    assert_eq!(items, [("patient00001", 0, true), ("patient00002", 0, false), ("patient00002", 1, false)]);
    // 20 x 16 is averaged down to 16 x 13 and padded: nothing is cut off.
    let image = cohort.image(1).unwrap();
    assert!(image.slice(ndarray::s![0, 0, ..]).iter().all(|&v| v == 0.0));
    assert!(image.slice(ndarray::s![0, 8, ..]).windows(2).into_iter().all(|w| w[0] < w[1]));
    assert!(cohort.mask(0).unwrap().is_none());
}

#[test]
fn a_table_that_is_wrong_is_refused_by_row() {
    let place = tempdir().unwrap();
    let table = table(place.path());
    let text = fs::read_to_string(&table).unwrap();
    let run = |text: &str, choice: &Choice| {
        fs::write(&table, text).unwrap();
        let out = place.path().join("out");
        chexpert::write(&table, &out, PLAIN, choice, |_, _| true)
    };
    for (from, to, expected) in [
        ("Frontal,AP,1.0", "Frontal,AP,yes", "row 4: found the finding 'yes'"),
        ("Lateral,AP,", "Oblique,AP,", "row 3: found the view 'Oblique'"),
        ("patient00003", "somebody", "row 6: found the path"),
        ("patient00003", "patient99999", "row 6: there is no file 'CheXpert-small/train/patient99999/"),
        ("Pleural Effusion", "Effusion", "found no column 'Pleural Effusion'"),
        (
            "patient00005/study1/view1_frontal.jpg,Female,61,Frontal,AP,1.0,1.0,1.0,\"x, y\"",
            "patient00005",
            "row 8: found 1 fields",
        ),
    ] {
        let error = run(&text.replacen(from, to, 1), &choice(Uncertain::Diseased))
            .map(|_| ())
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{error}");
    }
    let skip = Choice { skip_missing: true, ..choice(Uncertain::Diseased) };
    let imported = run(&text.replacen("patient00003", "patient99999", 1), &skip).unwrap();
    assert_eq!(((imported.healthy, imported.diseased), imported.left_out["missing files"]), ((2, 1), 1));
}
