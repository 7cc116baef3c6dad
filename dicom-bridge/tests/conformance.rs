//! The conformance statement, `docs/dicom.md`: its tables say what the code reads and writes, no less and no more.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anomalens_dicom_bridge::write::{self, Object};
use anomalens_dicom_bridge::{
    MapNumbers, MapOf, MapScale, Objects, ReadError, Study, WriteError, Written, read, scan,
};
use common::{Slice, dx, one_channel, provenance};
use dicom_core::dictionary::{DataDictionary, UidDictionary};
use dicom_core::header::Header;
use dicom_core::{Tag, VR};
use dicom_dictionary_std::{StandardDataDictionary, StandardSopClassDictionary, tags, uids};
use dicom_object::{DefaultDicomObject, FileMetaTable, FileMetaTableBuilder};
use dicom_transfer_syntax_registry::TransferSyntaxRegistry;
use image::RgbImage;
use ndarray::Array2;

const NONE: &str = "–";

/// The rows of the table whose first column has this heading, without the heading.
fn table(heading: &str) -> Vec<Vec<String>> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/dicom.md");
    let page = std::fs::read_to_string(page).unwrap();
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let rows = page.lines().skip_while(|line| !line.starts_with(&format!("| {heading} |"))).skip(2);
    let rows: Vec<_> = rows.take_while(|line| line.starts_with('|')).map(cells).collect();
    assert!(!rows.is_empty(), "no table of '{heading}'");
    rows
}

/// The words in backticks, or the UIDs, of a cell.
fn words(cell: &str) -> BTreeSet<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn uids_of(cell: &str) -> BTreeSet<String> {
    let tokens = cell.split(|c: char| !(c.is_ascii_digit() || c == '.'));
    tokens.filter(|token| token.starts_with("1.2.")).map(str::to_owned).collect()
}

/// A source of each modality, and of each class that is written again.
fn sources() -> Vec<(&'static str, Slice)> {
    let class = |slice: Slice, class, modality| {
        slice.with(tags::SOP_CLASS_UID, VR::UI, class).with(tags::MODALITY, VR::CS, modality)
    };
    let cr =
        class(dx(), uids::COMPUTED_RADIOGRAPHY_IMAGE_STORAGE, "CR").without(tags::PRESENTATION_INTENT_TYPE);
    let processing = class(dx(), uids::DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PROCESSING, "DX");
    vec![
        ("MR", Slice::new("t1", 0.0)),
        ("CT", class(Slice::new("ct", 0.0), uids::CT_IMAGE_STORAGE, "CT")),
        ("CR", cr),
        ("DX", dx()),
        ("DX", processing.with(tags::PRESENTATION_INTENT_TYPE, VR::CS, "FOR PROCESSING")),
    ]
}

/// Everything that can be made of a source.
fn write(study: &Study) -> Vec<(Object, Written)> {
    let slice = &study.slices[0];
    let p = provenance();
    let map = Array2::from_elem(slice.size(), 0.5_f32);
    let mask = map.mapv(|v| v > 0.7);
    let scale = MapScale::for_maximum(1.0, MapOf::Difference);
    let picture = RgbImage::new(4, 4);
    let frames = [(slice, map.view())];
    let channel = slice.pixels.index_axis(ndarray::Axis(0), 0);
    let all = Object::ALL.into_iter().filter_map(|object| {
        let written = match object {
            Object::Reconstruction => write::reconstruction(slice, 0, "image", channel, &p),
            Object::Map => write::anomaly_map(&frames, &scale, &p),
            Object::FloatMap => write::parametric_map(&frames, &scale, MapNumbers::Float, &p),
            Object::Mask => write::segmentation(&[(slice, mask.view())], "map > 0.7", &p),
            Object::Picture => write::picture(slice, &picture, &p),
            Object::Pictures => write::pictures(&[(slice, &picture)], &p),
            Object::MapImage => write::map(slice, map.view(), &scale, &p),
            Object::MaskImage => write::mask(slice, mask.view(), "map > 0.7", &p),
        };
        match written {
            // No place, no floating-point map.
            Err(WriteError::Unplaced { .. }) => None,
            written => Some((object, written.unwrap())),
        }
    });
    all.collect()
}

