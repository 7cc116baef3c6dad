//! Which objects are to be written.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use super::frames::Place;
use super::parametric::unplaced;
use super::{Frame, MapNumbers, MapScale, Provenance, Written, fractional_map, parametric_map};
use crate::error::WriteError;
use crate::read::SourceSlice;

/// A kind of object that can be made of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Object {
    /// The pseudo-healthy image, in the source's modality, one a slice and channel: [`super::reconstruction`].
    Reconstruction,
    /// The anomaly map, one a stack: [`anomaly_map`].
    Map,
    /// The anomaly map in floating point, one a stack, for slices that have a place: [`super::parametric_map`].
    FloatMap,
    /// The mask as a segmentation, one a stack: [`super::segmentation`].
    Mask,
    /// The picture for people, one a slice: [`super::picture`].
    Picture,
    /// The pictures in one object, one a stack: [`super::pictures`].
    Pictures,
    /// The anomaly map as an image of the source's modality, one a slice, for what can show nothing else: [`super::map`].
    MapImage,
    /// The mask as an image of the source's modality, one a slice: [`super::mask`].
    MaskImage,
}

impl Object {
    /// All kinds, in the order in which they are told.
    pub const ALL: [Self; 8] = [
        Self::Reconstruction,
        Self::Map,
        Self::FloatMap,
        Self::Mask,
        Self::Picture,
        Self::Pictures,
        Self::MapImage,
        Self::MaskImage,
    ];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Reconstruction => "reconstruction",
            Self::Map => "map",
            Self::FloatMap => "float-map",
            Self::Mask => "mask",
            Self::Picture => "picture",
            Self::Pictures => "pictures",
            Self::MapImage => "map-image",
            Self::MaskImage => "mask-image",
        }
    }
}

/// A choice of kinds, written as words with commas between: `reconstruction,map,mask`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Objects(BTreeSet<Object>);

impl Objects {
    /// Whether a kind was chosen.
    pub fn contains(&self, object: Object) -> bool {
        self.0.contains(&object)
    }

    /// Checks, before anything is made, that these slices can have what was chosen: a floating-point map wants a place.
    ///
    /// Errors: [`WriteError::Unplaced`].
    pub fn check(&self, slices: &[SourceSlice]) -> Result<(), WriteError> {
        match slices {
            [first, ..] if self.contains(Object::FloatMap) => {
                let place = Place::of(&slices.iter().collect::<Vec<_>>());
                place.map(drop).map_err(|missing| unplaced(MapNumbers::Float, missing, &first.sources[0]))
            }
            _ => Ok(()),
        }
    }
}

/// What every modality can have: reconstruction, map, mask and picture.
impl Default for Objects {
    fn default() -> Self {
        Self([Object::Reconstruction, Object::Map, Object::Mask, Object::Picture].into())
    }
}

impl FromStr for Objects {
    type Err = UnknownObject;

    fn from_str(text: &str) -> Result<Self, UnknownObject> {
        let one = |word: &str| {
            let found = Object::ALL.into_iter().find(|object| object.word() == word);
            found.ok_or_else(|| UnknownObject { found: word.to_owned() })
        };
        text.split(',').map(|word| one(word.trim())).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = self.0.iter().map(|object| object.word()).collect();
        f.write_str(&words.join(","))
    }
}

/// A word that names no kind of object.
#[derive(Debug, thiserror::Error)]
#[error("object '{found}': there is none of that name, expected some of {}, with commas between", known())]
pub struct UnknownObject {
    /// The word.
    pub found: String,
}

fn known() -> String {
    Object::ALL.map(Object::word).join(", ")
}

/// Writes the maps of a stack as what its modality can have: a Parametric Map of integers where the slices say where
/// they lie (MR, CT), else a fractional segmentation (CR, DX).
///
/// Errors: [`WriteError`].
pub fn anomaly_map(
    frames: &[Frame<'_, f32>],
    scale: &MapScale,
    provenance: &Provenance,
) -> Result<Written, WriteError> {
    match parametric_map(frames, scale, MapNumbers::Integer, provenance) {
        Err(WriteError::Unplaced { .. }) => fractional_map(frames, scale, provenance),
        written => written,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_lead_to_objects_and_back() {
        let all: Objects = known().parse().unwrap();
        assert!(Object::ALL.iter().all(|object| all.contains(*object)));
        assert_eq!(Objects::default().to_string(), "reconstruction,map,mask,picture");
        for text in ["map", "mask,map", "map, mask"] {
            let objects: Objects = text.parse().unwrap();
            assert_eq!(objects.to_string().parse::<Objects>().unwrap(), objects);
            assert!(objects.contains(Object::Map) && !objects.contains(Object::Picture), "{text}");
        }
        for text in ["", "maps", "map,,mask", "Map"] {
            let e = text.parse::<Objects>().unwrap_err().to_string();
            assert!(e.contains("expected some of reconstruction, map, float-map"), "{e}");
        }
    }
}
