//! The tensors of a file by guided-diffusion's names: as they stand there, or made of those of another package.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anomalens_models::weights::{Element, Shapes};

use super::CheckpointError;
use super::family::{Family, FamilyNames};
use super::file::File;
use super::map::{Fault, Made, map};
use super::numbers::{index_of, not_finite, to_f32};
use super::place;

/// Named tensors, read one at a time.
pub struct Contents {
    path: PathBuf,
    file: File,
    /// Those that are made of others, by the names that they have here.
    made: BTreeMap<String, Made>,
    /// Names of the file that what is made here is made of.
    used: BTreeSet<String>,
    foreign: Vec<Foreign>,
}

/// A network of another package.
struct Foreign {
    /// What stands before its names.
    prefix: String,
    family: Family,
    /// Why it stays as it is.
    fault: Option<Fault>,
}

impl Contents {
    /// Opens a file, and maps every network of another package that stands in it. One that cannot be mapped stays as
    /// it is.
    ///
    /// Errors: [`CheckpointError`].
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let file = File::open(path)?;
        let mut contents = Self {
            path: path.to_owned(),
            made: BTreeMap::new(),
            used: BTreeSet::new(),
            foreign: Vec::new(),
            file,
        };
        let file = &contents.file;
        let all: BTreeMap<&str, Option<&[usize]>> =
            file.names().map(|name| (name, file.shape(name))).collect();
        for names in FamilyNames::ALL {
            for prefix in place::foreign(&all, names) {
                let fault = match map(&all, &prefix, names) {
                    Ok(made) => {
                        for (name, made) in made {
                            contents.used.extend(made.parts.iter().cloned());
                            contents.made.insert(format!("{prefix}{name}"), made);
                        }
                        None
                    }
                    Err(fault) => Some(fault),
                };
                contents.foreign.push(Foreign { prefix, family: names.family, fault });
            }
        }
        Ok(contents)
    }

    /// Whose network stands under a prefix and was mapped; guided-diffusion's, if none was.
    pub fn family(&self, prefix: &str) -> Family {
        let found = self.foreign.iter().find(|f| f.prefix == prefix && f.fault.is_none());
        found.map_or(Family::GuidedDiffusion, |f| f.family)
    }

    /// The error for a network that begins with a prefix and could not be mapped, if there is one.
    pub fn unmappable(&self, prefix: &str) -> Option<CheckpointError> {
        self.foreign.iter().filter(|f| f.prefix.starts_with(prefix)).find_map(|f| {
            let Fault { place, found, expected } = f.fault.clone()?;
            let place = format!("{}{place}", f.prefix);
            Some(CheckpointError::Unmappable {
                path: self.path.clone(),
                family: f.family,
                place,
                found,
                expected,
            })
        })
    }

    /// The names of all tensors.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let own = self.file.names().filter(|name| !self.used.contains(*name));
        own.chain(self.made.keys().map(String::as_str))
    }

    /// Whether there is such a tensor, be it one that cannot be read.
    pub fn has(&self, name: &str) -> bool {
        self.made.contains_key(name) || !self.used.contains(name) && self.file.has(name)
    }

    /// Names and shapes of the tensors that can be read.
    pub fn shapes(&self) -> Shapes {
        let mut shapes = self.file.shapes();
        shapes.retain(|name, _| !self.used.contains(name));
        let made = self.made.iter().filter_map(|(name, made)| Some((name.clone(), made.shape.clone()?)));
        shapes.extend(made);
        shapes
    }

    /// The shape of a tensor that can be read.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        match self.made.get(name) {
            Some(made) => made.shape.as_deref(),
            None => self.file.shape(name),
        }
    }

    /// Element type of a tensor.
    ///
    /// Errors: [`CheckpointError::Unreadable`], [`CheckpointError::Weights`], [`CheckpointError::Mixed`].
    pub fn element(&self, name: &str) -> Result<Element, CheckpointError> {
        let parts = self.parts(name);
        let element = self.file.element(parts[0])?;
        for &part in &parts[1..] {
            let found = self.file.element(part)?;
            if found != element {
                return Err(CheckpointError::Mixed {
                    path: self.path.clone(),
                    name: part.to_owned(),
                    found,
                    other: parts[0].to_owned(),
                    expected: element,
                });
            }
        }
        Ok(element)
    }

    /// Checks that a tensor is of a floating-point type.
    ///
    /// Errors: those of [`Contents::element`], and [`CheckpointError::DType`].
    pub fn float(&self, name: &str) -> Result<(), CheckpointError> {
        match self.element(name)? {
            element if element.is_float() => Ok(()),
            element => Err(CheckpointError::DType {
                path: self.path.clone(),
                name: self.parts(name)[0].to_owned(),
                found: element.to_string(),
            }),
        }
    }

    /// A tensor's data, row-major, little-endian. Its numbers are finite.
    ///
    /// Errors: those of [`Contents::element`], [`CheckpointError::Damaged`], [`CheckpointError::NotFinite`].
    pub fn bytes(&self, name: &str) -> Result<Cow<'_, [u8]>, CheckpointError> {
        self.element(name)?;
        match self.parts(name)[..] {
            [part] => self.finite(part),
            ref parts => {
                let mut joined = Vec::new();
                for part in parts {
                    joined.extend_from_slice(&self.finite(part)?);
                }
                Ok(Cow::Owned(joined))
            }
        }
    }

    /// A copy of one tensor's numbers, row-major, as f32.
    ///
    /// Errors: those of [`Contents::bytes`] and [`Contents::float`]; [`CheckpointError::NotFinite`] also for a number
    /// that f32 cannot hold.
    pub fn read_f32(&self, name: &str) -> Result<Vec<f32>, CheckpointError> {
        self.float(name)?;
        let mut joined = Vec::new();
        for part in self.parts(name) {
            let values =
                to_f32(self.file.element(part)?, &self.finite(part)?).expect("a floating-point type");
            if let Some(place) = values.iter().position(|value| !value.is_finite()) {
                return Err(self.not_finite(part, place, "a number beyond f32".into()));
            }
            if joined.is_empty() { joined = values } else { joined.extend(values) }
        }
        Ok(joined)
    }

    /// What a tensor is made of, by the names of the file; never nothing.
    fn parts<'a>(&'a self, name: &'a str) -> Vec<&'a str> {
        self.made.get(name).map_or(vec![name], |made| made.parts.iter().map(String::as_str).collect())
    }

    /// The data of a tensor of the file.
    fn finite(&self, name: &str) -> Result<Cow<'_, [u8]>, CheckpointError> {
        let bytes = self.file.bytes(name)?;
        match not_finite(self.file.element(name)?, &bytes) {
            None => Ok(bytes),
            Some((place, value)) => Err(self.not_finite(name, place, value.to_string())),
        }
    }

    fn not_finite(&self, name: &str, place: usize, value: String) -> CheckpointError {
        let index = index_of(place, self.file.shape(name).unwrap_or_default());
        CheckpointError::NotFinite { path: self.path.clone(), name: name.to_owned(), value, index }
    }
}
