//! Enhanced multi-frame objects, frame by frame: what the functional groups say of a frame (PS3.3 C.7.6.16) becomes the
//! attributes that a single-frame object of the same modality has, so that the rest of the program sees slices.

use std::path::Path;

use dicom_core::header::Header;
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;

use super::pixels::frames;
use crate::attributes::{decimal, numbers, text};
use crate::error::ReadError;

/// Enhanced classes, each with the class of a single frame of it.
const CLASSES: [(&str, &str); 4] = [
    (uids::ENHANCED_MR_IMAGE_STORAGE, uids::MR_IMAGE_STORAGE),
    (uids::LEGACY_CONVERTED_ENHANCED_MR_IMAGE_STORAGE, uids::MR_IMAGE_STORAGE),
    (uids::ENHANCED_CT_IMAGE_STORAGE, uids::CT_IMAGE_STORAGE),
    (uids::LEGACY_CONVERTED_ENHANCED_CT_IMAGE_STORAGE, uids::CT_IMAGE_STORAGE),
];

/// The class of a single frame of a multi-frame class; none where `class` is no such.
pub(super) fn single_frame_class(class: &str) -> Option<&'static str> {
    CLASSES.iter().find(|(enhanced, _)| *enhanced == class).map(|(_, single)| *single)
}

/// Functional group macros whose attributes a single-frame object has under the same tags.
const MACROS: [Tag; 9] = [
    tags::PIXEL_MEASURES_SEQUENCE,
    tags::PLANE_POSITION_SEQUENCE,
    tags::PLANE_ORIENTATION_SEQUENCE,
    tags::PIXEL_VALUE_TRANSFORMATION_SEQUENCE,
    tags::FRAME_VOILUT_SEQUENCE,
    tags::MR_TIMING_AND_RELATED_PARAMETERS_SEQUENCE,
    tags::MR_AVERAGES_SEQUENCE,
    // What a converter of single images did not know a place for.
    tags::UNASSIGNED_SHARED_CONVERTED_ATTRIBUTES_SEQUENCE,
    tags::UNASSIGNED_PER_FRAME_CONVERTED_ATTRIBUTES_SEQUENCE,
];

/// Attributes that go by another name in a single-frame object: macro, tag in it, tag and VR there.
const RENAMED: [(Tag, Tag, Tag, VR); 5] = [
    (tags::MR_IMAGE_FRAME_TYPE_SEQUENCE, tags::FRAME_TYPE, tags::IMAGE_TYPE, VR::CS),
    (tags::CT_IMAGE_FRAME_TYPE_SEQUENCE, tags::FRAME_TYPE, tags::IMAGE_TYPE, VR::CS),
    (tags::MR_ECHO_SEQUENCE, tags::EFFECTIVE_ECHO_TIME, tags::ECHO_TIME, VR::DS),
    (tags::MR_MODIFIER_SEQUENCE, tags::INVERSION_TIMES, tags::INVERSION_TIME, VR::DS),
    (tags::CTX_RAY_DETAILS_SEQUENCE, tags::KVP, tags::KVP, VR::DS),
];

/// One data set a frame, in the order of the file. `root`: the object without its pixels.
///
/// Errors: [`ReadError::Attribute`] for a number of frames that is none, or pixels shown in colour;
/// [`ReadError::Damaged`] where the functional groups are not one for each frame.
pub(super) fn split(path: &Path, root: &InMemDicomObject) -> Result<Vec<InMemDicomObject>, ReadError> {
    let wanted = frames(path, root)?;
    if text(root, tags::PIXEL_PRESENTATION).is_some_and(|found| found != "MONOCHROME") {
        return Err(ReadError::Attribute {
            path: path.to_owned(),
            attribute: "Pixel Presentation (0008,9205)",
            found: "colours in a table, which stand for no intensity".into(),
            expected: "MONOCHROME, a grey-scale image".into(),
        });
    }
    let items = |tag| root.get(tag).and_then(|e| e.items()).unwrap_or_default();
    let shared = items(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE).first();
    let each = items(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE);
    if !each.is_empty() && each.len() != wanted {
        let cause = format!("functional groups of {} frames, Number of Frames is {wanted}", each.len());
        return Err(ReadError::Damaged { path: path.to_owned(), cause });
    }
    let not_of_a_frame = [
        tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE,
        tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE,
        tags::NUMBER_OF_FRAMES,
    ];
    let common = root.iter().filter(|e| !not_of_a_frame.contains(&e.tag())).cloned();
    let mut common = InMemDicomObject::from_element_iter(common);
    if let Some(groups) = shared {
        take(groups, &mut common);
    }
    Ok((0..wanted)
        .map(|frame| {
            let mut object = common.clone();
            if let Some(groups) = each.get(frame) {
                take(groups, &mut object);
            }
            pulse_sequence(shared.into_iter().chain(each.get(frame)), &mut object);
            object
        })
        .collect())
}