/// The source's modality, the kind and the object of everything that is written.
fn all_written() -> Vec<(&'static str, Object, DefaultDicomObject)> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.dcm");
    let mut all = Vec::new();
    for (modality, slice) in sources() {
        slice.in_study().save(&path);
        for (object, written) in write(&read(&path, &one_channel(), &[]).unwrap()) {
            all.push((modality, object, dicom_object::from_reader(written.bytes.as_slice()).unwrap()));
        }
    }
    all
}

fn class(object: &DefaultDicomObject) -> String {
    object.element(tags::SOP_CLASS_UID).unwrap().to_str().unwrap().trim_end_matches('\0').to_owned()
}

#[test]
fn sop_classes() {
    /// Those of many frames, which are not written, and images that one could take for one of those that are read.
    const OTHERS: [&str; 14] = [
        uids::ENHANCED_MR_IMAGE_STORAGE,
        uids::ENHANCED_CT_IMAGE_STORAGE,
        uids::LEGACY_CONVERTED_ENHANCED_MR_IMAGE_STORAGE,
        uids::LEGACY_CONVERTED_ENHANCED_CT_IMAGE_STORAGE,
        uids::ENHANCED_MR_COLOR_IMAGE_STORAGE,
        uids::MR_SPECTROSCOPY_STORAGE,
        uids::DIGITAL_MAMMOGRAPHY_X_RAY_IMAGE_STORAGE_FOR_PRESENTATION,
        uids::DIGITAL_INTRA_ORAL_X_RAY_IMAGE_STORAGE_FOR_PRESENTATION,
        uids::POSITRON_EMISSION_TOMOGRAPHY_IMAGE_STORAGE,
        uids::LEGACY_CONVERTED_ENHANCED_PET_IMAGE_STORAGE,
        uids::NUCLEAR_MEDICINE_IMAGE_STORAGE,
        uids::X_RAY_ANGIOGRAPHIC_IMAGE_STORAGE,
        uids::ULTRASOUND_IMAGE_STORAGE,
        uids::RT_IMAGE_STORAGE,
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.dcm");
    let is_read = |class: &str| {
        Slice::new("t1", 0.0).with(tags::SOP_CLASS_UID, VR::UI, class).save(&path);
        !matches!(scan(&path), Err(ReadError::NotAnImage { .. }))
    };
    let mut written = BTreeMap::<String, BTreeSet<String>>::new();
    for (_, object, data) in all_written() {
        written.entry(class(&data)).or_default().insert(object.word().to_owned());
    }
    let rows = table("SOP class");
    for row in &rows {
        let [name, uid, reads, writes] = &row[..] else { panic!("{row:?}") };
        let known = StandardSopClassDictionary.by_uid(uid).map(|entry| entry.name.replace(" - ", " – "));
        assert_eq!(Some(name), known.as_ref(), "{uid}");
        assert_eq!(reads != NONE, is_read(uid), "{name}: the page says '{reads}'");
        assert_eq!(words(writes), written.remove(uid).unwrap_or_default(), "{name}");
    }
    assert!(written.is_empty(), "not on the page: {written:?}");
    let told: BTreeSet<_> = rows.iter().map(|row| row[1].as_str()).collect();
    let others = OTHERS.into_iter().filter(|class| !told.contains(class));
    let read_though: Vec<_> = others.filter(|class| is_read(class)).collect();
    assert!(read_though.is_empty(), "not on the page: {read_though:?}");
}

#[test]
fn transfer_syntaxes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.dcm");
    Slice::new("t1", 0.0).save(&path);
    let whole = std::fs::read(&path).unwrap();
    let mut data = &whole[128..];
    FileMetaTable::from_reader(&mut data).unwrap();
    // Whether the name alone is refused: the pixels of most are nonsense here, which is another error.
    let is_read = |syntax: &str| {
        let meta = FileMetaTableBuilder::new()
            .media_storage_sop_class_uid(uids::MR_IMAGE_STORAGE)
            .media_storage_sop_instance_uid("1.2.3")
            .transfer_syntax(syntax)
            .build()
            .unwrap();
        let mut file = [&[0; 128][..], b"DICM"].concat();
        meta.write(&mut file).unwrap();
        file.extend(data);
        std::fs::write(&path, file).unwrap();
        read(&path, &one_channel(), &[]).map_or_else(|e| e.kind() != "transfer-syntax", |_| true)
    };
    let mut written: BTreeSet<String> = BTreeSet::new();
    for (_, _, data) in all_written() {
        written.insert(data.meta().transfer_syntax().trim_end_matches('\0').to_owned());
    }
    let rows = table("transfer syntax");
    let mut told = BTreeSet::new();
    for row in &rows {
        let [name, uid, reads, writes] = &row[..] else { panic!("{row:?}") };
        let expected = match reads.as_str() {
            "with `charls`" => cfg!(feature = "charls"),
            reads => reads.starts_with("yes"),
        };
        assert_eq!(is_read(uid), expected, "{name}: the page says '{reads}'");
        assert_eq!(written.contains(uid), writes == "yes", "{name}: the page says '{writes}'");
        told.insert(uid.as_str());
    }
    let others = TransferSyntaxRegistry.iter().map(|ts| ts.uid()).filter(|uid| !told.contains(uid));
    let read_though: Vec<_> = others.filter(|uid| is_read(uid)).collect();
    assert!(read_though.is_empty(), "not on the page: {read_though:?}");
}

