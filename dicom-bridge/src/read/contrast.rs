//! The weighting of an MR series by how it was acquired, for series whose description does not say it.
//!
//! The bounds are those of textbooks at 1.5 and 3 T, set apart: what lies between them is not named.

use dicom_core::Tag;
use dicom_dictionary_std::tags;

use super::Source;
use crate::attributes::{numbers, text};

/// A weighting, and why it was concluded.
#[derive(Debug, Clone, PartialEq)]
pub struct Acquisition {
    /// What it is.
    pub weighting: Weighting,
    /// E.g. `inversion recovery, TR 9000 ms, TE 120 ms, TI 2500 ms`.
    pub why: String,
}

/// What an MR image is weighted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weighting {
    /// T1, without contrast agent.
    T1,
    /// T1, with contrast agent.
    T1Contrast,
    /// T2.
    T2,
    /// T2 with the fluid's signal inverted away.
    Flair,
}

impl Weighting {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::T1, Self::T1Contrast, Self::T2, Self::Flair];

    /// A description that any rule for this weighting takes.
    pub fn description(self) -> &'static str {
        match self {
            Self::T1 => "t1 t1w",
            Self::T1Contrast => "t1 post contrast, t1c t1ce t1+c t1 gd gadolinium",
            Self::T2 => "t2 t2w",
            Self::Flair => "t2 flair",
        }
    }

    /// As a person names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::T1 => "T1",
            Self::T1Contrast => "T1 with contrast agent",
            Self::T2 => "T2",
            Self::Flair => "FLAIR",
        }
    }
}

/// Concludes the weighting of an MR image; none where it is another one, or not certain.
pub(super) fn acquisition(source: &Source) -> Option<Acquisition> {
    let object = &source.object;
    if text(object, tags::MODALITY).as_deref() != Some("MR") {
        return None;
    }
    let time = |tag: Tag| numbers::<1>(object, tag).ok().flatten().map(|[v]| v).filter(|v| *v > 0.0);
    let words = |tag: Tag| text(object, tag).unwrap_or_default();
    let has = |tag: Tag, word: &str| words(tag).split('\\').any(|w| w.trim() == word);
    let (tr, te) = (time(tags::REPETITION_TIME)?, time(tags::ECHO_TIME)?);
    let prepared = has(tags::SCANNING_SEQUENCE, "IR") || has(tags::SEQUENCE_VARIANT, "MP");
    let ti = time(tags::INVERSION_TIME).filter(|_| prepared);
    // Diffusion, perfusion and vessels are weighted by something else; so is what was calculated.
    let image_type = words(tags::IMAGE_TYPE);
    let other = ["DIFFUSION", "ADC", "PERFUSION", "PROJECTION IMAGE", "MIP", "PHASE MAP", "LOCALIZER"];
    if has(tags::SCANNING_SEQUENCE, "EP")
        || text(object, tags::ANGIO_FLAG).as_deref() == Some("Y")
        || other.iter().any(|word| image_type.contains(word))
    {
        return None;
    }
    let spin = has(tags::SCANNING_SEQUENCE, "SE");
    let gradient = has(tags::SCANNING_SEQUENCE, "GR");
    // Without spoiling a steady state mixes T1 and T2.
    let balanced = has(tags::SEQUENCE_VARIANT, "SS") && !has(tags::SEQUENCE_VARIANT, "SP");
    let weighting = match ti {
        Some(ti) if ti >= 1500.0 && tr >= 4000.0 && te >= 60.0 => Weighting::Flair,
        Some(ti) if (500.0..1500.0).contains(&ti) && te <= 30.0 => Weighting::T1,
        Some(_) => return None,
        None if spin && !gradient && tr >= 2000.0 && te >= 70.0 => Weighting::T2,
        None if spin && !gradient && tr <= 1200.0 && te <= 30.0 => Weighting::T1,
        None if gradient && !spin && !balanced && tr <= 800.0 && te <= 8.0 => Weighting::T1,
        None => return None,
    };
    let sequence = match (ti.is_some(), spin) {
        (true, _) => "inversion recovery",
        (false, true) => "spin echo",
        (false, false) => "gradient echo",
    };
    let mut why = format!("{sequence}, TR {tr} ms, TE {te} ms");
    if let Some(ti) = ti {
        why += &format!(", TI {ti} ms");
    }
    let weighting = match (weighting, agent(source)) {
        (Weighting::T1, Some(agent)) => {
            why += &format!(", {agent}");
            Weighting::T1Contrast
        }
        (weighting, _) => weighting,
    };
    Some(Acquisition { weighting, why })
}