/// Takes the attributes of functional groups over.
fn take(groups: &InMemDicomObject, object: &mut InMemDicomObject) {
    for tag in MACROS {
        for element in item(groups, tag).into_iter().flatten() {
            if element.vr() != VR::SQ {
                object.put(element.clone());
            }
        }
    }
    for (group, from, to, vr) in RENAMED {
        let Some(element) = item(groups, group).and_then(|item| item.get(from)) else { continue };
        let value = match vr {
            // Numbers are binary there.
            VR::DS => element.value().to_multi_float64().ok().and_then(|v| v.first().map(|v| decimal(*v))),
            _ => element.to_str().ok().map(|text| text.into_owned()),
        };
        if let Some(value) = value {
            object.put(DataElement::new(to, vr, PrimitiveValue::from(value)));
        }
    }
}

/// Scanning Sequence (0018,0020) and Sequence Variant (0018,0021), by which single images name a pulse sequence, where the
/// object lacks them.
fn pulse_sequence<'a>(groups: impl Iterator<Item = &'a InMemDicomObject>, object: &mut InMemDicomObject) {
    let is_mr = text(object, tags::MODALITY).as_deref() == Some("MR");
    if !is_mr || object.get(tags::SCANNING_SEQUENCE).is_some() {
        return;
    }
    let mut words = match text(object, tags::ECHO_PULSE_SEQUENCE).as_deref() {
        Some("SPIN") => vec!["SE"],
        Some("GRADIENT") => vec!["GR"],
        Some("BOTH") => vec!["SE", "GR"],
        _ => vec![],
    };
    if text(object, tags::ECHO_PLANAR_PULSE_SEQUENCE).as_deref() == Some("YES") {
        words.push("EP");
    }
    let inverted = |item: &InMemDicomObject| text(item, tags::INVERSION_RECOVERY).as_deref() == Some("YES");
    if groups.filter_map(|group| item(group, tags::MR_MODIFIER_SEQUENCE)).any(inverted) {
        words.push("IR");
    } else if matches!(numbers::<1>(object, tags::INVERSION_TIME), Ok(Some(_))) {
        // Not used: not to be taken for an inversion recovery.
        object.remove_element(tags::INVERSION_TIME);
    }
    let variants = [
        (tags::SEGMENTED_K_SPACE_TRAVERSAL, "SK"),
        (tags::MAGNETIZATION_TRANSFER, "MTC"),
        (tags::STEADY_STATE_PULSE_SEQUENCE, "SS"),
        (tags::SPOILING, "SP"),
    ];
    // A plain spin echo is said to be traversed in one segment.
    let used =
        |tag: &Tag| text(object, *tag).is_some_and(|found| !["NONE", "SINGLE"].contains(&found.as_str()));
    let variants: Vec<&str> = variants.iter().filter(|(tag, _)| used(tag)).map(|(_, word)| *word).collect();
    for (tag, words, otherwise) in
        [(tags::SCANNING_SEQUENCE, words, "RM"), (tags::SEQUENCE_VARIANT, variants, "NONE")]
    {
        let value = if words.is_empty() { otherwise.to_owned() } else { words.join("\\") };
        object.put(DataElement::new(tag, VR::CS, PrimitiveValue::from(value)));
    }
}

/// The one item of a macro.
fn item(groups: &InMemDicomObject, tag: Tag) -> Option<&InMemDicomObject> {
    groups.get(tag)?.items()?.first()
}