#[test]
fn objects() {
    let rows = table("object");
    let told: BTreeSet<String> = rows.iter().flat_map(|row| words(&row[0])).collect();
    assert_eq!(told, Object::ALL.map(|object| object.word().to_owned()).into());
    let written = all_written();
    for row in &rows {
        let [word, _, classes, one_a, default_for] = &row[..] else { panic!("{row:?}") };
        let word = words(word).into_iter().next().unwrap();
        let object = Object::ALL.into_iter().find(|object| object.word() == word).unwrap();
        assert_eq!(Objects::default().contains(object), default_for != NONE, "{word}");
        let stack = one_a == "stack";
        assert_eq!(stack, !one_a.starts_with("slice"), "{word}: one a {one_a}");
        let of_row = |modality: &str| default_for == NONE || default_for.contains(modality);
        let found = written.iter().filter(|(modality, kind, _)| *kind == object && of_row(modality));
        let found: BTreeSet<String> = found
            .map(|(modality, _, data)| {
                assert_eq!(data.get(tags::NUMBER_OF_FRAMES).is_some(), stack, "{word} of {modality}");
                class(data)
            })
            .collect();
        let as_other = words(classes).into_iter().next();
        let expected = match &as_other {
            Some(other) => &rows.iter().find(|row| words(&row[0]).contains(other)).unwrap()[2],
            None => classes,
        };
        assert_eq!(found, uids_of(expected), "{word}");
    }
}

/// The table is printed where it differs, to be put into the page.
#[test]
fn attributes() {
    let mut found = BTreeMap::<Tag, BTreeSet<Object>>::new();
    for (_, object, data) in all_written() {
        for element in data.iter().filter(|element| ![0x0010, 0x0012].contains(&element.tag().group())) {
            found.entry(element.tag()).or_default().insert(object);
        }
    }
    let expected: Vec<Vec<String>> = found
        .into_iter()
        .map(|(tag, objects)| {
            let name = StandardDataDictionary.by_tag(tag).unwrap_or_else(|| panic!("{tag} is private")).alias;
            let words: Vec<_> = objects.iter().map(|object| format!("`{}`", object.word())).collect();
            let words = if objects.len() == Object::ALL.len() { "all".to_owned() } else { words.join(", ") };
            vec![name.to_owned(), tag.to_string(), words]
        })
        .collect();
    let lines: Vec<_> = expected.iter().map(|row| format!("| {} |", row.join(" | "))).collect();
    assert_eq!(table("attribute"), expected, "expected:\n{}", lines.join("\n"));
}