/// How an image says that a contrast agent was given; none where it does not.
pub(super) fn agent(source: &Source) -> Option<&'static str> {
    let object = &source.object;
    let named = text(object, tags::CONTRAST_BOLUS_AGENT).map(|agent| agent.to_lowercase());
    if named.is_some_and(|agent| !["none", "no", "0", "without", "n"].contains(&agent.as_str())) {
        return Some("Contrast/Bolus Agent (0018,0010) is there");
    }
    let items = object.get(tags::CONTRAST_BOLUS_AGENT_SEQUENCE).and_then(|e| e.items());
    items
        .is_some_and(|items| !items.is_empty())
        .then_some("Contrast/Bolus Agent Sequence (0018,0012) is there")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::geometry::Geometry;
    use dicom_core::{DataElement, PrimitiveValue, VR};
    use dicom_object::InMemDicomObject;

    pub(in crate::read) fn source(attributes: &[(Tag, &str)]) -> Source {
        let mut object = InMemDicomObject::new_empty();
        for &(tag, value) in [(tags::MODALITY, "MR")].iter().chain(attributes) {
            object.put(DataElement::new(tag, VR::LO, PrimitiveValue::from(value)));
        }
        let geometry = Geometry {
            size: [1, 1],
            spacing: None,
            orientation: None,
            position: None,
            frame_of_reference: None,
        };
        Source {
            path: "a.dcm".into(),
            sop_class: String::new(),
            frame: None,
            object,
            charset: None,
            transfer_syntax: String::new(),
            geometry,
            resampled: false,
            has_float_pixels: false,
        }
    }

    #[test]
    fn weightings_follow_from_the_acquisition() {
        use Weighting::*;
        // Scanning Sequence, Sequence Variant, TR, TE, TI, agent.
        for (name, [sequence, variant, tr, te, ti, agent], expected) in [
            ("spin echo T1", ["SE", "SK", "500", "12", "", ""], Some(T1)),
            ("the same, with agent", ["SE", "SK", "500", "12", "", "Gadovist"], Some(T1Contrast)),
            ("an agent that is none", ["SE", "SK", "500", "12", "", "NONE"], Some(T1)),
            ("MPRAGE", ["GR\\IR", "SK\\SP\\MP", "2000", "2.5", "900", ""], Some(T1)),
            ("FLASH", ["GR", "SP", "250", "2.5", "", ""], Some(T1)),
            ("TSE T2", ["SE", "SK", "4000", "100", "", ""], Some(T2)),
            ("T2 after an agent", ["SE", "SK", "4000", "100", "", "Gadovist"], Some(T2)),
            ("FLAIR", ["SE\\IR", "SK", "9000", "120", "2500", ""], Some(Flair)),
            ("3D FLAIR", ["SE\\IR", "SK\\SP\\MP", "5000", "390", "1800", ""], Some(Flair)),
            ("an inversion time that is not used", ["SE", "SK", "4000", "100", "2500", ""], Some(T2)),
            ("STIR", ["SE\\IR", "SK", "4000", "60", "150", ""], None),
            ("proton density", ["SE", "SK", "3000", "15", "", ""], None),
            ("diffusion", ["EP", "SK", "6000", "90", "", ""], None),
            ("susceptibility", ["GR", "SP", "28", "20", "", ""], None),
            ("balanced", ["GR", "SS", "5", "2.5", "", ""], None),
            ("no echo time", ["SE", "SK", "500", "", "", ""], None),
        ] {
            let attributes = [
                (tags::SCANNING_SEQUENCE, sequence),
                (tags::SEQUENCE_VARIANT, variant),
                (tags::REPETITION_TIME, tr),
                (tags::ECHO_TIME, te),
                (tags::INVERSION_TIME, ti),
                (tags::CONTRAST_BOLUS_AGENT, agent),
            ];
            let found = acquisition(&source(&attributes));
            assert_eq!(found.as_ref().map(|f| f.weighting), expected, "{name}: {found:?}");
        }
        let ct = source(&[(tags::MODALITY, "CT"), (tags::REPETITION_TIME, "500"), (tags::ECHO_TIME, "12")]);
        assert_eq!(acquisition(&ct), None);
    }
}
